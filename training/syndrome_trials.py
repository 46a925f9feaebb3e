"""Blocks to try codes of `syndrome` on: what the decoder would know of each sample beforehand, shuffled and shifted against the quantiser's grid.

A recording has few blocks; a code asks for many. A trial takes one packet of the recording, so that loud packets stay loud as a whole, with
its samples in random order and its grid at a random offset: the code sees another block of the same statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from edge_wz.codec.state_space import Predictor
from edge_wz.decoders import block_syndrome, polar_ratios, smoother
from edge_wz.decoders.cell_masses import cell_masses, combs_for, weigh
from edge_wz.decoders.cells import NO_LEVEL, level_cell
from edge_wz.errors import DesignError
from edge_wz.kernels.polar import check_start, check_step
from edge_wz.model import StateSpace
from training.material import Material

MIN_BLOCKS = 8
WIDE_QUANTILE = 0.999
EM_STEPS = 60
DENSITY_SAMPLES = 100_000
MIXTURE_GAIN = 0.004  # nats per sample that a second component of a density has to bring
ROUGH_BLOCKS = 32
NEAR_ONE = 0.05  # a factor of the variance this close to one is one


@dataclass(frozen=True, eq=False)
class Pool:
    """Whole packets: the source and its cavities, float64[B, N], LSB."""

    sources: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    density: np.ndarray
    seed: int

    @property
    def sigma(self) -> float:
        return float(np.sqrt(self.variances.mean() * (self.density[:, 0] @ self.density[:, 1])))

    @property
    def wide(self) -> float:
        return float(np.sqrt(np.quantile(self.variances, WIDE_QUANTILE) * self.density[:, 1].max()))


@dataclass(frozen=True)
class Outcome:
    """Of decoding `blocks` trials; mean square errors in LSB^2. `rough`: the means given low bits and neighbours alone."""

    blocks: int
    failed: int
    undetected: int
    cell_mse: float
    path_mse: float
    rough_mse: float
    rough_mse_all: float  # of the first blocks, resolved or not
    wrong_tries: int  # wrong paths held against a check


def gather(material: Material, space: StateSpace, packet_samples: int, rate: float, seed: int) -> Pool:
    """Packets without a missing sample, as the decoder meets them when the packets before were resolved."""
    packets = len(material.codes) // packet_samples
    total = packets * packet_samples
    if packets < MIN_BLOCKS:
        raise DesignError(f"{len(material.codes)} samples make {packets} packets of {packet_samples}, a code needs at least {MIN_BLOCKS}")
    predictor = Predictor(space)
    means, variances = np.empty(total), np.empty(total)
    spread = float(np.nanvar(np.diff(material.in_codes)))
    noise = max(spread * 4.0**-rate, 1.0 / 12)
    _cavities(predictor, material, noise, packet_samples, means, variances)
    shape = packets, packet_samples
    sources = material.in_codes[:total].reshape(shape)
    whole = np.isfinite(sources).all(axis=1)
    if np.count_nonzero(whole) < MIN_BLOCKS:
        raise DesignError(f"{np.count_nonzero(whole)} packets of {packet_samples} have no missing sample, a code needs at least {MIN_BLOCKS}")
    return Pool(sources[whole], means.reshape(shape)[whole], variances.reshape(shape)[whole], np.ones((1, 2)), seed)


def _cavities(
    predictor: Predictor, material: Material, noise: float, slots: int, means: np.ndarray, variances: np.ndarray
) -> None:
    """As the decoder has them when it has resolved all packets before, up to `noise` (LSB^2)."""
    dims = smoother.dims_of(*predictor.sizes)
    state, F, G, mean = predictor.initial_state(), predictor.F, predictor.G, predictor.mean
    after, store = np.empty_like(state), np.empty((slots, smoother.store_size(*predictor.sizes)))
    exact, none, nothing = np.zeros((slots, predictor.neighbours)), np.zeros(slots), np.full(slots, smoother.NO_SITE)
    side, sources = np.ascontiguousarray(material.side), material.in_codes
    for a in range(0, len(means), slots):
        span = slice(a, a + slots)
        smoother.smooth_packet(dims, state, F, G, mean, side[span], exact, none, nothing, means[span], variances[span], store, after)
        there = np.isfinite(sources[span])
        known = np.where(there, sources[span], 0.0), np.where(there, noise, smoother.NO_SITE)
        smoother.filter_packet(dims, state, F, G, mean, side[span], exact, *known, store, after)
        state, after = after, state


def fit_density(pool: Pool) -> np.ndarray:
    """(K, 2) weights and variance factors of one Gaussian, or of two where that says MIXTURE_GAIN more."""
    z2 = np.square((pool.sources - pool.means) / np.sqrt(pool.variances)).ravel()
    z2 = z2[np.random.default_rng(pool.seed).permutation(z2.size)[:DENSITY_SAMPLES]]
    one = max(float(z2.mean()), 1e-6)
    weights, factors = np.array([0.8, 0.2]), np.array([0.5, 3.0]) * one
    for _ in range(EM_STEPS):
        parts = weights * np.exp(-0.5 * z2[:, None] / factors) / np.sqrt(factors)
        shares = parts / np.maximum(parts.sum(axis=1, keepdims=True), 1e-300)
        weights = np.maximum(shares.mean(axis=0), 1e-6)
        factors = np.maximum((shares * z2[:, None]).sum(axis=0) / (weights * len(z2)), 1e-6)
        weights = weights / weights.sum()
    single = float(np.mean(-0.5 * z2 / one)) - 0.5 * math.log(one)
    double = float(np.mean(np.log(np.maximum((weights * np.exp(-0.5 * z2[:, None] / factors) / np.sqrt(factors)).sum(axis=1), 1e-300))))
    if double > single + MIXTURE_GAIN:
        return np.column_stack([weights, factors])
    return np.array([[1.0, 1.0 if abs(one - 1) < NEAR_ONE else one]])


def position_errors(pool: Pool, step: float, low_bits: int, planes: int, samples: int, blocks: int) -> np.ndarray:
    """float64[planes, N]: how often a decoder that knows all bits before would guess a position wrong."""
    n = 1 << (samples - 1).bit_length()
    errors = np.zeros((planes, n))
    _position_errors(pool.sources, pool.means, pool.variances, step, low_bits, pool.density, blocks, pool.seed, errors)
    return errors[:, :samples] / blocks


def attempt(
    pool: Pool, step: float, low_bits: int, planes: int, sent: np.ndarray, walk: tuple[np.ndarray, np.ndarray, int], check_bits: int, blocks: int
) -> Outcome:
    """Decode trials that `position_errors` has not seen."""
    samples = pool.sources.shape[1]
    space = block_syndrome.workspace(samples, 1, 1, planes, walk[2])
    sums = np.zeros(7)
    _attempt(
        pool.sources, pool.means, pool.variances, step, low_bits, pool.density, planes, sent.reshape(-1, samples), walk, check_bits, blocks,
        pool.seed + 1, space, sums,
    )  # fmt: skip
    failed, undetected = int(sums[0]), int(sums[1])
    each = np.maximum(np.array([blocks - failed, failed, failed, min(blocks, ROUGH_BLOCKS)]) * samples, 1)
    cell, path, rough, rough_all = (float(value) for value in sums[2:6] / each)
    return Outcome(blocks, failed, undetected, cell, path, rough, rough_all, int(sums[6]))


@njit(cache=True)
def _draw(sources, means, block, step, order, shifted_sources, shifted_means):  # type: ignore[no-untyped-def]
    """One packet, shuffled and moved by up to a step."""
    samples = sources.shape[1]
    for i in range(samples - 1, 0, -1):
        j = np.random.randint(0, i + 1)
        order[i], order[j] = order[j], order[i]
    shift = (np.random.random() - 0.5) * step
    for i in range(samples):
        shifted_sources[i], shifted_means[i] = sources[block, order[i]] + shift, means[block, order[i]] + shift


@njit(cache=True)
def _point_of(step, period):  # type: ignore[no-untyped-def]
    """A row of `cells` for a step in LSB, as fine as floats are; the levels reach as far as int16 does."""
    point = np.empty(6)
    point[0], point[1], point[2], point[3], point[4], point[5] = 1.0, 0.5, 1.0 / step, period, -32768.0, 32767.0
    return point


@njit(cache=True)
def _level(value, point):  # type: ignore[no-untyped-def]
    return min(max(np.floor(value * point[2] + point[1]), point[4]), point[5])


@njit(cache=True)
def _position_errors(sources, all_means, variances, step, low_bits, density, blocks, seed, errors):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    planes, n = errors.shape
    samples, q = sources.shape[1], 1 << low_bits
    order, x, means = np.arange(samples), np.empty(samples), np.empty(samples)
    point = _point_of(step, q << planes)
    masses, tree, values = np.empty(1 << planes), np.zeros((1 << planes, samples), np.float32), np.empty(samples, np.int64)
    combs = combs_for(density)
    ratios = np.empty(n, np.float32)
    for b in range(blocks):
        block = b % sources.shape[0]
        _draw(sources, all_means, block, step, order, x, means)
        for i in range(samples):
            u = np.int64(_level(x[i], point)) + 32768
            values[i] = (u >> low_bits) & ((1 << planes) - 1)
            weigh(means[i], variances[block, order[i]], u & (q - 1), q, point, density, combs, masses, tree[:, i])
        polar_ratios.llr_trees(tree, samples)
        for p in range(planes):
            ratios[:] = polar_ratios.CERTAIN
            for i in range(samples):
                ratio = tree[(1 << p) + (values[i] & ((1 << p) - 1)), i]
                ratios[i] = -ratio if (values[i] >> p) & 1 else ratio
            polar_ratios.known_before(ratios)
            for i in range(n):
                errors[p, i] += 1.0 / (1.0 + math.exp(min(abs(np.float64(ratios[i])), 700.0)))


@njit(cache=True)
def _attempt(sources, all_means, variances, step, low_bits, density, planes, sent, walk, check_bits, blocks, seed, space, sums):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    samples, q = sources.shape[1], 1 << low_bits
    _, _, slots, lows, beliefs, masses, trees, shifts, found, resolve_space = space
    means = beliefs[0]
    combs = combs_for(density)
    order, x, indices = np.arange(samples), np.empty(samples), np.empty(samples, np.int64)
    point, bits = _point_of(step, q << planes), np.zeros(shifts.shape[1], np.uint8)
    for b in range(blocks):
        block = b % sources.shape[0]
        _draw(sources, all_means, block, step, order, x, means)
        r = check_start(check_bits)
        for i in range(samples):
            u = np.int64(_level(x[i], point)) + 32768
            r = check_step(r, u, check_bits)
            slots[i], lows[i], indices[i], beliefs[1, i] = i, u & (q - 1), u, variances[block, order[i]]
            weigh(means[i], beliefs[1, i], lows[i], q, point, density, combs, masses, trees[:, i])
        polar_ratios.llr_trees(trees, samples)
        shifts[:] = 0
        for p in range(sent.shape[0]):
            bits[:] = 0
            for i in range(samples):
                bits[i] = (indices[i] >> (low_bits + p)) & 1
            polar_ratios.transform(bits)
            for i in range(samples):
                shifts[p, i] = bits[i] if sent[p, i] else 0
            polar_ratios.transform(shifts[p])
        tries = block_syndrome.resolve(
            trees, samples, walk, shifts, beliefs, density, lows, q, point, check_bits, r >> (16 - check_bits), resolve_space, found
        )
        held = tries > 0
        sums[6] += tries - 1 if held else -tries
        wrong, path, inside, blurred = False, 0.0, 0.0, 0.0
        for i in range(samples):
            true = _level(x[i], point)
            wrong = wrong or found[i] != true
            level = found[i] if found[i] != NO_LEVEL else true + q
            low, high = level_cell(level, point[0], point[1], point[2])
            path += (0.5 * (low + high) - x[i]) ** 2
            low, high = level_cell(true, point[0], point[1], point[2])
            inside += (0.5 * (low + high) - x[i]) ** 2
            if not held or b < ROUGH_BLOCKS:
                rough = cell_masses(means[i], variances[block, order[i]], lows[i], q, point, density, masses)[0]
                blurred += (rough - x[i]) ** 2
        if b < ROUGH_BLOCKS:
            sums[5] += blurred
        if not held:
            sums[0] += 1
            sums[3] += path
            sums[4] += blurred
        else:
            sums[1] += wrong
            sums[2] += inside
