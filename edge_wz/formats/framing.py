"""Frames on a byte stream (SPEC 7): COBS (Cheshire and Baker) with a zero byte behind each packet.

Bad input is data: a frame that does not decode comes out as a `Frame` with a status. Every byte fed is in exactly one
of four counters, after every feed: `good_bytes + bad_bytes + discarded_bytes + pending_bytes == fed_bytes`. What comes
out does not depend on how the stream was cut into feeds.
"""

from __future__ import annotations

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
        self.fed_bytes += len(data)
        *ended, rest = data.split(DELIMITER)
        frames: list[Frame] = []
        if ended:
            first = self._take_first(ended[0], frames)
            self._decode_all(ended if first is None else [first, *ended[1:]], frames, skip=first is None)
        self._keep(rest)
        return frames

    def _take_first(self, piece: bytes, frames: list[Frame]) -> bytes | None:
        """The first frame that ends here, whole; None if it was being given up."""
        if self._overlong_bytes:
            self.discarded_bytes += len(piece) + 1
            frames.append(Frame(FrameStatus.TOO_LONG, b"", self._overlong_bytes + len(piece) + 1))
            self._overlong_bytes = 0
            return None
        whole, self._pending = self._pending + piece, b""
        return whole

    def _decode_all(self, pieces: list[bytes], frames: list[Frame], skip: bool) -> None:
        """The loop of the hot path: locals only."""
        decode, ok, append = cobs.decode, FrameStatus.OK, frames.append
        good_bytes = 0
        for piece in pieces[1:] if skip else pieces:
            wire_bytes = len(piece) + 1
            if not 1 < wire_bytes <= MAX_FRAME_BYTES + 1:
                self._discard(wire_bytes, frames)
                continue
            try:
                append(Frame(ok, decode(piece), wire_bytes))
                good_bytes += wire_bytes
            except cobs.DecodeError:
                self.bad_bytes += wire_bytes
                append(Frame(FrameStatus.BAD, piece, wire_bytes))
        self.good_bytes += good_bytes

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
