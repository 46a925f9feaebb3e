"""Runs of accepted packets to segments: all packets of one model in one call, whichever nodes they came from.

Parsing needs the model alone, so nodes that share a model share the call; each gets back views of the common arrays. A
packet that checks and still breaks a rule is refused here; its slots become a gap and end as lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edge_wz.codec import schemes
from edge_wz.codec.indices import Indices, StreamIndices, flatten
from edge_wz.codec.layered_packets import sound_layers
from edge_wz.formats.layout import DATA_CHECK_BYTES, DATA_HEADER_BYTES
from edge_wz.formats.packet import DataPacket, PacketStatus, parse_data, present_slots
from edge_wz.gateway.segments import Segment
from edge_wz.gateway.session import Run, Session
from edge_wz.model import Model

_NEITHER = (np.zeros(0, np.int32), np.zeros(0, np.int32))


class Parsed(NamedTuple):
    """`segments`, each with the bits of its payloads; `refused`: (status, bytes) of packets that are malformed."""

    session: Session
    run: Run
    segments: list[tuple[Segment, int]]
    refused: list[tuple[PacketStatus, int]]


def parse_runs(owned: Sequence[tuple[Session, Run]], models: Mapping[bytes, Model]) -> list[Parsed]:
    """In the order given."""
    groups: dict[bytes, list[int]] = {}
    parsed: list[Parsed | None] = [None] * len(owned)
    for at, (session, run) in enumerate(owned):
        if run.extension:
            parsed[at] = _parse_extended(session, run, models[run.context.model_id])
        else:
            groups.setdefault(run.context.model_id, []).append(at)
    for model_id, members in groups.items():
        for at, one in zip(members, _parse_plain([owned[at] for at in members], models[model_id]), strict=True):
            parsed[at] = one
    return [one for one in parsed if one is not None]


def _parse_plain(owned: Sequence[tuple[Session, Run]], model: Model) -> list[Parsed]:
    """Full packets without absent samples."""
    node = model.node
    payloads: list[bytes] = []
    headers: list[int] = []
    for _, run in owned:
        offset = run.offset
        start = offset + DATA_HEADER_BYTES
        payloads += [raw[start:-2] for raw in run.raws]
        headers += [raw[offset] for raw in run.raws]
    rate_points = np.array(headers, dtype=np.int32) >> 1 & 7
    bad = rate_points >= len(node.rate_points)
    rate_points[bad] = 0
    count = node.packet_samples
    indices = schemes.parse(node, payloads, rate_points, np.full(len(payloads), count, dtype=np.int32))
    common = StreamIndices(
        indices.values.reshape(-1), np.repeat(rate_points, count), np.arange(len(payloads), dtype=np.int64) * count,
        indices.checks, indices.preds.reshape(-1), indices.recon.reshape(-1),
    )
    bad |= indices.status < 0
    whole = not bad.any()
    parsed, at = [], 0
    for session, run in owned:
        packets = len(run.raws)
        if whole:
            parsed.append(Parsed(session, run, [_segment(run, common, at, 0, packets, count)], []))
        else:
            parsed.append(_without_bad(session, run, common, at, bad[at : at + packets], rate_points, indices, count))
        at += packets
    return parsed


def _segment(
    run: Run, common: StreamIndices, at: int, first: int, last: int, count: int
) -> tuple[Segment, int]:
    """Packets `first .. last - 1` of a run whose packets begin at row `at` of the common arrays."""
    rows, slots = slice(at + first, at + last), slice((at + first) * count, (at + last) * count)
    closed_loop = common.preds.size > 0
    indices = StreamIndices(
        common.values[slots], common.rate_points[slots], common.packet_starts[: last - first],
        common.checks[rows], *((common.preds[slots], common.recon[slots]) if closed_loop else _NEITHER),
    )
    counter = run.counter + first
    raws = run.raws if last - first == len(run.raws) else run.raws[first:last]
    payload_bits = 8 * (sum(map(len, raws)) - len(raws) * (run.offset + DATA_HEADER_BYTES + DATA_CHECK_BYTES))
    return Segment(
        run.context.model_id, counter, last - first, run.context.first_index(counter), (last - first) * count,
        run.arrival_us, indices,
    ), payload_bits


def _without_bad(
    session: Session, run: Run, common: StreamIndices, at: int, bad: np.ndarray, rate_points: np.ndarray,
    indices: Indices, count: int,
) -> Parsed:
    segments, refused, first = [], [], 0
    for row in [*np.flatnonzero(bad).tolist(), len(run.raws)]:
        if row > first:
            segments.append(_segment(run, common, at, first, row, count))
        if row < len(run.raws):
            malformed = indices.status[at + row] < 0
            status = PacketStatus.MALFORMED if malformed else PacketStatus.NO_RATE_POINT
            refused.append((status, len(run.raws[row])))
        first = row + 1
    return Parsed(session, run, segments, refused)


def _parse_extended(session: Session, run: Run, model: Model) -> Parsed:
    """One packet that is short or has absent samples."""
    node, raw = model.node, run.raws[0]
    packet = parse_data(raw, run.offset, node.packet_samples, node.scheme == "layered")
    if isinstance(packet, PacketStatus):
        return Parsed(session, run, [], [(packet, len(raw))])
    if packet.rate_point >= len(node.rate_points):
        return Parsed(session, run, [], [(PacketStatus.NO_RATE_POINT, len(raw))])
    if not sound_layers(node, packet):
        return Parsed(session, run, [], [(PacketStatus.MALFORMED, len(raw))])
    present = present_slots(packet, node.packet_samples)
    row = np.zeros((1, node.packet_samples), dtype=bool)
    row[0, : len(present)] = present
    indices = schemes.parse(node, [packet.payload], [packet.rate_point], [len(present)], row, [packet.layers or 0])
    if indices.status[0] < 0:
        return Parsed(session, run, [], [(PacketStatus.MALFORMED, len(raw))])
    return Parsed(session, run, [(_extended_segment(run, packet, indices, present), 8 * len(packet.payload))], [])


def _extended_segment(run: Run, packet: DataPacket, indices: Indices, present: np.ndarray) -> Segment:
    return Segment(
        run.context.model_id, run.counter, 1, run.context.first_index(run.counter), len(present), run.arrival_us,
        flatten(indices), ~present if packet.absent is not None else None,
    )
