"""Reconstruct inside the received cell from what lies on both sides of it.

Every sample of a packet is predicted linearly from the node's own reconstructions before and after it (never its own) and from the
neighbours around it; a Student t density with a tracked scale stands around that prediction, is cut to the received cell, and its
mean is the reconstruction. Unlike `kalman` this is not causal inside a packet: it runs once the packet is complete, never looks past
its end, and costs the node nothing.

Which samples exist differs from sample to sample (packet edges, losses, a missing neighbour), so a model holds joint second
moments and `Weights` solves for the pattern at hand, once per pattern.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from edge_wz.model import RefinementModel

OWN_REACH = 5
SIDE_REACH = 4
SCALE_REACH = 4
QUADRATURE = 16
_NODES, _QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(QUADRATURE)


class Weights:
    """Rows of prediction weights by availability pattern, solved when a pattern first appears.

    Feature order: own -OWN_REACH..OWN_REACH without 0, then neighbour 0 at -SIDE_REACH..SIDE_REACH, neighbour 1, ...
    """

    def __init__(self, model: RefinementModel) -> None:
        self.model = model
        self._row_of: dict[int, int] = {}
        self._rows: list[np.ndarray] = []

    def rows(self, past: np.ndarray, future: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(pattern[T], weights[patterns, 1 + features]) for `past`, `future` (T,) in 0..OWN_REACH and neighbour bit masks (T,)."""
        keys = (mask.astype(np.int64) * (OWN_REACH + 1) + past) * (OWN_REACH + 1) + future
        unique, inverse = np.unique(keys, return_inverse=True)
        rows = np.array([self._row(int(key)) for key in unique], dtype=np.int64)
        return rows[inverse], np.stack(self._rows)

    def _row(self, key: int) -> int:
        row = self._row_of.get(key)
        if row is None:
            rest, future = divmod(key, OWN_REACH + 1)
            mask, past = divmod(rest, OWN_REACH + 1)
            row = self._row_of[key] = len(self._rows)
            self._rows.append(self._solve(past, future, mask))
        return row

    def _solve(self, past: int, future: int, mask: int) -> np.ndarray:
        use = available(past, future, mask, self.model.neighbours)
        weights = np.zeros(use.size + 1)
        mean, cov = self.model.mean, self.model.cov
        index = np.flatnonzero(use) + 1
        if index.size:
            # a ridge far below the quantisation noise keeps copies of one signal solvable
            block = cov[np.ix_(index, index)]
            block = block + np.eye(index.size) * (1e-9 * np.trace(block) / index.size + 1e-12)
            weights[index] = np.linalg.solve(block, cov[index, 0])
        weights[0] = mean[0] - weights[1:] @ mean[1:]
        return weights


def available(past: int, future: int, mask: int, neighbours: int) -> np.ndarray:
    """Which features exist: own samples `past` back and `future` ahead; neighbours of `mask`, ahead as far as the own ones."""
    offsets = np.array([i for i in range(-OWN_REACH, OWN_REACH + 1) if i])
    own = np.where(offsets < 0, -offsets <= past, offsets <= future)
    side_offsets = np.arange(-SIDE_REACH, SIDE_REACH + 1)
    reach = np.where(side_offsets < 0, -side_offsets <= past, side_offsets <= future)
    sides = [reach & bool(mask >> j & 1) for j in range(neighbours)]
    return np.concatenate([own, *sides])


@njit(cache=True)
def predict(recon, side, pattern, weights, mean_out):
    """Linear prediction of every sample. recon: (T,), side: (T, m); features that a pattern lacks have weight 0."""
    samples = recon.shape[0]
    neighbours = side.shape[1]
    for n in range(samples):
        row = weights[pattern[n]]
        total = row[0]
        column = 1
        for offset in range(-OWN_REACH, OWN_REACH + 1):
            if offset == 0:
                continue
            if row[column] != 0.0:
                total += row[column] * recon[n + offset]
            column += 1
        for j in range(neighbours):
            for offset in range(-SIDE_REACH, SIDE_REACH + 1):
                if row[column] != 0.0:
                    total += row[column] * side[n + offset, j]
                column += 1
        mean_out[n] = total


@njit(cache=True)
def local_deviation(recon, mean, past, future, out):
    """Triangular average of |prediction - reconstruction| around each sample, itself left out: tracks the scale."""
    samples = recon.shape[0]
    for n in range(samples):
        total = 0.0
        norm = 0.0
        for offset in range(-min(SCALE_REACH, past[n]), min(SCALE_REACH, future[n]) + 1):
            if offset != 0:
                weight = SCALE_REACH + 1.0 - abs(offset)
                total += weight * abs(mean[n + offset] - recon[n + offset])
                norm += weight
        out[n] = total / norm if norm > 0.0 else -1.0


@njit(cache=True)
def cut_student(mean, scale, degrees, low, high, nodes, node_weights, value_out, variance_out):
    """Mean and variance of a Student t density of `degrees` freedom cut to [low, high], by quadrature."""
    power = -0.5 * (degrees + 1.0)
    for n in range(mean.shape[0]):
        centre = 0.5 * (low[n] + high[n])
        half = 0.5 * (high[n] - low[n])
        # relative to the point of the cell nearest to the mean, so that far tails do not underflow
        nearest = min(max(mean[n], low[n]), high[n]) - mean[n]
        base = math.log(degrees * scale[n] * scale[n] + nearest * nearest)
        norm = 0.0
        first = 0.0
        second = 0.0
        for i in range(nodes.shape[0]):
            offset = half * nodes[i]
            distance = centre + offset - mean[n]
            weight = node_weights[i] * math.exp(power * (math.log(degrees * scale[n] * scale[n] + distance * distance) - base))
            norm += weight
            first += weight * offset
            second += weight * offset * offset
        if norm > 0.0:
            value_out[n] = centre + first / norm
            variance_out[n] = max(second / norm - (first / norm) ** 2, 0.0)
        else:
            value_out[n] = centre
            variance_out[n] = half * half / 3.0


def refine(
    model: RefinementModel, weights: Weights, recon: np.ndarray, low: np.ndarray, high: np.ndarray, side: np.ndarray,
    past: np.ndarray, future: np.ndarray, mask: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Values and variances, (T,) each, in source LSB.

    recon, low, high: (T,) reconstruction and cell of the stream, in LSB; side: (T, m) sensor units of each neighbour, anything where `mask` says
    absent; past, future: (T,) how many own samples exist before and after, 0..OWN_REACH, within these arrays; mask: (T,) bits.
    """
    pattern, rows = weights.rows(past, future, mask)
    mean = np.empty(recon.shape[0])
    predict(recon, side, pattern, rows, mean)
    deviation = np.empty_like(mean)
    local_deviation(recon, mean, past, future, deviation)
    scale = np.where(deviation >= 0, model.scale_base + model.scale_gain * deviation, model.scale_alone)
    value, variance = np.empty_like(mean), np.empty_like(mean)
    cut_student(mean, scale, model.degrees, low, high, _NODES, _QUADRATURE_WEIGHTS, value, variance)
    return value, variance
