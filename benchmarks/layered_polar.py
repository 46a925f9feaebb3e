"""Conditional layers through packets, blocks of 1024: `python -m benchmarks.layered_polar [--blocks 1000] [--json]`.

222 and 44 as designed for conditional rates, both noise variances, their blocks designed on samples of their own (`training.layered_blocks`). Fresh
samples through node encoder, packets, parser and the gateway's decoder. For every layer: H, the ideal Slepian-Wolf bits; what is sent for it, check
included; how far that is above H, each plane; `payload`, the bytes of packets of all layers so far, fill included; blocks in which the layer
is not there or not right though all before it are, and those among them that the check lets pass. Then what the layers cost and are worth,
beside the same layers sent raw, which never fail.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from benchmarks.layered_points import LAYERED, VARIANCES, Case, designed, model_of
from benchmarks.timing import show
from edge_wz.codec.layer_policy import Command
from edge_wz.codec.side_information import SideInformation
from training import layered_blocks, layered_streams
from training.layered_pairs import CODES_PER_DEVIATION, Pairs, gaussian
from training.syndrome_trials import Pool

BLOCK = 1024
DESIGN_SAMPLES = 200 * BLOCK
MOST_FAILED = 0.01
HEADER = ("model", "variance", "layer", "planes", "H", "sent", "above H, a plane", "payload", "blocks", "failed", "unnoticed", "at most 1 %")
LAYERS_HEADER = ("model", "variance", "layers", "ideal bits", "bits", "dB, raw", "dB")


def pool_of(pairs: Pairs) -> Pool:
    x, y, sigma = pairs.draw(np.random.default_rng(11), DESIGN_SAMPLES)
    columns = pairs.to_codes(x).astype(np.float64), y / pairs.lsb + pairs.mean, np.square(sigma / pairs.lsb)
    return Pool(*(column.reshape(-1, BLOCK) for column in columns), np.ones((1, 2)), layered_blocks.SEED)


def measured(case: Case, blocks: int) -> tuple[list[list[object]], list[list[object]]]:
    point, pairs = layered_blocks.raw(designed(case).point), gaussian(case.variance)
    plain = model_of(point, case.variance, BLOCK)
    model, layers = layered_blocks.with_blocks(plain, pool_of(pairs))
    x, y, _ = pairs.draw(np.random.default_rng(12), blocks * BLOCK)
    codes, side = pairs.to_codes(x).astype(np.int16), SideInformation.of(y * CODES_PER_DEVIATION)
    truth, present = x * CODES_PER_DEVIATION, np.ones(len(x), bool)
    rows, totals = [], []
    alive = np.ones(blocks, bool)
    for depth, layer in enumerate(layers, 1):
        stream = layered_streams.send(model.node, codes, present, Command(depth, depth))
        result = layered_streams.decode(model, stream, side)
        raw = layered_streams.decode(plain, layered_streams.send(plain.node, codes, present, Command(depth, depth)), side)
        there = layered_streams.resolved_layers(model.node, stream.indices, result.levels).reshape(blocks, BLOCK).min(axis=1) >= depth
        right = there & ((result.levels == raw.levels).reshape(blocks, BLOCK).all(axis=1))
        bits = stream.counters.payload_bits / len(x)
        numbers = (round(value, 3) for value in (layer.ideal_bits, layer.bits, layer.excess, bits))
        failed, unnoticed = int((alive & ~right).sum()), int((alive & there & ~right).sum())
        held = "yes" if failed <= MOST_FAILED * alive.sum() else "no"
        rows.append([case.model, case.variance, depth - 1, layer.planes, *numbers, int(alive.sum()), failed, unnoticed, held])
        ideal = sum(one.ideal_bits for one in layers[:depth])
        levels = (round(_db(found.values - truth), 2) for found in (raw, result))
        totals.append([case.model, case.variance, depth, round(ideal, 3), round(bits, 3), *levels])
        alive &= right
    return rows, totals


def _db(errors: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(errors * errors)) / CODES_PER_DEVIATION))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows: list[list[object]] = []
    totals: list[list[object]] = []
    for variance in VARIANCES:
        for model in LAYERED:
            case = Case(variance, "conditional", model)
            for found, more in zip((rows, totals), measured(case, chosen.blocks), strict=True):
                found += more
            print(f"{case.name}: done", file=sys.stderr, flush=True)
    show(HEADER, rows, chosen.json)
    print()
    show(LAYERS_HEADER, totals, chosen.json)


if __name__ == "__main__":
    main()
