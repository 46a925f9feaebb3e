"""Packets of `trellis` to samples: expectation propagation between a Gaussian smoother and a circular BCJR.

    cavities (smoother) -> masses of the four cosets of each sample -> BCJR -> mean and variance given the code -> sites, and again

One round is enough where neighbours tell nearly all; more rounds let the packet's own samples help each other. Where only they tell much, the
first sites are those of `decoders.survivors`. Unlike
`decoders.kalman`, nothing is decided before the packet is there, and unlike `decoders.refinement`, its cells are not yet known.

Reference: Minka, "Expectation propagation for approximate Bayesian inference" (2001).
"""

import math
from typing import Any

import numpy as np
from numba import njit

from edge_wz.decoders import smoother, survivors
from edge_wz.decoders.bcjr import coset_posteriors, find_leaders, interleaved_posteriors
from edge_wz.decoders.cell_masses import combs_for
from edge_wz.decoders.cells import (
    CONCEALED,
    MODULUS,
    NO_LEVEL,
    RESOLVED,
    ROUNDING,
    SCALE,
    SURE,
    SUSPECT,
    TAP,
    keep_within,
    level_cell,
)
from edge_wz.decoders.cosets import COMB_ROWS, coset_masses, given_code
from edge_wz.decoders.mixed_cosets import mixed_given_code, mixed_masses

TOLD = 0.999  # a site is kept if the code narrowed the variance to less than this share


def work_space(longest: int, d: int, m: int, memory: int) -> tuple[Any, ...]:
    """For packets of up to `longest` samples. memory: of one chain."""
    counts, floats = (longest,), (longest, 4)
    return (
        np.empty((longest, smoother.store_size(d, m))), np.empty((4, longest)), np.empty(counts, np.int64), np.empty(counts),
        np.empty(counts, np.int64), np.empty(counts, np.int64), np.empty(floats), np.empty(floats, np.float32),
        np.empty(floats, np.float32), np.empty((longest + 1, 1 << memory), np.float32), np.empty(1 << memory, np.float32),
        np.empty(1 << memory, np.float32), np.empty((COMB_ROWS, longest)), np.empty(counts), np.empty((4, 4)),
        (np.empty(floats, np.float32), np.empty(counts, np.int64), np.empty(floats, np.float32)),
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _gather(indices, slots, lows, syndromes):
    """The present samples of a packet; their number."""
    count = 0
    for n in range(indices.shape[0]):
        if indices[n] != NO_LEVEL:
            slots[count], lows[count], syndromes[count] = n, indices[n] >> 1, indices[n] & 1
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def _tell(slots, cavities, sites, values, variances, weights, levels, flags):
    """Sites from what is believed given the code: the Gaussians that turn the cavities into it. And flags."""
    for i in range(slots.shape[0]):
        n = slots[i]
        flags[n] = RESOLVED if weights[i] >= SURE and levels[n] != NO_LEVEL else RESOLVED | SUSPECT
        sites[0, n], sites[1, n] = 0.0, np.inf
        if variances[n] < TOLD * cavities[1, n]:
            sites[1, n] = 1.0 / (1.0 / variances[n] - 1.0 / cavities[1, n])
            sites[0, n] = sites[1, n] * (values[n] / variances[n] - cavities[0, n] / cavities[1, n])


@njit(cache=True, error_model="numpy")
def _first_sites(slots, levels, point, sites):
    """Sites that take the levels for certain."""
    step = point[SCALE] / point[TAP]
    for i in range(slots.shape[0]):
        sites[0, slots[i]] = (levels[i] + 0.5) * step - point[ROUNDING] / point[TAP]
        sites[1, slots[i]] = step * step / 12.0


@njit(cache=True, error_model="numpy")
def _finish(indices, cavities, point, max_error, values, sigmas, flags, levels):
    for n in range(indices.shape[0]):
        if indices[n] == NO_LEVEL:
            values[n], sigmas[n], flags[n], levels[n] = cavities[0, n], math.sqrt(cavities[1, n]), CONCEALED, NO_LEVEL
            continue
        sigmas[n] = math.sqrt(sigmas[n])
        if max_error >= 0.0 and levels[n] != NO_LEVEL:
            low, high = level_cell(float(levels[n]), point[SCALE], point[ROUNDING], point[TAP])
            values[n] = keep_within(values[n], low, high, max_error)


@njit(cache=True, error_model="numpy")
def decode_packet(
    dims, state, F, G, mean, side, side_sigmas, indices, point, code, density, combs, rounds, least, max_error, space, walks, values, sigmas,
    flags, levels,
):  # fmt: skip
    """All samples of one packet; `state` becomes that behind it. indices: int32[T], NO_LEVEL where nothing was received. `walks`: work space
    of `survivors`, for no samples where propagation starts from nothing. density: (K, 2), as in `decoders.mixed_cosets`."""
    samples = indices.shape[0]
    store, gaussians, slots, lows, syndromes, leaders, masses, floored, posteriors, rows, even, odd, comb, weights, scratch, chain = space
    labels, memory, a, b, taps, stride = code
    cavities, sites = gaussians[:2], gaussians[2:]
    after, mixed, reach = np.empty_like(state), density.shape[0] > 1, 0
    sites[0, :samples], sites[1, :samples] = 0.0, np.inf
    if mixed:
        combs[:] = np.nan  # nothing of the packet before
    count = _gather(indices, slots, lows, syndromes)
    find_leaders(syndromes, count, a, b, leaders)
    if memory * stride <= count and samples <= walks[8].shape[0]:
        survivors.first_levels(state, F, G, mean, side, side_sigmas, indices, point, point[MODULUS], memory * stride, taps, walks, levels)
        _first_sites(slots[:count], levels, point, sites)
    for _ in range(rounds if count > 0 else 1):
        smoother.smooth_packet(dims, state, F, G, mean, side, side_sigmas, sites[0], sites[1], cavities[0], cavities[1], store, after)
        if mixed:
            mixed_masses(cavities[0], cavities[1], slots[:count], lows, point, density, least, combs, masses, floored)
        else:
            reach = coset_masses(cavities[0], cavities[1], slots[:count], lows, point, least, comb, masses, floored, scratch)
        if stride == 1:
            coset_posteriors(floored[:count], leaders, labels, memory, rows, even, odd, posteriors)
        else:
            interleaved_posteriors(floored[:count], leaders, stride, labels, memory, rows, even, odd, chain, posteriors)
        if mixed:
            mixed_given_code(
                cavities[0], cavities[1], slots[:count], lows, point, density, posteriors, scratch[0, :1], values, sigmas, levels, weights
            )
        else:
            given_code(
                cavities[0], cavities[1], slots[:count], lows, point, posteriors, reach, comb, masses, scratch, values, sigmas, levels,
                weights,
            )  # fmt: skip
        _tell(slots[:count], cavities, sites, values, sigmas, weights, levels, flags)
    if count > 0 and count < samples:
        smoother.smooth_packet(dims, state, F, G, mean, side, side_sigmas, sites[0], sites[1], cavities[0], cavities[1], store, after)
    elif count > 0:
        smoother.filter_packet(dims, state, F, G, mean, side, side_sigmas, sites[0], sites[1], store, after)
    state[:] = after
    _finish(indices, cavities, point, max_error, values, sigmas, flags, levels)


@njit(cache=True, error_model="numpy")
def decode(
    dims, state, F, G, mean, indices, rate_points, edges, points, code, density, rounds, least, max_error, space, walks, side, side_sigmas,
    values, sigmas, flags, levels,
):  # fmt: skip
    """Packets edges[p] .. edges[p+1] in a row; `state` goes along."""
    combs = combs_for(density)
    for p in range(edges.shape[0] - 1):
        a, b = edges[p], edges[p + 1]
        if b > a:
            decode_packet(
                dims, state, F, G, mean, side[a:b], side_sigmas[a:b], indices[a:b], points[rate_points[a]], code, density, combs, rounds, least,
                max_error, space, walks, values[a:b], sigmas[a:b], flags[a:b], levels[a:b],
            )  # fmt: skip
