"""Link bytes to samples, pure and synchronous: `feed` and `tick` return events, nobody is called back.

The result depends on the bytes and the times given with them, not on how often `tick` is called: deadlines fire at
their due time, before anything that came later; of those due at one time, neighbours before those who use them. How
bytes of one time are cut into feeds changes how samples are batched into events and nothing else. Times are integer
microseconds; time that runs backwards stands still.

The fleet is fixed: packets of a node that is not in it are counted, per id for a bounded number of ids, and not kept.
Who adds a node starts again with the new fleet and, if the past matters, from the capture.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterable, Mapping, Sequence

import cbor2

from edge_wz.codec.reconstruction import Decoder
from edge_wz.formats.layout import DATA_CHECK_BYTES, DATA_HEADER_BYTES
from edge_wz.formats.packet import CRC_RESIDUE, SMALL_BYTES, PacketStatus, crc, split_node_id
from edge_wz.gateway.clock import Deadlines
from edge_wz.gateway.contexts import HEADER_MASK, LAST_HEADER, Waiting
from edge_wz.gateway.events import Event, PacketRefused
from edge_wz.gateway.fleet import Fleet
from edge_wz.gateway.layers import parse_further
from edge_wz.gateway.links import LinkState
from edge_wz.gateway.neighborhood import MAX_CAPACITY, Neighborhood
from edge_wz.gateway.parsing import parse_runs
from edge_wz.gateway.reconstructor import run_together
from edge_wz.gateway.session import Session
from edge_wz.gateway.snapshots import pack_link, pack_session, restore_link, restore_session
from edge_wz.gateway.stats import PipelineStats
from edge_wz.gateway.stream import Stream
from edge_wz.model import Model

SETTLE_PACKETS = 1 << 14  # decoded together at most
SETTLE_RUN = 128  # packets of one node
SETTLE_SAMPLES = MAX_CAPACITY // 2  # of one node: no further ahead of its users than they can look back
UNKNOWN_NODES = 256
SMALLEST_DATA = DATA_HEADER_BYTES + DATA_CHECK_BYTES


class Pipeline:
    """The one entry to `gateway`: `feed`, `tick`, `finish`; `snapshot` and `restore`; `stats`."""

    def __init__(self, fleet: Fleet, models: Mapping[bytes, Model] | None = None) -> None:
        self._fleet = fleet
        self._models = {node.model.model_id: node.model for node in fleet.nodes} | dict(models or {})
        self._decoders: dict[Model, Decoder] = {}  # by bundle: one node blob may have several
        self._neighborhood = Neighborhood(fleet.users)
        self._sessions = {
            node.node_id: Session(node, fleet, self._neighborhood, self._models, self._decoder_of)
            for node in fleet.nodes
        }
        self._by_varint = {session.varint: session for session in self._sessions.values()}
        self._rank = {node_id: rank for rank, node_id in enumerate(fleet.order)}
        self._links = {link.link: LinkState(link) for link in fleet.links}
        self._deadlines = Deadlines()
        self._unknown: dict[int, int] = {}
        self._active: dict[int, Session] = {}  # has runs that are not decoded
        self._now_us = 0

    def _decoder_of(self, model: Model) -> Decoder:
        if model not in self._decoders:
            self._decoders[model] = Decoder(model)
        return self._decoders[model]

    def warm_up(self) -> None:
        """Compile every decoder now, so that neither the first packets nor those of the next model need wait for seconds."""
        for model in dict.fromkeys((*(node.model for node in self._fleet.nodes), *self._models.values())):
            self._decoder_of(model).warm_up()

    # ------------------------------------------------------------------------------------------ in

    def feed(self, link: int, data: bytes, now_us: int) -> list[Event]:
        """Bytes that came over a link at a time."""
        events = self.tick(now_us)
        state = self._links[link]
        packets, step = state.packets(data, self._now_us, events), self._settle_packets()
        for start in range(0, len(packets), step):
            self._receive(state, packets[start : start + step], events)
            self._settle(events)
        return events

    def _settle_packets(self) -> int:
        longest = max((model.node.packet_samples for model in self._models.values()), default=1)
        return SETTLE_PACKETS if 2 * SETTLE_RUN * longest <= SETTLE_SAMPLES else max(1, SETTLE_SAMPLES // longest)

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
                session.enter(hello, session.shared, self._now_us, events)
                self._active[session.node_id] = session
        self._settle(events)
        return events

    def _fire(self, now_us: int | None, events: list[Event]) -> None:
        while due := self._deadlines.pop_due(now_us):
            due_us, rank = due
            self._now_us = max(self._now_us, due_us)
            self._advance([self._fleet.order[rank]], events)

    # ------------------------------------------------------------------------------------------ packets

    def _receive(self, link: LinkState, packets: Iterable[bytes], events: list[Event]) -> None:
        """The hot loop: a packet that is plainly the next of its node is appended to a run, any other looked at."""
        shared, by_varint, active, now_us = link.spec.shared, self._by_varint, self._active, self._now_us
        session = None if shared else self._sessions[link.spec.node_id or 0]
        for raw in packets:
            if shared:
                session = by_varint.get(raw[:1]) or by_varint.get(raw[:2])
            if session is None:
                self._refuse(link, raw, events)
                continue
            offset, size, header = session.offset, len(raw), session.header
            if (
                size >= offset + SMALLEST_DATA
                and (raw[offset] << 8 | raw[offset + 1]) & HEADER_MASK == header
                and session.shared is shared
                and (crc_hqx if size < SMALL_BYTES else crc)(raw, session.seed) == CRC_RESIDUE
            ):
                raws = session.raws
                if raws is None:
                    raws = session.open_run(now_us)
                    active[session.node_id] = session
                raws.append(raw)
                if header != LAST_HEADER:
                    session.header = header + 2
                else:
                    session.wrap_sequence()
                    if len(raws) >= SETTLE_RUN:
                        self._settle(events)
            else:
                self._look_at(session, link, Waiting(raw, len(session.varint) if shared else 0, shared), events)

    def _refuse(self, link: LinkState, raw: bytes, events: list[Event]) -> None:
        """A packet of no node of this fleet."""
        node_id, _ = split_node_id(raw)
        status = PacketStatus.BAD_NODE_ID if node_id < 0 else PacketStatus.UNKNOWN_NODE
        if node_id < 0:
            link.count(refused=1)
        else:
            link.count(unknown_node=1)
            if node_id in self._unknown or len(self._unknown) < UNKNOWN_NODES:
                self._unknown[node_id] = self._unknown.get(node_id, 0) + 1
        events.append(PacketRefused(link.spec.link, node_id, status.value, len(raw), self._now_us))

    def _look_at(self, session: Session, link: LinkState, packet: Waiting, events: list[Event]) -> None:
        now_us = self._now_us
        news = session.receive(packet, link.spec.link, now_us, events)
        self._active[session.node_id] = session
        if news is not None:
            self._settle(events)
            session.enter(news, packet.shared, now_us, events)
            self._active[session.node_id] = session
        if session.refining:
            self._settle(events)
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
        owned = [(session, run) for session in active for run in session.take_runs()]
        for session, run, segments, refused in parse_runs(owned, self._models):
            for segment, payload_bits in segments:
                run.stream.offer(segment, payload_bits, self._now_us, events)
            for status, size in refused:
                session.refuse(status, size, -1, self._now_us, events)
        self._advance([session.node_id for session in active], events)
        for session in active:
            if session.refining:
                self._refine(session, events)

    def _refine(self, session: Session, events: list[Event]) -> None:
        """Further layers, after all that came before them was decoded."""
        matches, session.refining = session.refining, []
        for match in matches:
            node = self._models[match.context.model_id].node
            further = parse_further(node, match, self._now_us)
            if isinstance(further, PacketStatus):
                session.refuse(further, len(match.packet.raw), -1, self._now_us, events)
                continue
            session.counters.refinements += 1
            session.stream_of(match.context).refine(further, self._now_us, events)
        self._advance([session.node_id], events)

    def _advance(self, node_ids: Iterable[int], events: list[Event]) -> None:
        """Decode what is ready at these nodes and, as neighbours become known, at those that use them."""
        fleet, sessions, rank = self._fleet, self._sessions, self._rank
        levels: list[set[int]] = [set() for _ in range(fleet.depth + 1)]  # ranks
        for node_id in node_ids:
            levels[fleet.level[node_id]].add(rank[node_id])
        for level in levels:
            members = [sessions[fleet.order[place]] for place in sorted(level)]
            self._decode([stream for session in members for _, stream in session.streams], events)
            for session in members:
                if session.after_decoding(self._now_us, events):
                    for user in fleet.users[session.node_id]:
                        levels[fleet.level[user]].add(rank[user])
                self._set_deadline(session)

    def _decode(self, streams: Sequence[Stream], events: list[Event]) -> None:
        """What is ready of streams that are no neighbours of each other."""
        now_us = self._now_us
        while streams:
            asked = [
                (stream, batch) for stream in streams if (batch := stream.prepare(now_us, events)) is not None
            ]
            for (stream, batch), done in zip(asked, run_together([batch for _, batch in asked]), strict=True):
                stream.accept(batch, done, now_us, events)
            streams = [stream for stream, _ in asked]

    def _set_deadline(self, session: Session) -> None:
        due_us = session.due_us
        if due_us is None:
            self._deadlines.clear(self._rank[session.node_id])
        else:
            self._deadlines.set(self._rank[session.node_id], due_us)

    # ------------------------------------------------------------------------------------------ out

    @property
    def stats(self) -> PipelineStats:
        return PipelineStats(
            self._now_us,
            {number: link.stats() for number, link in self._links.items()},
            {node_id: session.counters.snapshot() for node_id, session in self._sessions.items()},
            dict(self._unknown),
        )

    @property
    def running_models(self) -> dict[int, bytes]:
        """The model that the last hello of each node named; nodes not heard yet are not in it."""
        return {node_id: session.hello.model_id for node_id, session in self._sessions.items() if session.hello}

    def snapshot(self, dirty_only: bool = False) -> dict[str, bytes]:
        """All that is remembered; `dirty_only`: of links and nodes that something happened to since the last one."""
        blobs = {"clock": cbor2.dumps([self._now_us, list(self._unknown.items())])}
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
        """Go on from snapshots of the same fleet, later blobs of a key in place of earlier ones; before any feed."""
        if "clock" in blobs:
            self._now_us, unknown = cbor2.loads(blobs["clock"])
            self._unknown = {node_id: packets for node_id, packets in unknown}
        for number, link in self._links.items():
            if (blob := blobs.get(f"link:{number}")) is not None:
                restore_link(link, blob)
        for node_id, session in self._sessions.items():
            if (blob := blobs.get(f"node:{node_id}")) is not None:
                restore_session(session, blob)
                self._set_deadline(session)
