"""Design of `trellis` without gradients: the code by packet length, the step of each rate point, the rounds of the decoder.

As in `design_nested`, the step is searched on the real codec, here whole packets through encoder, parser and decoder. Wrong sequences are rare
and dear, so no search may trust a stretch in which none happened to occur: at least what the decoder itself states as its error is charged, and
the last steps are weighed on all samples with the standard error on top.
Codes: Ungerboeck's one-dimensional ones, `edge_wz.decoders.bcjr` has the reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from edge_wz.codec import schemes, syndrome, trellis
from edge_wz.codec.indices import flatten
from edge_wz.codec.reconstruction import Decoder, Reconstruction
from edge_wz.codec.side_information import SideInformation
from edge_wz.decoders import bcjr
from edge_wz.errors import DesignError
from edge_wz.formats.blob import make_trellis
from edge_wz.formats.layout import MAX_TRELLIS_MODULUS
from edge_wz.formats.sections.trellis import stride_of
from edge_wz.kernels.nested_quantizer import STATE_SLOTS
from edge_wz.model import GAUSSIAN, Model, Propagation, StateSpace
from training.design_nested import nested_point
from training.material import Figures, Material, bins_of
from training.state_space import prediction_variance
from training.syndrome_trials import fit_density, gather
from training.trellis_colour import WHITE, stride_for, told_by_others

CODES = {  # states: (memory, h0, h1)
    4: (2, 0o5, 0o2), 8: (3, 0o13, 0o4), 16: (4, 0o23, 0o4), 32: (5, 0o45, 0o10), 64: (6, 0o103, 0o24),
    128: (7, 0o235, 0o126), 256: (8, 0o515, 0o362), 1024: (10, 0o3221, 0o472),
}  # fmt: skip
STATES_FROM = ((0, 8), (32, 64), (256, 256))  # packet samples from which so many states are the best, as measured
FOLLOWED_STATES_FROM = ((0, 32), (48, 256))  # where packets are followed by `decoders.survivors`
COSETS = 4
RANGE_SIGMAS = {0: 4.2, 1: 5.6, 2: 7.2, 3: 8.5}  # 4q steps over the spread of the prediction error, to start from
TUNE_SAMPLES, SETTLE_SAMPLES = 80_000, 400_000
SETTLE_BLOCKS = 50  # for the standard error
SETTLE_STEP = 1.035
COARSE = 1.18  # between two steps of the first scan
SCAN = range(-3, 6)
REFINEMENTS = 2
ROUNDS, STRIDING_ROUNDS = 3, 2  # where samples tell each other something; what the last of them saves is rare, dear and seldom seen in a design
PAST_TELLS = 2.0  # times the variance left open by the own past and the neighbours together
WIDE, DESCENT, MOST_RUNGS = 4.0, 1.1, 16  # where a descent starts, over `first_step`, and how it goes on
RIGHT = 1.25  # times the error that the decoder expects
FOLLOWED_SAMPLES = 20_000
DENSITY_SAMPLES, DENSITY_SEED = 100_000, 1
DENSITY_GAIN = 0.97  # of the error: what two Gaussians have to save
FIRST_PACKETS, HOPELESS = 16, 100.0
ROUND_LOSS = 1.01  # of the error: more rounds may not cost so much


@dataclass(frozen=True, eq=False)
class TrellisParts:
    """What all rate points share. `space` with the source in codes."""

    space: StateSpace
    code: tuple[int, int, int]
    packet_samples: int
    level_check_bits: int
    hello_every: int
    rounds: int = 1
    survivors: int = 0
    density: np.ndarray = field(default_factory=lambda: GAUSSIAN)


def states_for(packet_samples: int, followed: bool = False) -> int:
    table = FOLLOWED_STATES_FROM if followed else STATES_FROM
    return max((start, states) for start, states in table if start <= packet_samples)[1]


def code_of(states: int, stride: int = 1) -> tuple[int, int, int]:
    if states not in CODES:
        raise DesignError(f"no code of {states} states; there are {', '.join(map(str, CODES))}")
    memory, h0, h1 = CODES[states]
    return memory * stride, bcjr.spread(h0, stride), bcjr.spread(h1, stride)


def check_rate(rate: float) -> int:
    """q for `rate` bits: the low bits and one syndrome bit."""
    q = 2 ** round(rate - 1)
    if abs(rate - round(rate)) > 1e-9 or not 1 <= q <= MAX_TRELLIS_MODULUS:
        raise DesignError(f"trellis has whole rates of 1 to 13 bits, not {rate:g}")
    return int(q)


def build(parts: TrellisParts, material: Material, points: list[tuple[int, int, int, list[int]]]) -> Model:
    """A bare model of these rate points."""
    node = make_trellis(
        parts.packet_samples, parts.hello_every, parts.level_check_bits, material.scale, material.offset, parts.code, points
    )
    side = tuple(f"y{k}" for k in range(material.side.shape[1]))
    propagation = Propagation(parts.rounds, parts.survivors, parts.density)
    return Model(node=node, decoder="trellis", side=side, state_space=parts.space, propagation=propagation)


def measure(model: Model, material: Material, point: int = 0) -> Figures:
    """Encode, parse and decode `material` in whole packets under one rate point."""
    result = _through_codec(model, material, point)
    _, levels = bins_of(model.node.rate_points[point], material.codes, material.present)
    errors = (result.values - material.values)[material.present]
    mse = float(np.mean(errors * errors))
    expected = float(np.mean(np.square(result.sigmas[material.present])))
    variance = float(np.var(material.values[material.present]))
    wrong = float(np.mean((result.levels != levels)[material.present]))
    return Figures(mse, expected, 10 * np.log10(variance / max(mse, 1e-30)), wrong, result)


def _through_codec(model: Model, material: Material, point: int) -> Reconstruction:
    slots, total = model.node.packet_samples, len(material.codes)
    packets = -(-total // slots)
    codes = np.zeros((packets, slots), np.int16)
    present = np.zeros((packets, slots), np.bool_)
    codes.reshape(-1)[:total], present.reshape(-1)[:total] = material.codes, material.present
    counts = np.full(packets, slots, np.int32)
    counts[-1] = total - (packets - 1) * slots
    state = np.zeros(STATE_SLOTS, np.int32)
    encode = {"trellis": trellis.encode, "syndrome": syndrome.encode}[model.node.scheme]
    payloads, _ = encode(model.node, point, codes, present, counts, state)
    indices = flatten(schemes.parse(model.node, payloads, np.full(packets, point, np.int32), counts, present))
    engine = Decoder(model)
    return engine.reconstruct(engine.initial_state(), indices, SideInformation.of(material.side))[0]


def _charge(model: Model, material: Material) -> float:
    """The error, or what the decoder states, if that is more: few samples may hold none of the wrong sequences that are to be expected."""
    figures = measure(model, material)
    return max(figures.mse, figures.expected_mse)


def tuned_step(parts: TrellisParts, material: Material, q: int) -> float:
    """The step of least charge, LSB: a scan, then finer. The whole SCAN is looked at, because a step below the cliff, where the code fails, is a
    plateau with minima of its own."""
    known: dict[float, float] = {}

    def cost(log_step: float) -> float:
        key = round(max(log_step, 0.0), 6)
        if key not in known:
            known[key] = _charge(build(parts, material, [nested_point(float(np.exp(key)), q)]), material)
        return known[key]

    width = float(np.log(COARSE))
    start = float(np.log(first_step(parts.space, q)))
    best = min((start + k * width for k in SCAN), key=cost)
    while True:
        best, before = min((best - width, best, best + width), key=cost), best
        if best == before or best <= 0.0:
            break
    for _ in range(REFINEMENTS):
        width /= 2
        best = min((best, best - width, best + width), key=cost)
    return float(np.exp(max(best, 0.0)))


def settled_step(parts: TrellisParts, material: Material, q: int, step: float) -> float:
    """The best step around `step` on many samples."""
    known: dict[int, float] = {}

    def cost(place: int) -> float:
        if place not in known:
            figures = measure(build(parts, material, [nested_point(max(step * SETTLE_STEP**place, 1.0), q)]), material)
            errors = np.square(figures.reconstruction.values - material.values)[material.present]
            blocks = np.array([block.mean() for block in np.array_split(errors, SETTLE_BLOCKS)])
            known[place] = max(figures.mse, figures.expected_mse) + float(blocks.std(ddof=1)) / SETTLE_BLOCKS**0.5
        return known[place]

    best, before = 0, None
    while best != before:
        best, before = min((best, best - 1, best + 1), key=cost), best
    return float(max(step * SETTLE_STEP**best, 1.0))


def led_by_past(space: StateSpace, step: float) -> bool:
    """Whether a sample's own past tells so much more than neighbours that propagation cannot start without it (`decoders.survivors`)."""
    return prediction_variance(space, np.inf) > PAST_TELLS * prediction_variance(space, step * step / 12)


def descended_step(parts: TrellisParts, material: Material, q: int) -> float:
    """The step for a decoder that follows the source: from a wide one down while packets are right. Below its cliff everything is wrong, and slow
    to find so, so the search stops at it, and keeps one rung away: what is to come is not what was seen."""
    known: list[tuple[float, float, bool]] = []
    step, rung = WIDE * first_step(parts.space, q), 1 / DESCENT
    while len(known) < MOST_RUNGS:
        figures = measure(build(parts, material, [nested_point(step, q)]), material)
        right = figures.mse < RIGHT * figures.expected_mse
        if not right and not any(fine for _, _, fine in known):
            rung = DESCENT
        elif not right or step <= 1.0:
            break
        known.append((step, max(figures.mse, figures.expected_mse), right))
        if right and rung > 1.0:
            break
        step = max(step * rung, 1.0)
    good = [(step, cost) for step, cost, right in known if right]
    if not good:
        raise DesignError(f"no step at which {1 + np.log2(q):g} bits resolve the packets")
    return min(good[:-1] or good, key=lambda one: one[1])[0]


def covering_modulus(parts: TrellisParts, material: Material, step: float) -> int:
    """The least q that resolves packets at `step` LSB: no larger error than cells of such a width explain."""
    sigma = float(np.sqrt(prediction_variance(parts.space, step * step / 12)))
    fewest = int(np.floor(np.log2(max(np.sqrt(2 * np.pi * np.e) * sigma / step, 1.0))))  # whole bits below the entropy; one is the syndrome's
    recent = _tail(material, FOLLOWED_SAMPLES)
    for low_bits in range(max(0, fewest - 1), MAX_TRELLIS_MODULUS.bit_length()):
        model = build(parts, material, [nested_point(step, 1 << low_bits)])
        cell = (step * material.scale) ** 2 / 12
        first = recent.part(0, FIRST_PACKETS * parts.packet_samples)  # a hopeless one is slow: a few packets tell
        if measure(model, first).mse < HOPELESS * cell and measure(model, recent).mse < RIGHT * cell:
            return 1 << low_bits
    raise DesignError(f"no rate resolves packets at a step of {step * material.scale:g}")


def first_step(space: StateSpace, q: int) -> float:
    """Four q steps = factor x spread of the prediction error, whose own past is known up to the step's noise."""
    factor = RANGE_SIGMAS[min(3, q.bit_length() - 1)]
    step = 0.0
    for _ in range(3):
        step = factor * np.sqrt(prediction_variance(space, step * step / 12)) / (COSETS * q)
    return float(max(step, 1.0))


def tuned(parts: TrellisParts, material: Material, moduli: list[int]) -> tuple[TrellisParts, list[float]]:
    """Steps (LSB) of all rate points, and the parts with more rounds where the first of them bears it."""
    tail, most = _tail(material, TUNE_SAMPLES), _tail(material, SETTLE_SAMPLES)
    chosen, first = parts, tuned_step(parts, tail, moduli[0])
    if told_by_others(parts.space, first * first / 12) > WHITE:
        candidate = replace(parts, rounds=ROUNDS if stride_of(*parts.code[1:]) == 1 else STRIDING_ROUNDS)
        step = tuned_step(candidate, tail, moduli[0])
        before, after = (_charge(build(one, tail, [nested_point(at, moduli[0])]), tail) for one, at in ((parts, first), (candidate, step)))
        chosen, first = (candidate, step) if after < ROUND_LOSS * before else (parts, first)
    steps = [first, *(tuned_step(chosen, tail, q) for q in moduli[1:])]
    return chosen, [settled_step(chosen, most, q, step) for q, step in zip(moduli, steps, strict=True)]


def with_density(parts: TrellisParts, material: Material, moduli: list[int], steps: list[float]) -> tuple[TrellisParts, list[float]]:
    """Tuned again for the density around what is foretold, if that is no Gaussian and pays at the first of the rate points."""
    density = found_density(parts, material, moduli[0])
    if len(density) == 1:
        return parts, steps
    mixed, others = tuned(replace(parts, density=density), material, moduli)
    most = _tail(material, SETTLE_SAMPLES)
    before, after = (
        measure(build(one, most, [nested_point(at, moduli[0])]), most).mse for one, at in ((parts, steps[0]), (mixed, others[0]))
    )
    return (mixed, others) if after < DENSITY_GAIN * before else (parts, steps)


def found_density(parts: TrellisParts, material: Material, q: int) -> np.ndarray:
    """(K, 2) as in `decoders.mixed_cosets`; a Gaussian where a recording is too short to say otherwise."""
    try:
        pool = gather(_tail(material, DENSITY_SAMPLES), parts.space, parts.packet_samples, 1 + float(np.log2(q)), DENSITY_SEED)
    except DesignError:
        return GAUSSIAN
    density = fit_density(pool)
    return density if len(density) > 1 else GAUSSIAN


def _tail(material: Material, samples: int) -> Material:
    return material.part(max(0, len(material.codes) - samples), len(material.codes))


def design_trellis(
    material: Material, space: StateSpace, targets: tuple[str, tuple[float, ...]], states: int | None, options: tuple[int, int, int],
    follow: bool = False,
) -> Model:
    """`targets`: rates, or steps in sensor units; `options`: packet samples, level check bits, hello every. `states` None: by packet length.
    `follow`: by `decoders.survivors` even where propagation would do."""
    packet_samples, level_check_bits, hello_every = options
    kind, values = targets
    moduli = [check_rate(rate) for rate in values] if kind == "rate" else []
    steps = [max(step / material.scale, 1.0) for step in values] if kind == "step" else []
    start = steps[0] if steps else first_step(space, moduli[0])
    led = led_by_past(space, start)
    code = code_of(states or states_for(packet_samples, led))
    if not led and not follow:
        code = code_of(1 << code[0], stride_for(space, start * start / 12, code[0], packet_samples))
    parts = TrellisParts(space, code, packet_samples, level_check_bits, hello_every, survivors=int(led or follow))
    if steps:
        moduli = [covering_modulus(parts, material, step) for step in steps]
    elif led:
        recent = _tail(material, FOLLOWED_SAMPLES)
        steps = [descended_step(parts, recent, q) for q in moduli]
    else:
        gaussian, first = tuned(parts, material, moduli)
        parts, steps = with_density(gaussian, material, moduli, first)
    model = build(parts, material, [nested_point(step, q) for step, q in zip(steps, moduli, strict=True)])
    rows = []
    for index, point in enumerate(model.node.rate_points):
        figures = measure(model, material, index)
        rows.append({
            "bits": float(np.log2(2 * point.modulus)), "q": point.modulus, "step": point.step * material.scale,
            "sqnr_db": round(figures.sqnr_db, 3), "rmse": float(np.sqrt(figures.mse)), "wrong_levels": figures.wrong_cells,
        })
    stride = stride_of(*code[1:])
    provenance = {"states": 1 << code[0] // stride, "stride": stride, "rounds": parts.rounds, "survivors": parts.survivors}
    return replace(model, measured={"training": rows}, provenance=provenance)


__all__ = ["CODES", "design_trellis", "measure", "states_for"]
