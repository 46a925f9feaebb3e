"""Packets of `trellis` to samples: expectation propagation between a Gaussian smoother and a circular BCJR.

    cavities (smoother) -> masses and moments of the four cosets of each sample -> BCJR -> mean and variance given the code
    -> sites, and again

One round is enough where neighbours tell nearly all; more rounds let the packet's own samples help each other. Unlike
`decoders.kalman`, nothing is decided before the packet is there, and unlike `decoders.refinement`, its cells are not yet known.

Reference: Minka, "Expectation propagation for approximate Bayesian inference" (2001).
"""

import math

import numpy as np
from numba import njit

from edge_wz.decoders import bcjr, smoother
from edge_wz.decoders.cells import (
    CONCEALED,
    LEVEL_MAX,
    LEVEL_MIN,
    MAX_CELLS,
    MODULUS,
    NO_LEVEL,
    REACH_SQUARED,
    RESOLVED,
    ROUNDING,
    SCALE,
    SURE,
    SUSPECT,
    TAP,
    keep_within,
    level_cell,
    near_interval,
    nearest_level,
    tail_interval,
)

FAR_SIGMAS = 30.0  # to the nearest cell of any coset from where on masses are relative: near 38 they underflow
TOLD = 0.999  # a site is kept if the code narrowed the variance to less than this share
LEAST_VARIANCE = 1e-4  # LSB^2, of a site: sources are integers
WIDE_LSB = 16.0  # cells from this width on are taken as all alike, whatever integers they hold
NARROW_SIGMAS = 2.0  # width of a cell up to which three points integrate a Gaussian over it
APART_SIGMAS = 16.0  # cells of neighbouring cosets further apart than this: the tails need care
REACH_SIGMAS = 6.0
NODE = 0.3872983346207417  # Gauss-Legendre, three points: half the root of 3/5 of the width, weights 5 : 8 : 5
BEST, SHARE = 0, 1  # columns of `best`: the likeliest level of a coset, and its share of the coset's mass


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def _cosets_alike(mean, sigma, nearest, centre, coset, width, apart, level_step, mass, means, variances, best):
    """All four cosets at once, when their cells are alike, narrow, and evenly apart; lengths in sigmas.

    The density at cell k from the nearest is that at the nearest times first * between^k * square^(k^2): products, where
    `_coset_near` takes exponentials. Masses have a common factor.
    """
    reach = max(2, int(math.ceil(REACH_SIGMAS / abs(apart))))
    node = NODE * width
    bell = 5.0 * math.exp(-0.5 * node * node)
    start, between, square = math.exp(centre * node), math.exp(apart * node), math.exp(-apart * apart)
    start_right, between_right = 1.0 / start, 1.0 / between
    for z in range(4):
        mass[z], means[z], variances[z], best[z, BEST], best[z, SHARE] = 0.0, 0.0, 0.0, nearest, 0.0
    for direction in (1, -1):
        step = direction * apart
        growth, growth_right = (between, between_right) if direction > 0 else (between_right, between)
        density, left, right, at = 1.0, start, start_right, centre
        ratio = math.exp(-step * centre - 0.5 * apart * apart)
        for k in range(0, reach + 1):
            if k > 0:
                density *= ratio
                ratio *= square
                left *= growth
                right *= growth_right
                at += step
                if density < 1e-13 and k > 2:
                    break
            elif direction < 0:
                continue
            zeroth = 8.0 + bell * (left + right)
            first = bell * node * (right - left)
            second = bell * node * node * (left + right)
            z = (coset + direction * k) & 3
            weight = density * zeroth
            mass[z] += weight
            means[z] += density * (at * zeroth + first)
            variances[z] += density * (at * at * zeroth + 2.0 * at * first + second)
            if weight > best[z, SHARE]:
                best[z, BEST], best[z, SHARE] = nearest + direction * k * level_step, weight
    for z in range(4):
        if mass[z] > 0.0:
            scale = 1.0 / mass[z]
            value = means[z] * scale
            best[z, SHARE] *= scale
            variances[z] = sigma * sigma * max(variances[z] * scale - value * value, 0.0)
            means[z] = mean + sigma * value
        else:
            means[z], variances[z] = mean, sigma * sigma


@njit(cache=True)
def coset_moments(mean, variance, low, point, mass, means, variances, best):
    """Of N(mean, variance) cut to the cells of each of four cosets: mass, mean, variance; best[z]: its likeliest level.

    `point`: as in `cells`, with MODULUS = 4q; `low`: low bits of the level.
    """
    quarter = 0.25 * point[MODULUS]
    sigma = math.sqrt(variance)
    per_sigma = point[SCALE] / (abs(point[TAP]) * sigma)
    unclipped = (mean * point[TAP] + point[ROUNDING]) / point[SCALE]
    clipped = min(max(unclipped, point[LEVEL_MIN] - 1.0), point[LEVEL_MAX] + 1.0)
    width, apart = per_sigma, quarter * per_sigma
    if width * sigma >= WIDE_LSB and width < NARROW_SIGMAS and 0.3 < apart < APART_SIGMAS:
        turn = np.rint((unclipped - 0.5 + 32768.0 - low) / quarter)
        nearest = low + quarter * turn - 32768.0
        edge = quarter * max(2.0, math.ceil(REACH_SIGMAS / apart))
        if nearest - edge >= point[LEVEL_MIN] and nearest + edge <= point[LEVEL_MAX]:
            side = 1.0 if point[TAP] > 0 else -1.0
            _cosets_alike(
                mean, sigma, nearest, side * (nearest + 0.5 - unclipped) * per_sigma, int(turn) & 3, width, side * apart,
                quarter, mass, means, variances, best,
            )  # fmt: skip
            return
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
            _coset_near(
                mean, sigma, nearest, unclipped - 0.5, per_sigma, point, mass, means, variances, best[z], z
            )


@njit(cache=True)
def _given_code(posterior, means, variances):
    """Mean and variance of the mixture of four cosets."""
    value = 0.0
    for z in range(4):
        value += posterior[z] * means[z]
    spread = 0.0
    for z in range(4):
        gap = means[z] - value
        spread += posterior[z] * (variances[z] + gap * gap)
    return value, max(spread, LEAST_VARIANCE)


@njit(cache=True)
def decode_packet(
    state, F, G, mean, side, side_sigmas, indices, point, tables, memory, rounds, max_error, space, values, sigmas, flags, levels
):
    """All samples of one packet; `state` becomes that behind it. indices: int32[T], NO_LEVEL where nothing was received."""
    samples = indices.shape[0]
    (store, site_means, site_variances, cavity_means, cavity_variances, slots, lows, syndromes, masses, means, variances, best,
     posteriors, alphas) = space  # fmt: skip
    site_means, site_variances = site_means[:samples], site_variances[:samples]
    after = np.empty_like(state)
    count = 0
    for n in range(samples):
        site_means[n], site_variances[n] = 0.0, np.inf
        if indices[n] != NO_LEVEL:
            slots[count], lows[count], syndromes[count] = n, indices[n] >> 1, indices[n] & 1
            count += 1
    for _ in range(rounds if count > 0 else 1):
        smoother.smooth_packet(
            state, F, G, mean, side, side_sigmas, site_means, site_variances, cavity_means, cavity_variances, store, after
        )
        for i in range(count):
            n = slots[i]
            coset_moments(cavity_means[n], cavity_variances[n], lows[i], point, masses[i], means[i], variances[i], best[i])
        bcjr.coset_posteriors(
            masses[:count], syndromes[:count], tables[0], tables[1], tables[2], tables[3], memory, alphas, posteriors[:count]
        )
        for i in range(count):
            n = slots[i]
            value, variance = _given_code(posteriors[i], means[i], variances[i])
            values[n], sigmas[n] = value, variance
            site_variances[n] = np.inf
            if variance < TOLD * cavity_variances[n]:
                site_variances[n] = 1.0 / (1.0 / variance - 1.0 / cavity_variances[n])
                site_means[n] = site_variances[n] * (value / variance - cavity_means[n] / cavity_variances[n])
    if count > 0 and count < samples:
        smoother.smooth_packet(
            state, F, G, mean, side, side_sigmas, site_means, site_variances, cavity_means, cavity_variances, store, after
        )
    elif count > 0:
        smoother.filter_packet(state, F, G, mean, side, side_sigmas, site_means, site_variances, store, after)
    state[:] = after
    for n in range(samples):
        if indices[n] == NO_LEVEL:
            values[n], sigmas[n], flags[n], levels[n] = cavity_means[n], math.sqrt(cavity_variances[n]), CONCEALED, NO_LEVEL
    for i in range(count):
        n = slots[i]
        z = np.argmax(posteriors[i])
        level = best[i, z, BEST]
        sigmas[n] = math.sqrt(sigmas[n])
        flags[n] = RESOLVED
        if level == NO_LEVEL or posteriors[i, z] * best[i, z, SHARE] < SURE:
            flags[n] |= SUSPECT
        levels[n] = int(level)
        if max_error >= 0.0 and level != NO_LEVEL:
            low, high = level_cell(level, point[SCALE], point[ROUNDING], point[TAP])
            values[n] = keep_within(values[n], low, high, max_error)


@njit(cache=True)
def decode(
    state, F, G, mean, indices, rate_points, edges, points, tables, memory, rounds, max_error, side, side_sigmas,
    values, sigmas, flags, levels,
):  # fmt: skip
    """Packets edges[p] .. edges[p+1] in a row; `state` goes along."""
    longest = 1
    for p in range(edges.shape[0] - 1):
        longest = max(longest, edges[p + 1] - edges[p])
    space = (
        np.empty((longest, smoother.store_size(F.shape[1], side.shape[1]))),
        np.empty(longest), np.empty(longest), np.empty(longest), np.empty(longest),
        np.empty(longest, np.int64), np.empty(longest), np.empty(longest, np.int64),
        np.empty((longest, 4)), np.empty((longest, 4)), np.empty((longest, 4)), np.empty((longest, 4, 2)),
        np.empty((longest, 4)), np.empty((longest + 2, 1 << memory)),
    )  # fmt: skip
    for p in range(edges.shape[0] - 1):
        a, b = edges[p], edges[p + 1]
        if b > a:
            decode_packet(
                state, F, G, mean, side[a:b], side_sigmas[a:b], indices[a:b], points[rate_points[a]], tables, memory, rounds,
                max_error, space, values[a:b], sigmas[a:b], flags[a:b], levels[a:b],
            )  # fmt: skip
