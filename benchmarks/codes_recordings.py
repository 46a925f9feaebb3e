"""`trellis` on real recordings beside `predictive` refined at the gateway: designed on the first half, measured on the second, bits at equal rmse.

    python -m benchmarks.codes_recordings [DATA_DIR] [--cases ptb_4,ptb_20] [--rates 1,2,3] [--level-checks 4,8] [--json FILE]

Packets of 64 that decode alone, payload bits per sample, level check included; neighbours are the true columns for both. `refined` is read off a
line through the steps around the one that gives the rmse of the trellis. `worst` is the share of the trellis' squared error in the worst 1 % of its
packets, `wrong` of levels: both say what the step had to cover.
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.refinement import CASES, Case
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import EdgeWzError
from edge_wz.model import Model
from training import design
from training.data import Recording, load_recording
from training.evaluate import Source, bin_error_rate, evaluate_bundle, reconstruct
from training.report import table
from training.transmission import transmit

PACKET = 64
AROUND = (0.85, 1.0, 1.18)
SHOWN = "ptb_4,ptb_20,pm25_16,pm25_4,m35_.1,m47_.1"
COLUMNS = ("recording", "bits", "states", "rmse", "wrong", "worst", "refined", "trellis / refined")


def halves(case: Case, folder: Path) -> tuple[Recording, Recording]:
    return load_recording(folder / case.file, [case.source, *case.side], thin=case.thin).split()


def trellis_row(model: Model, test: Recording) -> dict[str, float]:
    source = Source.of(model, test, model.source)
    sent = transmit(model.node, source.codes, source.present)
    result = reconstruct(Decoder(model), sent.indices, SideInformation.of(test.matrix(model.side)))
    squares = np.where(source.present, np.square(result.values - np.where(source.present, source.values, 0.0)), 0.0)
    packets = np.sort(np.add.reduceat(squares, np.arange(0, len(squares), PACKET)))[::-1]
    return {
        "bits": float(sent.payload_bits.sum()) / source.samples, "rmse": float(np.sqrt(squares.sum() / source.samples)),
        "wrong": bin_error_rate(model.node, source, sent, result.levels),
        "worst": float(packets[: max(1, len(packets) // 100)].sum() / packets.sum()),
    }  # fmt: skip


def refined_bits(case: Case, fit: Recording, test: Recording, rmse: float) -> float:
    """Of `predictive` with decoder `refine` at this rmse, off a line through log rmse."""
    step, points = rmse * np.sqrt(12.0), []
    for _ in range(2):
        points = [_refined(case, fit, test, step * factor) for factor in AROUND]
        off = np.log([point[1] / rmse for point in points])
        if off[0] <= 0.0 <= off[-1]:
            break
        step *= float(np.exp(-off[1]))
    return float(np.polyfit(off, [point[0] for point in points], 1)[1])


def _refined(case: Case, fit: Recording, test: Recording, step: float) -> tuple[float, float]:
    model = design.design(
        fit, case.source, case.side, "predictive", step=step, packet_samples=PACKET, decoder="auto", side_as="true"
    )
    node = evaluate_bundle(model, test, fit_recording=fit, with_baselines=())["nodes"][0]
    return node["payload_bits_per_sample"], node["rmse"]


def rows(case: Case, folder: Path, rates: list[int], checks: list[int]) -> list[list[Any]]:
    fit, test = halves(case, folder)
    found: list[list[Any]] = []
    for rate, check_bits in product(rates, checks):
        try:
            model = design.design(fit, case.source, case.side, "trellis", rate=rate, packet_samples=PACKET, level_check_bits=check_bits)
            row = trellis_row(model, test)
            bits = refined_bits(case, fit, test, row["rmse"])
        except EdgeWzError as error:
            found.append([case.label, rate + check_bits / PACKET, "-", f"not designed: {error}", "", "", "", ""])
            print(table(COLUMNS, found[-1:]), flush=True)
            continue
        shown = [f"{row[name]:.3g}" for name in ("rmse", "wrong", "worst")]
        found.append([case.label, round(row["bits"], 3), 1 << model.node.memory, *shown, round(bits, 3), round(row["bits"] / bits, 2)])
        print(table(COLUMNS, found[-1:]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("EDGE_WZ_DATA", "../shared/data"), type=Path)
    parser.add_argument("--cases", default=SHOWN)
    parser.add_argument("--rates", default="1,2,3")
    parser.add_argument("--level-checks", default="4,8")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    seen = set()
    for name in options.cases.split(","):
        case = CASES[name]
        if (case.file, case.source) not in seen:  # the step of a case is not the trellis': one of each recording does
            seen.add((case.file, case.source))
            found += rows(case, options.data, *([int(one) for one in asked.split(",")] for asked in (options.rates, options.level_checks)))
    print(table(COLUMNS, found))
    if options.json:
        options.json.write_text(json.dumps([dict(zip(COLUMNS, line, strict=True)) for line in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
