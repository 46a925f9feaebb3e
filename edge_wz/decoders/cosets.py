"""Gaussian beliefs cut to the four cosets of each sample: their masses for the code, and what is believed once the code has spoken.

Cells of cosets take turns: level `low`, q levels further the next coset, and so on: a comb. Where its cells are alike and narrow, all samples of
a packet are done together, one cell of the comb after the other, three points to a cell. Elsewhere (at the ends of the range, for steps
of a few LSB, far out in a tail) each coset is summed level by level as in `decoders.cells`.

`point`: a row of rate points as in `cells`, with MODULUS = 4q; `lows`: low bits of the levels.
"""

import math

import numpy as np
from numba import njit

from edge_wz.decoders.cells import (
    LEVEL_MAX,
    LEVEL_MIN,
    MAX_CELLS,
    MODULUS,
    NO_LEVEL,
    REACH_SQUARED,
    ROUNDING,
    SCALE,
    TAP,
    level_cell,
    near_interval,
    nearest_level,
    tail_interval,
)

FAR_SIGMAS = 30.0  # to the nearest cell of any coset from where on masses are relative: near 38 they underflow
LEAST_VARIANCE = 1e-4  # LSB^2, of what is believed: sources are integers
WIDE_LSB = 16.0  # cells from this width on are taken as all alike, whatever integers they hold
NARROW_SIGMAS = 2.0  # width of a cell up to which three points integrate a Gaussian over it
LEAST_APART, MOST_APART = 0.3, 12.0  # sigmas between cells of neighbouring cosets within which a comb is worth it
REACH_SIGMAS = 6.0
NODE = 0.3872983346207417  # Gauss-Legendre, three points: half the root of 3/5 of the width, weights 5 : 8 : 5
ROUNDER = 6755399441055744.0  # 1.5 * 2^52
BEST, SHARE = 0, 1  # columns of `best`: the likeliest level of a coset, and its share of the coset's mass

# Rows of a comb, one column per sample: sigma of the belief, then in such sigmas the offset of the outer points, the way from cell
# to cell, and the way from the mean to the nearest cell; its level; four rows of masses or shares, by distance from it mod 4; three of
# moments; the best cell.
SIGMA, OFFSET, APART, CENTRE, LEVEL, FOLDED, TOTAL, VALUE, MOMENT, BEST_CELL, BEST_WEIGHT = 0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13
COMB_ROWS = 14


@njit(cache=True, error_model="numpy")
def exponential(x):
    """exp to nine digits within +-700, by arithmetic that compilers turn into vectors: adding ROUNDER leaves an integer in the low bits."""
    bits = min(max(x, -700.0), 700.0) * 1.4426950408889634
    shifted = bits + ROUNDER
    f = (bits - (shifted - ROUNDER)) * 0.6931471805599453
    series = 1.0 + f * (1.0 + f * (1 / 2 + f * (1 / 6 + f * (1 / 24 + f * (1 / 120 + f * (1 / 720 + f * (1 / 5040 + f / 40320)))))))
    return series * np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)


@njit(cache=True, error_model="numpy")
def _coset_near(mean, sigma, nearest, centre, per_sigma, point, mass, means, variances, best, z):
    """One coset by its cells within reach of the nearest one; `mass` 0 if that one is too far."""
    scale, rounding, tap, period = point[SCALE], point[ROUNDING], point[TAP], point[MODULUS]
    distance = (nearest - centre) * per_sigma
    reach = math.sqrt(distance * distance + REACH_SQUARED)
    total, value, moment, best_mass = 0.0, 0.0, 0.0, 0.0
    best[BEST] = nearest
    level, step = nearest, -period
    while True:
        low, high = level_cell(level, scale, rounding, tap)
        a, b = (low - mean) / sigma, (high - mean) / sigma
        if high > low and a < 35.0 and b > -35.0:
            weight, shift, spread = near_interval(a, b)
            if weight > 0.0:
                total += weight
                gap = shift - value
                value += gap * weight / total
                moment += weight * (spread + gap * (shift - value))
                if weight > best_mass:
                    best[BEST], best_mass = level, weight
        level += step
        if abs(level - centre) * per_sigma > reach or level < point[LEVEL_MIN] or level > point[LEVEL_MAX]:
            if step > 0.0:
                break
            step, level = period, nearest + period
            if abs(level - centre) * per_sigma > reach or level > point[LEVEL_MAX]:
                break
    mass[z] = total
    if total > 0.0:
        means[z], variances[z] = mean + sigma * value, sigma * sigma * moment / total
        best[SHARE] = best_mass / total
    else:
        low, high = level_cell(nearest, scale, rounding, tap)
        means[z], variances[z], best[SHARE] = 0.5 * (low + high), (high - low) * (high - low) / 12.0, 1.0


@njit(cache=True, error_model="numpy")
def _coset_far(mean, sigma, nearest, reference, point, mass, means, variances, best, z):
    """The same when no cell of any coset is near: the nearest one alone, its mass relative to a tail `reference` sigmas out."""
    low, high = level_cell(nearest, point[SCALE], point[ROUNDING], point[TAP])
    a, b, side = (low - mean) / sigma, (high - mean) / sigma, 1.0
    if a < 0.0:
        a, b, side = -b, -a, -1.0
    a, b = max(a, 4.0), max(b, 4.001)
    weight, shift, spread = tail_interval(a, max(b, a + 1e-6))
    mass[z] = weight * math.exp(max(0.5 * (reference * reference - a * a), -700.0))
    means[z], variances[z] = mean + side * sigma * shift, spread * sigma * sigma
    best[BEST], best[SHARE] = nearest, 1.0


@njit(cache=True, error_model="numpy")
def coset_moments(mean, variance, low, point, mass, means, variances, best):
    """Of N(mean, variance) cut to the cells of each of four cosets: mass, mean, variance; best[z]: its likeliest level."""
    quarter = 0.25 * point[MODULUS]
    sigma = math.sqrt(variance)
    per_sigma = point[SCALE] / (abs(point[TAP]) * sigma)
    unclipped = (mean * point[TAP] + point[ROUNDING]) / point[SCALE]
    clipped = min(max(unclipped, point[LEVEL_MIN] - 1.0), point[LEVEL_MAX] + 1.0)
    closest = 1e300
    for z in range(4):
        best[z, BEST] = nearest_level(clipped, low + quarter * z - 32768.0, point)
        if best[z, BEST] != NO_LEVEL:
            closest = min(closest, abs(best[z, BEST] + 0.5 - unclipped))
    reference = (closest - 0.5) * per_sigma
    vague = MAX_CELLS * point[MODULUS] * per_sigma < 10.0
    for z in range(4):
        nearest = best[z, BEST]
        if nearest == NO_LEVEL or vague:
            mass[z], means[z], variances[z], best[z, SHARE] = 1.0 if vague else 0.0, mean, variance, 0.0
        elif reference > FAR_SIGMAS:
            _coset_far(mean, sigma, nearest, reference, point, mass, means, variances, best[z], z)
        else:
            _coset_near(mean, sigma, nearest, unclipped - 0.5, per_sigma, point, mass, means, variances, best[z], z)


@njit(cache=True, error_model="numpy")
def lay_comb(means, variances, slots, lows, point, comb):
    """Rows SIGMA to LEVEL for the beliefs means[slots[i]], variances[slots[i]]; CENTRE is NaN where a comb does not do.

    Returns how many cells to look at on each side."""
    quarter, count = 0.25 * point[MODULUS], slots.shape[0]
    slope, shift, step = point[TAP] / point[SCALE], point[ROUNDING] / point[SCALE], point[SCALE] / abs(point[TAP])
    closest = MOST_APART
    for i in range(count):
        sigma = math.sqrt(variances[slots[i]])
        width = step / sigma
        apart = quarter * width
        unclipped = means[slots[i]] * slope + shift
        level = lows[i] + quarter * np.rint((unclipped - 0.5 + 32768.0 - lows[i]) / quarter) - 32768.0
        inside = min(level - point[LEVEL_MIN], point[LEVEL_MAX] - level) * width > REACH_SIGMAS + 2.0 * apart
        alike = inside and width < NARROW_SIGMAS and LEAST_APART < apart < MOST_APART
        comb[SIGMA, i], comb[OFFSET, i], comb[APART, i], comb[LEVEL, i] = sigma, NODE * width, apart, level
        comb[CENTRE, i] = (level + 0.5 - unclipped) * width if alike else math.nan
        closest = min(closest, apart if alike else MOST_APART)
    if step < WIDE_LSB:
        comb[CENTRE, :count] = math.nan
    return max(2, int(math.ceil(REACH_SIGMAS / closest)))


@njit(cache=True, error_model="numpy")
def _add_masses(k, centres, apart, offsets, folded):
    for i in range(centres.shape[0]):
        at, offset = centres[i] + k * apart[i], offsets[i]
        left, bell = exponential(at * offset), 5.0 * exponential(-0.5 * offset * offset)
        folded[i] += exponential(-0.5 * at * at) * (8.0 + bell * (left + 1.0 / left))


@njit(cache=True, error_model="numpy")
def coset_masses(means, variances, slots, lows, point, least, comb, masses, floored, scratch):
    """masses[i, z] of each belief in each coset, the largest 1; `floored`: the same, at least `least`. Returns how far the comb reaches."""
    count, quarter = slots.shape[0], 0.25 * point[MODULUS]
    reach = lay_comb(means, variances, slots, lows, point, comb)
    comb[FOLDED : FOLDED + 4, :count] = 0.0
    for k in range(-reach, reach + 1):
        _add_masses(float(k), comb[CENTRE, :count], comb[APART, :count], comb[OFFSET, :count], comb[FOLDED + (k & 3), :count])
    for i in range(count):
        if math.isnan(comb[CENTRE, i]):
            moments = scratch[2:].reshape((4, 2))
            coset_moments(means[slots[i]], variances[slots[i]], lows[i], point, masses[i], scratch[0], scratch[1], moments)
        else:
            turn = int((comb[LEVEL, i] + 32768.0 - lows[i]) / quarter)
            for j in range(4):
                masses[i, (turn + j) & 3] = comb[FOLDED + j, i]
        largest = max(max(masses[i, 0], masses[i, 1]), max(masses[i, 2], masses[i, 3]))
        scale = 1.0 / largest if largest > 1e-300 else 0.0
        for z in range(4):
            masses[i, z] *= scale
            floored[i, z] = max(masses[i, z], least)
    return reach


@njit(cache=True, error_model="numpy")
def _add_moments(k, centres, apart, offsets, shares, totals, values, moments, best, best_weights):
    for i in range(centres.shape[0]):
        at, offset = centres[i] + k * apart[i], offsets[i]
        left, bell = exponential(at * offset), 5.0 * exponential(-0.5 * offset * offset)
        right, density = 1.0 / left, shares[i] * exponential(-0.5 * at * at)
        zeroth, first, second = 8.0 + bell * (left + right), bell * offset * (right - left), bell * offset * offset * (left + right)
        weight = density * zeroth
        totals[i] += weight
        values[i] += density * (at * zeroth + first)
        moments[i] += density * (at * at * zeroth + 2.0 * at * first + second)
        better = weight > best_weights[i]
        best[i] = k if better else best[i]
        best_weights[i] = weight if better else best_weights[i]


@njit(cache=True, error_model="numpy")
def given_code(means, variances, slots, lows, point, posteriors, reach, comb, masses, scratch, values, spreads, levels, weights):
    """Mean, variance, likeliest level and its weight of each belief cut to all cells, cosets weighing posteriors[i, z]; after `coset_masses`."""
    count, quarter, side = slots.shape[0], 0.25 * point[MODULUS], 1.0 if point[TAP] > 0 else -1.0
    for i in range(count):
        turn = int((comb[LEVEL, i] + 32768.0 - lows[i]) / quarter)
        for j in range(4):
            z = (turn + j) & 3
            comb[FOLDED + j, i] = posteriors[i, z] / max(masses[i, z], 1e-300)
    comb[TOTAL:COMB_ROWS, :count] = 0.0
    for k in range(-reach, reach + 1):
        _add_moments(
            float(k), comb[CENTRE, :count], comb[APART, :count], comb[OFFSET, :count], comb[FOLDED + (k & 3), :count],
            comb[TOTAL, :count], comb[VALUE, :count], comb[MOMENT, :count], comb[BEST_CELL, :count], comb[BEST_WEIGHT, :count],
        )  # fmt: skip
    for i in range(count):
        n = slots[i]
        if comb[TOTAL, i] > 0.0:
            value = comb[VALUE, i] / comb[TOTAL, i]
            spread = max(comb[MOMENT, i] / comb[TOTAL, i] - value * value, 0.0)
            values[n], spreads[n] = means[n] + side * comb[SIGMA, i] * value, spread * comb[SIGMA, i] * comb[SIGMA, i]
            levels[n], weights[i] = int(comb[LEVEL, i] + quarter * comb[BEST_CELL, i]), comb[BEST_WEIGHT, i] / comb[TOTAL, i]
        else:
            values[n], spreads[n], level, weights[i] = _mixture(means[n], variances[n], lows[i], point, posteriors[i], scratch)
            levels[n] = int(level)
        spreads[n] = max(spreads[n], LEAST_VARIANCE)


@njit(cache=True, error_model="numpy")
def _mixture(mean, variance, low, point, posterior, scratch):
    """`given_code` by the moments of each coset."""
    mass, means, variances, best = np.empty(4), scratch[0], scratch[1], scratch[2:].reshape((4, 2))
    coset_moments(mean, variance, low, point, mass, means, variances, best)
    value, spread = 0.0, 0.0
    for z in range(4):
        value += posterior[z] * means[z]
    for z in range(4):
        gap = means[z] - value
        spread += posterior[z] * (variances[z] + gap * gap)
    likeliest = np.argmax(posterior)
    return value, spread, best[likeliest, BEST], posterior[likeliest] * best[likeliest, SHARE]
