"""SQNR against rate for the three sources of the zero-delay literature, from our own runs: `python -m
benchmarks.figures`.

    figures.json      every point with its 95 % interval (batch means)      figures.png      the same, drawn beside the
    limit

Learned and designed models know 200 000 training samples and nothing else; they are tested on fresh samples through
integer encoder, packets, parser and decoder. What has no bundle (exhaustive search, no side information) is simulated
in floats. Every point is kept in `cache/` as soon as it is measured, learned bundles too, so that a run continues where
the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats import bundle
from edge_wz.model import Model
from firmware_sim.field import pair_source
from training import design, exhaustive, limits, nested_fit, nested_model, no_side
from training.data import from_columns
from training.evaluate import reconstruct
from training.material import from_arrays
from training.nested import Lesson
from training.transmission import transmit

FIGURES = ("fig5", "fig6", "fig7")
TITLES = {"fig5": "first order, both", "fig6": "first order, side of second", "fig7": "third order, side of second"}
RATES = (1, 2, 3, 4, 5)
TRAIN_SAMPLES = 200_000
SEARCH_SAMPLES = 100_000
TEST_SAMPLES = {"quick": (200_000, 200_000), "full": (2_000_000, 10_000_000)}  # up to 3 bits, above: rare errors decide there
TRAIN_SEED, TEST_SEED = 1000, 7
SIDE_TAPS = 12
BATCHES = 40
STYLES = {  # method: (label, colour, line, marker); decoders of ours in blue, the literature in red, no side information in grey
    "limit": ("Wyner-Ziv limit, any delay", "black", "-", ""),
    "kalman": ("no filter at the node, Kalman decoder (designed)", "#08519c", "-", "o"),
    "posterior": ("no filter at the node, posterior mean (designed)", "#6baed6", "-", "s"),
    "learned": ("learned filters, nearest candidate", "#cb181d", "-", "D"),
    "exhaustive": ("exhaustive search, order 1", "#fb6a4a", "--", "x"),
    "zero_filter": ("no filter, nearest candidate", "#fcae91", ":", "+"),
    "dpcm": ("no side information: closed-loop DPCM", "#525252", "--", "^"),
    "lloyd_max": ("no side information: Lloyd-Max", "#969696", ":", "v"),
    "uniform": ("no side information: uniform", "#bdbdbd", ":", "<"),
}
METHODS = tuple(name for name in STYLES if name != "limit")


@dataclass(frozen=True)
class Point:
    """One measurement; `low_db`, `high_db`: 95 %."""

    figure: str
    method: str
    bits: int
    seed: int
    sqnr_db: float
    low_db: float
    high_db: float
    samples: int
    seconds: float


def interval(errors: np.ndarray, variance: float) -> tuple[float, float, float]:
    """(SQNR, low, high) in dB: batch means, since errors come in runs."""
    usable = errors[: len(errors) // BATCHES * BATCHES].reshape(BATCHES, -1)
    means = np.mean(usable * usable, axis=1)
    mean, error = float(means.mean()), float(means.std(ddof=1)) / math.sqrt(BATCHES)
    worst, best = mean + 2.02 * error, max(mean - 2.02 * error, 1e-3 * mean)
    return tuple(10 * math.log10(variance / value) for value in (mean, worst, best))  # type: ignore[return-value]


class Runs:
    """The points of one mode, measured or read back."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.cache, self.mode = folder / "cache", mode
        self.cache.mkdir(parents=True, exist_ok=True)

    def point(self, figure: str, method: str, bits: int, seed: int) -> Point:
        samples = TEST_SAMPLES[self.mode][bits > 3]
        path = self.cache / f"{figure}-{method}-{bits}-{seed}-{samples}.json"
        if path.exists():
            return Point(**json.loads(path.read_text()))
        began_s = time.perf_counter()
        errors, variance = self._errors(figure, method, bits, seed, samples)
        found = interval(errors, variance)
        point = Point(figure, method, bits, seed, *found, len(errors), round(time.perf_counter() - began_s, 2))
        path.write_text(json.dumps(vars(point)))
        print(f"{figure} {method} {bits} bits, seed {seed}: {point.sqnr_db:.2f} dB, {point.seconds:.0f} s", file=sys.stderr)
        return point

    def _errors(self, figure: str, method: str, bits: int, seed: int, samples: int) -> tuple[np.ndarray, float]:
        """(errors, variance of the source) on fresh samples."""
        test = pair_source(figure).generate(samples, TEST_SEED)
        variance = float(np.var(test["x"]))
        if method in no_side.CODERS:
            coder = no_side.CODERS[method](recording(figure, seed)["x"], 1 << bits)
            return test["x"] - coder(test["x"]), variance
        if method in ("exhaustive", "zero_filter"):
            return searched_errors(figure, bits, seed, 1 if method == "exhaustive" else 0, test), variance
        model = self.model(figure, method, bits, seed)
        return through_codec(model, test), variance

    def model(self, figure: str, method: str, bits: int, seed: int) -> Model:
        """Learned or designed from the recording of this seed, kept as a bundle."""
        path = self.cache / f"{figure}-{method}-{bits}-{seed}.ewz"
        if not path.exists():
            made = learned(figure, bits, seed) if method == "learned" else designed(figure, method, bits, seed)
            bundle.save(path, made)
        return bundle.load(path)


def recording(figure: str, seed: int, samples: int = TRAIN_SAMPLES) -> dict[str, np.ndarray]:
    return pair_source(figure).generate(samples, TRAIN_SEED + seed)


def learned(figure: str, bits: int, seed: int) -> Model:
    """The default recipe, one restart: what a single seed gives."""
    columns = recording(figure, seed)
    material = from_arrays(columns["x"], columns["y"][:, None])
    rows = nested_model.rows_of(material)
    result = nested_fit.fit(rows, Lesson((1 << bits,), side_taps=SIDE_TAPS), seed=seed, restarts=1)
    return nested_model.to_model(result.filters, rows, material.scale, material.offset, side=["y"])


def designed(figure: str, decoder: str, bits: int, seed: int) -> Model:
    return design.design(from_columns(recording(figure, seed), 1.0, figure), "x", ["y"], rate=bits, decoder=decoder, side_taps=SIDE_TAPS)


def searched_errors(figure: str, bits: int, seed: int, order: int, test: dict[str, np.ndarray]) -> np.ndarray:
    """Closed-loop predictive scheme, every coefficient and the range from grids, then the range once more, finer."""
    columns = recording(figure, seed, SEARCH_SAMPLES)
    x, y = columns["x"], columns["y"]
    spread = float(np.std(x - y * np.cov(x, y)[0, 1] / np.var(y)))
    coarse = exhaustive.exhaustive(x, y, 1 << bits, order=order, spans=np.geomspace(4.0, 14.0, 10) * spread)
    spans = coarse.span * np.geomspace(0.85, 1.18, 9)
    fine = exhaustive.around(x, y, 1 << bits, coarse, spans)
    return exhaustive.errors(test["x"], test["y"], fine, 1 << bits)


def through_codec(model: Model, test: dict[str, np.ndarray]) -> np.ndarray:
    """Errors after integer encoder, packets, parser and the bundle's decoder."""
    codes, _ = model.node.to_codes(test["x"])
    received = transmit(model.node, codes, np.ones(len(codes), dtype=bool))
    result = reconstruct(Decoder(model), received.indices, SideInformation.of(test["y"]))
    return np.asarray(test["x"] - result.values)


# --- output -------------------------------------------------------------------------------------------------------


def limit_db(figure: str, bits: float) -> float:
    return limits.wyner_ziv_sqnr_db(pair_source(figure).state_space(), bits)


def draw(points: list[Point], path: Path) -> None:
    """Three panels, SQNR over rate; learned and designed ones are means over seeds with their whole range."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figures = [name for name in FIGURES if any(point.figure == name for point in points)]
    sheet, panels = pyplot.subplots(1, len(figures), figsize=(5.2 * len(figures), 6.4), sharey=True, squeeze=False)
    for panel, figure in zip(panels[0], figures, strict=True):
        _panel(panel, figure, [point for point in points if point.figure == figure])
    panels[0][0].set_ylabel("SQNR, dB")
    handles, labels = panels[0][0].get_legend_handles_labels()
    sheet.legend(handles, labels, loc="lower center", ncol=3, frameon=False, fontsize=9)
    sheet.tight_layout(rect=(0, 0.12, 1, 1))
    sheet.savefig(path, dpi=130)
    pyplot.close(sheet)


def _panel(panel: Any, figure: str, points: list[Point]) -> None:
    label, colour, line, _ = STYLES["limit"]
    bits = np.array(sorted({point.bits for point in points}))
    panel.plot(bits, [limit_db(figure, float(value)) for value in bits], line, color=colour, label=label)
    for method in METHODS:
        rows = {value: [p.sqnr_db for p in points if p.method == method and p.bits == value] for value in bits}
        there = [value for value in bits if rows[value]]
        if there:
            label, colour, line, marker = STYLES[method]
            means = np.array([np.mean(rows[value]) for value in there])
            spread = [means - [min(rows[value]) for value in there], [max(rows[value]) for value in there] - means]
            panel.errorbar(there, means, spread, fmt=marker + line, color=colour, label=label, markersize=5, capsize=2, linewidth=1.3)
    panel.set_title(f"{figure}: {TITLES[figure]}")
    panel.set_xlabel("rate, bits per sample")
    panel.set_xticks(bits)
    panel.grid(alpha=0.25)


def save(points: list[Point], folder: Path, mode: str) -> None:
    bits = sorted({point.bits for point in points})
    report = {
        "mode": mode, "train_samples": TRAIN_SAMPLES, "points": [vars(point) for point in points],
        "limit_db": {name: {str(value): round(limit_db(name, value), 3) for value in bits} for name in FIGURES},
    }
    (folder / "figures.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(points, folder / "figures.png")


def _numbers(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(kind(part) for part in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("figures-out"))
    parser.add_argument("--quick", action="store_true", help="one seed, 200 000 test samples")
    parser.add_argument("--seeds", type=int, default=None, help="for what is learned or designed (default: 1 quick, 5 full)")
    parser.add_argument("--figures", type=_numbers(str), default=FIGURES)
    parser.add_argument("--rates", type=_numbers(int), default=RATES)
    parser.add_argument("--methods", type=_numbers(str), default=METHODS)
    chosen = parser.parse_args()
    mode = "quick" if chosen.quick else "full"
    runs, points = Runs(chosen.out, mode), []
    for seed in range(chosen.seeds or (1 if chosen.quick else 5)):
        for bits in chosen.rates:
            for figure in chosen.figures:
                for method in chosen.methods:
                    if seed == 0 or method in ("learned", "kalman"):
                        points.append(runs.point(figure, method, bits, seed))
    save(points, chosen.out, mode)
    print(f"{chosen.out / 'figures.png'} and figures.json: {len(points)} points")


if __name__ == "__main__":
    main()
