"""Layered streams at their ends: cut inside a layer, refinements lost, side information without a sigma, codes that no table was made for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_wz.codec import layered, schemes
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layer_policy import Command
from edge_wz.codec.reconstruction import CONCEALED, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.model import SideFilter
from tests.layered_models import layered_model
from training.layered_streams import decode, send

SAMPLES = 3200
SIGMA = 6.0  # LSB, of the correlation noise


@pytest.fixture(scope="module")
def fixture():
    model = layered_model("y")
    moments = SideFilter(1, np.zeros(2), np.array([[4e4 + SIGMA**2, 4e4], [4e4, 4e4]]), np.ones(1))
    model = replace(model, decoder="posterior", side_filter=moments)
    rng = np.random.default_rng(1)
    y = rng.normal(0, 200, SAMPLES)
    codes = np.rint(y + rng.normal(0, SIGMA, SAMPLES)).astype(np.int16)
    return model, codes, SideInformation.of(y)


def test_without_its_refinement_a_packet_is_its_prefix(fixture):
    """Bit for bit: 30 % of the refinements are lost, nothing of what is left changes."""
    model, codes, side = fixture
    present = np.ones(SAMPLES, bool)
    prefix = {depth: decode(model, send(model.node, codes, present, Command(depth, depth)), side) for depth in (1, 3)}
    lossy = send(model.node, codes, present, Command(1, 3), refinement_loss=0.3, seed=2)
    got = decode(model, lossy, side)
    assert set(lossy.depths.tolist()) == {1, 3} and 0.2 < np.mean(lossy.depths == 1) < 0.4
    for depth, alone in prefix.items():
        came = lossy.depths == depth
        assert np.array_equal(got.values[came], alone.values[came]) and np.array_equal(got.sigmas[came], alone.sigmas[came])
    errors = [np.std(alone.values / 0.01 - codes) for alone in prefix.values()]
    assert errors[0] > 2 * errors[1]


def test_a_payload_that_ends_anywhere_says_the_layers_before(fixture):
    model, codes, _ = fixture
    row, present = codes[None, :16], np.ones((1, 16), bool)
    whole = layered.encode(model.node, 0, row, present, np.array([16]))[0]
    found = layered.messages(model.node, 0, row, present)
    tree = layered.flat_point(model.node, 0).tree
    assert len(whole) == 6
    for size in range(len(whole) + 1):
        parsed = schemes.parse(model.node, [whole[:size]], [0], [16], present, [0])
        layers = size // 2
        assert (parsed.status[0] < 0) == (layers == 0)
        if layers:
            assert np.array_equal(parsed.values, found // 2 ** (3 - layers) + tree.bases[layers])


@pytest.mark.parametrize("decoder", ["posterior", "kalman"])
@pytest.mark.parametrize("sigma", [np.nan, np.inf])
def test_side_information_of_unknown_sigma_counts_as_none(fixture, decoder, sigma):
    model, codes, side = fixture
    stream = send(model.node, codes, np.ones(SAMPLES, bool), Command(3, 3))
    unknown = SideInformation(side.values, np.full(side.values.shape, sigma))
    got = decode(model, stream, unknown, decoder)
    without = decode(model, stream, SideInformation(np.full(side.values.shape, np.nan), side.sigmas), decoder)
    assert np.isfinite(got.values).all() and np.isfinite(got.sigmas).all()
    assert np.array_equal(got.values, without.values)


@pytest.mark.parametrize("decoder", ["posterior", "kalman"])
def test_codes_beyond_the_trained_range_saturate(fixture, decoder):
    """The table ends near 1000: a code beyond it is sent as the outermost interval and decoded into it, whatever the neighbour says."""
    model, _, _ = fixture
    far = np.array([-32768, 32767, -1200, 1200], np.int16).repeat(4)
    stream = send(model.node, far, np.ones(16, bool), Command(3, 3))
    point = model.node.rate_points[0]
    found = layered.messages(model.node, 0, far[None, :], np.ones((1, 16), bool))[0]
    assert set(found.tolist()) == {int(point.numbers[0]), int(point.numbers[-1])}
    for told in (far.astype(float), np.zeros(16)):
        got = decode(model, stream, SideInformation.of(told), decoder)
        assert np.isfinite(got.values).all() and not np.any(got.flags & CONCEALED)


def test_nothing_at_all_is_concealed_from_the_neighbour(fixture):
    model, _, side = fixture
    indices = StreamIndices(np.full(16, NO_LEVEL, np.int32), np.zeros(16, np.int32), np.zeros(1, np.int64), np.full(1, -1, np.int32))
    engine = Decoder(model)
    got, _ = engine.reconstruct(engine.initial_state(), indices, side[:16])
    assert np.all(got.flags == CONCEALED) and np.abs(got.values / 0.01 - side.values[:16, 0]).max() < SIGMA
