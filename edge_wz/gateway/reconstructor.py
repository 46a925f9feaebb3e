"""Segments to samples: the decoder of a model, its neighbours, and the state that goes in and comes out.

One per model and node, without memory: what changes is the stream's. It knows which neighbours a decoder looks at (a
reference node's decoder looks at none and so waits for nobody) and where absent samples go. `run_together` decodes for
many streams at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from edge_wz.codec.reconstruction import ABSENT, Decoder, Reconstruction
from edge_wz.codec.side_information import SideInformation
from edge_wz.gateway.neighborhood import Neighborhood, Track
from edge_wz.gateway.segments import Segment, join
from edge_wz.model import Model

BATCH_SAMPLES = 1 << 16  # of one decoder call


class Samples(NamedTuple):
    values: np.ndarray  # float64[T], NaN where absent
    sigmas: np.ndarray  # float64[T]
    flags: np.ndarray  # uint8[T]


class Reconstructor:
    """`neighbours`: node ids in the order of the decoder's side information; None: one this fleet does not have."""

    def __init__(self, model: Model, decoder: Decoder, neighbours: Sequence[int | None]) -> None:
        self.model = model
        self.decoder = decoder
        self.neighbours = tuple(neighbours[: decoder.neighbours])
        self.waits_for = tuple(node_id for node_id in self.neighbours if node_id is not None)
        self.initial_state = decoder.initial_state()
        self.predictive = model.node.scheme == "predictive"

    def look_up(
        self, neighborhood: Neighborhood, start_us: int, period_us: int, first_index: int, count: int
    ) -> SideInformation:
        if not self.neighbours:
            nothing = np.empty((count, 0))
            return SideInformation(nothing, nothing)
        return neighborhood.look_up(self.neighbours, start_us, period_us, first_index, count)


class Batch(NamedTuple):
    """Consecutive segments of one model that a stream wants decoded in one call."""

    reconstructor: Reconstructor
    state: np.ndarray
    segments: list[Segment]
    side: SideInformation

    @property
    def first_index(self) -> int:
        return self.segments[0].first_index

    def run(self) -> tuple[Samples, np.ndarray]:
        """The samples, and the state after them."""
        indices = join([segment.indices for segment in self.segments])
        out, after = self.reconstructor.decoder.reconstruct(self.state, indices, self.side)
        return _without_absent(out, self.segments), after


def run_together(batches: Sequence[Batch]) -> list[tuple[Samples, np.ndarray]]:
    """`run` of each, in the order given.

    A decoder without state treats every sample by itself, so streams that share one share its calls.
    """
    groups: dict[Decoder, list[int]] = {}
    for at, batch in enumerate(batches):
        if not batch.state.size:
            groups.setdefault(batch.reconstructor.decoder, []).append(at)
    done: dict[int, tuple[Samples, np.ndarray]] = {}
    for members in groups.values():
        for part in _cut(members, batches):
            done.update(zip(part, _run_joined([batches[at] for at in part]), strict=True))
    return [done[at] if at in done else batch.run() for at, batch in enumerate(batches)]


def _cut(members: list[int], batches: Sequence[Batch]) -> Iterable[list[int]]:
    """Into groups of about as many samples as one call takes."""
    part: list[int] = []
    samples = 0
    for at in members:
        part.append(at)
        samples += len(batches[at].side.values)
        if samples >= BATCH_SAMPLES:
            yield part
            part, samples = [], 0
    if len(part) > 1:
        yield part


def _run_joined(batches: list[Batch]) -> list[tuple[Samples, np.ndarray]]:
    """Of one decoder, without state."""
    if len(batches) == 1:
        return [batches[0].run()]
    indices = join([segment.indices for batch in batches for segment in batch.segments])
    side = SideInformation(
        np.concatenate([batch.side.values for batch in batches]),
        np.concatenate([batch.side.sigmas for batch in batches]),
    )
    out, _ = batches[0].reconstructor.decoder.reconstruct(batches[0].state, indices, side)
    samples = _without_absent(out, [segment for batch in batches for segment in batch.segments])
    results, at = [], 0
    for batch in batches:
        end = at + len(batch.side.values)
        results.append((Samples(samples.values[at:end], samples.sigmas[at:end], samples.flags[at:end]), batch.state))
        at = end
    return results


def _without_absent(out: Reconstruction, segments: Sequence[Segment]) -> Samples:
    at = 0
    for segment in segments:
        if segment.absent is not None:
            out.flags[at : at + segment.count][segment.absent] = ABSENT
            out.values[at : at + segment.count][segment.absent] = np.nan
            out.sigmas[at : at + segment.count][segment.absent] = np.nan
        at += segment.count
    return Samples(out.values, out.sigmas, out.flags)


def store(
    track: Track | None, segments: Sequence[Segment], samples: Samples, revised: bool, needed_us: int | None
) -> None:
    """Put new or revised samples where the users of the node find them; concealed ones count as missing."""
    if track is None:
        return
    values = samples.values
    if any(segment.lost for segment in segments):
        values = values.copy()
        at = 0
        for segment in segments:
            if segment.lost:
                values[at : at + segment.count] = np.nan
            at += segment.count
    if revised:
        track.replace(segments[0].first_index, values, samples.sigmas)
    else:
        track.append(values, samples.sigmas, needed_us)
