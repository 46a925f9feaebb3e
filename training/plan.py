"""Who uses whom, and how each node is coded: `edge-wz plan`, by measured cost.

    studies (own samples only) -> screening by conditional variance -> measured pairs -> tree of bounded depth
    -> neighbours one after another, as decoded by the plan so far -> models of all rows

Every node is first brought to the wanted fidelity on its own. A neighbour must lower the bits of whole packets on the
validation rows, by a paired interval that excludes 1, or the node stays alone: so no node is planned worse than
`predictive` by itself. What was tried and refused is kept with its numbers (`Tried`), for the page and `plan.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edge_wz.errors import DesignError, InputError
from edge_wz.formats.layout import MIN_STEP_Q8
from edge_wz.model import Model, NodeModel
from training import arborescence
from training import design_predictive as predictive
from training.data import Recording
from training.evaluate import bootstrap_ratio
from training.material import COPY_CORRELATION, gather
from training.plan_energy import Power
from training.plan_nested import NestedTrial
from training.plan_schemes import try_all
from training.plan_study import HELD_OUT, Candidate, Columns, Met, Study, conditional_variance, with_side

KINDS = ("rmse", "max_error", "bits")
SCHEMES = ("predictive", "nested", "trellis", "syndrome", "layered")
GATEWAYS = {"nested": "kalman", "layered": "kalman"}  # decoders of schemes whose own name is not that
SHARES = (0.5, 0.35, 0.2)
DEAD_ZONE_BELOW = 2.2  # bits per sample: above, a dead zone has nothing to silence
ROWS_PER_PACKET = 12  # enough to choose tables on some of them and to validate on the last quarter
STUDY_SAMPLES = 20_000  # the last rows are enough to choose by; the models are of all rows
MEASURED_PAIRS = 4  # of each node, the best by conditional variance
MAX_NEIGHBOURS = 4
WORTH_DB = 0.1  # of conditional variance: less is not measured
WORTH_BITS = 0.99  # fewer are not worth another decoder or a dead zone
WINDOW = (5, 5)  # own samples that the two-sided decoder sees

Show = Callable[[float, str | None], None]
Ratio = tuple[float, float, float]  # and its 95 % interval


@dataclass(frozen=True)
class Options:
    """Fidelity wanted, in sensor units or bits per sample, the same for every node."""

    kind: str
    value: float
    packet_samples: int = 32
    max_depth: int = 2
    max_neighbours: int = MAX_NEIGHBOURS
    schemes: tuple[str, ...] = SCHEMES
    power: Power | None = None  # estimate battery life for this
    layers: tuple[int, ...] = ()  # of `layered`, which is weighed only with them


@dataclass(frozen=True, eq=False)
class Tried:
    """Side information that was measured: what it takes off the conditional variance, and off the bits at equal rmse."""

    side: tuple[str, ...]
    gain_db: float
    bits: float
    ratio: Ratio
    used: bool


@dataclass(frozen=True, eq=False)
class Choice:
    """How one node is coded, with its figures on the validation rows. Bits per sample, rmse and step in sensor units."""

    name: str
    candidate: Candidate
    depth: int
    step: float
    rmse: float
    samples: int
    packets: int
    bits: float
    plain_bits: float
    own_bits: float
    rivals: dict[str, float]
    rival: str
    ratio: Ratio
    gains_db: dict[str, float]
    tried: tuple[Tried, ...]
    nested: str
    node: NodeModel  # as designed on the first rows: what the final one is like
    scheme: str = "predictive"
    nested_bits: float = 0.0  # where it was measured, at its own rmse
    trellis: str = ""
    syndrome: str = ""
    rate: float = 0.0  # of `trellis` and `syndrome`; of `layered` the layers that are sent
    layered: str = ""


@dataclass(eq=False)
class Plan:
    """`order`: neighbours before those who use them."""

    options: Options
    recording: Recording
    choices: dict[str, Choice] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)

    @property
    def order(self) -> list[str]:
        return sorted(self.choices, key=lambda name: (self.choices[name].depth, list(self.recording.columns).index(name)))


def silent(steps: float, text: str | None) -> None:
    """Nobody watches."""


# ------------------------------------------------------------------------------------------------------- recordings


def check_recording(recording: Recording, names: Sequence[str], options: Options) -> None:
    """Refuses what cannot be planned, in one line."""
    if options.kind not in KINDS or not (np.isfinite(options.value) and options.value > 0):
        raise InputError(f"{options.kind} must be a positive number, not {options.value:g}")
    if not names:
        raise InputError(f"{recording.path}: no column to plan")
    if len(set(names)) != len(names):
        raise InputError(f"a node is named twice: {', '.join(names)}")
    columns = [recording.source(name) for name in names]
    for at, first in enumerate(names):
        for later in range(at + 1, len(names)):
            if _copies(columns[at], columns[later]):
                raise DesignError(
                    f"{recording.path}: columns '{first}' and '{names[later]}' are copies of each other: the same sensor "
                    "under two names; leave one out with --nodes"
                )


def _copies(first: np.ndarray, second: np.ndarray) -> bool:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return False
    a, b = first[both], second[both]
    if a.min() == a.max() or b.min() == b.max():
        return False
    return bool(abs(np.corrcoef(a, b)[0, 1]) > COPY_CORRELATION)


def make_study(recording: Recording, name: str, options: Options) -> Study:
    material = gather(recording, name, ())
    size = options.packet_samples
    rows = min(len(material.codes), STUDY_SAMPLES) // size * size
    material = material.part(len(material.codes) - rows, len(material.codes))
    cut = int(rows * (1 - HELD_OUT)) // size * size
    study = Study(name, material, size, cut)
    if not study.validated:
        raise DesignError(f"{recording.path}: column '{name}' has no sample in the last quarter of the rows, to validate on")
    if rows < ROWS_PER_PACKET * size:
        raise DesignError(f"{recording.path}: {rows} rows are too few to plan packets of {size} samples: {ROWS_PER_PACKET * size} are needed")
    kind = {"bits": "rate", "max_error": "max_error", "rmse": "step"}[options.kind]
    value = options.value * np.sqrt(12.0) if options.kind == "rmse" else options.value
    study.first_q8 = predictive.coding_steps(material.part(0, cut), kind, (value,), size)[0][0]
    return study


# ---------------------------------------------------------------------------------------------------- own samples


@dataclass(eq=False)
class Planner:
    """The work in progress: studies, the rmse wanted of each (LSB), each node alone, and what is decoded by now."""

    recording: Recording
    options: Options
    studies: dict[str, Study]
    show: Show
    targets: dict[str, float] = field(default_factory=dict)
    alone: dict[str, Met] = field(default_factory=dict)
    plain: dict[str, Met] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    gains: dict[str, dict[str, float]] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)

    def study_alone(self, name: str) -> None:
        """The node by itself: its dead zone, and whether its own samples on both sides refine it."""
        study = self.studies[name]
        self.targets[name] = self._target(study)
        self.plain[name] = best = study.met(Candidate(), self.targets[name], {})
        for share in self._shares(study, best):
            for decoder in ("midpoint", "refine"):
                met = self._met(name, Candidate(share, decoder), {})
                if met is not None and met.bits.sum() < WORTH_BITS * best.bits.sum():
                    best = met
        if ratio(best.bits, self.plain[name].bits)[2] > 1.0:
            best = self.plain[name]
        self.alone[name] = best
        self.columns[name] = self.decoded(name, best, {})

    def _target(self, study: Study) -> float:
        if self.options.kind == "rmse":
            return self.options.value / study.material.scale
        return study.outcome(study.first_q8, Candidate(), {}).rmse

    def _shares(self, study: Study, plain: Met) -> tuple[float, ...]:
        """A promise of a largest error leaves no room for a dead zone."""
        bits = plain.bits.sum() / study.validated
        return SHARES if self.options.kind != "max_error" and bits < DEAD_ZONE_BELOW else SHARES[:1]

    def _met(self, name: str, candidate: Candidate, columns: Columns) -> Met | None:
        """None where the recording is too short for the moments."""
        try:
            return self.studies[name].met(candidate, self.targets[name], columns)
        except DesignError:
            return None

    def decoded(self, name: str, met: Met, columns: Columns) -> np.ndarray:
        """What the gateway makes of the node, sensor units, NaN where it sent nothing."""
        study, step_q8 = self.studies[name], self.step_q8(name, met)
        outcome = study.outcome(step_q8, met.candidate, columns)
        return outcome.values * study.material.scale + study.material.offset

    def step_q8(self, name: str, met: Met) -> int:
        """Fixed where the step was asked for, else that which meets the rmse."""
        if self.options.kind != "rmse":
            return self.studies[name].first_q8
        return max(MIN_STEP_Q8, round(met.step * 256))

    # ------------------------------------------------------------------------------------------------------ pairs

    def screen(self, name: str) -> list[str]:
        """The other nodes by how much they take off the conditional variance; those that are worth measuring first."""
        self.gains[name] = {other: self._gain_db(name, (other,)) for other in self.studies if other != name}
        found = [other for other, gain in self.gains[name].items() if gain >= WORTH_DB]
        return sorted(found, key=lambda other: -self.gains[name][other])

    def _gain_db(self, name: str, side: tuple[str, ...]) -> float:
        """Of var(source | own values on both sides) over the same with neighbours, on the design rows."""
        study = self.studies[name]
        sent = study.sent(study.first_q8, self.alone[name].candidate.share)
        stream = with_side(sent.stream, side, self.columns).rows(slice(0, study.cut))
        try:
            alone = conditional_variance(stream.without_side(), WINDOW)
            return float(10 * np.log10(alone / conditional_variance(stream, WINDOW)))
        except DesignError:
            return 0.0

    def pair_costs(self, names: Sequence[str]) -> np.ndarray:
        """Bits of every node (column) given its parent (row); 0 is nobody."""
        costs = np.full((len(names) + 1, len(names) + 1), np.inf)
        for at, name in enumerate(names, 1):
            self.show(1, f"plan: neighbours of {name}")
            costs[0, at] = self.alone[name].bits.sum()
            for other in self.screen(name)[:MEASURED_PAIRS]:
                met = self._met(name, self.with_neighbours(name, (other,)), self.columns)
                if met is not None and met.bits.sum() < costs[0, at]:
                    costs[1 + names.index(other), at] = met.bits.sum()
        return costs

    def with_neighbours(self, name: str, side: tuple[str, ...]) -> Candidate:
        return Candidate(self.alone[name].candidate.share, "refine", side)

    # ----------------------------------------------------------------------------------------------------- choice

    def settle(self, name: str, above: Sequence[str]) -> tuple[Met, tuple[Tried, ...]]:
        """The node with the best set of `above`, or alone; its decoded values from now on."""
        self.studies[name].forget_neighbours()
        alone, best = self.alone[name], self.alone[name]
        tried: list[Tried] = []
        for side in self._growing(name, above):
            met = self._met(name, self.with_neighbours(name, side), self.columns)
            if met is None:
                continue
            against = ratio(met.bits, alone.bits)
            bits = float(met.bits.sum()) / self.studies[name].validated
            tried.append(Tried(side, self._gain_db(name, side), bits, against, False))
            if against[2] < 1.0 and met.bits.sum() < best.bits.sum():
                best = met
        self.studies[name].choose_anew(self.step_q8(name, best), best.candidate.share)
        self.columns[name] = self.decoded(name, best, self.columns)
        self.depths[name] = max((1 + self.depths[other] for other in best.candidate.side), default=0)
        return best, tuple(
            Tried(one.side, one.gain_db, one.bits, one.ratio, one.side == best.candidate.side) for one in tried
        )

    def _growing(self, name: str, above: Sequence[str]) -> list[tuple[str, ...]]:
        """Sets of 1, 2, ... neighbours, each the one before and who then takes most off the conditional variance."""
        sets: list[tuple[str, ...]] = []
        side: tuple[str, ...] = ()
        gained = 0.0
        left = [other for other in above if self.gains[name].get(other, 0.0) > 0.0]
        while left and len(side) < self.options.max_neighbours:
            gains = {other: self._gain_db(name, (*side, other)) for other in left}
            best = max(gains, key=lambda other: gains[other])
            if gains[best] < gained + WORTH_DB:
                break
            side, gained = (*side, best), gains[best]
            sets.append(side)
            left.remove(best)
        return sets

    def others(self, name: str, rmse: float, met: Met, side: tuple[str, ...]) -> dict[str, NestedTrial]:
        """What the schemes beside `predictive` could do, with the neighbours that tell most."""
        return try_all(self.options, self.studies[name], self._rows(name), rmse, met, side, self.columns)

    def _rows(self, name: str) -> Recording:
        """Those of the study."""
        rows = self.recording.samples
        return self.recording.part(rows - len(self.studies[name].material.codes), rows)


def ratio(ours: np.ndarray, theirs: np.ndarray) -> Ratio:
    """The paired interval of `evaluate`, in blocks short enough that there are several."""
    return bootstrap_ratio(ours, theirs, block_packets=max(1, min(8, len(ours) // 12)))


# ------------------------------------------------------------------------------------------------------- the plan


def make_plan(recording: Recording, names: Sequence[str], options: Options, show: Show = silent) -> Plan:
    """Choices for every node; `training.plan_models` makes models of them."""
    check_recording(recording, names, options)
    planner = Planner(recording, options, {name: make_study(recording, name, options) for name in names}, show)
    for name in names:
        show(1, f"plan: {name} alone")
        planner.study_alone(name)
    costs = planner.pair_costs(names)
    parent = arborescence.bounded(costs, arborescence.cheapest(costs), options.max_depth + 1)
    level = dict(zip(names, (arborescence.depths(parent)[1:] - 1).tolist(), strict=True))
    plan = Plan(options, recording)
    for name in sorted(names, key=lambda name: level[name]):
        show(1, f"plan: choosing for {name}")
        above = [other for other in names if level[other] < level[name]]
        met, tried = planner.settle(name, above)
        plan.choices[name] = _choice(planner, name, met, tried, planner.depths[name])
        planner.depths[name] = plan.choices[name].depth
    return plan


def _choice(planner: Planner, name: str, met: Met, tried: tuple[Tried, ...], depth: int) -> Choice:
    study, step_q8 = planner.studies[name], planner.step_q8(name, met)
    outcome = study.outcome(step_q8, met.candidate, planner.columns)
    per_sample, scale = 1.0 / study.validated, study.material.scale
    rivals = study.rivals_at(outcome.rmse)
    rival = min(rivals, key=lambda other: float(rivals[other].sum()))
    chosen = Choice(
        name=name,
        candidate=met.candidate,
        depth=depth,
        step=outcome.step * scale,
        rmse=outcome.rmse * scale,
        samples=study.validated,
        packets=len(outcome.bits),
        bits=float(outcome.bits.sum()) * per_sample,
        plain_bits=float(study.met(Candidate(), outcome.rmse, {}).bits.sum()) * per_sample,
        own_bits=float(study.met(planner.alone[name].candidate, outcome.rmse, {}).bits.sum()) * per_sample,
        rivals={other: float(bits.sum()) * per_sample for other, bits in rivals.items()},
        rival=rival,
        ratio=ratio(outcome.bits, rivals[rival]),
        gains_db=planner.gains[name],
        tried=tried,
        nested="",
        node=study.sent(step_q8, met.candidate.share).model.node,
    )
    return _or_other(planner, chosen, replace(met, bits=outcome.bits), outcome.rmse, rivals[rival])


def _or_other(planner: Planner, chosen: Choice, met: Met, rmse: float, rival: np.ndarray) -> Choice:
    """The choice with what the schemes beside `predictive` would cost; that of them which is cheapest at no larger rmse, if it is cheaper."""
    name, study = chosen.name, planner.studies[chosen.name]
    side = chosen.candidate.side or (chosen.tried[-1].side if chosen.tried else ())
    found = planner.others(name, rmse, met, side)
    bits = {scheme: float(one.bits.sum()) / study.validated for scheme, one in found.items() if one.bits is not None}
    reasons: dict[str, Any] = {scheme: one.reason for scheme, one in found.items()}
    chosen = replace(chosen, nested_bits=bits.get("nested", 0.0), **reasons)
    for scheme in sorted(bits, key=lambda scheme: bits[scheme]):
        one = found[scheme]
        if one.bits is None or one.rmse > rmse or ratio(one.bits, met.bits)[2] >= 1.0:
            continue
        planner.columns[name] = one.values
        return replace(
            chosen, scheme=scheme, candidate=Candidate(0.5, GATEWAYS.get(scheme, scheme), side), step=one.step, rate=one.rate,
            depth=max((1 + planner.depths[other] for other in side), default=chosen.depth),
            rmse=one.rmse * study.material.scale, bits=bits[scheme], ratio=ratio(one.bits, rival),
        )  # fmt: skip
    return chosen
