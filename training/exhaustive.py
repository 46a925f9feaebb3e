"""The benchmark of the paper: closed-loop predictive Wyner-Ziv coding with every coefficient searched on a grid.

    encoder: U[n] = X[n] - sum_i a_i X~[n-i],  X~[n] = Q(U[n]) + sum_i a_i X~[n-i]
    decoder: V[n] = Y[n] + sum_i b_i Y[n-i],   U^[n] = candidate nearest to V[n],   X^[n] = U^[n] + sum_i a_i X^[n-i]

Source: Domanovitz et al., Fig. 1 and section 4.1 (after Chen and Tuncel): -1 < a_i, b_i < 1 and the modulo range on grids. Unlike
`training.nested` its cost grows as (grid points)^(2 x order).
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
def closed_loop_mse(x, y, a, b, span, modulus):
    """Mean square error of one setting over a whole recording. x, y: (T,), zero mean."""
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
        total += (x[n] - rebuilt) ** 2
        for i in range(order - 1, 0, -1):
            encoder[i] = encoder[i - 1]
            decoder[i] = decoder[i - 1]
        encoder[0] = quantised + predicted
        decoder[0] = rebuilt
    return total / x.shape[0]


@njit(cache=True)
def _search(x, y, grid_a, grid_b, spans, modulus):
    best = np.inf
    best_a, best_b, best_span = 0, 0, 0
    for i in range(grid_a.shape[0]):
        for j in range(grid_b.shape[0]):
            for k in range(spans.shape[0]):
                mse = closed_loop_mse(x, y, grid_a[i], grid_b[j], spans[k], modulus)
                if mse < best:
                    best, best_a, best_b, best_span = mse, i, j, k
    return best, best_a, best_b, best_span


def exhaustive(x: np.ndarray, y: np.ndarray, modulus: int, *, order: int, points: int = 9, spans: np.ndarray) -> Search:
    """Search a and b of `order` coefficients, each on `points` values in (-1, 1) with 0 among them, and `spans`."""
    axis = np.linspace(-1, 1, points + 2)[1:-1]
    axis[np.argmin(np.abs(axis))] = 0.0
    grid = np.array(list(itertools.product(axis, repeat=order)))
    x, y = x - x.mean(), y - y.mean()
    best, i, j, k = _search(x, y, grid, grid, np.asarray(spans, dtype=np.float64), modulus)
    sqnr = 10 * np.log10(float(np.var(x)) / best)
    return Search(tuple(grid[i]), tuple(grid[j]), float(spans[k]), float(sqnr), grid.shape[0] ** 2 * len(spans))
