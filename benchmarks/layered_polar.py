"""Conditional layers through the real polar coder, blocks of 1024: `python -m benchmarks.layered_polar [--blocks 1000] [--json]`.

222 and 44 as designed for conditional rates, both noise variances. For every bit plane: H, the ideal Slepian-Wolf bits; what is sent above it,
the plane's 12-bit check included; blocks in which the plane does not come out right though all before it did, and those among them
that the check lets pass. Then what the layers cost and are worth with the smallest excess at which every plane of them fails in at most one
block of a hundred; a block that fails counts with the distortion of the layers before.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from benchmarks.layered_points import LAYERED, VARIANCES, Case, designed
from benchmarks.timing import show
from training import layered_measure
from training.layered_pairs import gaussian
from training.layered_planes import BLOCK, Planes, Trial, attempt, draw, hardness, ideal_bits

TRIAL_BLOCKS = 600  # that tell which positions are hard
BATCH = 200
EXCESSES = (0.08, 0.10, 0.12)
MOST_FAILED = 0.01
SAMPLES = 1_000_000
HEADER = ("model", "variance", "plane", "H", "sent", "above H", "blocks", "failed", "unnoticed", "at most 1 %")
LAYERS_HEADER = ("model", "variance", "layers", "ideal bits", "bits", "dB, ideal", "dB")


def trials(planes: Planes, variance: float, blocks: int) -> list[list[Trial]]:
    """By plane, then by excess."""
    pairs, rng = gaussian(variance), np.random.default_rng(1)
    hard, ideal = np.zeros((planes.count, BLOCK)), np.zeros(planes.count)
    for _ in range(TRIAL_BLOCKS // BATCH):
        values, trees = draw(planes, pairs, BATCH, rng)
        for plane in range(planes.count):
            hard[plane] += hardness(values, trees, plane)
            ideal[plane] += ideal_bits(values, trees, plane) * BATCH / TRIAL_BLOCKS
    parts: list[list[list[Trial]]] = [[[] for _ in EXCESSES] for _ in range(planes.count)]
    for _ in range(-(-blocks // BATCH)):
        values, trees = draw(planes, pairs, BATCH, rng)
        for plane in range(planes.count):
            for at, excess in enumerate(EXCESSES):
                bits = int((ideal[plane] + excess) * BLOCK)
                parts[plane][at].append(attempt(values, trees, plane, np.argsort(-hard[plane]), bits))
    return [[joined(part) for part in row] for row in parts]


def joined(parts: list[Trial]) -> Trial:
    sums = [sum(getattr(part, name) for part in parts) for name in ("blocks", "failed", "unnoticed")]
    return Trial(parts[0].plane, parts[0].bits, float(np.mean([part.ideal_bits for part in parts])), *sums)


def layers(case: Case, planes: Planes, found: list[list[Trial]]) -> list[list[object]]:
    chosen = [next((trial for trial in row if trial.failed <= MOST_FAILED * trial.blocks), row[-1]) for row in found]
    measured = layered_measure.measure(planes.point, gaussian(case.variance), SAMPLES)
    powers = 10 ** (np.array([10 * np.log10(case.variance), *measured.distortion_db]) / 10)
    rows: list[list[object]] = []
    alive, lost, first = 1.0, 0.0, 0
    for layer, end in enumerate(planes.ends):
        for trial in chosen[first:end]:
            share = trial.failed / trial.blocks
            lost += alive * share * powers[layer]
            alive *= 1 - share
        first = end
        sums = sum(trial.ideal_bits for trial in chosen[:end]), sum(trial.bits for trial in chosen[:end])
        levels = 10 * np.log10([powers[layer + 1], lost + alive * powers[layer + 1]])
        rows.append([case.model, case.variance, layer + 1, *(round(value, 3) for value in sums), *(round(float(value), 2) for value in levels)])
    return rows


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
            planes = Planes.of(designed(case).point)
            found = trials(planes, variance, chosen.blocks)
            for trial in (trial for row in found for trial in row):
                held = "yes" if trial.failed <= MOST_FAILED * trial.blocks else "no"
                numbers = (round(value, 3) for value in (trial.ideal_bits, trial.bits, trial.excess))
                rows.append([model, variance, trial.plane, *numbers, trial.blocks, trial.failed, trial.unnoticed, held])
            totals += layers(case, planes, found)
            print(f"{case.name}: done", file=sys.stderr, flush=True)
    show(HEADER, rows, chosen.json)
    print()
    show(LAYERS_HEADER, totals, chosen.json)


if __name__ == "__main__":
    main()
