"""One boot epoch of one node: segments in any order go in, samples in order come out.

Three things may hold a segment back: an earlier packet is missing (waited for `reorder_wait_us`, then lost), a
neighbour has not come as far (waited for `side_wait_us`, then provisional), or nothing. What is ready and may not
change any more is handed out as a `Batch`, so that the pipeline can decode those of many streams at once; what was
decoded without something goes through `history`, step by step.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import groupby
from operator import attrgetter

import numpy as np

from edge_wz.codec.layered import flat_point
from edge_wz.codec.reconstruction import SUSPECT
from edge_wz.gateway.events import Event, PacketLost, SamplesDecoded
from edge_wz.gateway.history import History, Resumed, Step, concatenate
from edge_wz.gateway.layers import Fit, Further, drop_late, is_coarse, keep, put_behind
from edge_wz.gateway.neighborhood import Track
from edge_wz.gateway.reconstructor import BATCH_SAMPLES, Batch, Samples, store
from edge_wz.gateway.segments import Segment, lost
from edge_wz.gateway.surroundings import Surroundings, Timeline

CONCEALED_SAMPLES = 1 << 12  # of one concealed segment
MAX_GAP_SAMPLES = 1 << 22  # a longer gap is skipped, not concealed

_PLACE = attrgetter("first_index", "count")


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
        self.history = History(around, timeline, track)
        self.refinements: list[Further] = []  # that wait for their base, or for a layer between
        self.model_id = b""
        self.state = np.empty(0)
        self.rate_point = 0
        self.fresh = True  # nothing told yet
        self.moved = False  # the cursor has, since the users of the node were last looked at
        self.due_us: int | None = None  # when the head is decided whatever is missing
        self.track = track  # None: nobody uses this node

    # ------------------------------------------------------------------------------------------ what comes in

    def begin_at(self, first_index: int, counter: int) -> None:
        """Packets from before the first hello turned out to be this stream's."""
        self.cursor, self.next_counter = first_index, counter
        if self.track is not None:
            self.track.begin = self.track.first = self.track.next_index = first_index

    def offer(self, segment: Segment, payload_bits: int, now_us: int, events: list[Event]) -> None:
        """Queue a segment; or revise with it, or count it as a duplicate or as late."""
        counters = self.around.counters
        if segment.first_index < self.cursor and segment.count:
            self._offer_past(segment, payload_bits, now_us, events)
            self._refine_waiting(now_us, events)
            return
        queue = self.queue
        if queue:
            at = bisect_left(queue, (segment.first_index, segment.count), key=_PLACE)
            if segment.count and self._overlaps(segment, at):
                counters.duplicates += segment.packets
                return
            queue.insert(at, segment)
        else:
            queue.append(segment)
        counters.data_packets += segment.packets
        counters.payload_bits += payload_bits
        if self.track is not None:
            self.track.waiting = True
        self._refine_waiting(now_us, events)

    def _overlaps(self, segment: Segment, at: int) -> bool:
        before = at > 0 and self.queue[at - 1].end > segment.first_index
        return before or any(
            other.first_index < segment.end and other.count for other in self.queue[at : at + 2]
        )

    def can_revise(self, first_index: int, now_us: int) -> bool:
        """Whether this sample was given up and its packet may still come."""
        return bool(self.history.steps) and self.history.find_lost(first_index, now_us) >= 0

    def _offer_past(self, segment: Segment, payload_bits: int, now_us: int, events: list[Event]) -> None:
        history, counters = self.history, self.around.counters
        at = history.find_lost(segment.first_index, now_us)
        if at >= 0 and segment.end <= history.steps[at].segment.end:
            counters.payload_bits += payload_bits
            self._resume(history.recover(at, segment, now_us, events))
        elif history.was_given_up(segment.first_index):
            counters.late += segment.packets
        else:
            counters.duplicates += segment.packets

    def _resume(self, resumed: Resumed | None) -> None:
        if resumed is not None and resumed.model_id == self.model_id:
            self.state = resumed.state

    # ------------------------------------------------------------------------------------------ further layers

    def refine(self, further: Further, now_us: int, events: list[Event]) -> None:
        """Put layers behind those of a packet that waits or was decoded; or keep them until it comes."""
        counters = self.around.counters
        fit = self._put_behind(further, now_us, events)
        if fit is Fit.JOINS:
            self._refine_waiting(now_us, events)
        elif fit is Fit.GAP:
            keep(self.refinements, further, counters)
        counters.refinements_known += fit is Fit.KNOWN
        counters.refinements_dropped += fit is Fit.CONTRADICTS

    def _refine_waiting(self, now_us: int, events: list[Event]) -> None:
        """Those that a new packet, or a new layer, may be what they waited for."""
        if not self.refinements:
            return
        drop_late(self.refinements, now_us, self.around.fleet.revise_window_us, self.around.counters)
        waiting, self.refinements = self.refinements, []
        for further in waiting:
            self.refine(further, now_us, events)

    def _put_behind(self, further: Further, now_us: int, events: list[Event]) -> Fit:
        at = next((at for at, segment in enumerate(self.queue) if self._holds(segment, further)), -1)
        if at >= 0:
            self.queue[at], fit = self._joined(self.queue[at], further)
            return fit
        step = self.history.find_base(further.first_index, now_us)
        if step < 0:
            given_up = further.first_index >= self.cursor or self.can_revise(further.first_index, now_us)
            return Fit.GAP if given_up else Fit.CONTRADICTS
        segment, fit = self._joined(self.history.steps[step].segment, further)
        if fit is Fit.JOINS:
            coarse = is_coarse(self.around.reconstructors[segment.model_id].model.node, segment.indices)
            self._resume(self.history.refine(step, segment, coarse, now_us, events))
        return fit

    @staticmethod
    def _holds(segment: Segment, further: Further) -> bool:
        return not segment.lost and segment.first_index <= further.first_index < segment.end

    def _joined(self, segment: Segment, further: Further) -> tuple[Segment, Fit]:
        node = self.around.reconstructors[segment.model_id].model.node
        if node.scheme != "layered" or further.rate_point >= len(node.rate_points):
            return segment, Fit.CONTRADICTS
        segment, fit = put_behind(segment, further, flat_point(node, further.rate_point).tree)
        if fit is Fit.JOINS:
            self.around.counters.refinements_merged += 1
            self.around.counters.payload_bits += further.payload_bits
        return segment, fit

    # ------------------------------------------------------------------------------------------ what comes out

    def prepare(self, now_us: int, events: list[Event]) -> Batch | None:
        """Decode what must go step by step; then what is ready, for `accept`, or None: nothing more is."""
        if self.history.steps:
            self._resume(self.history.refresh(now_us, events))
        while self.queue and (ready := self._take_ready(now_us, events)):
            if not self.history.steps and not any(provisional or self._may_change(segment) for segment, provisional in ready):
                return self._batch([segment for segment, _ in ready])
            self._decode_steps(ready, now_us, events)
        if self.history.steps:
            self.history.trim(now_us, self.next_counter)
        if self.refinements:
            drop_late(self.refinements, now_us, self.around.fleet.revise_window_us, self.around.counters)
        self.due_us = self._next_due_us()
        if self.track is not None:
            self.track.waiting = bool(self.queue)
        return None

    def accept(self, batch: Batch, done: tuple[Samples, np.ndarray], now_us: int, events: list[Event]) -> None:
        """What the batch of the last `prepare` decoded to."""
        samples = self._move_on(batch, done)
        self._count(batch.segments, samples)
        events.append(self._told(batch.first_index, samples, False, now_us))

    def advance(self, now_us: int, events: list[Event]) -> None:
        """Decode all that need not wait any longer, without other streams."""
        while batch := self.prepare(now_us, events):
            self.accept(batch, batch.run(), now_us, events)

    def _may_change(self, segment: Segment) -> bool:
        """Whether it may yet be decoded better: its packets may come after all, or further layers."""
        return segment.lost or is_coarse(self.around.reconstructors[segment.model_id].model.node, segment.indices)

    def _take_ready(self, now_us: int, events: list[Event]) -> list[tuple[Segment, bool]]:
        """Consecutive segments of one model that can be decoded now, each with whether provisionally."""
        ready: list[tuple[Segment, bool]] = []
        queue, position, limit = self.queue, self.cursor, None
        while queue and position - self.cursor < BATCH_SAMPLES:
            head = queue[0]
            if head.first_index > position:
                if self._revealed_us() + self.around.fleet.reorder_wait_us > now_us or ready:
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
                limit = self.around.covered(self.timeline, head.model_id)
            part = self._take_head(head, limit, now_us)
            if part is None:
                break
            ready.append(part)
            position = part[0].end
        return ready

    def _take_head(self, head: Segment, limit: int, now_us: int) -> tuple[Segment, bool] | None:
        """The packets of the head that are covered; else, at the deadline, its first one, provisionally."""
        packets = head.packets_before(limit)
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

    # ------------------------------------------------------------------------------------------ what does not come

    def _revealed_us(self) -> int:
        """When it became known that the packet at the cursor is missing."""
        return min(segment.arrival_us for segment in self.queue)

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
        arrival_us = self._revealed_us()
        return [
            lost(
                model_id, self.next_counter + at // full, self.cursor + at, min(step, count - at), full,
                self.rate_point, known.predictive, arrival_us,
            )
            for at in range(0, count, step)
        ]

    def _skip(self, head: Segment) -> None:
        """A gap too long to tell sample by sample: the stream begins anew behind it."""
        self.around.counters.samples_skipped += head.first_index - self.cursor
        self.cursor, self.next_counter, self.model_id = head.first_index, head.counter, b""
        self.moved = True
        self.history.forget()
        if self.track is not None:
            self.track.first = self.track.next_index = self.cursor

    # ------------------------------------------------------------------------------------------ decoding

    def _batch(self, segments: list[Segment]) -> Batch:
        first, last = segments[0], segments[-1]
        reconstructor = self.around.reconstructors[first.model_id]
        if first.model_id != self.model_id:
            self.model_id, self.state = first.model_id, reconstructor.initial_state
        side = self.around.look_up(self.timeline, first.model_id, first.first_index, last.end - first.first_index)
        return Batch(reconstructor, self.state, segments, side)

    def _move_on(self, batch: Batch, done: tuple[Samples, np.ndarray]) -> Samples:
        samples, self.state = done
        around, last = self.around, batch.segments[-1]
        self.fresh, self.moved = False, True
        self.cursor, self.next_counter = last.end, max(self.next_counter, last.counter + last.packets)
        self.rate_point = int(last.indices.rate_points[-1])
        if self.track is not None:
            store(self.track, batch.segments, samples, False, around.neighborhood.needed_of(around.node_id))
        return samples

    def _decode_steps(self, ready: list[tuple[Segment, bool]], now_us: int, events: list[Event]) -> None:
        parts = [self._decode_step(segment, provisional, now_us) for segment, provisional in ready]
        for provisional, group in groupby(zip(ready, parts, strict=True), key=lambda pair: pair[0][1]):
            members = list(group)
            samples = concatenate([samples for _, samples in members])
            events.append(self._told(members[0][0][0].first_index, samples, provisional, now_us))

    def _decode_step(self, segment: Segment, provisional: bool, now_us: int) -> Samples:
        batch = self._batch([segment])
        samples = self._move_on(batch, batch.run())
        suspects = self._count([segment], samples)
        coarse = not segment.lost and self._may_change(segment)
        self.history.steps.append(Step(segment, batch.state, batch.side, provisional, now_us, suspects, coarse))
        return samples

    def _count(self, segments: list[Segment], samples: Samples) -> int:
        counters = self.around.counters
        suspects = int(np.count_nonzero(samples.flags & SUSPECT))
        counters.samples_suspect += suspects
        for segment in segments:
            absent = segment.absent_samples
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

    # ------------------------------------------------------------------------------------------ waiting

    def needed_us(self) -> int:
        """Event time of the earliest sample beside which this stream may still look at its neighbours."""
        steps = self.history.steps
        first_index = steps[0].segment.first_index if steps else self.cursor
        return self.timeline.start_us + first_index * self.timeline.period_us

    def _next_due_us(self) -> int | None:
        if not self.queue:
            return None
        head, fleet = self.queue[0], self.around.fleet
        if head.first_index > self.cursor:
            return self._revealed_us() + fleet.reorder_wait_us
        return head.arrival_us + fleet.side_wait_us
