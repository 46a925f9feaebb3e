"""Truncated Gaussians against integration on a fine grid, from the middle to the far tails."""

import math

import numpy as np
import pytest

from edge_wz.decoders import cells

POINTS = 2001


def integrated(mean, sigma, intervals):
    """(mean, variance, masses relative to the largest) of N(mean, sigma^2) cut to a union of intervals."""
    away = np.linspace(0, 1, POINTS) ** 4
    peaks = [(low, high, min(max(mean, low), high)) for low, high in intervals]
    grids = [np.concatenate([p - (p - low) * away[::-1], p + (high - p) * away]) for low, high, p in peaks]
    logs = [-0.5 * ((grid - mean) / sigma) ** 2 for grid in grids]
    top = max(log.max() for log in logs)
    densities = [np.exp(log - top) for log in logs]
    masses = np.array([np.trapezoid(d, g) for d, g in zip(densities, grids, strict=True)])
    first = sum(np.trapezoid(d * (g - mean), g) for d, g in zip(densities, grids, strict=True)) / masses.sum()
    second = sum(np.trapezoid(d * (g - mean - first) ** 2, g) for d, g in zip(densities, grids, strict=True))
    return mean + first, second / masses.sum(), masses / masses.sum()


@pytest.mark.parametrize("sigma", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("distance", [0.0, 0.4, 2.0, 4.9, 5.1, 9.0, 30.0, 39.0, 41.0, 300.0])
@pytest.mark.parametrize("width", [0.001, 0.019, 0.021, 0.5, 3.0])
def test_cut_to_one_cell(sigma, distance, width):
    low, high = 5.0 + distance * sigma, 5.0 + (distance + width) * sigma
    mean, variance, _ = integrated(5.0, sigma, [(low, high)])
    for mirrored in (False, True):
        edges = (10.0 - high, 10.0 - low) if mirrored else (low, high)
        value, spread = cells.cut(5.0, sigma * sigma, *edges)
        assert (10.0 - value if mirrored else value) == pytest.approx(mean, abs=2e-3 * math.sqrt(variance))
        assert spread == pytest.approx(variance, rel=5e-3)


def point(step, modulus, tap_sign=1):
    shift = 16
    tap = tap_sign * round((1 << shift) / step)
    levels = sorted(((1 << 15) + tap * x) >> shift for x in (-32768, 32767))
    return np.array([1 << shift, 1 << 15, tap, modulus, *levels], dtype=np.float64)


def codes_of(level, row):
    """First and last int16 with that level, by the node's arithmetic."""
    middle = round(level * row[cells.SCALE] / row[cells.TAP])
    around = round(abs(row[cells.SCALE] / row[cells.TAP])) + 5
    codes = np.arange(middle - around, middle + around)
    there = codes[(int(row[cells.ROUNDING]) + int(row[cells.TAP]) * codes) >> 16 == level]
    return there[0] - 0.5, there[-1] + 0.5


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("step", [1.0, 1.7, 4.0, 12.3])
def test_cells_are_those_of_the_node(step, sign):
    row = point(step, 4, sign)
    for level in (-700, -1, 0, 1, 333):
        cell = cells.level_cell(float(level), row[cells.SCALE], row[cells.ROUNDING], row[cells.TAP])
        assert cell == codes_of(level, row)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sigma", [3.0, 20.0, 60.0, 150.0, 400.0])
@pytest.mark.parametrize("modulus", [2, 3, 8])
def test_cut_to_bin(sigma, modulus, sign):
    row = point(37.0, modulus, sign)
    rng = np.random.default_rng(1)
    for mean in rng.uniform(-500, 500, 12):
        index = int(rng.integers(modulus))
        levels = [k for k in range(-90, 90) if (k + 32768) % modulus == index]
        expected = integrated(mean, sigma, [codes_of(level, row) for level in levels])
        value, variance, level, weight = cells.cut_to_bin(mean, sigma * sigma, index, row)
        assert value == pytest.approx(expected[0], abs=5e-3 * math.sqrt(expected[1]))
        assert variance == pytest.approx(expected[1], rel=5e-3)
        assert weight == pytest.approx(expected[2].max(), abs=2e-3)
        assert level == levels[int(np.argmax(expected[2]))] or weight < 0.5


def test_a_belief_far_from_every_code():
    row = point(10.0, 4)
    for mean in (-1e6, 1e6, 1e9):
        for sigma in (1e-4, 1.0, 100.0):
            value, variance, level, _ = cells.cut_to_bin(mean, sigma * sigma, 1, row)
            assert abs(value) < 40_000 and math.isfinite(variance) and row[4] <= level <= row[5]


def test_between_two_cells_that_are_both_far():
    """Level 0 ends at 3.5, level 100 begins at 795.5."""
    row = point(8.0, 100)
    value, variance, _, weight = cells.cut_to_bin(399.5, 0.01, 32768 % 100, row)
    assert (value, weight) == (pytest.approx(399.5), pytest.approx(0.5))
    assert variance == pytest.approx(396.0**2, rel=1e-3)
    _, _, level, weight = cells.cut_to_bin(399.6, 0.01, 32768 % 100, row)
    assert level == 100 and weight > 0.999


def test_a_comb_that_is_too_dense_changes_nothing():
    value, variance, level, weight = cells.cut_to_bin(12.0, 1e10, 1, point(1.0, 2))
    assert (value, variance, weight) == (12.0, 1e10, 0.0)
    assert (level + 32768) % 2 == 1


@pytest.mark.parametrize(
    ("max_error", "expected"), [(10.0, 3.0), (5.0, 3.0), (3.0, 6.0), (2.0, 6.0), (0.0, 6.0)]
)
def test_keep_within(max_error, expected):
    """Codes 3..9: an estimate at 3 may stay where both ends are close enough, and moves towards the centre else."""
    kept = cells.keep_within(3.0, 2.5, 9.5, max_error)
    assert kept == pytest.approx(max(expected, 9.0 - max_error) if max_error >= 3 else expected)
