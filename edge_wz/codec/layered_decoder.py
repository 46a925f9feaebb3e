"""`posterior` and `kalman`: the decoders of scheme `layered`, prepared for one model; the interface is that of `nested_decoders`.

Both cut a Gaussian belief to what a prefix of layers leaves (`decoders.layered`), whatever its depth; depths may differ from sample to sample.
Blocks go through `layered_block_decoder` first (`posterior`; for `kalman` of them see `layered_smoothed`). `levels` of a result are runs: the
stretches of codes with one prefix, numbered within the rate point, all prefixes in order.
"""

from __future__ import annotations

import numpy as np

from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layered import Tree
from edge_wz.codec.layered_block_decoder import Blocks
from edge_wz.codec.nested_decoders import side_filter
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.state_space import Predictor, require_state_space
from edge_wz.decoders import layered, layered_lookup
from edge_wz.decoders.cells import SUSPECT
from edge_wz.decoders.side_window import Windows
from edge_wz.model import LayeredRatePoint, Model, NodeModel

FIRST_EDGE, LAST_EDGE = -32768.5, 32767.5


def runs_of(point: LayeredRatePoint) -> tuple[list[float], list[float], list[int]]:
    """(lows, highs, how many) of the runs of every prefix, in the order of the tree."""
    tree = Tree(point.alphabets)
    edges = np.concatenate([[FIRST_EDGE], point.thresholds - 0.5, [LAST_EDGE]])
    lows: list[float] = []
    highs: list[float] = []
    counts: list[int] = []
    for depth in range(1, tree.layers + 1):
        prefixes = point.numbers // (tree.sizes[-1] // tree.sizes[depth])
        begins = np.flatnonzero(np.diff(prefixes, prepend=-1))
        ends = np.append(begins[1:], len(prefixes))
        for prefix in range(tree.sizes[depth]):
            held = prefixes[begins] == prefix
            lows += edges[begins[held]].tolist()
            highs += edges[ends[held]].tolist()
            counts.append(int(held.sum()))
    return lows, highs, counts


class Runs:
    """The runs of all rate points, as `decoders.layered` takes them; those of one table once."""

    def __init__(self, node: NodeModel) -> None:
        lows: list[float] = []
        highs: list[float] = []
        known: dict[tuple[object, ...], int] = {}
        starts, offsets = [0], []
        for point in node.rate_points:
            table = point.alphabets, point.thresholds.tobytes(), point.messages.tobytes()
            offsets.append(known.setdefault(table, len(starts) - 1))
            if offsets[-1] < len(starts) - 1:
                continue
            more_lows, more_highs, counts = runs_of(point)
            lows, highs = lows + more_lows, highs + more_highs
            starts += (starts[-1] + np.cumsum(counts)).tolist()
        self.arrays = np.array(lows), np.array(highs), np.array(starts, np.int64), np.array(offsets, np.int64)


class Posterior:
    """State: the past of the side window. Beliefs of the usual variance, that with all neighbours there, are cut by table."""

    def __init__(self, model: Model) -> None:
        moments = side_filter(model, "posterior")
        self._windows = Windows(moments, (len(moments.mean) - 1) // moments.taps)
        self._mean = float(moments.mean[0])
        self._runs = Runs(model.node)
        self._lookup: layered_lookup.Lookup | None = None
        self._blocks = Blocks(model) if model.node.block_check_bits else None
        self.neighbours = self._windows.neighbours

    def initial_state(self) -> np.ndarray:
        return self._windows.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        return self.run_open(state, indices, side)[:2]

    def run_open(
        self, state: np.ndarray, indices: StreamIndices, side: SideInformation
    ) -> tuple[Decoded, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`run`, and prefixes, means and variances (1 or T) that went into the cut."""
        predicted, variances, past = self._windows.predict(state, side.values, side.sigmas)
        out = Decoded.empty(indices.values.size)
        prefixes, untold = indices.values, None
        if self._blocks is not None:
            prefixes, untold = self._blocks.resolve(indices, self._mean + predicted, variances)
        if self._lookup is None:
            self._lookup = layered_lookup.make(*self._runs.arrays[:3], self._windows.variance)
        layered_lookup.posterior(
            prefixes, indices.rate_points, *self._runs.arrays, self._mean, predicted, variances, *self._lookup,
            out.values, out.sigmas, out.flags, out.levels,
        )  # fmt: skip
        if untold is not None:
            out.flags[untold] |= SUSPECT
        return out, past, prefixes, self._mean + predicted, variances


class Kalman:
    """State: the belief of `codec.state_space`."""

    def __init__(self, model: Model) -> None:
        self._predictor = Predictor(require_state_space(model))
        self._kernel = layered.kalman(*self._predictor.sizes)
        self._runs = Runs(model.node)
        self.neighbours = self._predictor.neighbours

    def initial_state(self) -> np.ndarray:
        return self._predictor.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        out, belief = Decoded.empty(indices.values.size), state.copy()
        self._kernel(
            belief, *self._predictor.tables, indices.values, indices.rate_points, *self._runs.arrays,
            side.values, side.sigmas, out.values, out.sigmas, out.flags, out.levels,
        )  # fmt: skip
        return out, belief
