"""Payloads to indices, for every scheme, with the node model alone: parsing never sees side information.

That is why a missing neighbour costs quality and never synchronisation. Bad payloads get a status and no exception.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_wz.codec import layered, nested, predictive, syndrome, trellis
from edge_wz.codec.indices import Indices
from edge_wz.errors import InputError
from edge_wz.model import NodeModel

_PARSERS = {
    "nested": nested.parse, "predictive": predictive.parse, "trellis": trellis.parse, "syndrome": syndrome.parse,
    "layered": layered.parse,
}


def parse(
    node: NodeModel,
    payloads: Sequence[bytes],
    rate_points: Sequence[int] | np.ndarray,
    counts: Sequence[int] | np.ndarray,
    present: np.ndarray | None = None,
    layers: Sequence[int] | None = None,
) -> Indices:
    """Indices of B payloads. rate_points: one for each; counts: sample slots of each; present bool[B, N], None = all; layers (`layered`
    only): in each, None or 0 as the rate point says.

    The rate points must exist in the model (`formats.packet` users check that first); a count outside 1..N is a status.
    """
    rate_column = np.ascontiguousarray(rate_points, dtype=np.int32)
    count_column = np.ascontiguousarray(counts, dtype=np.int32)
    if len(rate_column) and not 0 <= rate_column.min() <= rate_column.max() < len(node.rate_points):
        raise InputError(f"rate point {rate_column.max()} of a model that has {len(node.rate_points)}")
    slots = np.arange(node.packet_samples, dtype=np.int32) < count_column[:, None]
    if present is not None:
        slots &= present
    if layers is not None and node.scheme == "layered":
        columns = _parse_marked(node, payloads, rate_column, count_column, slots, layers)
        return Indices(present=slots, counts=count_column, rate_points=rate_column, **columns)
    used = np.unique(rate_column)
    if len(used) == 1:
        columns = _parse_group(node, int(used[0]), payloads, count_column, slots)
    else:
        columns = _parse_mixed(node, used, payloads, rate_column, count_column, slots)
    return Indices(present=slots, counts=count_column, rate_points=rate_column, **columns)


def _parse_group(
    node: NodeModel, rate_point: int, payloads: Sequence[bytes], counts: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    data = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    offsets = np.zeros(len(payloads) + 1, dtype=np.int64)
    np.cumsum([len(payload) for payload in payloads], out=offsets[1:])
    return _PARSERS[node.scheme](node, rate_point, data, offsets, counts, present)


def _parse_marked(
    node: NodeModel, payloads: Sequence[bytes], rate_points: np.ndarray, counts: np.ndarray, present: np.ndarray, layers: Sequence[int]
) -> dict[str, np.ndarray]:
    """One packet at a time: those that say themselves how many layers they have are few."""
    rows = []
    for row, payload in enumerate(payloads):
        data, ends = np.frombuffer(payload, np.uint8), np.array([0, len(payload)], np.int64)
        one, mark = slice(row, row + 1), np.array([layers[row]], np.int32)
        rows.append(layered.parse(node, int(rate_points[row]), data, ends, counts[one], present[one], mark))
    return {name: np.concatenate([columns[name] for columns in rows]) for name in rows[0]}


def _parse_mixed(
    node: NodeModel,
    used: np.ndarray,
    payloads: Sequence[bytes],
    rate_points: np.ndarray,
    counts: np.ndarray,
    present: np.ndarray,
) -> dict[str, np.ndarray]:
    """Group by group, as a kernel call knows one rate point; no payload gives empty columns of the right shape."""
    columns: dict[str, np.ndarray] = _parse_group(node, 0, [], counts[:0], present[:0])
    columns = {name: np.empty((len(payloads), *column.shape[1:]), column.dtype) for name, column in columns.items()}
    for rate_point in used:
        rows = np.flatnonzero(rate_points == rate_point)
        group = _parse_group(node, int(rate_point), [payloads[i] for i in rows.tolist()], counts[rows], present[rows])
        for name, column in group.items():
            columns[name][rows] = column
    return columns
