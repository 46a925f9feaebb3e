"""Design of `nested` without gradients: step and modulus of each rate point, and the tables of all three decoders.

The node gets no filter: it rounds and keeps the low bits, and the decoder's own model does the rest
(`training.nested` learns
filters). The step of a rate point is searched on the real quantiser and decoder. Two guards keep the search from
trusting a
stretch in which the rare wrong candidate happened not to occur: at least what the decoder itself states as its error is
charged, and where fewer than TAIL_EXCESSES innovations lie outside the modulo range, an exponential tail beyond the
largest ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_wz.codec.bounds import widest_cell_lsb, wrong_cell_probability
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError
from edge_wz.formats.blob import make_nested
from edge_wz.formats.layout import MAX_CODED_MODULUS, MAX_MODULUS, MAX_SHIFT
from edge_wz.model import Model, SideFilter, StateSpace, frozen
from training.material import Material, bins_of, measure, stream_of
from training.state_space import faded, prediction_variance, source_surprises

RANGE_SIGMAS = {
    1: 4.0,
    2: 5.5,
    3: 7.0,
    4: 8.0,
    5: 9.0,
}  # modulo range over the spread of the prediction error, to start from
COARSE_GRID = 1.35
LOWEST_START = 0.6  # of the first step: where the scan begins
FULL_RANGE = 1.1  # of the recording's own range: modulo never folds there
REFINEMENTS = 4
TUNE_SAMPLES = 400_000
LADDER_SAMPLES = 20_000
LADDER = tuple((memory, inflation) for memory in (1.0, 0.9, 0.5, 0.0) for inflation in (1.0, 3.0))
TRUST = 1.3  # mean square error over what the decoder expects
TAIL_EXCESSES = 10  # samples a tail is read from before it is extrapolated
MODULUS_GROWTH = 1.25
HEALING_SAMPLES = 256
HEALING_TRIALS = 12
OVERLOADS = 1e-3  # wrong cells per sample that a model has to be prepared for, seen in the recording or not
HEALED = 5.0  # times the charge: an error that costs no more in the second half of HEALING_SAMPLES was forgotten in the first
OUTPUT_TAPS = 5
SIDE_RIDGE = 1e-9


@dataclass(frozen=True, eq=False)
class NestedParts:
    """What all rate points share. `space` with the source in codes."""

    space: StateSpace
    side_filter: SideFilter
    decoder: str
    packet_samples: int
    level_check_bits: int
    hello_every: int
    max_error: float | None = None


def nested_point(step_lsb: float, modulus: int) -> tuple[int, int, int, list[int]]:
    """(modulus, shift, rounding, [tap]): round to the nearest multiple of `step_lsb`, with the finest reciprocal an
    int32 allows."""
    shift = MAX_SHIFT
    while True:
        tap = max(1, round(2**shift / step_lsb))
        if tap * 32768 + (1 << (shift - 1)) < 2**31:
            return modulus, shift, 1 << (shift - 1), [tap]
        shift -= 1


def bounded_point(width_lsb: int, modulus: int) -> tuple[int, int, int, list[int]]:
    """The same with no cell of more than `width_lsb` codes: the reciprocal is rounded up where rounding it down would
    widen one."""
    _, shift, rounding, (tap,) = nested_point(width_lsb, modulus)
    if tap * width_lsb < 1 << shift:
        tap += 1
    if tap * 32768 + rounding >= 2**31:
        shift, rounding, tap = shift - 1, rounding >> 1, -(-(1 << (shift - 1)) // width_lsb)
    return modulus, shift, rounding, [tap]


def build(parts: NestedParts, material: Material, points: list[tuple[int, int, int, list[int]]]) -> Model:
    """A bare model of these rate points."""
    node = make_nested(
        parts.packet_samples, parts.hello_every, parts.level_check_bits, material.scale, material.offset, points
    )
    return Model(
        node=node,
        decoder=parts.decoder,
        side=tuple(f"y{k}" for k in range(material.side.shape[1])),
        max_error=parts.max_error,
        state_space=parts.space,
        side_filter=parts.side_filter,
    )


def check_rate(rate: float) -> int:
    """The number of bins of `rate` bits."""
    modulus = round(2**rate)
    if not 2 <= modulus <= MAX_MODULUS or (modulus & (modulus - 1) and modulus > MAX_CODED_MODULUS):
        raise DesignError(f"a rate of {rate:g} bits needs {modulus} bins; nested has 2 to {MAX_CODED_MODULUS}")
    return modulus


def trusted(parts: NestedParts, material: Material, modulus: int) -> NestedParts:
    """The state space as identified if the decoder's own sigmas are right with it, else the rung of LADDER that
    decodes best.

    A recursive decoder that believes a wrong candidate stays wrong; real tails are heavier than Gaussian ones. Less
    memory, or more
    noise, costs rate and heals that. Whether an error is forgotten is asked of the samples well after it: at high rates the first one alone
    costs more than all those that are right.
    """
    if parts.decoder != "kalman":
        return parts
    trial = _tail_of(material, LADDER_SAMPLES)
    alone = not trial.side.shape[1]  # then nothing could tell a wrong cell
    best, best_cost = parts, np.inf
    for memory, inflation in LADDER:
        candidate = replace(parts, space=faded(parts.space, memory, inflation))
        step, cost = _search(candidate, trial, modulus)
        model = build(candidate, trial, [nested_point(step, modulus)])
        if (memory, inflation) == LADDER[0]:
            figures = measure(model, _tail_of(material, TUNE_SAMPLES))  # the rare wrong cell would decide on fewer
            kept = 0.0 if alone else healing_mse(model, trial, HEALING_SAMPLES // 2)
            if figures.mse < TRUST * figures.expected_mse and kept < HEALED * cost:
                return parts
        cost += 0.0 if alone else OVERLOADS * HEALING_SAMPLES * healing_mse(model, trial)
        if cost < best_cost:
            best, best_cost = candidate, cost
    return best


def healing_mse(model: Model, material: Material, after: int = 0) -> float:
    """Mean square error over the HEALING_SAMPLES after a sample that was resolved one modulo range too high or too
    low, the first `after` of them left out."""
    engine, point = Decoder(model, "kalman"), model.node.rate_points[0]
    bins, _ = bins_of(point, material.codes, material.present)
    state, total, count = engine.initial_state(), 0.0, 0
    block = max(len(bins) // HEALING_TRIALS, 2 * HEALING_SAMPLES)
    for first in range(0, len(bins) - HEALING_SAMPLES, block):
        span = slice(first, first + HEALING_SAMPLES)
        for sign in (-1.0, 1.0) if first else ():
            wrong = displaced(model, state, sign * point.modulus * point.step)
            result, _ = engine.reconstruct(wrong, stream_of(bins[span]), SideInformation.of(material.side[span]))
            errors = (result.values - material.values[span])[after:][material.present[span][after:]]
            total, count = total + float(errors @ errors), count + len(errors)
        whole = slice(first, first + block)
        _, state = engine.reconstruct(state, stream_of(bins[whole]), SideInformation.of(material.side[whole]))
    return total / max(count, 1)


def displaced(model: Model, state: np.ndarray, error: float) -> np.ndarray:
    """The belief `state`, had its last source sample been taken for one that is `error` LSB higher."""
    space = model.state_space
    assert space is not None
    d = len(space.A)
    covariance, own = state[d : d + d * d].reshape(d, d), space.C[0]
    gain = (space.A @ covariance @ own + space.S[:, 0]) / (own @ covariance @ own + space.R[0, 0])
    moved = state.copy()
    moved[:d] += gain * error
    return moved


def tuned_point(parts: NestedParts, material: Material, modulus: int) -> tuple[int, int, int, list[int]]:
    """The rate point of `modulus` bins with the step of least distortion."""
    step, _ = _search(parts, _tail_of(material, TUNE_SAMPLES), modulus)
    return nested_point(step, modulus)


def _tail_of(material: Material, samples: int) -> Material:
    return material.part(max(0, len(material.codes) - samples), len(material.codes))


def _first_step(space: StateSpace, modulus: int) -> float:
    """Range = factor x spread of the prediction error, whose own past is known up to the step's noise: a fixed
    point."""
    factor = RANGE_SIGMAS[max(1, min(5, round(np.log2(modulus))))]
    step = 0.0
    for _ in range(3):
        step = factor * np.sqrt(prediction_variance(space, step * step / 12)) / modulus
    return float(max(step, 1.0))


def _search(parts: NestedParts, material: Material, modulus: int) -> tuple[float, float]:
    """Step and charge. A coarse scan up to the step that needs no decoder at all, since too small a step is a plateau
    without slope; then
    a finer one around the best. Steps below one LSB gain nothing.
    """
    start = _first_step(parts.space, modulus)
    tail = Tail.of(np.abs(innovations(parts, material, start * start / 12)[0]))
    known: dict[float, float] = {}

    def cost(log_step: float) -> float:
        key = round(max(log_step, 0.0), 6)
        if key not in known:
            known[key] = _charge(parts, material, float(np.exp(key)), modulus, tail)
        return known[key]

    present = material.codes[material.present].astype(np.int64)
    widest = max(float(np.ptp(present)) * FULL_RANGE / modulus, 1.0)
    low = np.log(max(start * LOWEST_START, 1.0))
    count = max(2, int(np.ceil((np.log(max(widest, np.exp(low))) - low) / np.log(COARSE_GRID))) + 1)
    width = np.log(COARSE_GRID)
    best = min((low + k * width for k in range(count)), key=cost)
    for _ in range(REFINEMENTS):
        width /= 2
        best = min((best, best - width, best + width), key=cost)
    return float(np.exp(max(best, 0.0))), cost(best)


def _charge(parts: NestedParts, material: Material, step: float, modulus: int, tail: Tail) -> float:
    model = build(parts, material, [nested_point(step, modulus)])
    if parts.decoder == "nearest":
        model = with_output_filter(model, material)
    figures = measure(model, material)
    charge = figures.mse if parts.decoder == "nearest" else max(figures.mse, figures.expected_mse)
    reach = modulus * step
    unseen = tail.beyond(0.5 * reach)
    if unseen * tail.samples < TAIL_EXCESSES:
        errors = np.square(figures.reconstruction.values - material.values)[material.present]
        typical = float(np.mean(errors[errors < (0.5 * reach * material.scale) ** 2]))
        charge = max(charge, typical + unseen * (reach * material.scale) ** 2)
    return charge


@dataclass(frozen=True, eq=False)
class Tail:
    """Survival function of magnitudes: that of the samples, and beyond the largest few an exponential with their mean
    excess."""

    sorted_magnitudes: np.ndarray
    corner: float
    excess: float

    @staticmethod
    def of(magnitudes: np.ndarray) -> Tail:
        ordered = np.sort(magnitudes)
        top = ordered[-min(len(ordered), TAIL_EXCESSES + 1) :]
        return Tail(ordered, float(top[0]), max(float(np.mean(top - top[0])), 1e-9))

    @property
    def samples(self) -> int:
        return len(self.sorted_magnitudes)

    def beyond(self, magnitude: float) -> float:
        if magnitude <= self.corner:
            return 1.0 - float(np.searchsorted(self.sorted_magnitudes, magnitude)) / self.samples
        share = min(TAIL_EXCESSES + 1, self.samples) / self.samples
        return share * float(np.exp(-(magnitude - self.corner) / self.excess))

    def quantile(self, probability: float) -> float:
        """The magnitude exceeded with `probability`."""
        share = min(TAIL_EXCESSES + 1, self.samples) / self.samples
        if probability >= share:
            return float(np.quantile(self.sorted_magnitudes, 1 - probability))
        return self.corner + self.excess * float(np.log(share / probability))


def covering(parts: NestedParts, material: Material, step: float, probability: float) -> tuple[NestedParts, int, float]:
    """The least J, over the rungs of LADDER, whose wrong-cell probability stays below `probability` and proves so
    when decoded.

    Returns the parts with that rung's state space, J, and the probability.
    """
    rungs = LADDER if parts.decoder == "kalman" else LADDER[:1]
    best: tuple[NestedParts, int, float] | None = None
    for memory, inflation in rungs:
        candidate = (
            parts if (memory, inflation) == LADDER[0] else replace(parts, space=faded(parts.space, memory, inflation))
        )
        modulus, chance = _smallest_modulus(candidate, material, step, probability, best[1] if best else MAX_MODULUS)
        if best is None or modulus < best[1]:
            best = candidate, modulus, chance
    assert best is not None
    return best


def _smallest_modulus(
    parts: NestedParts, material: Material, step: float, probability: float, give_up: int
) -> tuple[int, float]:
    surprises, variances = innovations(parts, material, step * step / 12)
    tail, sigma = Tail.of(np.abs(surprises)), float(np.sqrt(np.median(variances)))
    levels = min(int(65536 / step) + 1, MAX_MODULUS)
    allowed = probability + 1 / tail.samples
    modulus = max(
        2, int(np.ceil(2 * max(tail.quantile(probability), _gaussian_reach(sigma, step, probability)) / step)) + 1
    )
    while True:
        modulus = min(_allowed_modulus(modulus), levels)
        chance = max(tail.beyond(0.5 * (modulus - 1) * step), wrong_cell_probability(sigma, step, modulus))
        if modulus >= min(levels, give_up):
            return modulus, chance
        model = build(parts, material, [nested_point(step, modulus)])
        wrong = measure(model, material).wrong_cells
        if wrong <= allowed and _heals(parts, model, material, step):
            return modulus, max(chance, wrong)
        modulus = int(modulus * MODULUS_GROWTH) + 1


def _heals(parts: NestedParts, model: Model, material: Material, step: float) -> bool:
    """Whether a wrong cell is forgotten within a quarter of the stretch that is looked at."""
    reach = model.node.rate_points[0].modulus * step * material.scale
    alone = not material.side.shape[1]  # then nothing could tell a wrong cell
    return alone or parts.decoder != "kalman" or healing_mse(model, material) < 0.25 * reach * reach


def _allowed_modulus(modulus: int) -> int:
    return modulus if modulus <= MAX_CODED_MODULUS else 1 << (modulus - 1).bit_length()


def _gaussian_reach(sigma: float, step: float, probability: float) -> float:
    low, high = 0.0, 40 * sigma + step
    for _ in range(60):
        middle = 0.5 * (low + high)
        chance = wrong_cell_probability(sigma, step, 1 + int(np.ceil(2 * middle / step)))
        low, high = (middle, high) if chance > probability else (low, middle)
    return high


def innovations(parts: NestedParts, material: Material, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """What the default decoder cannot foresee, in LSB, of the samples that are there; and what it expects of it."""
    if parts.decoder == "kalman":
        surprises, variances = source_surprises(parts.space, np.column_stack([material.in_codes, material.side]), noise)
    else:
        surprises = material.in_codes - _side_prediction(parts.side_filter, material)
        variances = np.full(len(surprises), side_variance(parts.side_filter))
    there = ~np.isnan(surprises)
    return surprises[there], variances[there]


def fit_side_filter(material: Material, taps: int) -> SideFilter:
    """Joint second moments of the source in LSB and the last `taps` samples of each neighbour."""
    columns = [material.in_codes]
    for neighbour in material.side.T:
        for lag in range(taps):
            columns.append(np.concatenate([np.full(lag, np.nan), neighbour[: len(neighbour) - lag]]))
    rows = np.column_stack(columns)
    whole = rows[~np.isnan(rows).any(axis=1)]
    needed = 10 * rows.shape[1]
    if len(whole) < needed:
        raise DesignError(
            f"{len(whole)} samples have all neighbours over {taps} samples, the side filter needs {needed}"
        )
    mean, cov = whole.mean(axis=0), np.cov(whole.T).reshape(rows.shape[1], rows.shape[1])
    cov = cov + SIDE_RIDGE * np.diag(np.diag(cov))
    return SideFilter(taps, frozen(mean, np.float64), frozen(cov, np.float64), frozen([1.0], np.float64))


def side_variance(moments: SideFilter) -> float:
    """Variance of the source, in LSB^2, given the whole window of side information."""
    cross = moments.cov[0, 1:]
    explained = cross @ np.linalg.lstsq(moments.cov[1:, 1:], cross, rcond=1e-13)[0] if len(cross) else 0.0
    return float(max(moments.cov[0, 0] - explained, 1e-6))


def _side_prediction(moments: SideFilter, material: Material) -> np.ndarray:
    weights = (
        np.linalg.lstsq(moments.cov[1:, 1:], moments.cov[0, 1:], rcond=1e-13)[0]
        if len(moments.mean) > 1
        else np.zeros(0)
    )
    predicted = np.full(len(material.codes), moments.mean[0])
    for k, weight in enumerate(weights):
        neighbour, lag = material.side[:, k // moments.taps], k % moments.taps
        shifted = np.concatenate([np.full(lag, np.nan), neighbour[: len(neighbour) - lag]])
        predicted = predicted + weight * (shifted - moments.mean[1 + k])
    return predicted


def with_output_filter(model: Model, material: Material, taps: int = OUTPUT_TAPS) -> Model:
    """The filter c of `nearest` by least squares on the levels it resolves, over all rate points."""
    assert model.side_filter is not None
    plain = replace(
        model, side_filter=replace(model.side_filter, output_taps=frozen([1.0], np.float64)), max_error=None
    )
    gram, cross = np.zeros((taps, taps)), np.zeros(taps)
    mean = model.side_filter.mean[0] * material.scale + material.offset
    for point in range(len(model.node.rate_points)):
        resolved = measure(plain, material, point, "nearest").reconstruction.values - mean
        lagged = np.column_stack(
            [np.concatenate([np.zeros(lag), resolved[: len(resolved) - lag]]) for lag in range(taps)]
        )
        wanted = material.values - mean
        rows = material.present
        weight = 1 / max(
            float(np.mean(np.square(resolved - wanted)[rows])), 1e-12
        )  # each rate point's decibels count alike
        gram += weight * lagged[rows].T @ lagged[rows]
        cross += weight * lagged[rows].T @ wanted[rows]
    taps_c = np.linalg.lstsq(gram, cross, rcond=1e-12)[0]
    return replace(model, side_filter=replace(model.side_filter, output_taps=frozen(taps_c, np.float64)))


def check_width(model: Model, width_lsb: int) -> None:
    """A bound is only promised where every cell keeps it."""
    for point in range(len(model.node.rate_points)):
        if widest_cell_lsb(model.node, point) > width_lsb:
            raise DesignError(f"no reciprocal of {width_lsb} LSB fits 32 bits: choose another maximal error")
