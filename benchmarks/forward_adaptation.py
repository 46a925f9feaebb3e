"""Does a node gain by picking its rate point for each packet from its own last innovations?

    python -m benchmarks.forward_adaptation [DATA_DIR] [--cases ptb_20,pm25_16]

One `predictive` blob with three rate points around a step, trained jointly on the first half. The node compares the sum of its last
packet's absolute innovations (integers) with two thresholds; coarser cells where they are large, or finer ones, whichever of
all orders and thresholds cost least at equal rmse on the first half. The second half says what that is worth: bits per sample of the
policy over those of fixed rate points, read off at the policy's rmse (`ratio`) and largest error (`at max error`). `oracle` knows the
packet that it is about to code, and picks the point of least bits + slope * error: what no policy can exceed at equal rmse.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from benchmarks.recordings import CASES, Case, load, parser
from benchmarks.refinement import on_grid
from training import design_predictive as predictive
from training import rivals
from training.material import Material, gather

SPREADS = (1.3, 2.0)  # between neighbouring rate points
LADDER = np.geomspace(0.4, 2.5, 9)  # fixed steps that the policy is compared with
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
HELLO_EVERY = 128
HEADER = "| case | N | spread | order | bits | rmse | ratio | at max error | oracle |\n|---|---|---|---|---|---|---|---|---|"


@dataclass(frozen=True, eq=False)
class Coded:
    """All packets under every rate point: bits and squared error (P, points), innovations in LSB (P, points), largest errors."""

    bits: np.ndarray
    square: np.ndarray
    activity: np.ndarray
    largest: np.ndarray
    samples: int

    @staticmethod
    def of(model: predictive.Model, material: Material, size: int) -> Coded:
        packets = predictive.Packets.cut(material, size, 1)
        columns = []
        for point, step in enumerate(model.node.rate_points):
            sizes, levels, recon = packets.run(model.node, point)
            error = np.where(packets.present, recon - packets.codes, 0.0)
            moved = np.where(packets.present, np.abs(levels), 0).sum(axis=1) * (step.step_q8 / 256)
            columns.append((8.0 * sizes, (error**2).sum(axis=1), moved, np.abs(error).max(axis=1)))
        bits, square, activity, largest = (np.stack(rows, axis=1) for rows in zip(*columns, strict=True))
        return Coded(bits, square, activity, largest, int(packets.present.sum()))

    def pick(self, points: np.ndarray) -> tuple[float, float, float]:
        """Bits per sample, rmse and largest error when packet p is coded with points[p]."""
        rows = np.arange(len(points))
        rmse = float(np.sqrt(self.square[rows, points].sum() / self.samples))
        return float(self.bits[rows, points].sum()) / self.samples, rmse, float(self.largest[rows, points].max())

    def fixed(self) -> list[tuple[float, float, float]]:
        return [self.pick(np.full(len(self.bits), point)) for point in range(self.bits.shape[1])]


def follow(coded: Coded, thresholds: tuple[float, float], order: tuple[int, int, int]) -> np.ndarray:
    """The rate point of every packet, by the innovations of the one before under its own rate point."""
    points = np.empty(len(coded.bits), np.int64)
    now = 1
    for packet in range(len(points)):
        points[packet] = now
        now = order[int(np.searchsorted(thresholds, coded.activity[packet, now]))]
    return points


def ratio(found: tuple[float, float, float], fixed: list[tuple[float, float, float]], column: int = 1) -> float:
    """Bits over those of fixed rate points at the same rmse (column 1) or largest error (2)."""
    known = sorted((one[column], one[0]) for one in fixed)
    distances, bits = np.log([one[0] for one in known]), [one[1] for one in known]
    return found[0] / float(np.interp(np.log(found[column]), distances, bits))


def learn(coded: Coded, fixed: list[tuple[float, float, float]]) -> tuple[tuple[float, float], tuple[int, int, int]]:
    """Thresholds and order of least bits at equal rmse."""
    marks = np.quantile(coded.activity[:, 1], QUANTILES)
    choices = product(((float(low), float(high)) for low, high in product(marks, marks) if low < high), ((0, 1, 2), (2, 1, 0), (1, 1, 2), (1, 1, 0)))
    return min(choices, key=lambda choice: ratio(coded.pick(follow(coded, *choice)), fixed))


def oracle(coded: Coded, fixed: list[tuple[float, float, float]]) -> float:
    best = np.inf
    for slope in np.geomspace(1e-3, 1e3, 61) / max(fixed[1][1] ** 2, 1e-9):
        best = min(best, ratio(coded.pick(np.argmin(coded.bits + slope * coded.square, axis=1)), fixed))
    return best


def measure(case: Case, size: int, folder: Path) -> None:
    halves = load(folder, case.file, (case.source,), case.thin).split()
    fit, test = (gather(half, case.source, ()) for half in halves)
    test = on_grid(test, fit)
    step_q8 = predictive.coding_step("step", case.step, fit)[0]
    steps = [max(256, round(step_q8 * factor)) for factor in LADDER]
    ladders: list[list[tuple[float, float, float]]] = [[], []]
    for step in steps:
        alone = predictive.build(fit, rivals.UNUSED, ((step, step // 2),), size, HELLO_EVERY)
        for ladder, half in zip(ladders, (fit, test), strict=True):
            ladder += Coded.of(alone, half, size).fixed()
    for spread in SPREADS:
        three = tuple((max(256, round(step_q8 * factor)), max(256, round(step_q8 * factor)) // 2) for factor in (1 / spread, 1.0, spread))
        if any(low[0] == high[0] for low, high in pairwise(three)):
            continue
        model = predictive.build(fit, rivals.UNUSED, three, size, HELLO_EVERY)
        first, second = (Coded.of(model, half, size) for half in (fit, test))
        thresholds, order = learn(first, ladders[0])
        found = second.pick(follow(second, thresholds, order))
        print(
            f"| {case.label} | {size} | {spread:g} | {order[0]}{order[1]}{order[2]} | {found[0]:.3f} | {found[1] * fit.scale:.4g} | "
            f"{ratio(found, ladders[1]):.3f} | {ratio(found, ladders[1], 2):.3f} | {oracle(second, ladders[1]):.3f} |",
            flush=True,
        )


def main() -> None:
    made = parser(__doc__, list(CASES))
    made.add_argument("--packet-samples", type=int, default=64)
    chosen = made.parse_args()
    print(HEADER, flush=True)
    for case in map(CASES.__getitem__, chosen.cases.split(",")):
        measure(case, chosen.packet_samples, chosen.data)


if __name__ == "__main__":
    main()
