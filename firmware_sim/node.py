"""The node of a Linux-class sensor: samples from a CSV or a pipe, encoded as they come, frames onto a link.

Unlike a recording, which is read whole, the input is a stream: every complete line that has arrived is encoded at once.
SIGINT and SIGTERM end it as its last line would: with a short packet and a hello, so that nothing measured is lost.
"""

from __future__ import annotations

import csv
import gzip
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, TypeVar, cast

import numpy as np

from edge_wz.codec.encoder import EncoderCounters, NodeEncoder
from edge_wz.codec.familiar import Familiar
from edge_wz.errors import InputError, RecordingError
from edge_wz.formats.framing import encode_frame
from firmware_sim.fleet import to_codes
from firmware_sim.links import Link

READ_BYTES = 1 << 16
INDEX_COLUMNS = ("", "k", "index", "time", "time_s", "t", "timestamp", "hour", "seq")
MISSING = ("", "nan", "na", "null", "none")
SHOWN_CHARACTERS = 24


Result = TypeVar("Result")


class _Interrupted(Exception):
    pass


@dataclass
class Stop:
    """Set by SIGINT and SIGTERM. Interrupts waiting for input or for time, never a frame that is being written."""

    requested: bool = False
    waiting: bool = False

    def unless_stopped(self, wait: Callable[[], Result], otherwise: Result) -> Result:
        """What `wait` returns; `otherwise` once a signal has come."""
        try:
            self.waiting = True
            result = otherwise if self.requested else wait()
            self.waiting = False
            return result
        except _Interrupted:
            return otherwise
        except BaseException:
            self.waiting = False
            raise

    def handle(self, signal_number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self.waiting:
            self.waiting = False
            raise _Interrupted

    @contextmanager
    def signals(self) -> Iterator[None]:
        """While open, the two signals end here."""
        previous = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@dataclass(eq=False)
class SampleStream:
    """Rows of a CSV as blocks. `columns`: which to read, all but the index columns if empty; NaN = absent."""

    file: IO[bytes]
    where: str
    columns: tuple[str, ...] = ()
    preferred: str = ""  # the one column to take, if there is one of this name and `columns` is empty
    stop: Stop = field(default_factory=Stop)
    _places: list[int] = field(default_factory=list)
    _width: int = 0
    _line: int = 0

    def blocks(self) -> Iterator[np.ndarray]:
        """float64[rows, columns], as many rows as have arrived."""
        for lines in self._lines():
            rows = self._rows(lines)
            if not self._places and rows:
                self._read_header(rows.pop(0))
            block = np.empty((len(rows), len(self._places)))
            kept = 0
            for row in rows:
                self._line += 1
                if row or self._width == 1:  # an empty line is an empty field, or no row at all
                    block[kept] = self._numbers(row or [""])
                    kept += 1
            yield block[:kept]
        if not self._places:
            raise RecordingError(f"{self.where}: is empty, not even a header row")

    def _lines(self) -> Iterator[list[str]]:
        """Complete lines; the last one may lack its end."""
        rest = b""
        while not self.stop.requested:
            data = self.stop.unless_stopped(self._read, b"")
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            if lines:
                yield [self._text(line) for line in lines]
        if rest and not self.stop.requested:
            yield [self._text(rest)]

    def _read(self) -> bytes:
        try:
            return cast(bytes, self.file.read1(READ_BYTES))  # type: ignore[attr-defined]
        except (OSError, EOFError) as error:
            raise RecordingError(f"{self.where}: cannot be read: {error}") from error

    def _rows(self, lines: list[str]) -> list[list[str]]:
        reader = csv.reader(lines)
        try:
            return list(reader)
        except csv.Error as error:
            raise RecordingError(f"{self.where}: line {self._line + reader.line_num}: {error}") from error

    def _text(self, line: bytes) -> str:
        return line.decode("utf-8-sig" if self._line == 0 else "utf-8", "replace").rstrip("\r")

    def _read_header(self, header: list[str]) -> None:
        self._line = 1
        names = [name.strip() for name in header]
        if all(_is_number(name) for name in names):
            raise RecordingError(f"{self.where}: line 1: numbers where the header row belongs")
        others = tuple(name for name in names if name.lower() not in INDEX_COLUMNS)
        wanted = self.columns or ((self.preferred,) if self.preferred in names else others)
        for name in wanted:
            if name not in names:
                raise RecordingError(f"{self.where}: no column {name!r} (there are {', '.join(names)})")
        self.columns = wanted
        self._places = [names.index(name) for name in wanted]
        self._width = len(names)
        if not wanted:
            raise RecordingError(f"{self.where}: no column of samples, only {', '.join(names)}")

    def _numbers(self, row: Sequence[str]) -> list[float]:
        if len(row) != self._width:
            raise RecordingError(f"{self.where}: line {self._line}: {len(row)} fields, the header has {self._width}")
        return [self._number(row[place], name) for place, name in zip(self._places, self.columns, strict=True)]

    def _number(self, text: str, name: str) -> float:
        try:
            value = float(text)
        except ValueError:
            if text.strip().lower() in MISSING:
                return math.nan
            shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
            raise RecordingError(f"{self.where}: line {self._line}, column {name}: {shown!r} is no number") from None
        if math.isinf(value):
            raise RecordingError(f"{self.where}: line {self._line}, column {name}: {text.strip()} is not finite")
        return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def open_samples(path: str, columns: tuple[str, ...] = (), stop: Stop | None = None) -> SampleStream:
    """A CSV, a .csv.gz, or `-` for standard input."""
    stop = stop or Stop()
    if path == "-":
        return SampleStream(sys.stdin.buffer, "standard input", columns, stop=stop)
    try:
        file = gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")  # noqa: SIM115 (the stream reads it)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    return SampleStream(cast(IO[bytes], file), path, columns, stop=stop)


def read_columns(path: Path, columns: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The whole file, by column."""
    stream = open_samples(str(path), columns)
    with stream.file:
        blocks = list(stream.blocks())
    values = np.concatenate(blocks)
    if not len(values):
        raise RecordingError(f"{path}: no samples behind the header")
    return {name: values[:, k] for k, name in enumerate(stream.columns)}


@dataclass(frozen=True)
class NodeReport:
    counters: EncoderCounters
    clipped: int
    bytes_written: int
    interrupted: bool


def run(
    encoder: NodeEncoder,
    samples: SampleStream,
    link: Link,
    *,
    realtime: bool = False,
    start_s: float | None = None,
    familiar: Familiar | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> NodeReport:
    """Encode until the input ends or a signal comes. `realtime`: one sample each period, the first at `start_s`. What `familiar` finds
    strange is said."""
    stop = samples.stop
    start_s = time.monotonic() if start_s is None else start_s
    clipped = 0
    with stop.signals():
        for values in _paced(samples, encoder, start_s) if realtime else _single_column(samples):
            codes, present, clips = to_codes(encoder.node_model, values)
            clipped += clips
            if familiar is not None and (found := familiar.look(values)) is not None:
                say(found)
            send(link, encoder.encode(codes, present))
        if familiar is not None and (found := familiar.look(np.empty(0), last=True)) is not None:
            say(found)
        send(link, encoder.flush())
    return NodeReport(encoder.counters, clipped, link.bytes_written, stop.requested)


def send(link: Link, packets: list[bytes]) -> None:
    time_us = time.time_ns() // 1000
    for raw in packets:
        link.write(time_us, encode_frame(raw))
    if packets:
        link.flush()


def _single_column(samples: SampleStream) -> Iterator[np.ndarray]:
    for block in samples.blocks():
        if len(samples.columns) > 1:
            raise InputError(f"{samples.where}: several columns ({', '.join(samples.columns)}); choose with --column")
        yield block[:, 0]


def _paced(samples: SampleStream, encoder: NodeEncoder, start_s: float) -> Iterator[np.ndarray]:
    """One sample at a time, each when it is due."""
    due_s = start_s
    for values in _single_column(samples):
        for k in range(len(values)):
            pause_s = max(0.0, due_s - time.monotonic())
            samples.stop.unless_stopped(partial(time.sleep, pause_s), None)
            if samples.stop.requested:
                return
            due_s += encoder.period_us / 1e6
            yield values[k : k + 1]
