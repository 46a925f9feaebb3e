"""The posterior decoder of `layered` by table: for one variance of the belief, what a prefix does to its mean is read off, not computed.

A prefix of layers and a variance leave one free number, the mean of the belief. Knots of it lie PER_SIGMA to a deviation; each holds the
shift of the mean, the variance left, and their slopes, as `decoders.layered.cut_to_runs` has them, and between knots runs a cubic (Hermite).
An interval in which the cubic is further from that than SHIFT_BOUND or VARIANCE_BOUND where it is tried, in which the most probable run or its
flag changes, or which lies too far out, is marked and computed exactly: flags and runs are those of the exact decoder. Its values are within
1e-4 sigmas of the belief, its sigmas within 1e-3 of themselves: half of that is VARIANCE_BOUND, half for the steps that the exact decoder
makes itself where it stops counting a far run.

A belief of another variance (a neighbour is missing) is computed exactly too. So a sample's result depends on that sample alone.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from edge_wz.decoders.cells import NO_LEVEL, RESOLVED, SURE, SUSPECT
from edge_wz.decoders.kalman import MIN_VARIANCE
from edge_wz.decoders.layered import NO_RUN, cut_sample, cut_to_runs

PER_SIGMA = 16
MARGIN = 6.0  # sigmas beyond the outermost thresholds that are still tabulated
MAX_KNOTS = 1 << 16  # of a table; a finer one is not made
SHIFT_BOUND = 1e-4  # sigmas of the belief
VARIANCE_BOUND = 1e-3  # of the variance left
EXACT = -1  # mark of an interval that is not read off
_PROBE = 1.0 / 64  # of a knot's distance: half the step of the slope of the variance


class Lookup(NamedTuple):
    """`shapes`: float32[rows, knots, 4], shift and its slope, variance and its slope, in sigmas and knots; `marks`: int32[rows, knots - 1], EXACT or
    2 x run + (1 if it is sure). `first`: mean of knot 0, codes; `per_code`: knots of one code; `variance`: of the belief, codes^2."""

    first: float
    per_code: float
    variance: float
    shapes: np.ndarray
    marks: np.ndarray


def make(lows: np.ndarray, highs: np.ndarray, starts: np.ndarray, variance: float) -> Lookup:
    """For the runs that `decoders.layered` describes; without a knot where that would take more than MAX_KNOTS."""
    variance = max(float(variance), MIN_VARIANCE)
    sigma = math.sqrt(variance)
    rows, first = len(starts) - 1, float(highs.min()) - MARGIN * sigma
    knots = int((float(lows.max()) + MARGIN * sigma - first) * PER_SIGMA / sigma) + 2
    if rows * knots > MAX_KNOTS:
        knots = 0
    shapes, marks = np.empty((rows, knots, 4), np.float32), np.full((rows, max(knots - 1, 0)), EXACT, np.int32)
    _fill(lows, highs, starts, first, variance, shapes, marks)
    return Lookup(first, PER_SIGMA / sigma, variance, shapes, marks)


@njit(cache=True, error_model="numpy")
def _fill(lows, highs, starts, first, variance, shapes, marks):
    sigma, knots = math.sqrt(variance), shapes.shape[1]
    step = sigma / PER_SIGMA
    for row in range(shapes.shape[0]):
        begin, end = starts[row], starts[row + 1]
        before, before_sure = NO_RUN, False
        for knot in range(knots):
            mean = first + knot * step
            value, left, run, weight = cut_to_runs(mean, variance, lows, highs, begin, end)
            _, above, _, _ = cut_to_runs(mean + _PROBE * step, variance, lows, highs, begin, end)
            _, below, _, _ = cut_to_runs(mean - _PROBE * step, variance, lows, highs, begin, end)
            shapes[row, knot, 0] = (value - mean) / sigma
            shapes[row, knot, 1] = (left / variance - 1.0) / PER_SIGMA  # the slope of a Gaussian's posterior mean is its variance
            shapes[row, knot, 2] = left / variance
            shapes[row, knot, 3] = (above - below) / (2.0 * _PROBE * variance)
            sure = weight >= SURE
            smooth = knot > 0 and run == before and sure == before_sure and run != NO_RUN and weight > 0.0
            if smooth and _is_right(lows, highs, begin, end, mean - step, variance, run, sure, shapes[row], knot - 1):
                marks[row, knot - 1] = 2 * (run - begin) + sure
            before, before_sure = run, sure


@njit(cache=True, error_model="numpy")
def _is_right(lows, highs, begin, end, first, variance, run, sure, shapes, knot):
    """Whether the cubics behind a knot are within the bounds a quarter, a half and three quarters on, with one run and flag."""
    sigma = math.sqrt(variance)
    for quarter in range(1, 4):
        mean = first + 0.25 * quarter * sigma / PER_SIGMA
        value, left, there, weight = cut_to_runs(mean, variance, lows, highs, begin, end)
        shift, share = _between(shapes, knot, 0.25 * quarter)
        if abs(mean + sigma * shift - value) > SHIFT_BOUND * sigma or abs(share * variance - left) > VARIANCE_BOUND * left:
            return False
        if there != run or (weight >= SURE) != sure:
            return False
    return True


@njit(cache=True, error_model="numpy", forceinline=True)
def _between(shapes, knot, t):
    """(shift, variance) at t in 0 .. 1 behind a knot."""
    here, rise, left, fall = shapes[knot, 0], shapes[knot, 1], shapes[knot, 2], shapes[knot, 3]
    shift_step, left_step = shapes[knot + 1, 0] - here, shapes[knot + 1, 2] - left
    rise_there, fall_there = shapes[knot + 1, 1], shapes[knot + 1, 3]
    shift = here + t * (rise + t * ((3.0 * shift_step - 2.0 * rise - rise_there) + t * (rise + rise_there - 2.0 * shift_step)))
    return shift, left + t * (fall + t * ((3.0 * left_step - 2.0 * fall - fall_there) + t * (fall + fall_there - 2.0 * left_step)))


@njit(cache=True, error_model="numpy")
def posterior(
    prefixes, rate_points, lows, highs, starts, offsets, source_mean, predicted, variances,
    first, per_code, variance, shapes, marks, values, sigmas, flags, levels,
):  # fmt: skip
    """What `decoders.layered.posterior` does, with the fields of a `Lookup`."""
    sigma, intervals = math.sqrt(variance), marks.shape[1]
    for n in range(prefixes.size):
        mean, own = source_mean + predicted[n], max(variances[n if variances.size > 1 else 0], MIN_VARIANCE)
        prefix = prefixes[n]
        if own == variance and prefix != NO_LEVEL:
            at = (mean - first) * per_code
            if 0.0 <= at < intervals:
                knot, row = np.int64(at), offsets[rate_points[n]] + prefix
                mark = marks[row, knot]
                if mark != EXACT:
                    shift, left = _between(shapes[row], knot, at - knot)
                    values[n], sigmas[n] = mean + sigma * shift, sigma * math.sqrt(max(left, 0.0))
                    flags[n] = RESOLVED if mark & 1 else RESOLVED | SUSPECT
                    levels[n] = starts[row] - starts[offsets[rate_points[n]]] + (mark >> 1)
                    continue
        value, left, flag, run = cut_sample(mean, own, prefix, rate_points[n], lows, highs, starts, offsets)
        values[n], sigmas[n], flags[n], levels[n] = value, math.sqrt(left), flag, run
