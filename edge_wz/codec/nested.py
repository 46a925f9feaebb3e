"""Scheme `nested` (SPEC 3), packets in bulk: samples to payloads and payloads to bins.

The bins are all there is to parse; which of its candidates a bin means is decided in `reconstruction`.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL, payload_bytes
from edge_wz.kernels import nested_quantizer as kernel
from edge_wz.model import NestedRatePoint, NodeModel, SyndromeRatePoint

CODER_SLACK_BYTES = 5


def max_payload_bytes(node: NodeModel, rate_point: int) -> int:
    """A bound of any payload: a flat symbol of J costs its bits and what the coder loses, far below 1/16 bit."""
    point: NestedRatePoint = node.rate_points[rate_point]
    bits = node.packet_samples * ((point.modulus - 1).bit_length() + 0.0625 * point.range_coded)
    return int((bits + node.level_check_bits) / 8) + 1 + CODER_SLACK_BYTES


def quantize(
    point: NestedRatePoint | SyndromeRatePoint, codes: np.ndarray, present: np.ndarray, counts: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """(bins, turns, how many samples saturated) of codes int16[B, N], of which only the last count may be below N."""
    bins = np.full(codes.shape, NO_LEVEL, dtype=np.int32)
    turns = np.zeros(codes.shape, dtype=np.int32)
    total = int(counts.sum())
    saturated = kernel.quantize_stream(
        codes.reshape(-1)[:total], present.reshape(-1)[:total], point.taps, point.shift, point.rounding, point.modulus, state,
        bins.reshape(-1)[:total], turns.reshape(-1)[:total],
    )  # fmt: skip
    return bins, turns, int(saturated)


def pack(bins: np.ndarray, turns: np.ndarray, modulus: int, check_bits: int, longest: int) -> list[bytes]:
    """Payloads of up to `longest` bytes."""
    out = np.zeros((len(bins), longest), dtype=np.uint8)
    sizes = np.zeros(len(bins), dtype=np.int32)
    kernel.pack_packets(bins, turns, modulus, check_bits, out, sizes)
    return payload_bytes(out, sizes)


def unpack(
    data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray, modulus: int, check_bits: int
) -> dict[str, np.ndarray]:
    """Columns `values`, `checks`, `status` of the payloads data[offsets[p]:offsets[p+1]]."""
    bins = np.empty(present.shape, dtype=np.int32)
    checks = np.empty(len(counts), dtype=np.int32)
    status = np.empty(len(counts), dtype=np.int32)
    kernel.unpack_packets(data, offsets, present, counts, modulus, check_bits, bins, checks, status)
    return {"values": bins, "checks": checks, "status": status}


def encode(
    node: NodeModel, rate_point: int, codes: np.ndarray, present: np.ndarray, counts: np.ndarray, state: np.ndarray
) -> tuple[list[bytes], int]:
    """Payloads of codes as in `quantize`, and how many samples saturated."""
    point: NestedRatePoint = node.rate_points[rate_point]
    bins, turns, saturated = quantize(point, codes, present, counts, state)
    return pack(bins, turns, point.modulus, node.level_check_bits, max_payload_bytes(node, rate_point)), saturated


def parse(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """As `unpack`."""
    point: NestedRatePoint = node.rate_points[rate_point]
    return unpack(data, offsets, counts, present, point.modulus, node.level_check_bits)
