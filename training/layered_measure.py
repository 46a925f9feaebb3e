"""What an interval table is worth on samples: through the node's integers, real payload bytes and the gateway's closed-form decoder.

The rates: *sent*, bits of the payloads of long packets; *ideal*, -log2 of each symbol's exact posterior probability, what ideal
Slepian-Wolf coding would pay (equation 13 of Joukovsky, De Weerd, Deligiannis, with the true conditional law in place of a learned
one). Both cumulative. Distortion in decibels of the normal source of `training.layered_pairs`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from edge_wz.codec import layered as codec
from edge_wz.codec.layered_decoder import Runs
from edge_wz.decoders import layered as decoders
from edge_wz.formats import blob
from edge_wz.model import LayeredRatePoint, NodeModel
from training.layered_pairs import Pairs

PACKET = 4096  # samples: the coder's few closing bytes must not blur the rate
CHUNK = 244 * PACKET
REACH = 9.0  # deviations that a symbol's probability is summed over
ROOT_HALF = math.sqrt(0.5)
LEAST = 1e-12


@dataclass(frozen=True)
class Measured:
    """Cumulative, per layer."""

    samples: int
    sent_bits: tuple[float, ...]
    ideal_bits: tuple[float, ...]
    distortion_db: tuple[float, ...]


def measure(point: LayeredRatePoint, pairs: Pairs, samples: int, seed: int = 1) -> Measured:
    """`point` on `samples` fresh pairs (rounded up to whole packets)."""
    node, rng = node_of(point), np.random.default_rng(seed)
    totals, done = np.zeros((3, point.layers)), 0
    while done < samples:
        count = min(CHUNK, -(-(samples - done) // PACKET) * PACKET)
        x, y, sigma = pairs.draw(rng, count)
        totals += _chunk(node, pairs, x, y, sigma)
        done += count
    bits, ideal, errors = totals / done
    return Measured(done, _floats(bits), _floats(np.cumsum(ideal)), _floats(10 * np.log10(errors)))


def node_of(point: LayeredRatePoint) -> NodeModel:
    return blob.make_layered(packet_samples=PACKET, hello_every=128, scale=1.0, offset=0.0, rate_points=[point])


def _chunk(node: NodeModel, pairs: Pairs, x: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """[payload bits, ideal bits, squared errors] of each layer, summed; bits of payloads are cumulative as they are."""
    point: LayeredRatePoint = node.rate_points[0]
    codes = pairs.to_codes(x).astype(np.int16)
    packets = codes.reshape(-1, PACKET)
    found = codec.messages(node, 0, packets, np.ones(packets.shape, bool))
    sums = np.zeros((3, point.layers))
    for layer in range(point.layers):
        sums[0, layer] = 8 * sum(map(len, codec.pack(node, 0, found, 0, layer + 1)))
        errors = x - decode(point, pairs, found.reshape(-1), layer + 1, y, sigma)
        sums[2, layer] = np.sum(errors * errors)
    means, spreads = y / pairs.lsb + pairs.mean, sigma / pairs.lsb
    _surprises(point.thresholds - 0.5, point.numbers, np.array(point.alphabets), found.reshape(-1), means, spreads, sums[1])
    return sums


def decode(point: LayeredRatePoint, pairs: Pairs, found: np.ndarray, layers: int, y: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Reconstructions (normal units) by the gateway's kernel from the first `layers` layers of message numbers."""
    tree = codec.Tree(point.alphabets)
    prefixes = (found // (tree.sizes[-1] // tree.sizes[layers]) + tree.bases[layers]).astype(np.int32)
    means, spreads = y / pairs.lsb + pairs.mean, sigma / pairs.lsb
    count = len(found)
    values, sigmas, flags, levels = np.empty(count), np.empty(count), np.empty(count, np.uint8), np.empty(count, np.int32)
    decoders.posterior(
        prefixes, np.zeros(count, np.int32), *Runs(node_of(point)).arrays, 0.0, means, spreads * spreads, values, sigmas, flags, levels
    )
    return pairs.to_normal(values)


@njit(cache=True)
def _surprises(edges, numbers, alphabets, found, means, sigmas, bits):  # type: ignore[no-untyped-def]
    """Add to `bits` the -log2 of each layer's symbol given the ones before and the Gaussian belief."""
    layers = alphabets.shape[0]
    masses = np.empty(layers + 1)
    for n in range(found.shape[0]):
        masses[:] = 0.0
        scale = ROOT_HALF / sigmas[n]
        first = np.searchsorted(edges, means[n] - REACH * sigmas[n])
        below = 0.0
        for interval in range(first, numbers.shape[0]):
            last = interval == edges.shape[0] or edges[interval] > means[n] + REACH * sigmas[n]
            above = 1.0 if last else 0.5 * math.erfc((means[n] - edges[interval]) * scale)
            _add(masses, numbers[interval], found[n], alphabets, above - below)
            below = above
            if last:
                break
        for layer in range(layers):
            bits[layer] -= math.log2(max(masses[layer + 1], LEAST) / max(masses[layer], LEAST))


@njit(cache=True)
def _add(masses, number, wanted, alphabets, mass):  # type: ignore[no-untyped-def]
    """`mass` to every depth down to which `number` and `wanted` agree."""
    after = 1
    for layer in range(alphabets.shape[0] - 1, -1, -1):
        if number // after == wanted // after:
            masses[layer + 1] += mass
        after *= alphabets[layer]
    masses[0] += mass


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
