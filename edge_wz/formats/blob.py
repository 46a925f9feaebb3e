"""The node blob (SPEC 5): what a node loads, bytes <-> `NodeModel`.

`make_nested`, `make_trellis` and `make_predictive` build a node model from numbers, `parse` from bytes. Both end in `_check`, so an
invalid node model cannot exist; and `parse` packs what it read and compares, so a blob has exactly one byte form. What
follows from other fields (reciprocals, offsets) is written here and never stored in the model.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_wz.errors import FormatError, NewerVersion
from edge_wz.formats import layout
from edge_wz.model import CdfTable, NestedRatePoint, NodeModel, PredictiveRatePoint, frozen

HEADER = struct.Struct("<4sBBBBHHIdd")
TRELLIS_SECTION = struct.Struct("<BBHHBB")
NESTED_POINT = struct.Struct("<HBBi")  # then the taps
PREDICTIVE_SECTION = struct.Struct("<BBBB8H")
PREDICTIVE_POINT = struct.Struct("<IIHBB")  # then the directory
DIRECTORY_ENTRY = struct.Struct("<BBH")
CHECK_BYTES = 4
MAX_SOURCE_DIFFERENCE = 65535  # |x - pred| of two int16

# ------------------------------------------------------------------------------------------------- from numbers


def make_nested(
    packet_samples: int,
    hello_every: int,
    level_check_bits: int,
    scale: float,
    offset: float,
    rate_points: Iterable[tuple[int, int, int, Sequence[int]]],
) -> NodeModel:
    """`rate_points`: (modulus, shift, rounding, taps newest sample first), as in SPEC 3.1."""
    points = make_nested_points(rate_points)
    return _finish(
        NodeModel(
            "nested", int(packet_samples), int(hello_every), int(level_check_bits), float(scale), float(offset), points
        )
    )


def make_nested_points(rate_points: Iterable[tuple[int, int, int, Sequence[int]]]) -> tuple[NestedRatePoint, ...]:
    return tuple(
        NestedRatePoint(int(modulus), int(shift), int(rounding), _int32s(taps, "tap"))
        for modulus, shift, rounding, taps in rate_points
    )


def make_trellis(
    packet_samples: int,
    hello_every: int,
    level_check_bits: int,
    scale: float,
    offset: float,
    code: tuple[int, int, int],
    rate_points: Iterable[tuple[int, int, int, Sequence[int]]],
) -> NodeModel:
    """`code`: (memory, h0, h1) of SPEC 9; `rate_points`: (q, shift, rounding, taps newest sample first)."""
    nested = make_nested_points(rate_points)
    memory, h0, h1 = (int(value) for value in code)
    head = int(packet_samples), int(hello_every), int(level_check_bits), float(scale), float(offset)
    return _finish(NodeModel("trellis", *head, nested, memory=memory, h0=h0, h1=h1))


def make_predictive(
    packet_samples: int,
    hello_every: int,
    scale: float,
    offset: float,
    order: int,
    predictors: Iterable[Sequence[int]],
    thresholds: Sequence[int],
    position_tables: int,
    contexts: int,
    cdf_bits: int,
    rate_points: Iterable[tuple[int, int, Iterable[tuple[int, Sequence[int]]]]],
) -> NodeModel:
    """`predictors`: row p = bias, coef[0..p-1] (Q12); `rate_points`: (step_q8, rounding_q8, [(direct, cdf), ...])."""
    return _finish(
        NodeModel(
            "predictive", int(packet_samples), int(hello_every), 0, float(scale), float(offset),
            tuple(_predictive_point(step, rounding, tables) for step, rounding, tables in rate_points),
            order=int(order),
            predictors=tuple(_int32s(row, "predictor") for row in predictors),
            thresholds=_int32s(thresholds, "threshold"),
            position_tables=int(position_tables), contexts=int(contexts), cdf_bits=int(cdf_bits),
        )
    )


def _predictive_point(
    step_q8: int, rounding_q8: int, tables: Iterable[tuple[int, Sequence[int]]]
) -> PredictiveRatePoint:
    made = []
    for direct, cdf in tables:
        entries = _int32s(cdf, "cdf")
        made.append(CdfTable(int(direct), len(entries) - 2 * int(direct) - 3, entries))
    return PredictiveRatePoint(int(step_q8), int(rounding_q8), tuple(made))


def _int32s(values: Any, what: str) -> np.ndarray:
    """A read-only int32 copy; numpy would wrap wider integers silently."""
    wide = np.asarray(values)
    if wide.size and wide.dtype.kind not in "iu":
        raise _refused(f"{what}: integers expected, not {wide.dtype}")
    if wide.ndim != 1 or (wide.size and (int(wide.min()) < -(2**31) or int(wide.max()) >= 2**31)):
        raise _refused(f"{what}: a row of 32-bit integers expected")
    return frozen(wide, np.int32)


def _finish(node: NodeModel) -> NodeModel:
    _check(node)
    blob = pack(node)
    return replace(node, blob=blob, model_id=model_id(blob))


def model_id(blob: bytes) -> bytes:
    """SPEC 5.4."""
    return hashlib.sha256(blob).digest()[: layout.MODEL_ID_BYTES]


# --------------------------------------------------------------------------------------------- what follows from others


def reciprocal(step_q8: int) -> tuple[int, int]:
    """(recip, recip_shift) of SPEC 4.1."""
    shift = 30
    while (1 << (shift + 9)) // step_q8 >= 1 << 15:
        shift -= 1
    return (1 << (shift + 9)) // step_q8, shift


def escape_classes(step_q8: int, rounding_q8: int, direct: int) -> int:
    """The largest class a source can need (SPEC 4.3)."""
    top = (MAX_SOURCE_DIFFERENCE * 256 + rounding_q8) // step_q8
    return max(0, top - direct - 1).bit_length()


# ------------------------------------------------------------------------------------------------- to bytes


def pack(node: NodeModel) -> bytes:
    """The one byte form of a node model."""
    section = _PACKERS[node.scheme](node)
    header = HEADER.pack(
        layout.BLOB_MAGIC, layout.BLOB_VERSION, layout.SCHEME_CODES[node.scheme], len(node.rate_points),
        node.level_check_bits, node.packet_samples, node.hello_every, HEADER.size + len(section) + CHECK_BYTES,
        node.scale, node.offset,
    )
    return with_check(header + section)


def with_check(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def _pack_nested(node: NodeModel) -> bytes:
    return bytes([node.taps, 0, 0, 0]) + _pack_nested_points(node)


def _pack_trellis(node: NodeModel) -> bytes:
    return TRELLIS_SECTION.pack(node.taps, node.memory, node.h0, node.h1, 0, 0) + _pack_nested_points(node)


def _pack_nested_points(node: NodeModel) -> bytes:
    parts = []
    for point in node.rate_points:
        parts.append(NESTED_POINT.pack(point.modulus, point.shift, 0, point.rounding))
        parts.append(point.taps.astype("<i4").tobytes())
    return b"".join(parts)


def _pack_predictive(node: NodeModel) -> bytes:
    thresholds = [int(value) for value in node.thresholds] + [0] * (8 - len(node.thresholds))
    parts = [PREDICTIVE_SECTION.pack(node.order, node.position_tables, node.contexts, node.cdf_bits, *thresholds)]
    parts += [row.astype("<i4").tobytes() for row in node.predictors]
    tables_per_point = node.position_tables + node.contexts
    point_bytes = PREDICTIVE_POINT.size + DIRECTORY_ENTRY.size * tables_per_point
    cdf_offset = HEADER.size + sum(map(len, parts)) + point_bytes * len(node.rate_points)
    cdfs = []
    for point in node.rate_points:
        parts.append(PREDICTIVE_POINT.pack(point.step_q8, point.rounding_q8, *reciprocal(point.step_q8), 0))
        for table in point.tables:
            parts.append(DIRECTORY_ENTRY.pack(table.direct, table.classes, cdf_offset // 2))
            cdfs.append(table.cdf.astype("<u2").tobytes())
            cdf_offset += len(cdfs[-1])
    return b"".join(parts + cdfs) + bytes(-cdf_offset % 4)


_PACKERS = {"nested": _pack_nested, "trellis": _pack_trellis, "predictive": _pack_predictive}

# ------------------------------------------------------------------------------------------------- from bytes


def parse(data: bytes) -> NodeModel:
    """FormatError or NewerVersion with the offset or field, if these are not the bytes of a node blob."""
    data = bytes(data)
    scheme, rate_points = _parse_header(data)
    reader = _Reader(data, HEADER.size)
    node = _SECTION_PARSERS[scheme](reader, data, rate_points)
    _check(node)
    canonical = pack(node)
    if canonical != data:
        raise _refused(f"byte {_first_difference(canonical, data)} is not what the other fields require")
    return replace(node, blob=data, model_id=model_id(data))


def _first_difference(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _parse_header(data: bytes) -> tuple[str, int]:
    """(scheme, number of rate points) once magic, version, length and check hold."""
    if data[:4] != layout.BLOB_MAGIC[: len(data)]:
        raise _refused(f"byte 0: magic {data[:4].hex()} is not {layout.BLOB_MAGIC.hex()}")
    if len(data) < HEADER.size + CHECK_BYTES:
        raise _refused(f"only {len(data)} bytes, the header alone has {HEADER.size}")
    if data[4] > layout.BLOB_VERSION:
        raise NewerVersion(f"node blob: version {data[4]} at byte 4, this program reads up to {layout.BLOB_VERSION}")
    if data[4] != layout.BLOB_VERSION:
        raise _refused(f"byte 4: version {data[4]} does not exist")
    total_bytes = struct.unpack_from("<I", data, 12)[0]
    if total_bytes != len(data):
        raise _refused(f"byte 12: the blob has {total_bytes} bytes by its header, {len(data)} are here")
    if with_check(data[:-CHECK_BYTES]) != data:
        raise _refused(f"byte {len(data) - CHECK_BYTES}: the check does not hold, bytes were changed")
    schemes = {code: name for name, code in layout.SCHEME_CODES.items()}
    scheme = schemes.get(data[5], "unknown")
    if scheme not in _PACKERS:
        raise _refused(f"byte 5: scheme {data[5]} ({scheme}) is not in this version")
    return scheme, data[6]


def _parse_nested(reader: _Reader, data: bytes, rate_points: int) -> NodeModel:
    taps = reader.take(struct.Struct("<B3x"), "taps")[0]
    return NodeModel("nested", *_head_fields(data), _parse_nested_points(reader, taps, rate_points))


def _parse_trellis(reader: _Reader, data: bytes, rate_points: int) -> NodeModel:
    taps, memory, h0, h1, quantizer, variant = reader.take(TRELLIS_SECTION, "trellis section")
    if quantizer or variant:
        raise NewerVersion(f"node blob: quantiser {quantizer}, variant {variant} at byte 38 are not in this version")
    points = _parse_nested_points(reader, taps, rate_points)
    return NodeModel("trellis", *_head_fields(data), points, memory=memory, h0=h0, h1=h1)


def _parse_nested_points(reader: _Reader, taps: int, rate_points: int) -> tuple[NestedRatePoint, ...]:
    points = []
    for number in range(rate_points):
        modulus, shift, _, rounding = reader.take(NESTED_POINT, f"rate point {number}")
        row = reader.array("<i4", taps, f"taps of rate point {number}")
        points.append(NestedRatePoint(modulus, shift, rounding, row))
    return tuple(points)


def _parse_predictive(reader: _Reader, data: bytes, rate_points: int) -> NodeModel:
    order, position_tables, contexts, cdf_bits, *thresholds = reader.take(PREDICTIVE_SECTION, "predictive section")
    rows = tuple(reader.array("<i4", p + 1, f"predictor row {p}") for p in range(order + 1))
    points = tuple(_parse_predictive_point(reader, number, position_tables + contexts) for number in range(rate_points))
    return NodeModel(
        "predictive", *_head_fields(data), points, order=order, predictors=rows,
        thresholds=frozen(thresholds[: max(contexts - 1, 0)], np.int32),
        position_tables=position_tables, contexts=contexts, cdf_bits=cdf_bits,
    )


def _parse_predictive_point(reader: _Reader, number: int, tables: int) -> PredictiveRatePoint:
    step_q8, rounding_q8, _, _, _ = reader.take(PREDICTIVE_POINT, f"rate point {number}")
    made = []
    for t in range(tables):
        what = f"table {t} of rate point {number}"
        direct, classes, half_offset = reader.take(DIRECTORY_ENTRY, what)
        cdf = reader.array_at(2 * half_offset, "<u2", 2 * direct + classes + 3, f"cdf of {what}")
        made.append(CdfTable(direct, classes, cdf))
    return PredictiveRatePoint(step_q8, rounding_q8, tuple(made))


_SECTION_PARSERS = {"nested": _parse_nested, "trellis": _parse_trellis, "predictive": _parse_predictive}


def _head_fields(data: bytes) -> tuple[int, int, int, float, float]:
    _, _, _, _, level_check_bits, packet_samples, hello_every, _, scale, offset = HEADER.unpack_from(data)
    return packet_samples, hello_every, level_check_bits, scale, offset


class _Reader:
    """Takes fields in order; a blob that ends inside one is a FormatError."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data[:-CHECK_BYTES]
        self._at = at

    def take(self, fields: struct.Struct, what: str) -> tuple[Any, ...]:
        self._require(self._at, fields.size, what)
        values = fields.unpack_from(self._data, self._at)
        self._at += fields.size
        return values

    def array(self, dtype: str, count: int, what: str) -> np.ndarray:
        values = self.array_at(self._at, dtype, count, what)
        self._at += np.dtype(dtype).itemsize * count
        return values

    def array_at(self, at: int, dtype: str, count: int, what: str) -> np.ndarray:
        self._require(at, np.dtype(dtype).itemsize * count, what)
        return frozen(np.frombuffer(self._data, dtype, count, at), np.int32)

    def _require(self, at: int, size: int, what: str) -> None:
        if at + size > len(self._data):
            raise _refused(f"{what} at byte {at} runs past the end at byte {len(self._data)}")


# ------------------------------------------------------------------------------------------------- SPEC 5.3


def _refused(message: str) -> FormatError:
    return FormatError(f"node blob: {message}")


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise _refused(f"{what} is {value}, not within {low} .. {high}")


def _check(node: NodeModel) -> None:
    _within("rate points", len(node.rate_points), 1, layout.MAX_RATE_POINTS)
    _within("packet samples", node.packet_samples, 1, layout.MAX_PACKET_SAMPLES)
    _within("hello every", node.hello_every, 1, 65535)
    if node.level_check_bits not in (0, 4, 8):
        raise _refused(f"level check bits is {node.level_check_bits}, not 0, 4 or 8")
    if not (math.isfinite(node.scale) and node.scale > 0):
        raise _refused(f"scale is {node.scale}, not a finite number above 0")
    if not math.isfinite(node.offset):
        raise _refused(f"offset is {node.offset}, not a finite number")
    _CHECKS[node.scheme](node)


def _check_nested(node: NodeModel) -> None:
    _within("taps", node.taps, 1, layout.MAX_TAPS)
    for number, point in enumerate(node.rate_points):
        where = f"rate point {number}"
        largest = layout.MAX_CODED_MODULUS if point.range_coded else layout.MAX_MODULUS
        _within(f"{where}: modulus", point.modulus, 2, largest)
    _check_nested_points(node)


def _check_trellis(node: NodeModel) -> None:
    _within("taps", node.taps, 1, layout.MAX_TAPS)
    _within("memory", node.memory, 1, layout.MAX_MEMORY)
    both, ends = node.h0 | node.h1, 1 << node.memory | 1
    split = both < 2 << node.memory and both & ends == ends
    if not split or node.h0 == node.h1 or min(node.h0, node.h1) < 1:
        raise _refused(f"h0 {node.h0:o} and h1 {node.h1:o} (octal) are no code of memory {node.memory}")
    for number, point in enumerate(node.rate_points):
        _within(f"rate point {number}: q", point.modulus, 1, layout.MAX_TRELLIS_MODULUS)
        if point.range_coded:
            raise _refused(f"rate point {number}: q is {point.modulus}, no power of two")
    _check_nested_points(node)


def _check_nested_points(node: NodeModel) -> None:
    for number, point in enumerate(node.rate_points):
        where = f"rate point {number}"
        _within(f"{where}: shift", point.shift, 0, layout.MAX_SHIFT)
        if len(point.taps) != node.taps:
            raise _refused(f"{where}: {len(point.taps)} taps, but rate point 0 has {node.taps}")
        weight = int(np.abs(point.taps.astype(np.int64)).sum())
        if weight == 0:
            raise _refused(f"{where}: every tap is zero")
        if weight * 32768 + abs(point.rounding) >= 1 << 31:
            raise _refused(f"{where}: the taps and the rounding can exceed 32 bits")


def _check_predictive(node: NodeModel) -> None:
    _within("level check bits of a predictive model", node.level_check_bits, 0, 0)
    _within("order", node.order, 0, layout.MAX_ORDER)
    _within("position tables", node.position_tables, 1, layout.MAX_POSITION_TABLES)
    _within("contexts", node.contexts, 1, layout.MAX_CONTEXTS)
    _within("cdf bits", node.cdf_bits, 8, 15)
    _check_thresholds(node)
    _check_predictors(node)
    for number, point in enumerate(node.rate_points):
        where = f"rate point {number}"
        _within(f"{where}: step_q8", point.step_q8, layout.MIN_STEP_Q8, layout.MAX_STEP_Q8)
        _within(f"{where}: rounding_q8", point.rounding_q8, 0, point.step_q8 - 1)
        _within(f"{where}: tables", len(point.tables), *[node.position_tables + node.contexts] * 2)
        for t, table in enumerate(point.tables):
            _check_table(f"{where}: table {t}", point, table, node.cdf_bits)


def _check_thresholds(node: NodeModel) -> None:
    _within("thresholds", len(node.thresholds), node.contexts - 1, node.contexts - 1)
    for value in node.thresholds:
        _within("threshold", int(value), 0, 65535)
    if np.any(np.diff(node.thresholds) <= 0):
        raise _refused(f"thresholds {[int(value) for value in node.thresholds]} do not rise strictly")


def _check_predictors(node: NodeModel) -> None:
    _within("predictor rows", len(node.predictors), node.order + 1, node.order + 1)
    for p, row in enumerate(node.predictors):
        _within(f"predictor row {p}: entries", len(row), p + 1, p + 1)
        wide = np.abs(row.astype(np.int64))
        if int(wide[1:].sum()) * 32768 + int(wide[0]) + 2048 >= 1 << 31:
            raise _refused(f"predictor row {p} can exceed 32 bits")


def _check_table(where: str, point: PredictiveRatePoint, table: CdfTable, cdf_bits: int) -> None:
    _within(f"{where}: direct", table.direct, 0, layout.MAX_DIRECT)
    classes = escape_classes(point.step_q8, point.rounding_q8, table.direct)
    _within(f"{where}: classes", table.classes, classes, classes)
    _within(f"{where}: cdf entries", len(table.cdf), *[2 * table.direct + classes + 3] * 2)
    if table.cdf[0] != 0 or table.cdf[-1] != 1 << cdf_bits or np.any(np.diff(table.cdf) <= 0):
        raise _refused(f"{where}: the cdf does not rise strictly from 0 to {1 << cdf_bits}")


_CHECKS = {"nested": _check_nested, "trellis": _check_trellis, "predictive": _check_predictive}
