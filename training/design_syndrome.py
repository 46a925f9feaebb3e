"""Design of `syndrome` without gradients: the sets of sent positions and the step of each rate point, by trials of the real decoder.

    cavities of all packets -> trials (shuffled, dithered blocks) -> for a step: error probability of every position of every plane, given all bits
    before it -> the worst ones are sent -> list decoding of other trials -> failures -> the step of least expected error

What a list decoder gets wrong in the end are blocks that differ in few samples, so a position whose row of the transform has few ones counts for
more than its own error probability (`ROW_WEIGHT`): at equal steps and 256 samples a quarter of the failures.

A step a little too small costs more than one much too large, and good steps fail too rarely to be counted: the failure rate is read from a
probit line through the failures counted over a ladder of steps, and no step is taken whose rate on that line exceeds MOST_FAILURES.
References: Arikan (2009), Mori and Tanaka (2009) for the choice of positions by what a genie-aided decoder gets wrong; Li, Shen, Tse, "A RM-polar
codes" (2014) for the weight of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

from edge_wz.codec.reconstruction import SUSPECT
from edge_wz.codec.syndrome_decoder import code_of
from edge_wz.errors import DesignError
from edge_wz.formats.blob import make_syndrome
from edge_wz.formats.layout import MAX_CODED_PLANES, MAX_LOW_BITS
from edge_wz.model import BlockDecoding, Model, StateSpace, frozen
from training import syndrome_trials as trials
from training.design_nested import nested_point
from training.design_trellis import measure
from training.material import Figures, Material

CHECKS_FROM = ((0, 8), (192, 12), (768, 16))  # packet samples from which so many check bits are worth their rate
RAW_SIGMAS = 2.7  # width of 2^b steps up to which low bits are sent as they are: nothing is known of them
SURE_SIGMAS = 14.0  # width of all planes together
LADDER, LADDER_SAMPLES = 0.012, 1024  # between the logarithms of two steps, for packets up to so long; in longer ones failures set in faster
MOST_RUNGS = 24  # on either side of the start
MOST_FAILURES = 6e-3
REFUSED = 0.1  # of the packets that the design itself is made from: so many fail in a row only where each needs the one before
TIE = 1.01  # of the error: steps as good as equal, of which the largest fails least
START_ERRORS = 0.5  # sum of the error probabilities of all positions that are not sent, at the step the ladder starts from
TRIAL_SAMPLES, MORE_TRIALS = 600_000, 4  # of a step; so many times more where less than FEW blocks fail
LEAST_BLOCKS, FEW = 1000, 0.03
PAST = 1.1  # no larger step is tried than one whose cells alone make so many times the least error seen
TRIALS_PER_PACKET, FEWEST_TRIALS = 8, 400  # at most so many of each packet recorded: more would tell nothing new
POSITION_SAMPLES = 400_000
SEED = 4711
ROUND_GAIN = 0.97  # of the error: a second round of smoothing has to save so much
MAX_PLANES = 8
ROW_WEIGHT = ((0, 1.0), (1024, 0.3))  # packet samples from which an error counts so many factors of two more for each halving of the row's ones


@dataclass(frozen=True, eq=False)
class SyndromeParts:
    """What all rate points share. `space` with the source in codes."""

    space: StateSpace
    packet_samples: int
    hello_every: int
    check_bits: int
    density: np.ndarray
    rounds: int = 1


@dataclass(frozen=True, eq=False)
class Point:
    """One rate point: (q, shift, rounding, taps, sets) for the blob, and what the gateway adds."""

    fields: tuple[int, int, int, list[int], np.ndarray]
    planes: int
    path_mse: float
    failures: float  # expected per block
    trials: int  # blocks decoded at its step


@dataclass(frozen=True, eq=False)
class Code:
    """Sets for one step. `errors`: sum of the error probabilities of what is not sent."""

    low_bits: int
    planes: int
    sent: np.ndarray
    errors: float


def check_bits_for(packet_samples: int) -> int:
    return max((start, bits) for start, bits in CHECKS_FROM if start <= packet_samples)[1]


def row_factors(packet_samples: int) -> np.ndarray:
    """What an error of each position counts for."""
    exponent = max((start, exponent) for start, exponent in ROW_WEIGHT if start <= packet_samples)[1]
    ones = np.array([position.bit_count() for position in range(packet_samples)])
    return np.exp2(-exponent * ones)


def payload_bits(rate: float, packet_samples: int) -> int:
    """Whole bytes."""
    return int(np.floor(rate * packet_samples / 8 + 1e-9)) * 8


def code_for(pool: trials.Pool, step: float, total_bits: int, parts: SyndromeParts) -> Code:
    """The sets that leave the least to guess; DesignError if the rate cannot hold them."""
    n, sigma = parts.packet_samples, pool.sigma
    low_bits = int(np.clip(np.floor(np.log2(RAW_SIGMAS * sigma / step)), 0, min(MAX_LOW_BITS, (total_bits - parts.check_bits) // n)))
    budget = total_bits - parts.check_bits - low_bits * n
    planes = int(np.clip(np.ceil(np.log2(SURE_SIGMAS * pool.wide / (step * 2**low_bits))), 1, MAX_PLANES))
    errors = trials.position_errors(pool, step, low_bits, planes, n, POSITION_SAMPLES // n + 1)
    sent = np.zeros((planes, n), np.bool_)
    usable = min(planes, MAX_CODED_PLANES)
    chosen = np.argsort(-(errors[:usable] * row_factors(n)).ravel(), kind="stable")[: max(budget, 0)]
    sent[:usable].reshape(-1)[chosen] = True
    coded = int(np.flatnonzero(sent.any(axis=1)).max(initial=-1)) + 1
    for plane in np.flatnonzero(~sent[:coded].any(axis=1)):
        sent[plane, np.argmax(errors[plane])] = True
    return Code(low_bits, planes, sent[:coded], float(errors[~sent].sum()))


def first_step(pool: trials.Pool, total_bits: int, parts: SyndromeParts) -> float:
    """The step at which so much is left to guess as START_ERRORS says, by bisection of its logarithm."""
    rate = total_bits / parts.packet_samples
    low, high = np.log(pool.sigma * 2.0 ** (1.0 - rate)), np.log(pool.sigma * 2.0 ** (4.0 - rate))
    for _ in range(8):
        middle = 0.5 * (low + high)
        if code_for(pool, float(np.exp(middle)), total_bits, parts).errors > START_ERRORS:
            low = middle
        else:
            high = middle
    return float(np.exp(high))


@dataclass(frozen=True)
class Rung:
    step: float
    code: Code
    outcome: trials.Outcome

    @property
    def share(self) -> float:
        return self.outcome.failed / self.outcome.blocks


def tuned(pool: trials.Pool, rate: float, parts: SyndromeParts) -> Point:
    """Step and sets of one rate point."""
    total_bits = payload_bits(rate, parts.packet_samples)
    if total_bits < parts.check_bits:
        raise DesignError(f"a rate of {rate:g} bits leaves nothing beside the block check in packets of {parts.packet_samples}")
    rungs = _ladder(pool, max(first_step(pool, total_bits, parts), 1.0), total_bits, parts)
    chances = failure_line(rungs, parts.packet_samples)
    path_mse, failed_mse = _when_failed(rungs)
    unnoticed = np.array([rung.outcome.wrong_tries / rung.outcome.blocks for rung in rungs]) / 2**parts.check_bits
    scales = np.array([(rung.step / rungs[0].step) ** 2 for rung in rungs])
    costs = np.array([rung.outcome.cell_mse for rung in rungs]) + (chances * failed_mse + unnoticed * path_mse) * scales
    costs[chances > MOST_FAILURES] = np.inf
    best = int(np.flatnonzero(costs <= TIE * costs.min())[-1]) if np.isfinite(costs).any() else len(rungs) - 1
    chosen = rungs[best]
    q, shift, rounding, taps = nested_point(max(chosen.step, 1.0), 1 << chosen.code.low_bits)
    fields = (q, shift, rounding, taps, chosen.code.sent)
    return Point(fields, chosen.code.planes, path_mse * (chosen.step / rungs[0].step) ** 2, float(chances[best]), chosen.outcome.blocks)


def _ladder(pool: trials.Pool, start: float, total_bits: int, parts: SyndromeParts) -> list[Rung]:
    """Down from `start` to a step at which many blocks fail, and up to two at which none does or larger cells cost more."""
    factor = float(np.exp(LADDER * min(1.0, np.sqrt(LADDER_SAMPLES / parts.packet_samples))))
    rungs = [_rung(pool, start, total_bits, parts)]
    while rungs[0].share < FEW and rungs[0].step > 1.0 and len(rungs) < MOST_RUNGS:
        rungs.insert(0, _rung(pool, max(rungs[0].step / factor, 1.0), total_bits, parts))
    below = len(rungs)
    while any(rung.outcome.failed for rung in rungs[-2:]) and not _are_past(rungs) and len(rungs) < below + MOST_RUNGS:
        rungs.append(_rung(pool, rungs[-1].step * factor, total_bits, parts))
    return rungs


def _are_past(rungs: list[Rung]) -> bool:
    """Whether the cells of the last step alone make a larger error than all that was seen at a smaller one."""
    least = min(rung.outcome.cell_mse + rung.share * min(rung.outcome.path_mse, rung.outcome.rough_mse) for rung in rungs)
    return rungs[-1].outcome.cell_mse > PAST * least


def _rung(pool: trials.Pool, step: float, total_bits: int, parts: SyndromeParts) -> Rung:
    code = code_for(pool, step, total_bits, parts)
    walk = code_of(code.sent.reshape(len(code.sent), parts.packet_samples), parts.packet_samples, code.planes)
    most = max(TRIALS_PER_PACKET * len(pool.sources), FEWEST_TRIALS)
    blocks = min(max(TRIAL_SAMPLES // parts.packet_samples, 100), most)
    rung = Rung(step, code, trials.attempt(pool, step, code.low_bits, code.planes, code.sent, walk, parts.check_bits, blocks))
    if rung.share >= FEW:
        return rung
    blocks = min(max(MORE_TRIALS * blocks, min(LEAST_BLOCKS, MORE_TRIALS**2 * blocks)), most)
    return replace(rung, outcome=trials.attempt(pool, step, code.low_bits, code.planes, code.sent, walk, parts.check_bits, blocks))


def failure_line(rungs: list[Rung], packet_samples: int) -> np.ndarray:
    """Chance of a failure at each rung: the likeliest probit curve in the logarithm of the step, straight or, as tails are, less steep in the end.

    It falls by no more than the square root of 2 n over a logarithm of one: that would be a code without loss (Strassen 1962; the density
    of a Gaussian has a varentropy of 1/2), and few failures make a curve that is too hopeful."""
    logs = np.log([rung.step for rung in rungs])
    blocks, counts = (np.array(column, float) for column in zip(*((rung.outcome.blocks, rung.outcome.failed) for rung in rungs), strict=True))
    if not counts.any():
        return 0.5 / (blocks + 1)
    width = max(float(logs[-1] - logs[0]), 1e-9)
    places = (logs - logs[0]) / width

    def probits(curve: np.ndarray) -> np.ndarray:
        start, fall, bend = curve
        return np.asarray(start - fall * (places - 0.5 * bend * places**2))

    def unlikelihood(curve: np.ndarray) -> float:
        return -float(counts @ log_ndtr(probits(curve)) + (blocks - counts) @ log_ndtr(-probits(curve)))

    steepest = float(np.sqrt(2 * packet_samples)) * width
    fitted = minimize(unlikelihood, [-1.0, 0.5 * steepest, 0.1], bounds=[(-20.0, 20.0), (0.0, steepest), (0.0, 1.0)]).x
    return np.asarray(ndtr(probits(fitted)))


def _when_failed(rungs: list[Rung]) -> tuple[float, float]:
    """Mean square errors of failed blocks at the first rung's step: by the best path, and by the better of path and low bits."""
    path, rough, count = 0.0, 0.0, 0
    for rung in rungs:
        scale = (rungs[0].step / rung.step) ** 2
        path += rung.outcome.path_mse * rung.outcome.failed * scale
        rough += rung.outcome.rough_mse * rung.outcome.failed * scale
        count += rung.outcome.failed
    if not count:
        return float(rungs[0].outcome.rough_mse_all), float(rungs[0].outcome.rough_mse_all)
    return path / count, min(path, rough) / count


def build(parts: SyndromeParts, material: Material, points: list[Point]) -> Model:
    """A bare model of these rate points."""
    node = make_syndrome(
        parts.packet_samples, parts.hello_every, material.scale, material.offset, parts.check_bits, [point.fields for point in points]
    )
    block = BlockDecoding(
        frozen([point.planes for point in points], np.float64), frozen([point.path_mse for point in points], np.float64),
        frozen(parts.density, np.float64), parts.rounds,
    )
    side = tuple(f"y{k}" for k in range(material.side.shape[1]))
    return Model(node=node, decoder="syndrome", side=side, state_space=parts.space, block=block)


def design_syndrome(
    material: Material, space: StateSpace, rates: tuple[float, ...], options: tuple[int, int]
) -> Model:
    """`options`: packet samples, hello every."""
    packet_samples, hello_every = options
    parts = SyndromeParts(space, packet_samples, hello_every, check_bits_for(packet_samples), np.ones((1, 2)))
    points = []
    for rate in rates:
        pool = trials.gather(material, space, packet_samples, rate, SEED)
        if rate == rates[0]:
            parts = replace(parts, density=trials.fit_density(pool))
        points.append(tuned(replace(pool, density=parts.density), rate, parts))
    model = _rounds(parts, material, points)
    rows = []
    for index, (made, rate_point) in enumerate(zip(points, model.node.rate_points, strict=True)):
        figures = measure(model, material, index)
        bits = payload_bits(rates[index], packet_samples) / packet_samples
        failed = failed_share(figures, packet_samples)
        if failed > REFUSED:
            raise DesignError(f"{failed:.0%} of the packets fail at {bits:g} bits: neighbours tell too little before the packet is known")
        rows.append({
            "bits": bits, "q": rate_point.modulus, "step": rate_point.step * material.scale, "sqnr_db": round(figures.sqnr_db, 3),
            "rmse": float(np.sqrt(figures.mse)), "wrong_levels": figures.wrong_cells, "block_failures": made.failures,
        })
    provenance = {"block_check_bits": parts.check_bits, "trial_blocks": [point.trials for point in points]}
    return replace(model, measured={"training": rows}, provenance=provenance)


def failed_share(figures: Figures, packet_samples: int) -> float:
    """Of the packets, those whose check did not hold."""
    flags = figures.reconstruction.flags
    return float(np.bitwise_or.reduceat(flags & SUSPECT, np.arange(0, len(flags), packet_samples)).astype(np.bool_).mean())


def _rounds(parts: SyndromeParts, material: Material, points: list[Point]) -> Model:
    """A second smoothing where it pays at the first rate point."""
    once = build(parts, material, points)
    twice = build(replace(parts, rounds=2), material, points)
    return twice if measure(twice, material).mse < ROUND_GAIN * measure(once, material).mse else once


__all__ = ["check_bits_for", "design_syndrome", "measure"]
