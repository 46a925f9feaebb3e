"""`decoders.cosets` for beliefs whose variance comes in several sizes: heavy tails, or a neighbour that now and then goes wrong.

`density` (K, 2), as in `decoders.cell_masses`: weights, and factors of the variance. A sample far from what was foretold counts against a coset
for as much as the wide Gaussian lets it, and no more. Summed coset by coset, several times slower than combs of one Gaussian.
"""

import math

import numpy as np
from numba import njit

from edge_wz.decoders.cell_masses import cell_masses, weigh
from edge_wz.decoders.cells import MODULUS, NO_LEVEL, ROUNDING, SCALE, TAP, level_cell, near_interval, nearest_level
from edge_wz.decoders.cosets import LEAST_VARIANCE

LEAST_SHARE = 1e-9  # of a coset, below which its cells are not looked at
FAR_SIGMAS = 35.0


@njit(cache=True, error_model="numpy")
def mixed_masses(means, variances, slots, lows, point, density, least, combs, masses, floored):
    """`cosets.coset_masses`."""
    q = np.int64(0.25 * point[MODULUS])
    for i in range(slots.shape[0]):
        n = slots[i]
        weigh(means[n], variances[n], lows[i], q, point, density, combs, masses[i], floored[i])
        largest = max(max(floored[i, 0], floored[i, 1]), max(floored[i, 2], floored[i, 3]))
        for z in range(4):
            floored[i, z] = max(floored[i, z] / largest, least)


@njit(cache=True, error_model="numpy")
def _density_of(mean, variance, level, point, density):
    low, high = level_cell(level, point[SCALE], point[ROUNDING], point[TAP])
    total = 0.0
    for k in range(density.shape[0]):
        sigma = math.sqrt(variance * density[k, 1])
        a, b = (low - mean) / sigma, (high - mean) / sigma
        total += density[k, 0] * near_interval(a, b)[0] if high > low and abs(a) < FAR_SIGMAS else 0.0
    return total


@njit(cache=True, error_model="numpy")
def _share_of_nearest(mean, variance, offset, point, density):
    """The level of a coset that is nearest to the mean, and its share of the coset's mass beside the two next to it."""
    level = nearest_level((mean * point[TAP] + point[ROUNDING]) / point[SCALE], offset, point)
    if level == NO_LEVEL:
        return level, 0.0
    mass = _density_of(mean, variance, level, point, density)
    others = _density_of(mean, variance, level - point[MODULUS], point, density) + _density_of(mean, variance, level + point[MODULUS], point, density)
    return level, mass / (mass + others) if mass > 0.0 else 1.0


@njit(cache=True, error_model="numpy")
def mixed_given_code(means, variances, slots, lows, point, density, posteriors, one, values, spreads, levels, weights):
    """`cosets.given_code`. one: float64[1], work space."""
    period, quarter = np.int64(point[MODULUS]), 0.25 * point[MODULUS]
    for i in range(slots.shape[0]):
        n, value, spread, total, likeliest = slots[i], 0.0, 0.0, 0.0, 0
        for z in range(4):
            share = np.float64(posteriors[i, z])
            if share < LEAST_SHARE:
                continue
            if share > posteriors[i, likeliest]:
                likeliest = z
            here, variance = cell_masses(means[n], variances[n], lows[i] + quarter * z, period, point, density, one)
            total += share
            gap = here - means[n] - value
            value += gap * share / total
            spread += share * (variance + gap * (here - means[n] - value))
        values[n], spreads[n] = means[n] + value, max(spread / total, LEAST_VARIANCE)
        level, share = _share_of_nearest(means[n], variances[n], lows[i] + quarter * likeliest - 32768.0, point, density)
        levels[n], weights[i] = np.int64(level), posteriors[i, likeliest] * share
