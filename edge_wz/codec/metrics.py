"""What a reconstruction is worth, over the samples where truth and reconstruction both exist (NaN = does not)."""

from __future__ import annotations

import math

import numpy as np


def _pairs(truth: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, values = np.asarray(truth, dtype=np.float64), np.asarray(values, dtype=np.float64)
    both = np.isfinite(truth) & np.isfinite(values)
    return truth[both], values[both]


def sqnr_db(truth: np.ndarray, values: np.ndarray) -> float:
    """10 log10(variance of the source / mean squared error); NaN if there is nothing to compare."""
    truth, values = _pairs(truth, values)
    if not truth.size:
        return math.nan
    error, variance = float(np.mean((truth - values) ** 2)), float(np.var(truth))
    if error == 0.0:
        return math.inf
    return 10.0 * math.log10(variance / error) if variance > 0.0 else -math.inf


def rmse(truth: np.ndarray, values: np.ndarray) -> float:
    """Root of the mean squared error, sensor units."""
    truth, values = _pairs(truth, values)
    return math.sqrt(float(np.mean((truth - values) ** 2))) if truth.size else math.nan


def max_abs_error(truth: np.ndarray, values: np.ndarray) -> float:
    """Largest absolute error, sensor units."""
    truth, values = _pairs(truth, values)
    return float(np.max(np.abs(truth - values))) if truth.size else math.nan
