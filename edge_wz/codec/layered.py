"""Scheme `layered` (SPEC 11), packets in bulk: samples to payloads of any layers, payloads to prefixes, and prefixes put together.

A parsed sample is one number, that of its prefix in the tree of prefixes (`Tree`), so a stream may change its depth from packet to packet. What a
prefix means is decided in `layered_decoder`. In packets that are blocks (`layer_blocks`) transformed bits stand in the places of the symbols, and
checks above them, until `layered_block_decoder` has resolved them.
"""

from __future__ import annotations

import math
import weakref
from typing import NamedTuple

import numpy as np

from edge_wz.codec import layer_blocks
from edge_wz.codec.blocks import NO_LEVEL, payload_bytes
from edge_wz.formats.layout import FLAT_CDF_BITS, MAX_MESSAGES
from edge_wz.kernels import threshold_table as kernel
from edge_wz.model import LayeredRatePoint, NodeModel

CODER_SLACK_BYTES = 5


class Coding(NamedTuple):
    """How the layers of a payload are written, as the kernel takes it."""

    bits: np.ndarray
    starts: np.ndarray
    strides: np.ndarray
    cdfs: np.ndarray
    total_bits: int


class Tree:
    """The prefixes of a rate point by number (SPEC 11.4), shortest first."""

    def __init__(self, alphabets: tuple[int, ...]) -> None:
        self.sizes = [math.prod(alphabets[:depth]) for depth in range(len(alphabets) + 1)]
        self.bases = np.concatenate([[0, 0], np.cumsum(self.sizes[1:])]).astype(np.int64)  # of depth 0 (unused), 1, 2, ...
        self.layers = len(alphabets)

    def depths(self, values: np.ndarray) -> np.ndarray:
        """Layers known of each sample; 0 for NO_LEVEL."""
        return np.searchsorted(self.bases[1:], layer_blocks.numbers(values), side="right").astype(np.int64)

    def join(self, values: np.ndarray, more: np.ndarray, first: int, layers: int) -> np.ndarray:
        """Prefixes of at least `first` layers, with what a refinement of `layers` layers from `first` on says behind them."""
        depths = np.maximum(self.depths(values), 1)
        known = layer_blocks.numbers(values) - self.bases[depths]
        missing = self.sizes[first + layers] // np.array(self.sizes)[depths]  # what is new of the refinement
        longer = self.bases[first + layers] + known * missing + layer_blocks.numbers(more) % missing
        longer += layer_blocks.joined_checks(values, more, depths)
        return np.where((values == NO_LEVEL) | (depths >= first + layers), values, longer).astype(np.int32)


class Flat:
    """Arrays of one rate point, built once."""

    def __init__(self, point: LayeredRatePoint, cdf_bits: int) -> None:
        self.alphabets = np.array(point.alphabets, dtype=np.int32)
        self.tree = Tree(point.alphabets)
        self.lookup = np.zeros(kernel.CODES, dtype=np.uint8)
        kernel.fill_lookup(point.thresholds, point.numbers, self.lookup)
        every = np.arange(math.prod(point.alphabets), dtype=np.int64)
        after = [math.prod(point.alphabets[layer:]) for layer in range(point.layers + 1)]
        self.prefixes = np.array([every // size for size in after[:-1]], dtype=np.int32)
        self.symbols = np.zeros((point.layers, MAX_MESSAGES), dtype=np.int32)
        for layer, alphabet in enumerate(point.alphabets):
            self.symbols[layer, : every.size] = every // after[layer + 1] % alphabet
        self.base = _coding(point.alphabets, point.cdfs, max(cdf_bits, 1))
        self.alone = _coding(point.alphabets, [_flat_rows(alphabet) for alphabet in point.alphabets], FLAT_CDF_BITS)

    def coding(self, first: int) -> Coding:
        """Of a data packet, which begins with layer 0, or of a refinement."""
        return self.alone if first else self.base


def _flat_rows(alphabet: int) -> np.ndarray:
    """The table of SPEC 11.3; none for a power of two."""
    if alphabet & (alphabet - 1) == 0:
        return np.zeros((0, alphabet + 1), np.int32)
    return ((np.arange(alphabet + 1) << FLAT_CDF_BITS) // alphabet)[None, :]


def _coding(alphabets: tuple[int, ...], cdfs: tuple[np.ndarray, ...] | list[np.ndarray], total_bits: int) -> Coding:
    lengths = np.cumsum([0, *(rows.size for rows in cdfs)])
    starts = [int(at) if len(rows) else -1 for rows, at in zip(cdfs, lengths, strict=False)]
    strides = [rows.shape[1] if len(rows) > 1 else 0 for rows in cdfs]
    bits = [alphabet.bit_length() - 1 for alphabet in alphabets]
    joined = np.concatenate([np.asarray(rows).reshape(-1) for rows in cdfs] + [np.zeros(1)])
    as_ints = [np.array(column, dtype=np.int32) for column in (bits, starts, strides, joined)]
    return Coding(as_ints[0], as_ints[1], as_ints[2], as_ints[3], total_bits)


_flats: weakref.WeakKeyDictionary[NodeModel, dict[int, Flat]] = weakref.WeakKeyDictionary()


def flat_point(node: NodeModel, rate_point: int) -> Flat:
    points = _flats.setdefault(node, {})
    if rate_point not in points:
        points[rate_point] = Flat(node.rate_points[rate_point], node.cdf_bits)
    return points[rate_point]


# ------------------------------------------------------------------------------------------------- to bytes


def messages(node: NodeModel, rate_point: int, codes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Message numbers int32[B, N] of codes int16[B, N]; NO_LEVEL where absent."""
    found = np.empty(codes.shape, dtype=np.int32)
    kernel.encode_codes(np.ascontiguousarray(codes).reshape(-1), flat_point(node, rate_point).lookup, found.reshape(-1))
    if not present.all():
        kernel.drop_absent(np.ascontiguousarray(present).reshape(-1), found.reshape(-1))
    return found


def pack(node: NodeModel, rate_point: int, found: np.ndarray, first: int, last: int) -> list[bytes]:
    """Payloads of layers first .. last - 1: of data packets, or from `first` > 0 on of refinement packets."""
    if not node.block_check_bits:
        return _pack_symbols(node, rate_point, found, first, last)
    blocks, made = layer_blocks.are_blocks(found != NO_LEVEL), [b""] * len(found)
    for how, rows in ((layer_blocks.pack, np.flatnonzero(blocks)), (_pack_symbols, np.flatnonzero(~blocks))):
        for row, payload in zip(rows.tolist(), how(node, rate_point, found[rows], first, last), strict=True):
            made[row] = payload
    return made


def _pack_symbols(node: NodeModel, rate_point: int, found: np.ndarray, first: int, last: int) -> list[bytes]:
    flat = flat_point(node, rate_point)
    coding = flat.coding(first)
    out = np.zeros((len(found), max_payload_bytes(node, rate_point)), dtype=np.uint8)
    sizes = np.zeros(len(found), dtype=np.int32)
    kernel.pack_packets(found, flat.symbols, flat.prefixes, *coding, first, last, out, sizes)
    return payload_bytes(out, sizes)


def max_payload_bytes(node: NodeModel, rate_point: int) -> int:
    """A bound of any payload: a symbol costs at most its cdf bits, or one bit more than it has."""
    point: LayeredRatePoint = node.rate_points[rate_point]
    bits = [node.cdf_bits if coded else alphabet.bit_length() for coded, alphabet in zip(point.coded, point.alphabets, strict=True)]
    return (node.packet_samples * sum(bits) * 17 // 16 + 7) // 8 + CODER_SLACK_BYTES


def encode(
    node: NodeModel, rate_point: int, codes: np.ndarray, present: np.ndarray, counts: np.ndarray, layers: int = 0
) -> list[bytes]:
    """Payloads of codes int16[B, N] with the rate point's layers, or so many."""
    slots = np.arange(codes.shape[1]) < counts[:, None]
    found = messages(node, rate_point, codes, present & slots)
    return pack(node, rate_point, found, 0, layers or node.rate_points[rate_point].layers_sent)


# ------------------------------------------------------------------------------------------------- from bytes


def parse(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray,
    layers: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Columns `values` (prefixes), `checks`, `status` of the payloads data[offsets[p]:offsets[p+1]]; `layers`: in each, None or 0 as the
    rate point says."""
    point: LayeredRatePoint = node.rate_points[rate_point]
    lasts = np.full(len(counts), point.layers_sent, np.int32)
    if layers is not None:
        lasts = np.where(layers > 0, layers, lasts).astype(np.int32)
    values, depths, status = unpack(node, rate_point, data, offsets, counts, present, 0, lasts)
    bases = flat_point(node, rate_point).tree.bases[depths].astype(np.int32)
    np.add(values, bases[:, None], out=values, where=values != NO_LEVEL)
    return {"values": values, "checks": np.full(len(counts), -1, np.int32), "status": status}


def unpack(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray,
    first: int, lasts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(symbols of layers first .. lasts - 1 as one number int32[B, N], of blocks what `layer_blocks` makes of them; layers found; status)."""
    if not node.block_check_bits:
        return _unpack_symbols(node, rate_point, data, offsets, counts, present, first, lasts)
    blocks = layer_blocks.are_blocks(present & (np.arange(present.shape[1]) < counts[:, None]))
    if blocks.all():
        return layer_blocks.unpack(node, rate_point, data, offsets, counts, present, first, lasts)
    columns = np.empty(present.shape, np.int32), np.empty(len(counts), np.int32), np.empty(len(counts), np.int32)
    for row in range(len(counts)):
        how = layer_blocks.unpack if blocks[row] else _unpack_symbols
        one, ends = slice(row, row + 1), offsets[row : row + 2]
        for column, part in zip(columns, how(node, rate_point, data, ends, counts[one], present[one], first, lasts[one]), strict=True):
            column[row] = part[0]
    return columns


def _unpack_symbols(
    node: NodeModel, rate_point: int, data: np.ndarray, offsets: np.ndarray, counts: np.ndarray, present: np.ndarray,
    first: int, lasts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flat = flat_point(node, rate_point)
    coding = flat.coding(first)
    values = np.empty(present.shape, dtype=np.int32)
    depths, status = np.empty((2, len(counts)), dtype=np.int32)
    kernel.unpack_packets(
        data, offsets, present, counts, coding.bits, flat.alphabets, coding.starts, coding.strides, coding.cdfs,
        coding.total_bits, first, lasts, values, depths, status,
    )  # fmt: skip
    return values, depths, status


def parse_refinement(
    node: NodeModel, rate_point: int, payload: bytes, present: np.ndarray, first: int, layers: int
) -> tuple[np.ndarray, int, int]:
    """(symbols as one number int32[slots], layers found, status) of one refinement packet."""
    data, offsets = np.frombuffer(payload, np.uint8), np.array([0, len(payload)], np.int64)
    counts, lasts = np.array([len(present)], np.int32), np.array([first + layers], np.int32)
    values, depths, status = unpack(node, rate_point, data, offsets, counts, present[None, :], first, lasts)
    return values[0], int(depths[0]), int(status[0])
