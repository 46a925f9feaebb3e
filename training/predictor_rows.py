"""One row of a predictor, fitted by least absolute residuals: with a mean, or of changes alone where the level wanders.

`design_predictive` asks for row after row and runs the closed loop between; nothing here knows packets or tables.
"""

from __future__ import annotations

import numpy as np

from edge_wz.formats.layout import COEF_BITS

REWEIGHTS = 3
MAX_COEF_SUM = 15.9  # keeps the accumulator in 32 bits (SPEC 5.3)


def fit_row(source: np.ndarray, past: np.ndarray, p: int, order: int, step: float, mean: float) -> np.ndarray:
    """From p values before, less the mean."""
    if p == 0:
        return integer_row(np.array([mean]))
    columns, wanted = _windows(source, past, p, order)
    if len(wanted) < 4 * (p + 1):
        return integer_row(np.array([0.0, 1.0] + [0.0] * (p - 1)))
    X = np.column_stack([np.ones(len(wanted)), columns - mean])
    beta = _least_absolute(X, wanted - mean, np.array([0.0] + [1.0] * p), step)
    bias = beta[0] + mean * (1 - beta[1:].sum())
    return integer_row(np.concatenate([[bias], beta[1:]]))


def fit_changes(source: np.ndarray, past: np.ndarray, p: int, order: int, step: float, mean: float) -> np.ndarray:
    """The same with weights that sum to 1: at any level alike."""
    if p == 0:
        return integer_row(np.array([mean]))
    columns, wanted = _windows(source, past, p, order)
    if p == 1 or len(wanted) < 4 * (p + 1):
        return integer_row(np.array([0.0, 1.0] + [0.0] * (p - 1)))
    last = columns[:, 0]
    beta = _least_absolute(columns[:, 1:] - last[:, None], wanted - last, np.ones(p - 1), step)
    return integer_row(np.concatenate([[0.0, 1 - beta.sum()], beta]))


def _windows(source: np.ndarray, past: np.ndarray, p: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """The p values before each slot that row p serves, the latest first, and what came; those that are whole."""
    slots = [p] if p < order else range(p, source.shape[1])
    window = np.lib.stride_tricks.sliding_window_view(past, p, axis=1)  # [:, k] = slots k .. k+p-1
    columns = np.concatenate([window[:, n - p, ::-1] for n in slots])
    wanted = np.concatenate([source[:, n] for n in slots])
    there = ~np.isnan(wanted) & ~np.isnan(columns).any(axis=1)
    return columns[there], wanted[there]


def _least_absolute(X: np.ndarray, target: np.ndarray, shrunk: np.ndarray, step: float) -> np.ndarray:
    """Least absolute residuals, by reweighting: bits grow with the logarithm of a residual, not with its square."""
    ridge = np.diag(1e-9 + shrunk * (step * step / 12 * 0.1 + 1e-6))
    weights = np.ones(len(target))
    for _ in range(1 + REWEIGHTS):
        weighted = X * weights[:, None]
        beta = np.linalg.solve(weighted.T @ X + ridge * weights.sum(), weighted.T @ target)
        residual = target - X @ beta
        weights = 1 / np.sqrt(residual * residual + step * step)
        weights /= weights.mean()
    return np.asarray(beta)


def integer_row(row: np.ndarray) -> np.ndarray:
    """Q12, within what SPEC 5.3 allows."""
    if np.abs(row[1:]).sum() > MAX_COEF_SUM:
        row = np.concatenate([row[:1], [1.0], np.zeros(len(row) - 2)])
    return np.rint(row * (1 << COEF_BITS)).astype(np.int64)
