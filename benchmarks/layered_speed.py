"""Samples per second and core of scheme `layered`, warm, beside numpy: `python -m benchmarks.layered_speed [--samples N] [--json]`.

Every scenario of the figures: 222 and 44 as designed, at both noise variances. `encode`: codes to payloads of all layers, in packets of 32
and of 1024; `parse`: packets of 32 back to prefixes; `posterior`: `Decoder.reconstruct` of prefixes of all layers with one neighbour, by
table; `exact`: the same kernel without the table; `x numpy`: against numpy dequantising as many; `error`: by how much the two are apart at most, in
deviations of the belief. `bytes` is the encoder's table in the node's flash. Times of the processor, best of seven.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.decode_speed import baseline_s
from benchmarks.layered_points import LAYERED, VARIANCES, Case, designed, model_of
from benchmarks.timing import best_s, show
from edge_wz.codec import layered
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layered_decoder import Runs
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.decoders import layered as exact
from edge_wz.formats import blob
from edge_wz.model import LayeredRatePoint, NodeModel
from export.layered_table import table_bytes
from training.layered_pairs import CODES_PER_DEVIATION, gaussian

PACKET, LONG = 32, 1024
HEADER = ("model", "variance", "mode", "bytes", "encode 32, M/s", "encode 1024, M/s", "parse M/s", "posterior M/s", "exact M/s", "x numpy", "error")


def row(case: Case, samples: int, floor_s: float) -> list[object]:
    point = designed(case).point
    x, y, _ = gaussian(case.variance).draw(np.random.default_rng(1), samples)
    codes = np.clip(np.rint(x * CODES_PER_DEVIATION), -32768, 32767).astype(np.int16)
    encode_s, parse_s, prefixes = _coding(_node(point, PACKET), codes)
    long_s, _, _ = _coding(_node(point, LONG), codes)
    decode_s, exact_s, error = _decoding(point, case.variance, prefixes, y * CODES_PER_DEVIATION)
    per_s = [round(samples / took_s / 1e6, 1) for took_s in (encode_s, long_s, parse_s, decode_s, exact_s)]
    return [case.model, case.variance, case.mode, table_bytes(point), *per_s, round(floor_s / decode_s, 2), f"{error:.1e}"]


def _node(point: LayeredRatePoint, packet_samples: int) -> NodeModel:
    return blob.make_layered(packet_samples, 128, 1.0, 0.0, [point])


def _coding(node: NodeModel, codes: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Seconds of encoding, seconds of parsing, the prefixes."""
    rows = codes.reshape(-1, node.packet_samples)
    present, counts = np.ones(rows.shape, bool), np.full(len(rows), node.packet_samples, np.int32)
    payloads = layered.encode(node, 0, rows, present, counts)
    data, offsets = np.frombuffer(b"".join(payloads), np.uint8), np.cumsum([0, *map(len, payloads)])
    prefixes = layered.parse(node, 0, data, offsets, counts, present)["values"].reshape(-1)
    encode_s = best_s(lambda: layered.encode(node, 0, rows, present, counts))
    return encode_s, best_s(lambda: layered.parse(node, 0, data, offsets, counts, present)), prefixes


def _decoding(point: LayeredRatePoint, variance: float, prefixes: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Seconds by table, seconds exactly, and their distance."""
    engine, side, zeros = Decoder(model_of(point, variance, PACKET)), SideInformation.of(y), np.zeros(prefixes.size, np.int32)
    starts = np.arange(0, prefixes.size, PACKET)
    indices, state = StreamIndices(prefixes, zeros, starts, np.full(starts.size, -1, np.int32)), engine.initial_state()
    decode_s = best_s(lambda: engine.reconstruct(state, indices, side))
    belief, runs = np.array([variance * CODES_PER_DEVIATION**2]), Runs(_node(point, PACKET)).arrays
    out = np.empty(y.size), np.empty(y.size), np.empty(y.size, np.uint8), np.empty(y.size, np.int32)
    exact_s = best_s(lambda: exact.posterior(prefixes, zeros, *runs, 0.0, y, belief, *out))
    apart = np.abs(engine.reconstruct(state, indices, side)[0].values - out[0])
    return decode_s, exact_s, float(apart.max() / np.sqrt(belief[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1 << 18)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    samples = max(1, chosen.samples // LONG) * LONG
    floor_s = baseline_s(samples)
    cases = [Case(variance, mode, model) for variance in VARIANCES for model in LAYERED for mode in ("marginal", "conditional")]
    show(HEADER, [row(case, samples, floor_s) for case in cases], chosen.json)


if __name__ == "__main__":
    main()
