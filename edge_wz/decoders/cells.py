"""Moments of a Gaussian cut to cells: the arithmetic that the posterior and the Kalman decoder share.

A received bin is a comb of cells, one per candidate level. Given the belief N(mean, variance), the source lies in the
union of them: a mixture of truncated Gaussians, whose mean is the reconstruction and whose variance is its sigma
squared. `decoders.nearest` looks at distances only and needs none of this. Far out in a tail every mass underflows;
there, masses are taken relative to the nearest cell by Mills' ratio (Abramowitz and Stegun, 26.2.14) or, further out,
by the exponential that the tail turns into. Tail areas: Hart, Computer Approximations (1968), as given by West, Better
approximations to cumulative normal functions (2005); one exponential serves density and area.

Cells are continuous intervals around the integers that a level holds: codes a..b are [a - 1/2, b + 1/2]. Levels are
floats here: integers of 16 bits are exact, and no division of integers is needed.
"""

import math

import numpy as np
from numba import njit

NO_LEVEL = -(2**31)  # nothing known about this sample; equals codec.blocks.NO_LEVEL
RESOLVED, CONCEALED, SUSPECT, ABSENT = 1, 2, 4, 8

# Columns of a table of nested rate points, float64[points, 6].
SCALE, ROUNDING, TAP, MODULUS, LEVEL_MIN, LEVEL_MAX = range(6)

REACH_SQUARED = 24.0  # a candidate is skipped if its mass is less than exp(-12) of the nearest one's
FAR_CELLS = 30.0  # sigmas to the nearest candidate from where on masses are relative: near 38 they underflow
MAX_CELLS = 64  # more cells than this within reach tell nothing: the belief stays as it was
SURE = 0.9  # a winning candidate with less posterior weight than this is flagged SUSPECT
FAR = 40.0  # sigmas beyond which a tail is an exponential to one part in a thousand

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
def tail_area(x, bell):
    """Area of N(0, 1) above x >= 0, given bell = exp(-x*x/2); relative error about 1e-14."""
    if x > 7.07106781186547:
        return bell * _INV_SQRT_2PI / (x + 1.0 / (x + 2.0 / (x + 3.0 / (x + 4.0 / (x + 0.65)))))
    above = 3.52624965998911e-02 * x + 0.700383064443688
    above = (above * x + 6.37396220353165) * x + 33.912866078383
    above = ((above * x + 112.079291497871) * x + 221.213596169931) * x + 220.206867912376
    below = 8.83883476483184e-02 * x + 1.75566716318264
    below = (below * x + 16.064177579207) * x + 86.7807322029461
    below = ((below * x + 296.564248779674) * x + 637.333633378831) * x + 793.826512519948
    return bell * above / (below * x + 440.413735824752)


@njit(cache=True)
def narrow_interval(a, b):
    """Like `near_interval` for widths where its differences would cancel: a series around the centre."""
    width, centre = b - a, 0.5 * (a + b)
    square = width * width
    tilt = centre * centre * square
    mass = width * _INV_SQRT_2PI * math.exp(-0.5 * centre * centre) * (1.0 + (tilt - square) / 24.0)
    return mass, centre - centre * square / 12.0 * (1.0 - tilt / 60.0), square / 12.0 * (1.0 - tilt / 20.0)


@njit(cache=True)
def near_interval(a, b):
    """Mass, mean, variance of N(0, 1) cut to [a, b], for intervals that begin within +-35."""
    if b - a < 0.02:
        return narrow_interval(a, b)
    bell_a, bell_b = math.exp(-0.5 * a * a), math.exp(-0.5 * b * b)
    area_a, area_b = tail_area(abs(a), bell_a), tail_area(abs(b), bell_b)
    if a > 0.0:
        mass = area_a - area_b
    elif b < 0.0:
        mass = area_b - area_a
    else:
        mass = 1.0 - area_a - area_b
    if mass < 1e-280:
        return 0.0, 0.5 * (a + b), 0.0
    scale = _INV_SQRT_2PI / mass
    mean = (bell_a - bell_b) * scale
    edges = a * bell_a if bell_a > 0.0 else 0.0
    edges -= b * bell_b if bell_b > 0.0 else 0.0
    return mass, mean, max(1.0 + edges * scale - mean * mean, 0.0)


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
def far_cells(mean, sigma, below, point):
    """The bin has no cell within reach: weigh the nearest cell on either side by their tails."""
    best, weight, value, spread = float(NO_LEVEL), 0.0, mean, sigma * sigma
    reference = 0.0
    for level in (below, below + point[MODULUS]):
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
def nearest_level(centre, offset, point):
    """The level of a bin closest to `centre` that a source can have, or NO_LEVEL."""
    modulus = point[MODULUS]
    level = offset + modulus * np.rint((centre - 0.5 - offset) / modulus)
    if level > point[LEVEL_MAX]:
        level -= modulus
    if level < point[LEVEL_MIN]:
        level += modulus
    return level if point[LEVEL_MIN] <= level <= point[LEVEL_MAX] else float(NO_LEVEL)


@njit(cache=True)
def cut_to_bin(mean, variance, index, point):
    """Mean, variance, most probable level and its weight, of N(mean, variance) cut to the cells of bin `index`.

    `point` is a row of the table of rate points. The level is NO_LEVEL if no code has this bin.
    """
    scale, rounding, tap, modulus = point[SCALE], point[ROUNDING], point[TAP], point[MODULUS]
    level_min, level_max = point[LEVEL_MIN], point[LEVEL_MAX]
    sigma = math.sqrt(variance)
    unclipped = (mean * tap + rounding) / scale
    centre = min(max(unclipped, level_min - 1.0), level_max + 1.0)
    offset = index - 32768.0
    nearest = nearest_level(centre, offset, point)
    if nearest == NO_LEVEL:
        return mean, variance, nearest, 0.0
    per_sigma = scale / (abs(tap) * sigma)
    distance = abs(nearest + 0.5 - unclipped) * per_sigma
    if distance > FAR_CELLS:
        return far_cells(mean, sigma, offset + modulus * np.floor((centre - offset) / modulus), point)
    reach = math.sqrt(distance * distance + REACH_SQUARED) / per_sigma + 0.5
    if 2.0 * reach > MAX_CELLS * modulus:
        return mean, variance, nearest, 0.0
    level = nearest - modulus * np.floor((nearest + 0.5 - max(centre - reach, level_min)) / modulus)
    last = min(centre + reach - 0.5, level_max)
    total, value, moment, best, best_mass = 0.0, 0.0, 0.0, float(NO_LEVEL), 0.0
    inverse = 1.0 / sigma
    while level <= last:
        low, high = level_cell(level, scale, rounding, tap)
        mass, shift, spread = near_interval((low - mean) * inverse, (high - mean) * inverse)
        level += modulus
        if not (high > low and mass > 0.0):
            continue
        total += mass
        gap = shift - value
        value += gap * mass / total
        moment += mass * (spread + gap * (shift - value))
        if mass > best_mass:
            best, best_mass = level - modulus, mass
    if best == NO_LEVEL:
        return far_cells(mean, sigma, offset + modulus * np.floor((centre - offset) / modulus), point)
    return mean + sigma * value, variance * moment / total, best, best_mass / total


@njit(cache=True)
def keep_within(value, low, high, max_error):
    """`value`, moved so that no code of the cell [low, high] is further than `max_error` away (or to the centre)."""
    lowest, highest = high - 0.5 - max_error, low + 0.5 + max_error
    if lowest > highest:
        return 0.5 * (low + high)
    return min(max(value, lowest), highest)


@njit(cache=True)
def to_units(values, sigmas, scale, offset):
    """LSB to sensor units, in place."""
    for n in range(values.size):
        values[n] = values[n] * scale + offset
        sigmas[n] *= scale
