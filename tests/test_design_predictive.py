"""Tables and the design of `predictive`: what is promised is kept, and the bits come near the entropy."""

import numpy as np
import pytest

from edge_wz.errors import DesignError, InputError
from training import design_predictive as predictive
from training.cdf_fit import fit_table, integer_cdf, symbols_of
from training.data import from_columns
from training.design import design
from training.design_predictive import measure_predictive
from training.material import from_arrays, wanders
from training.rivals import UNUSED


@pytest.fixture(scope="module")
def drift():
    rng = np.random.default_rng(4)
    values = np.zeros(24_000)
    noise = rng.standard_normal(len(values))
    for n in range(1, len(values)):
        values[n] = 0.98 * values[n - 1] + noise[n]
    return np.round(values, 2)


def test_every_symbol_has_a_code_and_sizes_sum_up():
    cdf = integer_cdf(np.array([1e9, 0.0, 1.0, 1e-9]), 8)
    assert cdf[0] == 0 and cdf[-1] == 256 and np.diff(cdf).min() >= 1


def test_escape_classes_follow_the_bit_length():
    symbols, extra = symbols_of(np.array([0, 2, -2, 3, -4, 5, 6, 10]), 2)
    assert symbols.tolist() == [2, 4, 0, 5, 6, 7, 7, 8]
    assert extra.tolist() == [0, 0, 0, 1, 1, 2, 2, 3]


def test_a_table_codes_its_own_levels_near_their_entropy():
    levels = np.rint(np.random.default_rng(1).laplace(0, 3, 20_000)).astype(np.int64)
    counts = np.unique(levels, return_counts=True)[1] / len(levels)
    entropy = -np.sum(counts * np.log2(counts))
    bits = fit_table(levels, 512, 256, 14).bits(levels, 14) / len(levels)
    assert entropy - 0.01 < bits < entropy + 0.03


def test_an_empty_group_still_gets_a_table():
    table = fit_table(np.zeros(0, dtype=np.int64), 256, 128, 14)
    assert np.diff(table.cdf).min() >= 1


def test_bits_come_near_the_closed_loop_entropy(drift):
    model = design(from_columns({"x": drift[:16_000]}), "x", scheme="predictive", step=0.5, packet_samples=64)
    material = from_arrays(drift[16_000:], np.empty((8000, 0)), (model.node.scale, model.node.offset))
    bits, mse = measure_predictive(model, material)
    ideal = 0.5 * np.log2(2 * np.pi * np.e) - np.log2(0.5)  # innovations of sigma 1 in cells of 0.5
    assert ideal - 0.05 < bits < ideal + 0.15
    assert mse < 0.5**2 / 12 * 1.02


def test_max_error_is_kept_for_every_sample(drift):
    model = design(from_columns({"x": drift[:6000]}), "x", scheme="predictive", max_error=0.07)
    wild = np.concatenate([drift[6000:7000], 50 * np.sign(np.sin(np.arange(1000)))])
    material = from_arrays(wild, np.empty((len(wild), 0)), (model.node.scale, model.node.offset))
    for decoder in ("midpoint", "kalman"):
        assert np.sqrt(measure_predictive(model, material, 0, decoder)[1]) < 0.07 + 1e-9
    assert model.node.rate_points[0].step_q8 == 256 * 15
    assert model.max_error == pytest.approx(0.07)


def test_a_rate_finds_its_step(drift):
    model = design(from_columns({"x": drift[:8000]}), "x", scheme="predictive", rate=2.0)
    assert model.measured["training"][0]["bits"] == pytest.approx(2.0, abs=0.25)


def test_refusals(drift):
    with pytest.raises(InputError, match="no level check"):
        design(from_columns({"x": drift[:2000]}), "x", scheme="predictive", step=0.5, level_check_bits=8)
    with pytest.raises(DesignError, match="too few for packets of 512"):
        design(from_columns({"x": drift[:1000]}), "x", scheme="predictive", step=0.5, packet_samples=512)
    with pytest.raises(InputError, match="below half a code"):
        design(from_columns({"x": drift[:2000] + np.random.default_rng(1).random(2000)}), "x", max_error=1e-9)


def test_where_the_level_wanders_rows_predict_changes():
    rng = np.random.default_rng(5)
    drift = np.cumsum(rng.normal(0, 1, 768)) + np.linspace(0, 2000, 768)
    noise = rng.normal(0, 100, 768)
    assert wanders(drift) and not wanders(noise) and not wanders(drift[:64])
    made = predictive.build(from_arrays(drift, np.empty((768, 0)), (1.0, 0.0)), UNUSED, ((512, 256),), 32, 128)
    assert all(int(row[0]) == 0 and int(row[1:].sum()) in range(4094, 4099) for row in made.node.predictors[1:])
