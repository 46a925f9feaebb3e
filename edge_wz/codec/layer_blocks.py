"""Blocks of scheme `layered` (SPEC 11.6), in bulk: messages to payloads, payloads to transformed bits, and cutting a payload.

`codec.layered` decides which packets are blocks; here all are.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL, payload_bytes
from edge_wz.formats.layout import MIN_LAYER_BLOCK
from edge_wz.kernels import layer_blocks as kernel
from edge_wz.kernels.layer_blocks import NUMBER_BITS
from edge_wz.kernels.polar import transform_words_of, words_of
from edge_wz.model import LayeredRatePoint, NodeModel

NUMBER_MASK = (1 << NUMBER_BITS) - 1


def plane_ends(alphabets: tuple[int, ...]) -> np.ndarray:
    """int64[K + 1]: planes before each layer, and all of them."""
    return np.cumsum([0, *(alphabet.bit_length() - 1 for alphabet in alphabets)], dtype=np.int64)


def are_blocks(present: np.ndarray) -> np.ndarray:
    """bool[B] of packets with these present samples, bool[B, N]."""
    return np.asarray(np.count_nonzero(present, axis=1) >= MIN_LAYER_BLOCK)


def max_payload_bytes(node: NodeModel, rate_point: int) -> int:
    """Of a block; a packet that is none has at most as many bits as MIN_LAYER_BLOCK whole messages."""
    point: LayeredRatePoint = node.rate_points[rate_point]
    bits = int(point.positions.sum()) + point.layers * node.block_check_bits
    return (max(bits, MIN_LAYER_BLOCK * int(plane_ends(point.alphabets)[-1])) + 7) // 8


def pack(node: NodeModel, rate_point: int, found: np.ndarray, first: int, last: int) -> list[bytes]:
    """Payloads of layers first .. last - 1 of messages int32[B, N]."""
    point: LayeredRatePoint = node.rate_points[rate_point]
    out = np.zeros((len(found), max_payload_bytes(node, rate_point)), dtype=np.uint8)
    sizes = np.zeros(len(found), dtype=np.int32)
    slots = found.shape[1]
    work = np.zeros(transform_words_of(node.packet_samples), np.int64), np.zeros(slots, np.int64), np.zeros(slots, np.int64)
    kernel.pack_blocks(found, plane_ends(point.alphabets), words_of(point.positions), node.block_check_bits, first, last, work, out, sizes)
    return payload_bytes(out, sizes)


def unpack(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray,
    first: int, lasts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(transformed bits as one number, with the checks above them, int32[B, N], layers found, status)."""
    point: LayeredRatePoint = node.rate_points[rate_point]
    values = np.empty(present.shape, dtype=np.int32)
    depths, status = np.empty((2, len(counts)), dtype=np.int32)
    kernel.unpack_blocks(
        data, offsets, present, counts, plane_ends(point.alphabets), words_of(point.positions), node.block_check_bits, first, lasts,
        np.empty(present.shape[1], np.int64), values, depths, status,
    )  # fmt: skip
    return values, depths, status


def cut(node: NodeModel, rate_point: int, payload: bytes, count: int, layers: int) -> bytes:
    """The payload of a block of `count` samples with its first `layers` layers only."""
    point: LayeredRatePoint = node.rate_points[rate_point]
    ends, words = plane_ends(point.alphabets), words_of(point.positions)
    bits = sum(kernel.layer_bits(ends, words, node.block_check_bits, layer, count) for layer in range(layers))
    kept = bytearray(payload[: (bits + 7) // 8])
    if bits % 8:
        kept[-1] &= 0xFF << (8 - bits % 8) & 0xFF
    return bytes(kept)


def numbers(values: np.ndarray) -> np.ndarray:
    """Parsed values without the checks that those of blocks carry."""
    return np.where(values == NO_LEVEL, values, values & NUMBER_MASK)


def joined_checks(values: np.ndarray, more: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """What of the checks stands above the numbers of a packet once further layers are put behind: each layer's own, by sample."""
    present = values != NO_LEVEL
    rank = np.cumsum(present) - 1
    checks = np.where(rank < depths, values & ~NUMBER_MASK, more & ~NUMBER_MASK)
    return np.where(present, checks, 0)
