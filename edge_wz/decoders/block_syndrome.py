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

from edge_wz.decoders import cell_tables, polar_list, polar_ratios, smoother
from edge_wz.decoders.cell_masses import cell_masses, combs_for, weigh
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
    keep_within,
    level_cell,
    nearest_level,
)
from edge_wz.kernels.polar import check_start, check_step

LISTS = np.array([1, 8, 32, 128, 512])  # paths, one attempt after the other
SHORT_LEVEL = 8  # transforms up to which the longest list is tried: there few samples tell, and fewer paths lose the right one
# What is held against the check: each wrong path of a packet that is, is one more chance for an error that nobody notices.
CHECKED = np.array([1, 2, 4, 8, 8])  # paths of each attempt, the likeliest first
ODDS = 1.0  # ln: and none so unlikely beside the best that, if it passes, it would not be so much likelier right than lucky
FAR = 0.8  # standard deviations: a path found alone is wrong more often than right where its levels lie farther from the means
TOLD = 0.999  # as in `decoders.trellis`
LEAST_VARIANCE = 1e-4


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
def _are_far(beliefs, count, levels, point, density):
    """Whether the levels' squared distances from the means add up to more than expected, by FAR standard deviations.

    Of a sample variance + width^2 / 12 are expected, whatever its low bits, and the spread of it is that of the density."""
    width, weights, factors = point[SCALE] / abs(point[TAP]), density[:, 0], density[:, 1]
    second, fourth, excess = np.sum(weights * factors), 3.0 * np.sum(weights * factors * factors), 0.0
    for i in range(count):
        low, high = level_cell(levels[i], point[SCALE], point[ROUNDING], point[TAP])
        excess += (0.5 * (low + high) - beliefs[0, i]) ** 2 / (second * beliefs[1, i] + width * width / 12.0) - 1.0
    return excess > FAR * math.sqrt(count * (fourth / (second * second) - 1.0))


@njit(cache=True, error_model="numpy")
def resolve(trees, count, code, shifts, beliefs, density, lows, q, point, check_bits, wanted, space, levels):
    """The levels of a block, if its check holds, else those of the best path. Returns how many paths were held against it, negative if none passed.

    beliefs: float64[2, n], means and variances; `wanted` -1: no check to hold against."""
    steps, edges, level_of_transform = code
    values, metrics, best, tree_space = space
    tries, likely = 0, check_bits * math.log(2.0) - ODDS
    for turn in range(LISTS.shape[0]):
        size = LISTS[turn]
        if size > values.shape[0]:
            break
        if wanted < 0 and size < LISTS[1]:
            continue
        paths = polar_list.decode(trees, count, level_of_transform, steps, edges, shifts, size, tree_space, values, metrics)
        least = np.min(metrics[:paths])
        for attempt in range(min(paths, CHECKED[turn])):
            l = np.argmin(metrics[:paths])
            if metrics[l] > least + likely:
                break
            metrics[l] = np.inf
            found = _check_of(beliefs[0], lows, count, q, values[l], point, check_bits, best)
            if size == 1 and found >= 0 and _are_far(beliefs, count, best, point, density):
                break
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
        polar_ratios.transform(shifts[p])


@njit(cache=True, error_model="numpy")
def _set_sites(cavities, slots, count, values, variances, sites):
    for i in range(count):
        n = slots[i]
        variance = max(variances[n], LEAST_VARIANCE)
        if variance < TOLD * cavities[1, n]:
            sites[1, n] = 1.0 / (1.0 / variance - 1.0 / cavities[1, n])
            sites[0, n] = sites[1, n] * (values[n] / variance - cavities[0, n] / cavities[1, n])


@njit(cache=True, error_model="numpy")
def _unresolved(count, slots, lows, q, cavities, density, point, masses, path_mse, tables, levels, values, variances):
    """The best path's samples or the means given low bits alone, whichever is expected to be closer."""
    expected, exist = 0.0, True
    for i in range(count):
        n = slots[i]
        values[n], variances[n] = cell_masses(cavities[0, n], cavities[1, n], lows[i], q, point, density, masses)
        expected += variances[n]
        exist = exist and levels[i] != NO_LEVEL
    if exist and expected > path_mse * count:
        cell_tables.within_cells(tables, cavities, slots, count, levels, point, density, values, variances)
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
def _fill_trees(cavities, slots, lows, count, q, point, density, tables, masses, trees):
    """The trees of ratios of the received samples, from `tables` where they hold."""
    combs = combs_for(density)
    if not cell_tables.in_use(tables):
        for i in range(count):
            weigh(cavities[0, slots[i]], cavities[1, slots[i]], lows[i], q, point, density, combs, masses, trees[:, i])
        polar_ratios.llr_trees(trees, count)
        return
    missed, alone = np.empty(count, np.int64), np.empty((trees.shape[0], 1), np.float32)
    for k in range(cell_tables.look_up(tables, cavities, slots, lows, count, q, point, trees, missed)):
        i = missed[k]
        weigh(cavities[0, slots[i]], cavities[1, slots[i]], lows[i], q, point, density, combs, masses, alone[:, 0])
        polar_ratios.llr_trees(alone, 1)
        trees[:, i] = alone[:, 0]


@njit(cache=True, error_model="numpy")
def _resolve_packet(indices, count, check, cavities, point, low_bits, sent, code, check_bits, density, tables, space):
    """Levels of the received samples; whether they are sure."""
    _, _, slots, lows, beliefs, masses, trees, shifts, found, resolve_space = space
    q = 1 << low_bits
    cell_tables.prepare(tables, indices.shape[0], cavities[1, indices.shape[0] >> 1], q, point, density)
    _fill_trees(cavities, slots, lows, count, q, point, density, tables, masses, trees)
    for i in range(count):
        beliefs[0, i], beliefs[1, i] = cavities[0, slots[i]], cavities[1, slots[i]]
    coset_shifts(indices, slots, count, low_bits, sent, shifts)
    return resolve(trees, count, code, shifts, beliefs, density, lows, q, point, check_bits, check, resolve_space, found) > 0


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
    tables, space, values, sigmas, flags, levels,
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
        sure = _resolve_packet(indices, count, check, cavities, point, low_bits, sent, code, check_bits, density, tables, space)
    if sure:
        cell_tables.within_cells(tables, cavities, slots, count, found, point, density, values, sigmas)
        _set_sites(cavities, slots, count, values, sigmas, sites)
        if rounds > 1 or count < samples:
            smoother.smooth_packet(dims, state, F, G, mean, side, side_sigmas, sites[0], sites[1], cavities[0], cavities[1], store, after)
            cell_tables.within_cells(tables, cavities, slots, count, found, point, density, values, sigmas)
        else:
            smoother.filter_packet(dims, state, F, G, mean, side, side_sigmas, sites[0], sites[1], store, after)
    elif count > 0:
        _unresolved(count, slots, lows, 1 << low_bits, cavities, density, point, masses, path_mse, tables, found, values, sigmas)
    state[:] = after
    _finish(indices, cavities, slots, count, found, sure, point, max_error, values, sigmas, flags, levels)


@njit(cache=True, error_model="numpy")
def decode(
    dims, state, F, G, mean, indices, edges, checks, point, low_bits, sent, code, check_bits, density, path_mse, rounds, max_error, side,
    side_sigmas, tables, space, values, sigmas, flags, levels,
):  # fmt: skip
    """Packets edges[p] .. edges[p+1] in a row, all of one rate point and one number of received samples; `state` goes along."""
    for p in range(edges.shape[0] - 1):
        a, b = edges[p], edges[p + 1]
        if b > a:
            decode_packet(
                dims, state, F, G, mean, side[a:b], side_sigmas[a:b], indices[a:b], checks[p], point, low_bits, sent, code, check_bits,
                density, path_mse, rounds, max_error, tables, space, values[a:b], sigmas[a:b], flags[a:b], levels[a:b],
            )  # fmt: skip


def workspace(longest: int, d: int, m: int, planes: int, level: int) -> tuple[Any, ...]:
    """For packets of up to `longest` samples, `planes` planes, and a transform of 2^level positions."""
    n, most = 1 << level, int(LISTS[-1] if level <= SHORT_LEVEL else LISTS[-2])
    return (
        np.empty((longest, smoother.store_size(d, m))), np.empty((4, longest)), np.empty(longest, np.int64), np.empty(longest, np.int64),
        np.empty((2, longest)), np.empty(1 << planes), np.empty((1 << planes, longest), np.float32),
        np.zeros((planes, n), np.uint8), np.empty(longest),
        (np.empty((most, n), np.uint8), np.empty(most), np.empty(longest), polar_list.workspace(most, level)),
    )  # fmt: skip
