"""Whether what a node sends is what its model says: the hello names it, and the packets behind it check and parse.

Decoding needs the neighbours, which are not here; parsing does not (first law). Each packet is tried in the context that the last
hello fixed (SPEC 2.3), so one that checks belongs to this model, this boot and this place in the stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_wz.codec import schemes
from edge_wz.codec.indices import Indices
from edge_wz.deploy.wire import Wire
from edge_wz.formats import packet
from edge_wz.formats.layout import TYPE_DATA, TYPE_HELLO
from edge_wz.formats.packet import Context, Hello, PacketStatus, present_slots
from edge_wz.model import NodeModel

POLL_S = 0.05
UNCHECKED_ALLOWED = 2  # packets that noise may have damaged


@dataclass(frozen=True)
class Proof:
    """`packets` of the model that checked and parsed, with `samples` in them; `failure` "" or why it is none."""

    hello: Hello | None
    packets: int
    samples: int
    failure: str

    @property
    def given(self) -> bool:
        return not self.failure


class Witness:
    """Looks at packets one by one."""

    def __init__(self, node: NodeModel, node_id: int, shared: bool) -> None:
        self._node = node
        self._node_id = node_id
        self._offset = len(packet.pack_node_id(node_id)) if shared else 0
        self._shared = shared
        self._context: Context | None = None
        self._counter = 0
        self.hello: Hello | None = None
        self.packets = 0
        self.samples = 0
        self.unchecked = 0
        self.failure = ""
        self._indices(b"", 0, np.ones(1, dtype=bool))  # compile now, not while packets come

    def look(self, raw: bytes) -> None:
        """Packets before the first hello of the new model are the old model's, or not to be judged."""
        if self._shared and packet.split_node_id(raw) != (self._node_id, self._offset):
            return
        kind = packet.peek(raw, self._offset).type
        if kind == TYPE_HELLO:
            self._look_at_hello(packet.parse_hello(raw, self._offset))
        elif kind == TYPE_DATA and self._context is not None:
            self._look_at_data(raw, self._context)

    def _look_at_hello(self, hello: Hello | PacketStatus) -> None:
        if isinstance(hello, Hello) and hello.model_id == self._node.model_id:
            if hello.node_id != self._node_id:
                self.failure = f"the hello is of node {hello.node_id}, not {self._node_id}"
            self.hello = hello
            self._context = Context.of(hello, self._node.packet_samples, self._shared)
            self._counter = hello.packet_counter

    def _look_at_data(self, raw: bytes, context: Context) -> None:
        sequence = packet.peek(raw, self._offset).sequence
        counter = self._counter + ((sequence - self._counter) & 0xFF)
        if not packet.check_data(raw, context.seed(counter)):
            self.unchecked += 1
            if self.unchecked > UNCHECKED_ALLOWED:
                self.failure = f"{self.unchecked} packets behind the hello do not check, the last with sequence {sequence}"
            return
        self._counter = counter + 1
        parsed = packet.parse_data(raw, self._offset, self._node.packet_samples)
        problem = parsed.value if isinstance(parsed, PacketStatus) else self._parse(parsed)
        if problem:
            self.failure = f"packet {counter} checks and does not parse: {problem}"

    def _parse(self, data: packet.DataPacket) -> str:
        if data.rate_point >= len(self._node.rate_points):
            return PacketStatus.NO_RATE_POINT.value
        present = present_slots(data, self._node.packet_samples)
        indices = self._indices(data.payload, data.rate_point, present)
        if indices.status[0] < 0:
            return PacketStatus.MALFORMED.value
        self.packets += 1
        self.samples += int(present.sum())
        return ""

    def _indices(self, payload: bytes, rate_point: int, present: np.ndarray) -> Indices:
        row = np.zeros((1, self._node.packet_samples), dtype=bool)
        row[0, : len(present)] = present
        return schemes.parse(self._node, [payload], [rate_point], [len(present)], row)


def watch(wire: Wire, witness: Witness, packets: int, wait_s: float, told: Callable[[int], None]) -> Proof:
    """Wait for the hello and so many packets of the model."""
    until_s = time.monotonic() + wait_s
    while not witness.failure and (witness.hello is None or witness.packets < packets):
        if time.monotonic() > until_s:
            witness.failure = _too_late(witness, packets, wait_s)
            break
        wire.poll(POLL_S)
        while wire.packets:
            witness.look(wire.packets.popleft())
        told(witness.packets)
    return Proof(witness.hello, witness.packets, witness.samples, witness.failure)


def _too_late(witness: Witness, packets: int, wait_s: float) -> str:
    if witness.hello is None:
        return f"no hello of the new model in {wait_s:.0f} s"
    return f"only {witness.packets} of {packets} packets in {wait_s:.0f} s"
