"""What refinement at the gateway saves on real recordings: designed on the first half, measured on the second.

    python -m benchmarks.refinement [DATA_DIR] [--cases ptb_20,pm25_16] [--packets 64,32]

One row per case, payload bits per sample: `conv`, the best conventional coder (scheme `predictive` at mid-cell, or
hold) at the step named; then decoder `refine` from own samples only and with neighbours at the rmse of `conv`, read off a line through several
steps, as single steps scatter where a half has some hundred samples. Neighbours are coded alone, brought to the same
fidelity and refined by themselves, with models of the first half. `ideal` is a float simulation of a coder that knows
the neighbours at both ends; `reached` the share of its saving that refinement gets. `unknown`: what own values on both sides and neighbours leave
open, as a standard deviation over that of a uniform cell: far above 1 the cell tells everything, and there is nothing to refine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.recordings import CASES, Case, parser, sizes
from edge_wz.model import Model
from training import baselines, design_refined, refinement, rivals
from training import design_predictive as predictive
from training.data import Recording
from training.material import Material, gather
from training.plan_study import conditional_variance

AROUND = np.geomspace(0.9, 1.11, 7)  # of the step that meets the rmse
HELLO_EVERY = 128
HEADER = (
    "| case | N | rmse | conv | refine, own | refine, own + neighbours | ideal | reached | step x | unknown |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Point:
    bits: float
    rmse: float  # sensor units


@dataclass(frozen=True, eq=False)
class Bench:
    """One case with its neighbours as the gateway has them, in both halves."""

    fit: Material
    test: Material
    halves: tuple[Recording, Recording]
    case: Case
    packet_samples: int

    @staticmethod
    def of(case: Case, side: tuple[str, ...], packet_samples: int, folder: Path) -> Bench:
        halves = case.halves(folder)
        request = design_refined.Request("step", (case.step,), "refine", "decoded", packet_samples, HELLO_EVERY)
        fit, test = (gather(half, case.source, side) for half in halves)
        test = on_grid(test, fit)
        if side:
            frozen = [design_refined.Neighbour.fit(column, case.step, request) for column in fit.side.T]
            fit, test = (_with_side(half, frozen) for half in (fit, test))
        return Bench(fit, test, halves, case, packet_samples)

    def conventional(self) -> Point:
        """The cheaper one of closed-loop prediction and hold."""
        model = rivals.design_predictive(self.halves[0], self.case.source, self.case.step, self.packet_samples)
        bits, mse = predictive.measure_predictive(model, self.test)
        fit, test = (
            baselines.signal(model.node, half.column(self.case.source), self.packet_samples) for half in self.halves
        )
        held = baselines.hold(fit, test, float(np.sqrt(mse)) / model.node.scale)
        return Point(min(bits, float(held.bits.sum()) / test.samples), float(np.sqrt(mse)))

    def refined(self, rmse: float) -> tuple[float, tuple[int, int]]:
        """(bits at this rmse, about the step that meets it): the designed dead zone, and steps around the one that the second half asks for."""
        step = design_refined.widened(self.fit, predictive.coding_step("step", self.case.step, self.fit), self.packet_samples)
        step = _times(step, rmse / self._measure(step).rmse)
        points = [self._measure(_times(step, factor)) for factor in AROUND]
        off, bits = np.log([point.rmse / rmse for point in points]), np.array([point.bits for point in points])
        return float(np.polyfit(off, bits, 1)[1]), step

    def unknown(self, step: tuple[int, int]) -> float:
        """Standard deviation given own values on both sides and neighbours over that of a uniform cell, on the second half."""
        model = predictive.build(self.fit, rivals.UNUSED, (step,), self.packet_samples, HELLO_EVERY)
        stream = design_refined.stream_of(model, self.test, 0)[0]
        return float(np.sqrt(12 * conditional_variance(stream, (5, 5)))) / (step[0] / 256)

    def _measure(self, step: tuple[int, int]) -> Point:
        model = predictive.build(self.fit, rivals.UNUSED, (step,), self.packet_samples, HELLO_EVERY)
        moments = refinement.fit(design_refined.stream_of(model, self.fit, 0)[0])
        refined: Model = replace(model, state_space=None, refinement=moments, decoder="refine")
        bits, mse = predictive.measure_predictive(refined, self.test)
        return Point(bits, float(np.sqrt(mse)))


def _times(step: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(256, round(step[0] * factor)), round(max(256, round(step[0] * factor)) * step[1] / step[0])


def on_grid(test: Material, fit: Material) -> Material:
    """The codes of the node, whose scale comes from the first half."""
    exact = np.where(test.present, (test.values - fit.offset) / fit.scale, 0.0)
    codes = np.clip(np.rint(exact), -32768, 32767).astype(np.int16)
    return replace(test, codes=codes, scale=fit.scale, offset=fit.offset, rounding=fit.rounding)


def _with_side(half: Material, frozen: list[design_refined.Neighbour]) -> Material:
    columns = [neighbour.decoded(column) for neighbour, column in zip(frozen, half.side.T, strict=True)]
    return replace(half, side=np.ascontiguousarray(np.stack(columns, axis=1)))


def main() -> None:
    chosen = parser(__doc__, list(CASES), "64,32").parse_args()
    print(HEADER, flush=True)
    for size in sizes(chosen):
        for case in map(CASES.__getitem__, chosen.cases.split(",")):
            bench = Bench.of(case, case.side, size, chosen.data)
            conv = bench.conventional()
            both, step = bench.refined(conv.rmse)
            own, _ = replace(bench, fit=_blind(bench.fit), test=_blind(bench.test)).refined(conv.rmse)
            ideal = dict(zip((64, 32), case.ideal or (), strict=False)).get(size, float("nan"))
            reached = (conv.bits - min(own, both)) / (conv.bits - ideal)
            print(
                f"| {case.label} | {size} | {conv.rmse:.4g} | {conv.bits:.3f} | {own:.3f} | {both:.3f} | {ideal:.2f} | "
                f"{reached:.0%} | {step[0] / 256 * bench.fit.scale / case.step:.2f} | {bench.unknown(step):.2f} |",
                flush=True,
            )


def _blind(half: Material) -> Material:
    return replace(half, side=half.side[:, :0].copy())


if __name__ == "__main__":
    main()
