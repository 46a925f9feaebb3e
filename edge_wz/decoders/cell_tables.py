"""Ratios of bit planes and moments within a cell by table, for packets in which most samples are believed equally well.

Where packets are long, the cavities of most samples have the same variance. Then what `cell_masses` sums over cells depends on where the mean lies
against the cells alone, modulo the period of the planes, and what a cell does to mean and variance on its distance from the mean alone. Both
are tabulated for the variance in the middle of the packet, rounded to VARIANCE_GRID, and read off with straight lines in between; whether
a sample uses them is a matter of its packet alone, so results do not depend on what was decoded before.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from edge_wz.decoders.cell_masses import ALIKE, REACH, comb, combs_for, weigh, within_cell
from edge_wz.decoders.cells import LEVEL_MAX, LEVEL_MIN, ROUNDING, SCALE, TAP, level_cell
from edge_wz.decoders.polar_ratios import llr_trees

LEAST_SAMPLES = 256  # of a packet that gets a table: making one takes as long as 100 samples without
MOST_PLANES = 5
VARIANCE_GRID = 0.005  # of the logarithm
LIKE = 0.006  # relative: a variance this close is the table's
PLACES = 64  # per period of the low bits
PER_SIGMA, SIGMAS = 64, 5  # of the distance from the mean
VARIANCE, FAR_LEVELS, IN_USE = 0, 1, 2  # of the key: what the tables hold, and the variance that is looked up, NaN if none is


class Tables(NamedTuple):
    """What is kept between packets: key, ratios by place (rows), (shift, variance) by distance."""

    key: np.ndarray
    ratios: np.ndarray
    moments: np.ndarray


def empty_tables(planes: int) -> Tables:
    values = 1 << planes if planes <= MOST_PLANES else 0
    return Tables(np.full(3, np.nan), np.empty((values * PLACES + 1, values), np.float32), np.empty((SIGMAS * PER_SIGMA + 2, 2)))


@njit(cache=True, error_model="numpy")
def prepare(tables, samples, variance, q, point, density):
    """Tables for a packet of so many samples whose middle one has this variance, or none."""
    tables.key[IN_USE] = np.nan
    if samples < LEAST_SAMPLES or tables.ratios.shape[1] == 0:
        return
    rounded = math.exp(VARIANCE_GRID * np.rint(math.log(variance) / VARIANCE_GRID))
    if tables.key[VARIANCE] != rounded:
        combs = combs_for(density)
        comb(rounded, point, q, density, combs)
        tables.key[VARIANCE], tables.key[FAR_LEVELS] = rounded, combs[0, REACH] + q if 0.5 * q < combs[0, ALIKE] else np.inf
        if np.isfinite(tables.key[FAR_LEVELS]):
            _fill_ratios(tables, rounded, q, point, density, combs)
            _fill_moments(tables, rounded, point, density)
    if np.isfinite(tables.key[FAR_LEVELS]):
        tables.key[IN_USE] = rounded


@njit(cache=True, error_model="numpy")
def in_use(tables):
    return not np.isnan(tables.key[IN_USE])


@njit(cache=True, error_model="numpy")
def _fill_ratios(tables, variance, q, point, density, combs):
    values = tables.ratios.shape[1]
    masses, column = np.empty(values), np.empty(values, np.float32)
    trees = np.empty((values, values * PLACES + 1), np.float32)
    zero = 32768 // q  # the turn of level 0, low bits 0
    for place in range(PLACES):
        mean = ((q * place / PLACES + 0.5) * point[SCALE] - point[ROUNDING]) / point[TAP]
        weigh(mean, variance, 0, q, point, density, combs, masses, column)
        for turn in range(values):
            for w in range(values):
                trees[w, turn * PLACES + place] = column[(zero + w - turn) & (values - 1)]
    trees[:, values * PLACES] = trees[:, 0]
    llr_trees(trees, trees.shape[1])
    tables.ratios[:] = trees.T


@njit(cache=True, error_model="numpy")
def _fill_moments(tables, variance, point, density):
    width, sigma = point[SCALE] / abs(point[TAP]), math.sqrt(variance)
    for k in range(tables.moments.shape[0]):
        distance = k / PER_SIGMA * sigma
        value, spread = within_cell(0.0, variance, distance - 0.5 * width, distance + 0.5 * width, density)
        tables.moments[k, 0], tables.moments[k, 1] = value - distance, spread


@njit(cache=True, error_model="numpy")
def look_up(tables, cavities, slots, lows, count, q, point, trees, missed):
    """Columns of `trees` from `tables`; the samples that they are not made for into `missed`, and their number."""
    ratios, used, far = tables.ratios, tables.key[IN_USE], tables.key[FAR_LEVELS]
    scale, per_level, missing = point[TAP] / point[SCALE], PLACES / q, 0
    for i in range(count):
        mean, variance = cavities[0, slots[i]], cavities[1, slots[i]]
        centre = mean * scale + point[ROUNDING] / point[SCALE] - 0.5
        if abs(variance - used) <= LIKE * used and centre - far >= point[LEVEL_MIN] and centre + far <= point[LEVEL_MAX]:
            place = (centre - lows[i] + 32768.0) * per_level
            below = np.int64(place)
            part, row = np.float32(place - below), below & (ratios.shape[0] - 2)
            for w in range(1, ratios.shape[1]):
                trees[w, i] = ratios[row, w] + part * (ratios[row + 1, w] - ratios[row, w])
        else:
            missed[missing] = i
            missing += 1
    return missing


@njit(cache=True, error_model="numpy")
def within_cells(tables, cavities, slots, count, levels, point, density, values, variances):
    """`within_cell` of each sample, from `tables` if it is one of those they are made for."""
    moments, used = tables.moments, tables.key[IN_USE]
    scale = PER_SIGMA / math.sqrt(used)
    for i in range(count):
        n = slots[i]
        mean, variance = cavities[0, n], cavities[1, n]
        low, high = level_cell(levels[i], point[SCALE], point[ROUNDING], point[TAP])
        distance = 0.5 * (low + high) - mean
        place = abs(distance) * scale
        if abs(variance - used) <= LIKE * used and place < SIGMAS * PER_SIGMA:
            k = np.int64(place)
            part = place - k
            shift = moments[k, 0] + part * (moments[k + 1, 0] - moments[k, 0])
            values[n] = 0.5 * (low + high) + (shift if distance > 0.0 else -shift)
            variances[n] = moments[k, 1] + part * (moments[k + 1, 1] - moments[k, 1])
        else:
            values[n], variances[n] = within_cell(mean, variance, low, high, density)
