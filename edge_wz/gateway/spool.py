"""The spool: link bytes on disk before anybody parses them, as capture segments (SPEC 8) in one folder.

A *position* counts record bytes since the first segment ever, so it stays true when old segments are deleted. `Spool`
appends, `Segments` reads back: the spool after a restart as well as any capture given for replay. A segment that a kill
tore is left as it is, and writing continues in a new one.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from edge_wz.errors import FormatError, StorageError
from edge_wz.formats.capture import (
    CaptureReader,
    DataRecord,
    LinkRecord,
    pack_data,
    pack_header,
    pack_link,
    parse_header,
)
from edge_wz.formats.layout import CAPTURE_HEADER_BYTES
from edge_wz.gateway.fleet import LinkSpec
from edge_wz.gateway.storage import storage_errors

_LOGGER = logging.getLogger(__name__)
SUFFIX = ".wzcp"
LOCK_NAME = "lock"


@dataclass(frozen=True)
class Segment:
    """A file of the capture. `start`: position of its first record."""

    path: Path
    start: int


def find_segments(path: Path) -> list[Segment]:
    """The segments of a capture, a file or a folder of them, in order of position."""
    with storage_errors(path):
        files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        segments = [Segment(file, parse_header(_head(file), str(file))) for file in files if not _headless(file)]
    if not path.is_dir() and not segments:
        raise FormatError(f"{path}: not a capture, shorter than its header")
    return sorted(segments, key=lambda segment: segment.start)


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(CAPTURE_HEADER_BYTES)


def _headless(file: Path) -> bool:
    """Created by a writer that was killed before its first record."""
    return file.stat().st_size < CAPTURE_HEADER_BYTES


def read_records(segments: Sequence[Segment], position: int) -> Iterator[LinkRecord | DataRecord]:
    """Link records of all these segments, data records that begin at `position` or later."""
    reached = segments[0].start if segments else 0
    if position < reached:
        _LOGGER.warning("%s: %d bytes before it are gone", segments[0].path, reached - position)
    for segment in segments:
        with storage_errors(segment.path), segment.path.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        with content:
            reader = CaptureReader(content, str(segment.path))
            yield from reader.records(position)
            if reader.torn is not None and reader.torn.position >= position:
                _LOGGER.warning("%s: torn at byte %d: %s", segment.path, reader.torn.byte, reader.torn.reason)


class Spool:
    """Appends to the newest segment; owned by one daemon at a time. Thread safe where it says so."""

    def __init__(self, folder: Path, links: Sequence[LinkSpec], *, segment_bytes: int, limit_bytes: int) -> None:
        self.folder = folder
        self._links = tuple(links)
        self._segment_bytes = segment_bytes
        self._limit_bytes = limit_bytes
        self._lock = Lock()
        self._fd = -1
        self._written = 0
        self.position = 0
        self.last_us = 0
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _lock_folder(folder)
            self._segments = find_segments(folder)
            self._number = _last_number(folder)
        self._find_end()

    def start(self, position: int) -> None:
        """Begin a new segment at `position` or at the end of the last one, whichever is later."""
        self.position = max(self.position, position)
        self._open_segment()

    def append(self, link: int, data: bytes, time_us: int) -> DataRecord:
        """In the file (not yet synced) when this returns; if the disk refuses, StorageError and nothing of it there."""
        if self._written >= self._segment_bytes:
            self._rotate()
        if time_us < self.last_us:
            raise ValueError(f"time falls from {self.last_us} to {time_us}")
        self._write(pack_data(link, data, time_us))
        self.last_us = time_us
        return DataRecord(link, data, time_us, self.position)

    def sync(self) -> None:
        """Bring what was appended so far to the disk (any thread)."""
        with self._lock, storage_errors(self.folder):
            if self._fd >= 0:
                os.fdatasync(self._fd)

    def segments(self, position: int) -> list[Segment]:
        """Those that hold something behind `position` (any thread)."""
        with self._lock:
            starts = [segment.start for segment in self._segments[1:]]
            return [s for s, end in zip(self._segments, [*starts, 1 << 62], strict=True) if end > position]

    def backlog(self, committed: int) -> float:
        """How full the spool is with what nobody has decoded yet; at 1 the links should wait."""
        return (self.position - committed) / max(self._limit_bytes, 1)

    def retain(self, committed: int) -> int:
        """Delete the oldest segments over the limit, never one with a record behind `committed` (any thread)."""
        with self._lock, storage_errors(self.folder):
            sizes = [segment.path.stat().st_size for segment in self._segments]
            deleted = 0
            while len(self._segments) > 1 and sum(sizes[deleted:]) > self._limit_bytes:
                if self._segments[1].start > committed:
                    break
                self._segments.pop(0).path.unlink(missing_ok=True)
                deleted += 1
        return deleted

    def close(self) -> None:
        with self._lock, storage_errors(self.folder):
            self._close_segment()
            os.close(self._lock_fd)

    def _find_end(self) -> None:
        """Position and time of the last intact record; a segment without any is removed."""
        while self._segments:
            last = self._segments[-1]
            for record in read_records([last], last.start):
                self.position, self.last_us = record.position, record.time_us
            if self.position > last.start:
                return
            self.position = last.start
            self._segments.pop()
            last.path.unlink()

    def _open_segment(self) -> None:
        self._number += 1
        path = self.folder / f"{self._number:08d}{SUFFIX}"
        with self._lock, storage_errors(path):
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
            self._written = 0
            self._put(pack_header(self.position))
            self._segments.append(Segment(path, self.position))
            _sync_folder(self.folder)
        for link in self._links:
            self._write(pack_link(link.link, link.name, None if link.shared else link.node_id, self.last_us))

    def _rotate(self) -> None:
        with self._lock, storage_errors(self.folder):
            self._close_segment()
        self._open_segment()

    def _close_segment(self) -> None:
        if self._fd >= 0:
            os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _write(self, record: bytes) -> None:
        with storage_errors(self._segments[-1].path):
            self._put(record)
        self.position += len(record)

    def _put(self, data: bytes) -> None:
        """Append all of `data`, or cut the file back and raise."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view):]
        except OSError:
            os.ftruncate(self._fd, self._written)
            raise
        self._written += len(data)


def _lock_folder(folder: Path) -> int:
    """A descriptor that keeps other daemons out for as long as it is open."""
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise StorageError(f"{folder}: another daemon (process {holder or 'unknown'}) writes to this spool") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _last_number(folder: Path) -> int:
    return max((int(file.stem) for file in folder.glob(f"*{SUFFIX}") if file.stem.isdecimal()), default=0)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
