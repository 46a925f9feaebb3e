"""A whole fleet on a recording: every node's packets through the gateway's pipeline, in process, in order of time.

So side information is what the gateway itself decoded, and no later than a live one would have it: the first value told
of a sample counts, revisions do not. `training.evaluate` does one node with given side information, and shares the
reports.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.reconstruction import Decoder, Reconstruction
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import InputError
from edge_wz.formats import packet
from edge_wz.formats.layout import TYPE_HELLO
from edge_wz.gateway.events import SamplesDecoded
from edge_wz.gateway.fleet import Fleet, LinkSpec, NodeSpec
from edge_wz.gateway.pipeline import Pipeline
from training import baselines, layered_streams
from training import evaluate as single
from training.data import Recording
from training.transmission import Received, transmit

START_MS = 1_700_000_000_000  # of sample 0: a node with a clock, so that event times are exact
FEED_PACKETS = 1024


@dataclass(frozen=True, eq=False)
class Member:
    """A node, the column it measures, and how its packets fare."""

    spec: NodeSpec
    column: str
    source: single.Source
    sent: Received

    @property
    def samples(self) -> int:
        return len(self.source.values)


def evaluate_fleet(
    fleet: Fleet,
    recording: Recording,
    *,
    packet_samples: int | None = None,
    loss: float = 0.0,
    seed: int = 0,
    fit_recording: Recording | None = None,
    with_baselines: Sequence[str] = baselines.NAMES,
    advance: single.Advance = single.no_progress,
) -> single.Report:
    """Each node by its name in the recording, or else by its bundle's source column."""
    fit = fit_recording if fit_recording is not None else recording.split()[0]
    local = in_process(fleet, packet_samples)
    members, decoded = run(local, recording, loss, seed, advance)
    clean = run(local, recording, 0.0, seed, single.no_progress)[1] if loss and with_baselines else decoded
    nodes = []
    for node_id in local.order:
        one, result = members[node_id], decoded[node_id]
        side = _side(one.spec, decoded, recording.samples)
        levels = _levels(one, side)
        model = one.spec.model
        judged = dataclasses.replace(result, levels=levels)
        report = single.node_report(model, model.decoder, one.source, one.sent, judged)
        report["name"] = one.spec.name
        if model.node.scheme == "layered":
            values, codes, present = one.source.values, one.source.codes, one.source.present
            report["layers"] = layered_streams.prefix_rows(model, model.decoder, values, codes, present, side)
        if with_baselines:
            model = dataclasses.replace(model, source=one.column, side=_columns(one.spec, members))
            report["baselines"] = single.rival_reports(
                model, recording, fit, one.source, clean[node_id], _side(one.spec, clean, recording.samples), one.sent,
                with_baselines,
            )
        nodes.append(report)
    return {
        "recording": recording.path, "rows": recording.samples, "loss": loss, "side": "decoded", "seed": seed,
        "nodes": nodes,
        "warnings": [line for one in members.values() for line in single.warnings_of(one.spec.model, one.source)],
    }


def in_process(fleet: Fleet, packet_samples: int | None) -> Fleet:
    """The same nodes, each on an addressed link of its own that carries whole packets."""
    nodes = tuple(
        dataclasses.replace(spec, model=single.with_packet_samples(spec.model, packet_samples)) for spec in fleet.nodes
    )
    links = tuple(
        LinkSpec(link=at, name=spec.name, shared=False, node_id=spec.node_id, framing="packet")
        for at, spec in enumerate(nodes)
    )
    return dataclasses.replace(fleet, nodes=nodes, links=links)


def run(
    fleet: Fleet, recording: Recording, loss: float, seed: int, advance: single.Advance
) -> tuple[dict[int, Member], dict[int, Reconstruction]]:
    """Everything sent and everything decoded, by node id."""
    members = {spec.node_id: _member(spec, recording, loss, seed + at) for at, spec in enumerate(fleet.nodes)}
    return members, _decode(fleet, members, recording, advance)


def _member(spec: NodeSpec, recording: Recording, loss: float, seed: int) -> Member:
    column = spec.name if spec.name in recording.columns else spec.model.source
    if column not in recording.columns:
        raise InputError(f"{recording.path}: no column '{spec.name}' or '{column}' for node {spec.name}")
    source = single.Source.of(spec.model, recording, column)
    sent = transmit(spec.model.node, source.codes, source.present, loss=loss, seed=seed)
    return Member(spec, column, source, sent)


def _columns(spec: NodeSpec, members: dict[int, Member]) -> tuple[str, ...]:
    return tuple(members[node_id].column for node_id in spec.side)


def _decode(
    fleet: Fleet, members: dict[int, Member], recording: Recording, advance: single.Advance
) -> dict[int, Reconstruction]:
    """What the pipeline tells of each node, by slot."""
    pipeline = Pipeline(fleet, {spec.model.model_id: spec.model for spec in fleet.nodes})
    out = {
        node_id: Reconstruction(*_blank(one.samples)) for node_id, one in members.items()
    }
    arrivals: list[tuple[int, int, bytes]] = []
    for link, spec in enumerate(fleet.nodes):
        arrivals += [(now_us, link, raw) for now_us, raw in _arrivals(members[spec.node_id], recording)]
    arrivals.sort(key=lambda arrival: arrival[:2])
    for first in range(0, len(arrivals), FEED_PACKETS):
        told = 0
        for now_us, link, raw in arrivals[first : first + FEED_PACKETS]:
            told += _collect(pipeline.feed(link, raw, now_us), out)
        advance(told)
    advance(_collect(pipeline.finish(arrivals[-1][0] if arrivals else 0), out))
    return out


def _blank(samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.full(samples, np.nan), np.full(samples, np.nan), np.zeros(samples, np.uint8), np.zeros(samples, np.int32)


def _arrivals(one: Member, recording: Recording) -> Iterable[tuple[int, bytes]]:
    """(time, packet) of what arrives; a packet leaves when its last sample is there."""
    period_us = single.period_us(recording, one.spec.model)
    encoder = NodeEncoder(one.spec.model.node, one.spec.node_id, period_us=period_us, start_ms=START_MS)
    raw = encoder.encode(one.source.codes, one.source.present) + encoder.flush()
    starts = one.sent.indices.packet_starts
    ends = np.append(starts[1:], one.samples)
    arrived = one.sent.received[starts]
    sent = 0
    for each in raw:
        if packet.peek(each).type == TYPE_HELLO:
            yield START_MS * 1000 + (int(ends[sent - 1]) if sent else 0) * period_us, each
            continue
        if arrived[sent]:
            yield START_MS * 1000 + int(ends[sent]) * period_us, each
        sent += 1


def _collect(events: Iterable[Any], out: dict[int, Reconstruction]) -> int:
    """Writes decoded samples to their slots; how many there were."""
    told = 0
    for event in events:
        if not isinstance(event, SamplesDecoded):
            continue
        target = out[event.node_id]
        span = slice(event.first_index, event.first_index + len(event.values))
        target.values[span], target.sigmas[span], target.flags[span] = event.values, event.sigmas, event.flags
        told += len(event.values)
    return told


def _side(spec: NodeSpec, decoded: dict[int, Reconstruction], samples: int) -> SideInformation:
    if not spec.side:
        return SideInformation.none(samples)
    return SideInformation(
        np.column_stack([decoded[node_id].values for node_id in spec.side]),
        np.column_stack([decoded[node_id].sigmas for node_id in spec.side]),
    )


def _levels(one: Member, side: SideInformation) -> np.ndarray:
    """Resolved levels, which the pipeline does not tell: decoded again with the side information that it told."""
    decoder = Decoder(one.spec.model)
    heard = side if decoder.neighbours else SideInformation.none(one.samples)
    return single.reconstruct(decoder, one.sent.indices, heard).levels
