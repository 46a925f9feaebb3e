"""Rate against distortion of layered coding, and the bins that it learns: `python -m benchmarks.layered_figures --out layered-out`.

    rates.png     per noise variance and mode: 222, 44, monolithic, nested modulo, networks, the Wyner-Ziv limit, no side information
    bins.png      per layer the symbol against the source, and reconstructions against the side information
    layered.json  every point, and by how much each layer is above one layer of as many bins at its rate

After figures 2 and 3 of Joukovsky, De Weerd, Deligiannis, "Learned layered coding for successive refinement in the Wyner-Ziv problem",
from our own runs. Points are kept in `cache/` and networks in `networks/` as soon as they are known (about half an hour of one processor for
all networks; --no-networks leaves them out).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import layered_points as points
from benchmarks.layered_points import Case, Row, Store
from edge_wz.model import LayeredRatePoint
from training import layered_lloyd as lloyd
from training.layered_measure import decode
from training.layered_pairs import gaussian

SAMPLES = {"quick": 1_000_000, "full": 10_000_000}
STYLES = {  # (kind, model): label, colour, line, marker
    ("designed", "222"): ("222, designed", "#08519c", "-", "o"),
    ("designed", "44"): ("44, designed", "#238b45", "-", "s"),
    ("reference", "222"): ("222, designed from the start of the reference", "#4292c6", "--", "P"),
    ("modulo", "222"): ("222, plain nested modulo", "#6baed6", ":", "x"),
    ("modulo", "44"): ("44, plain nested modulo", "#74c476", ":", "+"),
    ("polished", "222"): ("222, network, polished", "#cb181d", "", "v"),
    ("polished", "44"): ("44, network, polished", "#fb6a4a", "", "v"),
    ("network", "222"): ("222, network (default recipe)", "#cb181d", "--", "D"),
    ("network", "44"): ("44, network (default recipe)", "#fb6a4a", "--", "D"),
    ("published", "222"): ("222, network (published recipe)", "#984ea3", "--", "^"),
}
SHOWN = 3.2  # of the source, in deviations of the side information


def all_rows(store: Store, samples: int, networks: bool) -> list[Row]:
    rows: list[Row] = []
    for variance in points.VARIANCES:
        for mode in lloyd.MODES:
            for model in points.MODELS:
                case = Case(variance, mode, model)
                for kind in _kinds(case):
                    rows += store.rows(f"{kind}-{case.name}", lambda case=case, kind=kind: points.design_rows(case, kind, samples))
    if networks:
        for case, recipe, steps in points.network_cases():
            rows += store.rows(
                f"network-{recipe}-{case.name}-{steps}",
                lambda case=case, recipe=recipe, steps=steps: points.network_rows(case, recipe, steps, store.folder, samples),
            )
    return rows


def _kinds(case: Case) -> tuple[str, ...]:
    if case.model not in points.LAYERED:
        return ("designed",)
    return ("designed", "reference", "modulo") if (case.model, case.mode) == ("222", "conditional") else ("designed", "modulo")


def gaps(store: Store, rows: list[Row]) -> list[dict[str, Any]]:
    """Of each layer of the designed 222 and 44: dB above one layer of as many bins at the same rate, and of up to 16 bins."""
    path = store.folder / "cache" / "monolithic.json"
    curves = json.loads(path.read_text()) if path.exists() else {}
    for variance in points.VARIANCES:
        for mode in lloyd.MODES:
            for bins in (2, 4, 8, 16):
                name = f"{mode}-{variance:g}-{bins}"
                if name not in curves:
                    curves[name] = points.monolithic_curve(variance, mode, bins)
                    path.write_text(json.dumps(curves) + "\n")
    found = []
    for row in rows:
        if row.kind == "designed" and row.model in points.LAYERED:
            bins = int(np.prod(points.MODELS[row.model][: row.layer + 1]))
            at = f"{row.mode}-{row.variance:g}"
            above = {size: points.gap_db(curves[f"{at}-{size}"], row.rate, row.distortion_db) for size in (2, 4, 8, 16)}
            any_size = max((value for value in above.values() if not np.isnan(value)), default=float("nan"))
            found.append({
                "variance": row.variance, "mode": row.mode, "model": row.model, "layer": row.layer, "bins": bins, "rate": row.rate,
                "same_bins_db": _or_none(above[bins]), "any_bins_db": _or_none(any_size),
            })  # fmt: skip
    return found


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)


# --- rates --------------------------------------------------------------------------------------------------------


def draw_rates(rows: list[Row], path: Path) -> None:
    pyplot = _pyplot()
    sheet, panels = pyplot.subplots(2, 2, figsize=(13, 12))
    for row_of_panels, variance in zip(panels, points.VARIANCES, strict=True):
        for panel, mode in zip(row_of_panels, lloyd.MODES, strict=True):
            _panel(panel, variance, mode, [row for row in rows if row.variance == variance and row.mode == mode])
    handles: dict[str, Any] = {}
    for panel in panels.flat:
        handles.update(dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True)))
    sheet.legend(handles.values(), handles.keys(), loc="lower center", ncol=4, frameon=False, fontsize=9)
    sheet.tight_layout(rect=(0, 0.07, 1, 1))
    sheet.savefig(path, dpi=110)
    pyplot.close(sheet)


def _panel(panel: Any, variance: float, mode: str, rows: list[Row]) -> None:
    rates = np.linspace(0, 4.2, 50)
    panel.plot(rates, points.wyner_ziv_db(variance, rates), "-", color="black", label="Wyner-Ziv limit")
    panel.plot(rates, points.no_side_db(variance, rates), "-", color="#bdbdbd", label="limit without side information")
    single = sorted((row.rate, row.distortion_db) for row in rows if row.kind == "designed" and row.model not in points.LAYERED)
    panel.plot(*zip(*single, strict=True), "-", color="#969696", marker=".", markersize=9, label="one layer of 2, 4, 8, 16 bins, designed")
    alone = [(row.rate, row.distortion_db) for row in rows if row.kind == "network" and row.model not in points.LAYERED]
    if alone:
        panel.plot(*zip(*alone, strict=True), "*", color="#525252", label="one layer of 2, 4, 8, 16 bins, network")
    for (kind, model), (label, colour, line, marker) in STYLES.items():
        own = [row for row in rows if row.model == model and _kind(row) == kind]
        if own:
            panel.plot(
                [row.rate for row in own], [row.distortion_db for row in own], line or "none", color=colour, marker=marker,
                label=label, markersize=6, linewidth=1.3, fillstyle="none" if kind == "polished" else "full",
            )  # fmt: skip
    bits = "bits sent" if mode == "marginal" else "ideal Slepian-Wolf bits"
    panel.set_title(f"{mode}, noise variance {variance:g}")
    panel.set_xlabel(f"{bits} per sample, all layers so far")
    panel.set_ylabel("distortion, dB of the side information's variance")
    lowest = min(row.distortion_db for row in rows)
    panel.set(xlim=(0, 4.2), ylim=(lowest - 3, 10 * np.log10(variance) + 4))
    panel.grid(alpha=0.25)


def _kind(row: Row) -> str:
    if row.kind == "network" and row.start.startswith("published"):
        return "published"
    return "" if row.kind == "polished" and row.start.startswith("published") else row.kind


# --- bins ---------------------------------------------------------------------------------------------------------


def draw_bins(store: Store, networks: bool, path: Path) -> None:
    """222 and 44 in conditional mode at variance 0.1: the networks' own bins, or the designed ones without networks."""
    pyplot = _pyplot()
    sheet = pyplot.figure(figsize=(15, 13), layout="constrained")
    parts = sheet.subfigures(2, 1, hspace=0.02)
    for part, model in zip(parts, points.LAYERED, strict=True):
        case = Case(0.1, "conditional", model)
        learned, shipped, title = _tables(store, case, networks)
        part.suptitle(title, fontsize=11)
        _bins(part, case, learned, shipped)
    sheet.savefig(path, dpi=110)
    pyplot.close(sheet)


def _tables(store: Store, case: Case, networks: bool) -> tuple[LayeredRatePoint, LayeredRatePoint, str]:
    """(the table whose bins are shown, the one whose reconstructions are, a title)."""
    if not networks:
        design = points.designed(case)
        return design.point, design.point, f"{case.model}, conditional, noise variance 0.1, designed from {design.start}"
    from training import layered_compile

    trained, _ = points.network(case, "default", points.STEPS[case.model], store.folder)
    point = layered_compile.compiled(trained, gaussian(case.variance))
    joint = points.joint_of(case.variance)
    polished = lloyd.design(joint, points.task_of(case, joint), periods=(), start=point).point
    counts = f"{len(point.messages)} intervals as learned (grey), {len(polished.messages)} polished (blue)"
    return point, polished, f"{case.model}, conditional, noise variance 0.1: {counts}"


def _bins(part: Any, case: Case, learned: LayeredRatePoint, shipped: LayeredRatePoint) -> None:
    layers = len(points.MODELS[case.model])
    panels = part.subplots(2, layers + 1)
    x = np.linspace(-SHOWN, SHOWN, 4000)
    pairs = gaussian(case.variance)
    for point, colour, width in ((learned, "#969696", 3.0), (shipped, "#08519c", 1.2)):
        at = np.searchsorted(point.thresholds, pairs.to_codes(x), side="right")
        for layer in range(layers):
            panels[0][layer].plot(x, point.messages[at, layer], color=colour, linewidth=width, drawstyle="steps-mid")
            panels[0][layer].set_title(f"layer {layer}", fontsize=10)
        panels[0][layers].plot(x, point.numbers[at], color=colour, linewidth=width, drawstyle="steps-mid")
    panels[0][layers].set_title("complete message", fontsize=10)
    for panel in panels[0]:
        panel.set_xlabel("source")
    for depth, panel in enumerate(panels[1], start=1):
        _reconstructions(panel, case, shipped, min(depth, layers), every=depth > layers)
    panels[1][0].set_ylabel("reconstruction")


def _reconstructions(panel: Any, case: Case, point: LayeredRatePoint, depth: int, every: bool) -> None:
    """Reconstruction against side information for some prefixes of `depth` layers, or for all."""
    alphabets = points.MODELS[case.model]
    size = int(np.prod(alphabets[:depth]))
    pairs = gaussian(case.variance)
    y = np.linspace(-SHOWN, SHOWN, 1500)
    below = int(np.prod(alphabets[depth:]))
    for prefix in range(size) if every else range(min(size, alphabets[depth - 1])):
        value = decode(point, pairs, np.full(len(y), prefix * below), depth, y, np.full(len(y), np.sqrt(case.variance)))
        digits = "".join(map(str, np.unravel_index(prefix, alphabets[:depth])))
        panel.plot(y, value, linewidth=1.1, label=digits + "X" * (len(alphabets) - depth))
    panel.plot(y, y, ":", color="#bdbdbd", linewidth=1)
    panel.set_xlabel("side information")
    if size <= 8:
        panel.legend(fontsize=7, ncol=2, frameon=False)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def table(rows: list[Row]) -> Iterator[str]:
    """Markdown lines, one for each case."""
    yield "| kind | variance | mode | model | bits | dB | intervals | table, bytes | from |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        if row.layer:
            continue
        own = [r for r in rows if (r.kind, r.variance, r.mode, r.model, r.start) == (row.kind, row.variance, row.mode, row.model, row.start)]
        bits, levels = " / ".join(f"{r.rate:.3f}" for r in own), " / ".join(f"{r.distortion_db:.2f}" for r in own)
        yield f"| {row.kind} | {row.variance:g} | {row.mode} | {row.model} | {bits} | {levels} | {row.intervals} | {row.table_bytes} | {row.start} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("layered-out"))
    parser.add_argument("--quick", action="store_true", help="1 million test samples instead of 10")
    parser.add_argument("--no-networks", action="store_true", help="only what is designed")
    chosen = parser.parse_args()
    store = Store(chosen.out)
    rows = all_rows(store, SAMPLES["quick" if chosen.quick else "full"], not chosen.no_networks)
    report = {"rows": [asdict(row) for row in rows], "gaps": gaps(store, rows)}
    (chosen.out / "layered.json").write_text(json.dumps(report, indent=1) + "\n")
    draw_rates(rows, chosen.out / "rates.png")
    draw_bins(store, not chosen.no_networks, chosen.out / "bins.png")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
