"""The blob section of scheme `trellis` (SPEC 9.3): a code, then the rate points of `nested` with q in place of J."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from edge_wz.errors import NewerVersion
from edge_wz.formats import layout
from edge_wz.formats.rows import Row, Section
from edge_wz.formats.sections import nested
from edge_wz.formats.sections.common import Head, Reader, refused, within
from edge_wz.model import NodeModel

SECTION = struct.Struct("<BBHHBB")


def build(
    packet_samples: int,
    hello_every: int,
    level_check_bits: int,
    scale: float,
    offset: float,
    code: tuple[int, int, int],
    rate_points: Iterable[tuple[int, int, int, Sequence[int]]],
) -> NodeModel:
    """`code`: (memory, h0, h1) of SPEC 9; `rate_points`: (q, shift, rounding, taps newest sample first)."""
    memory, h0, h1 = (int(value) for value in code)
    head = int(packet_samples), int(hello_every), int(level_check_bits), float(scale), float(offset)
    return NodeModel("trellis", *head, nested.build_points(rate_points), memory=memory, h0=h0, h1=h1)


def pack(node: NodeModel) -> bytes:
    return SECTION.pack(node.taps, node.memory, node.h0, node.h1, 0, 0) + nested.pack_points(node)


def parse(reader: Reader, head: Head, rate_points: int) -> NodeModel:
    taps, memory, h0, h1, quantizer, variant = reader.take(SECTION, "trellis section")
    if quantizer or variant:
        raise NewerVersion(f"node blob: quantiser {quantizer}, variant {variant} at byte 38 are not in this version")
    points = nested.parse_points(reader, taps, rate_points)
    return NodeModel("trellis", *head, points, memory=memory, h0=h0, h1=h1)


def check(node: NodeModel) -> None:
    within("taps", node.taps, 1, layout.MAX_TAPS)
    within("memory", node.memory, 1, layout.MAX_MEMORY)
    both, ends = node.h0 | node.h1, 1 << node.memory | 1
    split = both < 2 << node.memory and both & ends == ends
    if not split or node.h0 == node.h1 or min(node.h0, node.h1) < 1:
        raise refused(f"h0 {node.h0:o} and h1 {node.h1:o} (octal) are no code of memory {node.memory}")
    for number, point in enumerate(node.rate_points):
        within(f"rate point {number}: q", point.modulus, 1, layout.MAX_TRELLIS_MODULUS)
        if point.range_coded:
            raise refused(f"rate point {number}: q is {point.modulus}, no power of two")
    nested.check_points(node)


def describe(node: NodeModel) -> list[Row]:
    return [
        Row("taps", node.taps, 8), Row("memory nu", node.memory, 8, f"{1 << node.memory} states"),
        Row("h0", f"{node.h0:o}", 16, "octal"), Row("h1", f"{node.h1:o}", 16, "octal"),
        Row("quantiser", 0, 8, "scalar"), Row("variant", 0, 8, "tail-biting"), nested.points_row(node),
    ]


def describe_points(node: NodeModel) -> Iterator[Section]:
    return nested.describe_points(node)
