"""`trellis` and `syndrome` on real recordings beside `predictive` refined at the gateway: designed on the first half, measured on the second.

    python -m benchmarks.codes_recordings [DATA_DIR] [--cases ptb_4,pm25_16] [--packets 64,256] [--schemes trellis,syndrome] [--rates 1,2,3,4]
                                          [--level-checks 8,4] [--states 64] [--json FILE] [--refined FILE]

Payload bits per sample, checks of levels and blocks included; neighbours are the true columns for all three, and every step is the design's own
choice on the first half. `wrong`: packets of the second half with a wrong or unresolved level, `behind`: those of them right behind another,
`of error`: the share of the squared error in them, `expected`: the share of packets that the design of `syndrome` counted on. `right`: rmse of the
other packets. `refined`: bits of `predictive` with decoder `auto` in packets of the same size at the rmse of the row, off a line through the steps
around it, each designed by itself; they take long, and `--refined` names a file that keeps them from run to run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recordings import CASES, Case, parser, sizes
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import EdgeWzError
from edge_wz.model import Model
from training import design
from training.data import Recording
from training.evaluate import Source, reconstruct
from training.report import table
from training.transmission import transmit, true_levels

SHOWN = ("ptb_4", "pm25_16", "m35_.1", "m47_.1")  # the step of a case is not the codes': one case of each recording does
SPACING = 1.25  # between two steps of `predictive`
AROUND, AROUND_SHORT, SHORT = 2, 4, 3000  # steps that a line goes through; single ones scatter where a half has some hundred samples
COLUMNS = ("recording", "N", "code", "bits", "rmse", "wrong", "behind", "of error", "expected", "right", "refined", "bits / refined")


def measured(model: Model, test: Recording) -> dict[str, Any]:
    source, size = Source.of(model, test, model.source), model.node.packet_samples
    sent = transmit(model.node, source.codes, source.present)
    result = reconstruct(Decoder(model), sent.indices, SideInformation.of(test.matrix(model.side)))
    squares = np.where(source.present, np.square(result.values - np.where(source.present, source.values, 0.0)), 0.0)
    row = {"bits": float(sent.payload_bits.sum()) / source.samples, "rmse": float(np.sqrt(squares.sum() / source.samples))}
    if model.node.scheme == "predictive":
        return row
    off = source.present & (result.levels != true_levels(model.node, source.codes, source.present))
    starts = np.arange(0, len(squares), size)
    wrong = np.logical_or.reduceat(off, starts)
    inside, there = np.add.reduceat(squares, starts), np.add.reduceat(source.present, starts, dtype=np.int64)
    right = float(np.sqrt(inside[~wrong].sum() / max(there[~wrong].sum(), 1)))
    behind = int(np.count_nonzero(wrong[1:] & wrong[:-1]))
    return row | {"wrong": f"{wrong.sum()}/{len(wrong)}", "behind": behind, "of error": float(inside[wrong].sum() / inside.sum()), "right": right}


@dataclass
class Refined:
    """Bits of `predictive`, refined, by rmse on one recording in packets of one size; each step is designed once."""

    case: Case
    halves: tuple[Recording, Recording]
    packet_samples: int
    path: Path | None
    points: dict[int, tuple[float, float]] = field(default_factory=dict)  # (log rmse, bits) by power of SPACING, times the case's step

    def __post_init__(self) -> None:
        if self.path and self.path.exists():
            kept = json.loads(self.path.read_text()).get(self._name, {})
            self.points = {int(place): (point[0], point[1]) for place, point in kept.items()}

    def bits_at(self, rmse: float) -> float:
        place = round(np.log(rmse * np.sqrt(12.0) / self.case.step) / np.log(SPACING))
        while self._point(place)[0] > np.log(rmse):
            place -= 1
        while self._point(place + 1)[0] <= np.log(rmse):
            place += 1
            if self._point(place)[1] == 0:  # neighbours alone come as near
                return 0.0
        around = AROUND if self.halves[1].samples >= SHORT else AROUND_SHORT
        points = [self._point(place + k) for k in range(1 - around // 2, around // 2 + 1)]
        slope, bits = np.polyfit([point[0] - np.log(rmse) for point in points], [point[1] for point in points], 1)
        return float(bits)

    @property
    def _name(self) -> str:
        return f"{self.case.file} {self.case.source} {self.case.step:g} {self.packet_samples}"

    def _point(self, place: int) -> tuple[float, float]:
        if place not in self.points:
            fit, test = self.halves
            step = self.case.step * SPACING**place
            model = design.design(
                fit, self.case.source, self.case.side, "predictive", step=step, packet_samples=self.packet_samples, decoder="auto", side_as="true"
            )
            row = measured(model, test)
            self.points[place] = float(np.log(row["rmse"])), row["bits"]
            if self.path:
                kept = json.loads(self.path.read_text()) if self.path.exists() else {}
                self.path.write_text(json.dumps(kept | {self._name: self.points}))
        return self.points[place]


def designs(case: Case, fit: Recording, size: int, schemes: list[str], options: Any) -> Iterator[tuple[str, Any]]:
    """(label, what designs the model), the quick ones first."""
    common = {"packet_samples": size}
    for scheme, rate in product(schemes, numbers(options.rates, float)):
        if scheme == "syndrome":
            yield f"syndrome {rate:g} b", lambda rate=rate: design.design(fit, case.source, case.side, "syndrome", rate=rate, **common)
            continue
        for check, states in product(numbers(options.level_checks, int), numbers(options.states, int) or [None]):
            asked = {"rate": rate, "level_check_bits": check, "states": states, **common}
            yield f"trellis {rate:g} b + {check}", lambda asked=asked: design.design(fit, case.source, case.side, "trellis", **asked)


def rows(case: Case, folder: Path, size: int, options: Any) -> Iterator[dict[str, Any]]:
    halves = case.halves(folder)
    refined = Refined(case, halves, size, options.refined)
    for label, designed in designs(case, halves[0], size, options.schemes.split(","), options):
        row: dict[str, Any] = {"recording": case.label.partition(",")[0], "N": size, "code": label}
        try:
            model = designed()
            row |= measured(model, halves[1])
            training = model.measured["training"][0]
            row |= {"expected": training["block_failures"]} if "block_failures" in training else {}
            if model.node.scheme == "trellis":
                row["code"] += f", {model.provenance['states']} states" + (", followed" if model.provenance["survivors"] else "")
            print(f"before its rival is designed: {json.dumps(row)}", file=sys.stderr, flush=True)
            row["refined"] = refined.bits_at(row["rmse"])
            row["bits / refined"] = row["bits"] / row["refined"] if row["refined"] else "-"
        except EdgeWzError as error:
            row["refined"] = f"not designed: {error}"
        yield row


def numbers(text: str, kind: type) -> list[Any]:
    return [kind(one) for one in text.split(",") if one]


def shown(found: list[dict[str, Any]]) -> str:
    return table(COLUMNS, [[_text(row.get(name, "")) for name in COLUMNS] for row in found])


def _text(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def main() -> None:
    made = parser(__doc__, SHOWN, packets="64")
    made.add_argument("--schemes", default="syndrome,trellis")
    made.add_argument("--rates", default="1,2,3,4")
    made.add_argument("--level-checks", default="8", dest="level_checks")
    made.add_argument("--states", default="", help="of trellis; by packet length unless given")
    made.add_argument("--json", type=Path)
    made.add_argument("--refined", type=Path)
    options = made.parse_args()
    found = []
    for size, name in product(sizes(options), options.cases.split(",")):
        for row in rows(CASES[name], options.data, size, options):
            found.append(row)
            print(shown([row]), flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(shown(found))


if __name__ == "__main__":
    main()
