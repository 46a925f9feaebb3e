"""What a stream decoded without something and may yet decode better: the steps since the oldest of them.

A step was decoded provisionally, or it conceals packets that did not come; as long as the revise window of one is open,
it and all after it are kept with the state before each, and are decoded again from there. While nothing is open the
history is empty. A revision goes no further than its own stream: users of a revised node keep what they decoded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import numpy as np

from edge_wz.codec.reconstruction import SUSPECT
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats.layout import NEAR_WINDOW
from edge_wz.gateway.events import Event, SamplesRevised
from edge_wz.gateway.neighborhood import Track
from edge_wz.gateway.reconstructor import Batch, Samples, store
from edge_wz.gateway.segments import Segment, cut_lost
from edge_wz.gateway.surroundings import Surroundings, Timeline

GIVEN_UP_KEPT = 64


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What was decoded, with what is needed to do it again."""

    segment: Segment
    state_before: np.ndarray
    side: SideInformation
    provisional: bool
    decided_us: int
    suspects: int
    coarse: bool = False  # further layers may come

    @property
    def open(self) -> bool:
        return self.provisional or self.segment.lost


class Resumed(NamedTuple):
    """Where decoding again ended: the decoder's state after the last step, and the model it is of."""

    model_id: bytes
    state: np.ndarray


class History:
    """`given_up`: runs of samples whose packets may come no more, newest last; what comes of them is late."""

    def __init__(self, around: Surroundings, timeline: Timeline, track: Track | None) -> None:
        self.around = around
        self.timeline = timeline
        self.track = track
        self.steps: list[Step] = []
        self.given_up: list[tuple[int, int]] = []
        self.revision = 0

    def find_lost(self, first_index: int, now_us: int) -> int:
        """The step that conceals a sample and may still be revised, or -1."""
        for at, step in enumerate(self.steps):
            if step.segment.first_index <= first_index < step.segment.end:
                return at if step.segment.lost and self._in_time(step, now_us) else -1
        return -1

    def was_given_up(self, first_index: int) -> bool:
        return any(start <= first_index < end for start, end in self.given_up) or any(
            step.segment.lost and step.segment.first_index <= first_index < step.segment.end for step in self.steps
        )

    def _in_time(self, step: Step, now_us: int) -> bool:
        return now_us - step.decided_us <= self.around.fleet.revise_window_us

    def find_base(self, first_index: int, now_us: int) -> int:
        """The step that decoded a sample and may still be refined, or -1."""
        for at, step in enumerate(self.steps):
            if step.segment.first_index <= first_index < step.segment.end:
                return at if not step.segment.lost and self._in_time(step, now_us) else -1
        return -1

    def refine(self, at: int, segment: Segment, coarse: bool, now_us: int, events: list[Event]) -> Resumed:
        """Further layers have come: the segment with them takes the place of that without."""
        self.steps[at] = replace(self.steps[at], segment=segment, coarse=coarse)
        return self._replay(at, now_us, events)

    def trim(self, now_us: int, next_counter: int) -> None:
        """Forget what lies before the first step that may still change; `next_counter`: of the packet to be decoded next."""
        kept = next(
            (at for at, step in enumerate(self.steps) if self._may_change(step, now_us, next_counter)), len(self.steps)
        )
        gone = [step.segment for step in self.steps[:kept] if step.segment.lost]
        self.given_up = [*self.given_up, *((gap.first_index, gap.end) for gap in gone)][-GIVEN_UP_KEPT:]
        del self.steps[:kept]

    def _may_change(self, step: Step, now_us: int, next_counter: int) -> bool:
        refinable = step.coarse and step.segment.counter + step.segment.packets + NEAR_WINDOW > next_counter
        return (step.open or refinable) and self._in_time(step, now_us)

    def forget(self) -> None:
        self.steps = []

    # ------------------------------------------------------------------------------------------ decoding again

    def refresh(self, now_us: int, events: list[Event]) -> Resumed | None:
        """Revise what was provisional and whose neighbours have come."""
        around, limits, first = self.around, dict[bytes, int](), -1
        for at, step in enumerate(self.steps):
            if not step.provisional or not self._in_time(step, now_us):
                continue
            segment = step.segment
            if segment.model_id not in limits:
                limits[segment.model_id] = around.covered(self.timeline, segment.model_id)
            if segment.end <= limits[segment.model_id]:
                side = around.look_up(self.timeline, segment.model_id, segment.first_index, segment.count)
                self.steps[at] = replace(step, side=side, provisional=False)
                first = at if first < 0 else first
        return self._replay(first, now_us, events) if first >= 0 else None

    def recover(self, at: int, segment: Segment, now_us: int, events: list[Event]) -> Resumed:
        """A packet that was given up has come: it takes its place among the concealed ones."""
        old = self.steps[at]
        full = self.around.reconstructors[old.segment.model_id].model.node.packet_samples
        pieces = cut_lost(old.segment, segment, full)
        start = old.segment.first_index
        self.steps[at : at + 1] = [
            replace(
                old, segment=piece, suspects=old.suspects if piece is pieces[0] else 0,
                side=old.side[piece.first_index - start : piece.end - start],
            )
            for piece in pieces
        ]
        self._count_recovered(segment)
        return self._replay(at, now_us, events)

    def _count_recovered(self, segment: Segment) -> None:
        counters, absent = self.around.counters, segment.absent_samples
        counters.data_packets += segment.packets
        counters.recovered += segment.packets
        counters.lost -= segment.packets
        counters.samples_concealed -= segment.count
        counters.samples_decoded += segment.count - absent
        counters.samples_absent += absent
        counters.samples_expected -= absent

    def _replay(self, first: int, now_us: int, events: list[Event]) -> Resumed:
        """Decode again from step `first` on and tell the samples as revised."""
        self.revision += 1
        state, model_id = self.steps[first].state_before, self.steps[first].segment.model_id
        told: list[tuple[Step, Samples]] = []
        for at in range(first, len(self.steps)):
            step = self.steps[at]
            reconstructor = self.around.reconstructors[step.segment.model_id]
            if step.segment.model_id != model_id:
                model_id, state = step.segment.model_id, reconstructor.initial_state
            samples, after = Batch(reconstructor, state, [step.segment], step.side).run()
            suspects = int(np.count_nonzero(samples.flags & SUSPECT))
            self.around.counters.samples_suspect += suspects - step.suspects
            self.steps[at] = replace(step, state_before=state, suspects=suspects)
            store(self.track, [step.segment], samples, True, None)
            told.append((self.steps[at], samples))
            state = after
        self._tell(told, now_us, events)
        return Resumed(model_id, state)

    def _tell(self, told: Iterable[tuple[Step, Samples]], now_us: int, events: list[Event]) -> None:
        epoch, start_us, period_us = self.timeline
        for provisional, group in groupby(told, key=lambda pair: pair[0].provisional):
            members = list(group)
            samples = concatenate([samples for _, samples in members])
            first_index = members[0][0].segment.first_index
            self.around.counters.samples_revised += len(samples.values)
            events.append(SamplesRevised(
                self.around.node_id, epoch, first_index, start_us + first_index * period_us, period_us,
                samples.values, samples.sigmas, samples.flags, provisional, self.revision, now_us,
            ))


def concatenate(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    return Samples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
