"""Every point of the layered coding figures: tables designed, measured on fresh samples, networks trained; kept as soon as known.

A *case* is a noise variance, a mode and a model: 222, 44, or monolithic with 2 to 16 bins. Its rows hold cumulative rate and
distortion of each layer: bits of real payloads in marginal mode, ideal Slepian-Wolf bits in conditional mode.
Kinds: `designed` (Lloyd from nested modulo, training.layered_lloyd), `reference` (the same from one start only, conditional 222), `modulo` (nested
modulo itself, its period tuned), `network` (the trained networks as they are), `compiled` (their table with the closed-form decoder), `polished`
(that table after Lloyd).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.formats.blob import make_layered
from edge_wz.model import LayeredRatePoint, Model, SideFilter
from export.layered_table import table_bytes
from training import layered_lloyd as lloyd
from training import layered_measure
from training.layered_pairs import CODES_PER_DEVIATION, gaussian

VARIANCES = (0.1, 0.01)
MODELS = {"222": (2, 2, 2), "44": (4, 4), "2": (2,), "4": (4,), "8": (8,), "16": (16,)}
LAYERED = ("222", "44")
WEIGHT = 10.0  # lambda times the noise variance, in bits: 100 at variance 0.1, 1000 at 0.01
REFERENCE_PERIODS = {0.1: 7.0, 0.01: 8.0}  # of the start from which conditional 222 ends at the figures of the reference
TUNED_PERIODS = np.arange(5.0, 10.01, 0.25)
MONOLITHIC_WEIGHTS = np.geomspace(2.0, 400.0, 8)
MONOLITHIC_PERIODS = (5.5, 6.5, 7.5, 9.0)
NEAR_BITS = 0.02
NETWORK_SAMPLES = 1_000_000
STEPS = {"222": 4000, "44": 4000}
MONOLITHIC_STEPS = 1500


@dataclass(frozen=True)
class Case:
    variance: float
    mode: str
    model: str

    @property
    def name(self) -> str:
        return f"{self.model}-{self.mode}-{self.variance:g}"


@dataclass(frozen=True)
class Row:
    """One layer of one case. `rate`: cumulative bits; `start`: what the design began with, or how the network was trained."""

    kind: str
    variance: float
    mode: str
    model: str
    layer: int
    rate: float
    distortion_db: float
    samples: int
    intervals: int
    table_bytes: int
    start: str


class Store:
    """Rows and tables by case, one JSON file each: a run continues where the last one stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "cache").mkdir(parents=True, exist_ok=True)

    def rows(self, name: str, make: Callable[[], list[Row]]) -> list[Row]:
        path = self.folder / "cache" / f"{name}.json"
        if path.exists():
            return [Row(**row) for row in json.loads(path.read_text())]
        start = time.process_time()
        rows = make()
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        print(f"{name}: {time.process_time() - start:.0f} s  " + "  ".join(f"{r.rate:.3f} b {r.distortion_db:.2f} dB" for r in rows), flush=True)
        return rows


def joint_of(variance: float) -> lloyd.Joint:
    return lloyd.gaussian_joint(CODES_PER_DEVIATION, CODES_PER_DEVIATION * float(np.sqrt(variance)))


def task_of(case: Case, joint: lloyd.Joint) -> lloyd.Task:
    return lloyd.task(joint, MODELS[case.model], case.mode, WEIGHT)


def designed(case: Case) -> lloyd.Design:
    joint = joint_of(case.variance)
    return lloyd.design(joint, task_of(case, joint))


def reference(case: Case) -> lloyd.Design:
    """The optimum next to another start than the best one: of a larger Lagrangian, more bits and less distortion, or the other way round."""
    joint = joint_of(case.variance)
    return lloyd.design(joint, task_of(case, joint), periods=(REFERENCE_PERIODS[case.variance],))


def modulo(case: Case) -> lloyd.Design:
    """Nested modulo of the period with the least Lagrangian."""
    joint = joint_of(case.variance)
    task = task_of(case, joint)
    found = [
        replace(lloyd.described(joint, task, lloyd.nested_messages(joint, task, period)), start=f"period {period:g} sigma")
        for period in TUNED_PERIODS
    ]
    return min(found, key=lambda one: one.lagrangian)


def measured(kind: str, case: Case, point: LayeredRatePoint, start: str, samples: int) -> list[Row]:
    found = layered_measure.measure(point, gaussian(case.variance), samples)
    rates = found.sent_bits if case.mode == "marginal" else found.ideal_bits
    return [
        Row(kind, *_of(case), layer, rates[layer], found.distortion_db[layer], found.samples, *_size(point), start)
        for layer in range(point.layers)
    ]


def _of(case: Case) -> tuple[float, str, str]:
    return case.variance, case.mode, case.model


def _size(point: LayeredRatePoint) -> tuple[int, int]:
    return len(point.messages), table_bytes(point)


def design_rows(case: Case, kind: str, samples: int) -> list[Row]:
    design = {"designed": designed, "modulo": modulo, "reference": reference}[kind](case)
    return measured(kind, case, design.point, f"{design.start}, Lagrangian {design.lagrangian:.3f}", samples)


def model_of(point: LayeredRatePoint, variance: float, packet_samples: int) -> Model:
    """A bundle for the normal source, that knows Y at the same time; a rate point for every depth, the deepest first."""
    node = make_layered(packet_samples, 128, 1.0, 0.0, [replace(point, sent=depth) for depth in range(point.layers, 0, -1)])
    covariance = np.array([[1 + variance, 1.0], [1.0, 1.0]]) * CODES_PER_DEVIATION**2
    return Model(node, "posterior", source="x", side=("y",), side_filter=SideFilter(1, np.zeros(2), covariance, np.ones(1)))


# --- networks -----------------------------------------------------------------------------------------------------


def network(case: Case, recipe: str, steps: int, folder: Path) -> Any:
    """(trained, what the run said) of a network that is trained here, or was."""
    import torch

    from training import layered
    from training.layered_network import Networks

    torch.set_num_threads(1)
    pairs = gaussian(case.variance)
    alphabets = MODELS[case.model]
    lesson = layered.Lesson(alphabets, case.mode, (WEIGHT / case.variance,) * len(alphabets), steps, layered.RECIPES[recipe])
    path = folder / "networks" / f"{recipe}-{case.name}-{steps}.pt"
    if path.exists():
        kept = torch.load(path, weights_only=True)
        networks = Networks(lesson.shape(pairs))
        networks.load_state_dict(kept["state"])
        return layered.Trained(networks, lesson, tuple(kept["history"]), kept["shares"], tuple(kept["dead"]), kept["rescues"]), kept["cpu_s"]
    start = time.process_time()
    trained = layered.train(pairs, lesson, lambda text: print(f"{path.stem} {text}", flush=True))
    spent = time.process_time() - start
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"state": trained.networks.state_dict(), "history": trained.history, "shares": trained.shares, "dead": trained.dead}
    torch.save({**kept, "rescues": trained.rescues, "cpu_s": spent}, path)
    return trained, spent


def network_rows(case: Case, recipe: str, steps: int, folder: Path, samples: int) -> list[Row]:
    """The networks as they are, their table with the closed-form decoder, and that table polished."""
    from training import layered_compile, layered_gate

    trained, spent = network(case, recipe, steps, folder)
    pairs = gaussian(case.variance)
    point = layered_compile.compiled(trained, pairs)
    costs = layered_gate.compare(point, pairs, case.mode, trained.lesson.weights)
    raw, verdict = layered_compile.evaluate(trained.networks, point, pairs, NETWORK_SAMPLES)
    note = f"{recipe}, {steps} steps, {spent:.0f} s" + "".join(f"; {line}" for line in (*trained.dead, *costs.failed))
    rows = [
        Row("network", *_of(case), layer, raw.bits[layer], raw.distortion_db[layer], raw.samples, *_size(point), note)
        for layer in range(point.layers)
    ]
    rows += measured("compiled", case, point, f"{note}; better on validation: {verdict.default}", NETWORK_SAMPLES)
    joint = joint_of(case.variance)
    polished = lloyd.design(joint, task_of(case, joint), periods=(), start=point)
    return rows + measured("polished", case, polished.point, note, samples)


def network_cases() -> Iterator[tuple[Case, str, int]]:
    yield Case(0.1, "marginal", "222"), "published", 6000
    yield Case(0.1, "conditional", "222"), "published", 4000
    for mode in lloyd.MODES:
        yield Case(0.1, mode, "222"), "default", STEPS["222"]
        for bins in ("2", "4", "8", "16"):
            yield Case(0.1, mode, bins), "default", MONOLITHIC_STEPS
    yield Case(0.1, "conditional", "44"), "default", STEPS["44"]


# --- bounds and comparisons ---------------------------------------------------------------------------------------


def wyner_ziv_db(variance: float, rate: np.ndarray) -> np.ndarray:
    return np.asarray(10 * np.log10(variance) - 20 * np.log10(2) * rate)


def no_side_db(variance: float, rate: np.ndarray) -> np.ndarray:
    return np.asarray(10 * np.log10(1 + variance) - 20 * np.log10(2) * rate)


def monolithic_curve(variance: float, mode: str, bins: int) -> list[tuple[float, float]]:
    """(rate, dB) of one layer of `bins` symbols by the grid, over lambda and periods: what no other of them beats."""
    joint = lloyd.gaussian_joint(CODES_PER_DEVIATION, CODES_PER_DEVIATION * float(np.sqrt(variance)), cells_per_sigma=16)
    found = []
    for weight in MONOLITHIC_WEIGHTS:
        task = lloyd.task(joint, (bins,), mode, float(weight))
        for period in MONOLITHIC_PERIODS:
            design = lloyd.polish(joint, task, lloyd.nested_messages(joint, task, period))
            found.append((design.rates[-1], float(10 * np.log10(design.distortions[-1] / CODES_PER_DEVIATION**2))))
    return pareto(found)


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no point of less rate beats, by rate."""
    kept: list[tuple[float, float]] = []
    for rate, level in sorted(points):
        if not kept or level < kept[-1][1]:
            kept.append((rate, level))
    return kept


def gap_db(curve: list[tuple[float, float]], rate: float, level: float) -> float:
    """By how much `level` is above the curve at `rate`, time shared between its points; NaN where the curve has none near."""
    rates, levels = (np.array(column) for column in zip(*curve, strict=True))
    if not rates[0] - NEAR_BITS <= rate <= rates[-1] + NEAR_BITS:
        return float("nan")
    return float(level - 10 * np.log10(np.interp(rate, rates, 10 ** (levels / 10))))
