"""One node under study: its stream at a ladder of steps, and what each way to reconstruct it costs at a wanted rmse.

Everything is designed on the first rows and measured on the last quarter, packets as sent and all bytes counted. What a
candidate costs at an rmse is read off the line in log rmse between the two steps around it, as with the rivals, so all
candidates share the streams and only their decoders differ. `training.plan` chooses among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edge_wz.codec.predictive_decoders import Cells
from edge_wz.decoders.refinement import available
from edge_wz.formats.layout import MAX_STEP_Q8, MIN_STEP_Q8
from edge_wz.model import Model, NodeModel, RefinementModel
from training import baselines, refinement, rivals
from training import design_predictive as predictive
from training.material import Material
from training.refinement import Stream
from training.transmission import transmit

LADDER = 1.25  # between neighbouring steps
MAX_RUNGS = 9  # up or down from the first step
HELLO_EVERY = 128
HELD_OUT = 0.25

Columns = Mapping[str, np.ndarray]  # decoded values of other nodes, sensor units, NaN where there is none


@dataclass(frozen=True)
class Candidate:
    """How a node could be coded: its dead zone (`share` of the step that rounds up; 0.5 has none) and its decoder."""

    share: float = 0.5
    decoder: str = "midpoint"
    side: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sent:
    """The node's packets at one step over all rows. `bits`: payload of each packet; stream in LSB, no neighbours."""

    model: Model
    stream: Stream
    bits: np.ndarray

    @property
    def step(self) -> float:
        return float(self.model.node.rate_points[0].step)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A candidate at one step: rmse in LSB and bits of the packets on the validation rows; `values` in LSB, NaN where none."""

    step: float
    rmse: float
    bits: np.ndarray
    values: np.ndarray
    refinement: RefinementModel | None = None


@dataclass(frozen=True, eq=False)
class Met:
    """A candidate at the wanted rmse: bits of the validation packets, and the step in LSB that does it."""

    candidate: Candidate
    step: float
    rmse: float
    bits: np.ndarray


@dataclass(eq=False)
class Study:
    """`material`: the rows of the study; the first `cut` of them design, the others validate."""

    name: str
    material: Material
    packet_samples: int
    cut: int
    first_q8: int = MIN_STEP_Q8
    _like: dict[float, NodeModel] = field(default_factory=dict)  # by share: the numbers of tables of the first step tried
    _sent: dict[tuple[int, float], Sent] = field(default_factory=dict)
    _outcomes: dict[tuple[int, Candidate], Outcome] = field(default_factory=dict)

    @property
    def validated(self) -> int:
        """Samples present on the validation rows."""
        return int(np.count_nonzero(self.material.present[self.cut :]))

    def step_q8(self, rung: int) -> int:
        return int(np.clip(round(self.first_q8 * LADDER**rung), MIN_STEP_Q8, MAX_STEP_Q8))

    def sent(self, step_q8: int, share: float) -> Sent:
        key = (step_q8, share)
        if key not in self._sent:
            self._sent[key] = self._send((step_q8, round(step_q8 * share)), self._like.get(share))
            self._like.setdefault(share, self._sent[key].model.node)
        return self._sent[key]

    def choose_anew(self, step_q8: int, share: float) -> None:
        """At this step a predictor and tables chosen for it, not for the first step of the ladder, where that is cheaper."""
        before = self.sent(step_q8, share)
        chosen = self._send((step_q8, round(step_q8 * share)), None)
        if chosen.bits[self.cut // self.packet_samples :].sum() < before.bits[self.cut // self.packet_samples :].sum():
            self._sent[step_q8, share] = chosen
            self._outcomes = {key: outcome for key, outcome in self._outcomes.items() if key[0] != step_q8}

    def _send(self, steps: tuple[int, int], like: NodeModel | None) -> Sent:
        """Design on the rows before `cut`, send all."""
        design = self.material.part(0, self.cut)
        if like is None:
            model = predictive.build(design, rivals.UNUSED, (steps,), self.packet_samples, HELLO_EVERY)
        else:
            model = predictive.build_like(like, design, (steps,))
        return Sent(model, *stream_of(model.node, model, self.material))

    def outcome(self, step_q8: int, candidate: Candidate, columns: Columns) -> Outcome:
        key = (step_q8, candidate)
        if key not in self._outcomes:
            self._outcomes[key] = self._measure(self.sent(step_q8, candidate.share), candidate, columns)
        return self._outcomes[key]

    def forget_neighbours(self) -> None:
        """What was measured with neighbours as they were decoded until now."""
        self._outcomes = {key: outcome for key, outcome in self._outcomes.items() if not key[1].side}

    def _measure(self, sent: Sent, candidate: Candidate, columns: Columns) -> Outcome:
        stream, model = with_side(sent.stream, candidate.side, columns), None
        values = stream.recon.astype(np.float64)
        if candidate.decoder == "refine":
            model = refinement.fit(stream.rows(slice(0, self.cut)))
            heard = stream if model.neighbours else stream.without_side()
            values, _ = refinement.apply(model, heard)
        values = np.where(stream.known, values, np.nan)
        errors = (values - stream.x)[self.cut :]
        rmse = float(np.sqrt(np.nanmean(errors * errors)))
        return Outcome(sent.step, rmse, sent.bits[self.cut // self.packet_samples :], values, model)

    def met(self, candidate: Candidate, rmse: float, columns: Columns) -> Met:
        """The candidate at this rmse (LSB); at the finest step if that is coarser than asked, at the coarsest if finer."""
        low, high = None, None
        rung = 0
        while (low is None or high is None) and abs(rung) <= MAX_RUNGS:
            q8 = self.step_q8(rung)
            one = self.outcome(q8, candidate, columns)
            if one.rmse <= rmse:
                low, rung = one, rung + 1
                if q8 == MAX_STEP_Q8:
                    break
            else:
                high, rung = one, rung - 1
                if q8 == MIN_STEP_Q8:
                    break
        if low is None or high is None or low.rmse <= 0:
            end = low or high
            assert end is not None
            return Met(candidate, end.step, end.rmse, end.bits.astype(np.float64))
        weight = np.log(rmse / low.rmse) / np.log(high.rmse / low.rmse)
        step = low.step ** (1 - weight) * high.step**weight
        return Met(candidate, step, rmse, low.bits * (1 - weight) + high.bits * weight)

    def rivals_at(self, rmse: float) -> dict[str, np.ndarray]:
        """Bits of the validation packets of the conventional coders at this rmse (LSB), fitted on the design rows."""
        fit, test = (self._signal(part) for part in (slice(0, self.cut), slice(self.cut, None)))
        static = self.met(Candidate(), rmse, {})
        return {
            "hold": baselines.hold(fit, test, rmse).bits.astype(np.float64),
            "dpcm_rice": baselines.dpcm_rice(fit, test, rmse).bits.astype(np.float64),
            "dpcm_range": static.bits,
        }

    def _signal(self, part: slice) -> baselines.Signal:
        m = self.material
        truth = np.where(m.present, (m.values - m.offset) / m.scale, 0.0)
        return baselines.Signal(m.codes[part], m.present[part], truth[part], self.packet_samples)


def stream_of(node: NodeModel, model: Model, material: Material) -> tuple[Stream, np.ndarray]:
    """What the gateway parses, beside the truth, and the payload bits of each packet."""
    sent = transmit(node, material.codes, material.present)
    lows, highs = Cells(model).of(sent.indices)
    known = (lows <= highs) & material.present
    starts = np.zeros(len(known), bool)
    starts[sent.indices.packet_starts] = True
    x = (material.values - material.offset) / material.scale
    return Stream(x, sent.indices.recon, lows, highs, starts, known, np.empty((len(x), 0))), sent.payload_bits


def with_side(stream: Stream, side: tuple[str, ...], columns: Columns) -> Stream:
    if not side:
        return stream.without_side()
    return replace(stream, side=np.ascontiguousarray(np.column_stack([columns[name] for name in side])))


def conditional_variance(stream: Stream, reach: tuple[int, int]) -> float:
    """Of the source given own values `reach` back and ahead and the neighbours of the stream; LSB^2, linear."""
    _, cov = refinement.joint_moments(stream)
    neighbours = stream.side.shape[1]
    index = np.flatnonzero(available(*reach, (1 << neighbours) - 1, neighbours)) + 1
    block = cov[np.ix_(index, index)]
    scales = np.sqrt(np.diagonal(block)) + 1e-12
    block = block / np.outer(scales, scales) + 1e-9 * np.eye(index.size)
    cross = cov[index, 0] / scales
    return max(float(cov[0, 0] - cross @ np.linalg.solve(block, cross)), 1e-12)
