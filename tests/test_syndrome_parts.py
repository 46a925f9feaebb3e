"""What the decoder of `syndrome` is made of: masses of cells and their tables, ratios of planes, the list decoder against all paths there are."""

import itertools
import math

import numpy as np
import pytest

from edge_wz.decoders import cell_tables, polar_list, polar_program, polar_ratios, single
from edge_wz.decoders.cell_masses import combs_for, weigh, within_cell


def masses_by_erf(mean, sigma, low, q, point, density, planes):
    """What `weigh` sums by three points per cell."""
    out = np.zeros(1 << planes)
    centre, reach = math.floor(mean * point[2] + 0.5), int(12 * sigma * abs(point[2])) + q
    for level in range(centre - reach, centre + reach + 1):
        if (level + 32768) % q != low:
            continue
        ends = sorted(((level - 0.5) / point[2], (level + 0.5) / point[2]))
        for weight, factor in density:
            a, b = ((end - mean) / (sigma * math.sqrt(2 * factor)) for end in ends)
            a, b = (a, b) if a > 0 else (-b, -a)
            out[((level + 32768) // q) % len(out)] += 0.5 * weight * abs(math.erfc(a) - math.erfc(b))
    return out


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("density", [[[1.0, 1.0]], [[0.8, 0.5], [0.2, 3.0]]])
def test_masses(direction, density):
    rng, density = np.random.default_rng(5), np.array(density)
    combs = combs_for(density)
    for _ in range(50):
        step, q, planes = float(rng.uniform(20, 600)), int(2 ** rng.integers(0, 4)), int(rng.integers(1, 5))
        sigma, mean, low = step * float(rng.uniform(0.6, 8)), float(rng.normal(0, 3000)), int(rng.integers(0, q))
        point = np.array([1.0, 0.5, direction / step, q << planes, -32768.0, 32767.0])
        column = np.empty(1 << planes, np.float32)
        weigh(mean, sigma * sigma, low, q, point, density, combs, np.empty(1 << planes), column)
        wanted = masses_by_erf(mean, sigma, low, q, point, density, planes)
        assert column / column.sum() == pytest.approx(wanted / wanted.sum(), abs=0.003)


def test_ratios_of_planes():
    masses = np.array([0.1, 0.3, 0.0, 0.2, 0.25, 0.05, 0.1, 0.0])
    trees = np.repeat(masses.astype(np.float32)[:, None], 3, axis=1)
    polar_ratios.llr_trees(trees, 3)
    assert trees[1, 2] == pytest.approx(math.log(0.45 / 0.55), abs=1e-4)
    assert trees[2 + 1, 0] == pytest.approx(math.log(0.35 / 0.2), abs=1e-4)
    assert trees[4 + 0, 0] == pytest.approx(math.log(0.1 / 0.25), abs=1e-4)
    assert trees[4 + 2, 0] == -60 and trees[4 + 3, 0] == 60


def test_single_precision():
    x = np.exp(np.linspace(-80, 80, 501))
    assert max(abs(float(single.ln(v)) - math.log(v)) for v in x) < 1e-5
    assert max(abs(float(single.exp(v)) / math.exp(v) - 1) for v in np.linspace(-80, 80, 501)) < 1e-5
    assert single.ln(0.0) < -87 and single.ln(np.inf) > 87 and 0 < single.exp(-1e3) < 1e-37


@pytest.mark.parametrize("size", [1, 8, 32])
def test_list_finds_sparse_blocks(size):
    """All of a plane's positions but the surest are known: every list finds the bits."""
    rng, level, n = np.random.default_rng(size), 6, 64
    bits = rng.integers(0, 2, n).astype(np.uint8)
    ratios = (1.0 - 2.0 * bits) * 2.0 + rng.normal(0, 1.6, n)
    known = np.zeros(n, bool)
    known[:48] = True
    shift = bits.copy()
    polar_ratios.transform(shift)
    shift[~known] = 0
    polar_ratios.transform(shift)
    steps = polar_program.program(known)
    trees = np.zeros((2, n), np.float32)
    trees[1] = ratios
    values, metrics = np.zeros((size, n), np.uint8), np.zeros(size)
    paths = polar_list.decode(
        trees, n, level, steps, np.array([0, len(steps)]), shift[None, :], size, polar_list.workspace(size, level), values, metrics
    )
    assert np.array_equal(values[np.argmin(metrics[:paths])], bits)


@pytest.mark.parametrize("seed", range(12))
def test_a_list_of_all_paths_has_all_metrics(seed):
    """Whatever is known, two planes of sixteen samples: every path once, each with its own -ln P."""
    rng, level, n = np.random.default_rng(seed), 4, 16
    known = np.ones((2, n), bool)
    known.reshape(-1)[rng.choice(2 * n, 7, replace=False) if seed % 2 else np.arange(9, 16) + 16 * (seed % 4 > 1)] = False
    trees = np.zeros((4, n), np.float32)
    trees[1:] = rng.normal(1, 2, (3, n))
    programs = [polar_program.program(row) for row in known]
    size, edges = 128, np.cumsum([0, *map(len, programs)])
    values, metrics = np.zeros((size, n), np.uint8), np.zeros(size)
    shifts = np.zeros((2, n), np.uint8)
    paths = polar_list.decode(
        trees, n, level, np.concatenate(programs), edges, shifts, size, polar_list.workspace(size, level), values, metrics
    )
    assert paths == size
    wanted = {}
    for chosen in itertools.product([0, 1], repeat=7):
        bits = np.zeros((2, n), np.uint8)
        bits[~known] = chosen
        for row in bits:
            polar_ratios.transform(row)
        ratios = trees[1], np.where(bits[0], trees[3], trees[2])
        signed = np.concatenate([np.where(row, -ratio, ratio) for row, ratio in zip(bits, ratios, strict=True)])
        wanted[(bits[0] + 2 * bits[1]).tobytes()] = float(np.logaddexp(0, -signed.astype(float)).sum())
    found = {values[l].tobytes(): metrics[l] for l in range(paths)}
    assert found.keys() == wanted.keys()
    assert np.std([found[path] - wanted[path] for path in wanted]) < 0.05  # what all paths pay for known bits is counted or not, alike


@pytest.mark.parametrize("density", [[[1.0, 1.0]], [[0.8, 0.5], [0.2, 3.0]]])
def test_tables_say_what_sums_say(density):
    rng, density, q, planes, count = np.random.default_rng(3), np.array(density), 4, 3, 400
    point, step = np.array([1.0, 0.5, 1 / 90.0, q << planes, -32768.0, 32767.0]), 90.0
    point[:3] = step, step / 2, 1.0
    cavities = np.stack([rng.normal(0, 3000, count), np.full(count, (1.6 * step) ** 2) * rng.choice([1.0, 1.001, 1.3], count)])
    lows, slots = rng.integers(0, q, count), np.arange(count)
    tables = cell_tables.empty_tables(planes)
    cell_tables.prepare(tables, count, (1.6 * step) ** 2, q, point, density)
    trees, missed = np.zeros((1 << planes, count), np.float32), np.empty(count, np.int64)
    missing = cell_tables.look_up(tables, cavities, slots, lows, count, q, point, trees, missed)
    there = cavities[1] < 1.1 * (1.6 * step) ** 2
    assert sorted(missed[:missing]) == np.flatnonzero(~there).tolist()
    wanted = np.zeros_like(trees)
    for i in range(count):
        weigh(cavities[0, i], cavities[1, i], lows[i], q, point, density, combs_for(density), np.empty(1 << planes), wanted[:, i])
    polar_ratios.llr_trees(wanted, count)
    certain = np.abs(wanted[1:, there]) > 25
    assert np.max(np.abs(trees - wanted)[1:, there][~certain]) < 0.15
    assert np.mean(np.abs(trees - wanted)[1:, there][~certain]) < 0.02

    levels = np.floor((cavities[0] + rng.normal(0, 1.6 * step, count)) / step + 0.5)
    values, variances = np.empty(count), np.empty(count)
    cell_tables.within_cells(tables, cavities, slots, count, levels, point, density, values, variances)
    for i in range(count):
        low, high = (levels[i] - 0.5) * step, (levels[i] + 0.5) * step
        value, variance = within_cell(cavities[0, i], cavities[1, i], low, high, density)
        assert values[i] == pytest.approx(value, abs=0.03 * step) and variances[i] == pytest.approx(variance, rel=0.03)


def test_short_packets_and_unlike_cells_have_no_tables():
    tables, density = cell_tables.empty_tables(2), np.ones((1, 2))
    wide, narrow = (np.array([step, step / 2, 1.0, 8, -32768.0, 32767.0]) for step in (100.0, 3.0))
    for samples, point, there in ((1024, wide, True), (64, wide, False), (1024, wide, True), (1024, narrow, False)):
        cell_tables.prepare(tables, samples, (2 * point[0]) ** 2, 2, point, density)
        assert cell_tables.in_use(tables) == there
