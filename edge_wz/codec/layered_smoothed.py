"""`kalman` for blocks of `layered`: whole packets between two smoothing passes, prepared for one model; the interface is that of `nested_decoders`.

    belief behind the packet before, neighbours in the packet -> cavities (`decoders.smoother`) -> the block resolved, layer by layer
    -> each sample cut to what its prefix leaves -> smoothed again with these -> cut again, and the belief behind the packet

So a sample is reconstructed from own samples before and after it, as in `syndrome`, while the layers are resolved from the past and the neighbours.
What layers that failed or did not come leave is a wider site, and what of a packet is not known at all none.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layered_block_decoder import Blocks
from edge_wz.codec.layered_decoder import Kalman, Runs
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.state_space import Predictor, require_state_space
from edge_wz.decoders import layered, smoother
from edge_wz.decoders.cells import CONCEALED, SUSPECT
from edge_wz.model import Model

TOLD = 0.999  # of the cavity's variance: what is not narrowed further says nothing (as in `decoders.block_syndrome`)
LEAST_VARIANCE = 1e-4


def kalman(model: Model) -> Kalman | SmoothedBlocks:
    return SmoothedBlocks(model) if model.node.block_check_bits else Kalman(model)


class SmoothedBlocks:
    """State: the belief of `codec.state_space`."""

    def __init__(self, model: Model) -> None:
        self._predictor = Predictor(require_state_space(model))
        self._dims = smoother.dims_of(*self._predictor.sizes)
        self._blocks, self._runs = Blocks(model), Runs(model.node)
        slots = model.node.packet_samples
        self._slots, self._store = slots, np.empty((slots, smoother.store_size(*self._predictor.sizes)))
        self.neighbours = self._predictor.neighbours

    def initial_state(self) -> np.ndarray:
        return self._predictor.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        """Whole packets only."""
        out, belief = Decoded.empty(indices.values.size), state.copy()
        edges = np.append(np.asarray(indices.packet_starts, np.int64), indices.values.size)
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            for at in range(start, end, self._slots):  # a gap of lost packets in pieces
                span = slice(at, min(at + self._slots, end))
                belief = self._packet(belief, indices, side, span, out)
        return out, belief

    def _packet(self, belief: np.ndarray, indices: StreamIndices, side: SideInformation, span: slice, out: Decoded) -> np.ndarray:
        count = span.stop - span.start
        sites = np.stack([np.zeros(count), np.full(count, smoother.NO_SITE)])
        cavities, after = self._smooth(belief, side, span, sites)
        one = StreamIndices(indices.values[span], indices.rate_points[span], np.zeros(1, np.int64), np.full(1, -1, np.int32))
        prefixes, untold = self._blocks.resolve(one, *cavities)
        cut = self._cut(prefixes, one.rate_points, cavities)
        if np.any(cut.flags & CONCEALED == 0):
            self._tell(cut, cavities, sites)
            cavities, after = self._smooth(belief, side, span, sites)
            cut = self._cut(prefixes, one.rate_points, cavities)
        cut.flags[untold] |= SUSPECT
        for whole, part in zip(out, cut, strict=True):
            whole[span] = part
        return after

    def _smooth(self, belief: np.ndarray, side: SideInformation, span: slice, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(cavities, belief behind the packet)."""
        p, cavities, after = self._predictor, np.empty_like(sites), np.empty_like(belief)
        smoother.smooth_packet(
            self._dims, belief, p.F, p.G, p.mean, side.values[span], side.sigmas[span], sites[0], sites[1], cavities[0], cavities[1], self._store,
            after,
        )  # fmt: skip
        return cavities, after

    def _cut(self, prefixes: np.ndarray, rate_points: np.ndarray, cavities: np.ndarray) -> Decoded:
        cut = Decoded.empty(prefixes.size)
        layered.posterior(
            prefixes, rate_points, *self._runs.arrays, 0.0, cavities[0], cavities[1], cut.values, cut.sigmas, cut.flags, cut.levels,
        )  # fmt: skip
        return cut

    def _tell(self, cut: Decoded, cavities: np.ndarray, sites: np.ndarray) -> None:
        """Gaussian stand-ins for what the prefixes say."""
        variances = np.maximum(cut.sigmas * cut.sigmas, LEAST_VARIANCE)
        told = (cut.flags & CONCEALED == 0) & (variances < TOLD * cavities[1])
        narrowed, before = variances[told], cavities[:, told]
        sites[1, told] = 1.0 / (1.0 / narrowed - 1.0 / before[1])
        sites[0, told] = sites[1, told] * (cut.values[told] / narrowed - before[0] / before[1])
