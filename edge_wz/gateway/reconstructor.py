"""Segments to samples: the decoder of a model, its neighbours, and the state that goes in and comes out.

One per model and node, without memory: what changes is the stream's. It knows which neighbours a decoder looks at (a
reference node's decoder looks at none and so waits for nobody) and where absent samples go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_wz.codec.reconstruction import ABSENT, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.gateway.neighborhood import Neighborhood, Track
from edge_wz.gateway.segments import Segment, join
from edge_wz.model import Model


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
            return SideInformation(np.empty((count, 0)), np.empty((count, 0)))
        return neighborhood.look_up(self.neighbours, start_us, period_us, first_index, count)

    def run(
        self, state: np.ndarray, segments: Sequence[Segment], side: SideInformation
    ) -> tuple[Samples, np.ndarray]:
        """Samples of consecutive segments of this model, and the state after them."""
        indices = join([segment.indices for segment in segments])
        out, after = self.decoder.reconstruct(state, indices, side)
        at = 0
        for segment in segments:
            if segment.absent is not None:
                out.flags[at : at + segment.count][segment.absent] = ABSENT
                out.values[at : at + segment.count][segment.absent] = np.nan
                out.sigmas[at : at + segment.count][segment.absent] = np.nan
            at += segment.count
        return Samples(out.values, out.sigmas, out.flags), after


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
