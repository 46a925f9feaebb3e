"""Masses of the cells that the low bits leave, by the bits of the planes above them, and what is left of a Gaussian within one cell.

A belief is a Gaussian whose variance comes in as many sizes as `density` has rows (weights, factors). Cells of one width at one distance have
masses in a geometric pattern (`weigh`); those that hold few integers are summed one by one (`cell_masses`).
"""

import math

import numpy as np
from numba import njit

from edge_wz.decoders import single
from edge_wz.decoders.cells import LEVEL_MAX, LEVEL_MIN, ROUNDING, SCALE, TAP, cut, level_cell, near_interval

REACH_SQUARED = 60.0  # a cell is skipped if its density is less than exp(-30) of the nearest one's
NEAR_SIGMAS = 30.0  # to the nearest cell up to which masses do not underflow
WIDE_LSB = 16.0  # cells from this width on are taken as all alike, whatever integers they hold
NARROW_SIGMAS = 2.5  # width of a cell up to which three points integrate a Gaussian over it
APART_SIGMAS = 9.0  # and no further apart: its square is what `single.exp` can take
FAR_SIGMAS = 4.0  # and no further from the mean
NODE = 0.3872983346207417  # Gauss-Legendre, three points: half the root of 3/5 of the width, weights 5 : 8 : 5
VARIANCE, REACH, ALIKE, WIDTH, NODE_AT, BELL, APART, GROWTH, SHRINK, SQUARE, COMB_SIZE = range(11)  # of `comb`; the first three in row 0
UNTOLD_PERIODS = 4.0  # of the planes' period within two sigmas: they say nothing about the period


@njit(cache=True, error_model="numpy")
def comb(variance, point, q, density, combs):
    """Fill combs (K, COMB_SIZE), what samples of equal variance have in common; whether `_comb_masses` may take their place."""
    unit, side = point[SCALE] / abs(point[TAP]), 1.0 if point[TAP] > 0 else -1.0
    least, most = np.inf, 0.0
    for k in range(density.shape[0]):
        sigma = math.sqrt(variance * density[k, 1])
        least, most = min(least, sigma), max(most, sigma)
        width, apart = unit / sigma, side * q * unit / sigma
        node, growth = NODE * width, math.exp(NODE * width * apart)
        combs[k, WIDTH], combs[k, NODE_AT], combs[k, BELL], combs[k, APART] = width, node, 5.0 * math.exp(-0.5 * node * node), apart
        combs[k, GROWTH], combs[k, SHRINK], combs[k, SQUARE] = growth, 1.0 / growth, math.exp(-apart * apart)
    combs[0, VARIANCE], combs[0, REACH] = variance, math.sqrt(REACH_SQUARED) * most / unit
    alike = unit >= WIDE_LSB and unit <= NARROW_SIGMAS * least and q * unit <= APART_SIGMAS * least
    combs[0, ALIKE] = FAR_SIGMAS * least / unit if alike else -1.0


@njit(cache=True, error_model="numpy")
def _comb_masses(distance, q, first, reach, weight, row, column):
    """Add one Gaussian's masses of every q-th cell, all of one width, up to `reach`; the nearest one lies off by `distance` and is of w = `first`.

    The density at cell k from the nearest is that at the nearest times ratio_1 .. ratio_k, ratio_k+1 = ratio_k square: products in place of
    exponentials, and three points per cell.
    """
    width, node, bell, apart, square = row[WIDTH], row[NODE_AT], row[BELL], row[APART], row[SQUARE]
    centre, last = (distance if apart > 0.0 else -distance) * width, column.shape[0] - 1
    start, up = np.float64(single.exp(centre * node)), np.float64(single.exp(-apart * centre - 0.5 * apart * apart))
    scale, back = weight * width * single.exp(-0.5 * centre * centre), 1.0 / start
    column[first & last] += scale * (8.0 + bell * (start + back))
    for direction in (1, -1):
        growth, shrink = (row[GROWTH], row[SHRINK]) if direction > 0 else (row[SHRINK], row[GROWTH])
        ratio = up if direction > 0 else square / up
        left, right, density = start * growth, back * shrink, scale * ratio
        for k in range(1, int((reach - direction * distance) / q) + 1):
            column[(first + direction * k) & last] += density * (8.0 + bell * (left + right))
            ratio *= square
            density *= ratio
            left *= growth
            right *= shrink


@njit(cache=True, error_model="numpy")
def cell_masses(mean, variance, low, q, point, density, masses):
    """Masses of the values w of the coded planes, given the low bits, and mean and variance given the low bits alone.

    masses float64[2^P]; point: a row of `cells` whose MODULUS is q 2^P; density (K, 2): weights, and factors of the variance.
    """
    masses[:] = 0.0
    centre = (mean * point[TAP] + point[ROUNDING]) / point[SCALE] - 0.5
    unit = point[SCALE] / abs(point[TAP])
    widest = 0.0
    for k in range(density.shape[0]):
        widest = max(widest, density[k, 1])
    per_sigma = unit / math.sqrt(variance * widest)
    if UNTOLD_PERIODS * q * masses.shape[0] * per_sigma < 2.0:
        masses[:] = 1.0
        return mean, variance
    offset = low - 32768.0
    nearest = offset + q * np.rint((min(max(centre, point[LEVEL_MIN]), point[LEVEL_MAX]) - offset) / q)
    distance = abs(nearest - centre) * per_sigma
    reach = math.sqrt(distance * distance + REACH_SQUARED) / per_sigma
    first = max(nearest - q * np.floor((nearest - centre + reach) / q), point[LEVEL_MIN])
    level = offset + q * np.ceil((first - offset) / q)
    last = min(centre + reach, point[LEVEL_MAX])
    total, value, moment = 0.0, 0.0, 0.0
    while level <= last:
        start, end = level_cell(level, point[SCALE], point[ROUNDING], point[TAP])
        w = (np.int64(level + 32768.0) // q) & (masses.shape[0] - 1)
        if end > start:
            for k in range(density.shape[0]):
                sigma = math.sqrt(variance * density[k, 1])
                a, b = (start - mean) / sigma, (end - mean) / sigma
                if distance > NEAR_SIGMAS:
                    edge = min(abs(a), abs(b))
                    mass, shift, spread = math.exp(0.5 * (distance * distance - edge * edge)), 0.5 * (a + b), (b - a) * (b - a) / 12.0
                else:
                    mass, shift, spread = near_interval(a, b)
                mass *= density[k, 0]
                if mass > 0.0:
                    masses[w] += mass
                    total += mass
                    gap = sigma * shift - value
                    value += gap * mass / total
                    moment += mass * (sigma * sigma * spread + gap * (sigma * shift - value))
        level += q
    if total == 0.0:
        masses[:] = 1.0
        return mean, variance
    return mean + value, moment / total


@njit(cache=True, error_model="numpy")
def weigh(mean, variance, low, q, point, density, combs, masses, column):
    """The masses of `cell_masses` up to a factor, as a column of `trees`. combs: of `combs_for`; masses float64[2^P]: work space."""
    if combs[0, VARIANCE] != variance:
        comb(variance, point, q, density, combs)
    offset, centre = low - 32768.0, (mean * point[TAP] + point[ROUNDING]) / point[SCALE] - 0.5
    turn = np.rint((centre - offset) / q)
    distance = offset + q * turn - centre
    reach = combs[0, REACH] + abs(distance)
    if abs(distance) < combs[0, ALIKE] and centre - reach > point[LEVEL_MIN] and centre + reach < point[LEVEL_MAX]:
        column[:] = 0.0
        for k in range(density.shape[0]):
            _comb_masses(distance, q, np.int64(turn), reach, density[k, 0], combs[k], column)
        return
    cell_masses(mean, variance, low, q, point, density, masses)
    most = np.max(masses)
    for w in range(masses.shape[0]):
        column[w] = masses[w] / most


@njit(cache=True)
def combs_for(density):
    return np.full((density.shape[0], COMB_SIZE), np.nan)


@njit(cache=True, error_model="numpy")
def within_cell(mean, variance, low, high, density):
    """Posterior mean and variance of a sample in the cell [low, high]."""
    if density.shape[0] == 1:
        return cut(mean, variance * density[0, 1], low, high)
    total, value, moment = 0.0, 0.0, 0.0
    for k in range(density.shape[0]):
        sigma = math.sqrt(variance * density[k, 1])
        a, b = (low - mean) / sigma, (high - mean) / sigma
        mass = density[k, 0] * max(near_interval(a, b)[0] if abs(a) < NEAR_SIGMAS else 0.0, 1e-250)
        here, spread = cut(mean, variance * density[k, 1], low, high)
        total += mass
        gap = here - value
        value += gap * mass / total
        moment += mass * (spread + gap * (here - value))
    return value, moment / total
