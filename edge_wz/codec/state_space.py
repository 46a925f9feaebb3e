"""A state-space model prepared for `decoders.kalman`: stacked matrices and the belief before the first sample."""

from __future__ import annotations

import numpy as np

from edge_wz.decoders import kalman
from edge_wz.errors import InputError
from edge_wz.model import Model, StateSpace

DOUBLINGS = 24  # of the horizon: a mode slower than 2^24 samples counts as a random walk
GROWTH_LIMIT = 1e12  # of the stationary variance over the driving one


def require_state_space(model: Model) -> StateSpace:
    if model.state_space is None:
        raise InputError("decoder kalman: the model has no state space")
    return model.state_space


def stationary_covariance(A: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """P = A P A' + Q by doubling: the covariance after 1, 2, 4, ... samples; stops before a unit root runs away."""
    covariance, power = np.array(Q, dtype=np.float64), np.array(A, dtype=np.float64)
    limit = GROWTH_LIMIT * max(float(np.trace(covariance)), 1e-300)
    for _ in range(DOUBLINGS):
        longer = covariance + power @ covariance @ power.T
        if not np.all(np.isfinite(longer)) or float(np.trace(longer)) > limit:
            break
        power = power @ power
        covariance = 0.5 * (longer + longer.T)
    return covariance


class Predictor:
    """z = (next state, source, neighbours) = F s + g + (0, mean), Cov g = G."""

    def __init__(self, space: StateSpace) -> None:
        self.F = np.ascontiguousarray(np.vstack([space.A, space.C]), dtype=np.float64)
        self.G = np.ascontiguousarray(np.block([[space.Q, space.S], [space.S.T, space.R]]), dtype=np.float64)
        self.mean = np.array(space.mean, dtype=np.float64)
        self.neighbours = len(space.mean) - 1
        self.tables = kalman.tables(self.F, self.G, self.mean)
        self.sizes = len(space.A), self.neighbours
        start = stationary_covariance(space.A, space.Q)
        self._start = np.concatenate([np.zeros(len(space.A)), start.ravel()])

    def initial_state(self) -> np.ndarray:
        """Mean, then covariance of the stationary state, flat."""
        return self._start.copy()
