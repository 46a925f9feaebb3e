"""Scheme `syndrome` (SPEC 10), packets in bulk: samples to payloads and payloads to indices.

A packet is a block: the low bits of each sample, the transformed bits that were chosen for being hard to guess, a check over all levels. An index
is the low bits with the sent bits of the coded planes above them; what the whole block means is decided in `syndrome_decoder`.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec import nested
from edge_wz.codec.blocks import payload_bytes
from edge_wz.kernels import polar
from edge_wz.model import NodeModel, SyndromeRatePoint


def low_bits(point: SyndromeRatePoint) -> int:
    return int(point.modulus).bit_length() - 1


def max_payload_bytes(node: NodeModel, rate_point: int) -> int:
    """Of a whole packet; shorter ones have fewer positions."""
    point: SyndromeRatePoint = node.rate_points[rate_point]
    return (node.packet_samples * low_bits(point) + int(point.sent.sum()) + node.block_check_bits + 7) // 8


def encode(
    node: NodeModel, rate_point: int, codes: np.ndarray, present: np.ndarray, counts: np.ndarray, state: np.ndarray
) -> tuple[list[bytes], int]:
    """Payloads of codes int16[B, N] (only the last count may be below N), and how many samples saturated."""
    point: SyndromeRatePoint = node.rate_points[rate_point]
    bins, turns, saturated = nested.quantize(point, codes, present, counts, state)
    out = np.zeros((len(codes), max_payload_bytes(node, rate_point) + 1), dtype=np.uint8)
    sizes = np.zeros(len(codes), dtype=np.int32)
    planes = np.zeros((len(point.sent), polar.transform_words_of(node.packet_samples)), dtype=np.int64)
    polar.pack_blocks(bins, turns, low_bits(point), polar.words_of(point.sent), node.block_check_bits, planes, out, sizes)
    return payload_bytes(out, sizes), saturated


def parse(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns `values` (the indices), `checks` (of the block), `status` of the payloads data[offsets[p]:offsets[p+1]]."""
    point: SyndromeRatePoint = node.rate_points[rate_point]
    indices = np.empty(present.shape, dtype=np.int32)
    checks = np.empty(len(counts), dtype=np.int32)
    status = np.empty(len(counts), dtype=np.int32)
    places = np.empty(present.shape[1], dtype=np.int64)
    polar.unpack_blocks(
        data, offsets, present, counts, low_bits(point), polar.words_of(point.sent), node.block_check_bits, indices, checks, status, places
    )
    return {"values": indices, "checks": checks, "status": status}
