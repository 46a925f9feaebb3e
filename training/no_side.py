"""What a node reaches at R bits per sample when the gateway knows no neighbour: the baselines of the zero-delay
literature, in floats.

Uniform quantiser with its best step (granular against overload error), Lloyd-Max quantiser, and closed-loop DPCM with a
Lloyd-Max quantiser of the prediction error. All fixed-rate, fitted on training samples. Reference: Jayant and Noll,
"Digital Coding of Waveforms", chapters 4 and 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

LLOYD_ROUNDS = 60
DPCM_ROUNDS = 6
ORDER = 2
STEPS = 60


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Sorted reconstruction points: a sample becomes the nearest one."""

    points: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        return np.asarray(0.5 * (self.points[1:] + self.points[:-1]))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.points[np.searchsorted(self.edges, values)])


def uniform(samples: np.ndarray, levels: int) -> Quantizer:
    """Equidistant points around the mean with the step of least error."""
    mean, spread = float(samples.mean()), float(samples.std())
    grid = np.arange(levels) - 0.5 * (levels - 1)
    trials = [Quantizer(mean + step * grid) for step in np.geomspace(0.3, 6, STEPS) * spread / np.sqrt(levels)]
    trials += [Quantizer(mean + step * grid) for step in np.geomspace(1.0, 8, STEPS) * spread / levels]
    return min(trials, key=lambda one: float(np.mean((samples - one(samples)) ** 2)))


def lloyd_max(samples: np.ndarray, levels: int) -> Quantizer:
    """Lloyd's iteration from equally likely cells."""
    ordered = np.sort(samples)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    points = np.quantile(ordered, (np.arange(levels) + 0.5) / levels)
    for _ in range(LLOYD_ROUNDS):
        cuts = np.concatenate([[0], np.searchsorted(ordered, 0.5 * (points[1:] + points[:-1])), [len(ordered)]])
        counts = np.diff(cuts)
        points = np.where(counts > 0, np.diff(sums[cuts]) / np.maximum(counts, 1), points)
    return Quantizer(np.sort(points))


@njit(cache=True)
def _closed_loop(x, coefficients, points, edges, errors, rebuilt):  # type: ignore[no-untyped-def]
    """Prediction errors and reconstructions of DPCM."""
    for n in range(x.shape[0]):
        predicted = 0.0
        for i in range(coefficients.shape[0]):
            if n > i:
                predicted += coefficients[i] * rebuilt[n - 1 - i]
        errors[n] = x[n] - predicted
        rebuilt[n] = predicted + points[np.searchsorted(edges, errors[n])]


@dataclass(frozen=True, eq=False)
class Dpcm:
    """x_hat[n] = prediction + quantised prediction error."""

    mean: float
    coefficients: np.ndarray
    quantizer: Quantizer

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return self.mean + self.run(values)[1]

    def run(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(prediction errors, reconstructions less the mean)."""
        errors, rebuilt = np.empty(len(values)), np.empty(len(values))
        quantizer = self.quantizer
        _closed_loop(values - self.mean, self.coefficients, quantizer.points, quantizer.edges, errors, rebuilt)
        return errors, rebuilt


def dpcm(samples: np.ndarray, levels: int, order: int = ORDER) -> Dpcm:
    """Predictor and quantiser fitted in turns to what the closed loop makes of them."""
    mean = float(samples.mean())
    past = samples - mean
    coder = None
    best, least = None, np.inf
    for _ in range(DPCM_ROUNDS):
        lagged = np.stack([np.concatenate([np.zeros(k), past[: len(past) - k]]) for k in range(1, order + 1)], axis=1)
        coefficients = np.linalg.lstsq(lagged, samples - mean, rcond=None)[0]
        errors = coder.run(samples)[0] if coder else samples - mean - lagged @ coefficients
        coder = Dpcm(mean, coefficients, lloyd_max(errors, levels))
        past = coder.run(samples)[1]
        mse = float(np.mean((samples - mean - past) ** 2))
        if mse < least:
            best, least = coder, mse
    assert best is not None
    return best


CODERS: dict[str, Callable[[np.ndarray, int], Callable[[np.ndarray], np.ndarray]]] = {
    "uniform": uniform, "lloyd_max": lloyd_max, "dpcm": dpcm,
}
