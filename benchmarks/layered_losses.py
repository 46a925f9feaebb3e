"""Layered streams cut after any layer, and with refinement packets lost: `python -m benchmarks.layered_losses [--samples 1000000] [--json]`.

222 and 44, marginal, as designed; packets of 32 samples through encoder, packets, parser and the posterior decoder with one neighbour.

    sent so     the node sends so many layers
    cut         the node sends all, a relay cuts every packet to so many (`codec.layered_packets.cut`, 2048 packets)
    inside      the payload ends early, a random place after its first layer (raw layers; 2048 packets)
    30 % lost   layer 0 in data packets, the others in refinement packets of their own of which 30 % are lost; by what came of each packet

`apart` is the largest difference of a reconstruction from the same packet sent with exactly these layers, in deviations of the source: 0 = the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.layered_points import LAYERED, VARIANCES, Case, designed, model_of
from benchmarks.timing import show
from edge_wz.codec import layered, layered_packets, schemes
from edge_wz.codec.encoder import EncoderCounters
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layer_policy import Command
from edge_wz.codec.layered_encoder import LayeredNodeEncoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats import packet
from edge_wz.formats.layout import TYPE_DATA
from edge_wz.model import LayeredRatePoint, Model
from training.layered_pairs import CODES_PER_DEVIATION, gaussian
from training.layered_streams import Stream, decode, send

PACKET = 32
CUT_PACKETS = 2048
LOSS = 0.3
HEADER = ("model", "variance", "how", "layers", "samples", "decoded", "payload bits", "dB", "dB of the prefix", "apart")


def rows_of(case: Case, samples: int) -> Iterator[list[object]]:
    model = model_of(designed(case).point, case.variance, PACKET)
    pairs, layers = gaussian(case.variance), model.node.rate_points[0].layers
    x, y, _ = pairs.draw(np.random.default_rng(7), samples)
    codes, side = pairs.to_codes(x).astype(np.int16), SideInformation.of(y * CODES_PER_DEVIATION)
    present, truth = np.ones(samples, bool), x * CODES_PER_DEVIATION
    whole = [send(model.node, codes, present, Command(depth, depth)) for depth in range(1, layers + 1)]
    values = [decode(model, stream, side).values for stream in whole]

    def row(how: str, depth: int, chosen: np.ndarray, got: np.ndarray, bits: float) -> list[object]:
        """`chosen`: the samples that came with so many layers."""
        own = values[depth - 1][: len(got)][chosen]
        there = np.isfinite(got[chosen])
        levels = (_db(found - truth[: len(got)][chosen]) for found in (got[chosen], own))
        apart = float(np.abs(got[chosen] - own).max(initial=0.0)) / CODES_PER_DEVIATION
        figures = [round(bits, 3) if bits >= 0 else "", *(round(level, 2) for level in levels), f"{apart:.0e}"]
        return [case.model, case.variance, how, depth, len(own), f"{100 * there.mean():g} %", *figures]

    for depth, stream in enumerate(whole, 1):
        yield row("sent so", depth, present, values[depth - 1], stream.counters.payload_bits / samples)
    first = CUT_PACKETS * PACKET
    for depth in range(1, layers):
        indices, bits = _cut(model, codes[:first], depth)
        yield row("cut", depth, present[:first], _decoded(model, indices, side[:first]), bits)
    indices = _truncated(model, codes[:first])
    depths = layered.flat_point(model.node, 0).tree.depths(indices.values)
    for depth in range(1, layers + 1):
        yield row("inside", depth, depths == depth, _decoded(model, indices, side[:first]), -1.0)
    lossy = send(model.node, codes, present, Command(1, layers), refinement_loss=LOSS, seed=3)
    got = decode(model, lossy, side).values
    for depth in (1, layers):
        yield row(f"{100 * LOSS:.0f} % lost", depth, lossy.depths == depth, got, -1.0)


def _cut(model: Model, codes: np.ndarray, layers: int) -> tuple[StreamIndices, float]:
    """What is left of whole packets that a relay cut, and payload bits per sample."""
    encoder = LayeredNodeEncoder(model.node, 1, policy=Command(9, 9), period_us=1_000_000)
    raws = [raw for raw in encoder.encode(codes) if packet.peek(raw).type == TYPE_DATA]
    found = [packet.parse_data(layered_packets.cut(model.node, raw, layers), 0, PACKET, layered=True) for raw in raws]
    payloads = [one.payload for one in found if isinstance(one, packet.DataPacket)]
    points = [one.rate_point for one in found if isinstance(one, packet.DataPacket)]
    marks = [one.layers or 0 for one in found if isinstance(one, packet.DataPacket)]
    return _parsed(model, payloads, points, marks), 8 * sum(map(len, payloads)) / len(codes)


def _truncated(model: Model, codes: np.ndarray) -> StreamIndices:
    """Payloads of all layers that end somewhere behind their first layer; all raw, as coded ones cannot end early."""
    point: LayeredRatePoint = model.node.rate_points[0]
    raw = replace(point, cdfs=tuple(np.zeros((0, alphabet + 1), np.int32) for alphabet in point.alphabets))
    bare, rows, rng = model_of(raw, 0.1, PACKET), codes.reshape(-1, PACKET), np.random.default_rng(5)
    payloads = layered.encode(bare.node, 0, rows, np.ones(rows.shape, bool), np.full(len(rows), PACKET, np.int32))
    least = PACKET * (raw.alphabets[0].bit_length() - 1) // 8
    cut = [payload[: rng.integers(least, len(payload) + 1)] for payload in payloads]
    return _parsed(bare, cut, [0] * len(cut), [0] * len(cut))


def _parsed(model: Model, payloads: list[bytes], points: list[int], marks: list[int]) -> StreamIndices:
    present = np.ones((len(payloads), PACKET), bool)
    found = schemes.parse(model.node, payloads, points, [PACKET] * len(payloads), present, marks)
    assert (found.status == 0).all()
    starts, repeated = np.arange(len(payloads)) * PACKET, np.repeat(np.array(points, np.int32), PACKET)
    return StreamIndices(found.values.reshape(-1), repeated, starts, np.full(len(payloads), -1, np.int32))


def _decoded(model: Model, indices: StreamIndices, side: SideInformation) -> np.ndarray:
    return decode(model, Stream(indices, indices.values, EncoderCounters()), side).values


def _db(errors: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(errors * errors)) / CODES_PER_DEVIATION))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    samples = max(CUT_PACKETS, chosen.samples // PACKET) * PACKET
    cases = [Case(variance, "marginal", model) for variance in VARIANCES for model in LAYERED]
    show(HEADER, [row for case in cases for row in rows_of(case, samples)], chosen.json)


if __name__ == "__main__":
    main()
