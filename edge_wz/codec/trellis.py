"""Scheme `trellis` (SPEC 9), packets in bulk: samples to payloads and payloads to indices.

An index is 2 * low + syndrome. What its cosets mean is decided packet by packet in `trellis_decoder`; payloads are those of
`nested` with 2q bins.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec import nested
from edge_wz.kernels import trellis_quantizer
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
    bins, turns, saturated = nested.quantize(point, codes, present, counts, state)
    trellis_quantizer.add_syndromes(bins, turns, node.h0, node.h1)
    return nested.pack(bins, turns, 2 * point.modulus, node.level_check_bits, max_payload_bytes(node, rate_point)), saturated


def parse(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns `values` (the indices), `checks`, `status` of the payloads data[offsets[p]:offsets[p+1]]."""
    point: NestedRatePoint = node.rate_points[rate_point]
    return nested.unpack(data, offsets, counts, present, 2 * point.modulus, node.level_check_bits)
