"""Scheme `trellis` (SPEC 9), packets in bulk: samples to payloads and payloads to indices.

An index is 2 * low + syndrome. What its cosets mean is decided packet by packet in `trellis_decoder`; payloads are those of
`nested` with 2q bins.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL, payload_bytes
from edge_wz.kernels import nested_quantizer, trellis_quantizer
from edge_wz.model import NestedRatePoint, NodeModel


def max_payload_bytes(node: NodeModel, rate_point: int) -> int:
    """Of any payload."""
    point: NestedRatePoint = node.rate_points[rate_point]
    return (node.packet_samples * point.modulus.bit_length() + node.level_check_bits + 7) // 8


def encode(
    node: NodeModel, rate_point: int, codes: np.ndarray, present: np.ndarray, counts: np.ndarray, state: np.ndarray
) -> tuple[list[bytes], int]:
    """Payloads of codes int16[B, N] (only the last count may be below N), and how many samples saturated."""
    point: NestedRatePoint = node.rate_points[rate_point]
    bins = np.full(codes.shape, NO_LEVEL, dtype=np.int32)
    turns = np.zeros(codes.shape, dtype=np.int32)
    total = int(counts.sum())
    saturated = nested_quantizer.quantize_stream(
        codes.reshape(-1)[:total], present.reshape(-1)[:total], point.taps, point.shift, point.rounding, point.modulus,
        state, bins.reshape(-1)[:total], turns.reshape(-1)[:total],
    )  # fmt: skip
    trellis_quantizer.add_syndromes(bins, turns, node.h0, node.h1)
    out = np.zeros((len(codes), max_payload_bytes(node, rate_point)), dtype=np.uint8)
    sizes = np.zeros(len(codes), dtype=np.int32)
    nested_quantizer.pack_packets(bins, turns, 2 * point.modulus, node.level_check_bits, out, sizes)
    return payload_bytes(out, sizes), saturated


def parse(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns `values` (the indices), `checks`, `status` of the payloads data[offsets[p]:offsets[p+1]]."""
    point: NestedRatePoint = node.rate_points[rate_point]
    indices = np.empty(present.shape, dtype=np.int32)
    checks = np.empty(len(counts), dtype=np.int32)
    status = np.empty(len(counts), dtype=np.int32)
    nested_quantizer.unpack_packets(
        data, offsets, present, counts, 2 * point.modulus, node.level_check_bits, indices, checks, status
    )
    return {"values": indices, "checks": checks, "status": status}
