"""Frames on a byte stream (SPEC 7): COBS (Cheshire and Baker) with a zero byte behind each packet.

Bad input is data: a frame that does not decode comes out as a `Frame` with a status. A node under management answers in
lines between its frames (SPEC 12.1); they are cut out and counted. Every byte fed is in exactly one of five counters, after
every feed: `good_bytes + bad_bytes + discarded_bytes + console_bytes + pending_bytes == fed_bytes`. What comes out does not
depend on how the stream was cut into feeds.
"""

from __future__ import annotations

import contextlib
from enum import Enum
from typing import NamedTuple

from cobs import cobs

from edge_wz.formats.console import LINE_START, LONGEST_LINE, bad_line, first_line
from edge_wz.formats.layout import MAX_FRAME_BYTES

DELIMITER = b"\0"
LINE_BEHIND = DELIMITER + LINE_START


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
    """All a `FrameDecoder` remembers. `overlong_bytes`: of the frame being given up, already discarded; 0 if none.

    `in_console`: lines have come since the last delimiter, so that only lines come until the next.
    """

    pending: bytes = b""
    overlong_bytes: int = 0
    fed_bytes: int = 0
    good_bytes: int = 0
    bad_bytes: int = 0
    discarded_bytes: int = 0
    console_bytes: int = 0
    in_console: bool = False


def encode_frame(packet: bytes) -> bytes:
    encoded: bytes = cobs.encode(packet) + DELIMITER
    return encoded


class FrameDecoder:
    """Bytes in, frames out. Good and bad count frames with their delimiter, discarded idle fill and frames too long.

    A line that does not check among lines that do is a bad frame.
    """

    def __init__(self, state: FramingState | None = None) -> None:
        self.restore(state or FramingState())

    def state(self) -> FramingState:
        return FramingState(
            self._pending, self._overlong_bytes, self.fed_bytes, self.good_bytes, self.bad_bytes, self.discarded_bytes,
            self.console_bytes, self._in_console,
        )

    def restore(self, state: FramingState) -> None:
        self._pending = state.pending
        self._overlong_bytes = state.overlong_bytes
        self.fed_bytes = state.fed_bytes
        self.good_bytes = state.good_bytes
        self.bad_bytes = state.bad_bytes
        self.discarded_bytes = state.discarded_bytes
        self.console_bytes = state.console_bytes
        self._in_console = state.in_console

    @property
    def pending_bytes(self) -> int:
        return len(self._pending)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in `data`, in order."""
        frames: list[Frame] = []
        pieces, rest = self._split(data, frames)
        for piece in pieces:
            self._decode(self._without_lines(piece, frames), frames)
            self._in_console = False
        self._keep(rest if self._overlong_bytes else self._without_lines(rest, frames))
        return frames

    def _decode(self, piece: bytes, frames: list[Frame]) -> None:
        wire_bytes = len(piece) + 1
        if not 1 < wire_bytes <= MAX_FRAME_BYTES + 1:
            return self._discard(wire_bytes, frames)
        try:
            frames.append(Frame(FrameStatus.OK, cobs.decode(piece), wire_bytes))
            self.good_bytes += wire_bytes
        except cobs.DecodeError:
            self.bad_bytes += wire_bytes
            frames.append(Frame(FrameStatus.BAD, piece, wire_bytes))
        return None

    def feed_packets(self, data: bytes) -> tuple[list[bytes], list[Frame]]:
        """As `feed`, sorted: the packets of the good frames, and the frames that are none.

        Where all is well there is no object per frame, which makes this several times faster.
        """
        if not (self._in_console or self._has_line(data)):
            before = self.state()
            frames: list[Frame] = []
            pieces, rest = self._split(data, frames)
            self._keep(rest)
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

    def _has_line(self, data: bytes) -> bool:
        """Whether a whole answer begins behind a delimiter. The rarer pair of bytes first, as this looks at all that comes."""
        if first_line(self._pending[:LONGEST_LINE] + data[:LONGEST_LINE]):
            return True
        at = data.find(LINE_BEHIND) if LINE_START in data else -1
        while at >= 0:
            if first_line(data[at + 1 : at + 1 + LONGEST_LINE]):
                return True
            at = data.find(LINE_BEHIND, at + 1)
        return False

    def _split(self, data: bytes, frames: list[Frame]) -> tuple[list[bytes], bytes]:
        """What ends in `data`, still encoded, and what does not; a frame that was being given up goes into `frames`."""
        self.fed_bytes += len(data)
        pieces = data.split(DELIMITER)
        rest = pieces.pop()
        if self._overlong_bytes:
            if pieces:
                wire_bytes = len(pieces.pop(0)) + 1
                self.discarded_bytes += wire_bytes
                frames.append(Frame(FrameStatus.TOO_LONG, b"", self._overlong_bytes + wire_bytes))
                self._overlong_bytes = 0
            return pieces, rest
        pending, self._pending = self._pending, b""
        if not pieces:
            return pieces, pending + rest
        pieces[0] = pending + pieces[0]
        return pieces, rest

    def _without_lines(self, piece: bytes, frames: list[Frame]) -> bytes:
        """What is left of the bytes behind a delimiter without the lines that they begin with."""
        while True:
            if end := first_line(piece):
                self.console_bytes += end
                self._in_console = True
            elif self._in_console and (end := bad_line(piece)):
                self.bad_bytes += end
                frames.append(Frame(FrameStatus.BAD, piece[:end], end))
            else:
                return piece
            piece = piece[end:]

    def _discard(self, wire_bytes: int, frames: list[Frame]) -> None:
        self.discarded_bytes += wire_bytes
        if wire_bytes > 1:
            frames.append(Frame(FrameStatus.TOO_LONG, b"", wire_bytes))

    def _keep(self, rest: bytes) -> None:
        """`rest`: what came since the last delimiter, if that is not being given up."""
        if self._overlong_bytes:
            self._overlong_bytes += len(rest)
            self.discarded_bytes += len(rest)
        elif len(rest) > MAX_FRAME_BYTES:
            self._overlong_bytes = len(rest)
            self.discarded_bytes += len(rest)
        else:
            self._pending = rest
