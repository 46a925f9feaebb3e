"""All that a pipeline remembers between two feeds, as CBOR blobs, one per link and node, and back.

A pipeline restored from them goes on bit for bit as if it had never stopped. Deadlines are not in here: they follow
from the streams. What is derived from the fleet (neighbours, decoders) is not either, so a snapshot fits the fleet it
was taken of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cbor2
import numpy as np

from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats.framing import FramingState
from edge_wz.formats.packet import Hello
from edge_wz.gateway.contexts import NodeContext, Waiting
from edge_wz.gateway.history import Step
from edge_wz.gateway.layers import Further
from edge_wz.gateway.links import LinkState
from edge_wz.gateway.neighborhood import Track
from edge_wz.gateway.segments import Segment
from edge_wz.gateway.session import Session
from edge_wz.gateway.stats import LinkStats, NodeCounters
from edge_wz.gateway.stream import Stream
from edge_wz.gateway.surroundings import Timeline

INDEX_FIELDS = ("values", "rate_points", "packet_starts", "checks", "preds", "recon")
STREAM_FIELDS = ("cursor", "next_counter", "model_id", "rate_point", "fresh")
SESSION_FIELDS = ("stream_serial", "entered_us", "told_model_id", "shared")
CONTEXTS_FIELDS = ("previous_expected", "previous_left", "expected", "held_discarded")
SEGMENT_FIELDS = ("model_id", "counter", "packets", "first_index", "count", "arrival_us", "lost")
CONTEXT_FIELDS = ("node_id", "model_id", "boot_epoch", "base_index", "packet_samples", "first_counter")
TRACK_FIELDS = ("begin", "first", "next_index", "waiting")


def _fields(value: Any, names: Iterable[str]) -> list[Any]:
    return [getattr(value, name) for name in names]


def _set_fields(value: Any, names: Iterable[str], fields: Iterable[Any]) -> None:
    for name, item in zip(names, fields, strict=True):
        setattr(value, name, item)


def _pack_array(array: np.ndarray) -> list[Any]:
    return [array.dtype.str, list(array.shape), array.tobytes()]


def _parse_array(packed: list[Any]) -> np.ndarray:
    dtype, shape, data = packed
    return np.frombuffer(data, dtype=dtype).reshape(shape).copy()


# ------------------------------------------------------------------------------------------------- links


def pack_link(link: LinkState) -> bytes:
    counters = link.counters
    own = [counters.frames, counters.frames_discarded, counters.refused, counters.unknown_node]
    return cbor2.dumps([list(link.framing.state()), link.packet_bytes, own])


def restore_link(link: LinkState, blob: bytes) -> None:
    framing, link.packet_bytes, own = cbor2.loads(blob)
    link.framing.restore(FramingState(*framing))
    names = ("frames", "frames_discarded", "refused", "unknown_node")
    link.counters = LinkStats(**dict(zip(names, own, strict=True)))


# ------------------------------------------------------------------------------------------------- nodes


def pack_session(session: Session) -> bytes:
    session.end_run()
    contexts, tracks = session.contexts, session.neighborhood.tracks[session.node_id]
    return cbor2.dumps({
        "counters": session.counters.state(),
        "session": _fields(session, SESSION_FIELDS),
        "contexts": _fields(contexts, CONTEXTS_FIELDS),
        "current": _pack_context(contexts.current),
        "previous": _pack_context(contexts.previous),
        "held": [list(packet) for packet in contexts.held],
        "quarantine": [list(packet) for packet in session.quarantine],
        "hellos": [hello and list(hello) for hello in (session.hello, session.previous_hello)],
        "models": list(session.reconstructors),
        "tracks": [_pack_track(track) for track in tracks],
        "streams": [[serial, _pack_stream(stream, tracks)] for serial, stream in session.streams],
        "previous_stream": next((s for s, stream in session.streams if stream is session.previous_stream), -1),
        "needed_us": session.neighborhood.needed_us.get(session.node_id),
    })


def restore_session(session: Session, blob: bytes) -> None:
    """A node whose model is not here any more keeps its counters only; its next hello starts it again."""
    packed = cbor2.loads(blob)
    session.counters = NodeCounters(**packed["counters"])
    models = [session.model_of(model_id) for model_id in packed["models"]]
    if None in models:
        return
    _set_fields(session, SESSION_FIELDS, packed["session"])
    contexts = session.contexts
    _set_fields(contexts, CONTEXTS_FIELDS, packed["contexts"])
    contexts.current, contexts.previous = _parse_context(packed["current"]), _parse_context(packed["previous"])
    contexts.held = [Waiting(*packet) for packet in packed["held"]]
    session.quarantine = [Waiting(*packet) for packet in packed["quarantine"]]
    session.quarantine_bytes = sum(len(packet.raw) for packet in session.quarantine)
    session.hello, session.previous_hello = (hello and Hello(*hello) for hello in packed["hellos"])
    for model in models:
        if model is not None:
            session.know_model(model)
    _restore_streams(session, packed)
    session.close_run(session.shared)


def _restore_streams(session: Session, packed: dict[str, Any]) -> None:
    neighborhood = session.neighborhood
    neighborhood.tracks[session.node_id] = tracks = [_parse_track(track) for track in packed["tracks"]]
    if packed["needed_us"] is not None:
        neighborhood.needed_us[session.node_id] = packed["needed_us"]
    session.streams = [(serial, _parse_stream(session, stream, tracks)) for serial, stream in packed["streams"]]
    session.previous_stream = dict(session.streams).get(packed["previous_stream"])


def _pack_context(context: NodeContext | None) -> list[Any] | None:
    return None if context is None else _fields(context, CONTEXT_FIELDS)


def _parse_context(packed: list[Any] | None) -> NodeContext | None:
    return None if packed is None else NodeContext(*packed)


def _pack_track(track: Track) -> list[Any]:
    stored = track.next_index - track.first
    arrays = [_pack_array(track.values[:stored]), _pack_array(track.sigmas[:stored])]
    return [track.start_us, track.period_us, _fields(track, TRACK_FIELDS), len(track.values), *arrays]


def _parse_track(packed: list[Any]) -> Track:
    start_us, period_us, fields, capacity, values, sigmas = packed
    track = Track(start_us, period_us, 0)
    _set_fields(track, TRACK_FIELDS, fields)
    track.values, track.sigmas = np.empty(capacity), np.empty(capacity)
    stored = track.next_index - track.first
    track.values[:stored], track.sigmas[:stored] = _parse_array(values), _parse_array(sigmas)
    return track


# ------------------------------------------------------------------------------------------------- streams


def _pack_stream(stream: Stream, tracks: list[Track]) -> dict[str, Any]:
    return {
        "timeline": list(stream.timeline),
        "fields": _fields(stream, STREAM_FIELDS),
        "state": _pack_array(stream.state),
        "track": next((at for at, track in enumerate(tracks) if track is stream.track), -1),
        "queue": [_pack_segment(segment) for segment in stream.queue],
        "refinements": [_pack_further(further) for further in stream.refinements],
        "history": [_pack_step(step) for step in stream.history.steps],
        "given_up": [list(span) for span in stream.history.given_up],
        "revision": stream.history.revision,
        "due_us": stream.due_us,
    }


def _parse_stream(session: Session, packed: dict[str, Any], tracks: list[Track]) -> Stream:
    track = tracks[packed["track"]] if packed["track"] >= 0 else None
    stream = Stream(session.around(), Timeline(*packed["timeline"]), 0, 0, track)
    _set_fields(stream, STREAM_FIELDS, packed["fields"])
    stream.state = _parse_array(packed["state"])
    stream.queue = [_parse_segment(segment) for segment in packed["queue"]]
    stream.refinements = [_parse_further(further) for further in packed["refinements"]]
    stream.history.steps = [_parse_step(step) for step in packed["history"]]
    stream.history.given_up = [(start, end) for start, end in packed["given_up"]]
    stream.history.revision = packed["revision"]
    stream.due_us = packed["due_us"]
    return stream


def _pack_further(further: Further) -> dict[str, Any]:
    return {**further._asdict(), "values": _pack_array(further.values)}


def _parse_further(packed: dict[str, Any]) -> Further:
    return Further(**{**packed, "values": _parse_array(packed["values"])})


def _pack_segment(segment: Segment) -> list[Any]:
    arrays = [_pack_array(array) for array in _fields(segment.indices, INDEX_FIELDS)]
    return [_fields(segment, SEGMENT_FIELDS), arrays, None if segment.absent is None else _pack_array(segment.absent)]


def _parse_segment(packed: list[Any]) -> Segment:
    fields, arrays, absent = packed
    indices = StreamIndices(*(_parse_array(array) for array in arrays))
    return Segment(
        **dict(zip(SEGMENT_FIELDS, fields, strict=True)), indices=indices,
        absent=None if absent is None else _parse_array(absent),
    )


def _pack_step(step: Step) -> list[Any]:
    side = [_pack_array(step.side.values), _pack_array(step.side.sigmas)]
    segment, state = _pack_segment(step.segment), _pack_array(step.state_before)
    return [segment, state, side, step.provisional, step.decided_us, step.suspects, step.coarse]


def _parse_step(packed: list[Any]) -> Step:
    segment, state, side, provisional, decided_us, suspects, coarse = packed
    return Step(
        _parse_segment(segment), _parse_array(state), SideInformation(*(_parse_array(array) for array in side)),
        provisional, decided_us, suspects, coarse,
    )
