"""Models and bins for the tests of decoders: known statistics, no training, no packets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats import blob
from edge_wz.kernels import nested_quantizer
from edge_wz.model import Model, SideFilter, StateSpace
from firmware_sim import field

LSB = 1 / 2048  # sensor units; rounding to it is negligible beside every step used here
PACKET = 32


def in_lsb(space: StateSpace) -> StateSpace:
    """The source of a model in sensor units, turned into LSB."""
    units = np.ones(len(space.mean))
    units[0] = 1 / LSB
    return replace(
        space, C=space.C * units[:, None], S=space.S * units, R=space.R * np.outer(units, units), mean=space.mean * units
    )


def nested_point(step: float, modulus: int, sign: int = 1) -> tuple[int, int, int, list[int]]:
    """`step` in sensor units."""
    shift = 16
    while (1 << shift) * LSB / step >= 30000:
        shift -= 1
    return modulus, shift, 1 << (shift - 1), [sign * round((1 << shift) * LSB / step)]


def nested_model(space: StateSpace | None, step: float, modulus: int, decoder: str = "kalman", **fields) -> Model:
    """`space` in sensor units."""
    check_bits = fields.pop("level_check_bits", 0)
    node = blob.make_nested(PACKET, 100, check_bits, LSB, 0.0, [nested_point(step, modulus)])
    return Model(node, decoder, state_space=None if space is None else in_lsb(space), **fields)


def pair(name: str, samples: int, seed: int) -> tuple[StateSpace, np.ndarray, np.ndarray]:
    """(true model, source, side information) of a pair of the literature."""
    source = getattr(field, name)()
    values = source.generate(samples, seed)
    return source.state_space(), values["x"], values["y"]


def side_filter(x: np.ndarray, y: np.ndarray, taps: int, output_taps: list[float]) -> SideFilter:
    """Moments of a recording, source in LSB; y is (T,) or (T, m)."""
    y = y.reshape(len(y), -1)
    rows = [x[taps - 1 :] / LSB]
    rows += [y[taps - 1 - lag : len(y) - lag, j] for j in range(y.shape[1]) for lag in range(taps)]
    stacked = np.array(rows)
    means = np.concatenate([stacked[:1].mean(axis=1), np.repeat(stacked[1::taps].mean(axis=1), taps)])
    return SideFilter(taps, means, np.cov(stacked), np.array(output_taps))


def encode(model: Model, x: np.ndarray, rate_point: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(bins, turns) by the node's kernel."""
    codes, _ = model.node.to_codes(x)
    point = model.node.rate_points[rate_point]
    bins, turns = np.empty(len(x), np.int32), np.empty(len(x), np.int32)
    state = np.zeros(64, np.int32)
    present = np.ones(len(x), np.bool_)
    nested_quantizer.quantize_stream(
        codes, present, point.taps, point.shift, point.rounding, point.modulus, state, bins, turns
    )
    return bins, turns


def stream(values: np.ndarray, rate_point: int = 0, checks: np.ndarray | None = None) -> StreamIndices:
    starts = np.arange(0, len(values), PACKET, dtype=np.int64)
    checks = np.full(len(starts), -1, np.int32) if checks is None else checks
    return StreamIndices(values, np.full(len(values), rate_point, np.int32), starts, checks)


def part(indices: StreamIndices, span: slice) -> StreamIndices:
    """The packets of a span that begins and ends with packets."""
    packets = slice(span.start // PACKET, -(-span.stop // PACKET))
    return StreamIndices(
        indices.values[span],
        indices.rate_points[span],
        indices.packet_starts[packets] - span.start,
        indices.checks[packets],
        indices.preds[span],
        indices.recon[span],
    )


def decode(model: Model, indices: StreamIndices, y: np.ndarray, decoder: str | None = None):
    engine = Decoder(model, decoder)
    return engine.reconstruct(engine.initial_state(), indices, SideInformation.of(y))[0]


def lose(values: np.ndarray, first: int, count: int) -> np.ndarray:
    lost = values.copy()
    lost[first : first + count] = NO_LEVEL
    return lost
