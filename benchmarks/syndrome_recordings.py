"""`syndrome` on real recordings beside `predictive` refined at the gateway: designed on the first half, measured on the second.

    python -m benchmarks.syndrome_recordings [DATA_DIR] [--cases ptb_4,pm25_16] [--rates 2,3,4] [--packet-samples 64] [--no-rival] [--json FILE]

Payload bits per sample, true neighbours for both. `refined`: of `predictive` at the rmse of `syndrome`, off a line through two of its steps
(takes long, `--no-rival` leaves it out). `failed`: share of the packets of the second half whose check did not hold, `of error` the share of the
squared error in them; `expected`: the failures that the design counted on. `bound`: what `plan` asks before it designs anything
(`training.plan_syndrome.least_bits`), at that rmse.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.refinement import CASES, Case
from edge_wz.codec.reconstruction import SUSPECT, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import EdgeWzError
from training import design
from training.data import Recording, load_recording
from training.evaluate import Source, evaluate_bundle, reconstruct
from training.plan import Options, make_study
from training.plan_syndrome import least_bits
from training.report import table
from training.transmission import transmit

SHOWN = "ptb_4,ptb_20,pm25_16,m35_.1"
STEPS = (0.85, 1.15)  # of `predictive`, over the one whose uniform error would be the rmse
COLUMNS = ("recording", "samples", "bits", "rmse", "failed", "of error", "expected", "refined", "bits / refined", "bound")


def syndrome_row(case: Case, halves: tuple[Recording, Recording], rate: float, size: int) -> dict[str, Any]:
    fit, test = halves
    model = design.design(fit, case.source, case.side, "syndrome", rate=rate, packet_samples=size)
    source = Source.of(model, test, model.source)
    sent = transmit(model.node, source.codes, source.present)
    result = reconstruct(Decoder(model), sent.indices, SideInformation.of(test.matrix(model.side)))
    squares = np.where(source.present, np.square(result.values - np.where(source.present, source.values, 0.0)), 0.0)
    suspect = result.flags & SUSPECT != 0
    starts = np.arange(0, len(squares), size)
    return {
        "samples": source.samples, "bits": float(sent.payload_bits.sum()) / source.samples, "rmse": float(np.sqrt(squares.sum() / source.samples)),
        "failed": float(np.maximum.reduceat(suspect, starts).mean()), "of error": float(squares[suspect].sum() / squares.sum()),
        "expected": model.measured["training"][0]["block_failures"],
    }  # fmt: skip


def refined_bits(case: Case, halves: tuple[Recording, Recording], rmse: float, size: int) -> float:
    fit, test = halves
    points = []
    for factor in STEPS:
        step = rmse * np.sqrt(12.0) * factor
        model = design.design(fit, case.source, case.side, "predictive", step=step, packet_samples=size, decoder="auto", side_as="true")
        node = evaluate_bundle(model, test, fit_recording=fit, with_baselines=())["nodes"][0]
        points.append((np.log2(node["rmse"] / rmse), node["payload_bits_per_sample"]))
    slope, bits = np.polyfit(*zip(*points, strict=True), 1)
    return float(bits)


def bound(case: Case, fit: Recording, rmse: float, size: int) -> float:
    study = make_study(fit, case.source, Options("rmse", rmse, packet_samples=size))
    columns = {name: fit.source(name)[-len(study.material.codes) :] for name in case.side}
    return least_bits(study, rmse / study.material.scale, case.side, columns)


def rows(case: Case, folder: Path, rates: list[float], size: int, with_rival: bool) -> list[dict[str, Any]]:
    halves = load_recording(folder / case.file, [case.source, *case.side], thin=case.thin).split()
    found = []
    for rate in rates:
        row: dict[str, Any] = {"recording": case.label}
        try:
            row |= syndrome_row(case, halves, rate, size)
            row["bound"] = bound(case, halves[0], row["rmse"], size)
            if with_rival:
                row["refined"] = refined_bits(case, halves, row["rmse"], size)
                row["bits / refined"] = row["bits"] / row["refined"]
        except EdgeWzError as error:
            row |= {"bits": row.get("bits", rate), "refined": f"not designed: {error}"}
        found.append(row)
        show([row])
    return found


def show(found: list[dict[str, Any]]) -> None:
    print(table(COLUMNS, [[_text(row.get(name, "")) for name in COLUMNS] for row in found]), flush=True)


def _text(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("EDGE_WZ_DATA", "../shared/data"), type=Path)
    parser.add_argument("--cases", default=SHOWN)
    parser.add_argument("--rates", default="2,3,4")
    parser.add_argument("--packet-samples", type=int, default=64, dest="packet_samples")
    parser.add_argument("--no-rival", action="store_true", dest="no_rival")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for name in options.cases.split(","):
        rates = [float(rate) for rate in options.rates.split(",")]
        found += rows(CASES[name], options.data, rates, options.packet_samples, not options.no_rival)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
