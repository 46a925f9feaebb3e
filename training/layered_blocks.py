"""Blocks for a layered table (SPEC 11.6): which transformed bits of each plane are sent, by trials of the gateway's own decoder.

    beliefs of the gateway, whole packets -> ratios of every plane -> how likely each transformed bit is guessed wrong, all before it known
    -> the worst ones of each layer are sent, as few as let at most MOST_FAILED of other trials fail

As in `training.syndrome_trials` a trial is one packet of the recording with its samples in random order, so that loud packets stay loud. Layers are
tried one by one with those before known, since a layer that fails ends the packet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit

from edge_wz.codec.layer_blocks import plane_ends
from edge_wz.codec.layered_block_decoder import flipped
from edge_wz.codec.nested_decoders import side_filter
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.state_space import Predictor
from edge_wz.codec.syndrome_decoder import code_of
from edge_wz.decoders import block_layers, polar_ratios, smoother
from edge_wz.decoders.side_window import Windows
from edge_wz.errors import DesignError
from edge_wz.formats.blob import make_layered
from edge_wz.formats.layout import MIN_LAYER_BLOCK
from edge_wz.kernels.layer_blocks import layer_check
from edge_wz.model import BlockDecoding, LayeredRatePoint, Model, frozen
from training.design_syndrome import check_bits_for
from training.material import Material
from training.syndrome_trials import MIN_BLOCKS, Pool, fit_density

MOST_FAILED = 6e-3  # of the blocks, each layer; the promise is 1e-2
EXCESS_STEP = 0.005  # of a search, for blocks of 1024
FIRST_EXCESS = 0.02  # bits above the ideal ones that a search begins at, each plane
TRIAL_SAMPLES = 1_200_000
HARDNESS_SAMPLES = 2_000_000
MOST_SAMPLES = 200_000  # of the recording, the last ones
SEED = 4711


@dataclass(frozen=True, eq=False)
class Trials:
    """`bits` int64[B, N]: messages, plane c as bit c; `trees` float32[B, N, 2^C]: what the gateway knows of them (`block_layers.plane_ratios`)."""

    bits: np.ndarray
    trees: np.ndarray
    ends: np.ndarray

    @property
    def planes(self) -> int:
        return int(self.ends[-1])


@dataclass(frozen=True)
class Layer:
    """One layer as designed; bits per sample, the check included. `failed` of `blocks` trials, `unnoticed` of them passing the check."""

    ideal_bits: float
    bits: float
    planes: int
    blocks: int
    failed: int
    unnoticed: int

    @property
    def excess(self) -> float:
        """Bits above the ideal ones, each plane."""
        return (self.bits - self.ideal_bits) / self.planes


def beliefs(model: Model, material: Material, span: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes, predicted, sigmas) of the rows, codes: the gateway's belief before each message, from neighbours as recorded."""
    moments = side_filter(model, "posterior")
    windows, side = Windows(moments, (len(moments.mean) - 1) // moments.taps), SideInformation.of(material.side)
    predicted, variances, _ = windows.predict(windows.initial_state(), side.values, side.sigmas)
    sigmas = np.broadcast_to(np.sqrt(variances), predicted.shape)
    return material.in_codes[span], (predicted + moments.mean[0])[span], sigmas[span]


def with_blocks(model: Model, pool: Pool) -> tuple[Model, list[Layer]]:
    """The model with packets that are blocks, and what its layers cost; its rate points share one table."""
    node, point = model.node, model.node.rate_points[0]
    check(point.alphabets, node.packet_samples)
    density = fit_density(pool)
    check_bits = check_bits_for(node.packet_samples)
    positions, layers = design(trials_of(point, pool, density), check_bits)
    points = [replace(one, positions=positions) for one in node.rate_points]
    made = make_layered(node.packet_samples, node.hello_every, node.scale, node.offset, points, check_bits)
    planes = frozen(np.full(len(points), len(positions)), np.float64)
    block = BlockDecoding(planes, frozen(np.zeros(len(points)), np.float64), frozen(density, np.float64), 1)
    return replace(model, node=made, block=block), layers


def check(alphabets: tuple[int, ...], packet_samples: int) -> None:
    """DesignError for what has no blocks."""
    if any(alphabet & (alphabet - 1) for alphabet in alphabets):
        raise DesignError(f"layers {alphabets}: only alphabets that are powers of two have bit planes")
    if packet_samples < MIN_LAYER_BLOCK:
        raise DesignError(f"packets of {packet_samples} samples are too short for blocks of layers, which need {MIN_LAYER_BLOCK}, better 1024")


def raw(point: LayeredRatePoint) -> LayeredRatePoint:
    """The table alone, without cdfs, which a block has none of, and without positions."""
    cdfs = tuple(frozen(np.zeros((0, alphabet + 1)), np.int32) for alphabet in point.alphabets)
    return replace(point, cdfs=cdfs, positions=frozen(np.zeros((0, 0)), np.bool_))


def gather(model: Model, material: Material) -> Pool:
    """Blocks of the samples that are there, in order, with what the model's decoder knows of them beforehand."""
    samples, recent = model.node.packet_samples, material.part(max(0, len(material.codes) - MOST_SAMPLES), len(material.codes))
    known = cavities if model.decoder == "kalman" else beliefs
    codes, means, sigmas = known(model, recent, slice(None))
    there = np.isfinite(codes)
    packets = int(np.count_nonzero(there)) // samples
    if packets < MIN_BLOCKS:
        raise DesignError(f"{np.count_nonzero(there)} samples are {packets} blocks of {samples}; at least {MIN_BLOCKS} are needed: shorten them")
    codes, means, sigmas = (column[there][: packets * samples].reshape(packets, samples) for column in (codes, means, sigmas))
    return Pool(codes, means, np.square(sigmas), np.ones((1, 2)), SEED)


def cavities(model: Model, material: Material, span: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for `kalman`, when all packets before were resolved to the width of an interval."""
    assert model.state_space is not None
    predictor, slots = Predictor(model.state_space), model.node.packet_samples
    dims, store = smoother.dims_of(*predictor.sizes), np.empty((slots, smoother.store_size(*predictor.sizes)))
    codes, side = material.in_codes, np.ascontiguousarray(material.side)
    sites = np.where(np.isfinite(codes), codes, 0.0), np.where(np.isfinite(codes), model.node.rate_points[0].step ** 2 / 12, smoother.NO_SITE)
    exact, nothing = np.zeros(side.shape), (np.zeros(slots), np.full(slots, smoother.NO_SITE))
    means, variances, state = np.empty(len(codes)), np.empty(len(codes)), predictor.initial_state()
    for at in range(0, len(codes), slots):
        part, after = slice(at, at + slots), np.empty_like(state)
        known = state, predictor.F, predictor.G, predictor.mean, side[part], exact[part]
        here = len(side[part])
        smoother.smooth_packet(dims, *known, nothing[0][:here], nothing[1][:here], means[part], variances[part], store, after)
        smoother.filter_packet(dims, *known, sites[0][part], sites[1][part], store, after)
        state = after
    return codes[span], means[span], np.sqrt(variances[span])


def trials_of(point: LayeredRatePoint, pool: Pool, density: np.ndarray) -> Trials:
    ends = plane_ends(point.alphabets)
    messages, count = flipped(point.numbers, int(ends[-1])), pool.sources.size
    bits = messages[np.searchsorted(point.thresholds, np.round(pool.sources).reshape(-1), side="right")]
    trees = np.empty((1 << int(ends[-1]), count), np.float32)
    means, variances = np.ascontiguousarray(pool.means.reshape(-1)), np.ascontiguousarray(pool.variances.reshape(-1))
    block_layers.weigh(means, variances, np.arange(count), count, density, point.thresholds - 0.5, messages, trees)
    shape = pool.sources.shape
    return Trials(bits.reshape(shape), np.ascontiguousarray(trees.T).reshape(*shape, -1), ends)


def design(trials: Trials, check_bits: int) -> tuple[np.ndarray, list[Layer]]:
    """(sets bool[C, N], what the layers cost)."""
    samples = trials.bits.shape[1]
    errors, ideal = hardness(trials)
    sets = np.zeros(errors.shape, np.bool_)
    layers = []
    for first, last in zip(trials.ends[:-1].tolist(), trials.ends[1:].tolist(), strict=True):
        planes, excess, step = last - first, FIRST_EXCESS, EXCESS_STEP * max(1.0, math.sqrt(1024 / samples))
        while True:
            sets[first:last] = chosen(errors[first:last], round((ideal[first:last].sum() + excess * planes) * samples) - check_bits)
            layer = attempt(trials, sets, first, last, check_bits, float(ideal[first:last].sum()), MOST_FAILED)
            if layer.failed <= MOST_FAILED * layer.blocks or sets[first:last].all():
                break
            excess += step
        layers.append(layer)
    return sets, layers


def chosen(errors: np.ndarray, bits: int) -> np.ndarray:
    """The hardest positions of the planes of a layer; at least one of each."""
    sent = np.zeros(errors.shape, np.bool_)
    sent[np.arange(len(errors)), errors.argmax(axis=1)] = True
    sent.reshape(-1)[np.argsort(-errors.reshape(-1), kind="stable")[: min(max(bits, 0), errors.size)]] = True
    return sent


def hardness(trials: Trials) -> tuple[np.ndarray, np.ndarray]:
    """(chance that a position is guessed wrong, float64[C, N]; ideal bits per sample of each plane)."""
    samples, planes = trials.bits.shape[1], trials.planes
    errors, ideal = np.zeros((planes, 1 << (samples - 1).bit_length())), np.zeros(planes)
    blocks = HARDNESS_SAMPLES // samples + 1
    _hardness(trials.bits, trials.trees, blocks, SEED, errors, ideal)
    return errors[:, :samples] / blocks, ideal / (blocks * samples * math.log(2.0))


def attempt(trials: Trials, sets: np.ndarray, first: int, last: int, check_bits: int, ideal: float, most_failed: float = 1.0) -> Layer:
    """Planes first .. last - 1 of trials that `hardness` has not seen; given up once more than `most_failed` of all would fail."""
    samples = trials.bits.shape[1]
    blocks, planes = max(TRIAL_SAMPLES // samples, 100), last - first
    code = code_of(sets[first:last], samples, planes)
    space = block_layers.workspace(samples, planes, code[2])
    done, failed, unnoticed = _attempt(
        trials.bits, trials.trees, trials.planes, first, last, sets, code, check_bits, blocks, int(most_failed * blocks), SEED + 1, space
    )
    bits = (int(sets[first:last].sum()) + check_bits) / samples
    return Layer(ideal, bits, planes, done, failed, unnoticed)


@njit(cache=True)
def _shuffle(order):  # type: ignore[no-untyped-def]
    for i in range(order.shape[0] - 1, 0, -1):
        j = np.random.randint(0, i + 1)
        order[i], order[j] = order[j], order[i]


@njit(cache=True)
def _hardness(bits, trees, blocks, seed, errors, ideal):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    samples, (planes, n) = bits.shape[1], errors.shape
    order, ratios = np.arange(samples), np.empty(n, np.float32)
    for b in range(blocks):
        block = b % bits.shape[0]
        _shuffle(order)
        for c in range(planes):
            ratios[:] = polar_ratios.CERTAIN
            for i in range(samples):
                own = bits[block, order[i]]
                ratio = trees[block, order[i], (1 << c) + (own & ((1 << c) - 1))]
                ratios[i] = -ratio if (own >> c) & 1 else ratio
                ideal[c] += math.log1p(math.exp(-abs(ratio))) + max(-ratios[i], 0.0)
            polar_ratios.known_before(ratios)
            for i in range(n):
                errors[c, i] += 1.0 / (1.0 + math.exp(min(abs(np.float64(ratios[i])), 700.0)))


@njit(cache=True)
def _transformed(own, planes, first, last, size):  # type: ignore[no-untyped-def]
    """What a parser yields of the planes, were all positions sent."""
    numbers, work = np.zeros(own.shape[0], np.int64), np.zeros(size, np.uint8)
    for c in range(first, last):
        work[:] = 0
        for i in range(own.shape[0]):
            work[i] = (own[i] >> c) & 1
        polar_ratios.transform(work)
        for i in range(own.shape[0]):
            numbers[i] |= np.int64(work[i]) << (planes - 1 - c)
    return numbers


@njit(cache=True)
def _attempt(bits, trees, planes, first, last, sets, code, check_bits, blocks, most, seed, space):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    samples = bits.shape[1]
    order, own, prefixes, known = np.arange(samples), np.empty(samples, np.int64), np.empty(samples, np.int64), np.empty(samples, np.int64)
    mixed = np.empty((trees.shape[2], samples), np.float32)
    failed, unnoticed, before = 0, 0, (1 << first) - 1
    for b in range(blocks):
        block = b % bits.shape[0]
        _shuffle(order)
        for i in range(samples):
            own[i] = bits[block, order[i]]
            known[i] = own[i] & before
            prefixes[i] = block_layers.prefix_of(own[i], last)
            mixed[:, i] = trees[block, order[i]]
        wanted = layer_check(prefixes, samples, check_bits)
        numbers = _transformed(own, planes, first, last, 1 << code[2])
        held = block_layers.resolve_layer(mixed, numbers, known, samples, planes, first, last, sets, code, check_bits, wanted, space)
        right = held
        for i in range(samples):
            right = right and known[i] == own[i] & ((1 << last) - 1)
        failed += not right
        unnoticed += held and not right
        if failed > most:
            return b + 1, failed, unnoticed
    return blocks, failed, unnoticed


def as_rows(layers: list[Layer]) -> list[dict[str, Any]]:
    """For a manifest."""
    return [
        {
            "ideal_bits": round(layer.ideal_bits, 4), "bits": round(layer.bits, 4), "above_ideal_each_plane": round(layer.excess, 4),
            "failed": layer.failed, "trials": layer.blocks,
        }
        for layer in layers
    ]  # fmt: skip
