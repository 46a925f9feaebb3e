"""Fit `decoders.refinement`: joint moments, then the density around the prediction, all through the real stream.

Moments come from the samples whose window is whole; scale and degrees of freedom are those with the least distortion after cutting to
the cells. Further passes are fitted to the values of those before. How many pay, whether neighbours do, and whether moments are
better steadied is decided on held-out rows: on slow data own samples alone are often better, and a model that is not needed cannot mislead.

Steadied moments weigh windows by the inverse square of the scale tracked there, so that a few wild hours do not set the weights of the
quiet ones, where the cell leaves most open; time may run either way, and every value is one more cell's noise less certain. On 700
samples that is worth a tenth of the squared error. With neighbours it loses: too few windows count then.

Where a level `wanders`, every level is made as likely: weights of own values sum to 1, those of each neighbour to 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edge_wz.decoders import refinement as kernel
from edge_wz.decoders.refinement import MAX_NEIGHBOURS, OWN_REACH, SCALE_REACH, SIDE_REACH, Weights, features
from edge_wz.errors import DesignError
from edge_wz.model import RefinementModel, frozen
from training.material import wanders

PASSES = 3
HELD_OUT = 0.25
BLOCK = 32  # samples whose errors are looked at together
WINDOWS_PER_FEATURE = 10
DEGREES = (3.0, 5.0, 9.0, 17.0)
GAINS = (0.0, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
BASES = (0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4)  # of the standard deviation of the prediction errors
START = (0.3, 0.5, 5.0)  # base, gain, degrees
ROUNDS = 2
SEARCH_SAMPLES = 12_000
ANY_LEVEL = 100.0  # times the variance seen


@dataclass(frozen=True, eq=False)
class Stream:
    """A decoded stream beside the truth. All (T,): x, recon, low, high in LSB, `starts` marks the first slot of each packet; side: (T, m),
    NaN missing.

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


def apply(model: RefinementModel, stream: Stream, point: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Refined values and variances in LSB of a whole stream; slots that are not known keep `recon`, with variance NaN."""
    weights = Weights(model)
    own, errors = np.zeros((weights.passes, OWN_REACH)), np.zeros((weights.passes, SCALE_REACH))
    low, high = (np.where(stream.known, edge, np.nan) for edge in (stream.low, stream.high))
    value, variance, _ = kernel.refine(
        weights, own, errors, 0, _beside(stream), _points(stream, point), np.flatnonzero(stream.starts),
        stream.recon.astype(np.float64), low, high,
    )  # fmt: skip
    return value, np.where(stream.known, variance, np.nan)


def distortion(model: RefinementModel, stream: Stream, point: int = 0) -> float:
    value, _ = apply(model, stream, point)
    return float(np.mean((value - stream.x)[stream.known] ** 2))


def fit(*streams: Stream) -> RefinementModel:
    """One stream for each rate point, of the same samples. Passes and the use of neighbours are chosen on the last quarter, and fitted again on
    everything. Raises DesignError where that is too short."""
    samples = len(streams[0].x)
    cut = int(samples * (1 - HELD_OUT))
    train, held = ([stream.rows(part) for stream in streams] for part in (slice(0, cut), slice(cut, samples)))
    best, steadied, least = None, False, np.empty(0)
    for model, steady in _candidates(train):
        errors = _held_errors(model, held)
        if best is None or _is_less(errors, least, model.neighbours > best.neighbours):
            best, steadied, least = model, steady, errors
    assert best is not None
    whole = streams if best.neighbours else [stream.without_side() for stream in streams]
    return _fit(whole, best.density.shape[1], steadied)


def _held_errors(model: RefinementModel, held: Sequence[Stream]) -> np.ndarray:
    """Mean squared errors by run of BLOCK samples, those of each rate point in units of its cells."""
    errors = []
    for point, stream in enumerate(held):
        heard = stream if model.neighbours else stream.without_side()
        width = float(np.mean((heard.high - heard.low)[heard.known]))
        square = ((apply(model, heard, point)[0] - heard.x)[heard.known] / width) ** 2
        edges = np.arange(0, square.size, BLOCK)
        errors.append(np.add.reduceat(square, edges) / np.diff([*edges, square.size]))
    return np.concatenate(errors)


def _is_less(errors: np.ndarray, least: np.ndarray, needs_more: bool) -> bool:
    """Whether the errors are less on average; by more than their standard error where the model asks for neighbours."""
    gain = least - errors
    doubt = float(np.std(gain)) / np.sqrt(gain.size) if needs_more else 0.0
    return float(np.mean(gain)) > doubt


def _candidates(streams: Sequence[Stream]) -> list[tuple[RefinementModel, bool]]:
    """Own samples only, plain and steadied, and with neighbours; each with fewer passes too."""
    blind = [stream.without_side() for stream in streams]
    longest = [(_fit(blind, PASSES, steady), steady) for steady in (False, True)]
    if 0 < streams[0].side.shape[1] <= MAX_NEIGHBOURS:
        with suppress(DesignError):  # too short for so many features
            longest.append((_fit(streams, PASSES, False), False))
    return [(_truncated(model, passes), steady) for model, steady in longest for passes in range(1, PASSES + 1)]


def _truncated(model: RefinementModel, passes: int) -> RefinementModel:
    arrays = (frozen(array[:, :passes], np.float64) for array in (model.mean, model.cov, model.density))
    return RefinementModel(model.neighbours, *arrays)


def _fit(streams: Sequence[Stream], passes: int, steady: bool) -> RefinementModel:
    fitted = [_fit_point(stream, passes, steady) for stream in streams]
    arrays = (frozen(np.stack(rows), np.float64) for rows in zip(*fitted, strict=True))
    return RefinementModel(streams[0].side.shape[1], *arrays)


def _fit_point(stream: Stream, passes: int, steady: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moments and densities, one row for each pass."""
    means, covs, densities = [], [], []
    weight = _weight(stream, *joint_moments(stream)) if steady else None
    wandering = wanders(np.where(stream.known, stream.x, np.nan))
    for _ in range(passes):
        mean, cov = joint_moments(stream, weight)
        if wandering:
            cov = _any_level(cov)
        density, values = _fit_density(stream, mean, cov)
        means.append(mean)
        covs.append(cov)
        densities.append(density)
        if steady:
            weight = _weight(stream, mean, cov, density)
        stream = replace(stream, recon=np.where(stream.known, values, stream.recon))
    return np.stack(means), np.stack(covs), np.stack(densities)


def joint_moments(stream: Stream, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Of x and all features, over the slots whose whole window is known; steadied where `weight` (T,) says how much each counts."""
    index = np.arange(OWN_REACH, len(stream.x) - OWN_REACH)
    unknown = np.concatenate([[0], np.cumsum(~stream.known)])
    index = index[unknown[index + OWN_REACH + 1] == unknown[index - OWN_REACH]] if index.size else index
    columns = [stream.x[index]]
    columns += [stream.recon[index + i] for i in range(-OWN_REACH, OWN_REACH + 1) if i]
    for j in range(stream.side.shape[1]):
        columns += [stream.side[index + i, j] for i in range(-SIDE_REACH, SIDE_REACH + 1)]
    table = np.stack(columns)
    whole = ~np.isnan(table).any(axis=0)
    table = table[:, whole]
    needed = WINDOWS_PER_FEATURE * features(stream.side.shape[1])
    if table.shape[1] < needed:
        raise DesignError(f"refinement needs {needed} windows without a gap, the recording has {table.shape[1]}")
    if weight is None:
        return table.mean(axis=1), np.cov(table)
    counts = weight[index][whole]
    noise = float(np.mean((stream.high - stream.low)[stream.known] ** 2)) / 12
    return _steadied(np.average(table, axis=1, weights=counts), np.cov(table, aweights=counts), noise)


def _steadied(mean: np.ndarray, cov: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Of the source and own values alone: those before and after count alike, and each is less certain by `noise`."""
    mirror = np.concatenate([[0], np.arange(mean.size - 1, 0, -1)])
    cov = 0.5 * (cov + cov[np.ix_(mirror, mirror)])
    return 0.5 * (mean + mean[mirror]), cov + np.diag(noise * (mirror > 0))


def _any_level(cov: np.ndarray) -> np.ndarray:
    """The source and each neighbour at levels of their own, far wider than those seen."""
    edges = [0, *range(1 + 2 * OWN_REACH, len(cov) + 1, 2 * SIDE_REACH + 1)]
    wide = cov.copy()
    for first, last in pairwise(edges):
        wide[first:last, first:last] += ANY_LEVEL * cov[first, first]
    return wide


def _weight(stream: Stream, mean: np.ndarray, cov: np.ndarray, density: np.ndarray | None = None) -> np.ndarray:
    """(T,): the inverse square of the scale tracked at every slot, of `density` or of one fitted here."""
    density = _fit_density(stream, mean, cov)[0] if density is None else density
    single = RefinementModel(stream.side.shape[1], mean[None, None], cov[None, None], density[None, None])
    centre, past, future = _prediction(single, stream)
    scale = np.empty_like(centre)
    errors = np.concatenate([np.zeros(SCALE_REACH), np.abs(centre - stream.recon)])
    kernel.track_scale(errors, past, future, density[None, None], _points(stream), 0, scale)
    return np.maximum(scale, 1e-6) ** -2.0


def _fit_density(stream: Stream, mean: np.ndarray, cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(density, refined values) of one pass, by a search over one number after another."""
    single = RefinementModel(stream.side.shape[1], mean[None, None], cov[None, None], np.ones((1, 1, 5)))
    centre, past, future = _prediction(single, stream)
    unit = float(np.std((stream.x - centre)[stream.known])) + 1e-9
    low, high = (np.where(stream.known, edge, np.nan) for edge in (stream.low, stream.high))

    def cut(part: slice, density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale, value, variance = np.empty_like(centre[part]), stream.recon[part].astype(np.float64), np.empty_like(centre[part])
        points = np.zeros(len(scale), np.int32)
        before = np.concatenate([np.zeros(SCALE_REACH), np.abs(centre - stream.recon)[part]])
        kernel.track_scale(before, past[part].copy(), future[part].copy(), density[None, None], points, 0, scale)
        kernel.cut_student(
            centre[part].copy(), scale, density[None, None], points, 0, low[part].copy(), high[part].copy(),
            *kernel.quadrature(), value, variance,
        )  # fmt: skip
        return value, variance

    part = slice(0, SEARCH_SAMPLES)
    there, truth = stream.known[part], stream.x[part]

    def cost(numbers: tuple[float, ...]) -> float:
        return float(np.mean((cut(part, _density(numbers, unit))[0] - truth)[there] ** 2))

    density = _density(_search(cost), unit)
    values, variances = cut(slice(None), density)
    errors = np.mean((values - stream.x)[stream.known] ** 2)
    density[kernel.CALIBRATION] = errors / max(float(np.mean(variances[stream.known])), 1e-12)
    return density, values


def _density(numbers: tuple[float, ...], unit: float) -> np.ndarray:
    base, gain, degrees = numbers
    return np.array([base * unit, gain, unit, degrees, 1.0])


def _search(cost: Callable[[tuple[float, ...]], float]) -> tuple[float, ...]:
    """Coordinate descent over the grids."""
    best: tuple[float, ...] = START
    least = cost(best)
    for _ in range(ROUNDS):
        for position, grid in enumerate((BASES, GAINS, DEGREES)):
            for value in grid:
                trial = (*best[:position], value, *best[position + 1 :])
                error = cost(trial)
                if error < least:
                    best, least = trial, error
    return best


def _prediction(single: RefinementModel, stream: Stream) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a model with one pass: the predictions, and how far own values reach."""
    samples = len(stream.x)
    past, future, keys = (np.empty(samples, np.int64) for _ in range(3))
    kernel.find_reach(stream.known.copy(), np.flatnonzero(stream.starts), 0, past, future)
    beside, weights, mean = _beside(stream), Weights(single), np.empty(samples)
    kernel.find_keys(_points(stream), beside, past, future, keys)
    rows = weights.rows(keys)
    own = np.concatenate([np.zeros(OWN_REACH), stream.recon])
    kernel.predict(own, beside, rows, weights.table, 0, mean)
    return mean, past, future


def _beside(stream: Stream) -> np.ndarray:
    return np.concatenate([np.full((SIDE_REACH, stream.side.shape[1]), np.nan), stream.side])


def _points(stream: Stream, point: int = 0) -> np.ndarray:
    return np.full(len(stream.x), point, np.int32)
