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

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_wz.model import Model
from training import baselines, design_refined, refinement, rivals
from training import design_predictive as predictive
from training.data import Recording, load_recording
from training.material import Material, gather
from training.plan_study import conditional_variance

AROUND = np.geomspace(0.9, 1.11, 7)  # of the step that meets the rmse
HELLO_EVERY = 128
HEADER = (
    "| case | N | rmse | conv | refine, own | refine, own + neighbours | ideal | reached | step x | unknown |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
INTEL, BEIJING, PTB = "intel_temp_30s.csv.gz", "beijing_air_1h.csv.gz", "ecg_ptb_1khz.csv.gz"
PM25 = ("pm25_tt", "pm25_nz", "pm25_at", "pm25_gy")


@dataclass(frozen=True)
class Case:
    label: str
    file: str
    source: str
    side: tuple[str, ...]
    step: float  # of the conventional coder, sensor units
    thin: int = 1
    ideal: tuple[float, float] | None = None  # bits in packets of 64 and 32


CASES = {
    "ptb_20": Case("PTB v5, step 20", PTB, "v5", ("v4", "v6"), 20.0, 1, (1.13, 1.24)),
    "ptb_4": Case("PTB v5, step 4", PTB, "v5", ("v4", "v6"), 4.0, 1, (2.29, 2.41)),
    "pm25_16": Case("PM2.5 ds, step 16", BEIJING, "pm25_ds", PM25, 16.0, 1, (1.42, np.nan)),
    "m35_.1": Case("Intel m35 5 min, step .1", INTEL, "m35", ("m34", "m36"), 0.1, 10, (1.79, np.nan)),
    "m47_.1": Case("Intel m47 5 min, step .1", INTEL, "m47", ("m46", "m48"), 0.1, 10, (2.13, np.nan)),
    "m35_.5": Case("Intel m35 5 min, step .5", INTEL, "m35", ("m34", "m36"), 0.5, 10, (0.73, np.nan)),
    "m47_.5": Case("Intel m47 5 min, step .5", INTEL, "m47", ("m46", "m48"), 0.5, 10, (0.94, np.nan)),
    "ptb_80": Case("PTB v5, step 80", PTB, "v5", ("v4", "v6"), 80.0, 1, (0.61, np.nan)),
    "pm25_4": Case("PM2.5 ds, step 4", BEIJING, "pm25_ds", PM25, 4.0, 1, (2.97, np.nan)),
}


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
        columns = [case.source, *case.side]
        halves = load_recording(folder / case.file, columns, thin=case.thin).split()
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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", default=os.environ.get("EDGE_WZ_DATA", "../shared/data"), type=Path)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--packets", default="64,32", help="samples per packet")
    chosen = parser.parse_args()
    print(HEADER, flush=True)
    for size in map(int, chosen.packets.split(",")):
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
