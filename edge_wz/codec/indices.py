"""What the packets of one node say, before any side information is looked at.

`Indices` has one row per packet, as `schemes.parse` returns it. `StreamIndices` is the same as one run of samples, with
lost packets put in, as `reconstruction` takes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def _empty() -> np.ndarray:
    return np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Indices:
    """Parsed payloads. B packets of N slots; slots past `counts` are padding.

    A packet with a negative status (`kernels.status`) has no levels at all: its slots count as lost.
    """

    # int32[B, N] bins (nested), 2 * low + syndrome (trellis), SPEC 10.2 (syndrome) or levels (predictive), NO_LEVEL where nothing is known
    values: np.ndarray
    present: np.ndarray  # bool[B, N], False past the count
    counts: np.ndarray  # int32[B]
    checks: np.ndarray  # int32[B] level checks, -1 none
    rate_points: np.ndarray  # int32[B]
    status: np.ndarray  # int32[B]
    preds: np.ndarray = field(default_factory=_empty)  # int32[B, N] predictive only
    recon: np.ndarray = field(default_factory=_empty)  # int32[B, N] predictive only


@dataclass(frozen=True, eq=False)
class StreamIndices:
    """Consecutive samples of one node. Packet p covers packet_starts[p] up to the next start (or T)."""

    values: np.ndarray  # int32[T], NO_LEVEL = nothing known
    rate_points: np.ndarray  # int32[T]
    packet_starts: np.ndarray  # int64[P], rising
    checks: np.ndarray  # int32[P] level checks, -1 none or packet lost
    preds: np.ndarray = field(default_factory=_empty)  # int32[T] predictive only
    recon: np.ndarray = field(default_factory=_empty)  # int32[T] predictive only


def flatten(indices: Indices) -> StreamIndices:
    """The packets one after another, padding dropped; lost packets are the caller's to put in."""
    kept = np.arange(indices.values.shape[1]) < indices.counts[:, None]
    ends = np.cumsum(indices.counts, dtype=np.int64)
    predictive = indices.preds.size > 0
    return StreamIndices(
        indices.values[kept],
        np.repeat(indices.rate_points, indices.counts),
        ends - indices.counts,
        indices.checks,
        indices.preds[kept] if predictive else _empty(),
        indices.recon[kept] if predictive else _empty(),
    )
