"""Hard scheme, gaps, polishing, learned filters as a model: everything about learning that needs no torch."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError
from firmware_sim.field import pair_source
from training import nested_fit, nested_hard, nested_model, no_side
from training.evaluate import reconstruct
from training.material import from_arrays
from training.nested_hard import NestedFilters, Rows
from training.transmission import transmit

T = 60_000


def three_neighbours(samples=T, seed=1):
    """An AR(4) field in which neighbours are unlike and unequally noisy; x is the first column."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(samples + 100)
    out = []
    for noise, weight in ((0.05, 1.0), (0.1, 0.9), (0.3, 0.8), (0.6, 1.1)):
        drive = common * weight + 0.2 * rng.standard_normal(samples + 100)
        signal = lfilter([1.0], [1.0, -0.6, 0.2, -0.3, 0.1], drive)
        out.append(signal[100:] + noise * rng.standard_normal(samples))
    return np.stack(out)


@pytest.fixture(scope="module")
def field():
    return three_neighbours()


def made_filters(rows, moduli=(4,), taps=(1.0, -0.3, 0.1), side_taps=4):
    """Filters that fit each other without any training: b by least squares on the filtered source."""
    a = np.array(taps)
    mean_x, mean_y = rows.x[rows.warm(0)].mean(), rows.y[:, rows.warm(0)].mean(axis=1)
    u = nested_hard.causal(rows.x - mean_x, a)
    b = nested_hard.side_weights(Rows(u, rows.y, rows.segments), side_taps)
    spread = float(np.std(u)) * 0.6
    filters = NestedFilters(a, b, np.array([1.0, 0.3, 0.0, 0.0]), (6 * spread,) * len(moduli), moduli, float(mean_x), mean_y)
    return nested_hard.polish(filters, rows)


def through_packets(model, values, side):
    codes, _ = model.node.to_codes(values)
    received = transmit(model.node, codes, np.ones(len(codes), bool))
    return reconstruct(Decoder(model), received.indices, SideInformation.of(side))


@pytest.mark.parametrize("modulus", [2, 4, 6, 16])
def test_hard_scheme_and_integer_codec_agree(field, modulus):
    material = from_arrays(field[0] + 3.0, field[1:].T - 20.0)
    rows = nested_model.rows_of(material)
    filters = made_filters(rows, (modulus,))
    (float_db,) = nested_hard.sqnr_db(filters, rows)
    model = nested_model.to_model(filters, rows, material.scale, material.offset)
    result = through_packets(model, material.values, material.side)
    late = slice(filters.lags, None)
    errors = (result.values - material.values)[late]
    integer_db = 10 * np.log10(np.var(material.values[late]) / np.mean(errors**2))
    assert integer_db == pytest.approx(float_db, abs=0.02)


def test_rate_points_share_filters_and_keep_their_ranges(field):
    material = from_arrays(field[0], field[1:].T)
    rows = nested_model.rows_of(material)
    filters = made_filters(rows, (4, 8, 16))
    model = nested_model.to_model(filters, rows, material.scale, material.offset)
    found = [row["sqnr_db"] for row in nested_model.figures(model, material)]
    assert found == pytest.approx(nested_hard.sqnr_db(filters, rows), abs=0.05)
    assert found[1] > found[0] + 4 and found[2] > found[1] + 4


def test_moments_give_back_the_learned_filter_and_bridge_missing_neighbours(field):
    material = from_arrays(field[0], field[1:].T)
    rows = nested_model.rows_of(material)
    filters = made_filters(rows, (8,))
    moments = nested_model.to_model(filters, rows, material.scale, material.offset).side_filter
    weights = np.linalg.pinv(moments.cov[1:, 1:], rcond=1e-13, hermitian=True) @ moments.cov[0, 1:]
    assert weights.reshape(filters.b.shape) == pytest.approx(filters.b, rel=1e-6, abs=1e-6 * np.abs(filters.b).max())
    assert np.linalg.eigvalsh(moments.cov).min() > 0
    model = nested_model.to_model(filters, rows, material.scale, material.offset)
    silent = material.side.copy()
    silent[:, 2] = np.nan
    whole = np.mean((through_packets(model, material.values, material.side).values - material.values)[50:] ** 2)
    without = np.mean((through_packets(model, material.values, silent).values - material.values)[50:] ** 2)
    assert whole <= without < 3 * whole


def test_rows_know_their_gaps():
    x, y = np.arange(10.0), np.arange(20.0).reshape(2, 10)
    x[3], y[1, 7] = np.nan, np.nan
    rows = Rows.of(x, y)
    assert rows.segments == ((0, 3), (4, 7), (8, 10)) and rows.samples == 8
    assert np.flatnonzero(rows.warm(2)).tolist() == [2, 6]
    assert rows.usable(3) == 6 and np.isfinite(rows.x).all() and np.isfinite(rows.y).all()
    assert rows.part(2, 6).segments == ((0, 1), (2, 4)) and rows.part(3, 4).segments == ()


def test_a_recording_without_a_whole_row_is_refused():
    x = np.full(100, np.nan)
    assert Rows.of(x, np.zeros((1, 100))).samples == 0


def test_polish_finds_the_range_that_a_grid_finds(field):
    material = from_arrays(field[0], field[1:].T)
    rows = nested_model.rows_of(material)
    filters = made_filters(rows, (8,))
    best = max(nested_hard.sqnr_db(replace(filters, spans=(filters.spans[0] * f,)), rows)[0] for f in np.linspace(0.7, 1.4, 15))
    assert nested_hard.sqnr_db(filters, rows)[0] > best - 0.05


def test_the_tail_says_how_many_samples_would_show_wrong_candidates(field):
    rows = Rows.of(field[0], field[1:])
    few, many = nested_hard.tail_samples_needed(made_filters(rows, (4, 32)), rows)
    assert few < many


def test_too_short_recordings_say_how_many_samples_are_needed(field):
    from training.nested import Lesson

    with pytest.raises(DesignError, match="900 samples have the source and all neighbours; 25 taps need at least 5000"):
        nested_fit.fit(Rows.of(field[0, :900], field[1:, :900]), Lesson((4,)))


@pytest.mark.parametrize("levels", [2, 4, 8, 16])
def test_without_side_information_the_known_figures_come_out(levels):
    normal = np.random.default_rng(0).standard_normal(200_000)
    known = {2: (4.40, 4.40), 4: (9.30, 9.25), 8: (14.62, 14.27), 16: (20.22, 19.38)}[levels]  # Jayant and Noll, table 4.4
    for coder, expected in zip((no_side.lloyd_max, no_side.uniform), known, strict=True):
        found = 10 * np.log10(1 / np.mean((normal - coder(normal, levels)(normal)) ** 2))
        assert found == pytest.approx(expected, abs=0.12)


def test_dpcm_reaches_what_the_literature_reports():
    train, test = (pair_source("fig5").generate(100_000, seed)["x"] for seed in (1, 2))
    for bits, expected in ((2, 11.83), (4, 23.07)):
        found = 10 * np.log10(np.var(test) / np.mean((test - no_side.dpcm(train, 1 << bits)(test)) ** 2))
        assert found == pytest.approx(expected, abs=0.3)
