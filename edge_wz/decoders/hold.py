"""`midpoint`: the reconstructions that the closed loop of `predictive` already has, held through what is lost.

Unlike `decoders.kalman` it refines nothing. A lost sample repeats the last one; its variance grows with every
repetition by the mean squared difference of neighbouring samples seen so far, as if the source were a random walk.

State, flat: last value, its variance, mean squared difference, 1 once anything was seen.
"""

import math

import numpy as np
from numba import njit

from edge_wz.decoders.cells import CONCEALED, NO_LEVEL, RESOLVED

LAST, VARIANCE, DRIFT, SEEN = range(4)
STATE_SIZE = 4
MEMORY = 1.0 / 64  # weight of the newest squared difference
UNKNOWN_VARIANCE = 65536.0**2 / 12  # of an int16 code about which nothing is known


@njit(cache=True)
def predictive_cells(levels, preds, rate_points, steps_q8, roundings_q8, lows, highs):
    """The interval of codes that each sample lies in (SPEC 4.1); NaN where nothing is known."""
    for n in range(levels.size):
        if levels[n] == NO_LEVEL:
            lows[n], highs[n] = np.nan, np.nan
            continue
        step, rounding = steps_q8[rate_points[n]], roundings_q8[rate_points[n]]
        size = abs(levels[n])
        outer = ((size + 1) * step - rounding - 1) // 256
        inner = (size * step - rounding + 255) // 256 if size > 0 else -outer
        low, high = (preds[n] + inner, preds[n] + outer) if levels[n] >= 0 else (preds[n] - outer, preds[n] - inner)
        lows[n] = max(low, -32768) - 0.5
        highs[n] = min(high, 32767) + 0.5


@njit(cache=True)
def midpoint(state, recon, lows, highs, values, sigmas, flags):
    """Fill `values`, `sigmas` (LSB), `flags`, changing `state`; within a cell the source counts as uniform."""
    for n in range(recon.size):
        if lows[n] <= highs[n]:
            value, width = float(recon[n]), highs[n] - lows[n]
            below, above = value - lows[n], highs[n] - value
            if state[SEEN] == 1.0:
                change = value - state[LAST]
                state[DRIFT] += MEMORY * (change * change - state[DRIFT])
            state[LAST], state[SEEN] = value, 1.0
            state[VARIANCE] = (above * above * above + below * below * below) / (3.0 * width)
            flags[n] = RESOLVED
        else:
            state[VARIANCE] = min(state[VARIANCE] + state[DRIFT], UNKNOWN_VARIANCE)
            flags[n] = CONCEALED
        values[n] = state[LAST]
        sigmas[n] = math.sqrt(state[VARIANCE])
