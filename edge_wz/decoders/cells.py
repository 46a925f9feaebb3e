"""Moments of a Gaussian cut to cells: the arithmetic that the posterior and the Kalman decoder share.

A received bin is a comb of cells, one per candidate level. Given the belief N(mean, variance), the source lies in the union of them: a
mixture of truncated Gaussians, whose mean is the reconstruction and whose variance is its sigma squared. `decoders.nearest` looks at
distances only and needs none of this. Far out in a tail every mass underflows; there, masses are taken relative to the nearest cell by
Mills' ratio (Abramowitz and Stegun, 26.2.14) or, further out, by the exponential that the tail turns into.

Cells are continuous intervals around the integers that a level holds: codes a..b are [a - 1/2, b + 1/2].
"""

import math

import numpy as np
from numba import njit

NO_LEVEL = -(2**31)  # nothing known about this sample; equals codec.blocks.NO_LEVEL
RESOLVED, CONCEALED, SUSPECT, ABSENT = 1, 2, 4, 8

# Columns of a table of nested rate points, float64[points, 6].
SCALE, ROUNDING, TAP, MODULUS, LEVEL_MIN, LEVEL_MAX = range(6)

REACH = 7.0  # sigmas around the mean within which cells are looked at: what lies outside has mass < 3e-12
MAX_CELLS = 64  # more cells than this within reach tell nothing: the belief stays as it was
SURE = 0.9  # a winning candidate with less posterior weight than this is flagged SUSPECT
FAR = 40.0  # sigmas beyond which a tail is an exponential to one part in a thousand

_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


@njit(cache=True)
def level_cell(level, scale, rounding, tap):
    """The interval of codes that `level` holds, for an encoder without filter (SPEC 3.1)."""
    first = (level * scale - rounding) / tap
    last = (level * scale + scale - rounding) / tap
    if tap > 0:
        return np.ceil(first) - 0.5, np.ceil(last) - 0.5
    return np.floor(last) + 0.5, np.floor(first) + 0.5


@njit(cache=True)
def near_interval(a, b):
    """Mass, mean, variance of N(0, 1) cut to [a, b], for intervals that reach into +-REACH."""
    width = b - a
    if width < 1e-3:
        centre = 0.5 * (a + b)
        mass = width * _INV_SQRT_2PI * math.exp(-0.5 * centre * centre)
        return mass, centre * (1.0 - width * width / 12.0), width * width / 12.0
    at_a = _INV_SQRT_2PI * math.exp(-0.5 * a * a)
    at_b = _INV_SQRT_2PI * math.exp(-0.5 * b * b)
    if a > 0.0:
        mass = 0.5 * (math.erfc(a * _SQRT_HALF) - math.erfc(b * _SQRT_HALF))
    elif b < 0.0:
        mass = 0.5 * (math.erfc(-b * _SQRT_HALF) - math.erfc(-a * _SQRT_HALF))
    else:
        mass = 0.5 * (math.erf(b * _SQRT_HALF) - math.erf(a * _SQRT_HALF))
    if mass < 1e-280:
        return 0.0, 0.5 * (a + b), width * width / 12.0
    mean = (at_a - at_b) / mass
    return mass, mean, max(1.0 + (a * at_a - b * at_b) / mass - mean * mean, 0.0)


@njit(cache=True)
def mills_ratio(x):
    """(1 - Phi(x)) / phi(x) for x > 4, by its continued fraction."""
    fraction = x
    for k in range(30, 0, -1):
        fraction = x + k / fraction
    return 1.0 / fraction


@njit(cache=True)
def tail_interval(a, b):
    """Like `near_interval` for 4 < a < b, with the mass divided by phi(a)."""
    width = b - a
    steepness = a * width
    if steepness < 0.1:
        return width * (1.0 - 0.5 * steepness), a + 0.5 * width - width * steepness / 12.0, width * width / 12.0
    if a > FAR:
        decay = math.exp(-steepness)
        rest = steepness * decay / (1.0 - decay)
        spread = max(1.0 - rest * steepness / (1.0 - decay), 0.0)
        return (1.0 - decay) / a, a + (1.0 - rest) / a, spread / (a * a)
    decay = math.exp(-0.5 * (b - a) * (b + a))
    mass = mills_ratio(a) - decay * mills_ratio(b)
    mean = (1.0 - decay) / mass
    return mass, mean, max(1.0 + (a - b * decay) / mass - mean * mean, 0.0)


@njit(cache=True)
def cut(mean, variance, low, high):
    """Mean and variance of N(mean, variance) cut to one cell."""
    sigma = math.sqrt(variance)
    a = (low - mean) / sigma
    b = (high - mean) / sigma
    if a > 5.0:
        _, shift, spread = tail_interval(a, b)
    elif b < -5.0:
        _, shift, spread = tail_interval(-b, -a)
        shift = -shift
    else:
        _, shift, spread = near_interval(a, b)
    value = min(max(mean + sigma * shift, low), high)
    return value, spread * variance


@njit(cache=True)
def far_cells(mean, sigma, below, modulus, point):
    """The bin has no cell within reach: weigh the nearest cell on either side by their tails."""
    best, weight, value, spread = NO_LEVEL, 0.0, mean, sigma * sigma
    reference = 0.0
    for level in (below, below + modulus):
        if level < point[LEVEL_MIN] or level > point[LEVEL_MAX]:
            continue
        low, high = level_cell(level, point[SCALE], point[ROUNDING], point[TAP])
        a = (low - mean) / sigma
        b = (high - mean) / sigma
        side = 1.0
        if a < 0.0:
            a, b, side = -b, -a, -1.0
        if b <= a or a <= 0.0:
            continue
        mass, shift, var = tail_interval(max(a, 4.0), max(b, 4.0 + (b - a)))
        here, var = mean + side * sigma * shift, var * sigma * sigma
        if best == NO_LEVEL:
            best, weight, value, spread, reference = level, 1.0, here, var, 0.5 * a * a - math.log(mass)
            continue
        ratio = math.exp(min(reference - 0.5 * a * a + math.log(mass), 700.0))
        share = ratio / (1.0 + ratio)
        gap = here - value
        spread = (1.0 - share) * spread + share * var + share * (1.0 - share) * gap * gap
        value += share * gap
        weight = 1.0 - share
        if share > 0.5:
            best, weight = level, share
    return value, spread, best, weight


@njit(cache=True)
def cut_to_bin(mean, variance, index, point):
    """Mean, variance, most probable level and its weight, of N(mean, variance) cut to the cells of bin `index`.

    `point` is a row of the table of rate points. The level is NO_LEVEL if no code has this bin.
    """
    scale, rounding, tap = point[SCALE], point[ROUNDING], point[TAP]
    modulus = int(point[MODULUS])
    level_min, level_max = int(point[LEVEL_MIN]), int(point[LEVEL_MAX])
    sigma = math.sqrt(variance)
    centre = min(max((mean * tap + rounding) / scale, level_min - 1.0), level_max + 1.0)
    reach = REACH * sigma * abs(tap) / scale
    class_ = index - 32768
    middle = int(np.floor(centre))
    below = middle - (middle - class_) % modulus
    if 2.0 * reach > MAX_CELLS * modulus:
        nearest = below if 2 * (middle - below) <= modulus else below + modulus
        return mean, variance, min(max(nearest, level_min), level_max), 0.0
    first = int(np.floor(centre - reach))
    level = max(below - ((below - first) // modulus) * modulus, level_min + (class_ - level_min) % modulus)
    last = min(int(np.floor(centre + reach)), level_max)
    total, value, moment, best, best_mass = 0.0, 0.0, 0.0, NO_LEVEL, 0.0
    while level <= last:
        low, high = level_cell(level, scale, rounding, tap)
        mass, shift, spread = near_interval((low - mean) / sigma, (high - mean) / sigma)
        if high > low and mass > 0.0:
            total += mass
            gap = shift - value
            value += gap * mass / total
            moment += mass * (spread + gap * (shift - value))
            if mass > best_mass:
                best, best_mass = level, mass
        level += modulus
    if total < 1e-11:
        return far_cells(mean, sigma, below, modulus, point)
    return mean + sigma * value, variance * moment / total, best, best_mass / total


@njit(cache=True)
def keep_within(value, low, high, max_error):
    """`value`, moved so that no code of the cell [low, high] is further than `max_error` away (or to the centre)."""
    lowest, highest = high - 0.5 - max_error, low + 0.5 + max_error
    if lowest > highest:
        return 0.5 * (low + high)
    return min(max(value, lowest), highest)
