"""Identification, limits and the design of `nested`, on sources whose answers are known."""

import numpy as np
import pytest

from edge_wz.codec.bounds import widest_cell_lsb
from edge_wz.errors import DesignError, InputError, RecordingError
from firmware_sim.field import fig5, fig6, fig7
from training import limits
from training.data import from_columns
from training.design import design, from_state_space
from training.design_nested import Tail, bounded_point, nested_point
from training.material import from_arrays, measure
from training.state_space import faded, identify, prediction_variance, simulate


@pytest.fixture(scope="module")
def pair():
    return fig5().field.generate(40_000, 1)


def recording_of(values):
    return from_columns({"x": values[:, 0], "y": values[:, 1]})


@pytest.mark.parametrize(("source", "offset"), [(fig5(), 17.09), (fig6(), 16.71), (fig7(), 18.86)])
def test_limits_of_the_three_pairs(source, offset):
    space = source.state_space()
    for bits in (1.0, 2.0, 4.0):
        assert limits.wyner_ziv_sqnr_db(space, bits) == pytest.approx(offset + 6.0206 * bits, abs=0.02)
    assert limits.no_side_sqnr_db(space, 2.0) < limits.wyner_ziv_sqnr_db(space, 2.0)


def test_rate_and_distortion_are_inverse():
    spectrum = limits.conditional_spectrum(fig7().state_space())
    for bits in (0.1, 1.0, 3.0):
        assert limits.rate(spectrum, limits.distortion(spectrum, bits)) == pytest.approx(bits, abs=1e-6)
    assert limits.rate(spectrum, float(spectrum.mean()) * 1.01) == 0.0


@pytest.mark.parametrize("source", [fig5(), fig6(), fig7()])
def test_identified_models_predict_like_the_true_one(source):
    values = source.field.generate(20_000, 3)
    found = identify(values[:, 0], values[:, 1:], 0.01)
    truth = prediction_variance(source.state_space(), 0.01)
    assert prediction_variance(found.space, 0.01) == pytest.approx(truth, rel=0.08)
    joint = np.block([[found.space.Q, found.space.S], [found.space.S.T, found.space.R]])
    assert np.linalg.eigvalsh(joint).min() > 0
    assert np.abs(np.linalg.eigvals(found.space.A)).max() < 1


def test_identification_lives_with_gaps(pair):
    holed = pair[:20_000].copy()
    rng = np.random.default_rng(0)
    holed[rng.random(len(holed)) < 0.03, 0] = np.nan
    holed[5000:5400] = np.nan
    found = identify(holed[:, 0], holed[:, 1:], 0.01)
    assert prediction_variance(found.space, 0.01) == pytest.approx(
        prediction_variance(fig5().state_space(), 0.01), rel=0.15
    )


def test_a_simulated_stream_has_the_variance_of_its_model():
    space = fig7().state_space()
    assert np.var(simulate(space, 60_000, 5)[:, 0]) == pytest.approx(limits.source_variance(space), rel=0.06)
    assert limits.source_variance(faded(space, 0.9, 1.0)) == pytest.approx(limits.source_variance(space), rel=1e-3)


@pytest.mark.parametrize("rate", [1, 3])
def test_designed_from_a_recording_reaches_the_table(pair, rate):
    model = design(recording_of(pair), "x", ["y"], rate=rate)
    fresh = fig5().field.generate(60_000, 77)
    material = from_arrays(fresh[:, 0], fresh[:, 1:], (model.node.scale, model.node.offset))
    assert measure(model, material).sqnr_db > {1: 19.15, 3: 28.10}[rate] - 0.3
    assert model.node.rate_points[0].modulus == 2**rate
    assert (model.source, model.side, model.decoder) == ("x", ("y",), "kalman")


def test_known_statistics_need_no_recording():
    model = from_state_space(fig5().state_space(), rate=[2, 2.585], samples=40_000, side=["y"])
    assert [point.modulus for point in model.node.rate_points] == [4, 6]
    assert model.measured["training"][0]["sqnr_db"] > 22.7


def test_all_three_decoders_read_one_stream(pair):
    model = design(recording_of(pair), "x", ["y"], rate=3, decoder="nearest")
    material = from_arrays(pair[:, 0], pair[:, 1:], (model.node.scale, model.node.offset))
    got = {name: measure(model, material, 0, name).sqnr_db for name in ("nearest", "posterior", "kalman")}
    assert got["nearest"] > 27.2
    assert got["kalman"] >= got["posterior"] - 0.05 >= got["nearest"] - 0.1


def test_max_error_holds_in_the_right_cells_and_says_its_risk(pair):
    values = np.round(pair[:20_000], 2)
    model = design(from_columns({"x": values[:, 0], "y": values[:, 1]}), "x", ["y"], max_error=0.05)
    material = from_arrays(values[:, 0], values[:, 1:], (model.node.scale, model.node.offset))
    figures = measure(model, material)
    errors = np.abs(figures.reconstruction.values - values[:, 0])
    assert np.mean(errors > 0.05 + 1e-6) <= 1e-3
    assert model.measured["training"][0]["wrong_cell_probability"] < 2e-4


@pytest.mark.parametrize("width", [1, 2, 3, 7, 11, 100, 333, 4001])
def test_no_cell_is_wider_than_promised(width):
    from edge_wz.formats.blob import make_nested

    node = make_nested(32, 128, 0, 1.0, 0.0, [bounded_point(width, 16)])
    assert widest_cell_lsb(node) <= width


@pytest.mark.parametrize("step", [1.0, 1.5, 7.3, 1000.0, 60000.0])
def test_the_step_survives_its_integers(step):
    _, shift, rounding, (tap,) = nested_point(step, 4)
    assert (1 << shift) / tap == pytest.approx(step, rel=1e-4 if step < 1000 else 0.05)
    assert rounding == 1 << (shift - 1)


def test_a_tail_is_extended_beyond_what_was_seen():
    tail = Tail.of(np.random.default_rng(1).exponential(1.0, 1000))
    assert tail.quantile(1e-6) == pytest.approx(13.8, rel=0.35)
    assert tail.beyond(tail.quantile(1e-5)) == pytest.approx(1e-5, rel=1e-6)


def test_designs_that_cannot_be_are_refused(pair):
    good = recording_of(pair[:3000])
    copied = from_columns({"x": pair[:3000, 0], "y": pair[:3000, 0]})
    with pytest.raises(DesignError, match="copy of 'x'"):
        design(copied, "x", ["y"], rate=2)
    with pytest.raises(DesignError, match="has 100 samples, a design needs at least 200"):
        design(good.part(0, 100), "x", ["y"], rate=2)
    with pytest.raises(DesignError, match="own neighbour"):
        design(good, "x", ["x"], rate=2)
    with pytest.raises(RecordingError, match="constant"):
        design(from_columns({"x": np.ones(500), "y": pair[:500, 1]}), "x", ["y"], rate=2)
    with pytest.raises(InputError, match="exactly one of"):
        design(good, "x", ["y"])
    with pytest.raises(InputError, match="exactly one of"):
        design(good, "x", ["y"], rate=2, step=0.1)
    with pytest.raises(InputError, match="decoder 'magic'"):
        design(good, "x", ["y"], rate=2, decoder="magic")
    with pytest.raises(DesignError, match="bins"):
        design(good, "x", ["y"], rate=20)


def test_without_neighbours_the_past_is_the_side_information():
    drift = np.cumsum(np.random.default_rng(2).standard_normal(8000)) * 0.05
    model = design(from_columns({"x": np.round(drift, 2)}), "x", (), rate=3)
    assert model.side == () and model.measured["training"][0]["sqnr_db"] > 25
