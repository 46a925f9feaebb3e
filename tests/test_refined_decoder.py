"""Decoder `refine` on whole streams: cuts between packets, losses, missing neighbours, the guarantee, and what it gains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import CONCEALED, RESOLVED, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import FormatError, InputError
from edge_wz.formats import bundle
from edge_wz.model import Model
from training import refinement as fitting
from training.data import from_columns
from training.design import design
from training.design_refined import stream_of
from training.material import gather

SAMPLES, PACKET, STEP = 16_000, 32, 6.0


def field(seed: int, samples: int = SAMPLES):
    """A smooth AR(2) and two noisy views of it, all whole numbers."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=samples)
    x = np.zeros(samples)
    for n in range(2, samples):
        x[n] = 1.8 * x[n - 1] - 0.85 * x[n - 2] + noise[n]
    views = {name: np.rint(x * 4 + rng.normal(scale=3.0, size=samples)) for name in ("y1", "y2")}
    return from_columns({"x": np.rint(x * 4), **views}, 1.0)


@pytest.fixture(scope="module")
def model() -> Model:
    plain = design(field(1), "x", ("y1", "y2"), "predictive", step=4 * STEP, decoder="midpoint", packet_samples=PACKET)
    moments = fitting.fit(stream_of(plain, gather(field(1), "x", ("y1", "y2")), 0)[0])
    return replace(plain, refinement=moments, decoder="refine")


@pytest.fixture(scope="module")
def received(model):
    """(truth, indices, side) of a fresh recording."""
    material = gather(field(2), "x", ("y1", "y2"))
    _, indices, _ = stream_of(model, material, 0)
    return material.values, indices, SideInformation.of(material.side)


def run(model: Model, indices: StreamIndices, side: SideInformation, decoder: str | None = None):
    engine = Decoder(model, decoder)
    heard = side if engine.neighbours else SideInformation.none(indices.values.size)
    return engine.reconstruct(engine.initial_state(), indices, heard)[0]


def error(truth: np.ndarray, values: np.ndarray) -> float:
    return float(np.sqrt(np.mean((values - truth) ** 2)))


def lose(indices: StreamIndices, first: int, packets: int) -> StreamIndices:
    """Packets `first` and following never arrived."""
    span = slice(first * PACKET, (first + packets) * PACKET)
    values, preds, recon = indices.values.copy(), indices.preds.copy(), indices.recon.copy()
    values[span], preds[span], recon[span] = NO_LEVEL, 0, 0
    return replace(indices, values=values, preds=preds, recon=recon)


def part(indices: StreamIndices, packets: slice) -> StreamIndices:
    span = slice(packets.start * PACKET, packets.stop * PACKET)
    arrays = (indices.values[span], indices.rate_points[span], indices.packet_starts[packets] - span.start)
    return StreamIndices(*arrays, indices.checks[packets], indices.preds[span], indices.recon[span])


def same(a, b) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("values", "sigmas", "flags", "levels"))


def test_it_beats_midpoint_and_kalman(model, received):
    errors = {name: error(received[0], run(model, *received[1:], name).values) for name in ("midpoint", "kalman", "refine")}
    assert model.refinement.neighbours == 2
    assert errors["refine"] < 0.97 * errors["kalman"] < errors["midpoint"]


def test_stated_sigmas_are_the_errors_made(model, received):
    result = run(model, *received[1:])
    assert 0.9 < np.sqrt(np.mean(result.sigmas**2)) / error(received[0], result.values) < 1.1


@pytest.mark.parametrize("sizes", [(1,), (2, 1, 5), (37,)])
def test_cuts_between_packets_change_no_bit(model, received, sizes):
    indices, side = lose(received[1], 40, 2), received[2]
    side.values[700:760, 1] = np.nan
    whole = run(model, indices, side)
    engine, state, at, parts = Decoder(model), Decoder(model).initial_state(), 0, []
    packets = len(indices.packet_starts)
    while at < packets:
        stop = min(at + sizes[len(parts) % len(sizes)], packets)
        before = state.copy()
        piece, after = engine.reconstruct(state, part(indices, slice(at, stop)), side[slice(at * PACKET, stop * PACKET)])
        assert np.array_equal(before, state, equal_nan=True)
        parts.append(piece)
        state, at = after, stop
    joined = [np.concatenate([getattr(piece, name) for piece in parts]) for name in ("values", "sigmas", "flags", "levels")]
    assert same(whole, replace(whole, **dict(zip(("values", "sigmas", "flags", "levels"), joined, strict=True))))


def test_every_value_lies_in_its_cell(model, received):
    result = run(model, *received[1:])
    lsb = (result.values - model.node.offset) / model.node.scale
    half = model.node.rate_points[0].step / 2 + 0.5
    assert np.all(np.abs(lsb - received[1].recon) <= half + 1e-6)
    assert np.all(result.flags == RESOLVED)


def test_a_lost_packet_is_concealed_and_harms_five_samples(model, received):
    truth, indices, side = received
    whole, holed = run(model, indices, side), run(model, lose(indices, 100, 1), side)
    gone = slice(100 * PACKET, 101 * PACKET)
    assert np.all(holed.flags[gone] == CONCEALED)
    assert np.array_equal(whole.values[: gone.start], holed.values[: gone.start])
    # a second pass reads what the first one did there
    assert np.array_equal(whole.values[gone.stop + 20 :], holed.values[gone.stop + 20 :])
    # neighbours conceal far better than holding does
    held = run(replace(model, state_space=None), lose(indices, 100, 1), side)
    assert error(truth[gone], holed.values[gone]) < 0.5 * error(truth[gone], held.values[gone])


def test_missing_neighbours_cost_quality_only(model, received):
    truth, indices, side = received
    blind = SideInformation.none(len(truth), 2)
    one = SideInformation(side.values.copy(), side.sigmas)
    one.values[:, 0] = np.nan
    errors = [error(truth, run(model, indices, heard).values) for heard in (side, one, blind)]
    assert errors[0] < errors[1] < errors[2] < error(truth, run(model, indices, side, "midpoint").values)


def test_the_guarantee_holds():
    bounded = design(field(3), "x", ("y1",), "predictive", max_error=9.0, decoder="refine", packet_samples=PACKET)
    material = gather(field(4), "x", ("y1",))
    _, indices, _ = stream_of(bounded, material, 0)
    result = run(bounded, indices, SideInformation.of(material.side))
    assert bounded.max_error <= 9.0
    assert np.max(np.abs(result.values - material.values)) <= bounded.max_error + 1e-6


def test_absent_samples_are_concealed_and_their_neighbours_refined(model):
    recording = field(5)
    x = recording.column("x").copy()
    x[np.random.default_rng(5).random(len(x)) < 0.05] = np.nan
    material = gather(from_columns({**recording.columns, "x": x}, 1.0), "x", ("y1", "y2"))
    _, indices, _ = stream_of(model, material, 0)
    side = SideInformation.of(material.side)
    result, plain = run(model, indices, side), run(model, indices, side, "midpoint")
    there = material.present
    assert np.all(np.isfinite(result.values)) and np.all((result.flags == CONCEALED) == ~there)
    assert error(x[there], result.values[there]) < error(x[there], plain.values[there])


def test_it_travels_in_a_bundle(model, received):
    again = bundle.parse(bundle.pack(model))
    assert same(run(model, *received[1:]), run(again, *received[1:]))
    with pytest.raises(FormatError, match="needs moments"):
        bundle.pack(replace(model, refinement=None))
    with pytest.raises(InputError, match="no moments"):
        Decoder(replace(model, refinement=None))


def test_a_packet_alone_is_refined_as_far_as_it_goes(model, received):
    first = part(received[1], slice(0, 1))
    result = run(model, first, received[2][slice(0, PACKET)])
    assert same(result, run(model, first, received[2][slice(0, PACKET)]))
    empty = StreamIndices(*(np.zeros(0, np.int32),) * 2, np.zeros(0, np.int64), *(np.zeros(0, np.int32),) * 3)
    assert run(model, empty, SideInformation.none(0, 2)).values.size == 0
