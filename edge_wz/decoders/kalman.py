"""`kalman`: an assumed-density filter over the state-space model, for both schemes.

Each sample: predict source and neighbours jointly with the next state, condition on the neighbours that are there, cut
the Gaussian that is left for the source to what was received (the cells of a bin, or one cell of `predictive`), and
replace the result by the Gaussian of the same mean and variance. So it uses the node's own past, which
`decoders.posterior` does not. An absent neighbour is simply not conditioned on; a lost sample likewise. References:
Maybeck, Stochastic Models, Estimation and Control, vol. 2, ch. 12; Minka, expectation propagation (one forward pass).

The joint vector is z = (s[n+1], source, neighbours): z = F s + g, F = [A; C], Cov g = G = [[Q, S], [S', R]].
The state is one flat array: mean of s (d), then its covariance (d*d).

Loops this short cost more in bounds than in arithmetic, so `kernels(d, m)` compiles them for their sizes: three to six
times faster. Beyond `MAX_UNROLLED` one kernel takes sizes at run time.
"""

import math
from functools import cache

import numpy as np
from numba import njit

from edge_wz.decoders.cells import (
    CONCEALED,
    NO_LEVEL,
    RESOLVED,
    ROUNDING,
    SCALE,
    SURE,
    SUSPECT,
    TAP,
    cut,
    cut_to_bin,
    keep_within,
    level_cell,
)

MIN_VARIANCE = 1e-9  # LSB^2: a belief is never so sharp that dividing by it overflows
MAX_UNROLLED = 8  # size of the joint vector


@njit(cache=True, inline="always")
def predict_joint(state, d, size, F, rows, columns, G, mean, z, joint, work):
    """Mean `z` and covariance `joint` (upper triangle) of next state and observations; `work`: F P.

    `F` holds the entries that are not 0, row after row (companion forms have few), `rows` where each row begins; each
    row has at least one entry.
    """
    for i in range(size):
        first = rows[i]
        factor, column = F[first], columns[first]
        z[i] = mean[i] + factor * state[column]
        for k in range(d):
            work[i, k] = factor * state[d + column * d + k]
        for entry in range(first + 1, rows[i + 1]):
            factor, column = F[entry], columns[entry]
            z[i] += factor * state[column]
            for k in range(d):
                work[i, k] += factor * state[d + column * d + k]
    for j in range(size):
        first = rows[j]
        factor, column = F[first], columns[first]
        for i in range(j + 1):
            joint[i, j] = G[i, j] + factor * work[i, column]
        for entry in range(first + 1, rows[j + 1]):
            factor, column = F[entry], columns[entry]
            for i in range(j + 1):
                joint[i, j] += factor * work[i, column]


@njit(cache=True, inline="always")
def condition_on_side(z, joint, values, sigmas, n, first, neighbours):
    """Condition, last neighbour first, on those that are there; afterwards entries below `first` are valid."""
    for back in range(neighbours):
        k = neighbours - 1 - back
        j = first + k
        variance = joint[j, j] + sigmas[n, k] * sigmas[n, k]
        if not math.isfinite(values[n, k]) or not 1e-300 < variance < 1e300:
            continue
        surprise, inverse = values[n, k] - z[j], 1.0 / variance
        for a in range(j):
            gain = joint[a, j] * inverse
            z[a] += gain * surprise
            for b in range(a, j):
                joint[a, b] -= gain * joint[b, j]


@njit(cache=True, inline="always")
def absorb(state, z, joint, d, value, variance):
    """New state: the belief of the source, N(z[d], joint[d, d]), becomes N(value, variance)."""
    prior = max(joint[d, d], MIN_VARIANCE)
    shift = (value - z[d]) / prior
    shrink = (prior - variance) / (prior * prior)
    for i in range(d):
        state[i] = z[i] + joint[i, d] * shift
        for j in range(i, d):
            updated = joint[i, j] - shrink * joint[i, d] * joint[j, d]
            state[d + i * d + j] = updated
            state[d + j * d + i] = updated


def tables(F: np.ndarray, G: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, ...]:
    """F without its zeros (entries, where rows begin, their columns), G and the mean of z, in the kernels' order."""
    kept = F != 0.0
    kept[~kept.any(axis=1), 0] = True
    row_of, columns = np.nonzero(kept)
    rows = np.searchsorted(row_of, np.arange(len(F) + 1)).astype(np.int64)
    return F[kept], rows, columns.astype(np.int64), G, np.concatenate([np.zeros(F.shape[1]), mean])


def kernels(d: int, m: int):
    """(kalman_nested, kalman_cells) for a state of d and m neighbours."""
    return _kernels(d, m) if d + 1 + m <= MAX_UNROLLED else _kernels(0, 0)


@cache
def _kernels(fixed_d, fixed_m):
    @njit(cache=True)
    def kalman_nested(
        state, F, rows, columns, G, mean, bins, rate_points, points, side, side_sigmas, max_error,
        values, sigmas, flags, levels,
    ):
        """Run over `bins`, changing `state`; fill `values`, `sigmas` (LSB), `flags`, `levels`."""
        d, m = (fixed_d, fixed_m) if fixed_d > 0 else (G.shape[0] - 1 - side.shape[1], side.shape[1])
        size = d + 1 + m
        z, joint, work = np.empty(size), np.empty((size, size)), np.empty((size, d))
        for n in range(bins.size):
            predict_joint(state, d, size, F, rows, columns, G, mean, z, joint, work)
            condition_on_side(z, joint, side, side_sigmas, n, d + 1, m)
            value, variance, level = z[d], max(joint[d, d], MIN_VARIANCE), float(NO_LEVEL)
            flag = CONCEALED
            if bins[n] != NO_LEVEL:
                value, variance, level, weight = cut_to_bin(z[d], variance, bins[n], points[rate_points[n]])
                flag = RESOLVED if weight >= SURE else RESOLVED | SUSPECT
                if level == NO_LEVEL:
                    flag = CONCEALED | SUSPECT
            absorb(state, z, joint, d, value, variance)
            if max_error >= 0.0 and level != NO_LEVEL:
                point = points[rate_points[n]]
                low, high = level_cell(level, point[SCALE], point[ROUNDING], point[TAP])
                value = keep_within(value, low, high, max_error)
            values[n], sigmas[n], flags[n], levels[n] = value, math.sqrt(variance), flag, int(level)

    @njit(cache=True)
    def kalman_cells(
        state, F, rows, columns, G, mean, lows, highs, side, side_sigmas, max_error, values, sigmas, flags,
    ):
        """The same where the cell is known: [lows[n], highs[n]] in codes, NaN where the sample was lost or absent."""
        d, m = (fixed_d, fixed_m) if fixed_d > 0 else (G.shape[0] - 1 - side.shape[1], side.shape[1])
        size = d + 1 + m
        z, joint, work = np.empty(size), np.empty((size, size)), np.empty((size, d))
        for n in range(lows.size):
            predict_joint(state, d, size, F, rows, columns, G, mean, z, joint, work)
            condition_on_side(z, joint, side, side_sigmas, n, d + 1, m)
            value, variance, flag = z[d], max(joint[d, d], MIN_VARIANCE), CONCEALED
            known = lows[n] <= highs[n]
            if known:
                flag = RESOLVED
                value, variance = cut(z[d], variance, lows[n], highs[n])
            absorb(state, z, joint, d, value, variance)
            if known and max_error >= 0.0:
                value = keep_within(value, lows[n], highs[n], max_error)
            values[n], sigmas[n], flags[n] = value, math.sqrt(variance), flag

    return kalman_nested, kalman_cells
