"""Recent reconstructions of the nodes that are somebody's side information, looked up by event time.

A `Track` holds one boot epoch of one node by sample index: appended at the end, dropped at the start once no user needs
it. The sample of a neighbour that stands beside a time is its nearest one, within half its period; whether that one is
known yet is a comparison of integers, so waiting and replaying agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_wz.codec.side_information import SideInformation

START_CAPACITY = 256
MAX_CAPACITY = 1 << 16  # bounds what a silent user can make its neighbours keep; 1 MB per node
EVERYTHING = 1 << 62  # a sample index that no stream reaches


class Track:
    """Samples `first .. next_index - 1` of one stream. NaN: concealed or absent, so no side information."""

    def __init__(self, start_us: int, period_us: int, begin: int) -> None:
        self.start_us = start_us
        self.period_us = period_us
        self.begin = begin  # first sample of the stream
        self.first = begin  # first sample still stored
        self.next_index = begin
        self.waiting = False  # packets of this stream are not decoded yet
        self.values = np.empty(START_CAPACITY)
        self.sigmas = np.empty(START_CAPACITY)

    def append(self, values: np.ndarray, sigmas: np.ndarray, needed_us: int | None) -> None:
        """`needed_us`: event time of the earliest sample that a user may ask for; None: nobody asks."""
        at = self.next_index - self.first
        if at + len(values) > len(self.values):
            self._make_room(len(values), needed_us)
            at = self.next_index - self.first
        self.next_index += len(values)
        room = len(self.values) - at
        if len(values) > room:  # more than a track ever holds
            self.first, at = self.next_index - len(self.values), 0
            values, sigmas = values[-len(self.values) :], sigmas[-len(self.values) :]
        self.values[at : at + len(values)] = values
        self.sigmas[at : at + len(values)] = sigmas

    def replace(self, first_index: int, values: np.ndarray, sigmas: np.ndarray) -> None:
        """Revised samples; what is no longer stored is passed over."""
        skip = max(0, self.first - first_index)
        at = first_index + skip - self.first
        if skip < len(values):
            self.values[at : at + len(values) - skip] = values[skip:]
            self.sigmas[at : at + len(values) - skip] = sigmas[skip:]

    def index_at(self, time_us: int) -> int:
        """The sample nearest to a time; ties go to the later one."""
        return (time_us - self.start_us + self.period_us // 2) // self.period_us

    def read(self, indices: slice | np.ndarray, values: np.ndarray, sigmas: np.ndarray) -> None:
        """Copy the samples at `indices` that are stored; the others are left as they are."""
        if isinstance(indices, slice):
            start, stop = max(indices.start, self.first), min(indices.stop, self.next_index)
            if start < stop:
                here = slice(start - indices.start, stop - indices.start)
                there = slice(start - self.first, stop - self.first)
                values[here] = self.values[there]
                sigmas[here] = self.sigmas[there]
            return
        stored = (indices >= self.first) & (indices < self.next_index)
        values[stored] = self.values[indices[stored] - self.first]
        sigmas[stored] = self.sigmas[indices[stored] - self.first]

    def _make_room(self, count: int, needed_us: int | None) -> None:
        """Drop what no user needs; grow if that is not enough; past the largest size drop the oldest."""
        first = self.next_index if needed_us is None else min(self.index_at(needed_us) - 1, self.next_index)
        first = max(first, self.first)
        capacity = START_CAPACITY
        while capacity < 2 * (self.next_index - first + count) and capacity < MAX_CAPACITY:
            capacity *= 2
        first = max(first, min(self.next_index, self.next_index + count - capacity))
        kept = slice(first - self.first, self.next_index - self.first)
        for name in ("values", "sigmas"):
            room = np.empty(capacity)
            room[: kept.stop - kept.start] = getattr(self, name)[kept]
            setattr(self, name, room)
        self.first = first


class Neighborhood:
    """The tracks of a fleet, and how far back their users still look."""

    def __init__(self, users: Mapping[int, tuple[int, ...]]) -> None:
        self.users = users  # node id -> ids of the nodes that use it
        self.tracks: dict[int, list[Track]] = {node_id: [] for node_id in users}  # oldest first, at most two
        self.needed_us: dict[int, int] = {}  # user -> event time of the earliest sample it may ask for

    def open_track(self, node_id: int, start_us: int, period_us: int, begin: int) -> Track | None:
        """A track for a new stream of a node; None where nobody uses the node."""
        if not self.users[node_id]:
            return None
        track = Track(start_us, period_us, begin)
        self.tracks[node_id] = [*self.tracks[node_id][-1:], track]
        return track

    def needed_of(self, node_id: int) -> int | None:
        needs = [self.needed_us[user] for user in self.users[node_id] if user in self.needed_us]
        return min(needs, default=None)

    def covered(self, node_ids: Sequence[int], start_us: int, period_us: int) -> int:
        """Samples of the grid (start, period) before this index have every neighbour's sample, or its loss, known."""
        limit = EVERYTHING
        for node_id in node_ids:
            limit = min(limit, self._covered_by(node_id, start_us, period_us))
        return limit

    def _covered_by(self, node_id: int, start_us: int, period_us: int) -> int:
        tracks = self.tracks[node_id]
        if not tracks:
            return -EVERYTHING
        track = tracks[0] if tracks[0].waiting else tracks[-1]
        edge = track.next_index * track.period_us - track.period_us // 2 + track.start_us - start_us
        return -(-edge // period_us)

    def look_up(
        self, node_ids: Sequence[int | None], start_us: int, period_us: int, first_index: int, count: int
    ) -> SideInformation:
        """Neighbours beside `count` samples of the grid from `first_index` on. None: a neighbour not in the fleet."""
        values = np.full((count, len(node_ids)), np.nan)
        sigmas = np.zeros((count, len(node_ids)))
        for column, node_id in enumerate(node_ids):
            for track in self.tracks[node_id] if node_id is not None else ():
                indices = _beside(track, start_us, period_us, first_index, count)
                track.read(indices, values[:, column], sigmas[:, column])
        return SideInformation(values, sigmas)


def _beside(track: Track, start_us: int, period_us: int, first_index: int, count: int) -> slice | np.ndarray:
    """Indices in `track` of the samples nearest to those of the grid: a slice where the periods are equal."""
    time_us = start_us + first_index * period_us
    if track.period_us == period_us:
        nearest = track.index_at(time_us)
        return slice(nearest, nearest + count)
    offset_us = time_us - track.start_us + track.period_us // 2
    return (offset_us + np.arange(count, dtype=np.int64) * period_us) // track.period_us
