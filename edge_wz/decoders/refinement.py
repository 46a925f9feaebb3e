"""Reconstruct inside the received cell from what lies on both sides of it.

Every sample of a packet is predicted linearly from the node's own values before and after it (never its own) and from the
neighbours around it; a Student t density whose scale follows the prediction errors nearby stands around that prediction, is cut to
the received cell, and its mean is the new value. A second pass predicts from the values of the first, which are closer to
the source than reconstructions are. Unlike `kalman` this is not causal inside a packet: it runs once the packet is complete, never
looks past its end, and costs the node nothing.

Which samples exist differs from sample to sample (packet edges, losses, a missing neighbour), so a model holds joint second
moments and `Weights` solves for the pattern at hand, once per pattern. The degrees of freedom are odd: then the density is a whole
power, and needs no logarithm.
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
BASE, GAIN, ALONE, DEGREES, CALIBRATION = range(5)  # columns of RefinementModel.density
MAX_NEIGHBOURS = 12  # a pattern has one bit for each
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(QUADRATURE)

_EDGES = OWN_REACH + 1
_UNSOLVED = -1


def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for `cut_student`."""
    return _NODES, _NODE_WEIGHTS


def features(neighbours: int) -> int:
    """Entries of the moments: the source, own values at -OWN_REACH..OWN_REACH without 0, neighbours at -SIDE_REACH..SIDE_REACH."""
    return 1 + 2 * OWN_REACH + neighbours * (2 * SIDE_REACH + 1)


class Weights:
    """Rows of prediction weights by pattern, solved when a pattern first appears; one row per pass.

    A pattern is (rate point, bits of the neighbours that are there, own values before, own values after). A row is the constant, then
    the weights in the order of `features`.
    """

    def __init__(self, model: RefinementModel) -> None:
        self.model = model
        self.passes = model.density.shape[1]
        self.density = np.array(model.density, dtype=np.float64, order="C")  # writable, as kernels are compiled for
        patterns = len(model.density) << model.neighbours
        self._row_of = np.full(patterns * _EDGES * _EDGES, _UNSOLVED, dtype=np.int64)
        self.table = np.zeros((0, self.passes, features(model.neighbours)))

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """The row in `table` of each key."""
        rows = self._row_of[keys]
        if rows.size and rows.min() == _UNSOLVED:
            self._solve_new(np.unique(keys[rows == _UNSOLVED]))
            rows = self._row_of[keys]
        return rows

    def _solve_new(self, keys: np.ndarray) -> None:
        self._row_of[keys] = len(self.table) + np.arange(len(keys))
        solved = [[self._solve(int(key), sweep) for sweep in range(self.passes)] for key in keys]
        self.table = np.ascontiguousarray(np.concatenate([self.table, np.array(solved)]))

    def _solve(self, key: int, sweep: int) -> np.ndarray:
        rest, future = divmod(key, _EDGES)
        rest, past = divmod(rest, _EDGES)
        point, mask = divmod(rest, 1 << self.model.neighbours)
        mean, cov = self.model.mean[point, sweep], self.model.cov[point, sweep]
        weights = np.zeros(mean.size)
        index = np.flatnonzero(available(past, future, mask, self.model.neighbours)) + 1
        if index.size:
            block = cov[np.ix_(index, index)]
            # a ridge far below the quantisation noise keeps copies of one signal solvable
            scales = np.sqrt(np.diagonal(block)) + 1e-12
            block = block / np.outer(scales, scales) + 1e-9 * np.eye(index.size)
            weights[index] = np.linalg.solve(block, cov[index, 0] / scales) / scales
        weights[0] = mean[0] - weights[1:] @ mean[1:]
        return weights


def available(past: int, future: int, mask: int, neighbours: int) -> np.ndarray:
    """Which features exist: own values `past` back and `future` ahead; neighbours of `mask`, whole but for what lies ahead of `future`."""
    offsets = np.array([i for i in range(-OWN_REACH, OWN_REACH + 1) if i])
    own = np.where(offsets < 0, -offsets <= past, offsets <= future)
    ahead = np.arange(-SIDE_REACH, SIDE_REACH + 1) <= future
    sides = [ahead & bool(mask >> j & 1) for j in range(neighbours)]
    return np.concatenate([own, *sides])


@njit(cache=True)
def find_reach(known, starts, past_before, past, future):
    """Own values known without a gap before each slot (`past_before` of them before the first), and after it in its packet.

    starts: first slots of the packets, rising. Fills past, future (T,), each 0..OWN_REACH.
    """
    samples = known.shape[0]
    count = past_before
    for n in range(samples):
        past[n] = count
        count = min(count + 1, OWN_REACH) if known[n] else 0
    end, count = starts.shape[0] - 1, 0
    for back in range(samples):
        n = samples - 1 - back
        future[n] = count
        count = min(count + 1, OWN_REACH) if known[n] else 0
        if end >= 0 and starts[end] == n:
            count = 0
            end -= 1


@njit(cache=True)
def find_keys(rate_points, side, past, future, keys):
    """The pattern of each slot (`Weights`). side: (SIDE_REACH + T, m), NaN missing; the first rows lie before the first slot."""
    neighbours = side.shape[1]
    for n in range(keys.shape[0]):
        mask = 0
        ahead = min(future[n], SIDE_REACH)
        for j in range(neighbours):
            whole = 1
            for row in range(n, n + SIDE_REACH + ahead + 1):
                if not math.isfinite(side[row, j]):
                    whole = 0
                    break
            mask |= whole << j
        keys[n] = (((rate_points[n] << neighbours) + mask) * _EDGES + past[n]) * _EDGES + future[n]


@njit(cache=True)
def predict(own, side, rows, table, sweep, mean):
    """Linear prediction of every slot. own: (OWN_REACH + T,), side: (SIDE_REACH + T, m); a weight of 0 is not multiplied, as its
    feature may be missing or beyond the end."""
    neighbours = side.shape[1]
    for n in range(mean.shape[0]):
        weights = table[rows[n], sweep]
        total = weights[0]
        column = 1
        for at in range(n, n + 2 * OWN_REACH + 1):
            if at == n + OWN_REACH:
                continue
            if weights[column] != 0.0:
                total += weights[column] * own[at]
            column += 1
        for j in range(neighbours):
            for at in range(n, n + 2 * SIDE_REACH + 1):
                if weights[column] != 0.0:
                    total += weights[column] * side[at, j]
                column += 1
        mean[n] = total


@njit(cache=True)
def track_scale(errors, past, future, points, rate_points, sweep, scale):
    """Scale of the density of every slot from the triangular average of the errors around it, its own left out.

    errors: (SCALE_REACH + T,), |prediction - value|; points: `RefinementModel.density`.
    """
    for n in range(scale.shape[0]):
        total = 0.0
        norm = 0.0
        for offset in range(-min(SCALE_REACH, past[n]), min(SCALE_REACH, future[n]) + 1):
            if offset != 0:
                weight = SCALE_REACH + 1.0 - abs(offset)
                total += weight * errors[n + SCALE_REACH + offset]
                norm += weight
        row = points[rate_points[n], sweep]
        scale[n] = row[BASE] + row[GAIN] * total / norm if norm > 0.0 else row[ALONE]


@njit(cache=True)
def cut_student(mean, scale, points, rate_points, sweep, low, high, nodes, node_weights, value, variance):
    """Mean and variance of a Student t density cut to [low, high], by quadrature; slots with NaN there are left as they are."""
    for n in range(mean.shape[0]):
        if not low[n] <= high[n]:
            continue
        degrees = points[rate_points[n], sweep, DEGREES]
        power = int(0.5 * (degrees + 1.0))
        spread = degrees * scale[n] * scale[n] + 1e-12
        centre = 0.5 * (low[n] + high[n])
        half = 0.5 * (high[n] - low[n])
        # relative to the point of the cell nearest to the mean, so that far tails do not underflow
        nearest = min(max(mean[n], low[n]), high[n]) - mean[n]
        peak = spread + nearest * nearest
        norm, first, second = 0.0, 0.0, 0.0
        for i in range(nodes.shape[0]):
            offset = half * nodes[i]
            distance = centre + offset - mean[n]
            ratio = peak / (spread + distance * distance)
            weight = node_weights[i]
            for _ in range(power):
                weight *= ratio
            norm += weight
            first += weight * offset
            second += weight * offset * offset
        if norm > 0.0:
            value[n] = centre + first / norm
            variance[n] = max(second / norm - (first / norm) ** 2, 0.0) * points[rate_points[n], sweep, CALIBRATION]
        else:
            value[n] = centre
            variance[n] = half * half / 3.0


@njit(cache=True)
def run_pass(
    own, side, errors, rows, table, points, sweep, rate_points, past, future, low, high, nodes, node_weights,
    mean, scale, value, variance,
):  # fmt: skip
    """One pass. Fills errors[SCALE_REACH:], mean, scale, value and variance; slots without a cell keep what stood there."""
    predict(own, side, rows, table, sweep, mean)
    for n in range(mean.shape[0]):
        errors[SCALE_REACH + n] = abs(mean[n] - own[OWN_REACH + n])
    track_scale(errors, past, future, points, rate_points, sweep, scale)
    cut_student(mean, scale, points, rate_points, sweep, low, high, nodes, node_weights, value, variance)


def refine(
    weights: Weights, own: np.ndarray, errors: np.ndarray, reached: int, beside: np.ndarray, rate_points: np.ndarray,
    starts: np.ndarray, recon: np.ndarray, low: np.ndarray, high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Values and variances, (T,) each in source LSB, and how many of the last values are known without a gap.

    own: (passes, OWN_REACH), errors: (passes, SCALE_REACH), what stood before the first slot, `reached` of it known; both are updated to
    what stands before the next one. beside: (SIDE_REACH + T, m); low, high: (T,) cells in LSB, NaN where nothing is known; starts: first
    slots of the packets. All arrays C-contiguous and writable.
    """
    samples = recon.shape[0]
    known = low <= high
    past, future, keys = (np.empty(samples, np.int64) for _ in range(3))
    find_reach(known, starts, reached, past, future)
    find_keys(rate_points, beside, past, future, keys)
    rows = weights.rows(keys)
    values = recon.copy()
    variances, mean, scale = np.empty(samples), np.empty(samples), np.empty(samples)
    for sweep in range(weights.passes):
        read, made = np.concatenate([own[sweep], values]), np.concatenate([errors[sweep], values])
        run_pass(
            read, beside, made, rows, weights.table, weights.density, sweep, rate_points, past, future, low, high,
            _NODES, _NODE_WEIGHTS, mean, scale, values, variances,
        )  # fmt: skip
        own[sweep], errors[sweep] = read[samples:], made[samples:]
    if samples:
        reached = min(int(past[-1]) + 1, OWN_REACH) if known[-1] else 0
    return values, variances, reached
