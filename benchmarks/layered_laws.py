"""Does a learned table beat plain nested modulo where nothing is Gaussian? `python -m benchmarks.layered_laws [DATA_DIR]`

Layers 222, marginal rate. Both tables are designed on the first half of a recording (or on a law), the modulo with its period tuned there, and
measured on the second: bits by the first half's priors, distortion by two decoders: the posterior mean of the first half's law, which
is what a learned decoder can know at best, and the gateway's closed form, which takes the noise as Gaussian with the deviation it
had at this value of the side information. Side information: the linear prediction from the neighbours at the same time.
The law of a recording: side information as it fell, noise of one shape whose scale depends on the side information.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import sparse

from training import layered_lloyd as lloyd
from training.data import load_recording
from training.layered_measure import decode
from training.layered_pairs import Pairs
from training.material import gather
from training.report import table

ALPHABETS = (2, 2, 2)
CASES = {
    "PM2.5": ("beijing_air_1h.csv.gz", "pm25"),
    "ECG v5": ("ecg_ptb_1khz.csv.gz", "v5"),
}
PERIODS = (*np.arange(5.0, 12.0, 0.5), *np.geomspace(12.0, 60.0, 12))
COLUMNS_PER_SIGMA = 4
CELLS_PER_SIGMA = 12
SCALE_BINS = 12
SHAPE = np.linspace(-15, 15, 601)  # of the noise, in deviations
SYNTHETIC = 1_000_000
HEADER = ("source", "table", "from", "intervals", "bits", "dB, posterior of the law", "dB, closed form")


@dataclass(frozen=True, eq=False)
class Law:
    """Side information (rising columns, codes) with weights, the deviation of the noise at each, and the shape of its density."""

    side: np.ndarray
    weights: np.ndarray
    sigmas: np.ndarray
    shape: np.ndarray  # on SHAPE

    def joint(self, edges: np.ndarray, sigma: float) -> lloyd.Joint:
        centres = (edges[:-1] + edges[1:] - 1) / 2
        gaps = (centres[:, None] - self.side[None, :]) / self.sigmas[None, :]
        density = np.interp(gaps, SHAPE, self.shape, left=0.0, right=0.0) + 1e-9 * np.exp(-np.abs(gaps))
        joint = density / self.sigmas * self.weights
        joint[joint < 1e-8 * joint.max(axis=1, keepdims=True)] = 0.0
        return lloyd.law(edges, sparse.csr_array(joint), sigma)


@dataclass(frozen=True, eq=False)
class Half:
    """Source and side information in codes."""

    x: np.ndarray
    y: np.ndarray


def law_of(half: Half) -> tuple[Law, float]:
    """The law, and the deviation of the noise over all."""
    noise = half.x - half.y
    sigma = float(np.std(noise))
    side = np.arange(half.y.min() - 2 * sigma, half.y.max() + 2 * sigma, sigma / COLUMNS_PER_SIGMA)
    counts = np.bincount(nearest(side, half.y), minlength=len(side)).astype(np.float64)
    smooth = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    weights = np.convolve(counts, smooth / smooth.sum(), "same") + 1e-4 * len(half.x) / len(side)
    sigmas = scale_at(half)(side)
    shape = np.histogram(noise / scale_at(half)(half.y), np.append(SHAPE, SHAPE[-1] + SHAPE[1] - SHAPE[0]) - 0.025)[0] / len(noise)
    shape = np.convolve(shape, smooth / smooth.sum(), "same") + 1e-4 / (1 + SHAPE**2) ** 1.5
    return Law(side, weights / weights.sum(), sigmas, shape), sigma


def nearest(side: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The column of each value."""
    return np.clip(np.rint((values - side[0]) / (side[1] - side[0])), 0, len(side) - 1).astype(np.int64)


def scale_at(half: Half) -> Callable[[np.ndarray], np.ndarray]:
    """Deviation of the noise against the side information: by quantile bins, linear between their middles."""
    order = np.argsort(half.y)
    parts = np.array_split(order, SCALE_BINS)
    middles = np.array([np.median(half.y[part]) for part in parts])
    scales = np.array([np.std((half.x - half.y)[part]) for part in parts])
    return lambda y: np.maximum(np.interp(y, middles, scales), 0.05 * scales.max())


# --- sources ------------------------------------------------------------------------------------------------------


def recorded(folder: Path, name: str) -> tuple[Half, Half]:
    """Both halves, predicted by the first half's regression on the neighbours."""
    file, marker = CASES[name]
    recording = load_recording(folder / file)
    names = [column for column in recording.columns if marker in column.lower()] if marker == "pm25" else list(recording.columns)
    source = names[0] if marker == "pm25" else marker
    side = [column for column in names if column != source][:2]
    material = gather(recording, source, side)
    there = material.present & ~np.isnan(material.side).any(axis=1)
    x, rows = material.in_codes[there], np.column_stack([np.ones(there.sum()), material.side[there]])
    cut = len(x) // 2
    weights = np.linalg.lstsq(rows[:cut], x[:cut], rcond=None)[0]
    y = rows @ weights
    return Half(x[:cut], y[:cut]), Half(x[cut:], y[cut:])


def drawn(name: str) -> tuple[Half, Half]:
    rng = np.random.default_rng(5)
    n = 2 * SYNTHETIC
    noise = {"Laplacian noise": rng.laplace(0, np.sqrt(0.05), n), "Student t noise, 3 degrees": rng.standard_t(3, n) * np.sqrt(0.1 / 3)}
    y = rng.standard_normal(n)
    if name == "two-level source":
        y = np.where(rng.random(n) < 0.5, -0.95, 0.95) + 0.3 * rng.standard_normal(n)
    x = y + noise.get(name, np.sqrt(0.1) * rng.standard_normal(n))
    codes = np.clip(np.rint(4096 * np.stack([x, y])), -32000, 32000)
    return Half(*codes[:, :SYNTHETIC]), Half(*codes[:, SYNTHETIC:])


# --- tables -------------------------------------------------------------------------------------------------------


def compared(name: str, first: Half, second: Half) -> Iterator[list[object]]:
    law, sigma = law_of(first)
    edges = lloyd.grid(law.side[0], law.side[-1], sigma, CELLS_PER_SIGMA)
    joint = law.joint(edges, sigma)
    task = lloyd.task(joint, ALPHABETS)
    tuned = min(
        (
            replace(lloyd.described(joint, task, lloyd.nested_messages(joint, task, float(period))), start=f"period {period:.3g} sigma")
            for period in PERIODS
        ),
        key=lambda one: one.lagrangian,
    )
    learned = lloyd.design(joint, task, periods=(5.5, 7.0, 9.0, 14.0, 25.0), start=tuned.point)
    for label, found in (("modulo, tuned", tuned), ("learned", learned)):
        bits, levels, closed = scores(joint, law, first, second, found)
        listed = [" / ".join(f"{value:.{digits}f}" for value in values) for values, digits in ((bits, 3), (levels, 2), (closed, 2))]
        yield [name, label, found.start, len(found.point.messages), *listed]


def scores(joint: lloyd.Joint, law: Law, first: Half, second: Half, found: lloyd.Design) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cumulative bits, dB below the source's variance with the law's posterior, with the closed form) of the second half."""
    point, variance = found.point, float(np.var(second.x))
    at = np.searchsorted(point.thresholds, second.x, side="right")
    numbers = point.numbers[at]
    columns = nearest(law.side, second.y)
    pairs = Pairs("codes", lambda rng, n: (second.x, second.y, second.y), 1.0, lsb=1.0)
    bits, levels, closed, total = [], [], [], 0.0
    mass = np.bincount(found.messages, joint.cells, int(np.prod(ALPHABETS)))
    for layer in range(len(ALPHABETS)):
        below = int(np.prod(ALPHABETS[layer + 1 :], dtype=np.int64))
        share = mass.reshape(-1, below).sum(axis=1)
        conditional = share / np.repeat(share.reshape(-1, ALPHABETS[layer]).sum(axis=1), ALPHABETS[layer])
        total += float(np.mean(-np.log2(np.maximum(conditional, 1e-4)[numbers // below])))
        bits.append(total)
        levels.append(_db(second.x - _means(joint, found.messages // below, columns, numbers // below), variance))
        closed.append(_db(second.x - decode(point, pairs, numbers, layer + 1, second.y, scale_at(first)(second.y)), variance))
    return np.array(bits), np.array(levels), np.array(closed)


def _means(joint: lloyd.Joint, prefixes: np.ndarray, columns: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Posterior means under the law, read off at the nearest column of the side information."""
    chosen = (prefixes[:, None] == np.arange(prefixes.max() + 1)).astype(np.float64)
    mass = joint.weights @ chosen
    means = (joint.weights @ (chosen * joint.centres[:, None])) / np.maximum(mass, 1e-300)
    return np.asarray(means[columns, np.minimum(wanted, means.shape[1] - 1)])


def _db(errors: np.ndarray, variance: float) -> float:
    return float(10 * np.log10(np.mean(errors * errors) / variance))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", default=os.environ.get("EDGE_WZ_DATA", "../shared/data"), type=Path)
    chosen = parser.parse_args()
    rows = [row for name in CASES for row in compared(name, *recorded(chosen.data, name))]
    for name in ("Laplacian noise", "Student t noise, 3 degrees", "two-level source"):
        rows += compared(name, *drawn(name))
    print(table(HEADER, rows))


if __name__ == "__main__":
    main()
