"""A run of a fleet: true samples, what the nodes send, what the channel leaves of it, and where that goes.

Everything before the link is a pure function of models, source and seed. Times are those of the nodes' samples, so a
capture of a simulated year is made in seconds and replays like a year; `pace` stretches a live delivery to real time.
"""

from __future__ import annotations

import csv
import gzip
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.errors import InputError, RecordingError, StorageError
from firmware_sim.backends import Numba
from firmware_sim.channel import Channel, ChannelCounters, ChannelSpec, Delivery, merge
from firmware_sim.field import SOURCES, gauss_markov_field, grid_positions, pair_source
from firmware_sim.fleet import Backend, Member, RunSpec, Transmission, encode
from firmware_sim.links import Link

Advance = Callable[[int], None]
FLUSH_EVERY_S = 0.02  # of a paced delivery: what is due together is written together
SETTLE_US = 3_600_000_000  # after the last delivery: longer than any wait of a gateway


@dataclass(frozen=True)
class FieldSpec:
    """Parameters of `--source field`; lengths in units of the grid that the nodes stand on."""

    ar: tuple[float, ...] = (0.95,)
    correlation_range: float = 5.0
    sigma: float = 1.0
    noise_sigma: float = 0.05
    mean: float = 0.0


@dataclass(frozen=True)
class SourceSpec:
    """Where true samples come from: a source by name, or a recording. `samples` 0: all of the recording."""

    name: str = "field"
    samples: int = 0
    seed: int = 0
    replay: Path | None = None
    field: FieldSpec = FieldSpec()


def true_samples(names: Sequence[str], columns: Sequence[str], spec: SourceSpec) -> dict[str, np.ndarray]:
    """{node name: float64[n]} in sensor units, NaN = absent. `columns`: what each node's model calls its source."""
    if spec.replay is not None:
        return _replayed(names, columns, spec.replay, spec.samples)
    if spec.samples < 1:
        raise InputError("--samples must be at least 1")
    if spec.name == "field":
        return _field(names, spec)
    if spec.name in SOURCES:
        return _pairs(names, columns, spec)
    raise InputError(f"no source {spec.name!r} (there are {', '.join(SOURCES)}, field)")


def _field(names: Sequence[str], spec: SourceSpec) -> dict[str, np.ndarray]:
    shape = spec.field
    field = gauss_markov_field(
        grid_positions(len(names)),
        shape.ar,
        correlation_range=shape.correlation_range,
        sigma=shape.sigma,
        noise_sigma=shape.noise_sigma,
        mean=shape.mean,
        names=names,
    )
    values = field.generate(spec.samples, spec.seed).T
    return {name: np.ascontiguousarray(row) for name, row in zip(names, values, strict=True)}


def _pairs(names: Sequence[str], columns: Sequence[str], spec: SourceSpec) -> dict[str, np.ndarray]:
    """Nodes measure x and y as their models say; others take turns. The k-th x and the k-th y belong to one pair."""
    source = pair_source(spec.name)
    pairs: list[dict[str, np.ndarray]] = []
    taken = {"x": 0, "y": 0}
    samples = {}
    for name, column in zip(names, columns, strict=True):
        if column not in taken:
            column = "x" if taken["x"] <= taken["y"] else "y"
        if taken[column] == len(pairs):
            pairs.append(source.generate(spec.samples, spec.seed + len(pairs)))
        samples[name] = pairs[taken[column]][column]
        taken[column] += 1
    return samples


def _replayed(names: Sequence[str], columns: Sequence[str], path: Path, limit: int) -> dict[str, np.ndarray]:
    """By the node's name, else by the name of its model's source; `names` empty: every column."""
    from firmware_sim.node import read_columns

    recording = read_columns(path)
    if not names:
        names = columns = list(recording)
    samples = {}
    for name, column in zip(names, columns, strict=True):
        found = name if name in recording else column
        if found not in recording:
            raise RecordingError(f"{path}: no column {name!r} (there are {', '.join(recording)})")
        samples[name] = recording[found][: limit or None]
    return samples


def write_csv(path: Path, samples: Mapping[str, np.ndarray]) -> None:
    """Wide, exact, with an index column `k`; NaN is an empty field."""
    names = list(samples)
    columns = [_fields(samples[name]) for name in names]
    try:
        with (gzip.open(path, "wb") if path.name.endswith(".gz") else open(path, "wb")) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["k", *names])
            writer.writerows(zip(range(len(columns[0])), *columns, strict=True))
            text.close()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _fields(values: np.ndarray) -> list[Any]:
    if not np.isnan(values).any():
        return list(values.tolist())
    return ["" if value != value else value for value in values.tolist()]


# -- on air


@dataclass(frozen=True, eq=False)
class Run:
    """What a fleet sent (by node name) and what of it arrives."""

    sent: dict[str, Transmission]
    deliveries: list[Delivery]
    channel: ChannelCounters


def transmit(
    members: Sequence[Member],
    samples: Mapping[str, np.ndarray],
    run: RunSpec,
    channel: ChannelSpec,
    seed: int,
    advance: Advance = lambda steps: None,
    backends: Mapping[int, Backend] | None = None,
) -> Run:
    """Encode every node's samples and send them through its channel. `backends`: by node id, numba where none is named."""
    numba, chosen = Numba(), backends or {}
    sent: dict[str, Transmission] = {}
    streams = []
    counters = ChannelCounters()
    for member in members:
        sent[member.name] = encode(member, samples[member.name], run, chosen.get(member.node_id, numba), advance)
        stream, counted = Channel(channel, seed, member.node_id).transmit(sent[member.name].frames)
        streams.append(stream)
        counters += counted
    return Run(sent, merge(streams), counters)


def link_numbers(members: Sequence[Member], shared: bool) -> dict[int, int]:
    """Node id -> number of its link."""
    return {member.node_id: 0 if shared else number for number, member in enumerate(members)}


def deliver(
    link: Link,
    deliveries: Sequence[Delivery],
    numbers: Mapping[int, int],
    pace: float = 0.0,
    advance: Advance = lambda steps: None,
) -> None:
    """Write every delivery. `pace`: how many times faster than real time, 0 = as fast as the link takes it."""
    begun_s = time.monotonic()
    first_us = deliveries[0].time_us if deliveries else 0
    for delivery in deliveries:
        if pace > 0:
            due_s = begun_s + (delivery.time_us - first_us) / 1e6 / pace
            if due_s - time.monotonic() > FLUSH_EVERY_S:
                link.flush()
                time.sleep(max(0.0, due_s - time.monotonic()))
        link.write(delivery.time_us, delivery.data, numbers[delivery.node_id])
        advance(1)


# -- in process


@dataclass(frozen=True)
class NodeOutcome:
    """What the pipeline made of one node. `expected == decoded + concealed`; absent slots are in none of them."""

    name: str
    expected: int
    decoded: int
    concealed: int
    absent: int
    lost_packets: int
    payload_bits_per_sample: float
    packet_bits_per_sample: float
    rmse: float
    sqnr_db: float


def decode_in_process(
    members: Sequence[Member],
    samples: Mapping[str, np.ndarray],
    run: Run,
    shared: bool,
    advance: Advance = lambda steps: None,
) -> list[NodeOutcome]:
    """Feed the deliveries to a gateway pipeline in this process, and compare what comes out with the truth."""
    from edge_wz.gateway.events import SamplesDecoded, SamplesRevised
    from edge_wz.gateway.pipeline import Pipeline

    pipeline = Pipeline(gateway_fleet(members, shared), {member.model.model_id: member.model for member in members})
    numbers = link_numbers(members, shared)
    decoded = {member.node_id: np.full(len(samples[member.name]), np.nan) for member in members}
    now_us = 0

    def take(events: list[Any]) -> None:
        for event in events:
            if isinstance(event, SamplesDecoded | SamplesRevised):
                decoded[event.node_id][event.first_index : event.first_index + len(event.values)] = event.values

    for delivery in run.deliveries:
        now_us = delivery.time_us
        take(pipeline.feed(numbers[delivery.node_id], delivery.data, now_us))
        advance(1)
    take(pipeline.tick(now_us + SETTLE_US))
    take(pipeline.finish(now_us + SETTLE_US))
    stats = pipeline.stats.nodes
    return [
        outcome_of(member, samples[member.name], decoded[member.node_id], run.sent[member.name], stats[member.node_id])
        for member in members
    ]


def gateway_fleet(members: Sequence[Member], shared: bool) -> Any:
    """The gateway's view of the members."""
    from edge_wz.gateway.fleet import Fleet, LinkSpec, NodeSpec

    ids = {member.name: member.node_id for member in members}
    nodes = tuple(
        NodeSpec(member.node_id, member.name, member.model, tuple(ids[name] for name in member.side), member.model.unit)
        for member in members
    )
    if shared:
        return Fleet(nodes, (LinkSpec(0, "shared", shared=True),))
    links = tuple(LinkSpec(k, member.name, False, member.node_id) for k, member in enumerate(members))
    return Fleet(nodes, links)


def outcome_of(member: Member, truth: np.ndarray, decoded: np.ndarray, sent: Transmission, stats: Any) -> NodeOutcome:
    """`decoded`: by sample index, NaN where there is none; `stats`: what the gateway counted."""
    counters = sent.counters
    slots = max(counters.samples, 1)
    known = np.isfinite(truth) & np.isfinite(decoded)
    mse = float(np.mean((truth[known] - decoded[known]) ** 2)) if known.any() else float("nan")
    variance = float(np.var(truth[known])) if known.any() else float("nan")
    return NodeOutcome(
        name=member.name,
        expected=stats.samples_expected,
        decoded=stats.samples_decoded,
        concealed=stats.samples_concealed,
        absent=stats.samples_absent,
        lost_packets=stats.lost,
        payload_bits_per_sample=counters.payload_bits / slots,
        packet_bits_per_sample=counters.air_bits / slots,
        rmse=float(np.sqrt(mse)),
        sqnr_db=float(10 * np.log10(variance / mse)) if mse > 0 and variance > 0 else float("nan"),
    )


# -- reports


def report(
    members: Sequence[Member], run: Run, bytes_written: int, elapsed_s: float, outcomes: Sequence[NodeOutcome] = ()
) -> dict[str, Any]:
    """What `simulate --json` prints."""
    nodes: list[dict[str, Any]] = []
    for member in members:
        sent = run.sent[member.name]
        nodes.append({
            "name": member.name, "id": member.node_id, "scheme": member.model.node.scheme, "clipped": sent.clipped, **asdict(sent.counters),
            "air_bits_per_sample": sent.counters.air_bits / max(sent.counters.samples, 1),
            "backend": sent.backend, "instructions": _instructions(sent),
        })  # fmt: skip
    for row, outcome in zip(nodes, outcomes, strict=False):
        row.update({key: _json_number(value) for key, value in asdict(outcome).items()})
    return {
        "nodes": nodes,
        "channel": asdict(run.channel),
        "link_bytes": bytes_written,
        "elapsed_s": round(elapsed_s, 3),
    }


def _instructions(sent: Transmission) -> dict[str, Any] | None:
    """Counted ones, None where nobody counted. By packet: with the hello, if any, before or behind it."""
    if sent.instructions is None:
        return None
    packets = sent.instructions[:-1] if len(sent.instructions) > 1 else sent.instructions
    total = int(sent.instructions.sum())
    return {
        "core": sent.core, "total": total, "per_sample": total / max(sent.counters.samples, 1),
        "packet_median": float(np.median(packets)), "packet_most": int(packets.max()),
    }  # fmt: skip


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
