"""Scheme `predictive` (SPEC 4), packets in bulk: samples to payloads, payloads to levels and reconstructions.

Unlike `nested`, parsing already tells the cell of every sample: its prediction plus the cell of its level.
"""

from __future__ import annotations

import weakref

import numpy as np

from edge_wz.codec.blocks import payload_bytes
from edge_wz.kernels import predictor as kernel
from edge_wz.model import NodeModel

MAX_LEVEL_BYTES = 4  # a symbol of at most 15 bits, 15 bits of an escape, its sign
CODER_SLACK_BYTES = 8

_flat_models: weakref.WeakKeyDictionary[NodeModel, dict[int, np.ndarray]] = weakref.WeakKeyDictionary()


def flat_model(node: NodeModel, rate_point: int) -> np.ndarray:
    """The kernel's arrays of one rate point; built once per node model."""
    points = _flat_models.setdefault(node, {})
    if rate_point not in points:
        points[rate_point] = kernel.flatten_predictive(node, rate_point)
    return points[rate_point]


def max_payload_bytes(node: NodeModel) -> int:
    """A bound of any payload."""
    return node.packet_samples * MAX_LEVEL_BYTES + node.packet_samples // 64 + CODER_SLACK_BYTES


def encode(
    node: NodeModel, rate_point: int, codes: np.ndarray, present: np.ndarray, counts: np.ndarray
) -> list[bytes]:
    """Payloads of codes int16[B, N]."""
    out = np.zeros((len(codes), max_payload_bytes(node)), dtype=np.uint8)
    sizes = np.zeros(len(codes), dtype=np.int32)
    recon = np.zeros(codes.shape, dtype=np.int16)
    kernel.encode_packets(codes, present, counts, flat_model(node, rate_point), out, sizes, recon)
    return payload_bytes(out, sizes)


def parse(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns `values`, `checks`, `status`, `preds`, `recon` of the payloads data[offsets[p]:offsets[p+1]]."""
    values, preds, recon = (np.empty(present.shape, dtype=np.int32) for _ in range(3))
    status = np.empty(len(counts), dtype=np.int32)
    model = flat_model(node, rate_point)
    kernel.decode_packets(data, offsets, present, counts, model, values, preds, recon, status)
    checks = np.full(len(counts), -1, dtype=np.int32)
    return {"values": values, "checks": checks, "status": status, "preds": preds, "recon": recon}
