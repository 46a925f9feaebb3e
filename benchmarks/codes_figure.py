"""One picture of all rungs on fig5: gap to the Wyner-Ziv limit against rate and against delay, decoder speed, encoder instructions.

    python -m benchmarks.codes_figure [--trellis FILE] [--syndrome FILE] [--out docs/results_codes]

Draws what `benchmarks.trellis_gap --json` and `benchmarks.syndrome_gap --json` measured; instructions are those that `export.footprint` counted on a
Cortex-M0. Delay: samples from taking one to its final value at the gateway, the packet; `nested` has none. Writes OUT.png and OUT.json.
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from edge_wz.deploy import costs
from training.report import table

CORE = "m0"
COUNTED = {"nested": "nested 2 bit", "trellis": "trellis 2 bit", "syndrome": "syndrome 2 bit"}  # examples of the footprint
LONG = 4096  # packets of the trellis in the first panel
SHOWN_RATE = 2.0  # of the other panels
COLUMNS = ("rung", "rate", "bits", "gap_db", "interval_db", "delay_samples", "decoder_per_s", "encoder_per_s", "encoder_instructions")
COLOURS = {"nested": "tab:gray", "trellis": "tab:blue", "syndrome": "tab:orange"}
MARKERS = "osDv^<>*"
Row = dict[str, Any]


def rows_of(trellis: Path, syndrome: Path) -> list[Row]:
    """One row per rung and rate of fig5."""
    instructions = {scheme: counted(example) for scheme, example in COUNTED.items()}
    found = []
    for row in _read(trellis):
        if row["figure"] == "fig5" and not row["level_check_bits"]:
            scheme, length = row["scheme"], row["packet_samples"]
            name = f"trellis {row['states']}, N = {length}" if scheme == "trellis" else "nested"
            found.append(_row(name, row, length if scheme == "trellis" else 0, instructions[scheme]))
    for row in _read(syndrome):
        if row.get("figure") == "fig5":
            found.append(_row(f"syndrome {row['block']}", row, row["block"], instructions["syndrome"]))
    return found


def _read(path: Path) -> list[Row]:
    """Rows of one benchmark, bare or among other results under `gaps`."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    return found if isinstance(found, list) else found.get("gaps", found.get("rows", []))


def _row(rung: str, row: Row, delay: int, instructions: float) -> Row:
    kept = {name: row.get(name) for name in COLUMNS}
    return {**kept, "rung": rung, "rate": round(row["bits"]), "delay_samples": delay, "encoder_instructions": instructions}


def counted(example: str) -> float:
    return float(json.loads(files("edge_wz.deploy").joinpath(costs.RECORD).read_text())[CORE][example]["block"])


def draw(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8))
    _against_rate(axes[0, 0], rows)
    at = [row for row in rows if row["rate"] == SHOWN_RATE]
    _against_delay(axes[0, 1], at)
    _bars(axes[1, 0], at, "decoder_per_s", 1e6, "decoder, M samples/s on one core, R = 2")
    _bars(axes[1, 1], at, "encoder_instructions", 1.0, "encoder, Cortex-M0 instructions per sample, R = 2")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _against_rate(axis: Any, rows: list[Row]) -> None:
    rungs = [name for name in dict.fromkeys(row["rung"] for row in rows) if not name.startswith("trellis") or name.endswith(f"N = {LONG}")]
    for at, rung in enumerate(rungs):
        line = sorted((row for row in rows if row["rung"] == rung), key=lambda row: row["bits"])
        style = {"color": COLOURS[rung.split()[0]], "marker": MARKERS[at % len(MARKERS)], "markersize": 5}
        axis.errorbar(*zip(*((row["bits"], row["gap_db"]) for row in line), strict=True), yerr=[row["interval_db"] or 0.0 for row in line],
                      label=rung.split(",")[0], capsize=2, **style)  # fmt: skip
    axis.axhline(1.53, color="black", linewidth=0.8, linestyle=":")
    axis.text(0.8, 1.2, "scalar rounding with ideal Slepian-Wolf coding, 1.53 dB", fontsize=7)
    axis.set(xlabel="payload bits per sample", ylabel="gap to the Wyner-Ziv limit, dB", title="fig5, one long packet or one block")
    axis.set(xlim=(0.7, 4.3), ylim=(0, 1.15 * max(row["gap_db"] for row in rows)))
    axis.legend(fontsize=7, ncol=2)
    axis.grid(alpha=0.3)


def _against_delay(axis: Any, rows: list[Row]) -> None:
    for row in rows:
        scheme = row["rung"].split()[0]
        axis.plot(max(row["delay_samples"], 1), row["gap_db"], "o", color=COLOURS[scheme])
        left = row["rung"].endswith(("N = 32", "syndrome 256", "syndrome 1024"))  # else it would run into those of longer packets
        place = {"xytext": (-6, -7 if row["rung"].startswith("trellis 8,") else 3), "ha": "right"} if left else {"xytext": (4, 4)}
        axis.annotate(row["rung"].split(",")[0], (max(row["delay_samples"], 1), row["gap_db"]), textcoords="offset points", fontsize=7, **place)
    axis.set(xlabel="gateway delay, samples (nested: none)", ylabel="gap, dB", xscale="log", xlim=(0.7, 4e4), title="fig5, R = 2")
    axis.set_ylim(0, 1.15 * max(row["gap_db"] for row in rows))
    axis.grid(alpha=0.3)


def _bars(axis: Any, rows: list[Row], column: str, unit: float, title: str) -> None:
    known = [row for row in rows if row[column] is not None]
    if column == "encoder_instructions":  # the same for all lengths and states
        known = list({row["rung"].split()[0]: row for row in known}.values())
    names = [row["rung"].split()[0] if column == "encoder_instructions" else row["rung"] for row in known]
    values = [row[column] / unit for row in known]
    axis.barh(names, values, color=[COLOURS[name.split()[0]] for name in names])
    for at, value in enumerate(values):
        axis.text(value, at, f" {value:.3g}", va="center", fontsize=7)
    axis.set(title=title, xlim=(0, 1.12 * max(values)))
    axis.tick_params(axis="y", labelsize=7)
    axis.invert_yaxis()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trellis", type=Path, default=Path("docs/results_codes_trellis.json"))
    parser.add_argument("--syndrome", type=Path, default=Path("docs/results_codes_syndrome.json"))
    parser.add_argument("--out", type=Path, default=Path("docs/results_codes"))
    options = parser.parse_args()
    rows = rows_of(options.trellis, options.syndrome)
    print(table(COLUMNS, [[_shown(row[name]) for name in COLUMNS] for row in rows]))
    options.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    draw(rows, options.out.with_suffix(".png"))


def _shown(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
