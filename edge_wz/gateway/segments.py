"""A segment: consecutive packets of one stream that were parsed, or are lost, and wait to be reconstructed.

Parsing is done before a segment exists (it needs no side information), so what waits is indices, not bytes. A mark is a
segment of no samples: a hello said that the samples before it exist.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices

_NOTHING = np.zeros(0, dtype=np.int32)


class Segment(NamedTuple):
    """`count` slots from `first_index` on, in `packets` packets from `counter` on."""

    model_id: bytes
    counter: int
    packets: int
    first_index: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    arrival_us: int
    indices: StreamIndices
    absent: np.ndarray | None = None  # bool[count], None: no absent sample
    lost: bool = False

    @property
    def end(self) -> int:
        return self.first_index + self.count

    @property
    def absent_samples(self) -> int:
        return 0 if self.absent is None else int(np.count_nonzero(self.absent))

    def packets_before(self, index: int) -> int:
        """How many whole packets end at or before a sample index."""
        if index >= self.end:
            return self.packets
        return max(0, int(np.searchsorted(self.indices.packet_starts, index - self.first_index, side="right")) - 1)

    def split(self, packets: int) -> tuple[Segment, Segment]:
        """The first `packets` packets and the rest; neither may be empty."""
        at = int(self.indices.packet_starts[packets])
        return self._part(0, packets, 0, at), self._part(packets, self.packets, at, self.count)

    def _part(self, first: int, last: int, start: int, stop: int) -> Segment:
        old = self.indices
        indices = StreamIndices(
            old.values[start:stop], old.rate_points[start:stop], old.packet_starts[first:last] - start,
            old.checks[first:last], old.preds[start:stop], old.recon[start:stop],
        )
        return self._replace(
            counter=self.counter + first, packets=last - first, first_index=self.first_index + start,
            count=stop - start, indices=indices, absent=None if self.absent is None else self.absent[start:stop],
        )


def mark(model_id: bytes, counter: int, first_index: int, arrival_us: int) -> Segment:
    indices = StreamIndices(_NOTHING, _NOTHING, np.zeros(0, np.int64), _NOTHING)
    return Segment(model_id, counter, 0, first_index, 0, arrival_us, indices)


def lost(
    model_id: bytes, counter: int, first_index: int, count: int, packet_samples: int, rate_point: int,
    predictive: bool, arrival_us: int,
) -> Segment:
    """Slots of which nothing is known, cut as full packets would be."""
    starts = np.arange(0, count, packet_samples, dtype=np.int64)
    nothing = np.full(count, NO_LEVEL, dtype=np.int32)
    zeros = np.zeros(count if predictive else 0, dtype=np.int32)
    indices = StreamIndices(
        nothing, np.full(count, rate_point, dtype=np.int32), starts, np.full(len(starts), -1, dtype=np.int32),
        zeros, zeros,
    )
    return Segment(model_id, counter, len(starts), first_index, count, arrival_us, indices, lost=True)


def cut_lost(gap: Segment, come: Segment, packet_samples: int) -> list[Segment]:
    """A lost segment with the packet that came after all in its place: what stays lost before it, it, and behind it."""
    spans = (
        (gap.counter, gap.first_index, come.first_index),
        (come.counter + come.packets, come.end, gap.end),
    )
    before, behind = (
        [
            lost(
                gap.model_id, counter, start, stop - start, packet_samples, int(gap.indices.rate_points[0]),
                gap.indices.preds.size > 0, gap.arrival_us,
            )
        ] if stop > start else []
        for counter, start, stop in spans
    )
    return [*before, come, *behind]


def join(parts: list[StreamIndices]) -> StreamIndices:
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(part.values.size for part in parts[:-1])])
    starts = np.concatenate([part.packet_starts for part in parts])
    starts += np.repeat(offsets, [part.packet_starts.size for part in parts])
    closed_loop = any(part.preds.size for part in parts)
    return StreamIndices(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.rate_points for part in parts]),
        starts,
        np.concatenate([part.checks for part in parts]),
        np.concatenate([part.preds for part in parts]) if closed_loop else _NOTHING,
        np.concatenate([part.recon for part in parts]) if closed_loop else _NOTHING,
    )
