"""The blob section of scheme `syndrome` (SPEC 10.3): rate points with the low bits as a count, and the sets of sent positions behind the taps."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from edge_wz.errors import NewerVersion
from edge_wz.formats import layout
from edge_wz.formats.rows import Row, Section
from edge_wz.formats.sections import nested
from edge_wz.formats.sections.common import Head, Reader, int32s, refused, within
from edge_wz.model import NodeModel, SyndromeRatePoint, frozen

SECTION = struct.Struct("<BBBB")
POINT = struct.Struct("<BBBBi")  # then the taps, then the sets


def build(
    packet_samples: int,
    hello_every: int,
    scale: float,
    offset: float,
    check_bits: int,
    rate_points: Iterable[tuple[int, int, int, Sequence[int], Any]],
) -> NodeModel:
    """`rate_points`: (q, shift, rounding, taps newest sample first, sets bool[C, N]) of SPEC 10."""
    points = tuple(
        SyndromeRatePoint(int(q), int(shift), int(rounding), int32s(taps, "tap"), _sets(sent, int(packet_samples)))
        for q, shift, rounding, taps, sent in rate_points
    )
    head = int(packet_samples), int(hello_every), 0, float(scale), float(offset)
    return NodeModel("syndrome", *head, points, block_check_bits=int(check_bits))


def _sets(sent: Any, packet_samples: int) -> np.ndarray:
    """bool[C, N], also of no plane; of another N, which `check` refuses, as it is."""
    return frozen(sent, np.bool_).reshape(len(sent), -1 if len(sent) else packet_samples)


def _words(samples: int) -> int:
    return (samples + 31) // 32


def pack(node: NodeModel) -> bytes:
    parts = [SECTION.pack(node.taps, node.block_check_bits, 0, 0)]
    for point in node.rate_points:
        parts.append(POINT.pack(point.modulus.bit_length() - 1, len(point.sent), point.shift, 0, point.rounding))
        parts.append(point.taps.astype("<i4").tobytes())
        padded = np.zeros((len(point.sent), 32 * _words(node.packet_samples)), np.bool_)
        padded[:, : node.packet_samples] = point.sent
        parts.append(np.packbits(padded, axis=1, bitorder="little").tobytes())
    return b"".join(parts)


def parse(reader: Reader, head: Head, rate_points: int) -> NodeModel:
    taps, check_bits, quantizer, variant = reader.take(SECTION, "syndrome section")
    if quantizer or variant:
        raise NewerVersion(f"node blob: quantiser {quantizer}, variant {variant} at byte 34 are not in this version")
    points = []
    for number in range(rate_points):
        where = f"rate point {number}"
        low_bits, planes, shift, _, rounding = reader.take(POINT, where)
        within(f"{where}: b", low_bits, 0, layout.MAX_LOW_BITS)
        within(f"{where}: coded planes", planes, 0, layout.MAX_CODED_PLANES)
        row = reader.array("<i4", taps, f"taps of {where}")
        words = reader.array("<u1", 4 * planes * _words(head[0]), f"sets of {where}").astype(np.uint8)
        bits = np.unpackbits(words.reshape(planes, 4 * _words(head[0])), axis=1, bitorder="little")
        sent = frozen(bits[:, : head[0]], np.bool_)
        points.append(SyndromeRatePoint(1 << low_bits, shift, rounding, row, sent))
    return NodeModel("syndrome", *head, tuple(points), block_check_bits=check_bits)


def check(node: NodeModel) -> None:
    within("taps", node.taps, 1, layout.MAX_TAPS)
    if node.level_check_bits:
        raise refused(f"level check bits is {node.level_check_bits}, not 0: a block has a check of its own")
    if node.block_check_bits not in layout.BLOCK_CHECKS:
        raise refused(f"check bits is {node.block_check_bits}, none of {', '.join(map(str, layout.BLOCK_CHECKS))}")
    for number, point in enumerate(node.rate_points):
        where = f"rate point {number}"
        within(f"{where}: q", point.modulus, 1, 1 << layout.MAX_LOW_BITS)
        if point.range_coded:
            raise refused(f"{where}: q is {point.modulus}, no power of two")
        within(f"{where}: coded planes", len(point.sent), 0, layout.MAX_CODED_PLANES)
        if point.sent.size and point.sent.shape[1] != node.packet_samples:
            raise refused(f"{where}: sets of {point.sent.shape[1]} positions in packets of {node.packet_samples}")
        if not point.sent.any(axis=1).all():
            raise refused(f"{where}: a coded plane of which nothing is sent")
        if point.modulus == 1 and not len(point.sent):
            raise refused(f"{where}: neither low bits nor coded planes")
    nested.check_points(node)


def describe(node: NodeModel) -> list[Row]:
    bits = sum(8 * (POINT.size + 4 * node.taps) + 32 * len(p.sent) * _words(node.packet_samples) for p in node.rate_points)
    return [
        Row("taps", node.taps, 8), Row("block check bits", node.block_check_bits, 8), Row("quantiser", 0, 8, "scalar"),
        Row("variant", 0, 8), Row("all rate points", "below", bits),
    ]


def describe_points(node: NodeModel) -> Iterator[Section]:
    for number, point in enumerate(node.rate_points):
        low_bits = point.modulus.bit_length() - 1
        sizes = [int(sent.sum()) for sent in point.sent]
        total = low_bits * node.packet_samples + sum(sizes) + node.block_check_bits
        rows = [
            Row("low bits b", low_bits, 8, "sent as they are"), Row("coded planes C", len(sizes), 8), Row("shift", point.shift, 8),
            Row("reserved", 0, 8), Row("rounding", point.rounding, 32),
            Row("taps", " ".join(map(str, point.taps.tolist())), 32 * node.taps, "newest sample first"),
        ]
        rows += [
            Row(f"plane {plane}", f"{size} of {node.packet_samples} positions sent", 32 * _words(node.packet_samples))
            for plane, size in enumerate(sizes)
        ]
        if node.taps == 1:
            rows.append(Row("step", point.step, None, "LSB"))
        rows.append(Row("payload", total, None, f"bits in a whole packet, {total / node.packet_samples:.4g} a sample"))
        yield Section(f"rate point {number}", tuple(rows))
