"""The blob section of scheme `nested` (SPEC 5.1), and the rate points it shares with `trellis`."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from edge_wz.formats import layout
from edge_wz.formats.rows import Row, Section
from edge_wz.formats.sections.common import Head, Reader, int32s, refused, within
from edge_wz.model import NestedRatePoint, NodeModel

POINT = struct.Struct("<HBBi")  # then the taps


def build(
    packet_samples: int,
    hello_every: int,
    level_check_bits: int,
    scale: float,
    offset: float,
    rate_points: Iterable[tuple[int, int, int, Sequence[int]]],
) -> NodeModel:
    """`rate_points`: (modulus, shift, rounding, taps newest sample first), as in SPEC 3.1."""
    head = int(packet_samples), int(hello_every), int(level_check_bits), float(scale), float(offset)
    return NodeModel("nested", *head, build_points(rate_points))


def build_points(rate_points: Iterable[tuple[int, int, int, Sequence[int]]]) -> tuple[NestedRatePoint, ...]:
    return tuple(
        NestedRatePoint(int(modulus), int(shift), int(rounding), int32s(taps, "tap"))
        for modulus, shift, rounding, taps in rate_points
    )


def pack(node: NodeModel) -> bytes:
    return bytes([node.taps, 0, 0, 0]) + pack_points(node)


def pack_points(node: NodeModel) -> bytes:
    parts = []
    for point in node.rate_points:
        parts.append(POINT.pack(point.modulus, point.shift, 0, point.rounding))
        parts.append(point.taps.astype("<i4").tobytes())
    return b"".join(parts)


def parse(reader: Reader, head: Head, rate_points: int) -> NodeModel:
    taps = reader.take(struct.Struct("<B3x"), "taps")[0]
    return NodeModel("nested", *head, parse_points(reader, taps, rate_points))


def parse_points(reader: Reader, taps: int, rate_points: int) -> tuple[NestedRatePoint, ...]:
    points = []
    for number in range(rate_points):
        modulus, shift, _, rounding = reader.take(POINT, f"rate point {number}")
        row = reader.array("<i4", taps, f"taps of rate point {number}")
        points.append(NestedRatePoint(modulus, shift, rounding, row))
    return tuple(points)


def check(node: NodeModel) -> None:
    within("taps", node.taps, 1, layout.MAX_TAPS)
    for number, point in enumerate(node.rate_points):
        where = f"rate point {number}"
        largest = layout.MAX_CODED_MODULUS if point.range_coded else layout.MAX_MODULUS
        within(f"{where}: modulus", point.modulus, 2, largest)
    check_points(node)


def check_points(node: NodeModel) -> None:
    for number, point in enumerate(node.rate_points):
        where = f"rate point {number}"
        within(f"{where}: shift", point.shift, 0, layout.MAX_SHIFT)
        if len(point.taps) != node.taps:
            raise refused(f"{where}: {len(point.taps)} taps, but rate point 0 has {node.taps}")
        weight = int(np.abs(point.taps.astype(np.int64)).sum())
        if weight == 0:
            raise refused(f"{where}: every tap is zero")
        if weight * 32768 + abs(point.rounding) >= 1 << 31:
            raise refused(f"{where}: the taps and the rounding can exceed 32 bits")


def describe(node: NodeModel) -> list[Row]:
    return [Row("taps", node.taps, 8), Row("reserved", 0, 24), points_row(node)]


def points_row(node: NodeModel) -> Row:
    return Row("all rate points", "below", 8 * len(node.rate_points) * (POINT.size + 4 * node.taps))


def describe_points(node: NodeModel) -> Iterator[Section]:
    for number, point in enumerate(node.rate_points):
        coding = "range coded, flat" if point.range_coded else f"{point.modulus.bit_length() - 1} bits"
        if node.scheme == "trellis":
            coding += " and 1 syndrome bit"
        rows = [
            Row("modulus q" if node.scheme == "trellis" else "modulus J", point.modulus, 16, coding),
            Row("shift", point.shift, 8), Row("reserved", 0, 8),
            Row("rounding", point.rounding, 32),
            Row("taps", " ".join(map(str, point.taps.tolist())), 32 * node.taps, "newest sample first"),
        ]
        if node.taps == 1:
            rows.append(Row("step", point.step, None, "LSB"))
        yield Section(f"rate point {number}", tuple(rows))
