"""The two decoders of `predictive`, prepared for one model; the interface is that of `nested_decoders`.

The parser has already told the cell of every sample, so neither can pick a wrong one: `midpoint` gives the closed loop's
own reconstruction, `kalman` the posterior mean inside the cell.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.nested_decoders import max_error_lsb
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.state_space import Predictor, require_state_space
from edge_wz.decoders import hold, kalman
from edge_wz.model import Model


class Cells:
    """The cell of every sample, in codes."""

    def __init__(self, model: Model) -> None:
        points = model.node.rate_points
        self._steps = np.array([point.step_q8 for point in points], dtype=np.int64)
        self._roundings = np.array([point.rounding_q8 for point in points], dtype=np.int64)

    def of(self, indices: StreamIndices) -> tuple[np.ndarray, np.ndarray]:
        lows, highs = np.empty(indices.values.size), np.empty(indices.values.size)
        hold.predictive_cells(
            indices.values, indices.preds, indices.rate_points, self._steps, self._roundings, lows, highs
        )
        return lows, highs


class Midpoint:
    """State: that of `decoders.hold`."""

    neighbours = 0

    def __init__(self, model: Model) -> None:
        self._cells = Cells(model)

    def initial_state(self) -> np.ndarray:
        return np.array([0.0, hold.UNKNOWN_VARIANCE, 0.0, 0.0])

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        out, held = Decoded.empty(indices.values.size), state.copy()
        out.levels[:] = indices.values
        hold.midpoint(held, indices.recon, *self._cells.of(indices), out.values, out.sigmas, out.flags)
        return out, held


class Refined:
    """`kalman`. State: the belief of `codec.state_space`."""

    def __init__(self, model: Model) -> None:
        self._cells = Cells(model)
        self._predictor = Predictor(require_state_space(model))
        _, self._kernel = kalman.kernels(*self._predictor.sizes)
        self._max_error = max_error_lsb(model)
        self.neighbours = self._predictor.neighbours

    def initial_state(self) -> np.ndarray:
        return self._predictor.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        out, belief, p = Decoded.empty(indices.values.size), state.copy(), self._predictor
        out.levels[:] = indices.values
        self._kernel(
            belief, *p.tables, *self._cells.of(indices), side.values, side.sigmas, self._max_error,
            out.values, out.sigmas, out.flags,
        )  # fmt: skip
        return out, belief
