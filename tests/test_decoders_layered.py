"""The posterior decoder of `layered` by table: within its stated bounds of the exact one, its flags and runs, whatever a sample's neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.layered import Tree
from edge_wz.codec.layered_decoder import Runs
from edge_wz.decoders import layered, layered_lookup
from edge_wz.formats import blob
from tests.layered_models import layered_model, modulo_table

SAMPLES = 40_000


def runs_of(alphabets=(2, 2, 2), period=64, reach=1000):
    return Runs(blob.make_layered(16, 20, 1.0, 0.0, [modulo_table(period, alphabets, reach)])).arrays


def drawn(alphabets, reach, seed=1):
    """Prefixes of all depths and beliefs that have nothing to do with them: the tails are tried, too."""
    rng = np.random.default_rng(seed)
    prefixes = rng.integers(0, Tree(alphabets).bases[-1], SAMPLES).astype(np.int32)
    prefixes[::97] = NO_LEVEL
    return prefixes, rng.uniform(-1.3 * reach, 1.3 * reach, SAMPLES)


def decode(kernel, arrays, prefixes, means, variances, lookup=()):
    out = np.empty(SAMPLES), np.empty(SAMPLES), np.empty(SAMPLES, np.uint8), np.empty(SAMPLES, np.int32)
    kernel(prefixes, np.zeros(SAMPLES, np.int32), *arrays, 0.0, means, variances, *lookup, *out)
    return out


@pytest.mark.parametrize(("alphabets", "period"), [((2, 2, 2), 64), ((4, 4), 64), ((8, 2), 160), ((2,), 300), ((2, 2, 2), 2000)])
@pytest.mark.parametrize("sigma", [6.0, 9.0, 40.0])
def test_table_is_within_its_bounds_of_the_exact_decoder(alphabets, period, sigma):
    arrays, (prefixes, means), belief = runs_of(alphabets, period), drawn(alphabets, 1000), np.array([sigma * sigma])
    lookup = layered_lookup.make(*arrays[:3], sigma * sigma)
    exact = decode(layered.posterior, arrays, prefixes, means, belief)
    table = decode(layered_lookup.posterior, arrays, prefixes, means, belief, lookup)
    assert np.abs(table[0] - exact[0]).max() <= 1.1 * layered_lookup.SHIFT_BOUND * sigma
    assert np.abs(table[1] / exact[1] - 1).max() <= layered_lookup.VARIANCE_BOUND
    assert np.array_equal(table[2], exact[2]) and np.array_equal(table[3], exact[3])


def test_most_of_a_table_is_read_off():
    marks = layered_lookup.make(*runs_of()[:3], 81.0).marks
    assert np.mean(marks == layered_lookup.EXACT) < 0.1


def test_other_variances_are_computed_and_a_cut_changes_nothing():
    arrays, (prefixes, means) = runs_of(), drawn((2, 2, 2), 1000)
    lookup = layered_lookup.make(*arrays[:3], 81.0)
    variances = np.where(np.arange(SAMPLES) % 3 == 0, 81.0, 200.0)
    exact = decode(layered.posterior, arrays, prefixes, means, variances)
    mixed = decode(layered_lookup.posterior, arrays, prefixes, means, variances, lookup)
    alone = decode(layered_lookup.posterior, arrays, prefixes, means, np.array([81.0]), lookup)
    usual = variances == 81.0
    for column in range(4):
        assert np.array_equal(mixed[column][~usual], exact[column][~usual])
        assert np.array_equal(mixed[column][usual], alone[column][usual])


def test_a_table_that_would_be_too_fine_is_not_made():
    arrays, (prefixes, means), belief = runs_of(reach=30_000, period=640), drawn((2, 2, 2), 30_000), np.array([1.0])
    lookup = layered_lookup.make(*arrays[:3], 1.0)
    assert lookup.marks.size == 0
    exact = decode(layered.posterior, arrays, prefixes, means, belief)
    assert all(map(np.array_equal, decode(layered_lookup.posterior, arrays, prefixes, means, belief, lookup), exact))


def test_rate_points_of_one_table_share_their_runs():
    one, three = runs_of(), Runs(layered_model().node).arrays
    assert len(three[3]) == 3 and set(three[3].tolist()) == {0}
    assert len(three[0]) == len(one[0])
