"""Design of `predictive` with decoder `refine`: a wider step for the node, moments and densities for its gateway.

`design_predictive` finds predictor and tables for given steps. Here a target step S stands for the fidelity of a mid-cell
decoder at S: the node's step is widened until the refined stream meets it, and everything of the node is fitted again
for that step. Neighbours are what the gateway will have: each coded by `predictive` on its own, brought to the same
fidelity and refined by itself, or the true columns where asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.predictive_decoders import Cells
from edge_wz.errors import DesignError
from edge_wz.formats.layout import MAX_CONTEXTS, MAX_STEP_Q8, MIN_STEP_Q8
from edge_wz.model import Model, NodeModel, StateSpace
from training import design_predictive as predictive
from training import refinement
from training.design_predictive import Packets, Shape, Steps
from training.material import Material, from_arrays
from training.refinement import Stream

Rounding = Callable[[int], tuple[int, int]]  # step_q8 -> (step_q8, rounding_q8)

SIDES = ("decoded", "true")
SEARCH_ORDER = 4  # of the predictor while steps are searched
ROUNDINGS = (0.5, 0.42, 0.34)  # of a step
DEAD_ZONE_DOUBT = 0.1  # over the root of the packets held out: the saving of bits that a dead zone must show, as a share
RATE_SLOPE = 0.8  # bits per halving of the rmse, for the little that a search leaves
WIDEST = 5.0  # times the step asked for
MAX_GROWTH = 0.6  # of the logarithm of a step, from one trial to the next
TRIALS = 7
CLOSE = 0.004  # of the rmse
WORTH = 0.99  # of the rmse of the best other decoder: what `auto` wants before it refines


@dataclass(frozen=True)
class Request:
    """What `training.design.design` was asked for. `decoder`: refine or auto; `side`: decoded or true."""

    kind: str
    values: tuple[float, ...]
    decoder: str
    side: str
    packet_samples: int
    hello_every: int


def design_refined(material: Material, space: StateSpace, request: Request) -> Model:
    """A model whose gateway refines; with decoder auto only where that pays on held-out rows."""
    asked = predictive.coding_steps(material, request.kind, request.values, request.packet_samples)
    heard = [_heard(material, step, request) for step in asked]
    steps = asked
    if request.kind == "step":
        steps = tuple(
            widened(beside, step, request.packet_samples) for beside, step in zip(heard, asked, strict=True)
        )
    model = predictive.build(material, space, steps, request.packet_samples, request.hello_every)
    model = replace(model, max_error=predictive.promised_error(request.kind, asked, material))
    streams = [stream_of(model, beside, point)[0] for point, beside in enumerate(heard)]
    model = replace(model, decoder="refine", refinement=refinement.fit(*streams))
    if request.decoder == "auto" and not _pays(model, heard, asked):
        return predictive.design_predictive(
            material, space, request.kind, request.values, None, request.packet_samples, request.hello_every
        )
    asked_units = [step_q8 / 256 * material.scale for step_q8, _ in asked]
    return predictive.with_figures(replace(model, provenance={"asked_steps": asked_units, "side": request.side}), heard)


def _pays(model: Model, heard: list[Material], asked: Steps) -> bool:
    """Whether refinement beats the other decoders on the stream it was designed for, or allowed a wider step."""
    if model.max_error is not None or model.refinement is None:
        return False
    if any(point.step_q8 > 1.02 * step_q8 for point, (step_q8, _) in zip(model.node.rate_points, asked, strict=True)):
        return True

    def spread(name: str) -> float:
        return float(sum(np.log(predictive.measure_predictive(model, m, k, name)[1]) for k, m in enumerate(heard)))

    return spread("refine") < min(spread("midpoint"), spread("kalman")) + 2 * len(heard) * float(np.log(WORTH))


# ------------------------------------------------------------------------------------------------------- streams


def stream_of(model: Model, material: Material, point: int) -> tuple[Stream, StreamIndices, int]:
    """(stream beside the truth, indices, payload bytes) of the whole packets of `material`."""
    indices, sent_bytes = predictive.send(model.node, material, point)
    whole = indices.values.size
    low, high = Cells(model).of(indices)
    present = material.present[:whole]
    truth = np.where(present, (material.values[:whole] - material.offset) / material.scale, 0.0)
    starts = np.zeros(whole, np.bool_)
    starts[indices.packet_starts] = True
    recon = indices.recon.astype(np.float64)
    return Stream(truth, recon, low, high, starts, present.copy(), material.side[:whole]), indices, sent_bytes


def _trial_stream(material: Material, step: tuple[int, int], packet_samples: int) -> Stream:
    return stream_of(Model(_trial_node(material, step, packet_samples), "midpoint"), material, 0)[0]


def _trial_node(material: Material, step: tuple[int, int], packet_samples: int) -> NodeModel:
    """A node whose tables are not fitted: they do not change its levels."""
    packets = Packets.cut(material, packet_samples, 1)
    rows = predictive.fit_rows(packets, SEARCH_ORDER, (step,))
    return predictive.plain_node(Shape(rows, (), 1, (step,)), packet_samples)


def _heard(material: Material, step: tuple[int, int], request: Request) -> Material:
    """The material with the neighbours that the gateway will have beside a node of this step."""
    if request.side == "true" or not material.side.shape[1]:
        return material
    width = step[0] / 256 * material.scale
    columns = [coded_neighbour(column, width, request) for column in material.side.T]
    return replace(material, side=np.ascontiguousarray(np.stack(columns, axis=1)))


def coded_neighbour(column: np.ndarray, width: float, request: Request) -> np.ndarray:
    """A neighbour's column (sensor units, NaN missing) as its own stream, refined by itself, gives it."""
    return Neighbour.fit(column, width, request).decoded(column)


@dataclass(frozen=True, eq=False)
class Neighbour:
    """A node that others look at, frozen: predictor, step and moments. Its tables do not matter, as its bits are not counted."""

    model: Model

    @staticmethod
    def fit(column: np.ndarray, width: float, request: Request) -> Neighbour:
        """`width`: of the cells of the node that looks at it, sensor units."""
        own = from_arrays(column, np.empty((len(column), 0)))
        step_q8 = int(np.clip(round(width / own.scale * 256), MIN_STEP_Q8, MAX_STEP_Q8))
        step = (step_q8, step_q8 // 2)
        if request.kind == "step":
            step = widened(own, step, request.packet_samples)
        node = _trial_node(own, step, request.packet_samples)
        model = Model(replace(node, scale=own.scale, offset=own.offset), "midpoint")
        try:
            return Neighbour(replace(model, refinement=refinement.fit(stream_of(model, own, 0)[0])))
        except DesignError:  # too short to be refined
            return Neighbour(model)

    def decoded(self, column: np.ndarray) -> np.ndarray:
        node = self.model.node
        own = from_arrays(column, np.empty((len(column), 0)), (node.scale, node.offset))
        stream = stream_of(self.model, own, 0)[0]
        moments = self.model.refinement
        values = stream.recon if moments is None else refinement.apply(moments, stream)[0]
        heard = np.full(len(column), np.nan)
        heard[: len(values)] = np.where(stream.known, node.to_units(values), np.nan)
        return heard


# --------------------------------------------------------------------------------------------------------- steps


def widened(material: Material, step: tuple[int, int], packet_samples: int) -> tuple[int, int]:
    """The step and rounding of the fewest bits whose refined stream is as close to the source as mid-cells of `step` are.

    Rounding below half a step makes a dead zone: fewer bits, and cells around 0 that refinement needs to look into.
    """
    target = _midpoint_rmse(_trial_stream(material, step, packet_samples))
    best, fewest = step, np.inf
    doubt = DEAD_ZONE_DOUBT / float(np.sqrt(predictive.HELD_OUT * len(material.codes) / packet_samples))
    for share in ROUNDINGS:
        rounding = partial(_with_rounding, share=share)

        @cache
        def rmse(step_q8: int, rounding: Rounding = rounding) -> float:
            return _refined_rmse(_trial_stream(material, rounding(step_q8), packet_samples))

        try:
            step_q8 = _widest(rmse, target, round(step[0] * (0.5 + share)))
        except DesignError:  # too short to hold out half
            return best
        if step_q8 is not None:
            bits = _trial_bits(material, rounding(step_q8), packet_samples)
            bits -= RATE_SLOPE * float(np.log2(target / rmse(step_q8)))
            bits *= 1 + (share < 0.5) * doubt
            if bits < fewest:
                best, fewest = rounding(step_q8), bits
    return best


def _with_rounding(step_q8: int, share: float) -> tuple[int, int]:
    return step_q8, int(step_q8 * share)


def _trial_bits(material: Material, step: tuple[int, int], packet_samples: int) -> float:
    """Bits per sample on held-out packets, with tables of a plain shape."""
    fitting, held, _ = predictive.stretches(material, packet_samples)
    rows = predictive.fit_rows(fitting, SEARCH_ORDER, (step,))
    shape = predictive.with_contexts(fitting, rows, SEARCH_ORDER, MAX_CONTEXTS, (step,))
    return predictive.held_bits(fitting, held, shape) / float(held.present.sum())


def _widest(rmse: Callable[[int], float], target: float, step_q8: int) -> int | None:
    """Where log rmse over log step meets the target, by secants; None if not even `step_q8` does."""
    low, high, slope = max(step_q8, MIN_STEP_Q8), round(step_q8 * WIDEST), 1.0
    if rmse(low) > target:
        return None
    bracketed = False
    for _ in range(TRIALS):
        if rmse(low) > (1 - CLOSE) * target or high - low <= 1:
            break
        growth = float(np.log(target / rmse(low))) / slope
        trial = min(round(low * np.exp(min(growth, MAX_GROWTH))), high)
        if bracketed:  # kept away from the ends
            trial = round(float(np.clip(trial, low + 0.05 * (high - low), high - 0.05 * (high - low))))
        trial = min(max(trial, low + 1), MAX_STEP_Q8)
        slope = float(np.log(rmse(trial) / rmse(low)) / np.log(trial / low))
        slope = min(max(slope, 0.3), 3.0)
        if rmse(trial) <= target:
            low = trial
        else:
            high, bracketed = trial, True
    return low


def _midpoint_rmse(stream: Stream) -> float:
    return float(np.sqrt(np.mean((stream.recon - stream.x)[stream.known] ** 2)))


def _refined_rmse(stream: Stream) -> float:
    """Of each half, refined by what the other half taught."""
    middle = len(stream.x) // 2
    halves = [stream.rows(slice(0, middle)), stream.rows(slice(middle, len(stream.x)))]
    total, count = 0.0, 0
    for learnt, used in (halves, halves[::-1]):
        model = refinement.fit(learnt)
        heard = used if model.neighbours else used.without_side()
        total += refinement.distortion(model, heard) * int(used.known.sum())
        count += int(used.known.sum())
    return float(np.sqrt(total / count))
