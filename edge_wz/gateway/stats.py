"""Counters of links and nodes: mutable inside the pipeline, handed out as frozen snapshots.

What must balance, at any moment: fed = good + bad + discarded + console + pending bytes of a link; expected = decoded + concealed
samples of a node. Both sides are counted where they happen, not derived from each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True)
class LinkStats:
    """`fed_bytes == good_bytes + bad_bytes + discarded_bytes + console_bytes + pending_bytes`."""

    fed_bytes: int = 0
    good_bytes: int = 0
    bad_bytes: int = 0
    discarded_bytes: int = 0
    console_bytes: int = 0  # answers of a node under management (SPEC 12)
    pending_bytes: int = 0
    frames: int = 0
    frames_discarded: int = 0
    refused: int = 0
    unknown_node: int = 0


@dataclass(slots=True)
class NodeCounters:
    """`samples_expected == samples_decoded + samples_concealed`; absent and skipped slots are in neither."""

    data_packets: int = 0  # accepted, each counter once
    hello_packets: int = 0
    duplicates: int = 0
    late: int = 0  # given up, and came after the revise window
    lost: int = 0  # given up and not come since
    recovered: int = 0  # came after they were given up, in time to revise
    quarantined: int = 0  # waiting now
    quarantine_dropped: int = 0
    held: int = 0  # waiting for corroboration now
    held_discarded: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # status -> packets
    samples_expected: int = 0
    samples_decoded: int = 0
    samples_concealed: int = 0
    samples_absent: int = 0
    samples_skipped: int = 0
    samples_suspect: int = 0
    samples_revised: int = 0
    refinements: int = 0  # sound refinement packets = merged + known + dropped + waiting
    refinements_merged: int = 0
    refinements_known: int = 0  # said nothing new
    refinements_dropped: int = 0  # of another base than is here, or of one that did not come in time
    refinements_waiting: int = 0  # now
    packet_bits: int = 0  # all packets of the node, headers and checks included, duplicates too
    payload_bits: int = 0  # accepted data packets, each counter once, and merged refinements, without header, extension and check
    hello_bits: int = 0
    resets: int = 0

    def refuse(self, status: str) -> None:
        self.refused[status] = self.refused.get(status, 0) + 1

    def snapshot(self) -> NodeStats:
        return NodeStats(**{f.name: getattr(self, f.name) for f in fields(self) if f.name != "refused"},
                         refused=dict(self.refused))

    def state(self) -> dict[str, object]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class NodeStats:
    """Frozen twin of `NodeCounters`. `saturated` is not here: nodes do not send it."""

    data_packets: int
    hello_packets: int
    duplicates: int
    late: int
    lost: int
    recovered: int
    quarantined: int
    quarantine_dropped: int
    held: int
    held_discarded: int
    refused: Mapping[str, int]
    samples_expected: int
    samples_decoded: int
    samples_concealed: int
    samples_absent: int
    samples_skipped: int
    samples_suspect: int
    samples_revised: int
    refinements: int
    refinements_merged: int
    refinements_known: int
    refinements_dropped: int
    refinements_waiting: int
    packet_bits: int
    payload_bits: int
    hello_bits: int
    resets: int


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """`unknown_nodes`: id -> packets seen of a node that is not in the fleet."""

    now_us: int
    links: Mapping[int, LinkStats]
    nodes: Mapping[int, NodeStats]
    unknown_nodes: Mapping[int, int]
