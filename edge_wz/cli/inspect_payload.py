"""The inside of a data packet's payload: every index and the bits it cost, for `edge-wz inspect --model`.

Bits of range-coded symbols are `-log2` of their share of the table; what the coder rounds up is in the last row.
"""

from __future__ import annotations

import math

import numpy as np

from edge_wz.codec import layer_blocks, schemes
from edge_wz.codec.indices import Indices
from edge_wz.codec.layered import Tree
from edge_wz.formats.describe import Row, Section
from edge_wz.formats.layout import FLAT_CDF_BITS
from edge_wz.formats.packet import DataPacket, present_slots
from edge_wz.model import CdfTable, LayeredRatePoint, NestedRatePoint, NodeModel, PredictiveRatePoint, SyndromeRatePoint


def payload_section(node: NodeModel, data: DataPacket) -> Section:
    if data.rate_point >= len(node.rate_points):
        return Section(f"payload: the model has no rate point {data.rate_point}", ())
    slots = present_slots(data, node.packet_samples)
    present = np.zeros((1, node.packet_samples), dtype=bool)
    present[0, : len(slots)] = slots
    indices = schemes.parse(node, [data.payload], [data.rate_point], [len(slots)], present, [data.layers or 0])
    if indices.status[0] < 0:
        return Section("payload: malformed for this model", ())
    rows = _ROWS[node.scheme](node, data, indices)
    spent = sum(row.bits or 0 for row in rows)
    rows.append(Row("rounding up to bytes", "", 8 * len(data.payload) - spent))
    return Section(f"payload, {len(data.payload)} bytes, {int(slots.sum())} samples of {len(slots)} slots", tuple(rows))


def _nested_rows(node: NodeModel, data: DataPacket, indices: Indices) -> list[Row]:
    point: NestedRatePoint = node.rate_points[data.rate_point]
    rows = []
    for slot in np.flatnonzero(indices.present[0]).tolist():
        value = int(indices.values[0, slot])
        rows.append(Row(f"bin {slot}", value, _bin_bits(point, value)))
    if node.level_check_bits:
        rows.append(Row("level check", int(indices.checks[0]), node.level_check_bits))
    return rows


def _trellis_rows(node: NodeModel, data: DataPacket, indices: Indices) -> list[Row]:
    bits = node.rate_points[data.rate_point].modulus.bit_length() - 1
    rows = []
    for slot in np.flatnonzero(indices.present[0]).tolist():
        low, syndrome = divmod(int(indices.values[0, slot]), 2)
        rows += [Row(f"low {slot}", low, bits)] if bits else []
        rows.append(Row(f"syndrome {slot}", syndrome, 1))
    if node.level_check_bits:
        rows.append(Row("level check", int(indices.checks[0]), node.level_check_bits))
    return rows


def _syndrome_rows(node: NodeModel, data: DataPacket, indices: Indices) -> list[Row]:
    """Low bits, then of each plane what was sent of its transform, the bits in order of position."""
    point: SyndromeRatePoint = node.rate_points[data.rate_point]
    values = indices.values[0][indices.present[0]]
    bits = point.modulus.bit_length() - 1
    rows = [Row(f"low {slot}", int(indices.values[0, slot]) % point.modulus, bits) for slot in np.flatnonzero(indices.present[0]).tolist() if bits]
    for plane, positions in enumerate(point.sent[:, : len(values)]):
        sent = (values[positions] >> (bits + plane)) & 1
        rows.append(Row(f"plane {plane}", "".join(map(str, sent.tolist())), len(sent), f"positions {_runs(np.flatnonzero(positions))}"))
    rows.append(Row("block check", int(indices.checks[0]), node.block_check_bits))
    return rows


def _runs(positions: np.ndarray) -> str:
    """Like 0..5, 7."""
    parts = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)
    return ", ".join(f"{part[0]}..{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts if len(part))


def _bin_bits(point: NestedRatePoint, value: int) -> float:
    if not point.range_coded:
        return point.modulus.bit_length() - 1
    total = 1 << FLAT_CDF_BITS
    return FLAT_CDF_BITS - math.log2((value + 1) * total // point.modulus - value * total // point.modulus)


def _predictive_rows(node: NodeModel, data: DataPacket, indices: Indices) -> list[Row]:
    point: PredictiveRatePoint = node.rate_points[data.rate_point]
    rows = []
    before, before_that = 0, 0
    for slot in range(int(indices.counts[0])):
        level = int(indices.values[0, slot]) if indices.present[0, slot] else 0
        activity = 2 * abs(before) + abs(before_that)
        context = int(np.count_nonzero(activity >= node.thresholds))
        number = slot if slot < node.position_tables else node.position_tables + context
        if indices.present[0, slot]:
            note = f"table {number}, predicted {indices.preds[0, slot]}, reconstructed {indices.recon[0, slot]}"
            rows.append(Row(f"level {slot}", level, _level_bits(node, point.tables[number], level), note))
        before, before_that = level, before
    return rows


def _level_bits(node: NodeModel, table: CdfTable, level: int) -> float:
    """SPEC 4.3."""
    if abs(level) <= table.direct:
        symbol, extra_bits = level + table.direct, 0
    else:
        escape_class = (abs(level) - table.direct - 1).bit_length()
        symbol, extra_bits = 2 * table.direct + 1 + escape_class, max(escape_class - 1, 0) + 1
    return node.cdf_bits - math.log2(int(table.cdf[symbol + 1] - table.cdf[symbol])) + extra_bits


def _layered_rows(node: NodeModel, data: DataPacket, indices: Indices) -> list[Row]:
    """Layer by layer: symbols in a row, or of a block the sent bits of each plane and the check."""
    point: LayeredRatePoint = node.rate_points[data.rate_point]
    values = indices.values[0][indices.present[0]]
    tree = Tree(point.alphabets)
    depth = int(tree.depths(values).max(initial=0))
    numbers = layer_blocks.numbers(values) - tree.bases[depth]
    if node.block_check_bits and layer_blocks.are_blocks(indices.present)[0]:
        return _block_rows(node, point, values, numbers, depth)
    rows = []
    for layer, alphabet in enumerate(point.alphabets[:depth]):
        symbols = numbers // math.prod(point.alphabets[layer + 1 : depth]) % alphabet
        prefixes = numbers // math.prod(point.alphabets[layer:depth])
        text = ("" if alphabet <= 10 else " ").join(map(str, symbols.tolist()))
        rows.append(Row(f"layer {layer}", text, _symbol_bits(node, point, layer, prefixes, symbols), "range coded" if point.coded[layer] else "raw"))
    return rows


def _symbol_bits(node: NodeModel, point: LayeredRatePoint, layer: int, prefixes: np.ndarray, symbols: np.ndarray) -> float:
    cdfs = point.cdfs[layer]
    if not len(cdfs):
        return len(symbols) * (point.alphabets[layer].bit_length() - 1)
    shares = cdfs[prefixes, symbols + 1] - cdfs[prefixes, symbols]
    return float(np.sum(node.cdf_bits - np.log2(shares)))


def _block_rows(node: NodeModel, point: LayeredRatePoint, values: np.ndarray, numbers: np.ndarray, depth: int) -> list[Row]:
    ends, rows = layer_blocks.plane_ends(point.alphabets), []
    for layer in range(depth):
        for plane in range(int(ends[layer]), int(ends[layer + 1])):
            positions = point.positions[plane, : len(values)]
            sent = (numbers[positions] >> int(ends[depth] - 1 - plane)) & 1
            note = f"plane {plane}, positions {_runs(np.flatnonzero(positions))}"
            rows.append(Row(f"layer {layer}", "".join(map(str, sent.tolist())), len(sent), note))
        rows.append(Row(f"check {layer}", int(values[layer]) >> layer_blocks.NUMBER_BITS, node.block_check_bits))
    return rows


_ROWS = {
    "nested": _nested_rows, "trellis": _trellis_rows, "syndrome": _syndrome_rows, "predictive": _predictive_rows, "layered": _layered_rows,
}
