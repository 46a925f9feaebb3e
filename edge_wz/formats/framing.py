"""Frames on a byte stream (SPEC 7): COBS (Cheshire and Baker) with a zero byte behind each packet.

Bad input is data: a frame that does not decode comes out as a `Frame` with a status. Every byte fed is in exactly one
of four counters, after every feed: `good_bytes + bad_bytes + discarded_bytes + pending_bytes == fed_bytes`. What comes
out does not depend on how the stream was cut into feeds.
"""

from __future__ import annotations

import contextlib
from enum import Enum
from typing import NamedTuple

from cobs import cobs

from edge_wz.formats.layout import MAX_FRAME_BYTES

DELIMITER = b"\0"


class FrameStatus(Enum):
    OK = "ok"
    BAD = "bad"  # not COBS
    TOO_LONG = "too long"  # given up up to the next delimiter


class Frame(NamedTuple):
    """`payload`: OK: the packet; BAD: the bytes as they came; TOO_LONG: empty. `wire_bytes` counts the delimiter."""

    status: FrameStatus
    payload: bytes
    wire_bytes: int


class FramingState(NamedTuple):
    """All a `FrameDecoder` remembers. `overlong_bytes`: of the frame being given up, already discarded; 0 if none."""

    pending: bytes = b""
    overlong_bytes: int = 0
    fed_bytes: int = 0
    good_bytes: int = 0
    bad_bytes: int = 0
    discarded_bytes: int = 0


def encode_frame(packet: bytes) -> bytes:
    encoded: bytes = cobs.encode(packet) + DELIMITER
    return encoded


class FrameDecoder:
    """Bytes in, frames out. Good and bad count frames with their delimiter, discarded idle fill and frames too long."""

    def __init__(self, state: FramingState | None = None) -> None:
        self.restore(state or FramingState())

    def state(self) -> FramingState:
        return FramingState(
            self._pending, self._overlong_bytes, self.fed_bytes, self.good_bytes, self.bad_bytes, self.discarded_bytes
        )

    def restore(self, state: FramingState) -> None:
        self._pending = state.pending
        self._overlong_bytes = state.overlong_bytes
        self.fed_bytes = state.fed_bytes
        self.good_bytes = state.good_bytes
        self.bad_bytes = state.bad_bytes
        self.discarded_bytes = state.discarded_bytes

    @property
    def pending_bytes(self) -> int:
        return len(self._pending)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in `data`, in order."""
        frames: list[Frame] = []
        for piece in self._ended(data, frames):
            wire_bytes = len(piece) + 1
            if not 1 < wire_bytes <= MAX_FRAME_BYTES + 1:
                self._discard(wire_bytes, frames)
                continue
            try:
                frames.append(Frame(FrameStatus.OK, cobs.decode(piece), wire_bytes))
                self.good_bytes += wire_bytes
            except cobs.DecodeError:
                self.bad_bytes += wire_bytes
                frames.append(Frame(FrameStatus.BAD, piece, wire_bytes))
        return frames

    def feed_packets(self, data: bytes) -> tuple[list[bytes], list[Frame]]:
        """As `feed`, sorted: the packets of the good frames, and the frames that are none.

        Where all is well there is no object per frame, which makes this several times faster.
        """
        before = self.state()
        frames: list[Frame] = []
        pieces = self._ended(data, frames)
        if not pieces and not frames:
            return [], []
        if not frames and b"" not in pieces and max(map(len, pieces)) <= MAX_FRAME_BYTES:
            with contextlib.suppress(cobs.DecodeError):
                packets = list(map(cobs.decode, pieces))
                self.good_bytes += sum(map(len, pieces)) + len(pieces)
                return packets, []
        self.restore(before)
        frames = self.feed(data)
        good = FrameStatus.OK
        return [frame.payload for frame in frames if frame.status is good], [f for f in frames if f.status is not good]

    def _ended(self, data: bytes, frames: list[Frame]) -> list[bytes]:
        """The frames, still encoded, that end in `data`; one that was being given up goes into `frames`."""
        self.fed_bytes += len(data)
        pieces = data.split(DELIMITER)
        rest = pieces.pop()
        if pieces and self._overlong_bytes:
            wire_bytes = len(pieces.pop(0)) + 1
            self.discarded_bytes += wire_bytes
            frames.append(Frame(FrameStatus.TOO_LONG, b"", self._overlong_bytes + wire_bytes))
            self._overlong_bytes = 0
        elif pieces:
            pieces[0] = self._pending + pieces[0]
            self._pending = b""
        self._keep(rest)
        return pieces

    def _discard(self, wire_bytes: int, frames: list[Frame]) -> None:
        self.discarded_bytes += wire_bytes
        if wire_bytes > 1:
            frames.append(Frame(FrameStatus.TOO_LONG, b"", wire_bytes))

    def _keep(self, rest: bytes) -> None:
        """`rest`: the start of a frame whose delimiter has not come."""
        if self._overlong_bytes:
            self._overlong_bytes += len(rest)
            self.discarded_bytes += len(rest)
        elif len(self._pending) + len(rest) > MAX_FRAME_BYTES:
            self._overlong_bytes = len(self._pending) + len(rest)
            self.discarded_bytes += self._overlong_bytes
            self._pending = b""
        else:
            self._pending += rest
