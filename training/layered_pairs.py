"""What a `layered` network learns from: pairs (source, side information) with the deviation of the noise between them.

Side information is what the gateway believes before the message comes: its mean and its deviation. Synthetic pairs are drawn
afresh, X = Y + N with Gaussian or Laplacian N; recorded pairs are rows of a recording with the gateway's own estimate. All
are in *normal* units, in which the side information has mean 0 and deviation 1; `lsb` is one source code in those units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_wz.errors import DesignError

CODES_PER_DEVIATION = 4096.0  # of the synthetic sources: int16 reaches 8 deviations
MIN_ROWS = 1000
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
Draw = Callable[[np.random.Generator, int], Rows]


@dataclass(frozen=True)
class Pairs:
    """`draw(rng, n)`: x, y, sigma, float64[n] each. `noise`: deviation of X - Y over all samples. `mean`: code of normal 0."""

    name: str
    draw: Draw
    noise: float
    lsb: float = 1 / CODES_PER_DEVIATION
    mean: float = 0.0
    reach: float = 4.8  # trained range of the source

    def to_normal(self, codes: np.ndarray) -> np.ndarray:
        return np.asarray((codes - self.mean) * self.lsb)

    def to_codes(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(np.rint(x / self.lsb + self.mean), -32768, 32767).astype(np.int64))


def gaussian(variance: float) -> Pairs:
    """The paper's source: Y ~ N(0, 1), N ~ N(0, variance)."""
    return _additive(f"gaussian {variance:g}", np.sqrt(variance), lambda rng, n: rng.standard_normal(n))


def _additive(name: str, noise: float, unit_noise: Callable[[np.random.Generator, int], np.ndarray]) -> Pairs:
    def draw(rng: np.random.Generator, n: int) -> Rows:
        y = rng.standard_normal(n)
        return y + noise * unit_noise(rng, n), y, np.full(n, noise)

    return Pairs(name, draw, float(noise), reach=4.8 * float(np.sqrt(1 + noise * noise)))


def recorded(name: str, codes: np.ndarray, predicted: np.ndarray, sigmas: np.ndarray) -> Pairs:
    """Rows of a recording, drawn with replacement. `predicted`, `sigmas`: what the gateway believes before each message, in codes."""
    there = ~(np.isnan(codes) | np.isnan(predicted) | np.isnan(sigmas))
    if there.sum() < MIN_ROWS:
        raise DesignError(f"{name}: {int(there.sum())} samples have a source and a prediction, training needs {MIN_ROWS}")
    x, y, sigma = codes[there], predicted[there], sigmas[there]
    mean, spread = float(y.mean()), float(y.std())
    if spread == 0:
        raise DesignError(f"{name}: the side information is constant")
    rows = ((x - mean) / spread, (y - mean) / spread, sigma / spread)

    def draw(rng: np.random.Generator, n: int) -> Rows:
        chosen = rng.integers(len(x), size=n)
        return rows[0][chosen], rows[1][chosen], rows[2][chosen]

    noise = float(np.sqrt(np.mean((rows[0] - rows[1]) ** 2)))
    return Pairs(name, draw, noise, 1 / spread, mean, float(np.abs(rows[0]).max()))
