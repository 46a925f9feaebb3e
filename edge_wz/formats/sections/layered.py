"""The blob section of scheme `layered` (SPEC 11.5): rate points that name a table and a number of layers, then the tables.

Rate points whose tables are equal share one: so the coarser versions of a stream cost the node two bytes each.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from edge_wz.formats import layout
from edge_wz.formats.rows import Row, Section
from edge_wz.formats.sections.common import Head, Reader, int32s, refused, within
from edge_wz.kernels.polar import words_of
from edge_wz.model import LayeredRatePoint, NodeModel, frozen

SECTION = struct.Struct("<BBBB")
POINT = struct.Struct("<BB")
TABLE = struct.Struct("<HBB8B")


def build(
    packet_samples: int, hello_every: int, scale: float, offset: float, rate_points: Iterable[LayeredRatePoint], block_check_bits: int = 0
) -> NodeModel:
    """Points of known arrays; `sent` 0 becomes the number of layers. With block check bits packets are blocks."""
    points = tuple(
        replace(
            point, thresholds=int32s(point.thresholds, "threshold"), messages=frozen(point.messages, np.uint8),
            cdfs=tuple(frozen(rows, np.int32) for rows in point.cdfs), sent=point.layers_sent,
            positions=frozen(point.positions, np.bool_),
        )
        for point in rate_points
    )
    head = int(packet_samples), int(hello_every), 0, float(scale), float(offset)
    return NodeModel("layered", *head, points, cdf_bits=max(map(_cdf_bits, points), default=0), block_check_bits=int(block_check_bits))


def _cdf_bits(point: LayeredRatePoint) -> int:
    return max((int(rows[0, -1]).bit_length() - 1 for rows in point.cdfs if len(rows)), default=0)


# ------------------------------------------------------------------------------------------------- to bytes


def pack(node: NodeModel) -> bytes:
    tables: list[bytes] = []
    points = []
    for point in node.rate_points:
        table = _pack_table(point)
        if table not in tables:
            tables.append(table)
        points.append(POINT.pack(tables.index(table), point.layers_sent))
    head = SECTION.pack(len(tables), node.cdf_bits, node.block_check_bits, 0)
    return head + _filled(b"".join(points)) + b"".join(tables)


def _filled(data: bytes, size: int = 4) -> bytes:
    return data + bytes(-len(data) % size)


def _pack_table(point: LayeredRatePoint) -> bytes:
    coded = sum(1 << layer for layer, is_coded in enumerate(point.coded) if is_coded)
    alphabets = [*point.alphabets, *[0] * (layout.MAX_LAYERS - point.layers)]
    numbers = point.numbers
    if math.prod(point.alphabets) <= layout.NIBBLE_MESSAGES:
        pairs = np.append(numbers, np.zeros(len(numbers) % 2, np.int64)).reshape(-1, 2)
        numbers = 16 * pairs[:, 0] + pairs[:, 1]
    front = TABLE.pack(len(point.thresholds), point.layers, coded, *alphabets)
    front += point.thresholds.astype("<i2").tobytes() + numbers.astype(np.uint8).tobytes()
    cdfs = b"".join(rows[:, 1:-1].astype("<u2").tobytes() for rows in point.cdfs if len(rows))
    return _filled((_filled(front, 2) + cdfs) if cdfs else front) + _pack_sets(point)


def _pack_sets(point: LayeredRatePoint) -> bytes:
    return words_of(point.positions).astype("<u4").tobytes() if len(point.positions) else b""


# ------------------------------------------------------------------------------------------------- from bytes


def parse(reader: Reader, head: Head, rate_points: int) -> NodeModel:
    tables, cdf_bits, check_bits, _ = reader.take(SECTION, "layered section")
    within("cdf bits", cdf_bits, 0, layout.MAX_LAYERED_CDF_BITS)
    places = [reader.take(POINT, f"rate point {number}") for number in range(rate_points)]
    reader.take(struct.Struct(f"{-POINT.size * rate_points % 4}x"), "fill of the rate points")
    made = [_parse_table(reader, number, cdf_bits, head[0] if check_bits else 0) for number in range(tables)]
    points = []
    for number, (table, sent) in enumerate(places):
        within(f"rate point {number}: table", table, 0, tables - 1)
        within(f"rate point {number}: sent", sent, 1, made[table].layers)
        points.append(replace(made[table], sent=sent))
    return NodeModel("layered", *head, tuple(points), cdf_bits=cdf_bits, block_check_bits=check_bits)


def _parse_table(reader: Reader, number: int, cdf_bits: int, block: int) -> LayeredRatePoint:
    """`block`: samples of one, 0 where packets are none."""
    what = f"table {number}"
    count, layers, coded, *all_alphabets = reader.take(TABLE, what)
    within(f"{what}: layers", layers, 1, layout.MAX_LAYERS)
    alphabets = tuple(all_alphabets[:layers])
    for alphabet in alphabets:
        within(f"{what}: alphabet", alphabet, 2, layout.MAX_ALPHABET)
    within(f"{what}: messages", math.prod(alphabets), 2, layout.MAX_MESSAGES)
    thresholds = reader.array("<i2", count, f"thresholds of {what}")
    numbers = _parse_numbers(reader, count + 1, math.prod(alphabets), what)
    used = TABLE.size + 2 * count + number_bytes(count + 1, math.prod(alphabets))
    if coded:
        reader.take(struct.Struct(f"{used % 2}x"), f"fill of {what}")
        used += used % 2
    cdfs = []
    for layer, alphabet in enumerate(alphabets):
        rows = math.prod(alphabets[:layer]) if coded >> layer & 1 else 0
        inner = reader.array("<u2", rows * (alphabet - 1), f"cdfs of layer {layer} of {what}").reshape(rows, alphabet - 1)
        ends = np.zeros((rows, 1), np.int32), np.full((rows, 1), 1 << cdf_bits, np.int32)
        cdfs.append(frozen(np.hstack([ends[0], inner, ends[1]]), np.int32))
        used += 2 * rows * (alphabet - 1)
    reader.take(struct.Struct(f"{-used % 4}x"), f"fill of {what}")
    messages = numbers[:, None] // _places(alphabets) % np.array(alphabets)
    table = LayeredRatePoint(thresholds, frozen(messages, np.uint8), alphabets, tuple(cdfs))
    return replace(table, positions=_parse_sets(reader, alphabets, block, what)) if block else table


def _parse_sets(reader: Reader, alphabets: tuple[int, ...], block: int, what: str) -> np.ndarray:
    planes, words = sum(alphabet.bit_length() - 1 for alphabet in alphabets), (block + 31) // 32
    found = reader.array("<i4", planes * words, f"sets of {what}").astype("<u4").reshape(planes, words)
    sets = np.unpackbits(found.view(np.uint8), axis=1, bitorder="little")
    if sets[:, block:].any():
        raise refused(f"{what}: a set has a position from {block} on")
    return frozen(sets[:, :block], np.bool_)


def _places(alphabets: tuple[int, ...]) -> np.ndarray:
    """What a symbol of each layer counts in the message number."""
    return np.array([math.prod(alphabets[layer + 1 :]) for layer in range(len(alphabets))])


def _parse_numbers(reader: Reader, count: int, messages: int, what: str) -> np.ndarray:
    stored = reader.array("<u1", number_bytes(count, messages), f"messages of {what}")
    if messages <= layout.NIBBLE_MESSAGES:
        stored = np.stack([stored >> 4, stored & 15], axis=1).reshape(-1)
    numbers = stored[:count]
    if int(numbers.max()) >= messages:
        raise refused(f"{what}: message {int(numbers.max())}, there are {messages}")
    return numbers


def number_bytes(count: int, messages: int) -> int:
    """Bytes that `count` message numbers take."""
    return (count + 1) // 2 if messages <= layout.NIBBLE_MESSAGES else count


# ------------------------------------------------------------------------------------------------- SPEC 11.5


def check(node: NodeModel) -> None:
    within("level check bits of a layered model", node.level_check_bits, 0, 0)
    if any(any(point.coded) for point in node.rate_points):
        within("cdf bits", node.cdf_bits, layout.MIN_LAYERED_CDF_BITS, layout.MAX_LAYERED_CDF_BITS)
    else:
        within("cdf bits without a coded layer", node.cdf_bits, 0, 0)
    if node.block_check_bits:
        _check_blocks(node)
    for number, point in enumerate(node.rate_points):
        where = f"rate point {number}"
        within(f"{where}: layers", point.layers, 1, layout.MAX_LAYERS)
        within(f"{where}: sent", point.layers_sent, 1, point.layers)
        _check_table(where, point, node.cdf_bits)
        _check_sets(where, point, node)


def _check_blocks(node: NodeModel) -> None:
    if node.block_check_bits not in layout.BLOCK_CHECKS:
        raise refused(f"block check bits is {node.block_check_bits}, not 0 or one of {layout.BLOCK_CHECKS}")
    within("packet samples of blocks", node.packet_samples, layout.MIN_LAYER_BLOCK, layout.MAX_PACKET_SAMPLES)
    for number, point in enumerate(node.rate_points):
        if any(point.coded):
            raise refused(f"rate point {number}: a block has no coded layers")


def _check_sets(where: str, point: LayeredRatePoint, node: NodeModel) -> None:
    planes = sum(alphabet.bit_length() - 1 for alphabet in point.alphabets)
    shape = (planes, node.packet_samples) if node.block_check_bits else (0, 0)
    if point.positions.shape != shape:
        raise refused(f"{where}: sets of shape {point.positions.shape}, not {shape}")
    if not point.positions.any(axis=1).all():
        raise refused(f"{where}: a plane sends nothing")


def _check_table(where: str, point: LayeredRatePoint, cdf_bits: int) -> None:
    within(f"{where}: thresholds", len(point.thresholds), 1, layout.MAX_THRESHOLDS)
    if np.any(np.diff(point.thresholds) <= 0):
        raise refused(f"{where}: the thresholds do not rise strictly")
    within(f"{where}: threshold 0", int(point.thresholds[0]), -32767, 32767)
    within(f"{where}: last threshold", int(point.thresholds[-1]), -32767, 32767)
    for alphabet in point.alphabets:
        within(f"{where}: alphabet", alphabet, 2, layout.MAX_ALPHABET)
    within(f"{where}: messages", math.prod(point.alphabets), 2, layout.MAX_MESSAGES)
    if point.messages.shape != (len(point.thresholds) + 1, point.layers):
        raise refused(f"{where}: messages of shape {point.messages.shape} for {len(point.thresholds)} thresholds")
    if np.any(point.messages >= np.array(point.alphabets)):
        raise refused(f"{where}: a symbol is not in its alphabet")
    within(f"{where}: cdfs", len(point.cdfs), point.layers, point.layers)
    for layer, rows in enumerate(point.cdfs):
        _check_cdfs(f"{where}: layer {layer}", point, layer, rows, cdf_bits)


def _check_cdfs(where: str, point: LayeredRatePoint, layer: int, rows: np.ndarray, cdf_bits: int) -> None:
    alphabet = point.alphabets[layer]
    if not len(rows):
        if alphabet & (alphabet - 1):
            raise refused(f"{where}: {alphabet} symbols cannot go as raw bits")
        return
    shape = math.prod(point.alphabets[:layer]), alphabet + 1
    if rows.shape != shape:
        raise refused(f"{where}: cdfs of shape {rows.shape}, not {shape}")
    if np.any(rows[:, 0] != 0) or np.any(rows[:, -1] != 1 << cdf_bits) or np.any(np.diff(rows, axis=1) <= 0):
        raise refused(f"{where}: a cdf does not rise strictly from 0 to {1 << cdf_bits}")


# ------------------------------------------------------------------------------------------------- inspect


def describe(node: NodeModel) -> list[Row]:
    tables = list(dict.fromkeys(_pack_table(point) for point in node.rate_points))
    points = POINT.size * len(node.rate_points)
    checked = "of each layer of a packet" if node.block_check_bits else "packets are no blocks"
    return [
        Row("tables", len(tables), 8), Row("cdf bits", node.cdf_bits, 8),
        Row("block check bits", node.block_check_bits, 8, checked), Row("reserved", 0, 8),
        Row("all rate points", "below", 8 * points, "and fill" if points % 4 else ""),
        *([Row("fill", 0, 8 * (-points % 4))] if points % 4 else []),
        *(Row(f"table {number}", f"{len(table)} bytes", 8 * len(table)) for number, table in enumerate(tables)),
    ]


def describe_points(node: NodeModel) -> Iterator[Section]:
    tables = list(dict.fromkeys(_pack_table(point) for point in node.rate_points))
    for number, point in enumerate(node.rate_points):
        rows = [
            Row("table", tables.index(_pack_table(point)), 8), Row("sent", point.layers_sent, 8, f"of {point.layers} layers"),
            Row("intervals", len(point.messages), None, f"{encoder_bytes(point)} bytes of thresholds and messages"),
            Row("thresholds", " ".join(map(str, point.thresholds.tolist())), 16 * len(point.thresholds)),
            Row("messages", " ".join("".join(_digit(m) for m in row) for row in point.messages), None, "coarse layer first"),
        ]
        for layer, (alphabet, cdfs) in enumerate(zip(point.alphabets, point.cdfs, strict=True)):
            coding = f"coded, {len(cdfs)} cdfs" if len(cdfs) else f"{alphabet.bit_length() - 1} raw bits"
            rows.append(Row(f"layer {layer}", alphabet, 8, coding))
        rows += [Row(f"plane {plane}", f"{int(row.sum())} of {row.size} positions", None) for plane, row in enumerate(point.positions)]
        yield Section(f"rate point {number}", tuple(rows))


def _digit(symbol: int) -> str:
    return "0123456789abcdef"[symbol] if symbol < 16 else f"({symbol})"


def encoder_bytes(point: LayeredRatePoint) -> int:
    """Flash for what the encoder searches: thresholds and message numbers."""
    return 2 * len(point.thresholds) + number_bytes(len(point.messages), math.prod(point.alphabets))


__all__ = ["build", "check", "describe", "describe_points", "encoder_bytes", "pack", "parse"]
