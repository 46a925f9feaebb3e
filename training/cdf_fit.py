"""Integer CDF tables (SPEC 4.3) fitted to the levels that a closed loop really produced.

Counts alone would forget what a short recording did not show; a parametric density alone would miss what it did. So
the counts are
added to a few pseudo-counts of a discretised two-scale Laplacian of the same spread, whose wide half keeps the escape
classes cheap enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_wz.formats.layout import MAX_DIRECT
from edge_wz.formats.sections.predictive import escape_classes

DIRECT_CHOICES = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 80, 100)
PSEUDO_COUNTS = 32.0  # a short recording is cut at four phases: eight for each sample of it
WIDE_SHARE = 0.1
WIDE_FACTOR = 6.0
SYMBOL_COST_BITS = 0.5  # of describing one more symbol, per doubling of the samples


@dataclass(frozen=True, eq=False)
class Table:
    """`cdf`: int64[2*direct + classes + 3]."""

    direct: int
    cdf: np.ndarray

    def bits(self, levels: np.ndarray, cdf_bits: int) -> float:
        """Ideal code length of `levels`."""
        return self.bits_of(*np.unique(levels, return_counts=True), cdf_bits)

    def bits_each(self, levels: np.ndarray, cdf_bits: int) -> np.ndarray:
        """The same, level by level."""
        symbols, extra = symbols_of(levels, self.direct)
        return np.asarray(cdf_bits - np.log2(np.diff(self.cdf)[symbols]) + extra)

    def bits_of(self, values: np.ndarray, counts: np.ndarray, cdf_bits: int) -> float:
        """The same for each of `values` as often as `counts` says."""
        symbols, extra = symbols_of(values, self.direct)
        sizes = np.diff(self.cdf)
        return float(counts @ (cdf_bits - np.log2(sizes[symbols]) + extra))


def symbols_of(levels: np.ndarray, direct: int) -> tuple[np.ndarray, np.ndarray]:
    """Symbols of SPEC 4.3, and the raw bits that follow each."""
    excess = np.abs(levels.astype(np.int64)) - direct - 1
    classes = np.where(excess > 0, np.frexp(np.maximum(excess, 1).astype(np.float64))[1], 0)
    inside = excess < 0
    symbols = np.where(inside, levels + direct, 2 * direct + 1 + classes)
    return symbols, np.where(inside, 0, np.maximum(classes - 1, 0) + 1)


def fit_table(levels: np.ndarray, step_q8: int, rounding_q8: int, cdf_bits: int) -> Table:
    """The table with the `direct` that codes `levels` best, the description of its symbols charged."""
    best, best_cost = None, np.inf
    values, counts = np.unique(levels, return_counts=True)  # few values, however many levels
    reach = int(np.abs(values).max(initial=0))
    for direct in DIRECT_CHOICES:
        if direct > MAX_DIRECT or (best is not None and direct > max(2 * reach, 1)):
            break
        classes = escape_classes(step_q8, rounding_q8, direct)
        if 2 * direct + classes + 2 > 1 << (cdf_bits - 2):
            break
        table = Table(direct, integer_cdf(_frequencies(values, counts, direct, classes), cdf_bits))
        cost = table.bits_of(values, counts, cdf_bits) + SYMBOL_COST_BITS * np.log2(len(levels) + 2) * 0.5 * direct
        if cost < best_cost:
            best, best_cost = table, cost
    assert best is not None
    return best


def _frequencies(values: np.ndarray, counts: np.ndarray, direct: int, classes: int) -> np.ndarray:
    symbols, _ = symbols_of(values, direct)
    seen = np.bincount(symbols, weights=counts, minlength=2 * direct + classes + 2)
    return seen + PSEUDO_COUNTS * _prior(values, counts, direct, classes)


def _prior(values: np.ndarray, counts: np.ndarray, direct: int, classes: int) -> np.ndarray:
    """Probabilities of the symbols under the two-scale Laplacian."""
    spread = float(counts @ np.abs(values)) / int(counts.sum()) + 0.05 if len(values) else 1.0

    def beyond(magnitude: np.ndarray) -> np.ndarray:
        """P(|level| >= magnitude), magnitude >= 1."""
        reach = np.maximum(magnitude - 0.5, 0.0)
        return (1 - WIDE_SHARE) * np.exp(-reach / spread) + WIDE_SHARE * np.exp(-reach / (WIDE_FACTOR * spread))

    magnitudes = np.arange(direct + 2)
    tail = np.concatenate([[1.0], beyond(magnitudes[1:].astype(np.float64))])
    one_side = 0.5 * (tail[1:-1] - tail[2:])  # magnitudes 1 .. direct
    edges = direct + 1.0 + np.concatenate([[0.0], 2.0 ** np.arange(classes + 1)])
    escapes = beyond(edges[:-1]) - beyond(edges[1:])
    return np.concatenate([one_side[::-1], [tail[0] - tail[1]], one_side, escapes])


def integer_cdf(weights: np.ndarray, cdf_bits: int) -> np.ndarray:
    """Sizes in proportion to `weights`, each at least 1, that sum to 2^cdf_bits; largest remainders get what is
    left."""
    total = 1 << cdf_bits
    ideal = weights / weights.sum() * (total - len(weights))
    sizes = np.floor(ideal).astype(np.int64)
    left = total - len(weights) - int(sizes.sum())
    sizes[np.argsort(sizes - ideal, kind="stable")[:left]] += 1
    return np.concatenate([[0], np.cumsum(sizes + 1)])
