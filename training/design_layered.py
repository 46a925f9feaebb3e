"""Design of `layered` for a recording or for known statistics: nested modulo as an interval table, polished by Lloyd's alternation where that wins.

    surprises of the state space -> period of nested modulo, searched on the real decoder at every depth
    -> the law of source and prediction on a grid -> `layered_lloyd` -> the table with the smaller error over all depths

What is searched is the product of the errors of all depths, as a stream may stop at any. Rate point 0 sends all layers, point 1 all but the
last, and so on: they share the table. In conditional mode packets are blocks (`training.layered_blocks`). Neither a learned start nor a network is
needed here; `training.layered` makes those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_wz.codec import layered
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError, InputError
from edge_wz.formats.blob import make_layered
from edge_wz.formats.layout import MAX_THRESHOLDS
from edge_wz.formats.sections.layered import encoder_bytes
from edge_wz.model import LayeredRatePoint, Model, SideFilter, StateSpace, frozen
from training import layered_blocks
from training import layered_lloyd as lloyd
from training.design_nested import LADDER, fit_side_filter
from training.material import Material
from training.state_space import faded, prediction_variance, source_surprises

TUNE_SAMPLES = 40_000
LADDER_SAMPLES = 10_000
PERIOD_SIGMAS = 7.0  # of the coarsest layer's prediction error, to start from
COARSE = 1.2  # between two periods of the first scan
SCAN = range(-3, 11)
REFINEMENTS = 2
MIXTURE_ROUNDS = 40
SURPRISES = 400_000  # that a law is made from
WORTH = 0.995  # of the error: below, the polished table is taken


@dataclass(frozen=True, eq=False)
class LayeredParts:
    """What all tables of a search share. `space` with the source in codes."""

    space: StateSpace
    side_filter: SideFilter
    decoder: str
    packet_samples: int
    hello_every: int
    alphabets: tuple[int, ...]
    mode: str

    @property
    def messages(self) -> int:
        return int(np.prod(self.alphabets))


def parse_layers(layers: str | Sequence[int]) -> tuple[int, ...]:
    """`2,2,2`: the alphabet of each layer, the coarsest first."""
    try:
        alphabets = tuple(int(part) for part in (layers.split(",") if isinstance(layers, str) else layers))
    except ValueError:
        raise InputError(f"layers '{layers}': alphabets with commas between, like 2,2,2") from None
    if not 1 <= len(alphabets) <= 8 or any(not 2 <= size <= 64 for size in alphabets) or np.prod(alphabets) > 256:
        raise InputError(f"layers {layers}: 1 to 8 alphabets of 2 to 64 symbols, with at most 256 messages in all")
    return alphabets


# --- tables -------------------------------------------------------------------------------------------------------


def modulo_table(period: float, alphabets: tuple[int, ...], low: int, high: int) -> LayeredRatePoint:
    """Nested modulo over the codes low .. high: the message is the place within the period, the coarse layer first."""
    messages = int(np.prod(alphabets))
    edges = np.arange(np.ceil(low * messages / period), np.floor(high * messages / period) + 1) * (period / messages)
    thresholds = np.unique(np.clip(np.ceil(edges), -32767, 32767)).astype(np.int32)
    if not 1 <= len(thresholds) <= MAX_THRESHOLDS:
        raise DesignError(f"a period of {period:.1f} codes over {high - low} codes makes {len(thresholds)} thresholds, not 1 to {MAX_THRESHOLDS}")
    digits = np.stack(np.unravel_index(np.arange(len(thresholds) + 1) % messages, alphabets), axis=1)
    raw = tuple(frozen(np.zeros((0, alphabet + 1)), np.int32) for alphabet in alphabets)
    cdfs = tuple(
        flat_rows(alphabets, layer) if alphabet & (alphabet - 1) else raw[layer] for layer, alphabet in enumerate(alphabets)
    )
    return LayeredRatePoint(thresholds, frozen(digits, np.uint8), alphabets, cdfs)


def flat_rows(alphabets: tuple[int, ...], layer: int) -> np.ndarray:
    """Equal shares, for an alphabet that raw bits do not fit."""
    row = lloyd.integer_cdf(np.ones(alphabets[layer]))
    return frozen(np.tile(row, (int(np.prod(alphabets[:layer])), 1)), np.int32)


def with_priors(point: LayeredRatePoint, codes: np.ndarray) -> LayeredRatePoint:
    """The table with cdfs of how often these codes say each message, where they pay."""
    numbers = point.numbers[np.searchsorted(point.thresholds, codes, side="right")]
    mass = np.bincount(numbers, minlength=int(np.prod(point.alphabets))).astype(np.float64)
    return replace(point, cdfs=lloyd.priors(mass + 1e-3 * mass.mean(), point.alphabets))


def build(parts: LayeredParts, material: Material, table: LayeredRatePoint) -> Model:
    """A bare model: a rate point for every depth, the deepest first."""
    points = [replace(table, sent=depth) for depth in range(table.layers, 0, -1)]
    node = make_layered(parts.packet_samples, parts.hello_every, material.scale, material.offset, points)
    side = tuple(f"y{k}" for k in range(material.side.shape[1]))
    return Model(node=node, decoder=parts.decoder, side=side, state_space=parts.space, side_filter=parts.side_filter)


# --- what a table is worth ----------------------------------------------------------------------------------------


def errors_of(model: Model, material: Material) -> list[float]:
    """Mean square error (sensor units) of every depth, the coarsest first; at least what the decoder itself expects."""
    node, engine = model.node, Decoder(model)
    side, found = SideInformation.of(material.side), layered.messages(node, 0, material.codes[None, :], material.present[None, :])[0]
    tree, charged = layered.flat_point(node, 0).tree, []
    for depth in range(1, tree.layers + 1):
        place = tree.sizes[-1] // tree.sizes[depth]
        prefixes = np.where(found < 0, found, found // place + tree.bases[depth]).astype(np.int32)
        indices = StreamIndices(prefixes, np.zeros(len(prefixes), np.int32), np.zeros(1, np.int64), np.full(1, -1, np.int32))
        result, _ = engine.reconstruct(engine.initial_state(), indices, side)
        errors, sigmas = (result.values - material.values)[material.present], result.sigmas[material.present]
        charged.append(float(max(np.mean(errors * errors), np.mean(sigmas * sigmas))))
    return charged


def last(material: Material, samples: int) -> Material:
    return material.part(max(0, len(material.codes) - samples), len(material.codes))


def cost(errors: Sequence[float]) -> float:
    return float(np.mean(np.log(errors)))


def fidelity(errors: Sequence[float], material: Material) -> dict[str, Any]:
    """`measured` of a model, from the mean square error of every depth."""
    variance = float(np.var(material.values[material.present]))
    rows = [
        {"layers": depth, "sqnr_db": round(10 * float(np.log10(variance / error)), 3), "rmse": float(np.sqrt(error))}
        for depth, error in enumerate(errors, 1)
    ]
    return {"training": rows}


# --- the design ---------------------------------------------------------------------------------------------------


def tuned_period(parts: LayeredParts, material: Material, refinements: int = REFINEMENTS) -> tuple[float, float]:
    """(codes, cost). A coarse scan, then halved steps around the best."""
    sigma = np.sqrt(prediction_variance(parts.space, 1.0))
    reach = code_range(material)

    def worth(exponent: float) -> float:
        period = PERIOD_SIGMAS * sigma * COARSE**exponent
        if not parts.messages <= period or (reach[1] - reach[0]) * parts.messages / period >= MAX_THRESHOLDS:
            return np.inf
        return cost(errors_of(build(parts, material, modulo_table(period, parts.alphabets, *reach)), material))

    found = {float(exponent): worth(exponent) for exponent in SCAN}
    step = 1.0
    for _ in range(refinements):
        step /= 2
        best = min(found, key=lambda exponent: found[exponent])
        found |= {best + side: worth(best + side) for side in (-step, step)}
    best = min(found, key=lambda exponent: found[exponent])
    if not np.isfinite(found[best]):
        raise DesignError(f"no period fits: the prediction error is {sigma:.3g} codes, {parts.messages} messages need at least one code each")
    return float(PERIOD_SIGMAS * sigma * COARSE**best), found[best]


def trusted(parts: LayeredParts, material: Material) -> LayeredParts:
    """The state space on the rung of `design_nested.LADDER` that decodes best at all depths: a coarse layer believed wrongly stays wrong."""
    rungs = [replace(parts, space=faded(parts.space, memory, inflation)) for memory, inflation in LADDER]
    return min(rungs, key=lambda rung: _cost_or_infinity(rung, material))


def _cost_or_infinity(parts: LayeredParts, material: Material) -> float:
    try:
        return tuned_period(parts, material, 0)[1]
    except DesignError:
        return np.inf


def code_range(material: Material) -> tuple[int, int]:
    """The codes of the recording and a tenth more at each end; outside, a table saturates."""
    codes = material.codes[material.present]
    margin = (int(codes.max()) - int(codes.min())) // 10 + 1
    return max(int(codes.min()) - margin, -32767), min(int(codes.max()) + margin, 32767)


def law_of(parts: LayeredParts, material: Material, cell_variance: float) -> lloyd.Joint:
    """Source and prediction on a grid: predictions spread as the source, the rest a mixture of two Gaussians fitted to the surprises."""
    rows = np.column_stack([material.in_codes, material.side])[:SURPRISES]
    surprises, _ = source_surprises(parts.space, rows, cell_variance)
    surprises = surprises[np.isfinite(surprises)]
    shares, sigmas = scale_mixture(surprises)
    sigma = float(np.sqrt(np.sum(shares * sigmas * sigmas)))
    low, high = code_range(material)
    side = np.arange(low, high, max(1.0, sigma / lloyd.COLUMNS_PER_SIGMA))
    codes = material.codes[material.present].astype(np.float64)
    weights = np.histogram(codes, np.append(side, high))[0] + 1e-3 * len(codes) / len(side)

    def density(gap: np.ndarray) -> np.ndarray:
        return sum(share / one * np.exp(-0.5 * np.square(gap / one)) for share, one in zip(shares, sigmas, strict=True))

    return lloyd.additive_joint(lloyd.grid(low, high, sigma), side, weights, density, sigma)


def scale_mixture(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(shares, deviations) of two Gaussians around 0, by expectation maximisation."""
    spread = float(np.sqrt(np.mean(values * values)))
    shares, sigmas = np.array([0.8, 0.2]), np.array([0.6, 1.8]) * max(spread, 0.5)
    squares = values * values
    for _ in range(MIXTURE_ROUNDS):
        logs = np.log(shares / sigmas)[:, None] - 0.5 * squares[None, :] / np.square(sigmas)[:, None]
        weights = np.exp(logs - logs.max(axis=0))
        weights /= weights.sum(axis=0)
        mass = weights.sum(axis=1) + 1e-9
        shares, sigmas = mass / mass.sum(), np.maximum(np.sqrt(weights @ squares / mass), 0.5)
    return shares, sigmas


def polished(parts: LayeredParts, material: Material, start: LayeredRatePoint, errors: Sequence[float]) -> lloyd.Design | None:
    """Lloyd's table for the law of this material; None where the source is finer than its codes."""
    cell_variance = errors[-1] / material.scale**2
    try:
        joint = law_of(parts, material, cell_variance)
        asked = lloyd.task(joint, parts.alphabets, parts.mode)
        return lloyd.design(joint, asked, periods=(PERIOD_SIGMAS,), start=start)
    except DesignError:
        return None


def design_layered(
    material: Material, space: StateSpace, layers: Sequence[int], mode: str, decoder: str, framing: tuple[int, int], side_taps: int,
    known: bool = False,
) -> Model:
    """`framing`: packet samples, hello every. `known`: the state space is the truth and needs no fading."""
    alphabets = parse_layers(layers)
    packet_samples, hello_every = framing
    parts = LayeredParts(space, fit_side_filter(material, side_taps), decoder, packet_samples, hello_every, alphabets, mode)
    if mode == "conditional":
        layered_blocks.check(alphabets, packet_samples)
    if not known and decoder == "kalman":
        parts = trusted(parts, last(material, LADDER_SAMPLES))
    tail = last(material, TUNE_SAMPLES)
    period, _ = tuned_period(parts, tail)
    chosen, source = modulo_table(period, alphabets, *code_range(material)), "nested modulo"
    errors = errors_of(build(parts, tail, chosen), tail)
    candidate = polished(parts, material, chosen, errors)
    found: dict[str, Any] = {"period_sigmas": period / float(np.sqrt(prediction_variance(parts.space, errors[-1] / material.scale**2)))}
    if candidate is not None and len(candidate.point.thresholds) <= MAX_THRESHOLDS:
        theirs = errors_of(build(parts, tail, candidate.point), tail)
        found["polished_gain_db"] = round(float(10 / np.log(10) * (cost(errors) - cost(theirs))), 3)
        found["ideal_bits"] = [round(rate, 4) for rate in candidate.rates]
        if cost(theirs) < cost(errors) + np.log(WORTH):
            chosen, source, errors = candidate.point, "Lloyd", theirs
    model, coding = finished(parts, material, chosen)
    about = {
        "layers": list(alphabets), "mode": mode, "table": source, "intervals": len(chosen.messages),
        "table_bytes": encoder_bytes(chosen), **found, **coding,
    }  # fmt: skip
    return replace(model, measured=fidelity(errors, material), provenance=about)


def finished(parts: LayeredParts, material: Material, table: LayeredRatePoint) -> tuple[Model, dict[str, Any]]:
    """The model with its layers coded as the mode says, and what there is to tell of it."""
    if parts.mode != "conditional":
        return build(parts, material, with_priors(table, material.codes[material.present])), {}
    model = build(parts, material, layered_blocks.raw(table))
    model, layers = layered_blocks.with_blocks(model, layered_blocks.gather(model, material))
    return model, {"blocks": layered_blocks.as_rows(layers)}


__all__ = ["design_layered", "modulo_table", "parse_layers"]
