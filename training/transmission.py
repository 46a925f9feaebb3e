"""One node's recording over the air and into indices, in bulk: encoder, packets, losses, checksums, parser.

The gateway's pipeline does the same packet by packet, with clocks and disorder; here the packets come in order and the
contexts are known, so that millions of samples take seconds. Nothing is shortened: every packet is built, checked and
parsed. Only data packets get lost; hellos arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_wz.codec import schemes
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.encoder import EncoderCounters, NodeEncoder
from edge_wz.codec.indices import StreamIndices, flatten
from edge_wz.errors import EdgeWzError, InputError
from edge_wz.formats import packet
from edge_wz.formats.layout import TYPE_HELLO
from edge_wz.kernels import nested_quantizer
from edge_wz.model import NodeModel

NODE_ID = 1
LINKS = ("addressed", "shared")


@dataclass(frozen=True, eq=False)
class Received:
    """What came out of the parser, and what it cost. Slots are the recording's rows."""

    indices: StreamIndices
    received: np.ndarray  # bool[T]: the packet of this slot arrived
    payload_bits: np.ndarray  # int64[P], of the packets sent, lost ones included
    packet_bits: np.ndarray  # int64[P], header, extension and checksum included
    hello_bits: int
    counters: EncoderCounters

    @property
    def overhead_bits(self) -> int:
        """Everything on air that is not payload."""
        return int(self.packet_bits.sum() - self.payload_bits.sum()) + self.hello_bits


def transmit(
    node: NodeModel,
    codes: np.ndarray,
    present: np.ndarray,
    *,
    period_us: int = 1_000_000,
    loss: float = 0.0,
    seed: int = 0,
    link: str = "addressed",
) -> Received:
    """Send codes int16[T] with rate point 0; each data packet is lost with probability `loss`."""
    if not 0.0 <= loss < 1.0:
        raise InputError(f"loss must be at least 0 and below 1, not {loss:g}")
    if link not in LINKS:
        raise InputError(f"link must be {' or '.join(LINKS)}, not '{link}'")
    encoder = NodeEncoder(node, NODE_ID, period_us=period_us, shared_link=link == "shared")
    raw = encoder.encode(codes, present) + encoder.flush()
    packets, packet_bytes = _open(raw, node, link == "shared")
    arrived = np.random.default_rng(seed).random(len(packets)) >= loss
    counts = np.array([node.packet_samples if one.count is None else one.count for one in packets], np.int64)
    return Received(
        _parse(node, packets, counts, arrived),
        np.repeat(arrived, counts),
        np.array([8 * len(one.payload) for one in packets], np.int64),
        8 * np.array(packet_bytes, np.int64),
        encoder.counters.hello_bits,
        encoder.counters,
    )


def _open(raw: Sequence[bytes], node: NodeModel, shared: bool) -> tuple[list[packet.DataPacket], list[int]]:
    """The data packets and their bytes on air, each checked in the context of the hellos before it."""
    opened: list[packet.DataPacket] = []
    packet_bytes: list[int] = []
    context: packet.Context | None = None
    for one in raw:
        offset = packet.split_node_id(one)[1] if shared else 0
        if packet.peek(one, offset).type == TYPE_HELLO:
            hello = packet.parse_hello(one, offset)
            if not isinstance(hello, packet.Hello):
                raise EdgeWzError(f"the encoder sent a hello that its receiver refuses: {hello}")
            context = packet.Context.of(hello, node.packet_samples, shared)
            continue
        if context is None or not packet.check_data(one, context.seed(len(opened))):
            raise EdgeWzError(f"data packet {len(opened)} does not check")
        fields = packet.parse_data(one, offset, node.packet_samples)
        if not isinstance(fields, packet.DataPacket):
            raise EdgeWzError(f"the encoder sent a packet that its receiver refuses: {fields}")
        opened.append(fields)
        packet_bytes.append(len(one))
    return opened, packet_bytes


def _parse(node: NodeModel, packets: list[packet.DataPacket], counts: np.ndarray, arrived: np.ndarray) -> StreamIndices:
    """Indices of the packets that arrived, with runs of NO_LEVEL for those that did not."""
    kept = np.flatnonzero(arrived)
    present = np.ones((len(kept), node.packet_samples), dtype=np.bool_)
    for row, which in enumerate(kept.tolist()):
        if packets[which].absent is not None:
            slots = packet.present_slots(packets[which], node.packet_samples)
            present[row, : len(slots)] = slots
    payloads = [packets[which].payload for which in kept.tolist()]
    rates = np.array([packets[which].rate_point for which in kept.tolist()], np.int32)
    indices = schemes.parse(node, payloads, rates, counts[kept], present)
    if np.any(indices.status < 0):
        raise EdgeWzError("the encoder sent a payload that its parser refuses")
    return _spread(flatten(indices), counts, arrived)


def _spread(stream: StreamIndices, counts: np.ndarray, arrived: np.ndarray) -> StreamIndices:
    """Puts the lost packets back in, as slots of which nothing is known."""
    if arrived.all():
        return stream
    slots = np.repeat(arrived, counts)
    predicted = stream.preds.size == stream.values.size
    return StreamIndices(
        _widen(stream.values, slots, NO_LEVEL),
        _widen(stream.rate_points, slots, 0),
        np.cumsum(counts) - counts,
        _widen(stream.checks, arrived, -1),
        _widen(stream.preds, slots, 0) if predicted else stream.preds,
        _widen(stream.recon, slots, 0) if predicted else stream.recon,
    )


def _widen(column: np.ndarray, where: np.ndarray, filler: int) -> np.ndarray:
    wide = np.full(len(where), filler, dtype=column.dtype)
    wide[where] = column
    return wide


def true_levels(node: NodeModel, codes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """int64[T]: the levels inside the encoder of `nested`, which no gateway sees; NO_LEVEL where absent."""
    point = node.rate_points[0]
    state = np.zeros(nested_quantizer.STATE_SLOTS, dtype=np.int32)
    bins = np.full(len(codes), NO_LEVEL, dtype=np.int32)
    turns = np.zeros(len(codes), dtype=np.int32)
    nested_quantizer.quantize_stream(
        np.ascontiguousarray(codes, np.int16), present, point.taps, point.shift, point.rounding, point.modulus,
        state, bins, turns,
    )
    levels = turns.astype(np.int64) * point.modulus + bins - 32768
    return np.where(present, levels, NO_LEVEL)
