"""Fit `decoders.refinement`: joint moments, then the density around the prediction, all through the real stream.

Moments come from the samples whose window lies inside one run of reconstructions; the scale and the degrees of freedom are the ones with the
least distortion after cutting to the cells. Whether neighbours are used at all is decided on held-out rows: on slow data own samples
alone are often better, and a model that is not needed cannot mislead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_wz.decoders.refinement import OWN_REACH, SIDE_REACH, Weights, refine
from edge_wz.errors import DesignError
from edge_wz.model import RefinementModel, frozen

DEGREES = (3.0, 5.0, 10.0, 100.0)
GAINS = (0.0, 0.3, 0.6, 1.0, 1.5)
BASES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
GRID_SAMPLES = 40_000


@dataclass(frozen=True, eq=False)
class Stream:
    """A decoded stream beside the truth. All (T,): x, recon, low, high in LSB, `starts` marks the first slot of each packet; side: (T, m), NaN missing.

    `known` marks slots with a received cell; others (absent, lost) are neither used nor refined.
    """

    x: np.ndarray
    recon: np.ndarray
    low: np.ndarray
    high: np.ndarray
    starts: np.ndarray
    known: np.ndarray
    side: np.ndarray

    def rows(self, part: slice) -> Stream:
        return Stream(*(getattr(self, name)[part] for name in ("x", "recon", "low", "high", "starts", "known", "side")))

    def without_side(self) -> Stream:
        return replace(self, side=self.side[:, :0])


def reach(known: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(past, future): own samples known without a gap before each slot, and after it up to the end of its packet; at most OWN_REACH."""
    samples = known.shape[0]
    index = np.arange(samples)
    gap = np.maximum.accumulate(np.where(known, -1, index))
    past = np.minimum(index - 1 - np.concatenate([[-1], gap[:-1]]), OWN_REACH)
    next_gap = np.minimum.accumulate(np.where(known, samples, index)[::-1])[::-1]
    next_gap = np.concatenate([next_gap[1:], [samples]])
    next_start = np.minimum.accumulate(np.where(starts, index, samples)[::-1])[::-1]
    next_start = np.concatenate([next_start[1:], [samples]])
    future = np.minimum(np.minimum(next_gap, next_start) - 1 - index, OWN_REACH)
    return np.maximum(past, 0), np.maximum(future, 0)


def side_mask(side: np.ndarray, past: np.ndarray, future: np.ndarray) -> np.ndarray:
    """Bit j: every sample of neighbour j that the window of this slot would read exists."""
    samples, neighbours = side.shape
    mask = np.zeros(samples, dtype=np.int64)
    for j in range(neighbours):
        missing = np.concatenate([[0], np.cumsum(np.isnan(side[:, j]))])
        index = np.arange(samples)
        first = np.maximum(index - np.minimum(past, SIDE_REACH), 0)
        last = np.minimum(index + np.minimum(future, SIDE_REACH), samples - 1)
        mask |= (missing[last + 1] == missing[first]).astype(np.int64) << j
    return mask


def apply(model: RefinementModel, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Refined values and variances in LSB; slots that are not known keep `recon`."""
    past, future = reach(stream.known, stream.starts)
    mask = side_mask(stream.side, past, future)
    side = np.nan_to_num(stream.side)
    value, variance = refine(
        model, Weights(model), stream.recon, stream.low, stream.high, side, past, future, mask
    )
    return np.where(stream.known, value, stream.recon), np.where(stream.known, variance, np.nan)


def fit(stream: Stream) -> RefinementModel:
    """Fit on the first three quarters, choose own-only or with neighbours on the last. Raises DesignError when too short."""
    samples = stream.x.shape[0]
    cut = samples * 3 // 4
    if cut < 40 * (1 + 2 * OWN_REACH):
        raise DesignError(f"refinement needs at least {(40 * (1 + 2 * OWN_REACH) * 4 + 2) // 3} samples, there are {samples}")
    train, held = stream.rows(slice(0, cut)), stream.rows(slice(cut, samples))
    own = _fit_one(train.without_side())
    if stream.side.shape[1] == 0:
        return own
    both = _fit_one(train)
    own_error = distortion(own, held.without_side())
    return both if distortion(both, held) < own_error else _ignore_side(own, stream.side.shape[1])


def distortion(model: RefinementModel, stream: Stream) -> float:
    value, _ = apply(model, stream)
    return float(np.mean((value - stream.x)[stream.known] ** 2))


def _ignore_side(own: RefinementModel, neighbours: int) -> RefinementModel:
    """The own-only model with room for neighbours whose covariance with everything is zero."""
    size = 1 + 2 * OWN_REACH + neighbours * (2 * SIDE_REACH + 1)
    cov = np.eye(size)
    cov[: own.cov.shape[0], : own.cov.shape[0]] = own.cov
    mean = np.concatenate([own.mean, np.zeros(size - own.mean.size)])
    return replace(own, neighbours=neighbours, mean=frozen(mean, np.float64), cov=frozen(cov, np.float64))


def _features(stream: Stream) -> np.ndarray:
    """(rows, F): x and all features of the slots whose whole window is known."""
    span = OWN_REACH
    samples = stream.x.shape[0]
    index = np.arange(span, samples - span)
    columns = [stream.x[index]]
    columns += [stream.recon[index + i] for i in range(-OWN_REACH, OWN_REACH + 1) if i]
    for j in range(stream.side.shape[1]):
        columns += [stream.side[index + i, j] for i in range(-SIDE_REACH, SIDE_REACH + 1)]
    unknown = np.concatenate([[0], np.cumsum(~stream.known)])
    whole = unknown[index + span + 1] == unknown[index - span]
    table = np.stack(columns, axis=1)[whole]
    return table[~np.isnan(table).any(axis=1)]


def _fit_one(stream: Stream) -> RefinementModel:
    table = _features(stream)
    features = table.shape[1]
    if table.shape[0] < 10 * features:
        raise DesignError(f"refinement needs {10 * features} complete windows, the recording has {table.shape[0]}")
    mean = table.mean(axis=0)
    cov = np.cov(table.T)
    spread = float(np.sqrt(np.mean((stream.high - stream.low)[stream.known] ** 2) / 12))
    model = RefinementModel(
        stream.side.shape[1], frozen(mean, np.float64), frozen(cov, np.float64), spread, 0.0, spread, 5.0
    )
    return _fit_density(model, stream.rows(slice(0, GRID_SAMPLES)))


def _fit_density(model: RefinementModel, stream: Stream) -> RefinementModel:
    residual = stream.x - _prediction(model, stream)
    unit = float(np.std(residual[stream.known]))
    best, least = model, np.inf
    for degrees in DEGREES:
        for gain in GAINS:
            for base in BASES:
                trial = replace(model, scale_base=base * unit, scale_gain=gain, scale_alone=unit, degrees=degrees)
                error = distortion(trial, stream)
                if error < least:
                    best, least = trial, error
    return best


def _prediction(model: RefinementModel, stream: Stream) -> np.ndarray:
    from edge_wz.decoders.refinement import predict

    past, future = reach(stream.known, stream.starts)
    pattern, rows = Weights(model).rows(past, future, side_mask(stream.side, past, future))
    mean = np.empty(stream.x.shape[0])
    predict(stream.recon, np.nan_to_num(stream.side), pattern, rows, mean)
    return mean
