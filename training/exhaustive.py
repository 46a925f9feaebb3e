"""The benchmark of the paper: closed-loop predictive Wyner-Ziv coding with every coefficient searched on a grid.

    encoder: U[n] = X[n] - sum_i a_i X~[n-i],  X~[n] = Q(U[n]) + sum_i a_i X~[n-i]
    decoder: V[n] = Y[n] + sum_i b_i Y[n-i],   U^[n] = candidate nearest to V[n],   X^[n] = U^[n] + sum_i a_i X^[n-i]

Source: Domanovitz et al., Fig. 1 and section 4.1 (after Chen and Tuncel): -1 < a_i, b_i < 1 and the modulo range on
grids. Unlike `training.nested` its cost grows as (grid points)^(2 x order).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Search:
    a: tuple[float, ...]
    b: tuple[float, ...]
    span: float
    sqnr_db: float
    trials: int


@njit(cache=True)
def closed_loop_errors(x, y, a, b, span, modulus, errors):  # type: ignore[no-untyped-def]
    """Reconstruction errors of one setting over a whole recording; their mean square. x, y: (T,), zero mean."""
    order = a.shape[0]
    step = span / modulus
    encoder = np.zeros(order)
    decoder = np.zeros(order)
    total = 0.0
    for n in range(x.shape[0]):
        predicted = 0.0
        rebuilt = 0.0
        side = y[n]
        for i in range(order):
            predicted += a[i] * encoder[i]
            rebuilt += a[i] * decoder[i]
            if n > i:
                side += b[i] * y[n - 1 - i]
        quantised = np.floor((x[n] - predicted) / step + 0.5) * step
        resolved = quantised - span * np.floor((quantised - side) / span + 0.5)
        rebuilt += resolved
        error = x[n] - rebuilt
        total += error * error
        if errors.shape[0]:
            errors[n] = error
        for i in range(order - 1, 0, -1):
            encoder[i] = encoder[i - 1]
            decoder[i] = decoder[i - 1]
        if order:
            encoder[0] = quantised + predicted
            decoder[0] = rebuilt
    return total / x.shape[0]


@njit(cache=True)
def _search(x, y, grid_a, grid_b, spans, modulus):  # type: ignore[no-untyped-def]
    best = np.inf
    unkept = np.empty(0)
    best_a, best_b, best_span = 0, 0, 0
    for i in range(grid_a.shape[0]):
        for j in range(grid_b.shape[0]):
            for k in range(spans.shape[0]):
                mse = closed_loop_errors(x, y, grid_a[i], grid_b[j], spans[k], modulus, unkept)
                if mse < best:
                    best, best_a, best_b, best_span = mse, i, j, k
    return best, best_a, best_b, best_span


def exhaustive(x: np.ndarray, y: np.ndarray, modulus: int, *, order: int, points: int = 9, spans: np.ndarray) -> Search:
    """Search a and b of `order` coefficients, each on `points` values in (-1, 1) with 0 among them, and `spans`."""
    axis = np.linspace(-1, 1, points + 2)[1:-1]
    axis[np.argmin(np.abs(axis))] = 0.0
    grid = np.array(list(itertools.product(axis, repeat=order)), dtype=np.float64).reshape(points**order, order)
    return _best(x, y, modulus, grid, grid, spans)


def around(x: np.ndarray, y: np.ndarray, modulus: int, found: Search, spans: np.ndarray) -> Search:
    """The coefficients of `found` with other ranges."""
    return _best(x, y, modulus, np.array([found.a], dtype=np.float64), np.array([found.b], dtype=np.float64), spans)


def errors(x: np.ndarray, y: np.ndarray, found: Search, modulus: int) -> np.ndarray:
    """Reconstruction errors (T,) on another recording."""
    kept = np.empty(len(x))
    a, b = np.array(found.a, dtype=np.float64), np.array(found.b, dtype=np.float64)
    closed_loop_errors(x - x.mean(), y - y.mean(), a, b, found.span, modulus, kept)
    return kept


def _best(
    x: np.ndarray, y: np.ndarray, modulus: int, grid_a: np.ndarray, grid_b: np.ndarray, spans: np.ndarray
) -> Search:
    x, y = x - x.mean(), y - y.mean()
    best, i, j, k = _search(x, y, grid_a, grid_b, np.asarray(spans, dtype=np.float64), modulus)
    sqnr = 10 * np.log10(float(np.var(x)) / best)
    trials = len(grid_a) * len(grid_b) * len(spans)
    return Search(tuple(grid_a[i]), tuple(grid_b[j]), float(spans[k]), float(sqnr), trials)
