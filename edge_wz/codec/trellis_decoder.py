"""`trellis`: the decoder of scheme `trellis`, prepared for one model; the interface is that of `nested_decoders`.

A packet is decoded as a whole (`decoders.trellis`) from the belief behind the packet before it. A provisional output at
zero delay is not offered: these bits say little before the packet is there.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.nested_decoders import cell_table, max_error_lsb
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.state_space import Predictor, require_state_space
from edge_wz.decoders import bcjr, smoother, survivors, trellis
from edge_wz.decoders.cells import MODULUS
from edge_wz.formats.sections.trellis import stride_of
from edge_wz.model import GAUSSIAN, Model, NodeModel

COSETS = 4


class Trellis:
    """State: the belief of `codec.state_space`."""

    def __init__(self, model: Model) -> None:
        node = model.node
        self._predictor = Predictor(require_state_space(model))
        self._points = cell_table(model, "trellis")
        self._points[:, MODULUS] *= COSETS
        self._code, self._memory = _prepared_code(node), node.memory if _follows(model) else 0
        self._dims, self._packet_samples = smoother.dims_of(*self._predictor.sizes), node.packet_samples
        self._rounds = 1 if model.propagation is None else model.propagation.rounds
        self._survivors = _follows(model)
        self._density = np.array(GAUSSIAN if model.propagation is None else model.propagation.density, dtype=np.float64)
        self._max_error = max_error_lsb(model)
        self.neighbours = self._predictor.neighbours

    def initial_state(self) -> np.ndarray:
        return self._predictor.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        """Whole packets only: `packet_starts` says where each begins."""
        out, belief, p = Decoded.empty(indices.values.size), state.copy(), self._predictor
        edges = self._edges(indices)
        longest = int(np.diff(edges).max(initial=1))
        walks = survivors.work_space(longest if self._survivors else 0, *p.sizes, self._memory)
        trellis.decode(
            self._dims, belief, p.F, p.G, p.mean, indices.values, indices.rate_points, edges, self._points, self._code, self._density, self._rounds,
            bcjr.LEAST_MASS, self._max_error, trellis.work_space(longest, *p.sizes, self._code[1]), walks, side.values, side.sigmas,
            out.values, out.sigmas, out.flags, out.levels,
        )  # fmt: skip
        return out, belief

    def _edges(self, indices: StreamIndices) -> np.ndarray:
        """Packet starts and the end; a gap of many lost packets in pieces of one packet, so that it takes no more memory."""
        edges = np.append(np.asarray(indices.packet_starts, dtype=np.int64), indices.values.size)
        pieces = [edges]
        for first in np.flatnonzero(np.diff(edges) > self._packet_samples).tolist():
            if np.all(indices.values[edges[first] : edges[first + 1]] == NO_LEVEL):
                pieces.append(np.arange(edges[first], edges[first + 1], self._packet_samples, dtype=np.int64)[1:])
        return edges if len(pieces) == 1 else np.sort(np.concatenate(pieces))


def _follows(model: Model) -> bool:
    return model.propagation is not None and bool(model.propagation.survivors)


def _prepared_code(node: NodeModel) -> tuple[np.ndarray, int, int, int, tuple[int, int], int]:
    """What `decoders.trellis` calls the code."""
    a, b = bcjr.leader_polynomials(node.h0, node.h1)
    stride = stride_of(node.h0, node.h1)
    memory = node.memory // stride
    labels = bcjr.branch_labels(bcjr.thinned(node.h0, stride), bcjr.thinned(node.h1, stride), memory)
    return labels, memory, a, b, (node.h0, node.h1), stride
