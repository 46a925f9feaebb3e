"""`nearest`: the paper's rule. Of the levels of a bin, take the one nearest to the prediction from side information.

Unlike `decoders.posterior` it decides, and its cost is a handful of multiplications per sample; it is also the decoder
for nodes with an encoder filter, whose levels are those of the filtered source u. The resolved u then pass the output
filter c. Reference: Domanovitz, Severo, Khisti, Yu, Data-driven optimization for zero-delay lossy source coding with
side information, eq. (3).

Filters run over arrays of deviations from the mean, with lags-1 earlier entries in front, newest last. Samples are
taken in blocks that stay in the nearest cache, one simple loop after another, so that each loop vectorises.
"""

import math

import numpy as np
from numba import njit

from edge_wz.decoders.cells import CONCEALED, NO_LEVEL, RESOLVED, ROUNDING, SCALE, TAP, keep_within, level_cell
from edge_wz.decoders.side_window import keep_past, load_window, predict_all

# Columns of a table of rate points, float64[points, 6]: u of a level = LEVEL_STEP * level + LEVEL_ZERO, in LSB.
# CELL_VARIANCE is that of a resolved u, the chance of a wrong candidate included.
LEVEL_STEP, LEVEL_ZERO, BINS, LOWEST, HIGHEST, CELL_VARIANCE = range(6)

BLOCK = 1024
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
def _resolve(bins, rate_points, points, mean, predicted, variances, levels, flags, u, spread):
    """Levels and flags; u with its variances; where nothing came, the prediction and its variance stand in."""
    start = 0
    while start < bins.size:
        end = start + _run_end(bins[start:], rate_points[start:], 0)
        if bins[start] == NO_LEVEL:
            levels[start:end], flags[start:end] = NO_LEVEL, CONCEALED
            u[start:end] = predicted[start:end]
            for n in range(start, end):
                spread[n] = variances[n if variances.size > 1 else 0]
        else:
            point = points[rate_points[start]]
            _resolve_run(bins[start:end], point, mean, predicted[start:end], levels[start:end], u[start:end])
            flags[start:end], spread[start:end] = RESOLVED, point[CELL_VARIANCE]
        start = end


@njit(cache=True)
def _filter(entries, taps, count, values):
    """values[n] += sum of taps[i] * entries[lags + n - i]"""
    for i in range(taps.size):
        tap, lagged = taps[i], entries[taps.size - 1 - i : taps.size - 1 - i + count]  # index n alone vectorises
        for n in range(count):
            values[n] += tap * lagged[n]


@njit(cache=True)
def _deviation(spread, taps, sigmas):
    """Roots of the filtered variances, errors of the u taken as independent; one root if all variances are equal."""
    count, first, others = sigmas.size, spread[0], 0
    for n in range(spread.size):
        others += spread[n] != first
    if others == 0:
        total = 0.0
        for i in range(taps.size):
            total += taps[i] * first
        sigmas[:] = math.sqrt(total)
    else:
        sigmas[:] = 0.0
        _filter(spread, taps, count, sigmas)
        for n in range(count):
            sigmas[n] = math.sqrt(sigmas[n])


@njit(cache=True)
def settle(
    held, bins, rate_points, points, predicted, variances, mean, taps, squares, source_mean, u, spread,
    values, sigmas, flags, levels,
):  # fmt: skip
    """A block whose predictions are there: fill the outputs; `held` (2, lags) is the past of u and of its variances.

    `squares` are those of `taps`; `u` and `spread` are scratch of lags + T or more.
    """
    lags, count = taps.size - 1, bins.size
    for i in range(lags):
        u[i], spread[i] = held[0, i], held[1, i]
    if _uniform(bins, rate_points):
        point = points[rate_points[0]]
        _resolve_run(bins, point, mean, predicted, levels, u[lags : lags + count])
        flags[:], spread[lags : lags + count] = RESOLVED, point[CELL_VARIANCE]
    else:
        _resolve(
            bins, rate_points, points, mean, predicted, variances, levels, flags,
            u[lags : lags + count], spread[lags : lags + count],
        )  # fmt: skip
    values[:] = source_mean
    _filter(u, taps, count, values)
    _deviation(spread[: lags + count], squares, sigmas)
    for i in range(lags):
        held[0, i], held[1, i] = u[count + i], spread[count + i]


@njit(cache=True)
def decode(
    past, held, bins, rate_points, points, side, side_sigmas, side_mean, limit, weights, variances, mean, taps, squares,
    source_mean, start, values, sigmas, flags, levels,
):  # fmt: skip
    """From sample `start` on, block by block, up to one whose side information has a gap; returns where that begins."""
    block = min(BLOCK, bins.size - start)
    window, predicted = np.empty((past.shape[0], past.shape[1] + block)), np.empty(block)
    u, spread = np.empty(taps.size - 1 + block), np.empty(taps.size - 1 + block)
    while start < bins.size:
        end = min(start + BLOCK, bins.size)
        load_window(past, side, side_sigmas, start, end - start, side_mean, limit, window)
        if predict_all(window, end - start, weights, predicted):
            return start
        keep_past(window, end - start, past)
        settle(
            held, bins[start:end], rate_points[start:end], points, predicted[: end - start], variances, mean, taps,
            squares, source_mean, u, spread, values[start:end], sigmas[start:end], flags[start:end], levels[start:end],
        )  # fmt: skip
        start = end
    return start


@njit(cache=True)
def keep_in_cells(levels, rate_points, cell_points, max_error, values):
    """Move `values` so that no code of the chosen cell is further than `max_error` away."""
    for n in range(levels.size):
        if levels[n] != NO_LEVEL:
            point = cell_points[rate_points[n]]
            low, high = level_cell(levels[n], point[SCALE], point[ROUNDING], point[TAP])
            values[n] = keep_within(values[n], low, high, max_error)
