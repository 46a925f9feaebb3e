"""The learned decoder of a bundle, run through onnxruntime: a tiny network of random weights, at the codec, in a bundle and at the gateway."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest

from edge_wz.codec import layered_learned
from edge_wz.codec.layer_policy import Command
from edge_wz.codec.reconstruction import CONCEALED, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import FormatError, InputError
from edge_wz.formats import bundle
from edge_wz.gateway.pipeline import Pipeline
from edge_wz.model import SideFilter
from export.layered_decoder import LayeredDecoder, to_onnx
from tests.layered_models import layered_model
from tests.pipeline_fleet import Told, field_codes, make_fleet, predictive_model, run
from tests.test_layered_gateway import script_of
from training.layered_streams import decode, send

pytestmark = pytest.mark.train

HIDDEN, SAMPLES, SIGMA = 5, 700, 6.0
PERIODS = (0.5, 0.25)


def network() -> LayeredDecoder:
    rng = np.random.default_rng(1)
    inputs = 2 + 2 * len(PERIODS) + 2
    shapes = {"stack.enter": (HIDDEN, inputs), "stack.keep": (HIDDEN, HIDDEN), "stack.rise": (HIDDEN, HIDDEN), "stack.hold": (HIDDEN, HIDDEN),
              "head": (1, HIDDEN)}
    weights = {f"{name}.weight": rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": rng.normal(0, 0.1, shape[0]).astype(np.float32) for name, shape in shapes.items()}
    return LayeredDecoder((2, 2, 2), PERIODS, 1 / 200, 3.0, 0.01, weights)


@pytest.fixture(scope="module")
def model():
    moments = SideFilter(1, np.zeros(2), np.array([[4e4 + SIGMA**2, 4e4], [4e4, 4e4]]), np.ones(1))
    return replace(layered_model("y"), decoder="learned", side_filter=moments, learned=to_onnx(network()).SerializeToString())


@pytest.fixture(scope="module")
def stream(model):
    rng = np.random.default_rng(2)
    y = rng.normal(0, 200, SAMPLES)
    codes = np.rint(y + rng.normal(0, SIGMA, SAMPLES)).astype(np.int16)
    present = rng.random(SAMPLES) < 0.95
    return send(model.node, codes, present, Command(1, 3), refinement_loss=0.4, seed=3), SideInformation.of(y)


def test_values_are_the_networks_and_the_rest_is_that_of_posterior(model, stream):
    sent, side = stream
    learned, closed = decode(model, sent, side), decode(model, sent, side, "posterior")
    for name in ("sigmas", "flags", "levels"):
        assert np.array_equal(getattr(learned, name), getattr(closed, name))
    rows = sent.depths > 0
    prefixes = sent.indices.values[rows]
    tree = layered_learned.Tree((2, 2, 2))
    symbols, depths = layered_learned.symbols_of(tree, (2, 2, 2), prefixes)
    assert set(depths.tolist()) == {1, 3}
    moments = model.side_filter.cov
    gain = moments[0, 1] / moments[1, 1]
    sigma = np.sqrt(moments[0, 0] - gain * moments[0, 1])
    wanted = network().decode(gain * side.values[rows, 0], np.full(rows.sum(), sigma), symbols)[np.arange(len(depths)), depths - 1]
    assert np.abs(model.node.to_units(wanted) - learned.values[rows]).max() < 1e-4 * sigma
    concealed = closed.flags & CONCEALED != 0
    assert concealed.any() and np.array_equal(learned.values[concealed], closed.values[concealed])


def test_a_sample_does_not_depend_on_who_is_decoded_with_it(model, stream):
    sent, side = stream
    whole = decode(model, sent, side)
    engine, state = Decoder(model), Decoder(model).initial_state()
    slots = model.node.packet_samples
    parts = []
    for at in range(0, SAMPLES, 3 * slots):
        span = slice(at, min(at + 3 * slots, SAMPLES))
        starts = sent.indices.packet_starts
        inside = (starts >= span.start) & (starts < span.stop)
        one = replace(
            sent.indices, values=sent.indices.values[span], rate_points=sent.indices.rate_points[span],
            packet_starts=starts[inside] - span.start, checks=sent.indices.checks[inside],
        )  # fmt: skip
        part, state = engine.reconstruct(state, one, side[span])
        parts.append(part.values)
    assert np.array_equal(np.concatenate(parts), whole.values)


def test_a_bundle_carries_it(model, tmp_path):
    bundle.save(tmp_path / "m.ewz", model)
    loaded = bundle.load(tmp_path / "m.ewz")
    assert loaded.decoder == "learned" and loaded.learned == model.learned
    with pytest.raises(FormatError, match=r"layered_decoder.onnx: missing"):
        bundle.pack(replace(model, learned=b""))
    with pytest.raises(InputError, match="holds no learned decoder"):
        Decoder(replace(model, learned=b"", decoder="posterior"), "learned")
    with pytest.raises(FormatError, match="cannot be run"):
        Decoder(replace(model, learned=b"no graph"))


def test_without_the_package_one_line_says_what_to_do(model, monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(InputError, match="onnxruntime"):
        Decoder(model)


def test_the_gateway_runs_it(model):
    made = make_fleet({1: (predictive_model(), ()), 2: (model, (1,))})
    codes = field_codes(2, 400)
    by_name = {name: make_fleet({1: (predictive_model(), ()), 2: (replace(model, decoder=name), (1,))}) for name in ("learned", "posterior")}
    told = {name: Told.of(run(Pipeline(fleet), script_of(made, codes, Command(3, 3)))).column(2) for name, fleet in by_name.items()}
    assert np.isfinite(told["learned"]).all() and not np.array_equal(told["learned"], told["posterior"])
