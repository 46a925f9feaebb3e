"""Layers as they are and as blocks, on recordings: `python -m benchmarks.layered_recordings [DATA_DIR] [--json]`.

222 with two neighbours, trained on the first half, measured on the second through packets of 512, decoder `kalman`: marginal (layers raw or
range-coded, decoded sample by sample) and conditional (blocks, smoothed). Payload bits and rmse of every prefix of layers; `unresolved`: samples with
fewer layers than came, as the check of their block failed; `above`: what blocks take above the ideal bits of each plane, by the design's trials.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.layered_events import CASES, Case
from benchmarks.timing import show
from edge_wz.codec.side_information import SideInformation
from training.data import load_recording
from training.design import design
from training.evaluate import Source
from training.layered_lloyd import MODES
from training.layered_streams import prefix_rows

BLOCK = 512
LAYERS = (2, 2, 2)
HEADER = ("recording", "mode", "layers", "bits", "rmse", "stated sigma", "unresolved", "above")


def rows_of(case: Case, data: Path) -> list[list[object]]:
    recording = load_recording(str(data / case.file), [case.source, *case.side], thin=case.thin)
    first, second = recording.split()
    found: list[list[object]] = []
    for mode in MODES:
        model = design(first, case.source, case.side, "layered", layers=LAYERS, mode=mode, packet_samples=BLOCK)
        source, side = Source.of(model, second, case.source), SideInformation.of(second.matrix(case.side))
        above = [layer["above_ideal_each_plane"] for layer in model.provenance.get("blocks", ())]
        for depth, row in enumerate(prefix_rows(model, "kalman", source.values, source.codes, source.present, side)):
            figures = [f"{row[name]:.4g}" for name in ("payload_bits_per_sample", "rmse", "mean_sigma")]
            found.append([case.name, mode, depth + 1, *figures, f"{row['unresolved']:.1%}", round(above[depth], 2) if above else ""])
    print(f"{case.name}: done", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", default=os.environ.get("EDGE_WZ_DATA", "../shared/data"), type=Path)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    names = dict.fromkeys(case.name for case in CASES)
    cases = [next(case for case in CASES if case.name == name) for name in names]
    show(HEADER, [row for case in cases for row in rows_of(case, chosen.data)], chosen.json)


if __name__ == "__main__":
    main()
