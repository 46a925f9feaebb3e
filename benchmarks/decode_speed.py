"""Samples per second and core of every decoder, warm, against numpy dequantising the same levels.

    python -m benchmarks.decode_speed [--samples 65536] [--json]

The baseline of the same run is what any decoder must at least do, in numpy: round the prediction to the nearest level of
the bin, clip, scale. `packet us` is one call of `Decoder.reconstruct` for one packet of 32 samples, `20 packets us` for twenty.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from benchmarks.timing import best_s, show
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats import blob
from edge_wz.kernels import nested_quantizer
from edge_wz.model import Model, SideFilter, StateSpace
from firmware_sim.field import pair_source

LSB = 1 / 2048  # sensor units
PACKET = 32
TAPS = 5
WARM_PACKETS = 10  # before the timing, so that no window has gaps
CASES = (
    ("nearest", "fig5", 2), ("posterior", "fig5", 2), ("kalman", "fig5", 1), ("kalman", "fig5", 4),
    ("kalman", "fig6", 1), ("kalman", "fig7", 1), ("kalman", "fig7", 4),
)  # fmt: skip
HEADER = ("decoder", "source", "bits", "states", "M samples/s", "x baseline", "packet us", "20 packets us")


def make_model(decoder: str, space: StateSpace, x: np.ndarray, y: np.ndarray, bits: int) -> Model:
    """A step of 2^-bits sensor units, which suits all three sources."""
    node = blob.make_nested(PACKET, 100, 0, LSB, 0.0, [(1 << bits, 11 - bits, 1 << 10 - bits, [1])])
    lagged = np.array([x[TAPS - 1 :] / LSB, *(y[TAPS - 1 - lag : len(y) - lag] for lag in range(TAPS))])
    moments = SideFilter(TAPS, lagged.mean(axis=1), np.cov(lagged), np.array([0.9, 0.05, 0.02, 0.01, 0.01]))
    units = np.array([1 / LSB, 1.0])
    in_codes = replace(
        space, C=space.C * units[:, None], S=space.S * units, R=space.R * np.outer(units, units), mean=space.mean * units
    )
    return Model(node, decoder, side=("y",), state_space=in_codes, side_filter=moments)


def bins_of(model: Model, x: np.ndarray) -> np.ndarray:
    point, codes = model.node.rate_points[0], model.node.to_codes(x)[0]
    bins, turns = np.empty((2, x.size), np.int32)
    nested_quantizer.quantize_stream(
        codes, np.ones(x.size, np.bool_), point.taps, point.shift, point.rounding, point.modulus,
        np.zeros(64, np.int32), bins, turns,
    )  # fmt: skip
    return bins


def packets(bins: np.ndarray) -> StreamIndices:
    starts = np.arange(0, bins.size, PACKET)
    return StreamIndices(bins, np.zeros(bins.size, np.int32), starts, np.full(starts.size, -1, np.int32))


def baseline_s(samples: int) -> float:
    rng = np.random.default_rng(1)
    bins, predicted, out = rng.integers(0, 4, samples).astype(np.int32), rng.normal(size=samples), np.empty(samples)

    def dequantise() -> None:
        np.subtract(predicted, bins, out=out)
        np.multiply(out, 0.25, out=out)
        np.rint(out, out=out)
        np.multiply(out, 4.0, out=out)
        np.add(out, bins, out=out)
        np.clip(out, -32768.0, 32767.0, out=out)
        np.multiply(out, 0.25, out=out)

    return best_s(dequantise)


def row(decoder: str, source: str, bits: int, samples: int, floor_s: float) -> list[object]:
    pair = pair_source(source)
    values, space = pair.generate(samples, 1), pair.state_space()
    model = make_model(decoder, space, values["x"], values["y"], bits)
    engine, bins, side = Decoder(model), bins_of(model, values["x"]), SideInformation.of(values["y"])
    warm = WARM_PACKETS * PACKET
    _, state = engine.reconstruct(engine.initial_state(), packets(bins[:warm]), side[:warm])
    spans = {count: (packets(bins[warm : warm + count * PACKET]), side[warm : warm + count * PACKET]) for count in (1, 20)}
    whole = packets(bins)
    took_s = best_s(lambda: engine.reconstruct(state, whole, side))
    calls_us = [round(best_s(lambda part=part: engine.reconstruct(state, *part), 7, 50) * 1e6, 1) for part in spans.values()]
    return [decoder, source, bits, len(space.A), round(samples / took_s / 1e6, 2), round(floor_s / took_s, 3), *calls_us]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=65536)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    floor_s = baseline_s(chosen.samples)
    rows: list[list[object]] = [["numpy", "", 2, 0, round(chosen.samples / floor_s / 1e6, 2), 1.0, 0.0, 0.0]]
    rows += [row(*case, chosen.samples, floor_s) for case in CASES]
    show(HEADER, rows, chosen.json)


if __name__ == "__main__":
    main()
