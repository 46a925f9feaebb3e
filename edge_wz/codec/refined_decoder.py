"""`refine`: the decoder of `predictive` that looks both ways inside a packet, prepared for one model.

`predictive_decoders` are causal; this one reconstructs a packet from the whole of it, from the end of the stream before it and
from the neighbours beside it (`decoders.refinement`). What was lost is concealed by `kalman` where the model has a state space, else held.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.nested_decoders import max_error_lsb
from edge_wz.codec.predictive_decoders import Cells, Midpoint, Refined
from edge_wz.codec.side_information import SideInformation
from edge_wz.decoders import refinement as kernel
from edge_wz.errors import InputError
from edge_wz.model import Model, RefinementModel

OWN, SIDE, SCALE = kernel.OWN_REACH, kernel.SIDE_REACH, kernel.SCALE_REACH


def require_refinement(model: Model) -> RefinementModel:
    if model.refinement is None:
        raise InputError("decoder refine: the model has no moments for it")
    return model.refinement


class Refine:
    """State: for each pass the last OWN values it read and the last SCALE errors it made, how many of these values are known without a
    gap, the last SIDE rows of the neighbours, then the state of the decoder that conceals."""

    def __init__(self, model: Model) -> None:
        self._moments = require_refinement(model)
        self._cells = Cells(model)
        self._weights = kernel.Weights(self._moments)
        self._concealer = Midpoint(model) if model.state_space is None else Refined(model)
        self._max_error = max_error_lsb(model)
        self._passes, self._side = self._weights.passes, self._moments.neighbours
        self._sizes = np.cumsum([self._passes * OWN, self._passes * SCALE, 1, SIDE * self._side])
        self.neighbours = max(self._side, self._concealer.neighbours)

    def initial_state(self) -> np.ndarray:
        own, errors, known = self._sizes[:3] - [0, self._sizes[0], self._sizes[1]]
        side = np.full(SIDE * self._side, np.nan)
        return np.concatenate([np.zeros(own + errors + known), side, self._concealer.initial_state()])

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        own, errors, reached, rows, rest = (part.copy() for part in np.split(state, self._sizes))
        own, errors = own.reshape(self._passes, OWN), errors.reshape(self._passes, SCALE)
        out, rest = self._concealer.run(rest, indices, self._seen(side))
        lows, highs = self._cells.of(indices)
        beside = np.concatenate([rows.reshape(SIDE, self._side), side.values[:, : self._side]])
        starts = np.array(indices.packet_starts, np.int64)
        values, variances, reached[0] = kernel.refine(
            self._weights, own, errors, int(reached[0]), beside, indices.rate_points, starts,
            indices.recon.astype(np.float64), lows, highs,
        )  # fmt: skip
        self._place(out, lows, highs, values, variances)
        return out, np.concatenate([own.ravel(), errors.ravel(), reached, beside[lows.size :].ravel(), rest])

    def _seen(self, side: SideInformation) -> SideInformation:
        """What the concealing decoder looks at: all of the neighbours or none."""
        return side if self._concealer.neighbours else SideInformation.none(len(side.values))

    def _place(
        self, out: Decoded, lows: np.ndarray, highs: np.ndarray, values: np.ndarray, variances: np.ndarray
    ) -> None:
        """Refined samples over the concealer's, moved where a guarantee asks for it (as `cells.keep_within` does)."""
        if self._max_error >= 0:
            lowest, highest = highs - 0.5 - self._max_error, lows + 0.5 + self._max_error
            values = np.where(lowest > highest, 0.5 * (lows + highs), np.minimum(np.maximum(values, lowest), highest))
        known = lows <= highs
        np.copyto(out.values, values, where=known)
        np.sqrt(variances, where=known, out=out.sigmas)


__all__ = ["Refine"]
