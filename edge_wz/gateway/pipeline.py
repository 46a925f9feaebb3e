"""Link bytes to samples, pure and synchronous: `feed` and `tick` return events, nobody is called back.

The result depends on the bytes and the times given with them, not on how often `tick` is called: deadlines fire at
their due time, in
arrival order, before anything that came later. How bytes of one time are cut into feeds changes how samples are
batched into
events and nothing else. Times are integer microseconds; time that runs backwards stands still.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

import cbor2

from edge_wz.codec.reconstruction import Decoder
from edge_wz.formats.packet import CRC_RESIDUE, PacketStatus, crc, split_node_id
from edge_wz.gateway.clock import Deadlines
from edge_wz.gateway.contexts import DATA_HEADER, HEADER_MASK, Waiting
from edge_wz.gateway.events import Event, PacketRefused
from edge_wz.gateway.fleet import Fleet
from edge_wz.gateway.links import LinkState
from edge_wz.gateway.neighborhood import Neighborhood
from edge_wz.gateway.parsing import parse_runs
from edge_wz.gateway.session import Session
from edge_wz.gateway.snapshots import pack_link, pack_session, restore_link, restore_session
from edge_wz.gateway.stats import PipelineStats
from edge_wz.model import Model

SETTLE_PACKETS = 4096  # decoded together at most, so that no node runs far ahead of its users
UNKNOWN_NODES = 256
SMALLEST_DATA = 4  # header and check


class Pipeline:
    """The one entry to `gateway`: `feed`, `tick`, `finish`; `snapshot` and `restore`; `stats`."""

    def __init__(self, fleet: Fleet, models: Mapping[bytes, Model] | None = None) -> None:
        self._fleet = fleet
        self._models = {node.model.model_id: node.model for node in fleet.nodes} | dict(models or {})
        self._decoders: dict[Model, Decoder] = {}  # by bundle: one node blob may have several
        users: dict[int, tuple[int, ...]] = {node.node_id: () for node in fleet.nodes}
        for node in fleet.nodes:
            for neighbour in dict.fromkeys(node.side):
                users[neighbour] += (node.node_id,)
        self._neighborhood = Neighborhood(users)
        self._sessions = {
            node.node_id: Session(node, fleet, self._neighborhood, self._models, self._decoder_of)
            for node in fleet.nodes
        }
        self._rank = {node_id: rank for rank, node_id in enumerate(fleet.order)}
        self._links = {link.link: LinkState(link) for link in fleet.links}
        self._deadlines = Deadlines()
        self._unknown: dict[int, int] = {}
        self._active: dict[int, Session] = {}  # has runs that are not decoded
        self._now_us = 0
        self._arrivals = 0

    def _decoder_of(self, model: Model) -> Decoder:
        if model not in self._decoders:
            self._decoders[model] = Decoder(model)
        return self._decoders[model]

    # ------------------------------------------------------------------------------------------ in

    def feed(self, link: int, data: bytes, now_us: int) -> list[Event]:
        """Bytes that came over a link at a time."""
        events = self.tick(now_us)
        state = self._links[link]
        packets = state.packets(data, self._now_us, events)
        for start in range(0, len(packets), SETTLE_PACKETS):
            self._receive(state, packets[start : start + SETTLE_PACKETS], events)
            self._settle(events)
        return events

    def tick(self, now_us: int) -> list[Event]:
        """Let time pass: what is due by now is decided."""
        events: list[Event] = []
        self._fire(now_us, events)
        self._now_us = max(self._now_us, now_us)
        return events

    def finish(self, now_us: int) -> list[Event]:
        """The end of the input: everything that waits is decided, at the time at which it would be."""
        events = self.tick(now_us)
        self._fire(None, events)
        return events

    def add_model(self, model: Model, now_us: int) -> list[Event]:
        """A bundle that came later: nodes that named it are decoded from their quarantine."""
        events = self.tick(now_us)
        self._models.setdefault(model.model_id, model)
        for session in self._sessions.values():
            hello = session.model_added(model.model_id)
            if hello is not None:
                session.enter(hello, session.shared, self._now_us, self._next_arrival(), events)
                self._active[session.node_id] = session
        self._settle(events)
        return events

    def _fire(self, now_us: int | None, events: list[Event]) -> None:
        while due := self._deadlines.pop_due(now_us):
            due_us, node_id = due
            self._now_us = max(self._now_us, due_us)
            self._advance([node_id], events)

    def _next_arrival(self) -> int:
        self._arrivals += 1
        return self._arrivals

    # ------------------------------------------------------------------------------------------ packets

    def _receive(self, link: LinkState, packets: Iterable[bytes], events: list[Event]) -> None:
        """The loop of the hot path: a packet that is plainly the next of its node is appended to a run, any other
        looked at."""
        shared, sessions, active, now_us = link.spec.shared, self._sessions, self._active, self._now_us
        session = None if shared else sessions[link.spec.node_id or 0]
        offset = 0
        for raw in packets:
            if shared:
                node_id, offset = split_node_id(raw)
                session = sessions.get(node_id)
            if session is None:
                self._refuse(link, raw, node_id, events)
                continue
            if (
                len(raw) >= offset + SMALLEST_DATA
                and (raw[offset] << 8 | raw[offset + 1]) & HEADER_MASK == session.header
                and session.shared is shared
                and crc(raw, session.seed) == CRC_RESIDUE
            ):
                raws = session.raws
                if raws is None:
                    raws = session.open_run(offset, now_us, self._next_arrival())
                    active[session.node_id] = session
                raws.append(raw)
                session.counters.packet_bits += 8 * len(raw)
                expected = session.expected = session.expected + 1
                session.header = DATA_HEADER | (expected & 0xFF) << 1
                if not expected & 0xFF:
                    session.renew_seed()
            else:
                self._look_at(session, link, Waiting(raw, offset, shared), events)

    def _refuse(self, link: LinkState, raw: bytes, node_id: int, events: list[Event]) -> None:
        """A packet of no node of this fleet."""
        if node_id < 0:
            link.count(refused=1)
            events.append(PacketRefused(link.spec.link, -1, PacketStatus.BAD_NODE_ID.value, len(raw), self._now_us))
            return
        link.count(unknown_node=1)
        if node_id in self._unknown or len(self._unknown) < UNKNOWN_NODES:
            self._unknown[node_id] = self._unknown.get(node_id, 0) + 1
        events.append(PacketRefused(link.spec.link, node_id, PacketStatus.UNKNOWN_NODE.value, len(raw), self._now_us))

    def _look_at(self, session: Session, link: LinkState, packet: Waiting, events: list[Event]) -> None:
        now_us, order = self._now_us, self._next_arrival()
        news = session.receive(packet, link.spec.link, now_us, order, events)
        self._active[session.node_id] = session
        if news is not None:
            self._settle(events)
            session.enter(news, packet.shared, now_us, order, events)
            self._active[session.node_id] = session
        if session.urgent:
            self._settle(events)
            session.runs, session.urgent = session.urgent, []
            self._active[session.node_id] = session
            self._settle(events)

    # ------------------------------------------------------------------------------------------ samples

    def _settle(self, events: list[Event]) -> None:
        """Parse and decode all that was accepted."""
        if not self._active:
            return
        active = list(self._active.values())
        self._active.clear()
        owned = [(session, run) for session in active for run in session.runs]
        for session in active:
            session.runs = []
            session.raws = None
        for session, run, segments, refused in parse_runs(owned, self._models):
            for segment in segments:
                run.stream.offer(segment, self._now_us, events)
            for status, size in refused:
                session.refuse(status, size, -1, self._now_us, events)
        self._advance([session.node_id for session in active], events)

    def _advance(self, node_ids: list[int], events: list[Event]) -> None:
        """Decode what is ready at these nodes and, as neighbours become known, at those that use them."""
        order, rank, users = self._fleet.order, self._rank, self._neighborhood.users
        ranks = [rank[node_id] for node_id in node_ids]
        heapify(ranks)
        seen = set(ranks)
        while ranks:
            node_id = order[heappop(ranks)]
            session = self._sessions[node_id]
            if session.advance(self._now_us, events):
                for user in users[node_id]:
                    if rank[user] not in seen:
                        seen.add(rank[user])
                        heappush(ranks, rank[user])
            self._set_deadline(session)

    def _set_deadline(self, session: Session) -> None:
        dues = [stream.due for _, stream in session.streams if stream.due is not None]
        if dues:
            self._deadlines.set(session.node_id, *min(dues))
        else:
            self._deadlines.clear(session.node_id)

    # ------------------------------------------------------------------------------------------ out

    @property
    def stats(self) -> PipelineStats:
        return PipelineStats(
            self._now_us,
            {number: link.stats() for number, link in self._links.items()},
            {node_id: session.counters.snapshot() for node_id, session in self._sessions.items()},
            dict(self._unknown),
        )

    def snapshot(self, dirty_only: bool = False) -> dict[str, bytes]:
        """All that is remembered; `dirty_only`: of links and nodes that something happened to since the last
        snapshot."""
        blobs = {"clock": cbor2.dumps([self._now_us, self._arrivals, list(self._unknown.items())])}
        for number, link in self._links.items():
            if link.touched or not dirty_only:
                blobs[f"link:{number}"] = pack_link(link)
            link.touched = False
        for node_id, session in self._sessions.items():
            if session.touched or not dirty_only:
                blobs[f"node:{node_id}"] = pack_session(session)
            session.touched = False
        return blobs

    def restore(self, blobs: Mapping[str, bytes]) -> None:
        """Go on from snapshots of the same fleet, later blobs of a key in place of earlier ones; call before any
        feed."""
        if "clock" in blobs:
            self._now_us, self._arrivals, unknown = cbor2.loads(blobs["clock"])
            self._unknown = {node_id: packets for node_id, packets in unknown}
        for number, link in self._links.items():
            if (blob := blobs.get(f"link:{number}")) is not None:
                restore_link(link, blob)
        for node_id, session in self._sessions.items():
            if (blob := blobs.get(f"node:{node_id}")) is not None:
                restore_session(session, blob)
                self._set_deadline(session)
