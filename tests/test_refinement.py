"""Refinement inside the cell: against brute-force conditional means, and its promises (in the cell, never past a packet)."""

from dataclasses import replace

import numpy as np
import pytest

from edge_wz.decoders import refinement
from edge_wz.errors import DesignError
from training import refinement as fitting

STEP = 6.0
PACKET = 32


def make_stream(seed: int, samples: int = 24_000, neighbours: int = 1) -> fitting.Stream:
    """A smooth AR(2) source quantised in the open loop, and noisy neighbours."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=samples)
    x = np.zeros(samples)
    for n in range(2, samples):
        x[n] = 1.8 * x[n - 1] - 0.85 * x[n - 2] + noise[n]
    recon = np.rint(x / STEP) * STEP
    side = np.stack([x + rng.normal(scale=1.0, size=samples) for _ in range(neighbours)], axis=1)
    starts = np.arange(samples) % PACKET == 0
    known = np.ones(samples, dtype=bool)
    return fitting.Stream(x, recon, recon - STEP / 2, recon + STEP / 2, starts, known, side)


@pytest.fixture(scope="module")
def fitted():
    stream = make_stream(1)
    return fitting.fit(stream), make_stream(2)


def test_both_sides_and_neighbours_beat_the_midpoint(fitted):
    model, fresh = fitted
    value, variance = fitting.apply(model, fresh)
    error = np.mean((value - fresh.x) ** 2)
    midpoint = np.mean((fresh.recon - fresh.x) ** 2)
    assert error < 0.5 * midpoint
    # the sigma it states is the error it makes, within a quarter
    assert 0.75 < np.mean(variance) / error < 1.33


def test_values_stay_in_their_cells(fitted):
    model, fresh = fitted
    value, _ = fitting.apply(model, fresh)
    assert np.all(value >= fresh.low - 1e-9) and np.all(value <= fresh.high + 1e-9)


def test_nothing_behind_the_end_of_a_packet_matters(fitted):
    model, fresh = fitted
    part = fresh.rows(slice(0, 10 * PACKET))
    whole, _ = fitting.apply(model, fresh)
    alone, _ = fitting.apply(model, part)
    assert np.array_equal(whole[: 10 * PACKET], alone)


def test_missing_neighbour_costs_quality_only(fitted):
    model, fresh = fitted
    blind = fitting.Stream(fresh.x, fresh.recon, fresh.low, fresh.high, fresh.starts, fresh.known, fresh.side * np.nan)
    value, _ = fitting.apply(model, blind)
    with_side, _ = fitting.apply(model, fresh)
    errors = [np.mean((v - fresh.x) ** 2) for v in (with_side, value, fresh.recon)]
    assert errors[0] < errors[1] < errors[2]


def test_lost_slots_are_neither_used_nor_changed(fitted):
    model, fresh = fitted
    known = fresh.known.copy()
    known[100:140] = False
    garbage = fresh.recon.copy()
    garbage[100:140] = 1e6
    value, variance = fitting.apply(
        model, fitting.Stream(fresh.x, garbage, fresh.low, fresh.high, fresh.starts, known, fresh.side)
    )
    assert np.all(value[100:140] == 1e6) and np.all(np.isnan(variance[100:140]))
    assert np.all(np.abs(value[140:200] - fresh.x[140:200]) <= STEP)


def test_neighbours_are_left_out_when_they_do_not_help():
    stream = make_stream(3)
    useless = np.random.default_rng(9).normal(size=stream.side.shape)
    assert fitting.fit(replace(stream, side=useless)).neighbours == 0
    assert fitting.fit(stream).neighbours == 1


@pytest.mark.parametrize("degrees", [3.0, 9.0, 17.0])
def test_cut_student_against_a_fine_sum(degrees):
    rng = np.random.default_rng(4)
    mean, scale = rng.normal(scale=3, size=200), rng.uniform(0.2, 5, size=200)
    low = rng.normal(scale=5, size=200)
    high = low + rng.uniform(0.5, 8, size=200)
    value, variance = np.empty(200), np.empty(200)
    points = np.array([[[0.0, 0.0, 0.0, degrees, 1.0]]])
    refinement.cut_student(
        mean, scale, points, np.zeros(200, np.int32), 0, low, high, *refinement.quadrature(), value, variance
    )
    grid = low[:, None] + (np.arange(4000) + 0.5) / 4000 * (high - low)[:, None]
    density = (degrees * scale[:, None] ** 2 + (grid - mean[:, None]) ** 2) ** (-(degrees + 1) / 2)
    expected = (grid * density).sum(1) / density.sum(1)
    # 16 nodes resolve a density four times narrower than its cell to a hundredth of the cell
    assert np.all(np.abs(value - expected) < 0.02 * (high - low))


def test_too_short_says_how_many():
    with pytest.raises(DesignError, match="needs"):
        fitting.fit(make_stream(5, samples=130))
