"""The node blob (SPEC 5): what a node loads, bytes <-> `NodeModel`.

`make_nested` and its like build a node model from numbers, `parse` from bytes. Both end in `_check`, so an
invalid node model cannot exist; and `parse` packs what it read and compares, so a blob has exactly one byte form. What
follows from other fields (reciprocals, offsets) is written and never stored in the model. The part of each scheme is a module of
`formats.sections`.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec

from edge_wz.errors import NewerVersion
from edge_wz.formats import layout
from edge_wz.formats.sections import SECTIONS, layered, nested, predictive, syndrome, trellis
from edge_wz.formats.sections.common import CHECK_BYTES, HEADER_BYTES, Head, Reader, refused, within
from edge_wz.model import NodeModel

HEADER = struct.Struct("<4sBBBBHHIdd")
P = ParamSpec("P")


def _finished(build: Callable[P, NodeModel]) -> Callable[P, NodeModel]:
    """`build`, checked, with the bytes and the model id."""

    @functools.wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> NodeModel:
        node = build(*args, **kwargs)
        _check(node)
        blob = pack(node)
        return replace(node, blob=blob, model_id=model_id(blob))

    return make


make_nested = _finished(nested.build)
make_trellis = _finished(trellis.build)
make_syndrome = _finished(syndrome.build)
make_predictive = _finished(predictive.build)
make_layered = _finished(layered.build)


def model_id(blob: bytes) -> bytes:
    """SPEC 5.4."""
    return hashlib.sha256(blob).digest()[: layout.MODEL_ID_BYTES]


def pack(node: NodeModel) -> bytes:
    """The one byte form of a node model."""
    section = SECTIONS[node.scheme].pack(node)
    header = HEADER.pack(
        layout.BLOB_MAGIC, layout.BLOB_VERSION, layout.SCHEME_CODES[node.scheme], len(node.rate_points),
        node.level_check_bits, node.packet_samples, node.hello_every, HEADER_BYTES + len(section) + CHECK_BYTES,
        node.scale, node.offset,
    )
    return with_check(header + section)


def with_check(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def parse(data: bytes) -> NodeModel:
    """FormatError or NewerVersion with the offset or field, if these are not the bytes of a node blob."""
    data = bytes(data)
    scheme, rate_points = _parse_header(data)
    node = SECTIONS[scheme].parse(Reader(data, HEADER_BYTES), _head(data), rate_points)
    _check(node)
    canonical = pack(node)
    if canonical != data:
        raise refused(f"byte {_first_difference(canonical, data)} is not what the other fields require")
    return replace(node, blob=data, model_id=model_id(data))


def _head(data: bytes) -> Head:
    _, _, _, _, level_check_bits, packet_samples, hello_every, _, scale, offset = HEADER.unpack_from(data)
    return packet_samples, hello_every, level_check_bits, scale, offset


def _first_difference(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _parse_header(data: bytes) -> tuple[str, int]:
    """(scheme, number of rate points) once magic, version, length and check hold."""
    if data[:4] != layout.BLOB_MAGIC[: len(data)]:
        raise refused(f"byte 0: magic {data[:4].hex()} is not {layout.BLOB_MAGIC.hex()}")
    if len(data) < HEADER_BYTES + CHECK_BYTES:
        raise refused(f"only {len(data)} bytes, the header alone has {HEADER_BYTES}")
    if data[4] > layout.BLOB_VERSION:
        raise NewerVersion(f"node blob: version {data[4]} at byte 4, this program reads up to {layout.BLOB_VERSION}")
    if data[4] != layout.BLOB_VERSION:
        raise refused(f"byte 4: version {data[4]} does not exist")
    total_bytes = struct.unpack_from("<I", data, 12)[0]
    if total_bytes != len(data):
        raise refused(f"byte 12: the blob has {total_bytes} bytes by its header, {len(data)} are here")
    if with_check(data[:-CHECK_BYTES]) != data:
        raise refused(f"byte {len(data) - CHECK_BYTES}: the check does not hold, bytes were changed")
    schemes = {code: name for name, code in layout.SCHEME_CODES.items()}
    scheme = schemes.get(data[5], "unknown")
    if scheme not in SECTIONS:
        raise refused(f"byte 5: scheme {data[5]} ({scheme}) is not in this version")
    return scheme, data[6]


def _check(node: NodeModel) -> None:
    within("rate points", len(node.rate_points), 1, layout.MAX_RATE_POINTS)
    within("packet samples", node.packet_samples, 1, layout.MAX_PACKET_SAMPLES)
    within("hello every", node.hello_every, 1, 65535)
    if node.level_check_bits not in (0, 4, 8):
        raise refused(f"level check bits is {node.level_check_bits}, not 0, 4 or 8")
    if not (math.isfinite(node.scale) and node.scale > 0):
        raise refused(f"scale is {node.scale}, not a finite number above 0")
    if not math.isfinite(node.offset):
        raise refused(f"offset is {node.offset}, not a finite number")
    SECTIONS[node.scheme].check(node)
