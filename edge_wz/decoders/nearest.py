"""`nearest`: the paper's rule. Of the levels of a bin, take the one nearest to the prediction from side information.

Unlike `decoders.posterior` it decides, and its cost is a handful of multiplications per sample; it is also the decoder for
nodes with an encoder filter, whose levels are those of the filtered source u. The resolved u then pass the output filter c.
Reference: Domanovitz, Severo, Khisti, Yu, Data-driven optimization for zero-delay lossy source coding with side
information, eq. (3).

Filters run over arrays of deviations from the mean, with lags-1 earlier entries in front, newest last.
"""

import math

import numpy as np
from numba import njit

from edge_wz.decoders.cells import CONCEALED, NO_LEVEL, RESOLVED, ROUNDING, SCALE, TAP, keep_within, level_cell

# Columns of a table of rate points, float64[points, 5]: u of a level = LEVEL_STEP * level + LEVEL_ZERO, in LSB.
LEVEL_STEP, LEVEL_ZERO, BINS, LOWEST, HIGHEST = range(5)

BLOCK = 1024  # samples that are looked at together, so that what is written is still near when it is read
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding and subtracting it rounds to the nearest integer, and vectorises


@njit(cache=True)
def _resolve_run(bins, point, mean, predicted, levels, u):
    """Levels, and deviations `u` of what they stand for, of samples under one rate point and none of them lost."""
    step, zero, modulus = point[LEVEL_STEP], point[LEVEL_ZERO], point[BINS]
    per_step, per_modulus = 1.0 / step, 1.0 / modulus
    lowest, highest = point[LOWEST], point[HIGHEST]
    for n in range(bins.size):
        base = np.float64(bins[n]) - 32768.0
        position = (mean + predicted[n] - zero) * per_step
        position = lowest if position < lowest else position
        position = highest if position > highest else position
        level = base + modulus * (((position - base) * per_modulus + _ROUND) - _ROUND)
        level = level - modulus if level > highest else level
        level = level + modulus if level < lowest else level
        levels[n] = np.int32(level)
        u[n] = step * level + zero - mean


@njit(cache=True)
def _uniform(bins, rate_points):
    """Whether every sample came, and all under one rate point; a loop without exit, so it vectorises."""
    point, others = rate_points[0], 0
    for n in range(bins.size):
        others += (bins[n] == NO_LEVEL) | (rate_points[n] != point)
    return others == 0


@njit(cache=True)
def _run_end(bins, rate_points, start):
    """Where a run of samples of one kind ends: same rate point, all or none of them lost."""
    lost, point = bins[start] == NO_LEVEL, rate_points[start]
    end = start + 1
    while end < bins.size and (bins[end] == NO_LEVEL) == lost and rate_points[end] == point:
        end += 1
    return end


@njit(cache=True)
def resolve(bins, rate_points, points, mean, predicted, levels, u, flags):
    """Fill `levels`, `flags` and the deviations `u` (T); where nothing came, the prediction stands in."""
    start = 0
    while start < bins.size:
        block = min(start + BLOCK, bins.size)
        end = block
        if not _uniform(bins[start:block], rate_points[start:block]):
            end = start + _run_end(bins[start:block], rate_points[start:block], 0)
        if bins[start] == NO_LEVEL:
            levels[start:end], flags[start:end] = NO_LEVEL, CONCEALED
            u[start:end] = predicted[start:end]
        else:
            point = points[rate_points[start]]
            _resolve_run(bins[start:end], point, mean, predicted[start:end], levels[start:end], u[start:end])
            flags[start:end] = RESOLVED
        start = end


@njit(cache=True)
def u_variances(flags, rate_points, cell_variances, variances, out):
    """Variance of each u, resolved or predicted; `cell_variances` (points,) count the chance of a wrong candidate."""
    for n in range(flags.size):
        out[n] = cell_variances[rate_points[n]]
    for n in range(flags.size):
        if flags[n] != RESOLVED:
            out[n] = variances[n if variances.size > 1 else 0]


@njit(cache=True)
def filter_and_root(u, spread, taps, mean, values, sigmas):
    """values[n] = mean + sum of taps[i] * u[n - i], and the root of its variance, the u's errors taken as independent.

    `u` and their variances `spread` have taps-1 earlier entries in front.
    """
    lags = taps.size - 1
    for start in range(0, values.size, BLOCK):
        end = min(start + BLOCK, values.size)
        values[start:end], sigmas[start:end] = mean, 0.0
        for i in range(taps.size):
            tap, shift = taps[i], lags - i
            for n in range(start, end):
                values[n] += tap * u[shift + n]
                sigmas[n] += tap * tap * spread[shift + n]
        for n in range(start, end):
            sigmas[n] = math.sqrt(sigmas[n])


@njit(cache=True)
def keep_in_cells(levels, rate_points, cell_points, max_error, values):
    """Move `values` so that no code of the chosen cell is further than `max_error` away."""
    for n in range(levels.size):
        if levels[n] != NO_LEVEL:
            point = cell_points[rate_points[n]]
            low, high = level_cell(levels[n], point[SCALE], point[ROUNDING], point[TAP])
            values[n] = keep_within(values[n], low, high, max_error)
