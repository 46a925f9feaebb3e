"""Bits and fidelity on real recordings: designed on the first half, measured on the second, beside every rival.

    python -m benchmarks.real_recordings [DATA_DIR] [--cases m35_2,ptb] [--out docs/RESULTS.md]

DATA_DIR (or EDGE_WZ_DATA, default ../shared/data) holds the recordings. Neighbours are the true columns. Ratios are our
payload bits over those of the best rival without side information at our rmse, below 1 where we win.
The table is written between the markers of the page, after every case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recordings import BEIJING, INTEL, PTB, ULB, Page, load, parser, sizes
from edge_wz.errors import EdgeWzError
from edge_wz.model import Model
from training import baselines, design
from training.data import Recording
from training.evaluate import evaluate_bundle

RATES = (2, 3, 4)
BLIND_RATE, LEVEL_CHECK_BITS = 3, 8  # one row shows what happens without the check
BLIND = ("hold", "dpcm_rice", "dpcm_range")  # rivals that know nothing of the neighbours
INTRODUCTION = """# Results on real recordings

Every row is one model designed on the first half of a recording (`edge-wz train --method analytic`) and measured on
the second half through integer encoder, packets, parser and decoder, with the neighbours' true values as side
information. Rivals code the same samples in the same packets of N and are brought to our rmse; their numbers are
payload bits per sample (header and checksum add the same to all: 32 bits a packet, and the hellos). `ratio` is ours
over the best of hold, DPCM + Rice and DPCM + range coder, which know nothing of the neighbours: below 1 we win. A
rival in parentheses is more than 1.5 % from our rmse: `modulo` has whole bits only, and the others may have no step
that meets it and are cheaper where they are finer. `bin errors` is the share of samples put into a wrong cell,
`suspect` the share that the gateway flagged. `nested` sends an 8-bit level check per packet unless the row says
otherwise; `auto` refines inside the cell with what lies before and after, and with the neighbours where they help.
`python -m benchmarks.real_recordings` makes this table.

"""


@dataclass(frozen=True)
class Case:
    label: str
    file: str
    source: str
    side: tuple[str, ...]  # empty: the two columns that move most like the source, on the first half
    steps: tuple[float, ...]  # of `predictive`, sensor units
    thin: int = 1


CASES = {
    "m35_2": Case("Intel m35, 5 min, 2", INTEL, "m35", ("m34", "m36"), (0.1, 0.5), 10),
    "m35_4": Case("Intel m35, 5 min, 4", INTEL, "m35", ("m34", "m36", "m33", "m37"), (0.1, 0.5), 10),
    "m47_2": Case("Intel m47, 5 min, 2", INTEL, "m47", ("m46", "m48"), (0.1, 0.5), 10),
    "m47_4": Case("Intel m47, 5 min, 4", INTEL, "m47", ("m46", "m48", "m45", "m49"), (0.1, 0.5), 10),
    "ulb": Case("ULB node 11, 60 s, 2", ULB, "11", (), (0.05, 0.2)),
    "ptb": Case("PTB v5, 1 kHz, v4 v6", PTB, "v5", ("v4", "v6"), (20.0, 80.0)),
    "pm25": Case("PM2.5 ds, 1 h, 4", BEIJING, "pm25_ds", ("pm25_tt", "pm25_nz", "pm25_at", "pm25_gy"), (4.0, 16.0)),
}


def nearest_movers(recording: Recording, source: str, count: int = 2) -> tuple[str, ...]:
    """The columns whose first differences correlate best with the source's."""

    def likeness(name: str) -> float:
        changes = np.diff(recording.matrix([source, name]), axis=0)
        return float(np.corrcoef(changes[np.isfinite(changes).all(axis=1)].T)[0, 1])

    others = [name for name in recording.columns if name != source]
    return tuple(sorted(others, key=likeness, reverse=True)[:count])


def models(case: Case, fit: Recording, side: tuple[str, ...], packet_samples: int) -> Iterator[tuple[str, Model]]:
    """What is measured: `nested` at whole bits and, once, without its check; `predictive` at two steps, alone and refined."""
    size = {"packet_samples": packet_samples}
    for rate in RATES:
        checked = design.design(fit, case.source, side, "nested", rate=rate, level_check_bits=LEVEL_CHECK_BITS, **size)
        yield f"nested {rate} b", checked
    yield f"nested {BLIND_RATE} b, no check", design.design(fit, case.source, side, "nested", rate=BLIND_RATE, **size)
    for step in case.steps:
        yield f"predictive {step:g}", design.design(fit, case.source, (), "predictive", step=step, **size)
        refined = design.design(fit, case.source, side, "predictive", step=step, decoder="auto", side_as="true", **size)
        yield f"predictive {step:g}, auto", refined


def rows(case: Case, folder: Path, packet_samples: int) -> Iterator[list[str]]:
    """One table row per model; a model that cannot be designed says why."""
    recording = load(folder, case.file, (case.source, *case.side) if case.side else (), case.thin)
    fit, test = recording.split()
    side = case.side or nearest_movers(fit, case.source)
    try:
        for label, model in models(case, fit, side, packet_samples):
            node = evaluate_bundle(model, test, fit_recording=fit)["nodes"][0]
            yield _row(case.label, packet_samples, label, node)
    except EdgeWzError as error:
        yield [case.label, str(packet_samples), f"not designed: {error}"] + [""] * (len(HEADER) - 3)


HEADER = ("recording", "N", "model", "decoder", "bits", "SQNR dB", "rmse", "bin errors", "suspect", *baselines.NAMES, "ratio")


def _row(label: str, packet_samples: int, model: str, node: dict[str, Any]) -> list[str]:
    ours = node["payload_bits_per_sample"]
    rivals = [_rival(node, name) for name in baselines.NAMES]
    blind = min(node["baselines"][name]["payload_bits_per_sample"] for name in BLIND)
    return [
        label, str(packet_samples), model, node["decoder"], f"{ours:.2f}", f"{node['sqnr_db']:.1f}",
        f"{node['rmse']:.3g}", f"{node['bin_error_rate']:.2g}", f"{node['flags']['suspect'] / node['samples']:.2g}", *rivals, f"{ours / blind:.2f}",
    ]


def _rival(node: dict[str, Any], name: str) -> str:
    rival = node["baselines"][name]
    text = f"{rival['payload_bits_per_sample']:.2f}"
    return text if abs(rival["rmse"] / node["rmse"] - 1) <= 1.5 * baselines.TOLERANCE else f"({text})"


def main() -> None:
    made = parser(__doc__, list(CASES), "32,64")
    made.add_argument("--out", type=Path, default=Path("docs/RESULTS.md"))
    chosen = made.parse_args()
    page = Page("real_recordings", INTRODUCTION, HEADER)
    found: list[list[str]] = []
    for packet_samples in sizes(chosen):
        for name in chosen.cases.split(","):
            for row in rows(CASES[name], chosen.data, packet_samples):
                print("  ".join(row), flush=True)
                found.append(row)
            page.write(chosen.out, found)


if __name__ == "__main__":
    main()
