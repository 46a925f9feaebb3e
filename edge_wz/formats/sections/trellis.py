"""The blob section of scheme `trellis` (SPEC 9.3): a code, then the rate points of `nested` with q in place of J."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence

from edge_wz.errors import NewerVersion
from edge_wz.formats import layout
from edge_wz.formats.rows import Row, Section
from edge_wz.formats.sections import nested
from edge_wz.formats.sections.common import Head, Reader, refused, within
from edge_wz.model import NodeModel

SECTION = struct.Struct("<BBBBII")


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
    return SECTION.pack(node.taps, node.memory, 0, 0, node.h0, node.h1) + nested.pack_points(node)


def parse(reader: Reader, head: Head, rate_points: int) -> NodeModel:
    taps, memory, quantizer, variant, h0, h1 = reader.take(SECTION, "trellis section")
    if quantizer or variant:
        raise NewerVersion(f"node blob: quantiser {quantizer}, variant {variant} at byte 34 are not in this version")
    points = nested.parse_points(reader, taps, rate_points)
    return NodeModel("trellis", *head, points, memory=memory, h0=h0, h1=h1)


def check(node: NodeModel) -> None:
    within("taps", node.taps, 1, layout.MAX_TAPS)
    within("memory", node.memory, layout.MIN_MEMORY, layout.MAX_MEMORY)
    if not is_code(node.memory, node.h0, node.h1):
        raise refused(f"h0 {node.h0:o} and h1 {node.h1:o} (octal) are no code of memory {node.memory}")
    if node.memory > layout.MAX_CHAIN_MEMORY * stride_of(node.h0, node.h1):
        raise refused(f"memory {node.memory} is more than {layout.MAX_CHAIN_MEMORY} times the stride of h0 {node.h0:o} and h1 {node.h1:o} (octal)")
    for number, point in enumerate(node.rate_points):
        within(f"rate point {number}: q", point.modulus, 1, layout.MAX_TRELLIS_MODULUS)
        if point.range_coded:
            raise refused(f"rate point {number}: q is {point.modulus}, no power of two")
    nested.check_points(node)


def stride_of(h0: int, h1: int) -> int:
    """The largest k of which all exponents of h0 and h1 are multiples: such a code is k codes that take turns."""
    return math.gcd(*(place for taps in (h0, h1) for place in range(taps.bit_length()) if taps >> place & 1))


def _chains(node: NodeModel) -> str:
    stride = stride_of(node.h0, node.h1)
    return f"{1 << node.memory // stride} states" + (f" in {stride} chains" if stride > 1 else "")


def is_code(memory: int, h0: int, h1: int) -> bool:
    """Bits 0 and `memory` set in h0 and clear in h1, no further ones, no common factor mod 2."""
    ends = 1 << memory | 1
    if h0 >= 2 << memory or h0 & ends != ends or not 0 < h1 < 1 << memory or h1 & 1:
        return False
    while h1:
        while h0.bit_length() >= h1.bit_length():
            h0 ^= h1 << h0.bit_length() - h1.bit_length()
        h0, h1 = h1, h0
    return h0 == 1


def describe(node: NodeModel) -> list[Row]:
    return [
        Row("taps", node.taps, 8), Row("memory nu", node.memory, 8, _chains(node)),
        Row("quantiser", 0, 8, "scalar"), Row("variant", 0, 8, "tail-biting"),
        Row("h0", f"{node.h0:o}", 32, "octal"), Row("h1", f"{node.h1:o}", 32, "octal"), nested.points_row(node),
    ]


def describe_points(node: NodeModel) -> Iterator[Section]:
    return nested.describe_points(node)
