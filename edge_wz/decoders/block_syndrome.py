"""Packets of `syndrome` to samples: what neighbours say of each sample, the polar code over bit planes, the posterior mean in the resolved cell.

    cavities (smoother) -> masses of the cells that the low bits leave -> ratios of the bit planes -> successive cancellation, then lists, until the
    block check holds -> levels -> mean and variance within the cells

Unlike `decoders.trellis`, which weighs all cosets and iterates, this resolves a whole packet or tells that it could not: then a sample is the
best path's or, if that is expected to be closer, the mean given low bits and neighbours alone, and the packet says nothing to the next one.
Longer lists cost little, because only what the shorter ones left undone comes to them.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from edge_wz.decoders import polar_list, single, smoother
from edge_wz.decoders.cells import (
    CONCEALED,
    LEVEL_MAX,
    LEVEL_MIN,
    NO_LEVEL,
    RESOLVED,
    ROUNDING,
    SCALE,
    SUSPECT,
    TAP,
    cut,
    keep_within,
    level_cell,
    near_interval,
    nearest_level,
)
from edge_wz.kernels.polar import check_start, check_step

LISTS = np.array([1, 8, 32, 128])  # paths, one attempt after the other
# What is held against the check: each wrong path of a packet that is, is one more chance for an error that nobody notices.
CHECKED = 8  # paths of an attempt, the likeliest first
LIKELY = 7.0  # and none that is worse than the best by more (ln)
REACH_SQUARED = 60.0  # a cell is skipped if its density is less than exp(-30) of the nearest one's
NEAR_SIGMAS = 30.0  # to the nearest cell up to which masses do not underflow
TOLD = 0.999  # as in `decoders.trellis`
LEAST_VARIANCE = 1e-4
WIDE_LSB = 16.0  # cells from this width on are taken as all alike, whatever integers they hold
NARROW_SIGMAS = 2.5  # width of a cell up to which three points integrate a Gaussian over it
APART_SIGMAS = 9.0  # and no further apart: its square is what `single.exp` can take
FAR_SIGMAS = 4.0  # and no further from the mean
NODE = 0.3872983346207417  # Gauss-Legendre, three points: half the root of 3/5 of the width, weights 5 : 8 : 5
VARIANCE, REACH, FAR, WIDTH, NODE_AT, BELL, APART, GROWTH, SHRINK, SQUARE, COMB_SIZE = range(11)  # of `_comb`; the first three in row 0
UNTOLD_PERIODS = 4.0  # of the planes' period within two sigmas: they say nothing about the period


@njit(cache=True, error_model="numpy")
def _comb(variance, point, q, density, combs):
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
    combs[0, FAR] = FAR_SIGMAS * least / unit if alike else -1.0


@njit(cache=True, error_model="numpy")
def _comb_masses(distance, q, first, reach, weight, comb, column):
    """Add one Gaussian's masses of every q-th cell, all of one width, up to `reach`; the nearest one lies off by `distance` and is of w = `first`.

    The density at cell k from the nearest is that at the nearest times ratio_1 .. ratio_k, ratio_k+1 = ratio_k square: products in place of
    exponentials, and three points per cell.
    """
    width, node, bell, apart, square = comb[WIDTH], comb[NODE_AT], comb[BELL], comb[APART], comb[SQUARE]
    centre, last = (distance if apart > 0.0 else -distance) * width, column.shape[0] - 1
    start, up = np.float64(single.exp(centre * node)), np.float64(single.exp(-apart * centre - 0.5 * apart * apart))
    scale, back = weight * width * single.exp(-0.5 * centre * centre), 1.0 / start
    column[first & last] += scale * (8.0 + bell * (start + back))
    for direction in (1, -1):
        growth, shrink = (comb[GROWTH], comb[SHRINK]) if direction > 0 else (comb[SHRINK], comb[GROWTH])
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
        _comb(variance, point, q, density, combs)
    offset, centre = low - 32768.0, (mean * point[TAP] + point[ROUNDING]) / point[SCALE] - 0.5
    turn = np.rint((centre - offset) / q)
    distance = offset + q * turn - centre
    reach = combs[0, REACH] + abs(distance)
    if abs(distance) < combs[0, FAR] and centre - reach > point[LEVEL_MIN] and centre + reach < point[LEVEL_MAX]:
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
def level_of(mean, low, q, w, point):
    """The level nearest to `mean` with these low bits and planes, or NO_LEVEL."""
    centre = (mean * point[TAP] + point[ROUNDING]) / point[SCALE]
    return nearest_level(min(max(centre, point[LEVEL_MIN]), point[LEVEL_MAX] + 1.0), low + q * w - 32768.0, point)


@njit(cache=True, error_model="numpy")
def _check_of(means, lows, count, q, planes, point, check_bits, levels):
    """The block check of one path, whose levels it writes; -1 if one does not exist."""
    r = check_start(check_bits)
    for i in range(count):
        level = level_of(means[i], lows[i], q, planes[i], point)
        levels[i] = level
        if level == NO_LEVEL:
            return -1
        r = check_step(r, np.int64(level) + 32768, check_bits)
    return r >> (16 - check_bits)


@njit(cache=True, error_model="numpy")
def resolve(trees, count, code, shifts, means, lows, q, point, check_bits, wanted, space, levels):
    """The levels of a block, if its check holds, else those of the best path. Returns how many paths were held against it, negative if none passed.

    `wanted` -1: no check to hold against."""
    steps, edges, level_of_transform = code
    values, metrics, best, tree_space = space
    tries = 0
    for size in LISTS:
        if wanted < 0 and size < LISTS[1]:
            continue
        paths = polar_list.decode(trees, count, level_of_transform, steps, edges, shifts, size, tree_space, values, metrics)
        least = np.min(metrics[:paths])
        for attempt in range(min(paths, CHECKED)):
            l = np.argmin(metrics[:paths])
            if metrics[l] > least + LIKELY:
                break
            metrics[l] = np.inf
            found = _check_of(means, lows, count, q, values[l], point, check_bits, best)
            tries += 1
            if attempt == 0:
                levels[:count] = best[:count]
            if wanted < 0 or found == wanted:
                levels[:count] = best[:count]
                return tries
    return -tries


@njit(cache=True, error_model="numpy")
def coset_shifts(indices, slots, count, low_bits, sent, shifts):
    """uint8[P, n]: for each plane the bits of the vector whose transform is what was sent, and 0 where nothing was."""
    shifts[:] = 0
    for p in range(sent.shape[0]):
        for i in range(count):
            if sent[p, i]:
                shifts[p, i] = (indices[slots[i]] >> (low_bits + p)) & 1
        polar_list.transform(shifts[p])


@njit(cache=True, error_model="numpy")
def _within_cells(cavities, slots, count, levels, density, point, values, variances):
    """Posterior mean and variance of each sample in its cell."""
    for i in range(count):
        n = slots[i]
        low, high = level_cell(levels[i], point[SCALE], point[ROUNDING], point[TAP])
        if density.shape[0] == 1:
            values[n], variances[n] = cut(cavities[0, n], cavities[1, n] * density[0, 1], low, high)
            continue
        total, value, moment = 0.0, 0.0, 0.0
        for k in range(density.shape[0]):
            variance = cavities[1, n] * density[k, 1]
            sigma = math.sqrt(variance)
            a, b = (low - cavities[0, n]) / sigma, (high - cavities[0, n]) / sigma
            mass = density[k, 0] * max(near_interval(a, b)[0] if abs(a) < NEAR_SIGMAS else 0.0, 1e-250)
            here, spread = cut(cavities[0, n], variance, low, high)
            total += mass
            gap = here - value
            value += gap * mass / total
            moment += mass * (spread + gap * (here - value))
        values[n], variances[n] = value, moment / total


@njit(cache=True, error_model="numpy")
def _set_sites(cavities, slots, count, values, variances, sites):
    for i in range(count):
        n = slots[i]
        variance = max(variances[n], LEAST_VARIANCE)
        if variance < TOLD * cavities[1, n]:
            sites[1, n] = 1.0 / (1.0 / variance - 1.0 / cavities[1, n])
            sites[0, n] = sites[1, n] * (values[n] / variance - cavities[0, n] / cavities[1, n])


@njit(cache=True, error_model="numpy")
def _unresolved(count, slots, lows, q, cavities, density, point, masses, path_mse, levels, values, variances):
    """The best path's samples or the means given low bits alone, whichever is expected to be closer."""
    expected, exist = 0.0, True
    for i in range(count):
        n = slots[i]
        values[n], variances[n] = cell_masses(cavities[0, n], cavities[1, n], lows[i], q, point, density, masses)
        expected += variances[n]
        exist = exist and levels[i] != NO_LEVEL
    if exist and expected > path_mse * count:
        _within_cells(cavities, slots, count, levels, density, point, values, variances)
        for i in range(count):
            variances[slots[i]] += path_mse


@njit(cache=True, error_model="numpy")
def _gather(indices, q, slots, lows):
    """The received samples of a packet; their number."""
    count = 0
    for n in range(indices.shape[0]):
        if indices[n] != NO_LEVEL:
            slots[count], lows[count] = n, indices[n] & (q - 1)
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def _resolve_packet(indices, count, check, cavities, point, low_bits, sent, code, check_bits, density, space):
    """Levels of the received samples; whether they are sure."""
    _, _, slots, lows, means, masses, trees, shifts, found, resolve_space = space
    combs = combs_for(density)
    for i in range(count):
        n = slots[i]
        means[i] = cavities[0, n]
        weigh(cavities[0, n], cavities[1, n], lows[i], 1 << low_bits, point, density, combs, masses, trees[:, i])
    polar_list.llr_trees(trees, count)
    coset_shifts(indices, slots, count, low_bits, sent, shifts)
    return resolve(trees, count, code, shifts, means, lows, 1 << low_bits, point, check_bits, check, resolve_space, found) > 0


@njit(cache=True, error_model="numpy")
def _finish(indices, cavities, slots, count, found, sure, point, max_error, values, sigmas, flags, levels):
    for n in range(indices.shape[0]):
        if indices[n] == NO_LEVEL:
            values[n], sigmas[n], flags[n], levels[n] = cavities[0, n], math.sqrt(cavities[1, n]), CONCEALED, NO_LEVEL
    for i in range(count):
        n = slots[i]
        sigmas[n] = math.sqrt(sigmas[n])
        flags[n] = RESOLVED if sure else RESOLVED | SUSPECT
        levels[n] = np.int64(found[i])
        if max_error >= 0.0 and sure:
            low, high = level_cell(found[i], point[SCALE], point[ROUNDING], point[TAP])
            values[n] = keep_within(values[n], low, high, max_error)


@njit(cache=True, error_model="numpy")
def decode_packet(
    dims, state, F, G, mean, side, side_sigmas, indices, check, point, low_bits, sent, code, check_bits, density, path_mse, rounds, max_error,
    space, values, sigmas, flags, levels,
):  # fmt: skip
    """All samples of one packet; `state` becomes that behind it. dims: of `smoother`; indices: int32[T], NO_LEVEL where nothing was received."""
    samples = indices.shape[0]
    store, gaussians, slots, lows, _, masses, _, _, found, _ = space
    cavities, sites, after = gaussians[:2, :samples], gaussians[2:, :samples], np.empty_like(state)
    sites[0], sites[1] = 0.0, np.inf
    count = _gather(indices, 1 << low_bits, slots, lows)
    smoother.smooth_packet(dims, state, F, G, mean, side, side_sigmas, sites[0], sites[1], cavities[0], cavities[1], store, after)
    sure = False
    if count > 0:
        sure = _resolve_packet(indices, count, check, cavities, point, low_bits, sent, code, check_bits, density, space)
    if sure:
        _within_cells(cavities, slots, count, found, density, point, values, sigmas)
        _set_sites(cavities, slots, count, values, sigmas, sites)
        if rounds > 1 or count < samples:
            smoother.smooth_packet(dims, state, F, G, mean, side, side_sigmas, sites[0], sites[1], cavities[0], cavities[1], store, after)
            _within_cells(cavities, slots, count, found, density, point, values, sigmas)
        else:
            smoother.filter_packet(dims, state, F, G, mean, side, side_sigmas, sites[0], sites[1], store, after)
    elif count > 0:
        _unresolved(count, slots, lows, 1 << low_bits, cavities, density, point, masses, path_mse, found, values, sigmas)
    state[:] = after
    _finish(indices, cavities, slots, count, found, sure, point, max_error, values, sigmas, flags, levels)


@njit(cache=True, error_model="numpy")
def decode(
    dims, state, F, G, mean, indices, edges, checks, point, low_bits, sent, code, check_bits, density, path_mse, rounds, max_error, side,
    side_sigmas, space, values, sigmas, flags, levels,
):  # fmt: skip
    """Packets edges[p] .. edges[p+1] in a row, all of one rate point and one number of received samples; `state` goes along."""
    for p in range(edges.shape[0] - 1):
        a, b = edges[p], edges[p + 1]
        if b > a:
            decode_packet(
                dims, state, F, G, mean, side[a:b], side_sigmas[a:b], indices[a:b], checks[p], point, low_bits, sent, code, check_bits,
                density, path_mse, rounds, max_error, space, values[a:b], sigmas[a:b], flags[a:b], levels[a:b],
            )  # fmt: skip


def workspace(longest: int, d: int, m: int, planes: int, level: int) -> tuple[Any, ...]:
    """For packets of up to `longest` samples, `planes` planes, and a transform of 2^level positions."""
    n, most = 1 << level, int(LISTS[-1])
    return (
        np.empty((longest, smoother.store_size(d, m))), np.empty((4, longest)), np.empty(longest, np.int64), np.empty(longest, np.int64),
        np.empty(longest), np.empty(1 << planes), np.empty((1 << planes, longest), np.float32),
        np.zeros((planes, n), np.uint8), np.empty(longest),
        (np.empty((most, n), np.uint8), np.empty(most), np.empty(longest), polar_list.workspace(most, level)),
    )  # fmt: skip
