"""The two decoders of `layered`: a Gaussian belief cut to the union of intervals that a prefix of layers leaves.

`decoders.cells` cuts to a comb of equal cells; here the runs of codes with one prefix are any intervals, found by halves. With more
layers the union shrinks, with fewer it grows and with it the sigma: a missing refinement is nothing else. `posterior` takes the belief
from side information alone, `kalman` from the past too, as the decoders of these names of `nested` do (references there).

`lows`, `highs`: float64[runs], edges in codes, the runs of one prefix rising; those of prefix v of rate point r are
`starts[offsets[r] + v] .. starts[offsets[r] + v + 1] - 1`.
"""

import math
from functools import cache

import numpy as np
from numba import njit

from edge_wz.decoders.cells import (
    CONCEALED,
    FAR_CELLS,
    MAX_CELLS,
    NO_LEVEL,
    REACH_SQUARED,
    RESOLVED,
    SURE,
    SUSPECT,
    tail_interval,
)
from edge_wz.decoders.gaussian_table import interval_moments
from edge_wz.decoders.kalman import MAX_UNROLLED, MIN_VARIANCE, absorb, condition_on_side, predict_joint

NO_RUN = -1
LEAST_MASS = 1e-280


@njit(cache=True, error_model="numpy", forceinline=True)
def _run_above(mean, lows, first, last):
    """The first of the runs first .. last - 1 that begins above `mean`."""
    while first < last:
        middle = (first + last) >> 1
        if lows[middle] > mean:
            last = middle
        else:
            first = middle + 1
    return first


@njit(cache=True, error_model="numpy")
def _far_runs(mean, sigma, lows, highs, first, above, last):
    """No run within reach: weigh the nearest on either side by their tails."""
    best, weight, value, spread, reference = NO_RUN, 0.0, mean, sigma * sigma, 0.0
    for run in (above - 1, above):
        if run < first or run >= last:
            continue
        a, b, side = (lows[run] - mean) / sigma, (highs[run] - mean) / sigma, 1.0
        if run < above:
            a, b, side = -b, -a, -1.0
        mass, shift, var = tail_interval(max(a, 4.0), max(b, 4.0 + (b - a)))
        here, var = mean + side * sigma * shift, var * sigma * sigma
        if best == NO_RUN:
            best, weight, value, spread, reference = run, 1.0, here, var, 0.5 * a * a - math.log(mass)
            continue
        ratio = math.exp(min(reference - 0.5 * a * a + math.log(mass), 700.0))
        share = ratio / (1.0 + ratio)
        gap = here - value
        spread = (1.0 - share) * spread + share * var + share * (1.0 - share) * gap * gap
        value += share * gap
        weight = max(share, 1.0 - share)
        best = run if share > 0.5 else best
    return value, spread, best, weight


@njit(cache=True, error_model="numpy", forceinline=True)
def cut_to_runs(mean, variance, lows, highs, first, last):
    """Mean, variance, most probable run and its weight, of N(mean, variance) cut to the runs first .. last - 1.

    The run is NO_RUN if there are none, and the belief then stays as it was; it also stays if too many are within reach to tell anything.
    """
    if first >= last:
        return mean, variance, NO_RUN, 0.0
    sigma = math.sqrt(variance)
    above = _run_above(mean, lows, first, last)
    left = max(mean - highs[above - 1], 0.0) if above > first else math.inf
    right = lows[above] - mean if above < last else math.inf
    distance = min(left, right) / sigma
    if distance > FAR_CELLS:
        return _far_runs(mean, sigma, lows, highs, first, above, last)
    reach = sigma * math.sqrt(distance * distance + REACH_SQUARED)
    begin, end = above, above
    while begin > first and highs[begin - 1] > mean - reach:
        begin -= 1
    while end < last and lows[end] < mean + reach:
        end += 1
    nearest = above - 1 if left <= right else above
    if end - begin > MAX_CELLS:
        return mean, variance, nearest, 0.0
    total, first_moment, second_moment, best, best_mass, inverse = 0.0, 0.0, 0.0, nearest, 0.0, 1.0 / sigma
    for run in range(begin, end):
        mass, first_of, second_of = interval_moments((lows[run] - mean) * inverse, (highs[run] - mean) * inverse)
        total += mass
        first_moment += first_of
        second_moment += second_of
        if mass > best_mass:
            best, best_mass = run, mass
    if total < LEAST_MASS:
        return _far_runs(mean, sigma, lows, highs, first, above, last)
    inverse = 1.0 / total
    shift = first_moment * inverse
    return mean + sigma * shift, variance * max(second_moment * inverse - shift * shift, 0.0), best, best_mass * inverse


@njit(cache=True, error_model="numpy", forceinline=True)
def cut_sample(mean, variance, prefix, rate_point, lows, highs, starts, offsets):
    """Value, variance, flag and run (counted within its rate point, or NO_LEVEL) of one sample."""
    if prefix == NO_LEVEL:
        return mean, variance, CONCEALED, NO_LEVEL
    row = offsets[rate_point] + prefix
    value, variance, run, weight = cut_to_runs(mean, variance, lows, highs, starts[row], starts[row + 1])
    if run == NO_RUN:
        return value, variance, CONCEALED | SUSPECT, NO_LEVEL
    flag = RESOLVED if weight >= SURE else RESOLVED | SUSPECT
    return value, variance, flag, run - starts[offsets[rate_point]]


@njit(cache=True, error_model="numpy")
def posterior(
    prefixes, rate_points, lows, highs, starts, offsets, source_mean, predicted, variances, values, sigmas, flags, levels,
):  # fmt: skip
    """Fill `values`, `sigmas` (LSB), `flags`, `levels` (runs) from the Gaussian beliefs.

    `predicted`: deviations from `source_mean`; `variances`: one for each sample, or one for all.
    """
    for n in range(prefixes.size):
        mean, variance = source_mean + predicted[n], max(variances[n if variances.size > 1 else 0], MIN_VARIANCE)
        mean, variance, flag, run = cut_sample(mean, variance, prefixes[n], rate_points[n], lows, highs, starts, offsets)
        values[n], sigmas[n], flags[n], levels[n] = mean, math.sqrt(variance), flag, run


def kalman(d: int, m: int):
    """The Kalman kernel for a state of d and m neighbours (`decoders.kalman.kernels` says why there are several)."""
    return _kalman(d, m) if d + 1 + m <= MAX_UNROLLED else _kalman(0, 0)


@cache
def _kalman(fixed_d, fixed_m):
    @njit(cache=True)
    def kalman_layers(
        state, F, rows, columns, G, mean, prefixes, rate_points, lows, highs, starts, offsets, side, side_sigmas,
        values, sigmas, flags, levels,
    ):
        """Run over `prefixes`, changing `state`; fill `values`, `sigmas` (LSB), `flags`, `levels` (runs)."""
        d, m = (fixed_d, fixed_m) if fixed_d > 0 else (G.shape[0] - 1 - side.shape[1], side.shape[1])
        size = d + 1 + m
        z, joint, work = np.empty(size), np.empty((size, size)), np.empty((size, d))
        for n in range(prefixes.size):
            predict_joint(state, d, size, F, rows, columns, G, mean, z, joint, work)
            condition_on_side(z, joint, side, side_sigmas, n, d + 1, m)
            value, variance, flag, run = cut_sample(
                z[d], max(joint[d, d], MIN_VARIANCE), prefixes[n], rate_points[n], lows, highs, starts, offsets
            )
            absorb(state, z, joint, d, value, variance)
            values[n], sigmas[n], flags[n], levels[n] = value, math.sqrt(variance), flag, run

    return kalman_layers
