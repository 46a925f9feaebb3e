"""One boot epoch of one node: segments in any order go in, samples in order come out.

Three things may hold a segment back: an earlier packet is missing (waited for `reorder_wait_us`, then lost), a
neighbour has not
come as far (waited for `side_wait_us`, then provisional), or nothing. What was decoded without something stays in
`history` with the
state before it until the revise window closes, so that it and all after it can be decoded again. While nothing is
open, no history is
kept and any number of segments is one call of the decoder.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from edge_wz.codec.reconstruction import SUSPECT
from edge_wz.codec.side_information import SideInformation
from edge_wz.gateway.events import Event, PacketLost, SamplesDecoded, SamplesRevised
from edge_wz.gateway.fleet import Fleet
from edge_wz.gateway.neighborhood import EVERYTHING, Neighborhood, Track
from edge_wz.gateway.reconstructor import Reconstructor, Samples, store
from edge_wz.gateway.segments import Segment, lost
from edge_wz.gateway.stats import NodeCounters

FOREVER = 1 << 62
BATCH_SAMPLES = 1 << 16  # of one decoder call and one event
CONCEALED_SAMPLES = 1 << 12  # of one concealed segment
MAX_GAP_SAMPLES = 1 << 22  # a longer gap is skipped, not concealed

_PLACE = attrgetter("first_index", "count")


class Timeline(NamedTuple):
    """Event time of sample i = start + i x period."""

    boot_epoch: int
    start_us: int
    period_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What was decoded, with what is needed to do it again."""

    segment: Segment
    state_before: np.ndarray
    side: SideInformation
    provisional: bool
    decided_us: int
    suspects: int

    @property
    def open(self) -> bool:
        return self.provisional or self.segment.lost


class Surroundings(NamedTuple):
    """What all streams of a node share with their pipeline."""

    node_id: int
    fleet: Fleet
    neighborhood: Neighborhood
    reconstructors: dict[bytes, Reconstructor]
    counters: NodeCounters


class Stream:
    """`cursor`: the next sample to decode; all before it are told. `next_counter`: of the packet it should be in."""

    def __init__(
        self, around: Surroundings, timeline: Timeline, cursor: int, counter: int, track: Track | None
    ) -> None:
        self.around = around
        self.timeline = timeline
        self.cursor = cursor
        self.next_counter = counter
        self.queue: list[Segment] = []  # by first_index, no overlap
        self.history: list[Step] = []
        self.model_id = b""
        self.state = np.empty(0)
        self.rate_point = 0
        self.revision = 0
        self.fresh = True  # nothing told yet
        self.due: tuple[int, int] | None = None  # (time, order) at which the head is decided whatever is missing
        self.track = track  # None: nobody uses this node

    # ------------------------------------------------------------------------------------------ what comes in

    def begin_at(self, first_index: int, counter: int) -> None:
        """Packets from before the first hello turned out to be this stream's."""
        self.cursor, self.next_counter = first_index, counter
        if self.track is not None:
            self.track.begin = self.track.first = self.track.next_index = first_index

    def offer(self, segment: Segment, now_us: int, events: list[Event]) -> None:
        """Queue a segment; or revise with it, or count it as a duplicate or as late."""
        counters = self.around.counters
        if segment.first_index < self.cursor and segment.count:
            self._offer_past(segment, now_us, events)
            return
        at = bisect_left(self.queue, (segment.first_index, segment.count), key=_PLACE)
        if segment.count and self._overlaps(segment, at):
            counters.duplicates += segment.packets
            return
        counters.data_packets += segment.packets
        self.queue.insert(at, segment)
        if self.track is not None:
            self.track.waiting = True

    def _overlaps(self, segment: Segment, at: int) -> bool:
        before = at > 0 and self.queue[at - 1].end > segment.first_index
        return before or any(
            other.first_index < segment.end and other.count for other in self.queue[at : at + 2]
        )

    def can_revise(self, first_index: int, now_us: int) -> bool:
        """Whether this sample was given up and its packet may still come."""
        return self._find_lost(first_index, now_us) >= 0

    def _find_lost(self, first_index: int, now_us: int) -> int:
        window_us = self.around.fleet.revise_window_us
        for at, step in enumerate(self.history):
            if step.segment.first_index <= first_index < step.segment.end:
                return at if step.segment.lost and now_us - step.decided_us <= window_us else -1
        return -1

    def _offer_past(self, segment: Segment, now_us: int, events: list[Event]) -> None:
        at = self._find_lost(segment.first_index, now_us)
        if at < 0 or segment.end > self.history[at].segment.end:
            self.around.counters.duplicates += segment.packets
            return
        self._recover(at, segment, now_us, events)

    # ------------------------------------------------------------------------------------------ what comes out

    def advance(self, now_us: int, events: list[Event]) -> bool:
        """Decode all that need not wait any longer; whether anything was."""
        started_at = self.cursor
        self._refresh(now_us, events)
        while batch := self._take_ready(now_us, events):
            self._decode(batch, now_us, events)
        self._trim(now_us)
        self.due = self._next_due()
        if self.track is not None:
            self.track.waiting = bool(self.queue)
        return self.cursor != started_at

    def _take_ready(self, now_us: int, events: list[Event]) -> list[tuple[Segment, bool]]:
        """Consecutive segments of one model that can be decoded now, each with whether provisionally."""
        ready: list[tuple[Segment, bool]] = []
        queue, position, limit = self.queue, self.cursor, None
        while queue and position - self.cursor < BATCH_SAMPLES:
            head = queue[0]
            if head.first_index > position:
                if self._reveal()[0] + self.around.fleet.reorder_wait_us > now_us or ready:
                    break
                self._give_up(head, events, now_us)
                position = self.cursor
                continue
            if not head.count:
                self.next_counter = max(self.next_counter, head.counter)
                del queue[0]
                continue
            if ready and ready[0][0].model_id != head.model_id:
                break
            if limit is None:
                limit = self._limit(head.model_id)
            part = self._take_head(head, limit, now_us)
            if part is None:
                break
            ready.append(part)
            position = part[0].end
        return ready

    def _take_head(self, head: Segment, limit: int, now_us: int) -> tuple[Segment, bool] | None:
        """The packets of the head that are covered; else, at the deadline, its first one, provisionally."""
        packets = head.packets_before(limit) if limit < head.end else head.packets
        provisional = not packets
        if provisional:
            if head.arrival_us + self.around.fleet.side_wait_us > now_us:
                return None
            packets = 1
        if packets == head.packets:
            del self.queue[0]
            return head, provisional
        part, self.queue[0] = head.split(packets)
        return part, provisional

    def _limit(self, model_id: bytes) -> int:
        waits_for = self.around.reconstructors[model_id].waits_for
        if not waits_for:
            return EVERYTHING
        return self.around.neighborhood.covered(waits_for, self.timeline.start_us, self.timeline.period_us)

    def _reveal(self) -> tuple[int, int]:
        """When it became known that the packet at the cursor is missing."""
        return min((segment.arrival_us, segment.order) for segment in self.queue)

    def _give_up(self, head: Segment, events: list[Event], now_us: int) -> None:
        """Put concealed segments into the gap before the head."""
        count, packets = head.first_index - self.cursor, max(1, head.counter - self.next_counter)
        skipped = count > MAX_GAP_SAMPLES
        events.append(PacketLost(
            self.around.node_id, self.timeline.boot_epoch, self.next_counter, packets, self.cursor, count, skipped,
            now_us,
        ))
        self.around.counters.lost += packets
        if skipped:
            self._skip(head)
            return
        self.queue[:0] = self._concealed(self.model_id or head.model_id, head, count)

    def _concealed(self, model_id: bytes, head: Segment, count: int) -> list[Segment]:
        known = self.around.reconstructors[model_id]
        full = known.model.node.packet_samples
        step = max(full, CONCEALED_SAMPLES // full * full)
        arrival_us, order = self._reveal()
        return [
            lost(
                model_id, self.next_counter + at // full, self.cursor + at, min(step, count - at), full,
                self.rate_point, known.predictive, arrival_us, order,
            )
            for at in range(0, count, step)
        ]

    def _skip(self, head: Segment) -> None:
        """A gap too long to tell sample by sample: the stream begins anew behind it."""
        self.around.counters.samples_skipped += head.first_index - self.cursor
        self.cursor, self.next_counter, self.model_id = head.first_index, head.counter, b""
        self.history = []
        if self.track is not None:
            self.track.first = self.track.next_index = self.cursor

    # ------------------------------------------------------------------------------------------ decoding

    def _decode(self, batch: list[tuple[Segment, bool]], now_us: int, events: list[Event]) -> None:
        model_id = batch[0][0].model_id
        decoder = self.around.reconstructors[model_id]
        if model_id != self.model_id:
            self.model_id, self.state = model_id, decoder.initial_state
        first = batch[0][0].first_index
        if self.history or any(provisional or segment.lost for segment, provisional in batch):
            parts = [self._decode_step(segment, provisional, now_us) for segment, provisional in batch]
            for provisional, group in groupby(zip(batch, parts, strict=True), key=lambda pair: pair[0][1]):
                members = list(group)
                samples = _concatenate([samples for _, samples in members])
                events.append(self._told(members[0][0][0].first_index, samples, provisional, now_us))
        else:
            segments = [segment for segment, _ in batch]
            samples = self._run(segments, self._look_up(decoder, first, segments[-1].end - first))
            self._count(segments, samples)
            events.append(self._told(first, samples, False, now_us))

    def _look_up(self, decoder: Reconstructor, first_index: int, count: int) -> SideInformation:
        return decoder.look_up(
            self.around.neighborhood, self.timeline.start_us, self.timeline.period_us, first_index, count
        )

    def _run(self, segments: list[Segment], side: SideInformation) -> Samples:
        """Decode the next segments and move on."""
        around = self.around
        samples, self.state = around.reconstructors[segments[0].model_id].run(self.state, segments, side)
        last = segments[-1]
        self.fresh = False
        self.cursor, self.next_counter = last.end, max(self.next_counter, last.counter + last.packets)
        self.rate_point = int(last.indices.rate_points[-1])
        store(self.track, segments, samples, False, around.neighborhood.needed_of(around.node_id))
        return samples

    def _decode_step(self, segment: Segment, provisional: bool, now_us: int) -> Samples:
        decoder = self.around.reconstructors[segment.model_id]
        side = self._look_up(decoder, segment.first_index, segment.count)
        before = self.state
        samples = self._run([segment], side)
        suspects = self._count([segment], samples)
        self.history.append(Step(segment, before, side, provisional, now_us, suspects))
        return samples

    def _count(self, segments: list[Segment], samples: Samples) -> int:
        counters = self.around.counters
        suspects = int(np.count_nonzero(samples.flags & SUSPECT))
        counters.samples_suspect += suspects
        for segment in segments:
            absent = 0 if segment.absent is None else int(np.count_nonzero(segment.absent))
            counters.samples_absent += absent
            counters.samples_expected += segment.count - absent
            if segment.lost:
                counters.samples_concealed += segment.count
            else:
                counters.samples_decoded += segment.count - absent
        return suspects

    def _told(self, first_index: int, samples: Samples, provisional: bool, now_us: int) -> SamplesDecoded:
        epoch, start_us, period_us = self.timeline
        return SamplesDecoded(
            self.around.node_id, epoch, first_index, start_us + first_index * period_us, period_us,
            samples.values, samples.sigmas, samples.flags, provisional, 0, now_us,
        )

    # ------------------------------------------------------------------------------------------ decoding again

    def _refresh(self, now_us: int, events: list[Event]) -> None:
        """Revise what was provisional and whose neighbours have come."""
        window_us, limits = self.around.fleet.revise_window_us, dict[bytes, int]()
        first = -1
        for at, step in enumerate(self.history):
            if not step.provisional or now_us - step.decided_us > window_us:
                continue
            model_id = step.segment.model_id
            if model_id not in limits:
                limits[model_id] = self._limit(model_id)
            if step.segment.end <= limits[model_id]:
                decoder = self.around.reconstructors[model_id]
                side = self._look_up(decoder, step.segment.first_index, step.segment.count)
                self.history[at] = replace(step, side=side, provisional=False)
                first = at if first < 0 else first
        if first >= 0:
            self._replay(first, now_us, events)

    def _recover(self, at: int, segment: Segment, now_us: int, events: list[Event]) -> None:
        """A packet that was given up has come: it takes its place among the concealed ones."""
        old = self.history[at]
        gap, counters = old.segment, self.around.counters
        pieces = []
        if segment.first_index > gap.first_index:
            pieces.append(_cut_lost(gap, gap.first_index, segment.first_index, segment, self._full(gap)))
        pieces.append(segment)
        if segment.end < gap.end:
            pieces.append(_cut_lost(gap, segment.end, gap.end, segment, self._full(gap)))
        self.history[at : at + 1] = [
            replace(
                old, segment=piece, suspects=old.suspects if piece is pieces[0] else 0,
                side=old.side[piece.first_index - gap.first_index : piece.end - gap.first_index],
            )
            for piece in pieces
        ]
        absent = 0 if segment.absent is None else int(np.count_nonzero(segment.absent))
        counters.data_packets += segment.packets
        counters.recovered += segment.packets
        counters.lost -= segment.packets
        counters.samples_concealed -= segment.count
        counters.samples_decoded += segment.count - absent
        counters.samples_absent += absent
        counters.samples_expected -= absent
        self._replay(at, now_us, events)

    def _full(self, segment: Segment) -> int:
        return self.around.reconstructors[segment.model_id].model.node.packet_samples

    def _replay(self, first: int, now_us: int, events: list[Event]) -> None:
        """Decode history again from step `first` on and tell the samples as revised."""
        self.revision += 1
        state, model_id = self.history[first].state_before, self.history[first].segment.model_id
        told: list[tuple[Step, Samples]] = []
        for at in range(first, len(self.history)):
            step = self.history[at]
            decoder = self.around.reconstructors[step.segment.model_id]
            if step.segment.model_id != model_id:
                model_id, state = step.segment.model_id, decoder.initial_state
            samples, after = decoder.run(state, [step.segment], step.side)
            suspects = int(np.count_nonzero(samples.flags & SUSPECT))
            self.around.counters.samples_suspect += suspects - step.suspects
            self.history[at] = replace(step, state_before=state, suspects=suspects)
            store(self.track, [step.segment], samples, True, None)
            told.append((self.history[at], samples))
            state = after
        if model_id == self.model_id:
            self.state = state
        self._tell_revised(told, now_us, events)

    def _tell_revised(self, told: list[tuple[Step, Samples]], now_us: int, events: list[Event]) -> None:
        epoch, start_us, period_us = self.timeline
        for provisional, group in groupby(told, key=lambda pair: pair[0].provisional):
            members = list(group)
            samples = _concatenate([samples for _, samples in members])
            first_index = members[0][0].segment.first_index
            self.around.counters.samples_revised += len(samples.values)
            events.append(SamplesRevised(
                self.around.node_id, epoch, first_index, start_us + first_index * period_us, period_us,
                samples.values, samples.sigmas, samples.flags, provisional, self.revision, now_us,
            ))

    def _trim(self, now_us: int) -> None:
        """Forget the history before the first step that may still change."""
        window_us = self.around.fleet.revise_window_us
        for at, step in enumerate(self.history):
            if step.open and now_us - step.decided_us <= window_us:
                del self.history[:at]
                return
        self.history = []

    # ------------------------------------------------------------------------------------------ waiting

    def needed_us(self) -> int:
        """Event time of the earliest sample beside which this stream may still look at its neighbours."""
        first_index = self.history[0].segment.first_index if self.history else self.cursor
        return self.timeline.start_us + first_index * self.timeline.period_us

    def _next_due(self) -> tuple[int, int] | None:
        if not self.queue:
            return None
        head, fleet = self.queue[0], self.around.fleet
        if head.first_index > self.cursor:
            arrival_us, order = self._reveal()
            return arrival_us + fleet.reorder_wait_us, order
        return head.arrival_us + fleet.side_wait_us, head.order


def _cut_lost(gap: Segment, start: int, stop: int, come: Segment, full: int) -> Segment:
    """What stays lost of a gap, before or behind the packet that came."""
    counter = gap.counter if start < come.first_index else come.counter + come.packets
    part = gap.indices
    return lost(
        gap.model_id, counter, start, stop - start, full, int(part.rate_points[0]), part.preds.size > 0,
        gap.arrival_us, gap.order,
    )


def _concatenate(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    return Samples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
