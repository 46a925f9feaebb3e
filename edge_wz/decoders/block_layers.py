"""Blocks of `layered` to prefixes: the planes of each layer by the polar code's list decoder, given a Gaussian belief and the layers before.

    masses of the messages under the belief -> ratios of the planes -> layer by layer: successive cancellation, then lists, until the check holds

Unlike `decoders.block_syndrome` there are no cells of equal width: masses come from the intervals of the table, as in `decoders.layered`. A layer
whose check does not hold is not there, nor any after it: the sample is then what fewer layers say, which is a coarser prefix and no error.
Reference: Joukovsky, De Weerd, Deligiannis, "Learned layered coding" (equation 11: a prior given the side information), with coding for real.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from edge_wz.decoders import polar_list, polar_ratios
from edge_wz.kernels.layer_blocks import NUMBER_BITS, layer_check
from edge_wz.kernels.nested_quantizer import NO_LEVEL

LISTS = np.array([1, 8, 32])  # paths, one attempt after the other
CHECKED = 8  # paths of an attempt that are held against the check, the likeliest first
LIKELY = 7.0  # and none that is worse than the best by more (ln)
REACH = 9.0  # deviations that masses are summed over
ROOT_HALF = math.sqrt(0.5)
LEAST = 1e-26


@njit(cache=True, error_model="numpy")
def message_masses(mean, variance, density, edges, messages, masses):
    """Masses of the messages under weighted Gaussians around `mean`. edges float64[n]; messages int64[n + 1] of the intervals; density (K, 2)."""
    masses[:] = LEAST
    for k in range(density.shape[0]):
        sigma = math.sqrt(variance * density[k, 1])
        scale, reach = ROOT_HALF / sigma, REACH * sigma
        below = 0.0
        for interval in range(np.searchsorted(edges, mean - reach), messages.shape[0]):
            last = interval == edges.shape[0] or edges[interval] > mean + reach
            above = 1.0 if last else 0.5 * math.erfc((mean - edges[interval]) * scale)
            masses[messages[interval]] += density[k, 0] * (above - below)
            below = above
            if last:
                break


@njit(cache=True, error_model="numpy")
def plane_ratios(masses, column):
    """column[2^c + w], float32[2^C]: ln P(0)/P(1) of plane c given the planes before it, w = sum of bit[k] 2^k. Bit c of a message is plane c."""
    size = masses.shape[0]
    while size > 1:
        size >>= 1
        for w in range(size):
            ratio = math.log(masses[w] / masses[w + size])
            column[size + w] = min(max(ratio, -polar_ratios.CERTAIN), polar_ratios.CERTAIN)
            masses[w] += masses[w + size]


@njit(cache=True, error_model="numpy")
def _accepted(values, metrics, paths, known, first, last, count, check_bits, wanted, prefixes):
    """The path whose check holds, or -1."""
    least = np.min(metrics[:paths])
    for _ in range(min(paths, CHECKED)):
        path = np.argmin(metrics[:paths])
        if metrics[path] > least + LIKELY:
            return -1
        metrics[path] = np.inf
        for i in range(count):
            prefixes[i] = prefix_of(known[i] | np.int64(values[path, i]) << first, last)
        if layer_check(prefixes, count, check_bits) == wanted:
            return path
    return -1


@njit(cache=True, error_model="numpy")
def prefix_of(bits, planes):
    """The first planes as a number, the first one highest; bit c of `bits` is plane c."""
    prefix = 0
    for c in range(planes):
        prefix = (prefix << 1) | ((bits >> c) & 1)
    return prefix


@njit(cache=True, error_model="numpy")
def _layer(trees, known, first, last, count, code, shifts, check_bits, wanted, space):
    """Planes first .. last - 1 of one block into `known`; whether their check holds."""
    steps, edges, level = code
    part, values, metrics, prefixes, tree_space = space
    for j in range(last - first):
        for w in range(1 << j):
            for i in range(count):
                part[(1 << j) + w, i] = trees[(1 << (first + j)) + known[i] + (w << first), i]
    for size in LISTS:
        metrics[0] = 0.0
        paths = polar_list.decode(part, count, level, steps, edges, shifts, size, tree_space, values, metrics)
        path = _accepted(values, metrics, paths, known, first, last, count, check_bits, wanted, prefixes)
        if path >= 0:
            for i in range(count):
                known[i] |= np.int64(values[path, i]) << first
            return True
    return False


@njit(cache=True, error_model="numpy")
def coset_shifts(numbers, count, planes, first, last, sent, shifts):
    """uint8[last - first, n]: of each plane the bits of the vector whose transform is what was sent, and 0 where nothing was."""
    shifts[:] = 0
    for c in range(first, last):
        for i in range(count):
            if sent[c, i]:
                shifts[c - first, i] = (numbers[i] >> (planes - 1 - c)) & 1
        polar_ratios.transform(shifts[c - first])


@njit(cache=True, error_model="numpy")
def gather(values, base, slots, numbers, checks, depth):
    """The present samples of a block: where they are, their numbers, and the checks of the layers; how many."""
    count = 0
    for n in range(values.shape[0]):
        if values[n] != NO_LEVEL:
            slots[count], numbers[count] = n, (values[n] & ((1 << NUMBER_BITS) - 1)) - base
            if count < depth:
                checks[count] = values[n] >> NUMBER_BITS
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def weigh(means, variances, slots, count, density, edges, messages, trees):
    masses, column = np.empty(trees.shape[0]), np.empty(trees.shape[0], np.float32)
    for i in range(count):
        n = slots[i]
        message_masses(means[n], variances[n if variances.shape[0] > 1 else 0], density, edges, messages, masses)
        plane_ratios(masses, column)
        trees[:, i] = column


@njit(cache=True, error_model="numpy")
def resolve_layer(trees, numbers, known, count, planes, first, last, sent, code, check_bits, wanted, space):
    """One layer of a block whose layers before are known; whether its check holds."""
    shifts = np.empty((last - first, 1 << code[2]), np.uint8)
    coset_shifts(numbers, count, planes, first, last, sent, shifts)
    return _layer(trees, known, first, last, count, code, shifts, check_bits, wanted, space)


@njit(cache=True, error_model="numpy")
def put_prefixes(known, slots, count, planes, base, values):
    """Prefixes of so many planes; of none: nothing is known."""
    for i in range(count):
        values[slots[i]] = base + prefix_of(known[i], planes) if planes > 0 else NO_LEVEL


def workspace(longest: int, planes: int, level: int) -> tuple[Any, ...]:
    """Of `_layer`, for layers of up to `planes` planes and blocks of up to `longest` samples."""
    most = int(LISTS[-1])
    return (
        np.empty((1 << planes, longest), np.float32), np.empty((most, 1 << level), np.uint8), np.empty(most), np.empty(longest, np.int64),
        polar_list.workspace(most, level),
    )  # fmt: skip
