"""Design of `nested` without gradients: step and modulus of each rate point, and the tables of all three decoders.

The node gets no filter: it rounds and keeps the low bits, and the decoder's own model does the rest (`training.nested` learns
filters). The step of a rate point is searched on the real quantiser and decoder. Two guards keep the search from trusting a
stretch in which the rare wrong candidate happened not to occur: at least `expected_mse`, what the decoder itself states, is
charged; and it is charged per `wrong_floor`, a tail extrapolated from the innovations, for decoders that state no such risk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_wz.codec.bounds import widest_cell_lsb, wrong_cell_probability
from edge_wz.errors import DesignError
from edge_wz.formats.blob import make_nested
from edge_wz.formats.layout import MAX_CODED_MODULUS, MAX_MODULUS, MAX_SHIFT
from edge_wz.model import Model, SideFilter, StateSpace, frozen
from training.material import Figures, Material, measure
from training.state_space import prediction_variance, source_surprises

RANGE_SIGMAS = {1: 4.0, 2: 5.5, 3: 7.0, 4: 8.0, 5: 9.0}  # modulo range over the spread of the prediction error, to start from
GRID = 1.18
MAX_STEPS_OUT = 12
REFINEMENTS = 3
TUNE_SAMPLES = 400_000
TAIL_EXCESSES = 30  # samples a tail is read from before it is extrapolated
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
    """(modulus, shift, rounding, [tap]): round to the nearest multiple of `step_lsb`, with the finest reciprocal an int32 allows."""
    shift = MAX_SHIFT
    while True:
        tap = max(1, round(2**shift / step_lsb))
        if tap * 32768 + (1 << (shift - 1)) < 2**31:
            return modulus, shift, 1 << (shift - 1), [tap]
        shift -= 1


def bounded_point(width_lsb: int, modulus: int) -> tuple[int, int, int, list[int]]:
    """The same with no cell of more than `width_lsb` codes: the reciprocal is rounded up where rounding it down would widen one."""
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
        node=node, decoder=parts.decoder, side=tuple(f"y{k}" for k in range(material.side.shape[1])),
        max_error=parts.max_error, state_space=parts.space, side_filter=parts.side_filter,
    )


def tuned_point(parts: NestedParts, material: Material, rate: float) -> tuple[int, int, int, list[int]]:
    """The rate point of `rate` bits with the step of least distortion."""
    modulus = round(2**rate)
    if not 2 <= modulus <= MAX_MODULUS or (modulus & (modulus - 1) and modulus > MAX_CODED_MODULUS):
        raise DesignError(f"a rate of {rate:g} bits needs {modulus} bins; nested has 2 to {MAX_CODED_MODULUS}")
    tuning = material.part(max(0, len(material.codes) - TUNE_SAMPLES), len(material.codes))
    start = _first_step(parts.space, rate, modulus)
    step = _search(lambda s: _charge(parts, tuning, s, modulus), max(start, 1.0))
    return nested_point(step, modulus)


def _first_step(space: StateSpace, rate: float, modulus: int) -> float:
    """Range = factor x spread of the prediction error, whose own past is known up to the step's noise: a fixed point."""
    factor = RANGE_SIGMAS.get(max(1, min(5, round(rate))), 9.0)
    step = 0.0
    for _ in range(3):
        step = factor * np.sqrt(prediction_variance(space, step * step / 12)) / modulus
    return float(step)


def _search(charge, start: float) -> float:  # type: ignore[no-untyped-def]
    """Walk a geometric grid until the charge has turned, then refine around the least; steps below one LSB gain nothing."""
    known: dict[float, float] = {}

    def cost(log_step: float) -> float:
        key = round(max(log_step, 0.0), 6)
        if key not in known:
            known[key] = charge(float(np.exp(key)))
        return known[key]

    width, best = np.log(GRID), np.log(start)
    for direction in (1, -1):
        for _ in range(MAX_STEPS_OUT):
            following = best + direction * width
            if cost(following) >= cost(best):
                break
            best = following
    for _ in range(REFINEMENTS):
        width /= 2
        best = min((best, best - width, best + width), key=cost)
    return float(np.exp(max(best, 0.0)))


def _charge(parts: NestedParts, material: Material, step: float, modulus: int) -> float:
    model = build(parts, material, [nested_point(step, modulus)])
    if parts.decoder == "nearest":
        model = with_output_filter(model, material)
    figures = measure(model, material)
    if parts.decoder == "nearest":
        return max(figures.mse, _nearest_floor(figures, model, material, step, modulus))
    return max(figures.mse, figures.expected_mse)


def _nearest_floor(figures: Figures, model: Model, material: Material, step: float, modulus: int) -> float:
    """Distortion of the samples that were resolved rightly, plus the Gaussian chance of a wrong turn times its square."""
    assert model.side_filter is not None
    sigma = float(np.sqrt(side_variance(model.side_filter)))
    wrong = wrong_cell_probability(sigma, step, modulus)
    gain = float(np.sum(np.square(model.side_filter.output_taps)))
    errors = np.square(figures.reconstruction.values - material.values)[material.present]
    typical = float(np.mean(errors[errors < (0.5 * modulus * step * material.scale) ** 2])) if len(errors) else 0.0
    return typical + wrong * gain * (modulus * step * material.scale) ** 2


def smallest_modulus(parts: NestedParts, material: Material, step: float, probability: float) -> tuple[int, float]:
    """The smallest J whose wrong-cell probability stays below `probability`, and the probability it has."""
    surprises, variances = innovations(parts, material, step * step / 12)
    reach = max(tail_quantile(np.abs(surprises), probability), gaussian_reach(float(np.median(variances)), step, probability))
    levels = int(65536 / step) + 1
    modulus = min(max(2, int(np.ceil(2 * reach / step)) + 1), levels)
    if modulus > MAX_CODED_MODULUS:
        modulus = min(1 << (modulus - 1).bit_length(), MAX_MODULUS)
    half = 0.5 * (modulus - 1) * step
    measured = float(np.mean(np.abs(surprises) > half))
    gaussian = wrong_cell_probability(float(np.sqrt(np.median(variances))), step, modulus)
    return modulus, max(measured, gaussian, min(probability, 1 / len(surprises)))


def innovations(parts: NestedParts, material: Material, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """What the default decoder cannot foresee, in LSB, of the samples that are there; and what it expects of it."""
    if parts.decoder == "kalman":
        surprises, variances = source_surprises(parts.space, np.column_stack([material.in_codes, material.side]), noise)
    else:
        surprises = material.in_codes - _side_prediction(parts.side_filter, material)
        variances = np.full(len(surprises), side_variance(parts.side_filter))
    there = ~np.isnan(surprises)
    return surprises[there], variances[there]


def tail_quantile(magnitudes: np.ndarray, probability: float) -> float:
    """The magnitude exceeded with `probability`: read from the samples, below 30 of them extrapolated as an exponential tail."""
    n = len(magnitudes)
    if probability * n >= TAIL_EXCESSES:
        return float(np.quantile(magnitudes, 1 - probability))
    top = np.sort(magnitudes)[-min(n, TAIL_EXCESSES + 1) :]
    excess = float(np.mean(top[1:] - top[0]))
    return float(top[0] + excess * np.log(max(TAIL_EXCESSES / (n * probability), 1.0)))


def gaussian_reach(variance: float, step: float, probability: float) -> float:
    low, high = 0.0, 40 * np.sqrt(variance) + step
    for _ in range(60):
        middle = 0.5 * (low + high)
        chance = wrong_cell_probability(float(np.sqrt(variance)), step, 1 + int(np.ceil(2 * middle / step)))
        low, high = (middle, high) if chance > probability else (low, middle)
    return high


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
        raise DesignError(f"{len(whole)} samples have all neighbours over {taps} samples, the side filter needs {needed}")
    mean, cov = whole.mean(axis=0), np.cov(whole.T).reshape(rows.shape[1], rows.shape[1])
    cov = cov + SIDE_RIDGE * np.diag(np.diag(cov))
    return SideFilter(taps, frozen(mean, np.float64), frozen(cov, np.float64), frozen([1.0], np.float64))


def side_variance(moments: SideFilter) -> float:
    """Variance of the source, in LSB^2, given the whole window of side information."""
    cross = moments.cov[0, 1:]
    explained = cross @ np.linalg.lstsq(moments.cov[1:, 1:], cross, rcond=1e-13)[0] if len(cross) else 0.0
    return float(max(moments.cov[0, 0] - explained, 1e-6))


def _side_prediction(moments: SideFilter, material: Material) -> np.ndarray:
    weights = np.linalg.lstsq(moments.cov[1:, 1:], moments.cov[0, 1:], rcond=1e-13)[0] if len(moments.mean) > 1 else np.zeros(0)
    predicted = np.full(len(material.codes), moments.mean[0])
    for k, weight in enumerate(weights):
        neighbour, lag = material.side[:, k // moments.taps], k % moments.taps
        shifted = np.concatenate([np.full(lag, np.nan), neighbour[: len(neighbour) - lag]])
        predicted = predicted + weight * (shifted - moments.mean[1 + k])
    return predicted


def with_output_filter(model: Model, material: Material, taps: int = OUTPUT_TAPS) -> Model:
    """The filter c of `nearest` by least squares on the levels it resolves, over all rate points."""
    assert model.side_filter is not None
    plain = replace(model, side_filter=replace(model.side_filter, output_taps=frozen([1.0], np.float64)), max_error=None)
    gram, cross = np.zeros((taps, taps)), np.zeros(taps)
    mean = model.side_filter.mean[0] * material.scale + material.offset
    for point in range(len(model.node.rate_points)):
        resolved = measure(plain, material, point, "nearest").reconstruction.values - mean
        lagged = np.column_stack([np.concatenate([np.zeros(lag), resolved[: len(resolved) - lag]]) for lag in range(taps)])
        wanted = material.values - mean
        rows = material.present
        gram += lagged[rows].T @ lagged[rows]
        cross += lagged[rows].T @ wanted[rows]
    taps_c = np.linalg.lstsq(gram, cross, rcond=1e-12)[0]
    return replace(model, side_filter=replace(model.side_filter, output_taps=frozen(taps_c, np.float64)))


def check_width(model: Model, width_lsb: int) -> None:
    """A bound is only promised where every cell keeps it."""
    for point in range(len(model.node.rate_points)):
        if widest_cell_lsb(model.node, point) > width_lsb:
            raise DesignError(f"no reciprocal of {width_lsb} LSB fits 32 bits: choose another maximal error")
