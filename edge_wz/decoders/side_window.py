"""Linear prediction of the source from a window of side information, whatever part of the window is there.

The filter for a set of available entries is their conditional mean under the joint moments of `model.SideFilter`. Per
neighbour the window is cut to its newest unbroken run: what lies before a gap is not used, so that there are few
different filters. A neighbour's value counts as missing, too, where its own sigma exceeds half its standard deviation.
`Windows` holds the filters it has needed; which ones, never changes a result.

The window's past is state: the last taps-1 deviations of each neighbour, NaN where missing.
"""

import numpy as np
from numba import njit

from edge_wz.model import SideFilter

MIN_VARIANCE = 1e-6  # LSB^2
MAX_FILTERS = 4096  # held at a time


@njit(cache=True)
def load_window(past, side, side_sigmas, first, count, mean, limit, window):
    """Deviations from `mean` of samples first..first+count into `window` (m, lags + count or more), NaN where missing.

    Newest last, behind `past` (m, lags).
    """
    neighbours, lags = past.shape
    for j in range(neighbours):
        centre, largest = mean[j], limit[j]
        for i in range(lags):
            window[j, i] = past[j, i]
        if neighbours == 1:  # one run in memory, so the loop vectorises
            values, sigmas = side[first : first + count].ravel(), side_sigmas[first : first + count].ravel()
            fresh = window[0, lags : lags + count]
            for n in range(count):
                fresh[n] = values[n] - centre if sigmas[n] <= largest else np.nan
        else:
            for n in range(count):
                there = side_sigmas[first + n, j] <= largest
                window[j, lags + n] = side[first + n, j] - centre if there else np.nan


@njit(cache=True)
def predict_all(window, count, weights, predicted):
    """Deviation of the source from its mean; NaN where the window has a gap. Returns whether any has."""
    neighbours, taps = weights.shape
    for n in range(count):
        predicted[n] = 0.0
    for j in range(neighbours):
        for i in range(taps):
            weight, lagged = weights[j, i], window[j, taps - 1 - i : taps - 1 - i + count]  # index n alone vectorises
            for n in range(count):
                predicted[n] += weight * lagged[n]
    gaps = 0
    for n in range(count):
        gaps += predicted[n] != predicted[n]
    return gaps > 0


@njit(cache=True)
def keep_past(window, count, past):
    """The newest lags of a window of `count` samples become the past of the next."""
    for j in range(past.shape[0]):
        for i in range(past.shape[1]):
            past[j, i] = window[j, count + i]


@njit(cache=True)
def availability(window, taps, rows, available):
    """Which entries of the windows of `rows` are used: uint8 (rows, m*taps), the newest run of each neighbour."""
    for r in range(rows.size):
        for j in range(window.shape[0]):
            in_run, over = False, False
            for i in range(taps):
                there = not np.isnan(window[j, taps - 1 + rows[r] - i])
                over = over or (in_run and not there)
                in_run = in_run or there
                available[r, j * taps + i] = there and not over


@njit(cache=True)
def predict_masked(window, taps, rows, groups, weights, predicted):
    """Like `predict_all` for `rows`, with the filter `weights[groups[r]]` (groups, m*taps); weight 0 = not read."""
    for r in range(rows.size):
        total = 0.0
        for j in range(window.shape[0]):
            for i in range(taps):
                weight = weights[groups[r], j * taps + i]
                if weight != 0.0:
                    total += weight * window[j, taps - 1 + rows[r] - i]
        predicted[rows[r]] = total


class Windows:
    """Predictions and their variances from side information, per chunk of a stream."""

    def __init__(self, moments: SideFilter, neighbours: int) -> None:
        self.neighbours, self.taps = neighbours, moments.taps if neighbours else 1
        self.mean = np.array(moments.mean[1 :: moments.taps][:neighbours], dtype=np.float64)
        self._cov = np.asarray(moments.cov, dtype=np.float64)
        spread = np.sqrt(np.diag(self._cov)[1 :: moments.taps][:neighbours])
        self.limit = np.array(0.5 * spread)
        self._filters: dict[bytes, tuple[np.ndarray, float]] = {}
        weights, self.variance = self._filter(np.ones(neighbours * self.taps, dtype=np.uint8).tobytes())
        self.constant = np.array([self.variance])
        self.weights = weights.reshape(neighbours, self.taps)
        self.state_size = neighbours * (self.taps - 1)

    def _filter(self, used: bytes) -> tuple[np.ndarray, float]:
        """Weights (m*taps) and conditional variance for a set of available entries."""
        if used not in self._filters:
            if len(self._filters) >= MAX_FILTERS:
                self._filters.clear()
            there = np.flatnonzero(np.frombuffer(used, dtype=np.uint8))
            weights = np.zeros(len(used))
            variance = float(self._cov[0, 0])
            if there.size:
                cross = self._cov[0, 1 + there]
                among = self._cov[np.ix_(1 + there, 1 + there)]
                weights[there] = np.linalg.pinv(among, rcond=1e-13, hermitian=True) @ cross
                variance -= float(weights[there] @ cross)
            self._filters[used] = weights, max(variance, MIN_VARIANCE)
        return self._filters[used]

    def initial_state(self) -> np.ndarray:
        return np.full(self.state_size, np.nan)

    def predict(
        self, past: np.ndarray, side: np.ndarray, sigmas: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted deviations (T), variances (1 or T, LSB^2), and the new past."""
        samples = side.shape[0]
        window, predicted = np.empty((self.neighbours, self.taps - 1 + samples)), np.empty(samples)
        after = past.reshape(self.neighbours, self.taps - 1).copy()
        load_window(after, side, sigmas, 0, samples, self.mean, self.limit, window)
        variances = self.constant
        if predict_all(window, samples, self.weights, predicted):
            variances = self._predict_gaps(window, predicted)
        keep_past(window, samples, after)
        return predicted, variances, after.ravel()

    def _predict_gaps(self, window: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Fill in what the whole filter left NaN; the variances of all samples."""
        gaps = np.flatnonzero(np.isnan(predicted))
        available = np.empty((gaps.size, self.neighbours * self.taps), dtype=np.uint8)
        availability(window, self.taps, gaps, available)
        filters: list[tuple[np.ndarray, float]] = []
        numbers: dict[bytes, int] = {}
        groups = np.empty(gaps.size, dtype=np.int64)
        for row, used in enumerate(map(bytes, available)):
            if used not in numbers:
                numbers[used] = len(filters)
                filters.append(self._filter(used))
            groups[row] = numbers[used]
        predict_masked(window, self.taps, gaps, groups, np.array([weights for weights, _ in filters]), predicted)
        variances = np.full(predicted.size, self.variance)
        variances[gaps] = np.array([variance for _, variance in filters])[groups]
        return variances
