"""Captures (SPEC 8): recorded link bytes with their arrival times, replayable to the bit.

Pure functions pack what a writer appends; `CaptureReader` reads one segment. The end of a segment may be torn, because
its writer was killed: that is reported in `torn`, never raised. Only a segment whose header is wrong is a FormatError.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from struct import Struct

from edge_wz.errors import FormatError, NewerVersion
from edge_wz.formats.layout import (
    CAPTURE_HEADER_BYTES,
    CAPTURE_MAGIC,
    CAPTURE_VERSION,
    MAX_NODE_ID,
    RECORD_DATA,
    RECORD_HEADER_BYTES,
    RECORD_LINK,
)

SEGMENT_HEADER = Struct("<4sB3xQII")
RECORD_HEADER = Struct("<BBHIQ")
CHECK = Struct("<I")
ADDRESSED_NODE = Struct("<i")
NO_NODE = -1


@dataclass(frozen=True)
class LinkRecord:
    """Declares a link. `node_id`: of an addressed link, else None. `position`: behind this record."""

    link: int
    node_id: int | None
    name: str
    time_us: int
    position: int


@dataclass(frozen=True)
class DataRecord:
    """Bytes as they arrived. `position`: behind this record, where a reader that has used it continues."""

    link: int
    data: bytes
    time_us: int
    position: int


@dataclass(frozen=True)
class Torn:
    """Where and why a segment ends before its last byte. `position` and `byte` are those of the first byte not read."""

    position: int
    byte: int
    reason: str


def pack_header(start: int) -> bytes:
    """`start`: record bytes in all segments before this one."""
    body = SEGMENT_HEADER.pack(CAPTURE_MAGIC, CAPTURE_VERSION, start, 0, 0)[: -CHECK.size]
    return body + CHECK.pack(zlib.crc32(body))


def pack_link(link: int, name: str, node_id: int | None, time_us: int) -> bytes:
    body = ADDRESSED_NODE.pack(NO_NODE if node_id is None else node_id) + name.encode()
    return _pack_record(RECORD_LINK, link, body, time_us)


def pack_data(link: int, data: bytes, time_us: int) -> bytes:
    return _pack_record(RECORD_DATA, link, data, time_us)


def _pack_record(kind: int, link: int, body: bytes, time_us: int) -> bytes:
    record = RECORD_HEADER.pack(kind, 0, link, len(body), time_us) + body
    return record + CHECK.pack(zlib.crc32(record))


def parse_header(data: bytes, where: str = "capture") -> int:
    """The segment's `start`. FormatError or NewerVersion if this is no segment header."""
    if data[:4] != CAPTURE_MAGIC[: len(data)]:
        raise FormatError(f"{where}: byte 0: magic {data[:4].hex()} is not {CAPTURE_MAGIC.hex()}")
    if len(data) < CAPTURE_HEADER_BYTES:
        raise FormatError(f"{where}: only {len(data)} bytes, the header has {CAPTURE_HEADER_BYTES}")
    if data[4] > CAPTURE_VERSION:
        raise NewerVersion(f"{where}: version {data[4]} at byte 4, this program reads up to {CAPTURE_VERSION}")
    start = int(SEGMENT_HEADER.unpack_from(data)[2])
    if data[:CAPTURE_HEADER_BYTES] != pack_header(start):
        raise FormatError(f"{where}: the header does not check, bytes were changed")
    return start


class CaptureReader:
    """One segment, in memory or mapped. Iterate; then `torn` says whether all of it was read."""

    def __init__(self, segment: bytes | mmap, where: str = "capture") -> None:
        self._segment = segment
        self.start = parse_header(segment[:CAPTURE_HEADER_BYTES], where)
        self.position = self.start
        self.torn: Torn | None = None

    def __iter__(self) -> Iterator[LinkRecord | DataRecord]:
        return self.records()

    def records(self, from_position: int = 0) -> Iterator[LinkRecord | DataRecord]:
        """Link records always, data records that begin at `from_position` or later."""
        self.position, self.torn = self.start, None
        links: set[int] = set()
        at, last_us = CAPTURE_HEADER_BYTES, 0
        while at < len(self._segment):
            position = self.start + at - CAPTURE_HEADER_BYTES
            record = self._read(at, position, last_us, links)
            if isinstance(record, str):
                self.torn = Torn(position, at, record)
                return
            at += record.position - position
            last_us = record.time_us
            self.position = record.position
            if isinstance(record, LinkRecord):
                links.add(record.link)
                yield record
            elif position >= from_position:
                yield record

    def _read(self, at: int, position: int, last_us: int, links: set[int]) -> LinkRecord | DataRecord | str:
        """The record at byte `at`, or why there is none."""
        header = self._segment[at : at + RECORD_HEADER_BYTES]
        if len(header) < RECORD_HEADER_BYTES:
            return "ends inside a record header"
        kind, reserved, link, length, time_us = RECORD_HEADER.unpack(header)
        body_at = at + RECORD_HEADER_BYTES
        end = body_at + length + CHECK.size
        if end > len(self._segment):
            return f"ends inside a record of {length} bytes"
        body = self._segment[body_at : body_at + length]
        if zlib.crc32(body, zlib.crc32(header)) != CHECK.unpack(self._segment[body_at + length : end])[0]:
            return "a record does not check"
        if reserved or kind not in (RECORD_LINK, RECORD_DATA):
            return f"a record of unknown kind {kind}"
        if time_us < last_us:
            return f"time falls from {last_us} to {time_us} us"
        position += end - at
        if kind == RECORD_LINK:
            return _parse_link(link, body, time_us, position)
        return DataRecord(link, body, time_us, position) if link in links else f"link {link} was not declared"


def _parse_link(link: int, body: bytes, time_us: int, position: int) -> LinkRecord | str:
    if len(body) < ADDRESSED_NODE.size:
        return "a link record without a node id"
    node_id = ADDRESSED_NODE.unpack_from(body)[0]
    if not NO_NODE <= node_id <= MAX_NODE_ID:
        return f"a link record with node id {node_id}"
    try:
        name = body[ADDRESSED_NODE.size :].decode()
    except UnicodeDecodeError:
        return "a link name that is not UTF-8"
    return LinkRecord(link, None if node_id == NO_NODE else node_id, name, time_us, position)
