"""A run of a node from start to flush, at random: model, identity, samples, gaps, rate switches; and the frames of it by each implementation.

`numba`, `runtime` (a machine of `export.harness`) and `reference` have to give the same `Sent`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any

import numpy as np

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.formats import framing
from edge_wz.formats.layout import MAX_TAPS
from edge_wz.model import NodeModel
from export import harness
from export.harness import LINK_ADDRESSED, LINK_SHARED, Commands, Machine, Op
from tests.random_models import random_model
from tests.reference import node as reference_node

EXTREMES = np.array([-32768, -32767, -1, 0, 1, 32766, 32767], np.int16)


@dataclass(frozen=True)
class Run:
    """`rate_points`: (sample, rate point from it on), the first at 0."""

    node: NodeModel
    identity: dict[str, int]
    codes: np.ndarray
    present: np.ndarray
    rate_points: tuple[tuple[int, int], ...]

    def segments(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        ends = [*(at for at, _ in self.rate_points[1:]), len(self.codes)]
        for (at, rate_point), end in zip(self.rate_points, ends, strict=True):
            yield rate_point, self.codes[at:end], self.present[at:end]

    def rate_point_at(self, sample: int) -> int:
        return max((at, rate_point) for at, rate_point in self.rate_points if at <= max(sample, 0))[1]


@dataclass(frozen=True)
class Sent:
    """Frames in order, and how many samples were saturated (None: not counted)."""

    frames: list[bytes]
    saturated: int | None


def random_run(scheme: str, rng: random.Random, samples: int) -> Run:
    return run_of(random_model(scheme, rng), rng, samples)


def run_of(node: NodeModel, rng: random.Random, samples: int) -> Run:
    columns = np.random.default_rng(rng.getrandbits(64))
    codes = np.concatenate([_codes(columns, part) for part in _parts(columns, samples)])
    present = np.concatenate([_present(columns, part) for part in _parts(columns, samples)])
    switches = sorted({0, *(rng.randrange(samples) for _ in range(rng.randint(0, 2 * len(node.rate_points) - 2)))})
    rate_points = tuple((at, rng.randrange(len(node.rate_points))) for at in switches)
    return Run(node, _identity(rng), codes, present, rate_points)


def _identity(rng: random.Random) -> dict[str, int]:
    top = rng.choice([0, 2**8, 2**16, 2**24, 2**32])
    return {
        "node_id": rng.choice([0, 127, 128, 32767, rng.randrange(32768)]), "shared": rng.getrandbits(1),
        "period_us": rng.choice([1, 2**40 - 1, rng.randrange(1, 2**40)]), "boot_epoch": rng.randrange(2**16),
        "start_ms": rng.choice([0, rng.randrange(2**48)]), "packet_counter": max(0, top - rng.randint(1, 9)),
        "sample_index": rng.choice([0, 2**32 - rng.randint(1, 999), 2**48 - rng.randint(1, 999), rng.randrange(2**48)]),
    }  # fmt: skip


def _parts(rng: np.random.Generator, samples: int) -> list[int]:
    cuts = np.sort(rng.integers(0, samples, rng.integers(0, 4)))
    return [high - low for low, high in pairwise([0, *cuts.tolist(), samples])]


def _codes(rng: np.random.Generator, count: int) -> np.ndarray:
    kind, scale = rng.integers(0, 5), 2.0 ** rng.uniform(0, 15)
    if kind == 0:
        return rng.integers(-32768, 32768, count).astype(np.int16)
    if kind == 1:
        return rng.choice(EXTREMES, count)
    if kind == 2:
        return np.full(count, rng.choice(EXTREMES), np.int16)
    smooth = np.cumsum(rng.standard_normal(count)) * (kind == 3) + rng.standard_normal(count)
    return np.clip(np.rint(scale * smooth), -32768, 32767).astype(np.int16)


def _present(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.random(count) >= rng.choice([0.0, 0.0, 0.0, 0.01, 0.3, 1.0], p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05])


# --- implementations ----------------------------------------------------------------------------------------------


def numba(run: Run) -> Sent:
    how = {**run.identity, "rate_point": run.rate_points[0][1]}
    encoder = NodeEncoder(run.node, how.pop("node_id"), shared_link=bool(how.pop("shared")), **how)
    packets = []
    for rate_point, codes, present in run.segments():
        encoder.rate_point = rate_point
        packets += encoder.encode(codes, present)
    packets += encoder.flush()
    return Sent([framing.encode_frame(packet) for packet in packets], encoder.counters.saturated)


def runtime(machine: Machine, run: Run) -> Sent:
    """In turns by blocks and sample by sample."""
    status = harness.load(machine, run.node)
    assert status == 0, f"the runtime refuses a model: {status}"
    who = run.identity
    commands = Commands().add(Op.TAKING, 0)
    commands.start(
        who["node_id"], who["period_us"], who["boot_epoch"], who["start_ms"], LINK_SHARED if who["shared"] else LINK_ADDRESSED
    )
    commands.add(Op.RESUME, who["packet_counter"], who["sample_index"] >> 32, who["sample_index"])
    commands.add(Op.RATE, run.rate_points[0][1]).add(Op.TAKING, 1)
    for turn, (rate_point, codes, present) in enumerate(run.segments()):
        middle = len(codes) // 2
        commands.add(Op.RATE, rate_point).mixed(codes[:middle], present[:middle], turn % 2 == 0)
        commands.mixed(codes[middle:], present[middle:], turn % 2 == 1)
    found = harness.run(machine, commands.add(Op.FLUSH).add(Op.COUNTERS))
    return Sent(found.frames, found.values(Op.COUNTERS)[0])


def reference(run: Run) -> Sent:
    samples = [code if here else None for code, here in zip(run.codes.tolist(), run.present.tolist(), strict=True)]
    slots = run.node.packet_samples
    points = [run.rate_point_at(at) for at in range(0, len(samples), slots)]
    current = [run.rate_point_at(min(at + slots, len(samples)) - 1) for at in range(0, len(samples), slots)]
    case = {**run.identity, "packet_samples": slots, "hello_every": run.node.hello_every}
    payloads = _reference_payloads(run.node, samples, points)
    packets = reference_node.packets(case, run.node.model_id, samples, payloads, points, [points[0], *current])
    return Sent([reference_node.cobs(packet) for packet in packets], None)


def _reference_payloads(node: NodeModel, samples: list[int | None], points: list[int]) -> list[bytes]:
    """Packets of one rate point at a time; before them as many as a filter reaches back, with what it holds where a sample is absent."""
    held = list(accumulate(samples, lambda last, sample: last if sample is None else sample, initial=0))[1:]
    slots, payloads = node.packet_samples, list[bytes]()
    for point, group in groupby(range(len(points)), points.__getitem__):
        numbers = list(group)
        before = min(numbers[0], -(-MAX_TAPS // slots))
        first, last = numbers[0] * slots, (numbers[-1] + 1) * slots
        part = held[first - before * slots : first] + samples[first:last]
        payloads += reference_node.payloads(_case(node, point), part)[before:]
    return payloads


def _case(node: NodeModel, rate_point: int) -> dict[str, Any]:
    """The fields of a rate point as the reference names them."""
    point = node.rate_points[rate_point]
    case: dict[str, Any] = {"packet_samples": node.packet_samples, "check_bits": node.level_check_bits}
    if node.scheme == "layered":
        case |= {
            "thresholds": point.thresholds.tolist(), "numbers": point.numbers.tolist(), "alphabets": list(point.alphabets),
            "cdfs": [rows.tolist() for rows in point.cdfs], "cdf_bits": node.cdf_bits, "last": point.layers_sent,
            "block_check_bits": node.block_check_bits, "sets": [np.flatnonzero(row).tolist() for row in point.positions],
        }  # fmt: skip
    elif node.scheme == "predictive":
        case |= {
            "predictors": [row.tolist() for row in node.predictors], "thresholds": node.thresholds.tolist(),
            "position_tables": node.position_tables, "cdf_bits": node.cdf_bits, "step_q8": point.step_q8,
            "rounding_q8": point.rounding_q8,
            "tables": [{"direct": table.direct, "cdf": table.cdf.tolist()} for table in point.tables],
        }  # fmt: skip
    else:
        case |= {"taps": point.taps.tolist(), "shift": point.shift, "rounding": point.rounding, "modulus": point.modulus}
        if node.scheme == "trellis":
            case |= {"code": [node.memory, node.h0, node.h1]}
        if node.scheme == "syndrome":
            case |= {"low_bits": point.modulus.bit_length() - 1, "block_check_bits": node.block_check_bits}
            case |= {"sets": [np.flatnonzero(row).tolist() for row in point.sent]}
    return case
