"""The blob section of scheme `predictive` (SPEC 5.2): predictors, then rate points with their tables; cdfs at the end, found by offset."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from edge_wz.formats import layout
from edge_wz.formats.rows import Row, Section
from edge_wz.formats.sections.common import CHECK_BYTES, HEADER_BYTES, Head, Reader, int32s, refused, within
from edge_wz.model import CdfTable, NodeModel, PredictiveRatePoint, frozen

SECTION = struct.Struct("<BBBB8H")
POINT = struct.Struct("<IIHBB")  # then the directory
DIRECTORY_ENTRY = struct.Struct("<BBH")
MAX_SOURCE_DIFFERENCE = 65535  # |x - pred| of two int16


def build(
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
    head = int(packet_samples), int(hello_every), 0, float(scale), float(offset)
    return NodeModel(
        "predictive", *head, tuple(_build_point(step, rounding, tables) for step, rounding, tables in rate_points),
        order=int(order),
        predictors=tuple(int32s(row, "predictor") for row in predictors),
        thresholds=int32s(thresholds, "threshold"),
        position_tables=int(position_tables), contexts=int(contexts), cdf_bits=int(cdf_bits),
    )


def _build_point(
    step_q8: int, rounding_q8: int, tables: Iterable[tuple[int, Sequence[int]]]
) -> PredictiveRatePoint:
    made = []
    for direct, cdf in tables:
        entries = int32s(cdf, "cdf")
        made.append(CdfTable(int(direct), len(entries) - 2 * int(direct) - 3, entries))
    return PredictiveRatePoint(int(step_q8), int(rounding_q8), tuple(made))


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


def pack(node: NodeModel) -> bytes:
    thresholds = [int(value) for value in node.thresholds] + [0] * (8 - len(node.thresholds))
    parts = [SECTION.pack(node.order, node.position_tables, node.contexts, node.cdf_bits, *thresholds)]
    parts += [row.astype("<i4").tobytes() for row in node.predictors]
    tables_per_point = node.position_tables + node.contexts
    point_bytes = POINT.size + DIRECTORY_ENTRY.size * tables_per_point
    cdf_offset = HEADER_BYTES + sum(map(len, parts)) + point_bytes * len(node.rate_points)
    cdfs = []
    for point in node.rate_points:
        parts.append(POINT.pack(point.step_q8, point.rounding_q8, *reciprocal(point.step_q8), 0))
        for table in point.tables:
            parts.append(DIRECTORY_ENTRY.pack(table.direct, table.classes, cdf_offset // 2))
            cdfs.append(table.cdf.astype("<u2").tobytes())
            cdf_offset += len(cdfs[-1])
    return b"".join(parts + cdfs) + bytes(-cdf_offset % 4)


def parse(reader: Reader, head: Head, rate_points: int) -> NodeModel:
    order, position_tables, contexts, cdf_bits, *thresholds = reader.take(SECTION, "predictive section")
    rows = tuple(reader.array("<i4", p + 1, f"predictor row {p}") for p in range(order + 1))
    points = tuple(_parse_point(reader, number, position_tables + contexts) for number in range(rate_points))
    return NodeModel(
        "predictive", *head, points, order=order, predictors=rows,
        thresholds=frozen(thresholds[: max(contexts - 1, 0)], np.int32),
        position_tables=position_tables, contexts=contexts, cdf_bits=cdf_bits,
    )


def _parse_point(reader: Reader, number: int, tables: int) -> PredictiveRatePoint:
    step_q8, rounding_q8, _, _, _ = reader.take(POINT, f"rate point {number}")
    made = []
    for t in range(tables):
        what = f"table {t} of rate point {number}"
        direct, classes, half_offset = reader.take(DIRECTORY_ENTRY, what)
        cdf = reader.array_at(2 * half_offset, "<u2", 2 * direct + classes + 3, f"cdf of {what}")
        made.append(CdfTable(direct, classes, cdf))
    return PredictiveRatePoint(step_q8, rounding_q8, tuple(made))


def check(node: NodeModel) -> None:
    within("level check bits of a predictive model", node.level_check_bits, 0, 0)
    within("order", node.order, 0, layout.MAX_ORDER)
    within("position tables", node.position_tables, 1, layout.MAX_POSITION_TABLES)
    within("contexts", node.contexts, 1, layout.MAX_CONTEXTS)
    within("cdf bits", node.cdf_bits, 8, 15)
    _check_thresholds(node)
    _check_predictors(node)
    for number, point in enumerate(node.rate_points):
        where = f"rate point {number}"
        within(f"{where}: step_q8", point.step_q8, layout.MIN_STEP_Q8, layout.MAX_STEP_Q8)
        within(f"{where}: rounding_q8", point.rounding_q8, 0, point.step_q8 - 1)
        within(f"{where}: tables", len(point.tables), *[node.position_tables + node.contexts] * 2)
        for t, table in enumerate(point.tables):
            _check_table(f"{where}: table {t}", point, table, node.cdf_bits)


def _check_thresholds(node: NodeModel) -> None:
    within("thresholds", len(node.thresholds), node.contexts - 1, node.contexts - 1)
    for value in node.thresholds:
        within("threshold", int(value), 0, 65535)
    if np.any(np.diff(node.thresholds) <= 0):
        raise refused(f"thresholds {[int(value) for value in node.thresholds]} do not rise strictly")


def _check_predictors(node: NodeModel) -> None:
    within("predictor rows", len(node.predictors), node.order + 1, node.order + 1)
    for p, row in enumerate(node.predictors):
        within(f"predictor row {p}: entries", len(row), p + 1, p + 1)
        wide = np.abs(row.astype(np.int64))
        if int(wide[1:].sum()) * 32768 + int(wide[0]) + 2048 >= 1 << 31:
            raise refused(f"predictor row {p} can exceed 32 bits")


def _check_table(where: str, point: PredictiveRatePoint, table: CdfTable, cdf_bits: int) -> None:
    within(f"{where}: direct", table.direct, 0, layout.MAX_DIRECT)
    classes = escape_classes(point.step_q8, point.rounding_q8, table.direct)
    within(f"{where}: classes", table.classes, classes, classes)
    within(f"{where}: cdf entries", len(table.cdf), *[2 * table.direct + classes + 3] * 2)
    if table.cdf[0] != 0 or table.cdf[-1] != 1 << cdf_bits or np.any(np.diff(table.cdf) <= 0):
        raise refused(f"{where}: the cdf does not rise strictly from 0 to {1 << cdf_bits}")


def describe(node: NodeModel) -> list[Row]:
    predictors = "; ".join(" ".join(map(str, row.tolist())) for row in node.predictors)
    rows = [
        Row("order", node.order, 8), Row("position tables", node.position_tables, 8),
        Row("contexts", node.contexts, 8), Row("cdf bits", node.cdf_bits, 8),
        Row("thresholds", " ".join(map(str, node.thresholds.tolist())), 128),
        Row("predictors", predictors, 32 * sum(map(len, node.predictors)), "Q12: bias, then newest first"),
    ]
    per_point = 8 * (POINT.size + DIRECTORY_ENTRY.size * (node.position_tables + node.contexts))
    cdf_bits = 16 * sum(len(table.cdf) for point in node.rate_points for table in point.tables)
    fill = 8 * len(node.blob) - sum(int(row.bits or 0) for row in rows) - cdf_bits - per_point * len(node.rate_points)
    rows += [Row("all rate points", "below", per_point * len(node.rate_points)), Row("cdfs", "below", cdf_bits)]
    fill -= 8 * (HEADER_BYTES + CHECK_BYTES)
    return [*rows, Row("fill", 0, fill)] if fill else rows


def describe_points(node: NodeModel) -> Iterator[Section]:
    for number, point in enumerate(node.rate_points):
        recip, recip_shift = reciprocal(point.step_q8)
        rows = [
            Row("step_q8", point.step_q8, 32, f"{point.step:g} LSB"), Row("rounding_q8", point.rounding_q8, 32),
            Row("recip", recip, 16), Row("recip_shift", recip_shift, 8), Row("reserved", 0, 8),
        ]
        for t, table in enumerate(point.tables):
            use = f"slot {t}" if t < node.position_tables else f"context {t - node.position_tables}"
            sizes = np.diff(table.cdf) / (1 << node.cdf_bits)
            entropy = float(-(sizes * np.log2(sizes)).sum())
            shape = f"levels to +-{table.direct}, {table.classes + 1} escapes, {entropy:.2f} bits/level by itself"
            rows.append(Row(f"table of {use}", len(table.cdf), 32 + 16 * len(table.cdf), shape))
        yield Section(f"rate point {number}", tuple(rows))
