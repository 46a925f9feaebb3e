"""The scheme of `training.nested` with the real quantiser, in floats: what training is judged by.

Same chain as the decoder `nearest`; no torch. `polish` re-tunes what gradients set worst, the modulo ranges and the
output filter, and does not trust a stretch in which the rare wrong candidate happened not to occur: where fewer than
TAIL_EXCESSES errors of the side estimate lie outside the range, an exponential tail beyond the largest ones is charged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from training.design_nested import TAIL_EXCESSES, Tail

POLISH_SAMPLES = 1_000_000
GRID = 9
REFINEMENTS = 3


@dataclass(frozen=True, eq=False)
class Rows:
    """A recording to train on.

    x: (T,) source, y: (m, T) neighbours, mean where missing; `segments`: runs without a gap in any of them.
    """

    x: np.ndarray
    y: np.ndarray
    segments: tuple[tuple[int, int], ...]

    @staticmethod
    def of(x: np.ndarray, y: np.ndarray) -> Rows:
        """From arrays with NaN where missing."""
        rows = np.concatenate([np.asarray(x, np.float64)[None], np.asarray(y, np.float64).reshape(-1, len(x))])
        whole = ~np.isnan(rows).any(axis=0)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(np.int8)))
        segments = tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
        filled = np.where(whole, rows, np.nanmean(np.where(whole, rows, np.nan), axis=1, keepdims=True)) if segments else rows
        return Rows(filled[0], filled[1:], segments)

    @property
    def samples(self) -> int:
        """Those that lie in a segment."""
        return sum(stop - start for start, stop in self.segments)

    def part(self, start: int, stop: int) -> Rows:
        cut = tuple((max(a, start) - start, min(b, stop) - start) for a, b in self.segments if a < stop and b > start)
        return Rows(self.x[start:stop], self.y[:, start:stop], cut)

    def warm(self, lags: int) -> np.ndarray:
        """bool[T]: rows with at least `lags` rows before them in their segment."""
        ready = np.zeros(self.x.size, dtype=bool)
        for start, stop in self.segments:
            ready[min(start + lags, stop) : stop] = True
        return ready

    def usable(self, length: int) -> int:
        """Samples in segments of at least `length`."""
        return sum(stop - start for start, stop in self.segments if stop - start >= length)


@dataclass(frozen=True, eq=False)
class NestedFilters:
    """a: (La,) with a[0] = 1, b: (m, Lb), c: (Lc,); means of x and of each y.

    `spans` = modulus x step of each rate point, in units of the source.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    spans: tuple[float, ...]
    moduli: tuple[int, ...]
    mean_x: float
    mean_y: np.ndarray

    @property
    def steps(self) -> tuple[float, ...]:
        return tuple(span / modulus for span, modulus in zip(self.spans, self.moduli, strict=True))

    @property
    def mean_u(self) -> float:
        return float(self.mean_x * self.a.sum())

    @property
    def lags(self) -> int:
        """Rows that a reconstruction looks back."""
        return max(self.a.size, self.b.shape[1]) + self.c.size - 2


def causal(signal: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Filter (T,) by (L,), zero before the start."""
    return np.convolve(signal, taps)[: signal.shape[0]]


def filtered_source(filters: NestedFilters, x: np.ndarray) -> np.ndarray:
    """u: (T,), mean removed."""
    return causal(x - filters.mean_x, filters.a)


def side_estimate(filters: NestedFilters, y: np.ndarray) -> np.ndarray:
    """v: (T,) from y: (m, T)."""
    return sum(
        (causal(y[j] - filters.mean_y[j], filters.b[j]) for j in range(y.shape[0])), start=np.zeros(y.shape[1])
    )


def resolve(u: np.ndarray, v: np.ndarray, mean_u: float, span: float, modulus: int) -> np.ndarray:
    """Quantise u, keep the bin, pick the candidate nearest to v (eq. 3): u^ of shape (T,), all less `mean_u`.

    Cells lie on multiples of the step with the mean left in, as at the node; with few bins that is worth some
    hundredths of a dB.
    """
    step = span / modulus
    quantised = np.rint((u + mean_u) / step) * step - mean_u
    return np.asarray(quantised - span * np.rint((quantised - v) / span))


def hard_mse(filters: NestedFilters, rows: Rows) -> list[float]:
    """Mean square error of each rate point through the hard quantiser, in squared units of x."""
    u, v = filtered_source(filters, rows.x), side_estimate(filters, rows.y)
    ready, target = rows.warm(filters.lags), rows.x - filters.mean_x
    return [
        float(np.mean((target - causal(resolve(u, v, filters.mean_u, span, modulus), filters.c))[ready] ** 2))
        for span, modulus in zip(filters.spans, filters.moduli, strict=True)
    ]


def sqnr_db(filters: NestedFilters, rows: Rows) -> list[float]:
    """The same in dB, over the variance of the source in the same rows."""
    variance = float(np.var(rows.x[rows.warm(filters.lags)]))
    return [float(10 * np.log10(variance / max(mse, 1e-300))) for mse in hard_mse(filters, rows)]


# --- least squares ------------------------------------------------------------------------------------------------


def side_moments(rows: Rows, taps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(cov of the side window (m*taps)^2, its covariance with x, variance of x), from rows whose window is whole."""
    ready = rows.warm(taps - 1)
    mean = rows.y[:, rows.warm(0)].mean(axis=1)
    window = np.concatenate([lagged(row - centre, taps) for row, centre in zip(rows.y, mean, strict=True)], axis=1)[ready]
    target = rows.x[ready] - rows.x[rows.warm(0)].mean()
    return window.T @ window / len(window), window.T @ target / len(window), float(target @ target / len(window))


def side_weights(rows: Rows, taps: int) -> np.ndarray:
    """b: (m, taps) of the least-squares estimate of x from the last `taps` samples of every y."""
    among, cross, _ = side_moments(rows, taps)
    weights = np.linalg.lstsq(among, cross, rcond=1e-12)[0]
    return np.asarray(weights).reshape(rows.y.shape[0], taps)


def spread(rows: Rows, taps: int) -> float:
    """Standard deviation of what that estimate leaves."""
    among, cross, variance = side_moments(rows, taps)
    return float(np.sqrt(max(variance - cross @ np.linalg.lstsq(among, cross, rcond=1e-12)[0], 1e-12 * variance)))


def lagged(signal: np.ndarray, taps: int) -> np.ndarray:
    """(T, taps): the signal at lags 0..taps-1, zero before the start."""
    return np.stack([np.concatenate([np.zeros(lag), signal[: signal.size - lag]]) for lag in range(taps)], axis=1)


# --- polishing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Bench:
    """What every trial of a range needs."""

    u: np.ndarray
    v: np.ndarray
    mean_u: float
    target: np.ndarray
    ready: np.ndarray
    taps: int
    tail: Tail

    @staticmethod
    def of(filters: NestedFilters, rows: Rows) -> _Bench:
        u, v = filtered_source(filters, rows.x), side_estimate(filters, rows.y)
        ready = rows.warm(filters.lags)
        return _Bench(u, v, filters.mean_u, rows.x - filters.mean_x, ready, filters.c.size, Tail.of(np.abs(u - v)[ready]))

    def normal_equations(self, span: float, modulus: int) -> tuple[np.ndarray, np.ndarray]:
        window = lagged(resolve(self.u, self.v, self.mean_u, span, modulus), self.taps)[self.ready]
        return window.T @ window, window.T @ self.target[self.ready]

    def charge(self, span: float, modulus: int) -> float:
        """Mean square error with the best c, wrong candidates that did not happen to occur included."""
        estimate = resolve(self.u, self.v, self.mean_u, span, modulus)
        c = np.linalg.lstsq(*self.normal_equations(span, modulus), rcond=1e-12)[0]
        squares = (self.target - causal(estimate, c))[self.ready] ** 2
        mse, unseen = float(np.mean(squares)), self.tail.beyond(0.5 * span)
        if unseen * self.tail.samples >= TAIL_EXCESSES:
            return mse
        typical = float(np.mean(squares[squares < (0.5 * span) ** 2]))
        return max(mse, typical + unseen * (c[0] * span) ** 2)


def polish(filters: NestedFilters, rows: Rows, samples: int = POLISH_SAMPLES) -> NestedFilters:
    """Search each range on the real quantiser, with c refitted for each, over up to `samples` rows.

    Then one c for all rate points.
    """
    rows = rows.part(0, min(rows.x.size, samples))
    bench = _Bench.of(filters, rows)
    spans = tuple(_best_span(bench, *point) for point in zip(filters.spans, filters.moduli, strict=True))
    filters = replace(filters, spans=spans)
    gram, cross = np.zeros((filters.c.size,) * 2), np.zeros(filters.c.size)
    for span, modulus in zip(spans, filters.moduli, strict=True):
        weight = 1 / max(bench.charge(span, modulus), 1e-300)  # each rate point's decibels count alike
        products = bench.normal_equations(span, modulus)
        gram, cross = gram + weight * products[0], cross + weight * products[1]
    return replace(filters, c=np.linalg.lstsq(gram, cross, rcond=1e-12)[0])


def _best_span(bench: _Bench, start: float, modulus: int) -> float:
    low, high = 0.6 * start, 1.7 * start
    for _ in range(REFINEMENTS):
        grid = np.geomspace(low, high, GRID)
        best = int(np.argmin([bench.charge(float(span), modulus) for span in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]
    return float(grid[best])


def tail_samples_needed(filters: NestedFilters, rows: Rows) -> list[int]:
    """How many samples hold TAIL_EXCESSES wrong candidates, per rate point: with fewer, their rate is extrapolated."""
    tail = _Bench.of(filters, rows).tail
    return [int(np.ceil(TAIL_EXCESSES / max(tail.beyond(0.5 * span), 1e-9))) for span in filters.spans]
