"""Design of `predictive`: predictor rows, contexts and tables, chosen by what they cost on packets held out.

Each candidate runs through the integer codec itself: rows are fitted on the source, then again on the reconstructions
of the closed
loop they caused; tables are fitted to the levels of that loop. Short recordings are packetised at four phases,
because a table for the
first slots sees only one sample per packet. Order, rows, position tables and contexts are picked one after another on
the last quarter, and only against what its few packets may show by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np

from edge_wz.codec import predictive as codec
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError, InputError
from edge_wz.formats.blob import make_predictive
from edge_wz.formats.layout import COEF_BITS, MAX_CONTEXTS, MAX_ORDER, MAX_STEP_Q8, MIN_STEP_Q8
from edge_wz.formats.sections.predictive import escape_classes
from edge_wz.model import Model, NodeModel, StateSpace
from training import predictor_rows
from training.cdf_fit import Table, fit_table, integer_cdf
from training.material import Material, wanders
from training.predictor_rows import integer_row

CDF_BITS = 14
PHASES = 4
PHASES_BELOW = 200_000  # samples
MIN_PACKETS = 12
DOUBT = 0.5  # standard errors that a choice has to save by
HELD_OUT = 0.25
REFITS = 2
POSITION_CHOICES = (1, 2, 3, 4, 6, 8)
CONTEXT_CHOICES = (1, 3, 5, 9)
RATE_SEARCHES = 12

Rows = tuple[np.ndarray, ...]
Steps = tuple[tuple[int, int], ...]  # (step_q8, rounding_q8) of each rate point


@dataclass(frozen=True, eq=False)
class Packets:
    """codes int16[B, N], present bool[B, N]; all packets are full."""

    codes: np.ndarray
    present: np.ndarray
    wandering: bool = False  # rows predict changes and know no mean

    @staticmethod
    def cut(material: Material, size: int, phases: int) -> Packets:
        codes, present = [], []
        for phase in range(phases):
            first = phase * size // phases
            whole = (len(material.codes) - first) // size
            span = slice(first, first + whole * size)
            codes.append(material.codes[span].reshape(whole, size))
            present.append(material.present[span].reshape(whole, size))
        rows, there = np.concatenate(codes), np.concatenate(present)
        used = there.any(axis=1)
        return Packets(np.ascontiguousarray(rows[used]), np.ascontiguousarray(there[used]), wanders(material.in_codes))

    def run(self, node: NodeModel, point: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Payload sizes in bytes, levels and reconstructions, by the codec."""
        counts = np.full(len(self.codes), self.codes.shape[1], dtype=np.int32)
        payloads = codec.encode(node, point, self.codes, self.present, counts)
        sizes = np.array([len(payload) for payload in payloads])
        data = np.frombuffer(b"".join(payloads), dtype=np.uint8)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        parsed = codec.parse(node, point, data, offsets, counts, self.present)
        return sizes, parsed["values"], parsed["recon"]


@dataclass(frozen=True)
class Numbers:
    """What is chosen of a shape; the rest of it is fitted."""

    order: int
    hold: bool
    position_tables: int
    contexts: int


PLAIN = Numbers(2, False, 3, 5)  # what a choice has to beat
CAUTIOUS = Numbers(2, False, 1, 3)  # the same where the level wanders: the rows held out are as lucky as those before them


@dataclass(frozen=True, eq=False)
class Shape:
    """Everything of a node model but its tables. `steps`: (step_q8, rounding_q8) per rate point."""

    rows: Rows
    thresholds: tuple[int, ...]
    position_tables: int
    steps: Steps

    @property
    def tables(self) -> int:
        return self.position_tables + len(self.thresholds) + 1


def design_predictive(
    material: Material,
    space: StateSpace,
    kind: str,
    values: tuple[float, ...],
    decoder: str | None,
    packet_samples: int,
    hello_every: int,
) -> Model:
    """A model for targets of `kind` rate, max_error or step, in the units of the user; `space` with the source in
    codes."""
    steps = coding_steps(material, kind, values, packet_samples)
    model = build(material, space, steps, packet_samples, hello_every)
    model = replace(model, max_error=promised_error(kind, steps, material))
    return with_decoder(model, material, decoder)


def coding_steps(material: Material, kind: str, values: tuple[float, ...], packet_samples: int) -> Steps:
    """One rate point for each target."""
    if kind == "rate":
        fitting, held, _ = stretches(material, packet_samples)
        return tuple(step_for_rate(fitting, held, value) for value in values)
    return tuple(coding_step(kind, value, material) for value in values)


def build(material: Material, space: StateSpace, steps: Steps, packet_samples: int, hello_every: int) -> Model:
    """The model with these rate points, reconstructed at mid-cell."""
    fitting, held, everything = stretches(material, packet_samples)
    shape = _shape(everything, _choose(fitting, held, steps), steps)
    tables = [_fit_tables(everything, shape, step) for step in range(len(steps))]
    node = _node(shape, tables, packet_samples, hello_every, material)
    return Model(node=node, decoder="midpoint", state_space=space)


def build_like(like: NodeModel, material: Material, steps: Steps) -> Model:
    """`build` with the order and the numbers of tables that `like` has: fitted, nothing chosen, much quicker."""
    _, _, everything = stretches(material, like.packet_samples)
    rows = fit_rows(everything, like.order, steps, is_hold(like.predictors))
    shape = with_contexts(everything, rows, like.position_tables, like.contexts, steps)
    tables = [_fit_tables(everything, shape, step) for step in range(len(steps))]
    return Model(node=_node(shape, tables, like.packet_samples, like.hello_every, material), decoder="midpoint")


def stretches(material: Material, size: int) -> tuple[Packets, Packets, Packets]:
    phases = PHASES if len(material.codes) < PHASES_BELOW and size >= PHASES else 1
    cut = int(len(material.codes) * (1 - HELD_OUT)) // size * size
    fitting = Packets.cut(material.part(0, cut), size, phases)
    held = Packets.cut(material.part(cut, len(material.codes)), size, 1)
    if len(fitting.codes) < MIN_PACKETS or not len(held.codes):
        needed = int((MIN_PACKETS / phases + 1) * size / (1 - HELD_OUT)) + size
        raise DesignError(
            f"{int(material.present.sum())} samples are too few for packets of {size}: at least {needed} are needed"
        )
    return fitting, held, Packets.cut(material, size, phases)


def coding_step(kind: str, value: float, material: Material) -> tuple[int, int]:
    if kind == "max_error":
        allowed = (value - material.rounding) / material.scale
        if allowed < 0:
            raise InputError(
                f"max_error {value:g} is below half a code ({material.rounding:g}): the range does not fit finer codes"
            )
        step_q8 = 256 * (2 * int(np.floor(allowed + 1e-6)) + 1)
    else:
        step_q8 = max(MIN_STEP_Q8, round(value / material.scale * 256))
    if step_q8 > MAX_STEP_Q8:
        raise InputError(f"{kind} {value:g} is wider than the whole range of 16-bit codes")
    return step_q8, step_q8 // 2


def promised_error(kind: str, steps: Steps, material: Material) -> float | None:
    return (steps[0][0] // 256 - 1) / 2 * material.scale if kind == "max_error" else None


# ------------------------------------------------------------------------------------------------------- choices


def _choose(fitting: Packets, held: Packets, steps: Steps) -> Numbers:
    """One dimension after another, each by the bits of the held-out packets; those tell nothing of a level that wanders."""
    if fitting.wandering:
        return CAUTIOUS
    rows_of = cache(partial(fit_rows, fitting, steps=steps))

    def costs(numbers: Numbers) -> np.ndarray:
        rows = rows_of(numbers.order, hold=numbers.hold)
        shape = with_contexts(fitting, rows, numbers.position_tables, numbers.contexts, steps)
        return packet_bits(fitting, held, shape)

    orders = [Numbers(order, False, min(4, order + 2), 5) for order in range(MAX_ORDER + 1)]
    chosen = _cheapest(costs, PLAIN, [*orders, Numbers(1, True, 3, 5)])
    chosen = _cheapest(costs, chosen, [replace(chosen, position_tables=count) for count in POSITION_CHOICES])
    return _cheapest(costs, chosen, [replace(chosen, contexts=count) for count in CONTEXT_CHOICES])


def _cheapest(costs: Callable[[Numbers], np.ndarray], now: Numbers, others: Sequence[Numbers]) -> Numbers:
    """The cheapest of `others` if it saves more than chance would on so few packets, else `now`."""
    found = [(costs(other), other) for other in others]
    bits, best = min(found, key=lambda one: float(one[0].sum()))
    saving = costs(now) - bits
    return best if saving.sum() > DOUBT * float(np.std(saving)) * np.sqrt(len(saving)) else now


def _shape(packets: Packets, numbers: Numbers, steps: Steps) -> Shape:
    rows = fit_rows(packets, numbers.order, steps, numbers.hold)
    return with_contexts(packets, rows, numbers.position_tables, numbers.contexts, steps)


def held_bits(fitting: Packets, held: Packets, shape: Shape) -> float:
    return float(packet_bits(fitting, held, shape).sum())


def packet_bits(fitting: Packets, held: Packets, shape: Shape) -> np.ndarray:
    """Of the held-out packets over all rate points, by tables of the others: ideal code lengths."""
    total = np.zeros(len(held.codes))
    for step in range(len(shape.steps)):
        tables = _fit_tables(fitting, shape, step)
        _, levels, _ = held.run(plain_node(shape, held.codes.shape[1]), step)
        of_table = _table_of(levels, held.present, shape)
        bits = np.zeros(levels.shape)
        for k, table in enumerate(tables):
            coded = (of_table == k) & held.present
            bits[coded] = table.bits_each(levels[coded], CDF_BITS)
        total += bits.sum(axis=1)
    return total


def with_contexts(
    packets: Packets, rows: Rows, position_tables: int, contexts: int, steps: Steps
) -> Shape:
    """Thresholds at the quantiles of the activity over all rate points."""
    shape = Shape(rows, (), position_tables, steps)
    activities = []
    for step in range(len(steps)):
        _, levels, _ = packets.run(plain_node(shape, packets.codes.shape[1]), step)
        activities.append(
            _activity(np.where(packets.present, levels, 0))[:, min(position_tables, levels.shape[1] - 1) :].ravel()
        )
    pooled = np.concatenate(activities)
    wanted = np.quantile(pooled, np.arange(1, contexts) / contexts, method="higher") if contexts > 1 else np.zeros(0)
    thresholds = sorted({min(max(1, int(value)), 65535) for value in wanted})
    if (
        contexts > 1
    ):  # where most levels are 0, quantiles coincide: the activities above them are told apart by doubling
        while len(thresholds) < contexts - 1 and thresholds[-1] < pooled.max():
            thresholds.append(min(max(thresholds[-1] + 1, int(thresholds[-1] * 1.6)), 65535))
    return replace(shape, thresholds=tuple(sorted(set(thresholds))[: MAX_CONTEXTS - 1]))


def _activity(levels: np.ndarray) -> np.ndarray:
    """SPEC 4.2, for levels (B, N) with 0 at absent slots."""
    magnitude = np.abs(levels.astype(np.int64))
    out = np.zeros_like(magnitude)
    out[:, 1:] += 2 * magnitude[:, :-1]
    out[:, 2:] += magnitude[:, :-2]
    return out


def _table_of(levels: np.ndarray, present: np.ndarray, shape: Shape) -> np.ndarray:
    """The number of the table that codes each slot."""
    known = np.where(present, levels, 0)
    table = shape.position_tables + np.searchsorted(np.array(shape.thresholds), _activity(known), side="right")
    first = min(shape.position_tables, levels.shape[1])
    table[:, :first] = np.arange(first)
    return np.asarray(table)


def _fit_tables(packets: Packets, shape: Shape, step: int) -> list[Table]:
    _, levels, _ = packets.run(plain_node(shape, packets.codes.shape[1]), step)
    of_table = _table_of(levels, packets.present, shape)
    groups = [levels[(of_table == k) & packets.present] for k in range(shape.tables)]
    return [fit_table(group, *shape.steps[step], CDF_BITS) for group in groups]


def step_for_rate(fitting: Packets, held: Packets, rate: float) -> tuple[int, int]:
    """The step whose payload comes to `rate` bits per sample on the held-out packets, by bisection."""
    low, high = np.log(MIN_STEP_Q8), np.log(MAX_STEP_Q8 / 4)
    samples = held.present.sum()
    for _ in range(RATE_SEARCHES):
        step_q8 = round(float(np.exp(0.5 * (low + high))))
        steps = ((step_q8, step_q8 // 2),)
        shape = with_contexts(fitting, fit_rows(fitting, 2, steps), 3, 5, steps)
        if held_bits(fitting, held, shape) / samples > rate:
            low = np.log(step_q8)
        else:
            high = np.log(step_q8)
    step_q8 = round(float(np.exp(high)))
    return step_q8, step_q8 // 2


# ---------------------------------------------------------------------------------------------------------- rows


def fit_rows(packets: Packets, order: int, steps: Steps, hold: bool = False) -> Rows:
    """Row p predicts from p earlier slots. Fitted on the source, then on the reconstructions of the loop (its finest
    rate point)."""
    source = np.where(packets.present, packets.codes.astype(np.float64), np.nan)
    mean = float(np.nanmean(source))
    if hold:
        return (integer_row(np.array([mean])), np.array([0, 1 << COEF_BITS]))
    size = packets.codes.shape[1]
    order = min(order, size - 1)
    finest = min(range(len(steps)), key=lambda k: steps[k][0])
    past = source
    rows: Rows = ()
    for _ in range(1 + REFITS):
        fit = predictor_rows.fit_changes if packets.wandering else predictor_rows.fit_row
        rows = tuple(fit(source, past, p, order, steps[finest][0] / 256, mean) for p in range(order + 1))
        _, _, recon = packets.run(plain_node(Shape(rows, (), 1, steps), size), finest)
        past = recon.astype(np.float64)
    return rows


def is_hold(rows: Rows) -> bool:
    return len(rows) == 2 and rows[1][0] == 0 and rows[1][1] == 1 << COEF_BITS


# --------------------------------------------------------------------------------------------------------- models


def plain_node(shape: Shape, size: int) -> NodeModel:
    """The shape with flat tables: the levels do not depend on tables, so this is enough to run the loop."""
    points = []
    for step_q8, rounding_q8 in shape.steps:
        symbols = escape_classes(step_q8, rounding_q8, 0) + 2
        flat = [(0, integer_cdf(np.ones(symbols), CDF_BITS).tolist())] * 2
        points.append((step_q8, rounding_q8, flat))
    rows = [row.tolist() for row in shape.rows]
    return make_predictive(size, 1, 1.0, 0.0, len(rows) - 1, rows, [], 1, 1, CDF_BITS, points)


def _node(shape: Shape, tables: list[list[Table]], size: int, hello_every: int, material: Material) -> NodeModel:
    points = [
        (step_q8, rounding_q8, [(table.direct, table.cdf.tolist()) for table in fitted])
        for (step_q8, rounding_q8), fitted in zip(shape.steps, tables, strict=True)
    ]
    return make_predictive(
        size,
        hello_every,
        material.scale,
        material.offset,
        len(shape.rows) - 1,
        [row.tolist() for row in shape.rows],
        list(shape.thresholds),
        shape.position_tables,
        len(shape.thresholds) + 1,
        CDF_BITS,
        points,
    )


def send(node: NodeModel, material: Material, point: int = 0) -> tuple[StreamIndices, int]:
    """(indices, payload bytes) of the whole packets in `material`, by the codec; an incomplete last one is left out."""
    size = node.packet_samples
    whole = len(material.codes) // size * size
    packets = Packets(material.codes[:whole].reshape(-1, size), material.present[:whole].reshape(-1, size))
    counts = np.full(len(packets.codes), size, dtype=np.int32)
    payloads = codec.encode(node, point, packets.codes, packets.present, counts)
    sizes = np.array([len(payload) for payload in payloads], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    data = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    parsed = codec.parse(node, point, data, offsets, counts, packets.present)
    levels, preds, recon = (parsed[name].ravel() for name in ("values", "preds", "recon"))
    starts = np.arange(0, whole, size, dtype=np.int64)
    checks = np.full(len(starts), -1, np.int32)
    return StreamIndices(levels, np.full(whole, point, np.int32), starts, checks, preds, recon), int(sizes.sum())


def measure_predictive(
    model: Model, material: Material, point: int = 0, decoder: str | None = None
) -> tuple[float, float]:
    """(payload bits per sample, mse in sensor units) over whole packets."""
    indices, sent_bytes = send(model.node, material, point)
    whole = indices.values.size
    cut = material.part(0, whole)
    engine = Decoder(model, decoder)
    side = SideInformation.of(cut.side) if engine.neighbours else SideInformation.none(whole)
    result, _ = engine.reconstruct(engine.initial_state(), indices, side)
    errors = (result.values - cut.values)[cut.present]
    return float(8 * sent_bytes / cut.present.sum()), float(np.mean(errors * errors))


def with_decoder(model: Model, material: Material, decoder: str | None) -> Model:
    """The decoder asked for, or the better one on the last quarter."""
    names = ("midpoint", "kalman") if decoder is None else (decoder,)
    tail = material.part(int(len(material.codes) * (1 - HELD_OUT)), len(material.codes))
    points = range(len(model.node.rate_points))

    def cost(name: str) -> float:
        return float(sum(np.log(measure_predictive(model, tail, k, name)[1] + 1e-30) for k in points))

    chosen = min(names, key=cost) if len(names) > 1 else names[0]
    return with_figures(replace(model, decoder=chosen), [material] * len(points))


def with_figures(model: Model, materials: Sequence[Material]) -> Model:
    """What the model does on its own recording, one material for each rate point: evaluate on another before believing
    it."""
    measured: list[dict[str, Any]] = []
    for k, material in enumerate(materials):
        bits, mse = measure_predictive(model, material, k)
        variance = float(np.var(material.values[material.present]))
        measured.append(
            {
                "bits": bits,
                "step": model.node.rate_points[k].step * material.scale,
                "rmse": float(np.sqrt(mse)),
                "sqnr_db": round(float(10 * np.log10(variance / max(mse, 1e-30))), 3),
            }
        )
    provenance = {
        "order": model.node.order,
        "position_tables": model.node.position_tables,
        "contexts": model.node.contexts,
        **model.provenance,
    }
    return replace(model, measured={"training": measured}, provenance=provenance)
