"""Linear prediction of the source from a window of side information, whatever part of the window is there.

The filter for a set of available entries is their conditional mean under the joint moments of `model.SideFilter`. Per neighbour the
window is cut to its newest unbroken run: what lies before a gap is not used, so that the number of different filters stays small.
A neighbour's value counts as missing, too, where its own sigma exceeds half its standard deviation. `Windows` holds the
filters it has needed; which ones, never changes a result.

The window's past is state: the last taps-1 deviations of each neighbour, NaN where missing.
"""

import numpy as np
from numba import njit

from edge_wz.model import SideFilter

MIN_VARIANCE = 1e-6  # LSB^2


@njit(cache=True)
def load_window(past, side, side_sigmas, mean, limit, window):
    """Deviations from `mean` into `window` (m, lags + T), newest last; returns how many are missing."""
    neighbours, lags = past.shape
    missing = 0
    for j in range(neighbours):
        for k in range(lags):
            window[j, k] = past[j, k]
            missing += np.isnan(past[j, k])
        for n in range(side.shape[0]):
            value = side[n, j] - mean[j] if side_sigmas[n, j] <= limit[j] else np.nan
            window[j, lags + n] = value
            missing += np.isnan(value)
    return missing


@njit(cache=True)
def predict_all(window, weights, predicted):
    """Deviation of the source from its mean, for a window without gaps; `weights`: (m, taps)."""
    neighbours, taps = weights.shape
    predicted[:] = 0.0
    for j in range(neighbours):
        for i in range(taps):
            weight, start = weights[j, i], taps - 1 - i
            for n in range(predicted.size):
                predicted[n] += weight * window[j, start + n]


@njit(cache=True)
def availability(window, taps, available):
    """Which entries of each sample's window are used: uint8 (T, m*taps), the newest run of each neighbour."""
    for n in range(available.shape[0]):
        for j in range(window.shape[0]):
            in_run, over = False, False
            for i in range(taps):
                there = not np.isnan(window[j, taps - 1 + n - i])
                over = over or (in_run and not there)
                in_run = in_run or there
                available[n, j * taps + i] = there and not over


@njit(cache=True)
def predict_masked(window, taps, groups, weights, predicted):
    """Like `predict_all`, with the filter `weights[groups[n]]` (groups, m*taps) for each sample; weight 0 = not read."""
    for n in range(predicted.size):
        total = 0.0
        for j in range(window.shape[0]):
            for i in range(taps):
                weight = weights[groups[n], j * taps + i]
                if weight != 0.0:
                    total += weight * window[j, taps - 1 + n - i]
        predicted[n] = total


class Windows:
    """Predictions and their variances from side information, per chunk of a stream."""

    def __init__(self, moments: SideFilter, neighbours: int) -> None:
        self.neighbours, self.taps = neighbours, moments.taps if neighbours else 1
        self.mean = np.ascontiguousarray(moments.mean[1 :: moments.taps][:neighbours], dtype=np.float64)
        self._cov = np.asarray(moments.cov, dtype=np.float64)
        spread = np.sqrt(np.diag(self._cov)[1 :: moments.taps][:neighbours])
        self._limit = np.ascontiguousarray(0.5 * spread)
        self._filters: dict[bytes, tuple[np.ndarray, float]] = {}
        weights, self.variance = self._filter(np.ones(neighbours * self.taps, dtype=np.uint8).tobytes())
        self._weights = weights.reshape(neighbours, self.taps)
        self.state_size = neighbours * (self.taps - 1)

    def _filter(self, used: bytes) -> tuple[np.ndarray, float]:
        """Weights (m*taps) and conditional variance for a set of available entries."""
        if used not in self._filters:
            there = np.flatnonzero(np.frombuffer(used, dtype=np.uint8))
            weights = np.zeros(len(used))
            variance = float(self._cov[0, 0])
            if there.size:
                cross = self._cov[0, 1 + there]
                weights[there] = np.linalg.pinv(self._cov[np.ix_(1 + there, 1 + there)], rcond=1e-13, hermitian=True) @ cross
                variance -= float(weights[there] @ cross)
            self._filters[used] = weights, max(variance, MIN_VARIANCE)
        return self._filters[used]

    def initial_state(self) -> np.ndarray:
        return np.full(self.state_size, np.nan)

    def predict(self, past: np.ndarray, side: np.ndarray, sigmas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted deviations (T), variances (1 or T, LSB^2), and the new past."""
        window = np.empty((self.neighbours, self.taps - 1 + side.shape[0]))
        predicted = np.empty(side.shape[0])
        past = past.reshape(self.neighbours, self.taps - 1)
        if load_window(past, side, sigmas, self.mean, self._limit, window):
            variances = self._predict_gaps(window, predicted)
        else:
            predict_all(window, self._weights, predicted)
            variances = np.array([self.variance])
        return predicted, variances, window[:, side.shape[0] :].ravel()

    def _predict_gaps(self, window: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        available = np.empty((predicted.size, self.neighbours * self.taps), dtype=np.uint8)
        availability(window, self.taps, available)
        rows = available.view(f"V{available.shape[1]}").ravel()
        kinds, groups = np.unique(rows, return_inverse=True)
        filters = [self._filter(kind.tobytes()) for kind in kinds]
        predict_masked(window, self.taps, groups, np.array([weights for weights, _ in filters]), predicted)
        return np.array([variance for _, variance in filters])[groups]
