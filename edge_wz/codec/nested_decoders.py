"""The three decoders of `nested`, prepared for one model: tables built once, then arrays in and arrays out per chunk.

`nearest` decides by side information, `posterior` weighs by it, `kalman` weighs by it and by the node's own past. All read
the same bits. Each has `initial_state()` and `run(state, indices, side)`, which leaves `state` alone. All is in LSB here.
"""

from __future__ import annotations

import math

import numpy as np

from edge_wz.codec.bounds import wrong_cell_probability
from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.state_space import Predictor, require_state_space
from edge_wz.decoders import kalman, nearest, posterior
from edge_wz.decoders.side_window import Windows
from edge_wz.errors import InputError
from edge_wz.model import Model, NestedRatePoint, SideFilter


def _level_range(point: NestedRatePoint) -> tuple[int, int]:
    """The levels that int16 sources reach."""
    reach = int(np.abs(point.taps.astype(np.int64)).sum())
    tap = int(point.taps[0])
    extremes = (-32768 * tap, 32767 * tap) if len(point.taps) == 1 else (-32768 * reach, 32768 * reach)
    levels = [min(max((point.rounding + value) >> point.shift, -32768), 32767) for value in extremes]
    return min(levels), max(levels)


def cell_table(model: Model, decoder: str) -> np.ndarray:
    """Rate points for `decoders.cells`; only an encoder without filter has cells of the source."""
    if model.node.taps > 1:
        raise InputError(f"decoder {decoder} needs a node without filter, this one has {model.node.taps} taps")
    rows = []
    for point in model.node.rate_points:
        low, high = _level_range(point)
        rows.append([float(1 << point.shift), point.rounding, float(point.taps[0]), point.modulus, low, high])
    return np.array(rows, dtype=np.float64)


def _level_zero(point: NestedRatePoint, unit: float) -> float:
    """What level 0 stands for: the mean of the integers it holds, averaged over levels.

    Filtered sources are multiples of the taps' greatest common divisor; with steps of many LSB the second term is small.
    """
    grain = math.gcd(*(int(tap) for tap in point.taps), 1 << point.shift)
    middle = 0.5 * (1 << point.shift) - point.rounding
    return (middle - 0.5 * grain + point.rounding % grain) / unit


def nearest_table(model: Model) -> np.ndarray:
    """Rate points for `decoders.nearest`: u is the source, or the filtered source divided by |tap[0]|."""
    rows = []
    for point in model.node.rate_points:
        unit = float(point.taps[0]) if len(point.taps) == 1 else abs(float(point.taps[0]))
        low, high = _level_range(point)
        rows.append([(1 << point.shift) / unit, _level_zero(point, unit), point.modulus, low, high])
    return np.array(rows, dtype=np.float64)


def side_filter(model: Model, decoder: str) -> SideFilter:
    if model.side_filter is None:
        raise InputError(f"decoder {decoder}: the model has no side filter")
    return model.side_filter


def max_error_lsb(model: Model) -> float:
    """-1 if the model promises nothing; otherwise with a hair more, so that an exact number of LSB stays one."""
    return -1.0 if model.max_error is None else model.max_error / model.node.scale + 1e-6


class Posterior:
    """State: the past of the side window."""

    def __init__(self, model: Model) -> None:
        moments = side_filter(model, "posterior")
        self._windows = Windows(moments, (len(moments.mean) - 1) // moments.taps)
        self._mean = float(moments.mean[0])
        self._points = cell_table(model, "posterior")
        self._max_error = max_error_lsb(model)
        self.neighbours = self._windows.neighbours

    def initial_state(self) -> np.ndarray:
        return self._windows.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        predicted, variances, past = self._windows.predict(state, side.values, side.sigmas)
        out = Decoded.empty(indices.values.size)
        posterior.posterior(
            indices.values, indices.rate_points, self._points, self._mean, predicted, variances, self._max_error,
            out.values, out.sigmas, out.flags, out.levels,
        )  # fmt: skip
        return out, past


class Nearest:
    """State: the past of the side window, then the last resolved u and their variances, for the output filter."""

    def __init__(self, model: Model) -> None:
        moments = side_filter(model, "nearest")
        self._windows = Windows(moments, (len(moments.mean) - 1) // moments.taps)
        self._mean_u = float(moments.mean[0])
        self._mean_x = source_mean(model, self._mean_u)
        self._taps = np.array(moments.output_taps, dtype=np.float64)
        variances = [[self._cell_variance(row)] for row in nearest_table(model)]
        self._points = np.hstack([nearest_table(model), variances])
        self._max_error = max_error_lsb(model)
        self._cells = cell_table(model, "nearest with max_error") if self._max_error >= 0 else None
        self._output = self._mean_u, self._taps, self._taps * self._taps, self._mean_x
        self._past_shape = self._windows.neighbours, self._windows.taps - 1
        self.neighbours = self._windows.neighbours

    def _cell_variance(self, row: np.ndarray) -> float:
        """Of the right cell, plus what the candidates next to it contribute when they win."""
        step, modulus = abs(float(row[nearest.LEVEL_STEP])), int(row[nearest.BINS])
        wrong = wrong_cell_probability(math.sqrt(self._windows.variance), step, modulus)
        return step * step / 12 + wrong * (modulus * step) ** 2

    def initial_state(self) -> np.ndarray:
        return np.concatenate([self._windows.initial_state(), np.zeros(2 * (self._taps.size - 1))])

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        out, after, windows = Decoded.empty(indices.values.size), state.copy(), self._windows
        past = after[: windows.state_size].reshape(self._past_shape)
        held = after[windows.state_size :].reshape(2, self._taps.size - 1)
        at, samples = 0, indices.values.size
        while at < samples:
            at = nearest.decode(
                past, held, indices.values, indices.rate_points, self._points, side.values, side.sigmas, windows.mean,
                windows.limit, windows.weights, windows.constant, *self._output, at,
                out.values, out.sigmas, out.flags, out.levels,
            )  # fmt: skip
            if at < samples:
                at = self._run_gaps(past, held, indices, side, slice(at, min(at + nearest.BLOCK, samples)), out)
        if self._cells is not None:
            nearest.keep_in_cells(out.levels, indices.rate_points, self._cells, self._max_error, out.values)
        return out, after

    def _run_gaps(
        self, past: np.ndarray, held: np.ndarray, indices: StreamIndices, side: SideInformation, span: slice, out: Decoded
    ) -> int:
        """A block where some side information is missing; `past` and `held` change."""
        predicted, variances, after = self._windows.predict(past, side.values[span], side.sigmas[span])
        past[:] = after.reshape(past.shape)
        scratch = held.shape[1] + predicted.size
        nearest.settle(
            held, indices.values[span], indices.rate_points[span], self._points, predicted, variances, *self._output,
            np.empty(scratch), np.empty(scratch), out.values[span], out.sigmas[span], out.flags[span], out.levels[span],
        )  # fmt: skip
        return int(span.stop)


def source_mean(model: Model, mean_u: float) -> float:
    """Mean of the source, from that of the filtered source; from the state space if the filter removes means."""
    if model.node.taps == 1:
        return mean_u
    taps = model.node.rate_points[0].taps.astype(np.float64)
    gain = float(taps.sum() / abs(taps[0]))
    if abs(gain) > 1e-6:
        return mean_u / gain
    return float(model.state_space.mean[0]) if model.state_space is not None else 0.0


class Kalman:
    """State: the belief of `codec.state_space`."""

    def __init__(self, model: Model) -> None:
        self._predictor = Predictor(require_state_space(model))
        self._kernel, _ = kalman.kernels(*self._predictor.sizes)
        self._points = cell_table(model, "kalman")
        self._max_error = max_error_lsb(model)
        self.neighbours = self._predictor.neighbours

    def initial_state(self) -> np.ndarray:
        return self._predictor.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        out, belief, p = Decoded.empty(indices.values.size), state.copy(), self._predictor
        self._kernel(
            belief, *p.tables, indices.values, indices.rate_points, self._points, side.values, side.sigmas,
            self._max_error, out.values, out.sigmas, out.flags, out.levels,
        )  # fmt: skip
        return out, belief


def packet_turns(model: Model, levels: np.ndarray, rate_points: np.ndarray) -> np.ndarray:
    """The turns of SPEC 3.1 that resolved levels stand for."""
    moduli = np.array([point.modulus for point in model.node.rate_points], dtype=np.int64)
    return (levels.astype(np.int64) + 32768) // moduli[rate_points]
