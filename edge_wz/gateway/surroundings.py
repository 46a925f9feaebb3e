"""What the streams of a node find around them: its fleet, neighbours and decoders, and its counters.

Shared by all streams of the node and changed by none of them, but for the counters.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_wz.codec.side_information import SideInformation
from edge_wz.gateway.fleet import Fleet
from edge_wz.gateway.neighborhood import EVERYTHING, Neighborhood
from edge_wz.gateway.reconstructor import Reconstructor
from edge_wz.gateway.stats import NodeCounters


class Timeline(NamedTuple):
    """Event time of sample i = start + i x period."""

    boot_epoch: int
    start_us: int
    period_us: int


class Surroundings(NamedTuple):
    node_id: int
    fleet: Fleet
    neighborhood: Neighborhood
    reconstructors: dict[bytes, Reconstructor]  # by model id
    counters: NodeCounters

    def look_up(self, timeline: Timeline, model_id: bytes, first_index: int, count: int) -> SideInformation:
        """The neighbours beside samples of a stream."""
        _, start_us, period_us = timeline
        return self.reconstructors[model_id].look_up(self.neighborhood, start_us, period_us, first_index, count)

    def covered(self, timeline: Timeline, model_id: bytes) -> int:
        """Samples of a stream before this index need not wait for a neighbour."""
        waits_for = self.reconstructors[model_id].waits_for
        if not waits_for:
            return EVERYTHING
        return self.neighborhood.covered(waits_for, timeline.start_us, timeline.period_us)
