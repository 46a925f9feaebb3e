"""Learned layers: compile, parity of decoders, the gate, and measuring through the node's integers."""

import numpy as np
import pytest

from edge_wz.errors import DesignError
from export.layered_table import compile_table, enumerate_table, table_bytes
from training import layered_gate, layered_measure, layered_pairs
from training import layered_lloyd as lloyd

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from export import layered_decoder  # noqa: E402
from training import layered, layered_compile  # noqa: E402
from training.layered_network import Networks, Prior, one_hot  # noqa: E402

PAIRS = layered_pairs.gaussian(0.1)


def lesson(alphabets=(2, 2), mode="marginal", steps=24, recipe=layered.DEFAULT):
    return layered.Lesson(alphabets, mode, (100.0,) * len(alphabets), steps, recipe)


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    return layered.train(PAIRS, lesson(steps=48))


@pytest.fixture(scope="module")
def point(trained):
    return layered_compile.compiled(trained, PAIRS)


def test_table_says_what_the_encoder_says_for_every_code(trained, point):
    """In other batches and another order than it was compiled in."""
    codes = np.random.default_rng(0).permutation(65536) - 32768
    batches = [layered_compile.encoder_numbers(trained.networks, PAIRS, part) for part in np.array_split(codes, 40)]
    assert np.array_equal(enumerate_table(point)[codes + 32768], np.concatenate(batches))


def test_encoder_saturates_outside_the_trained_range(point):
    limits = PAIRS.to_codes(np.array([-PAIRS.reach, PAIRS.reach]))
    assert limits[0] < point.thresholds[0]
    assert point.thresholds[-1] < limits[1]


def test_distilled_encoder_folds_the_source(point):
    assert len(point.messages) > 8


@pytest.mark.parametrize("recipe", layered.RECIPES.values(), ids=layered.RECIPES)
@pytest.mark.parametrize(("alphabets", "mode"), [((8,), "marginal"), ((4, 2), "conditional")])
def test_torch_numpy_and_onnx_decode_alike(recipe, alphabets, mode):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    torch.manual_seed(1)
    networks = Networks(lesson(alphabets, mode, recipe=recipe).shape(PAIRS))
    decoder = layered_compile.decoder_of(networks, PAIRS)
    session = onnxruntime.InferenceSession(layered_decoder.to_onnx(decoder).SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(2)
    y = rng.normal(0, 4096, 5000).astype(np.float32)
    sigma = rng.uniform(400, 4000, 5000).astype(np.float32)
    symbols = np.stack([rng.integers(size, size=5000) for size in alphabets], axis=1)
    by_onnx = session.run(None, {"y": y, "sigma": sigma, "symbols": symbols})[0]
    by_numpy = decoder.decode(y, sigma, symbols)
    normal = PAIRS.to_normal(y), sigma * PAIRS.lsb
    by_torch = layered_compile.learned_values(networks, *normal, symbols)[0] / PAIRS.lsb
    assert np.abs(by_onnx - by_numpy).max() < 1e-5 * 65536
    assert np.abs(by_torch - by_numpy).max() < 1e-5 * 65536


def test_a_prefix_is_decoded_without_what_follows(trained):
    decoder = layered_compile.decoder_of(trained.networks, PAIRS)
    y, sigma = np.linspace(-9000, 9000, 50), np.full(50, 1295.0)
    some, others = (decoder.decode(y, sigma, np.full((50, 2), (1, last))) for last in (0, 1))
    assert np.array_equal(some[:, 0], others[:, 0])
    assert not np.allclose(some[:, 1], others[:, 1])


def test_priors_send_no_gradient_into_the_symbols():
    prior = Prior(lesson((2, 2), "conditional").shape(PAIRS))
    symbols = [hot.requires_grad_() for hot in one_hot(torch.tensor([[0, 1], [1, 1]]), (2, 2))]
    logs = prior(torch.zeros(2), torch.ones(2), symbols)
    logs[1].sum().backward()
    assert symbols[0].grad is None


@pytest.mark.parametrize("mode", lloyd.MODES)
def test_published_recipe_runs(mode):
    found = layered.train(PAIRS, lesson((2, 2, 2), mode, 4, layered.PUBLISHED))
    assert len(found.shares) == 3
    assert found.rescues == 0


def test_collapse_names_the_layer_and_has_an_exit_code():
    dead = layered.dead_layers(((0.5, 0.5), (0.9999, 0.0001)))
    assert dead == ("layer 1 of 2 sends symbol 1 for 0.01 % of the samples",)
    collapsed = layered.Trained(Networks(lesson().shape(PAIRS)), lesson(), (), (), dead, 0)
    with pytest.raises(DesignError, match="layer 1 of 2") as caught:
        collapsed.require_alive()
    assert caught.value.exit_code == 8


def test_layers_that_do_not_fold_are_named_and_have_an_exit_code():
    """What the published recipe ends with: every symbol lives, but a layer has one threshold."""
    thresholds = np.searchsorted([-5400, -2700, -1300, 1300, 2700, 5400], np.arange(-32768, 32768), side="right")
    slack = compile_table(np.array([0, 1, 2, 3, 4, 5, 6])[thresholds], (2, 2, 2))
    found = layered_gate.compare(slack, PAIRS, "marginal", (100.0,) * 3)
    assert [line.split(" costs")[0] for line in found.failed] == ["layer 1 of 3", "layer 2 of 3"]
    with pytest.raises(DesignError, match="collapsed: layer 1 of 3") as caught:
        found.require_sound()
    assert caught.value.exit_code == 8


def test_the_published_recipe_does_not_pass():
    """After so few steps it may not even have a threshold; `benchmarks.layered_figures` has the long runs."""
    found = layered.train(PAIRS, lesson((2, 2, 2), "marginal", 10, layered.PUBLISHED))
    with pytest.raises(DesignError):
        layered_gate.compare(layered_compile.compiled(found, PAIRS), PAIRS, "marginal", (100.0,) * 3).require_sound()


@pytest.mark.parametrize(("alphabets", "mode"), [((2, 2, 2), "marginal"), ((4, 4), "conditional")])
def test_what_was_designed_passes(alphabets, mode):
    joint = lloyd.gaussian_joint(4096, 4096 * np.sqrt(0.1))
    point = lloyd.design(joint, lloyd.task(joint, alphabets, mode), periods=(7.0,)).point
    layered_gate.compare(point, PAIRS, mode, (100.0,) * len(alphabets)).require_sound()


def test_gate_refuses_an_encoder_that_never_lived():
    still = layered_pairs.Pairs("still", lambda rng, n: (np.full(n, 3.0), np.zeros(n), np.ones(n)), 1.0)
    with pytest.raises(DesignError, match="collapsed: layer 0"):
        layered.train(still, lesson((8,), steps=3, recipe=layered.Recipe("nothing", gate=True)))


def test_digits_of_nested_modulo_are_the_design_s():
    joint = lloyd.gaussian_joint(4096, 4096 * np.sqrt(0.1))
    task = lloyd.task(joint, (4, 2))
    digits = layered.nested_digits(joint.centres / 4096, np.sqrt(0.1), (4, 2))
    ours = np.ravel_multi_index(tuple(digits.T), (4, 2))
    assert np.mean(ours == lloyd.nested_messages(joint, task, 7.0)) > 0.99


def test_measured_through_integers_is_what_the_grid_says():
    joint = lloyd.gaussian_joint(4096, 4096 * np.sqrt(0.1))
    found = lloyd.design(joint, lloyd.task(joint, (2, 2, 2), "conditional"), periods=(7.0,))
    measured = layered_measure.measure(found.point, PAIRS, 1_000_000)
    assert np.allclose(measured.distortion_db, 10 * np.log10(np.array(found.distortions) / 4096**2), atol=0.06)
    assert np.allclose(measured.ideal_bits, found.rates, atol=0.02)
    assert measured.sent_bits == pytest.approx((1, 2, 3), abs=0.003)


def test_table_bytes_are_those_of_the_blob():
    joint = lloyd.gaussian_joint(4096, 4096 * np.sqrt(0.1))
    for alphabets in ((2, 2), (2, 2, 2), (8, 4)):
        task = lloyd.task(joint, alphabets)
        messages = lloyd.nested_messages(joint, task, 7.0)
        point = compile_table(enumerate_table(lloyd.table_of(joint, task, messages)), alphabets)
        more = compile_table(np.arange(65536) // 32768, alphabets)
        grown = len(layered_measure.node_of(point).blob) - len(layered_measure.node_of(more).blob)
        assert abs(grown - (table_bytes(point) - table_bytes(more))) < 4


@pytest.mark.parametrize("numbers", [np.zeros(65536, int), np.arange(65536) % 4, np.full(65536, 9), np.zeros(10, int)])
def test_what_makes_no_table_is_refused(numbers):
    with pytest.raises(DesignError):
        compile_table(numbers, (2, 2))


def test_recorded_pairs_need_rows():
    with pytest.raises(DesignError, match="training needs"):
        layered_pairs.recorded("short.csv", np.zeros(10), np.zeros(10), np.ones(10))
