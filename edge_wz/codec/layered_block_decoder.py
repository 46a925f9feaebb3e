"""What blocks of `layered` said, before any sample is reconstructed: parsed values to prefixes, prepared for one model.

Stands between the belief and the cut of `layered_decoder`, which goes on as if the prefixes had been sent raw. A layer whose check fails is not
there; a block of which not even the first layer could be resolved is as if nothing had come, and marked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_wz.codec import layer_blocks
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layered import Tree
from edge_wz.codec.syndrome_decoder import Code, code_of
from edge_wz.decoders import block_layers
from edge_wz.formats.layout import MIN_LAYER_BLOCK
from edge_wz.model import LayeredRatePoint, Model

GAUSSIAN = np.ones((1, 2))
MAX_CODES = 256  # kept at a time: short packets and absent samples make new ones


class Point:
    """One rate point's table as the decoder takes it."""

    def __init__(self, point: LayeredRatePoint) -> None:
        self.tree, self.ends = Tree(point.alphabets), layer_blocks.plane_ends(point.alphabets)
        self.planes = int(self.ends[-1])
        self.widest = int(np.diff(self.ends).max())
        self.edges = point.thresholds - 0.5
        self.messages = flipped(point.numbers, self.planes)
        self.sent = np.array(point.positions, np.bool_)


def flipped(numbers: np.ndarray, planes: int) -> np.ndarray:
    """Message numbers with plane c as bit c."""
    return np.asarray(sum(((numbers >> (planes - 1 - c)) & 1) << c for c in range(planes)), np.int64)


class Blocks:
    """Holds no stream. `resolve` takes whole packets."""

    def __init__(self, model: Model) -> None:
        node = model.node
        self._points = [Point(point) for point in node.rate_points]
        self._check_bits = node.block_check_bits
        self._level = max(0, (node.packet_samples - 1).bit_length())
        self._space = block_layers.workspace(node.packet_samples, max(point.widest for point in self._points), self._level)
        self._density = GAUSSIAN if model.block is None else np.array(model.block.density)
        self._codes: dict[tuple[int, int, int], Code] = {}

    def resolve(self, indices: StreamIndices, means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(prefixes, NO_LEVEL where there are none; where something was received of which nothing could be resolved)."""
        values = indices.values.copy()
        edges = np.append(np.asarray(indices.packet_starts, np.int64), values.size)
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            span = slice(start, end)
            if np.count_nonzero(values[span] != NO_LEVEL) >= MIN_LAYER_BLOCK:
                one = variances if variances.size == 1 else variances[span]
                self._resolve(int(indices.rate_points[start]), values[span], means[span], one)
        return values, (values == NO_LEVEL) & (indices.values != NO_LEVEL)

    def _resolve(self, number: int, values: np.ndarray, means: np.ndarray, variances: np.ndarray) -> None:
        """One block, in place."""
        point = self._points[number]
        depth = int(point.tree.depths(values).max())
        slots, numbers, checks = np.empty((3, len(values)), np.int64)
        count = block_layers.gather(values, int(point.tree.bases[depth]), slots, numbers, checks, depth)
        trees = np.empty((1 << point.planes, count), np.float32)
        block_layers.weigh(means, variances, slots, count, self._density, point.edges, point.messages, trees)
        known, planes = np.zeros(count, np.int64), 0
        for layer in range(depth):
            first, last = int(point.ends[layer]), int(point.ends[layer + 1])
            held = block_layers.resolve_layer(
                trees, numbers, known, count, int(point.ends[depth]), first, last, point.sent, self._code(number, layer, count), self._check_bits,
                int(checks[layer]), self._space,
            )  # fmt: skip
            if not held:
                break
            planes = last
        layers = int(np.searchsorted(point.ends, planes))
        block_layers.put_prefixes(known, slots, count, planes, int(point.tree.bases[layers]), values)

    def _code(self, number: int, layer: int, count: int) -> Any:
        key = number, layer, count
        if key not in self._codes:
            if len(self._codes) >= MAX_CODES:
                self._codes.clear()
            point = self._points[number]
            first, last = int(point.ends[layer]), int(point.ends[layer + 1])
            self._codes[key] = code_of(point.sent[first:last], count, last - first)
        return self._codes[key]
