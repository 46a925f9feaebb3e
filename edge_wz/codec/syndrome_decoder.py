"""`syndrome`: the decoder of scheme `syndrome`, prepared for one model; the interface is that of `nested_decoders`.

A packet is decoded as a whole (`decoders.block_syndrome`) from the belief behind the packet before it. The walk through the code depends on the
rate point and on the number of samples received, so packets are decoded in runs of equal ones. A block that fails its check is SUSPECT as a whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.nested_decoders import cell_table, max_error_lsb
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.state_space import Predictor, require_state_space
from edge_wz.codec.syndrome import low_bits
from edge_wz.decoders import block_syndrome, cell_tables, polar_program, smoother
from edge_wz.decoders.cells import MODULUS
from edge_wz.errors import InputError
from edge_wz.model import BlockDecoding, Model, SyndromeRatePoint

Code = tuple[np.ndarray, np.ndarray, int]
MAX_CODES = 256  # kept at a time: short packets and absent samples make new ones


def require_block(model: Model) -> BlockDecoding:
    if model.block is None:
        raise InputError("decoder syndrome: the model has no planes and density")
    return model.block


def code_of(sent: np.ndarray, count: int, planes: int) -> Code:
    """(steps, edges, level) for `polar_list`, of a block with `count` samples: sets bool[C, N] and free planes above them."""
    level = max(0, (sent.shape[1] - 1).bit_length())
    known = np.zeros((planes, 1 << level), np.bool_)
    known[: len(sent), : sent.shape[1]] = sent
    known[:, count:] = True
    programs = [polar_program.program(row) for row in known]
    edges = np.cumsum([0, *map(len, programs)], dtype=np.int64)
    return np.concatenate(programs), edges, level


class Syndrome:
    """State: the belief of `codec.state_space`."""

    def __init__(self, model: Model) -> None:
        node, self._block = model.node, require_block(model)
        self._predictor = Predictor(require_state_space(model))
        self._points: tuple[SyndromeRatePoint, ...] = node.rate_points
        self._planes = [int(planes) for planes in self._block.planes]
        self._cells = cell_table(model, "syndrome")
        self._cells[:, MODULUS] *= np.exp2(self._planes)
        self._sets = [self._set_of(point, node.packet_samples) for point in self._points]
        self._check_bits, self._packet_samples = node.block_check_bits, node.packet_samples
        self._density = np.array(self._block.density)
        self._max_error = max_error_lsb(model)
        self._tables = [cell_tables.empty_tables(planes) for planes in self._planes]
        self._codes: dict[tuple[int, int], Code] = {}
        self._dims = smoother.dims_of(*self._predictor.sizes)
        self.neighbours = self._predictor.neighbours

    @staticmethod
    def _set_of(point: SyndromeRatePoint, samples: int) -> np.ndarray:
        return np.array(point.sent, np.bool_).reshape(len(point.sent), samples)

    def initial_state(self) -> np.ndarray:
        return self._predictor.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        """Whole packets only: `packet_starts` says where each begins."""
        out, belief, p = Decoded.empty(indices.values.size), state.copy(), self._predictor
        edges, checks = self._edges(indices)
        longest = max(int(np.diff(edges).max(initial=1)), 1)
        for first, last, point, count in self._runs(indices, edges):
            span = slice(int(edges[first]), int(edges[last]))
            code = self._code(point, count)
            block_syndrome.decode(
                self._dims, belief, p.F, p.G, p.mean, indices.values[span], edges[first : last + 1] - span.start, checks[first:last],
                self._cells[point], low_bits(self._points[point]), self._sets[point], code, self._check_bits, self._density,
                float(self._block.path_mse[point]), self._block.rounds, self._max_error, side.values[span], side.sigmas[span],
                self._tables[point], self._space(longest, point, code[2]), out.values[span], out.sigmas[span], out.flags[span], out.levels[span],
            )  # fmt: skip
        return out, belief

    def _space(self, longest: int, point: int, level: int) -> Any:
        return block_syndrome.workspace(longest, *self._predictor.sizes, self._planes[point], level)

    def _code(self, point: int, count: int) -> Code:
        if (point, count) not in self._codes:
            if len(self._codes) >= MAX_CODES:
                self._codes.clear()
            self._codes[point, count] = code_of(self._sets[point], count, self._planes[point])
        return self._codes[point, count]

    def _edges(self, indices: StreamIndices) -> tuple[np.ndarray, np.ndarray]:
        """Packet starts and the end, and the checks; a gap of many lost packets in pieces, so that it takes no more memory than one packet."""
        edges = np.append(np.asarray(indices.packet_starts, dtype=np.int64), indices.values.size)
        checks = np.asarray(indices.checks, dtype=np.int32)
        for packet in np.flatnonzero(np.diff(edges) > self._packet_samples)[::-1].tolist():
            cuts = np.arange(edges[packet], edges[packet + 1], self._packet_samples, dtype=np.int64)[1:]
            edges = np.insert(edges, packet + 1, cuts)
            checks = np.insert(checks, packet + 1, np.full(len(cuts), -1, np.int32))
        return edges, checks

    def _runs(self, indices: StreamIndices, edges: np.ndarray) -> list[tuple[int, int, int, int]]:
        """(first packet, last + 1, rate point, samples received), empty packets left out."""
        received = np.concatenate([[0], np.cumsum(indices.values != NO_LEVEL)])
        counts = received[edges[1:]] - received[edges[:-1]]
        filled = np.flatnonzero(np.diff(edges) > 0)
        runs: list[tuple[int, int, int, int]] = []
        for packet in filled.tolist():
            kind = int(indices.rate_points[edges[packet]]), int(counts[packet])
            if runs and runs[-1][1] == packet and runs[-1][2:] == kind:
                runs[-1] = (runs[-1][0], packet + 1, *kind)
            else:
                runs.append((packet, packet + 1, *kind))
        return runs
