"""Wall time of learning against exhaustive search, in one run: same recording, same task, and how both grow with the
filters.

    python -m benchmarks.learning_vs_exhaustive [--samples N] [--points P] [--bits R]

Exhaustive search tries P^(2 x order) x 10 settings of the closed-loop scheme on the recording; where that would take
longer than BUDGET_S, the time of one trial is measured and multiplied, and the row says so. Learning is one restart of
the default recipe, polishing included.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from firmware_sim.field import pair_source
from training import exhaustive, nested_fit, nested_model
from training.material import from_arrays
from training.nested import Lesson
from training.nested_hard import sqnr_db
from training.report import table

BUDGET_S = 60.0
ORDERS = (1, 2, 3)
TAPS = (2, 3, 5, 9, 16)
TEST_SAMPLES = 1_000_000
COLUMNS = ("method", "filters", "trials", "seconds", "how", "SQNR dB", "against order 1")


def searched(columns: dict[str, np.ndarray], test: dict[str, np.ndarray], bits: int, order: int, points: int) -> list[object]:
    x, y = columns["x"] - columns["x"].mean(), columns["y"] - columns["y"].mean()
    spans = np.geomspace(4.0, 14.0, 10) * float(np.std(x - y * (x @ y) / (y @ y)))
    trials = points ** (2 * order) * len(spans)
    began_s = time.perf_counter()
    exhaustive.exhaustive(x, y, 1 << bits, order=order, points=1, spans=spans)
    expected_s = (time.perf_counter() - began_s) / len(spans) * trials
    if expected_s > BUDGET_S:
        return ["exhaustive", f"order {order}", trials, expected_s, "from one trial's time", float("nan")]
    began_s = time.perf_counter()
    found = exhaustive.exhaustive(x, y, 1 << bits, order=order, points=points, spans=spans)
    seconds = time.perf_counter() - began_s
    errors = exhaustive.errors(test["x"], test["y"], found, 1 << bits)
    return ["exhaustive", f"order {order}", trials, seconds, "run", 10 * np.log10(np.var(test["x"]) / np.mean(errors**2))]


def learned(columns: dict[str, np.ndarray], test: dict[str, np.ndarray], bits: int, taps: int) -> list[object]:
    material = from_arrays(columns["x"], columns["y"][:, None])
    rows = nested_model.rows_of(material)
    began_s = time.perf_counter()
    result = nested_fit.fit(rows, Lesson((1 << bits,), taps=taps, side_taps=taps), restarts=1)
    seconds = time.perf_counter() - began_s
    fresh = nested_model.rows_of(from_arrays(test["x"], test["y"][:, None], (material.scale, material.offset)))
    return ["learned", f"{taps} taps", result.steps, seconds, "run", sqnr_db(result.filters, fresh)[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="fig6")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=9, help="grid points per coefficient")
    parser.add_argument("--bits", type=int, default=2)
    chosen = parser.parse_args()
    source = pair_source(chosen.figure)
    columns, test = source.generate(chosen.samples, 1), source.generate(TEST_SAMPLES, 2)
    warm = {name: values[:6000] for name, values in columns.items()}
    searched(warm, warm, chosen.bits, 1, 3)  # compiles
    found = [searched(columns, test, chosen.bits, order, chosen.points) for order in ORDERS]
    found += [learned(columns, test, chosen.bits, taps) for taps in TAPS]
    first = float(found[0][3])  # type: ignore[arg-type]
    print(table(COLUMNS, [[*row, float(row[3]) / first] for row in found]))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
