"""What the gateway knows of one node: its contexts, the packets that wait for one, and its streams.

`receive` takes a packet and either puts it into a run (packets accepted one after another, to be parsed in bulk),
keeps it, counts it, or hands back a hello that changes something: the pipeline decodes what came before such a hello
and then calls `enter`. The pipeline appends to `raws` itself when a packet is plainly the one expected next; `shared`,
`offset`, `header` and `seed` are what it compares.

What waits for a hello is bounded, in packets and in bytes; the oldest is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_wz.codec.reconstruction import Decoder
from edge_wz.formats.layout import DATA_CHECK_BYTES, DATA_HEADER_BYTES, TYPE_HELLO, TYPE_REFINEMENT
from edge_wz.formats.packet import Hello, PacketStatus, pack_node_id, parse_hello, peek, refusal
from edge_wz.gateway.contexts import FIRST_HEADER, Contexts, Match, NodeContext, Waiting
from edge_wz.gateway.events import Event, ModelSwitched, NodeReset, NodeSeen, PacketRefused, UnknownModel
from edge_wz.gateway.fleet import Fleet, NodeSpec
from edge_wz.gateway.neighborhood import Neighborhood
from edge_wz.gateway.reconstructor import Reconstructor
from edge_wz.gateway.segments import mark
from edge_wz.gateway.stats import NodeCounters
from edge_wz.gateway.stream import Stream
from edge_wz.gateway.surroundings import Surroundings, Timeline
from edge_wz.model import Model

QUARANTINE_PACKETS = 512  # of a node
QUARANTINE_BYTES = 1 << 16
REWIND_PACKETS = 256  # a hello of the same boot epoch that lies farther back: the node restarted without counting it


@dataclass(slots=True)
class Run:
    """Packets with counters `counter`, `counter + 1`, ... of one context, accepted at one time."""

    context: NodeContext
    stream: Stream
    counter: int
    offset: int  # where the header begins, in each of them
    arrival_us: int
    extension: bool = False
    raws: list[bytes] = field(default_factory=list)


class Session:
    def __init__(
        self,
        spec: NodeSpec,
        fleet: Fleet,
        neighborhood: Neighborhood,
        models: Mapping[bytes, Model],
        decoder_of: Callable[[Model], Decoder],
    ) -> None:
        self.spec = spec
        self.node_id = spec.node_id
        self.varint = pack_node_id(spec.node_id)
        self.fleet = fleet
        self.neighborhood = neighborhood
        self.models = models
        self.decoder_of = decoder_of
        self.counters = NodeCounters()
        self.contexts = Contexts()
        self.reconstructors: dict[bytes, Reconstructor] = {}
        self.streams: list[tuple[int, Stream]] = []  # (serial, stream), at most two, the current one last
        self.stream_serial = 0
        self.previous_stream: Stream | None = None  # of `contexts.previous`
        self.quarantine: list[Waiting] = []
        self.quarantine_bytes = 0
        self.hello: Hello | None = None  # the last one that changed something
        self.entered_us = 0  # when it came
        self.previous_hello: Hello | None = None
        self.told_model_id = b""  # the model of the last NodeSeen or ModelSwitched
        self.runs: list[Run] = []
        self.urgent: list[Run] = []  # packets that revise: to be decoded after all that came before them
        self.refining: list[Match] = []  # refinement packets: likewise, behind the others
        self.touched = True  # since the last snapshot
        self.raws: list[bytes] | None = None  # packets of the open run
        self.close_run()

    # ------------------------------------------------------------------------------------------ the quick way

    @property
    def expected(self) -> int:
        """The counter of the packet expected next."""
        return self.contexts.expected if self.raws is None else self.runs[-1].counter + len(self.raws)

    def close_run(self, shared: bool = True) -> None:
        """Start the quick test anew from the contexts; the next packet opens a new run."""
        self.end_run()
        self.shared = shared
        self.offset = len(self.varint) if shared else 0
        self.header = self.contexts.header
        self._renew_seed()

    def end_run(self) -> None:
        """What the pipeline appended is counted, once for the whole run."""
        if self.raws is not None:
            self.contexts.expected = self.expected
            self.counters.packet_bits += 8 * sum(map(len, self.raws))
            self.raws = None

    def wrap_sequence(self) -> None:
        """The sequence starts again at 0: the quick test needs the seed of the next counters."""
        self.header = FIRST_HEADER
        self._renew_seed()

    def _renew_seed(self) -> None:
        current = self.contexts.current
        self.seed = 0 if current is None else current.seed(self.expected, self.shared)

    def open_run(self, arrival_us: int) -> list[bytes]:
        """For the packet expected next."""
        assert self.contexts.current is not None
        raws: list[bytes] = []
        self.raws = raws
        self.runs.append(Run(
            self.contexts.current, self.streams[-1][1], self.contexts.expected, self.offset, arrival_us, raws=raws
        ))
        return raws

    def take_runs(self) -> list[Run]:
        self.end_run()
        runs, self.runs = self.runs, []
        return runs

    # ------------------------------------------------------------------------------------------ any packet

    def receive(self, packet: Waiting, link: int, now_us: int, events: list[Event]) -> Hello | None:
        """Take a packet of this node; a hello comes back if it changes something."""
        self.end_run()
        self.counters.packet_bits += 8 * len(packet.raw)
        header = peek(packet.raw, packet.offset)
        status = refusal(packet.raw, packet.offset, header)
        if status is None and header.type == TYPE_HELLO:
            return self._receive_hello(packet, link, now_us, events)
        if status is None and len(packet.raw) < packet.offset + DATA_HEADER_BYTES + DATA_CHECK_BYTES:
            status = PacketStatus.TOO_SHORT
        if status is None and header.type == TYPE_REFINEMENT:
            self._receive_refinement(packet, link, now_us, events)
            return None
        if status is not None:
            self.refuse(status, len(packet.raw), link, now_us, events)
            return None
        matches = self.contexts.match(packet)
        if matches is None:
            self._keep(packet)
        else:
            self._accept(matches, now_us)
        self._note_held()
        self.close_run(packet.shared)
        return None

    def _receive_refinement(self, packet: Waiting, link: int, now_us: int, events: list[Event]) -> None:
        current = self.contexts.current
        match = self.contexts.match_base(packet)
        if not self._has_layers((match.context if match else current or self.spec.model).model_id):
            self.refuse(PacketStatus.RESERVED_TYPE, len(packet.raw), link, now_us, events)
        elif match is None:
            self._keep(packet)
        else:
            self.refining.append(match)
        self.close_run(packet.shared)

    def _has_layers(self, model_id: bytes) -> bool:
        model = self.model_of(model_id)
        return model is not None and model.node.scheme == "layered"

    def stream_of(self, context: NodeContext) -> Stream:
        stream = self.streams[-1][1] if context is self.contexts.current else self.previous_stream
        assert stream is not None
        return stream

    def refuse(self, status: PacketStatus, size: int, link: int, now_us: int, events: list[Event]) -> None:
        self.counters.refuse(status.value)
        events.append(PacketRefused(link, self.node_id, status.value, size, now_us))

    def _keep(self, packet: Waiting) -> None:
        self.quarantine.append(packet)
        self.quarantine_bytes += len(packet.raw)
        while len(self.quarantine) > QUARANTINE_PACKETS or self.quarantine_bytes > QUARANTINE_BYTES:
            self.quarantine_bytes -= len(self.quarantine.pop(0).raw)
            self.counters.quarantine_dropped += 1
        self.counters.quarantined = len(self.quarantine)

    def _note_held(self) -> None:
        self.counters.held = len(self.contexts.held)
        self.counters.held_discarded = self.contexts.held_discarded

    def _accept(self, matches: list[Match], now_us: int) -> None:
        """Each packet a run of its own; those that revise are put aside."""
        for context, counter, packet in matches:
            stream = self.stream_of(context)
            extension = bool(packet.raw[packet.offset + 1] & 1)
            run = Run(context, stream, counter, packet.offset, now_us, extension, [packet.raw])
            revises = stream.can_revise(context.first_index(counter), now_us)
            (self.urgent if revises else self.runs).append(run)

    # ------------------------------------------------------------------------------------------ hellos

    def _receive_hello(self, packet: Waiting, link: int, now_us: int, events: list[Event]) -> Hello | None:
        hello = parse_hello(packet.raw, packet.offset)
        if isinstance(hello, Hello) and hello.node_id != self.node_id:
            hello = PacketStatus.BAD_NODE_ID
        if isinstance(hello, PacketStatus):
            self.refuse(hello, len(packet.raw), link, now_us, events)
            return None
        self.counters.hello_packets += 1
        self.counters.hello_bits += 8 * len(packet.raw)
        if self._is_stale(hello, now_us):
            return None
        if self._is_news(hello, now_us):
            return hello
        self.contexts.expected = max(self.contexts.expected, hello.packet_counter)
        self._reveal(hello, now_us)
        self.close_run(packet.shared)
        return None

    def _is_news(self, hello: Hello, now_us: int) -> bool:
        current = self.contexts.current
        if current is None or self.quarantine or self.contexts.held or self._rewound(hello):
            return True
        same = current.covers(NodeContext.of(hello, current.packet_samples))
        return not same or self._timeline(hello, now_us) != self.streams[-1][1].timeline

    def _is_stale(self, hello: Hello, now_us: int) -> bool:
        """Overtaken by the hello that is in force."""
        last, before = self.hello, self.previous_hello
        if last is None or self._rewound(hello):
            return False
        if hello.boot_epoch != last.boot_epoch:
            recent = now_us - self.entered_us <= self.fleet.revise_window_us
            return before is not None and hello.boot_epoch == before.boot_epoch and recent
        if hello.packet_counter == last.packet_counter:
            return before is not None and hello.model_id == before.model_id != last.model_id
        return hello.packet_counter < last.packet_counter

    def _rewound(self, hello: Hello) -> bool:
        last = self.hello
        if last is None or hello.boot_epoch != last.boot_epoch:
            return False
        return hello.packet_counter + REWIND_PACKETS < max(last.packet_counter, self.expected)

    def _timeline(self, hello: Hello, now_us: int) -> Timeline:
        if hello.start_ms:
            start_us = hello.start_ms * 1000
        elif self.streams and self._continues(hello):
            start_us = self.streams[-1][1].timeline.start_us
        else:
            start_us = now_us - hello.sample_index * hello.period_us
        return Timeline(hello.boot_epoch, start_us, hello.period_us)

    def _continues(self, hello: Hello) -> bool:
        """Whether it is of the boot epoch of the current stream."""
        return self.streams[-1][1].timeline.boot_epoch == hello.boot_epoch and not self._rewound(hello)

    def _reveal(self, hello: Hello, now_us: int) -> None:
        """The samples before the hello exist: if they do not come they are lost."""
        stream = self.streams[-1][1]
        if hello.sample_index > stream.cursor:
            stream.offer(mark(hello.model_id, hello.packet_counter, hello.sample_index, now_us), 0, now_us, [])

    def enter(self, hello: Hello, shared: bool, now_us: int, events: list[Event]) -> None:
        """A hello that changes something is in force from here on; what waited for it is tried again."""
        rewound = self._rewound(hello)
        timeline = self._timeline(hello, now_us)
        self._tell_node(hello, rewound, now_us, events)
        model = self.model_of(hello.model_id)
        if model is None:
            self._tell_unknown(hello, now_us, events)
            self.contexts.enter(None, hello.packet_counter)
            self.previous_stream = self.streams[-1][1] if self.streams else None
        else:
            self._tell_model(hello, now_us, events)
            self._enter_context(hello, model, timeline, rewound)
        self._remember(hello, rewound, now_us)
        if model is not None:
            self._retry(now_us)
            self._reveal(hello, now_us)
        self.close_run(shared)

    def _remember(self, hello: Hello, rewound: bool, now_us: int) -> None:
        last = self.hello
        context = ("boot_epoch", "model_id", "start_ms", "period_us")
        if last is None or rewound or any(getattr(last, name) != getattr(hello, name) for name in context):
            self.previous_hello, self.entered_us = last, now_us
        self.hello = hello

    def _enter_context(self, hello: Hello, model: Model, timeline: Timeline, rewound: bool) -> None:
        self.know_model(model)
        context = NodeContext.of(hello, model.node.packet_samples)
        current = self.contexts.current
        if current is not None and current.covers(context) and not rewound:
            self.contexts.expected = max(self.contexts.expected, hello.packet_counter)
        else:
            self.previous_stream = self.streams[-1][1] if self.streams else None
            self.contexts.enter(context, hello.packet_counter)
        if not self.streams or rewound or self.streams[-1][1].timeline != timeline:
            self._open_stream(timeline, hello)

    def _open_stream(self, timeline: Timeline, hello: Hello) -> None:
        _, start_us, period_us = timeline
        track = self.neighborhood.open_track(self.node_id, start_us, period_us, hello.sample_index)
        stream = Stream(self.around(), timeline, hello.sample_index, hello.packet_counter, track)
        self.streams.append((self.stream_serial, stream))
        self.stream_serial += 1

    def around(self) -> Surroundings:
        return Surroundings(self.node_id, self.fleet, self.neighborhood, self.reconstructors, self.counters)

    def model_of(self, model_id: bytes) -> Model | None:
        """The node's own bundle first: nodes with the same blob may have different neighbours."""
        return self.spec.model if model_id == self.spec.model.model_id else self.models.get(model_id)

    def know_model(self, model: Model) -> None:
        """Neighbours by the names that the node's own model gave them."""
        if model.model_id not in self.reconstructors:
            ids = dict(zip(self.spec.model.side, self.spec.side, strict=True))
            neighbours = [ids.get(name) for name in model.side]
            self.reconstructors[model.model_id] = Reconstructor(model, self.decoder_of(model), neighbours)

    def _retry(self, now_us: int) -> None:
        stream = self.streams[-1][1]
        waiting = [*self.quarantine, *self.contexts.held]
        self.contexts.held = []
        refinements = [packet for packet in waiting if peek(packet.raw, packet.offset).type == TYPE_REFINEMENT]
        accepted, self.quarantine = self.contexts.match_earlier([packet for packet in waiting if packet not in refinements])
        matches = [(packet, self.contexts.match_base(packet)) for packet in refinements]
        self.refining += [match for _, match in matches if match is not None]
        self.quarantine += [packet for packet, match in matches if match is None]
        self.quarantine_bytes = sum(len(packet.raw) for packet in self.quarantine)
        self.counters.quarantined = len(self.quarantine)
        self._note_held()
        if accepted:
            first = min(accepted, key=lambda match: match.context.first_index(match.counter))
            first_index = first.context.first_index(first.counter)
            if stream.fresh and first_index < stream.cursor:
                stream.begin_at(first_index, first.counter)
            self._accept(accepted, now_us)

    def model_added(self, model_id: bytes) -> Hello | None:
        """The hello that waited for this model."""
        waits = self.contexts.current is None and self.hello is not None and self.hello.model_id == model_id
        return self.hello if waits else None

    # ------------------------------------------------------------------------------------------ telling

    def _tell_node(self, hello: Hello, rewound: bool, now_us: int, events: list[Event]) -> None:
        last = self.hello
        if last is None:
            events.append(NodeSeen(self.node_id, hello.boot_epoch, hello.model_id, now_us))
            self.told_model_id = hello.model_id
        elif rewound or hello.boot_epoch != last.boot_epoch:
            self.counters.resets += 1
            events.append(NodeReset(self.node_id, hello.boot_epoch, last.boot_epoch, now_us))

    def _tell_model(self, hello: Hello, now_us: int, events: list[Event]) -> None:
        if hello.model_id != self.told_model_id:
            events.append(ModelSwitched(self.node_id, hello.boot_epoch, hello.model_id, self.told_model_id, now_us))
            self.told_model_id = hello.model_id

    def _tell_unknown(self, hello: Hello, now_us: int, events: list[Event]) -> None:
        last = self.hello
        if last is None or (last.model_id, last.boot_epoch) != (hello.model_id, hello.boot_epoch):
            events.append(UnknownModel(self.node_id, hello.boot_epoch, hello.model_id, now_us))

    # ------------------------------------------------------------------------------------------ decoding

    def after_decoding(self, now_us: int, events: list[Event]) -> bool:
        """After its streams decoded what they could: whether the users of this node should look again."""
        self.touched, moved = True, False
        while len(self.streams) > 2 or (len(self.streams) == 2 and self._is_done(self.streams[0][1], now_us)):
            moved |= self._retire(events)
        for _, stream in self.streams:
            moved |= stream.moved
            stream.moved = False
        self.counters.refinements_waiting = sum(len(stream.refinements) for _, stream in self.streams)
        if self.streams:
            self.neighborhood.needed_us[self.node_id] = min(stream.needed_us() for _, stream in self.streams)
        return moved

    @property
    def due_us(self) -> int | None:
        """When a stream decides something whatever is missing."""
        return min((stream.due_us for _, stream in self.streams if stream.due_us is not None), default=None)

    def _is_done(self, stream: Stream, now_us: int) -> bool:
        return not stream.queue and now_us - self.entered_us > self.fleet.revise_window_us

    def _retire(self, events: list[Event]) -> bool:
        """Let the oldest stream decide all that it still waits for, at the times at which it would."""
        stream = self.streams.pop(0)[1]
        while stream.due_us is not None:
            stream.advance(stream.due_us, events)
        self.counters.refinements_dropped += len(stream.refinements)
        if self.previous_stream is stream:
            self.previous_stream, self.contexts.previous = None, None
        return stream.moved
