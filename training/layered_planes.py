"""Conditional layers for real: the bit planes of a layered message through the polar coder of `syndrome`, block by block.

Each layer of 2^b symbols is b planes, its high bit first; a plane is coded given the side information and the planes before it, so that
a gateway with the first planes of a block decodes as many layers, as with raw ones. Unlike the scheme `syndrome` there are no cells of equal
width: ratios come from the interval table and a Gaussian belief, as in `decoders.layered`, and every plane has a check of its own, so that a
prefix of layers can be trusted without the rest. What is sent of a plane: the transformed bits at the positions that are hard to guess,
and the check.

The code is that of `decoders.polar_list` (references there); which positions are hard is told by trial blocks of known bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from edge_wz.decoders import polar_list
from edge_wz.errors import DesignError
from edge_wz.kernels.polar import check_start, check_step
from edge_wz.model import LayeredRatePoint
from training.layered_pairs import Pairs

LEVEL = 10
BLOCK = 1 << LEVEL
CHECK_BITS = 12
PATHS = 32
LIKELY = 12.0  # ln: a path worse than the best by more is not held against the check
REACH = 9.0  # deviations that masses are summed over
ROOT_HALF = math.sqrt(0.5)
LEAST = 1e-30


@dataclass(frozen=True, eq=False)
class Planes:
    """A table's messages as bits. `values` int64[L]: bit c = plane c of the message; `ends`: planes of each layer and those before."""

    point: LayeredRatePoint
    values: np.ndarray
    ends: tuple[int, ...]

    @staticmethod
    def of(point: LayeredRatePoint) -> Planes:
        widths = [alphabet.bit_length() - 1 for alphabet in point.alphabets]
        if any(1 << width != alphabet for width, alphabet in zip(widths, point.alphabets, strict=True)):
            raise DesignError(f"layers {point.alphabets}: only alphabets that are powers of two have bit planes")
        count, total = int(np.prod(point.alphabets)), sum(widths)
        values = sum(((np.arange(count) >> (total - 1 - c)) & 1) << c for c in range(total))
        return Planes(point, np.asarray(values, np.int64), tuple(np.cumsum(widths).tolist()))

    @property
    def count(self) -> int:
        return self.ends[-1]


@dataclass(frozen=True)
class Trial:
    """One plane at one rate: bits per sample that are sent, check included, ideal bits, and blocks that did not come out right."""

    plane: int
    bits: float
    ideal_bits: float
    blocks: int
    failed: int
    unnoticed: int

    @property
    def excess(self) -> float:
        return self.bits - self.ideal_bits


def draw(planes: Planes, pairs: Pairs, blocks: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(values uint8[blocks, n], trees float32[blocks, n, 2^C]) of fresh pairs.

    trees[.., 2^c + w]: ln P(0)/P(1) of plane c's bit, w the bits before it.
    """
    x, y, sigma = pairs.draw(rng, blocks * BLOCK)
    at = np.searchsorted(planes.point.thresholds, pairs.to_codes(x), side="right")
    values = planes.values[planes.point.numbers[at]].astype(np.uint8)
    trees = np.empty((blocks * BLOCK, 1 << planes.count), np.float32)
    _trees(planes.point.thresholds - 0.5, planes.values[planes.point.numbers], y / pairs.lsb + pairs.mean, sigma / pairs.lsb, trees)
    return values.reshape(blocks, BLOCK), trees.reshape(blocks, BLOCK, -1)


@njit(cache=True)
def _trees(edges, values, means, sigmas, trees):  # type: ignore[no-untyped-def]
    """Ratios of every sample's planes from the masses of the messages under its Gaussian belief."""
    masses = np.empty(trees.shape[1])
    for n in range(means.shape[0]):
        masses[:] = LEAST
        scale = ROOT_HALF / sigmas[n]
        below, first = 0.0, np.searchsorted(edges, means[n] - REACH * sigmas[n])
        for interval in range(first, values.shape[0]):
            last = interval == edges.shape[0] or edges[interval] > means[n] + REACH * sigmas[n]
            above = 1.0 if last else 0.5 * math.erfc((means[n] - edges[interval]) * scale)
            masses[values[interval]] += above - below
            below = above
            if last:
                break
        size = masses.shape[0]
        while size > 1:
            size >>= 1
            for w in range(size):
                trees[n, size + w] = math.log(masses[w] / masses[w + size])
                masses[w] += masses[w + size]


@njit(cache=True)
def _ratios(trees, values, plane, out):  # type: ignore[no-untyped-def]
    """The ratios of one plane given the planes before it, float32[n]."""
    for i in range(values.shape[0]):
        out[i] = trees[i, (1 << plane) + (values[i] & ((1 << plane) - 1))]


@njit(cache=True)
def ideal_bits(values, trees, plane):  # type: ignore[no-untyped-def]
    """Mean of -log2 of the posterior probability of the plane's bits."""
    total, ratios = 0.0, np.empty(values.shape[1], np.float32)
    for block in range(values.shape[0]):
        _ratios(trees[block], values[block], plane, ratios)
        for i in range(ratios.shape[0]):
            right = -ratios[i] if (values[block, i] >> plane) & 1 else ratios[i]
            total += math.log1p(math.exp(-right)) if right > -30.0 else -right
    return total / values.size / math.log(2.0)


@njit(cache=True)
def hardness(values, trees, plane):  # type: ignore[no-untyped-def]
    """float64[n]: how likely each transformed bit would be guessed wrong, all before it known; mean of the blocks."""
    errors, ratios = np.zeros(values.shape[1]), np.empty(values.shape[1], np.float32)
    for block in range(values.shape[0]):
        _ratios(trees[block], values[block], plane, ratios)
        for i in range(ratios.shape[0]):
            if (values[block, i] >> plane) & 1:
                ratios[i] = -ratios[i]
        polar_list.known_before(ratios)
        for i in range(ratios.shape[0]):
            errors[i] += 1.0 / (1.0 + math.exp(min(abs(ratios[i]), 80.0)))
    return errors / values.shape[0]


def attempt(values: np.ndarray, trees: np.ndarray, plane: int, order: np.ndarray, bits: int, check_bits: int = CHECK_BITS) -> Trial:
    """The plane of all blocks, `bits` sent of each, those included that check; the planes before it are known."""
    sent = np.zeros(BLOCK, bool)
    sent[order[: bits - check_bits]] = True
    space = polar_list.workspace(PATHS, LEVEL), np.empty((PATHS, BLOCK), np.uint8), np.empty(PATHS)
    steps = polar_list.program(sent)
    failed, unnoticed = _attempt(values, trees, plane, sent, steps, check_bits, space)
    return Trial(plane, bits / BLOCK, float(ideal_bits(values, trees, plane)), len(values), failed, unnoticed)


@njit(cache=True)
def _attempt(values, trees, plane, sent, steps, check_bits, space):  # type: ignore[no-untyped-def]
    tree_space, found, metrics = space
    n = values.shape[1]
    pairs, edges = np.empty((2, n), np.float32), np.array([0, steps.shape[0]])
    bits, shifts = np.empty(n, np.uint8), np.empty((1, n), np.uint8)
    failed, unnoticed = 0, 0
    for block in range(values.shape[0]):
        _ratios(trees[block], values[block], plane, pairs[1])
        for i in range(n):
            bits[i] = (values[block, i] >> plane) & 1
        wanted = _check(bits, check_bits)
        shifts[0] = bits
        polar_list.transform(shifts[0])
        for i in range(n):
            shifts[0, i] = shifts[0, i] if sent[i] else 0
        polar_list.transform(shifts[0])
        paths = polar_list.decode(pairs, n, LEVEL, steps, edges, shifts, PATHS, tree_space, found, metrics)
        outcome = _accepted(found, metrics, paths, wanted, check_bits, bits)
        failed += outcome != 0
        unnoticed += outcome == 2
    return failed, unnoticed


@njit(cache=True)
def _accepted(found, metrics, paths, wanted, check_bits, bits):  # type: ignore[no-untyped-def]
    """0: the likeliest path that checks is right; 1: none checks; 2: a wrong one does."""
    least = np.min(metrics[:paths])
    for _ in range(paths):
        path = np.argmin(metrics[:paths])
        if metrics[path] > least + LIKELY:
            return 1
        metrics[path] = np.inf
        if _check(found[path], check_bits) == wanted:
            return 0 if np.array_equal(found[path], bits) else 2
    return 1


@njit(cache=True)
def _check(bits, check_bits):  # type: ignore[no-untyped-def]
    register = check_start(check_bits)
    for first in range(0, bits.shape[0], 16):
        word = 0
        for i in range(first, first + 16):
            word = (word << 1) | bits[i]
        register = check_step(register, word, check_bits)
    return register >> (16 - check_bits)
