"""Packets of `syndrome` to samples: what neighbours say of each sample, the polar code over bit planes, the posterior mean in the resolved cell.

    cavities (smoother) -> masses of the cells that the low bits leave -> ratios of the bit planes -> successive cancellation, then lists, until the
    block check holds -> levels -> mean and variance within the cells

Unlike `decoders.trellis`, which weighs all cosets and iterates, this resolves a whole packet or tells that it could not: then a sample is the
best path's or, if that is expected to be closer, the mean given low bits and neighbours alone, and the packet says nothing to the next one.
Longer lists cost little, because only what the shorter ones left undone comes to them.
"""

import math
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from edge_wz.decoders import polar_list, smoother
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
CHECKED = 16  # paths of an attempt, the likeliest first
LIKELY = 7.0  # and none that is worse than the best by more (ln)
PLAUSIBLE = 0.5  # a path alone: only if no more surprising than expected, plus so many standard deviations
REACH_SQUARED = 60.0  # a cell is skipped if its density is less than exp(-30) of the nearest one's
NEAR_SIGMAS = 30.0  # to the nearest cell up to which masses do not underflow
TOLD = 0.999  # as in `decoders.trellis`
LEAST_VARIANCE = 1e-4
LEAST_SHARE = 1e-12
WIDE_LSB = 16.0  # cells from this width on are taken as all alike, whatever integers they hold
NARROW_SIGMAS = 2.5  # width of a cell up to which three points integrate a Gaussian over it
APART_SIGMAS = 16.0
NODE = 0.3872983346207417  # Gauss-Legendre, three points: half the root of 3/5 of the width, weights 5 : 8 : 5 of 18
GAUSS = 1.0 / (18.0 * math.sqrt(2.0 * math.pi))
UNTOLD_PERIODS = 4.0  # of the planes' period within two sigmas: they say nothing about the period


@njit(cache=True, error_model="numpy")
def _comb_masses(sigma, weight, centre, first, width, apart, reach, masses, sums):
    """Add one Gaussian's masses of evenly spaced cells of one width, lengths in sigmas, the nearest one `centre` from the mean, w = `first`.

    The density at cell k from the nearest is that at the nearest times ratio_1 .. ratio_k, ratio_k+1 = ratio_k square: products, where
    `near_interval` takes exponentials. Within a cell: three points. sums: total, first and second moment about the mean.
    """
    node, last = NODE * width, masses.shape[0] - 1
    bell = 5.0 * math.exp(-0.5 * node * node)
    start, between, square = math.exp(centre * node), math.exp(apart * node), math.exp(-apart * apart)
    scale = weight * width * GAUSS * math.exp(-0.5 * centre * centre)
    for direction in (1, -1):
        density, at, left, right = scale, centre, start, 1.0 / start
        growth = between if direction > 0 else 1.0 / between
        shrink = 1.0 / growth
        ratio = math.exp(-direction * apart * centre - 0.5 * apart * apart)
        for k in range(reach):
            if k > 0 or direction > 0:
                zeroth = 8.0 + bell * (left + right)
                shift = bell * node * (right - left)
                mass = density * zeroth
                masses[(first + direction * k) & last] += mass
                sums[0] += mass
                sums[1] += sigma * density * (at * zeroth + shift)
                sums[2] += sigma * sigma * density * (at * at * zeroth + 2.0 * at * shift + bell * node * node * (left + right))
            density *= ratio
            ratio *= square
            left *= growth
            right *= shrink
            at += direction * apart


@njit(cache=True, error_model="numpy")
def _masses_alike(mean, variance, offset, centre, q, point, density, masses):
    """`cell_masses` for cells that hold many codes and are narrow; False, and nothing done, if they are not so."""
    unit = point[SCALE] / abs(point[TAP])
    least, most = math.sqrt(variance * np.min(density[:, 1])), math.sqrt(variance * np.max(density[:, 1]))
    nearest = offset + q * np.rint((centre - offset) / q)
    distance = abs(nearest - centre) * unit / least
    reach = int(math.sqrt(distance * distance * (least / most) ** 2 + REACH_SQUARED) * most / (q * unit)) + 2
    inside = nearest - q * reach >= point[LEVEL_MIN] and nearest + q * reach <= point[LEVEL_MAX]
    if unit < WIDE_LSB or unit > NARROW_SIGMAS * least or q * unit > APART_SIGMAS * least or distance > 8.0 or not inside:
        return False, mean, variance
    sums = np.zeros(3)
    side = 1.0 if point[TAP] > 0 else -1.0
    first = np.int64(nearest + 32768.0) // q
    for k in range(density.shape[0]):
        sigma = math.sqrt(variance * density[k, 1])
        lengths = side * (nearest - centre) * unit / sigma, unit / sigma, side * q * unit / sigma
        _comb_masses(sigma, density[k, 0], lengths[0], first, lengths[1], lengths[2], reach, masses, sums)
    value = sums[1] / sums[0]
    return True, mean + value, max(sums[2] / sums[0] - value * value, 0.0)


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
    alike, value, spread = _masses_alike(mean, variance, offset, centre, q, point, density, masses)
    if alike:
        return value, spread
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
def weigh(mean, variance, low, q, point, density, masses, tree, out):
    """A sample's row of ratios. out: mean and variance given low bits, then mean and variance of -ln P(its bits)."""
    out[0], out[1] = cell_masses(mean, variance, low, q, point, density, masses)
    total, surprise, square = 0.0, 0.0, 0.0
    for w in range(masses.shape[0]):
        total += masses[w]
    for w in range(masses.shape[0]):
        share = masses[w] / total
        if share > LEAST_SHARE:
            nats = -math.log(share)
            surprise += share * nats
            square += share * nats * nats
    out[2], out[3] = surprise, square - surprise * surprise
    polar_list.llr_tree(masses, tree)


@njit(cache=True, error_model="numpy")
def _is_plausible(trees, count, planes, path, known):
    """Whether -ln P(path) is within what is expected of the truth."""
    expected, variance, nats = 0.0, 0.0, 0.0
    for i in range(count):
        expected += known[i, 2]
        variance += known[i, 3]
        for c in range(planes):
            ratio = trees[i, (1 << c) + (path[i] & ((1 << c) - 1))]
            nats += polar_list.cost(-ratio if (path[i] >> c) & 1 else ratio)
    return nats <= expected + PLAUSIBLE * math.sqrt(max(variance, 0.0))


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
def resolve(trees, count, code, shifts, means, lows, known, q, point, check_bits, wanted, space, levels):
    """The levels of a block: True if its check holds, else those of the best path. `wanted` -1: no check to hold against; known: of `weigh`."""
    steps, edges, level_of_transform = code
    values, metrics, best, tree_space = space
    for size in LISTS:
        if wanted < 0 and size < LISTS[1]:
            continue
        paths = polar_list.decode(trees, count, level_of_transform, steps, edges, shifts, size, tree_space, values, metrics)
        if size == 1 and not _is_plausible(trees, count, edges.shape[0] - 1, values[0], known):
            continue
        least = np.min(metrics[:paths])
        for attempt in range(min(paths, CHECKED)):
            l = np.argmin(metrics[:paths])
            if metrics[l] > least + LIKELY:
                break
            metrics[l] = np.inf
            found = _check_of(means, lows, count, q, values[l], point, check_bits, best)
            if attempt == 0:
                levels[:count] = best[:count]
            if wanted < 0 or found == wanted:
                levels[:count] = best[:count]
                return True
    return False


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
def _unresolved(known, count, slots, cavities, density, point, path_mse, levels, values, variances):
    """The best path's samples or the means given low bits alone, whichever is expected to be closer."""
    expected, exist = 0.0, True
    for i in range(count):
        expected += known[i, 1]
        exist = exist and levels[i] != NO_LEVEL
    by_path = exist and expected > path_mse * count
    if by_path:
        _within_cells(cavities, slots, count, levels, density, point, values, variances)
    for i in range(count):
        n = slots[i]
        if by_path:
            variances[n] += path_mse
        else:
            values[n], variances[n] = known[i, 0], known[i, 1]


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
    _, _, slots, lows, means, known, masses, trees, shifts, found, resolve_space = space
    for i in range(count):
        n = slots[i]
        means[i] = cavities[0, n]
        weigh(cavities[0, n], cavities[1, n], lows[i], 1 << low_bits, point, density, masses, trees[i], known[i])
    coset_shifts(indices, slots, count, low_bits, sent, shifts)
    return resolve(trees, count, code, shifts, means, lows, known, 1 << low_bits, point, check_bits, check, resolve_space, found)


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


@cache
def kernel(d: int, m: int):
    """`decode` for a state of d and m neighbours."""
    filter_packet, smooth_packet = smoother.kernels(d, m)

    @njit(cache=True, error_model="numpy")
    def decode_packet(
        state, F, G, mean, side, side_sigmas, indices, check, point, low_bits, sent, code, check_bits, density, path_mse, rounds, max_error,
        space, values, sigmas, flags, levels,
    ):  # fmt: skip
        """All samples of one packet; `state` becomes that behind it. indices: int32[T], NO_LEVEL where nothing was received."""
        samples = indices.shape[0]
        store, gaussians, slots, lows, _, known, _, _, _, found, _ = space
        cavities, sites, after = gaussians[:2, :samples], gaussians[2:, :samples], np.empty_like(state)
        sites[0], sites[1] = 0.0, np.inf
        count = _gather(indices, 1 << low_bits, slots, lows)
        smooth_packet(state, F, G, mean, side, side_sigmas, sites[0], sites[1], cavities[0], cavities[1], store, after)
        sure = False
        if count > 0:
            sure = _resolve_packet(indices, count, check, cavities, point, low_bits, sent, code, check_bits, density, space)
        if sure:
            _within_cells(cavities, slots, count, found, density, point, values, sigmas)
            _set_sites(cavities, slots, count, values, sigmas, sites)
            if rounds > 1 or count < samples:
                smooth_packet(state, F, G, mean, side, side_sigmas, sites[0], sites[1], cavities[0], cavities[1], store, after)
                _within_cells(cavities, slots, count, found, density, point, values, sigmas)
            else:
                filter_packet(state, F, G, mean, side, side_sigmas, sites[0], sites[1], store, after)
        elif count > 0:
            _unresolved(known, count, slots, cavities, density, point, path_mse, found, values, sigmas)
        state[:] = after
        _finish(indices, cavities, slots, count, found, sure, point, max_error, values, sigmas, flags, levels)

    @njit(cache=True, error_model="numpy")
    def decode(
        state, F, G, mean, indices, edges, checks, point, low_bits, sent, code, check_bits, density, path_mse, rounds, max_error, side,
        side_sigmas, space, values, sigmas, flags, levels,
    ):  # fmt: skip
        """Packets edges[p] .. edges[p+1] in a row, all of one rate point and one number of received samples; `state` goes along."""
        for p in range(edges.shape[0] - 1):
            a, b = edges[p], edges[p + 1]
            if b > a:
                decode_packet(
                    state, F, G, mean, side[a:b], side_sigmas[a:b], indices[a:b], checks[p], point, low_bits, sent, code, check_bits,
                    density, path_mse, rounds, max_error, space, values[a:b], sigmas[a:b], flags[a:b], levels[a:b],
                )  # fmt: skip

    return decode


def workspace(longest: int, d: int, m: int, planes: int, level: int) -> tuple[Any, ...]:
    """For packets of up to `longest` samples, `planes` planes, and a transform of 2^level positions."""
    n, most = 1 << level, int(LISTS[-1])
    return (
        np.empty((longest, smoother.store_size(d, m))), np.empty((4, longest)), np.empty(longest, np.int64), np.empty(longest, np.int64),
        np.empty(longest), np.empty((longest, 4)), np.empty(1 << planes), np.empty((longest, 1 << planes), np.float32),
        np.zeros((planes, n), np.uint8), np.empty(longest),
        (np.empty((most, n), np.uint8), np.empty(most), np.empty(longest), polar_list.workspace(most, level)),
    )  # fmt: skip
