"""The arithmetic of the node in unbounded Python integers, sample by sample, as SPEC 3.1, 3.3, 4.1, 9, 10 and 11 put it.

Slow and independent of the kernels on purpose: `export.verify` holds them against it wherever the package is installed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from edge_wz.formats.layout import MIN_LAYER_BLOCK
from edge_wz.model import NodeModel

POLYNOMIALS = {6: 0x0C00, 8: 0x2F00, 12: 0x80F0, 16: 0x1021}
CHECK_PLACE = 1024  # in what a parser yields of a block of layers


def sat16(value: int) -> int:
    return min(max(value, -32768), 32767)


def shift_round(value: int, shift: int) -> int:
    return (value + (1 << shift >> 1)) >> shift


def nested_levels(node: NodeModel, codes: Sequence[int], rate_point: int = 0) -> list[int]:
    """Levels from boot on."""
    point = node.rate_points[rate_point]
    taps = [int(tap) for tap in point.taps]
    rounding, shift = int(point.rounding), int(point.shift)
    window = [0] * len(taps)
    levels = []
    for code in codes:
        window = [code, *window[:-1]]
        acc = rounding + sum(tap * value for tap, value in zip(taps, window, strict=True))
        if not -(1 << 31) <= acc < 1 << 31:
            raise OverflowError("an accumulator leaves 32 bits, which the loader should have refused")
        levels.append(sat16(acc >> shift))
    return levels


def nested_bins(node: NodeModel, levels: Sequence[int], rate_point: int = 0) -> list[int]:
    modulus = int(node.rate_points[rate_point].modulus)
    return [(level + 32768) % modulus for level in levels]


def predictive_levels(node: NodeModel, codes: Sequence[int], rate_point: int = 0) -> tuple[list[int], list[int]]:
    """(levels, reconstructions); the state starts anew in every packet."""
    levels: list[int] = []
    rebuilt: list[int] = []
    for start in range(0, len(codes), node.packet_samples):
        packet_levels, packet_rebuilt = _predictive_packet(node, codes[start : start + node.packet_samples], rate_point)
        levels += packet_levels
        rebuilt += packet_rebuilt
    return levels, rebuilt


def _predictive_packet(node: NodeModel, codes: Sequence[int], rate_point: int) -> tuple[list[int], list[int]]:
    point = node.rate_points[rate_point]
    step, rounding = int(point.step_q8), int(point.rounding_q8)
    levels: list[int] = []
    rebuilt: list[int] = []
    for code in codes:
        depth = min(len(rebuilt), node.order)
        bias, *coefs = (int(value) for value in node.predictors[depth])
        acc = bias + sum(coefs[i] * rebuilt[-1 - i] for i in range(depth))
        prediction = sat16(shift_round(acc, 12))
        difference = code - prediction
        magnitude = (abs(difference) * 256 + rounding) // step
        sign = 1 if difference >= 0 else -1
        levels.append(sign * magnitude)
        rebuilt.append(sat16(prediction + sign * ((magnitude * step + 128) >> 8)))
    return levels, rebuilt


def indices(node: NodeModel, codes: Sequence[int], rate_point: int = 0) -> list[int]:
    """What a parser yields of a run from boot on without gaps, for any scheme but `predictive`."""
    if node.scheme == "layered":
        starts = range(0, len(codes), node.packet_samples)
        return [value for start in starts for value in _layered_packet(node, codes[start : start + node.packet_samples], rate_point)]
    levels = nested_levels(node, codes, rate_point)
    if node.scheme == "nested":
        return nested_bins(node, levels, rate_point)
    packed = _trellis_packet if node.scheme == "trellis" else _syndrome_packet
    return [index for packet in _packets(node, levels) for index in packed(node, packet, rate_point)]


def _packets(node: NodeModel, levels: Sequence[int]) -> Iterator[list[int]]:
    """Levels plus 32768."""
    for start in range(0, len(levels), node.packet_samples):
        yield [level + 32768 for level in levels[start : start + node.packet_samples]]


def _trellis_packet(node: NodeModel, packet: list[int], rate_point: int) -> list[int]:
    q, register = int(node.rate_points[rate_point].modulus), 0
    syndromes = []
    for u in packet:
        z = u // q % 4
        register ^= (node.h0 if z & 1 else 0) ^ (node.h1 if z & 2 else 0)
        syndromes.append(register & 1)
        register >>= 1
    for bit in range(node.memory):
        syndromes[bit % len(packet)] ^= register >> bit & 1
    return [2 * (u % q) + syndrome for u, syndrome in zip(packet, syndromes, strict=True)]


def _syndrome_packet(node: NodeModel, packet: list[int], rate_point: int) -> list[int]:
    point = node.rate_points[rate_point]
    q, size = int(point.modulus), 1 << (node.packet_samples - 1).bit_length()
    found = [u % q for u in packet]
    for plane, sent in enumerate(point.sent.tolist()):
        bits = _transformed([u // q >> plane & 1 for u in packet], size)
        for i, (bit, is_sent) in enumerate(zip(bits[: len(packet)], sent, strict=False)):
            found[i] += q << plane if bit and is_sent else 0
    return found


def _transformed(bits: list[int], size: int) -> list[int]:
    bits = bits + [0] * (size - len(bits))
    step = 1
    while step < size:
        bits = [bit if i & step else bit ^ bits[i + step] for i, bit in enumerate(bits)]
        step *= 2
    return bits


def _layered_packet(node: NodeModel, codes: Sequence[int], rate_point: int) -> list[int]:
    prefixes = [_layered_prefix(node, code, rate_point) for code in codes]
    if not node.block_check_bits or len(codes) < MIN_LAYER_BLOCK:
        return prefixes
    point = node.rate_points[rate_point]
    alphabets, size = point.alphabets[: point.layers_sent], 1 << (node.packet_samples - 1).bit_length()
    base = sum(math.prod(alphabets[:shorter]) for shorter in range(1, len(alphabets)))
    planes = sum(alphabet.bit_length() - 1 for alphabet in alphabets)
    found = [base] * len(codes)
    for plane, sent in enumerate(point.positions[:planes].tolist()):
        bits = _transformed([(prefix - base) >> (planes - 1 - plane) & 1 for prefix in prefixes], size)
        for i, is_sent in enumerate(sent[: len(codes)]):
            found[i] += bits[i] << (planes - 1 - plane) if is_sent else 0
    for layer in range(len(alphabets)):
        below = math.prod(alphabets[layer + 1 :])
        found[layer] += CHECK_PLACE * _block_check([(prefix - base) // below for prefix in prefixes], node.block_check_bits)
    return found


def _block_check(values: Sequence[int], check_bits: int) -> int:
    """SPEC 10.1."""
    register = (2**check_bits - 1) * 2 ** (16 - check_bits)
    for value in values:
        for byte in divmod(value, 256):
            register ^= byte * 256
            for _ in range(8):
                register = 2 * register % 65536 ^ (POLYNOMIALS[check_bits] if register >= 32768 else 0)
    return register // 2 ** (16 - check_bits)


def _layered_prefix(node: NodeModel, code: int, rate_point: int) -> int:
    point = node.rate_points[rate_point]
    interval = sum(threshold <= code for threshold in point.thresholds.tolist())
    alphabets, layers = point.alphabets, point.layers_sent
    prefix = 0
    for layer in range(layers):
        prefix = prefix * alphabets[layer] + int(point.messages[interval, layer])
    return prefix + sum(math.prod(alphabets[:shorter]) for shorter in range(1, layers))
