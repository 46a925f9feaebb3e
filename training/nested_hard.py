"""The scheme of `training.nested` with the real quantiser, in floats: what training is judged by before integers come in.

Same chain as the decoder `nearest`; no torch. `polish` re-tunes the two parameters that gradients set worst.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

POLISH_SAMPLES = 100_000


@dataclass(frozen=True, eq=False)
class NestedFilters:
    """a: (La,) with a[0] = 1, b: (m, Lb), c: (Lc,); `span` = modulus x step, in units of the source; means of x and of each y."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    span: float
    modulus: int
    mean_x: float
    mean_y: np.ndarray

    @property
    def step(self) -> float:
        return self.span / self.modulus


def causal(signal: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Filter (T,) by (L,), zero before the start."""
    return np.convolve(signal, taps)[: signal.shape[0]]


def side_estimate(filters: NestedFilters, y: np.ndarray) -> np.ndarray:
    """v: (T,) from y: (m, T)."""
    return sum(
        (causal(y[j] - filters.mean_y[j], filters.b[j]) for j in range(y.shape[0])), start=np.zeros(y.shape[1])
    )


def resolve(u: np.ndarray, v: np.ndarray, span: float, modulus: int) -> np.ndarray:
    """Quantise u, keep the bin, pick the candidate nearest to v (eq. 3): u^ of shape (T,)."""
    step = span / modulus
    quantised = np.rint(u / step) * step
    return quantised - span * np.rint((quantised - v) / span)


def hard_mse(filters: NestedFilters, x: np.ndarray, y: np.ndarray) -> float:
    """Mean square error through the hard quantiser, in squared units of x."""
    estimate = resolve(causal(x - filters.mean_x, filters.a), side_estimate(filters, y), filters.span, filters.modulus)
    skip = max(filters.a.size, filters.b.shape[1], filters.c.size)
    return float(np.mean((x - filters.mean_x - causal(estimate, filters.c))[skip:] ** 2))


def side_weights(x: np.ndarray, y: np.ndarray, taps: int) -> np.ndarray:
    """b: (m, taps) of the least-squares estimate of x from the last `taps` samples of every y."""
    design = _side_design(y, taps)
    target = (x - x.mean())[taps:]
    weights, *_ = np.linalg.lstsq(design.T @ design, design.T @ target, rcond=None)
    return np.asarray(weights).reshape(y.shape[0], taps)


def spread(x: np.ndarray, y: np.ndarray, taps: int) -> float:
    """Standard deviation of what that estimate leaves."""
    return float(np.std((x - x.mean())[taps:] - _side_design(y, taps) @ side_weights(x, y, taps).ravel()))


def _side_design(y: np.ndarray, taps: int) -> np.ndarray:
    return np.concatenate([_lagged(row - row.mean(), taps) for row in y], axis=1)[taps:]


def _lagged(signal: np.ndarray, taps: int) -> np.ndarray:
    return np.stack([np.concatenate([np.zeros(lag), signal[: signal.size - lag]]) for lag in range(taps)], axis=1)


def fit_output(filters: NestedFilters, estimate: np.ndarray, x: np.ndarray) -> np.ndarray:
    """c by least squares from resolved values."""
    lagged = _lagged(estimate, filters.c.size)
    weights, *_ = np.linalg.lstsq(lagged.T @ lagged, lagged.T @ (x - filters.mean_x), rcond=None)
    return np.asarray(weights)


def polish(filters: NestedFilters, x: np.ndarray, y: np.ndarray, samples: int = 1_000_000) -> NestedFilters:
    """Search the range on the real quantiser, with c refitted for each, over up to `samples` rows (all if fewer)."""
    x, y = x[:samples], y[:, :samples]
    u = causal(x - filters.mean_x, filters.a)
    v = side_estimate(filters, y)

    def trial(span: float) -> tuple[float, np.ndarray]:
        estimate = resolve(u, v, span, filters.modulus)
        c = fit_output(filters, estimate, x)
        return float(np.mean((x - filters.mean_x - causal(estimate, c)) ** 2)), c

    low, high = 0.6 * filters.span, 1.7 * filters.span
    for _ in range(3):
        grid = np.geomspace(low, high, 9)
        errors = [trial(span)[0] for span in grid]
        best = int(np.argmin(errors))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 8)]
    span = float(grid[best])
    return replace(filters, span=span, c=trial(span)[1])
