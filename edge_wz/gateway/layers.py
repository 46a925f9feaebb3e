"""Refinement packets at the gateway (SPEC 2.5): further layers, put behind those that a segment already has.

Scheme `layered` only. A refinement is applied where its base is: in the queue, or in the history of what was decoded, which then
tells better samples. While there is no base, or a layer between is missing, it waits in `Further`, as long as a late packet may revise.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import NamedTuple

import numpy as np

from edge_wz.codec import layer_blocks, layered, layered_packets
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices
from edge_wz.formats.packet import PacketStatus, parse_refinement, present_slots
from edge_wz.gateway.contexts import Match
from edge_wz.gateway.segments import Segment
from edge_wz.gateway.stats import NodeCounters
from edge_wz.model import NodeModel

WAITING_KEPT = 64  # of a stream


class Further(NamedTuple):
    """One refinement: layers `first .. last - 1` of the packet with this counter. `values`: its symbols as one number."""

    counter: int
    first_index: int
    rate_point: int
    first: int
    last: int
    values: np.ndarray  # int32[slots], NO_LEVEL where absent
    payload_bits: int
    arrival_us: int

    @property
    def end(self) -> int:
        return self.first_index + len(self.values)


class Fit(Enum):
    """How a refinement fits a segment."""

    JOINS = "behind the layers that are there"
    GAP = "a layer between is missing"
    KNOWN = "says nothing new"
    CONTRADICTS = "other slots, rate point or absent samples than its base"


def parse_further(node: NodeModel, match: Match, now_us: int) -> Further | PacketStatus:
    """A refinement packet that checks in the context of its base."""
    context, counter, packet = match
    found = parse_refinement(packet.raw, packet.offset, node.packet_samples)
    if isinstance(found, PacketStatus):
        return found
    if found.base.rate_point >= len(node.rate_points):
        return PacketStatus.NO_RATE_POINT
    if not layered_packets.sound_refinement(node, found):
        return PacketStatus.MALFORMED
    payload, rate_point = found.base.payload, found.base.rate_point
    present = present_slots(found.base, node.packet_samples)
    values, layers, status = layered.parse_refinement(node, rate_point, payload, present, found.first, found.layers)
    if status < 0:
        return PacketStatus.MALFORMED
    return Further(
        counter, context.first_index(counter), rate_point, found.first, found.first + layers, values, 8 * len(payload), now_us
    )


def put_behind(segment: Segment, further: Further, tree: layered.Tree) -> tuple[Segment, Fit]:
    """The segment with these layers, or as it is; it must hold the first sample of the refinement."""
    indices, start = segment.indices, further.first_index - segment.first_index
    span = slice(start, start + len(further.values))
    values = indices.values[span]
    if not _same_packet(segment, further, start) or np.any((values == NO_LEVEL) != (further.values == NO_LEVEL)):
        return segment, Fit.CONTRADICTS
    depths = tree.depths(values[values != NO_LEVEL])
    if np.all(depths >= further.last):
        return segment, Fit.KNOWN
    if np.any(depths < further.first):
        return segment, Fit.GAP
    joined = indices.values.copy()
    joined[span] = tree.join(values, further.values, further.first, further.last - further.first)
    return segment._replace(indices=replace(indices, values=joined)), Fit.JOINS


def _same_packet(segment: Segment, further: Further, start: int) -> bool:
    starts = segment.indices.packet_starts
    at = int(np.searchsorted(starts, start))
    if at >= len(starts) or starts[at] != start or segment.indices.rate_points[start] != further.rate_point:
        return False
    end = int(starts[at + 1]) if at + 1 < len(starts) else segment.count
    return end - start == len(further.values)


def is_coarse(node: NodeModel, indices: StreamIndices) -> bool:
    """Whether any sample has fewer layers than there are."""
    if node.scheme != "layered":
        return False
    trees = [layered.flat_point(node, point).tree for point in range(len(node.rate_points))]
    full = np.array([tree.bases[tree.layers] for tree in trees])
    return bool(np.any((indices.values != NO_LEVEL) & (layer_blocks.numbers(indices.values) < full[indices.rate_points])))


def keep(waiting: list[Further], further: Further, counters: NodeCounters) -> None:
    """Of too many the oldest goes."""
    waiting.append(further)
    if len(waiting) > WAITING_KEPT:
        del waiting[0]
        counters.refinements_dropped += 1


def drop_late(waiting: list[Further], now_us: int, window_us: int, counters: NodeCounters) -> None:
    kept = [further for further in waiting if now_us - further.arrival_us <= window_us]
    counters.refinements_dropped += len(waiting) - len(kept)
    waiting[:] = kept
