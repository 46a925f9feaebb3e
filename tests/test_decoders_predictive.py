"""`predictive` from the node to the sample: cells, then encoder, packets, parser and both decoders, also where packets are lost."""

from dataclasses import replace

import numpy as np
import pytest

from edge_wz.codec import bounds
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.indices import StreamIndices, flatten
from edge_wz.codec.reconstruction import CONCEALED, RESOLVED, Decoder
from edge_wz.codec.schemes import parse
from edge_wz.codec.side_information import SideInformation
from edge_wz.decoders import hold
from edge_wz.formats import blob, packet
from edge_wz.formats.sections.predictive import escape_classes
from edge_wz.model import Model
from tests.decoder_models import PACKET, part
from tests.fleet_models import state_space

SCALE, OFFSET = 0.01, 3.0
LOST = slice(20 * PACKET, 23 * PACKET)


def rate_point(rng: np.random.Generator, step_q8: int):
    rounding, direct = int(rng.integers(step_q8 // 2 + 1)), int(rng.integers(1, 6))
    symbols = 2 * direct + escape_classes(step_q8, rounding, direct) + 3
    cuts = np.sort(rng.choice(np.arange(1, 1 << 12), symbols - 2, replace=False))
    return step_q8, rounding, [(direct, [0, *cuts.tolist(), 1 << 12])] * 2


def predictive_model(seed: int, decoder: str, neighbours: int = 1) -> Model:
    """Random steps, roundings and tables, two rate points; the state space is that of `field`."""
    rng = np.random.default_rng(seed)
    points = [rate_point(rng, int(step)) for step in rng.integers(256, 20 * 256, 2)]
    node = blob.make_predictive(PACKET, 20, SCALE, OFFSET, 1, [[0], [0, 3891]], [], 1, 1, 12, points)
    promised = max(bounds.max_error(node, 0), bounds.max_error(node, 1))
    space = state_space(1.0, (0.1,) * neighbours)
    return Model(node, decoder, side=("y",) * neighbours, state_space=space, max_error=promised)


def field(samples: int, seed: int, neighbours: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(codes of the source, neighbours), by the state space of `fleet_models`."""
    rng = np.random.default_rng(seed)
    state, steps = np.empty(samples), rng.normal(size=samples) * np.sqrt(1 - 0.95**2)
    value = 0.0
    for n in range(samples):
        state[n] = value
        value = 0.95 * value + steps[n]
    codes = np.rint(100 * state + 5 * rng.normal(size=samples)).astype(np.int16)
    return codes, state[:, None] + 0.1 * rng.normal(size=(samples, neighbours))


def sent(model: Model, codes: np.ndarray, rate_points: tuple[int, ...] = (0,)) -> StreamIndices:
    """Through the node and the parser; the rate point changes after each run of ten packets."""
    encoder, raws = NodeEncoder(model.node, 1, period_us=1000), []
    for number, start in enumerate(range(0, codes.size, 10 * PACKET)):
        encoder.rate_point = rate_points[number % len(rate_points)]
        raws += encoder.encode(codes[start : start + 10 * PACKET])
    headers = [packet.peek(raw) for raw in raws]
    kept = [n for n, raw in enumerate(raws) if packet.plain_header(raw, 0) >= 0]
    payloads = [packet.plain_payload(raws[n], 0) for n in kept]
    indices = parse(model.node, payloads, [headers[n].rate_point for n in kept], [PACKET] * len(kept))
    assert not indices.status.any() and indices.values.size == codes.size
    return flatten(indices)


def lose(indices: StreamIndices, span: slice) -> StreamIndices:
    values, preds, recon = indices.values.copy(), indices.preds.copy(), indices.recon.copy()
    values[span], preds[span], recon[span] = NO_LEVEL, 0, 0
    return StreamIndices(values, indices.rate_points, indices.packet_starts, indices.checks, preds, recon)


def decode(model: Model, indices: StreamIndices, y: np.ndarray, decoder: str | None = None):
    engine = Decoder(model, decoder)
    heard = SideInformation.of(y) if engine.neighbours else SideInformation.none(len(y))
    return engine.reconstruct(engine.initial_state(), indices, heard)[0]


@pytest.mark.parametrize(("step", "rounding"), [(256, 128), (5 * 256, 640), (1000, 333), (1000, 500)])
def test_cells_hold_exactly_the_codes_of_a_level(step, rounding):
    """From level to cell and back: first and last code have this level, the codes beside them do not."""
    codes = np.arange(-60, 60)
    differences = codes - 7
    levels = (np.sign(differences) * ((np.abs(differences) * 256 + rounding) // step)).astype(np.int32)
    lows, highs = np.empty(levels.size), np.empty(levels.size)
    hold.predictive_cells(
        levels, np.full(levels.size, 7, np.int32), np.zeros(levels.size, np.int32),
        np.array([step]), np.array([rounding]), lows, highs,
    )  # fmt: skip
    for level in np.unique(levels)[1:-1]:
        inside = codes[levels == level]
        assert np.all(lows[levels == level] == inside[0] - 0.5) and np.all(highs[levels == level] == inside[-1] + 0.5)


@pytest.mark.parametrize("seed", range(8))
def test_max_error_is_guaranteed(seed):
    """Whatever the blob and the source, jumps over the whole range included: by the closed loop, and by the clipping of `kalman`."""
    model = predictive_model(seed, "midpoint")
    codes, y = field(40 * PACKET, seed)
    codes[300:330] = np.random.default_rng(seed).integers(-32768, 32768, 30)
    indices = sent(model, codes, (0, 1))
    assert set(indices.rate_points) == {0, 1}
    for decoder in ("midpoint", "kalman"):
        result = decode(model, indices, y, decoder)
        assert np.all(result.flags & RESOLVED)
        for point in (0, 1):
            here = indices.rate_points == point
            bound = bounds.max_error(model.node, point) if decoder == "midpoint" else model.max_error
            error = np.abs(result.values - model.node.to_units(codes))[here]
            assert np.max(error) <= bound + 1e-6 * SCALE + 1e-9


def test_midpoint_is_the_closed_loop_and_holds_through_what_is_lost():
    model = predictive_model(3, "midpoint")
    codes, y = field(60 * PACKET, 3)
    indices = sent(model, codes)
    result = decode(model, lose(indices, LOST), y)
    kept = np.ones(codes.size, bool)
    kept[LOST] = False
    assert np.array_equal(result.flags == CONCEALED, ~kept)
    assert np.array_equal(result.values[kept], model.node.to_units(indices.recon[kept]))
    assert np.all(result.values[LOST] == result.values[LOST.start - 1])
    assert np.all(np.diff(result.sigmas[LOST.start - 1 : LOST.stop]) > 0)
    assert np.all(result.levels[LOST] == NO_LEVEL)


def test_kalman_refines_inside_the_cell_and_conceals_by_the_neighbour():
    model = predictive_model(5, "kalman")
    codes, y = field(400 * PACKET, 5)
    truth, indices = model.node.to_units(codes), sent(model, codes)
    plain, refined = decode(model, indices, y, "midpoint"), decode(model, indices, y)
    assert np.mean((refined.values - truth) ** 2) < np.mean((plain.values - truth) ** 2)
    free = decode(replace(model, max_error=None), indices, y)  # clipping moves values; sigmas are those of the posterior
    assert np.mean(((free.values - truth) / free.sigmas) ** 2) == pytest.approx(1.0, abs=0.05)
    lost, held = decode(model, lose(indices, LOST), y), decode(model, lose(indices, LOST), y, "midpoint")
    assert np.all(lost.flags[LOST] == CONCEALED) and np.all(lost.flags[: LOST.start] == RESOLVED)
    assert np.std((lost.values - truth)[LOST]) < 0.5 * np.std((held.values - truth)[LOST])
    after = slice(LOST.stop + 100, None)
    assert np.max(np.abs(lost.values - refined.values)[after]) < 1e-6
    alone = decode(model, indices, np.full_like(y, np.nan))
    assert np.all(alone.flags == RESOLVED)


@pytest.mark.parametrize("decoder", ["midpoint", "kalman"])
def test_splitting_the_stream_changes_no_bit(decoder):
    model = predictive_model(7, decoder)
    codes, y = field(60 * PACKET, 7)
    y[500:560] = np.nan
    indices = lose(sent(model, codes, (1, 0)), LOST)
    engine = Decoder(model)
    y = y if engine.neighbours else y[:, :0]
    side, start = SideInformation.of(y), engine.initial_state()
    assert start.ndim == 1 and start.dtype == np.float64
    whole, end = engine.reconstruct(start, indices, side)
    assert np.array_equal(start, engine.initial_state())
    for seed in range(4):
        cuts = np.sort(np.random.default_rng(seed).choice(np.arange(1, 60), 6, replace=False)) * PACKET
        state, parts = start, []
        for first, last in zip([0, *cuts], [*cuts, codes.size], strict=True):
            some, state = engine.reconstruct(state, part(indices, slice(first, last)), side[first:last])
            parts.append(some)
        for name in ("values", "sigmas", "flags", "levels"):
            assert np.array_equal(np.concatenate([getattr(some, name) for some in parts]), getattr(whole, name))
        assert np.array_equal(state, end)


@pytest.mark.parametrize("decoder", ["midpoint", "kalman"])
def test_warming_up_changes_nothing(decoder):
    model = predictive_model(9, decoder)
    codes, y = field(4 * PACKET, 9)
    engine = Decoder(model)
    engine.warm_up()
    side = SideInformation.of(y if engine.neighbours else y[:, :0])
    values = engine.reconstruct(engine.initial_state(), sent(model, codes), side)[0].values
    assert np.array_equal(values, decode(model, sent(model, codes), y).values)
