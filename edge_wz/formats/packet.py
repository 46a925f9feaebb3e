"""Packets (SPEC 2): bytes <-> `Hello` and `DataPacket`, and the context that a data packet's checksum covers.

Bad input is data: what cannot be parsed comes back as a `PacketStatus`, to be counted; nothing here raises on bytes
from a link. Who keeps the contexts, and which of them to try, is the business of `gateway.session`.

The hot path of a gateway is `split_node_id`, `plain_header`, `Context.seed`, `check_data`, `plain_payload`; that of a
node is `pack_payload`. Everything else takes the general functions.
"""

from __future__ import annotations

import zlib
from binascii import crc_hqx
from dataclasses import dataclass, field
from enum import Enum
from struct import Struct
from typing import NamedTuple

import numpy as np
from fastcrc import crc16

from edge_wz.formats.layout import (
    COUNTER_MASK,
    DATA_CHECK_BYTES,
    DATA_HEADER_BYTES,
    EXT_ABSENT,
    EXT_KNOWN,
    EXT_LAYERS,
    EXT_SHORT,
    HELLO_BYTES,
    INDEX_MASK,
    MAX_NODE_ID,
    PACKET_VERSION,
    TYPE_DATA,
    TYPE_HELLO,
    TYPE_REFINEMENT,
)

CRC_START = 0xFFFF
CRC_FINAL_XOR = 0xFFFF
CRC_RESIDUE = 0x1D0F  # state after any message and its own check
SMALL_BYTES = 64  # below, the standard library's byte-wise CRC is the faster of the two
HELLO_FRONT = Struct(">HHH8sI")  # then 48 bits of index, 40 of period, 48 of start
HELLO_FRONT_END = HELLO_FRONT.size
SEEDS_KEPT = 16


class PacketStatus(Enum):
    """Why a packet was refused. The last four are given by the session, which knows nodes and models."""

    TOO_SHORT = "shorter than its fields"
    BAD_NODE_ID = "node id varint malformed"
    NEWER_VERSION = "another packet version"
    RESERVED_TYPE = "reserved packet type"
    BAD_CHECK = "check does not hold"
    MALFORMED = "checks, but breaks a rule of the format"
    UNKNOWN_NODE = "node not in the fleet"
    UNKNOWN_MODEL = "no bundle with this model id"
    NO_CONTEXT = "checks in no context"
    NO_RATE_POINT = "rate point not in the model"


class Header(NamedTuple):
    version: int
    type: int
    rate_point: int
    sequence: int
    extension: int


class Hello(NamedTuple):
    """SPEC 2.2. `packet_counter` and `sample_index` are those of the next data packet."""

    node_id: int
    boot_epoch: int
    model_id: bytes
    packet_counter: int
    sample_index: int
    period_us: int
    start_ms: int
    rate_point: int


class DataPacket(NamedTuple):
    """SPEC 2.1. `count` is set on a short packet, `absent` (the bitmap as sent) where a sample is missing, `layers` where not as many are
    sent as the rate point says (scheme `layered`)."""

    rate_point: int
    sequence: int
    count: int | None  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    absent: bytes | None
    payload: bytes
    layers: int | None = None


class RefinementPacket(NamedTuple):
    """SPEC 2.5: layers `first .. first + layers - 1` of the samples of `base`, whose payload is that of the refinement here."""

    first: int
    layers: int
    base: DataPacket


NO_HEADER = Header(0, 0, 0, 0, 0)

# ------------------------------------------------------------------------------------------------- the check


def crc(data: bytes, state: int = CRC_START) -> int:
    """State of the CRC after `data`, before the final xor, continued from `state`."""
    return crc_hqx(data, state) if len(data) < SMALL_BYTES else int(crc16.ibm_3740(data, state))


def _backwards() -> tuple[tuple[int, int], ...]:
    """By the low byte of a state: the index and the entry of the byte-wise table that led to it."""
    table = [crc_hqx(bytes([value]), 0) for value in range(256)]
    return tuple(sorted(((index, entry) for index, entry in enumerate(table)), key=lambda pair: pair[1] & 0xFF))


_BACKWARDS = _backwards()


def seed_before(raw: bytes) -> int:
    """State of the CRC before a packet, from the packet and its check alone: who cuts a packet need not know its context (SPEC 11.2)."""
    state = int.from_bytes(raw[-DATA_CHECK_BYTES:], "big") ^ CRC_FINAL_XOR
    for byte in reversed(raw[:-DATA_CHECK_BYTES]):
        index, entry = _BACKWARDS[state & 0xFF]
        state = (index ^ byte) << 8 | (state ^ entry) >> 8
    return state


@dataclass(frozen=True)
class Context:
    """What a data packet's checksum covers besides the packet (SPEC 2.3).

    `node_id` is 0 on shared links, where the varint is covered as sent.
    """

    node_id: int
    model_id: bytes
    boot_epoch: int
    base_index: int
    _seeds: dict[int, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, hello: Hello, packet_samples: int, shared: bool) -> Context:
        base_index = (hello.sample_index - hello.packet_counter * packet_samples) & INDEX_MASK
        return cls(0 if shared else hello.node_id, hello.model_id, hello.boot_epoch, base_index)

    def seed(self, counter: int) -> int:
        """State of the CRC after the context of the packet with this counter."""
        high = (counter & COUNTER_MASK) >> 8
        seed = self._seeds.get(high)
        return self._make_seed(high) if seed is None else seed

    def _make_seed(self, high: int) -> int:
        if len(self._seeds) >= SEEDS_KEPT:
            self._seeds.clear()
        seed = crc(
            self.node_id.to_bytes(2, "big") + self.model_id + self.boot_epoch.to_bytes(2, "big")
            + self.base_index.to_bytes(6, "big") + high.to_bytes(3, "big")
        )
        self._seeds[high] = seed
        return seed

    def first_index(self, counter: int, packet_samples: int) -> int:
        """Index of the first sample of the packet with this counter."""
        return (self.base_index + counter * packet_samples) & INDEX_MASK


# ------------------------------------------------------------------------------------------------- node id


def pack_node_id(node_id: int) -> bytes:
    if not 0 <= node_id <= MAX_NODE_ID:
        raise ValueError(f"node id {node_id} is not within 0 .. {MAX_NODE_ID}")
    return bytes([node_id]) if node_id < 128 else bytes([0x80 | node_id >> 8, node_id & 0xFF])


def split_node_id(raw: bytes) -> tuple[int, int]:
    """(node id, where the header begins) of a packet of a shared link; (-1, 0) if malformed."""
    if not raw:
        return -1, 0
    first = raw[0]
    if first < 128:
        return first, 1
    node_id = (first & 0x7F) << 8 | raw[1] if len(raw) > 1 else 0
    return (node_id, 2) if node_id >= 128 else (-1, 0)


# ------------------------------------------------------------------------------------------------- header


def peek(raw: bytes, offset: int = 0) -> Header:
    """The header at `offset`; version 0, which no packet has, if there is none."""
    if len(raw) < offset + DATA_HEADER_BYTES:
        return NO_HEADER
    high, low = raw[offset], raw[offset + 1]
    return Header(high >> 6, high >> 4 & 3, high >> 1 & 7, (high & 1) << 7 | low >> 1, low & 1)


def refusal(raw: bytes, offset: int, header: Header) -> PacketStatus | None:
    """Why a packet that is no data, hello or refinement packet of this version is refused; None for those three."""
    if header.version == PACKET_VERSION and header.type in (TYPE_DATA, TYPE_HELLO, TYPE_REFINEMENT):
        return None
    if len(raw) < offset + DATA_HEADER_BYTES:
        return PacketStatus.TOO_SHORT
    return PacketStatus.NEWER_VERSION if header.version != PACKET_VERSION else PacketStatus.RESERVED_TYPE


def _pack_header(packet_type: int, rate_point: int, sequence: int, extension: int) -> bytes:
    word = PACKET_VERSION << 14 | packet_type << 12 | rate_point << 9 | (sequence & 0xFF) << 1 | extension
    return word.to_bytes(2, "big")


# ------------------------------------------------------------------------------------------------- hello


def pack_hello(hello: Hello, shared: bool) -> bytes:
    body = b"".join((
        pack_node_id(hello.node_id) if shared else b"",
        _pack_header(TYPE_HELLO, hello.rate_point, hello.packet_counter, 0),
        hello.node_id.to_bytes(2, "big"), hello.boot_epoch.to_bytes(2, "big"), hello.model_id,
        hello.packet_counter.to_bytes(4, "big"), hello.sample_index.to_bytes(6, "big"),
        hello.period_us.to_bytes(5, "big"), hello.start_ms.to_bytes(6, "big"),
    ))
    return body + zlib.crc32(body).to_bytes(4, "big")


def parse_hello(raw: bytes, offset: int = 0) -> Hello | PacketStatus:
    """`offset`: where the header begins, after the varint of a shared link."""
    if len(raw) != offset + HELLO_BYTES:
        return PacketStatus.TOO_SHORT if len(raw) < offset + HELLO_BYTES else PacketStatus.MALFORMED
    if zlib.crc32(raw[:-4]) != int.from_bytes(raw[-4:], "big"):
        return PacketStatus.BAD_CHECK
    header = peek(raw, offset)
    _, node_id, boot_epoch, model_id, packet_counter = HELLO_FRONT.unpack_from(raw, offset)
    rest = raw[offset + HELLO_FRONT_END :]
    period_us = int.from_bytes(rest[6:11], "big")
    sound = (
        header.version == PACKET_VERSION and header.type == TYPE_HELLO and not header.extension
        and header.sequence == packet_counter & 0xFF and period_us >= 1
        and (node_id <= MAX_NODE_ID if offset == 0 else split_node_id(raw) == (node_id, offset))
    )
    if not sound:
        return PacketStatus.MALFORMED
    return Hello(
        node_id, boot_epoch, model_id, packet_counter, int.from_bytes(rest[:6], "big"), period_us,
        int.from_bytes(rest[11:17], "big"), header.rate_point,
    )


# ------------------------------------------------------------------------------------------------- data


def pack_payload(payload: bytes, rate_point: int, counter: int, seed: int, varint: bytes = b"") -> bytes:
    """A full data packet without absent samples. `varint`: `pack_node_id(...)` on a shared link."""
    word = PACKET_VERSION << 14 | rate_point << 9 | (counter & 0xFF) << 1
    body = varint + word.to_bytes(2, "big") + payload
    return body + (crc(body, seed) ^ CRC_FINAL_XOR).to_bytes(2, "big")


def pack_data(packet: DataPacket, seed: int, node_id: int | None = None) -> bytes:
    """Any data packet. `node_id` only on a shared link; `seed` from the `Context`."""
    section = _pack_extension(packet)
    return _with_check(b"".join((
        b"" if node_id is None else pack_node_id(node_id),
        _pack_header(TYPE_DATA, packet.rate_point, packet.sequence, 1 if section else 0), section, packet.payload,
    )), seed)


def pack_refinement(packet: RefinementPacket, seed: int, node_id: int | None = None) -> bytes:
    """A refinement packet; `seed` is that of its base."""
    base = packet.base._replace(layers=None)
    section = _pack_extension(base)
    return _with_check(b"".join((
        b"" if node_id is None else pack_node_id(node_id),
        _pack_header(TYPE_REFINEMENT, base.rate_point, base.sequence, 1 if section else 0),
        bytes([packet.first << 4 | packet.layers]), section, base.payload,
    )), seed)


def _pack_extension(packet: DataPacket) -> bytes:
    given = ((packet.count, EXT_SHORT), (packet.absent, EXT_ABSENT), (packet.layers, EXT_LAYERS))
    flags = sum(flag for value, flag in given if value is not None)
    if not flags:
        return b""
    return b"".join((
        bytes([flags]), b"" if packet.count is None else packet.count.to_bytes(2, "big"), packet.absent or b"",
        b"" if packet.layers is None else bytes([packet.layers]),
    ))


def _with_check(body: bytes, seed: int) -> bytes:
    return body + (crc(body, seed) ^ CRC_FINAL_XOR).to_bytes(2, "big")


def plain_header(raw: bytes, offset: int) -> int:
    """`rate_point << 8 | sequence` of a data packet without extension; -1 for any other, which `parse_data` takes."""
    if len(raw) < offset + 4:
        return -1
    word = raw[offset] << 8 | raw[offset + 1]
    return word >> 1 & 0x7FF if word & 0xF001 == 0x4000 else -1


def plain_payload(raw: bytes, offset: int) -> bytes:
    """Payload of a packet for which `plain_header` gave its fields."""
    return raw[offset + 2 : -2]


def check_data(raw: bytes, seed: int) -> bool:
    """Whether the whole packet, varint included, checks in the context of `seed`."""
    return crc(raw, seed) == CRC_RESIDUE


def parse_data(raw: bytes, offset: int, packet_samples: int, layered: bool = False) -> DataPacket | PacketStatus:
    """The fields of a data packet that checks. `offset`: where the header begins; `layered`: is it of that scheme?"""
    if len(raw) < offset + DATA_HEADER_BYTES + DATA_CHECK_BYTES:
        return PacketStatus.TOO_SHORT
    high, low = raw[offset], raw[offset + 1]
    if high >> 4 != PACKET_VERSION << 2 | TYPE_DATA:
        return PacketStatus.MALFORMED
    known = EXT_KNOWN | (EXT_LAYERS if layered else 0)
    return _parse_body(plain_payload(raw, offset), high << 8 | low, packet_samples, known)


def parse_refinement(raw: bytes, offset: int, packet_samples: int) -> RefinementPacket | PacketStatus:
    """The fields of a refinement packet that checks; whether its layers exist is for who knows the rate points."""
    if len(raw) < offset + DATA_HEADER_BYTES + 1 + DATA_CHECK_BYTES:
        return PacketStatus.TOO_SHORT
    rest = plain_payload(raw, offset)
    base = _parse_body(rest[1:], raw[offset] << 8 | raw[offset + 1], packet_samples, EXT_KNOWN)
    if isinstance(base, PacketStatus) or not rest[0] >> 4 or not rest[0] & 15:
        return PacketStatus.MALFORMED
    return RefinementPacket(rest[0] >> 4, rest[0] & 15, base)


def _parse_body(rest: bytes, word: int, packet_samples: int, known: int) -> DataPacket | PacketStatus:
    """What lies between header and check; `word`: the header."""
    rate_point, sequence = word >> 9 & 7, word >> 1 & 0xFF
    if word & 1:
        return _parse_extension(rest, rate_point, sequence, packet_samples, known)
    return DataPacket(rate_point, sequence, None, None, rest)


def _parse_extension(
    rest: bytes, rate_point: int, sequence: int, packet_samples: int, known: int
) -> DataPacket | PacketStatus:
    """SPEC 2.4. `rest`: from the extension section up to the check."""
    flags = rest[0] if rest else 0
    if flags == 0 or flags & ~known:
        return PacketStatus.MALFORMED
    at, count, absent, layers = 1, None, None, None
    if flags & EXT_SHORT:
        count = int.from_bytes(rest[1:3], "big")
        at = 3
        if len(rest) < at or not 1 <= count < packet_samples:
            return PacketStatus.MALFORMED
    if flags & EXT_ABSENT:
        slots = packet_samples if count is None else count
        absent = rest[at : at + (slots + 7) // 8]
        at += len(absent)
        fill = (1 << -slots % 8) - 1
        if len(absent) < (slots + 7) // 8 or not any(absent) or absent[-1] & fill:
            return PacketStatus.MALFORMED
    if flags & EXT_LAYERS:
        if len(rest) == at:
            return PacketStatus.MALFORMED
        layers = rest[at]
        at += 1
    return DataPacket(rate_point, sequence, count, absent, rest[at:], layers)


def absent_bitmap(present: np.ndarray) -> bytes | None:
    """Bitmap of SPEC 2.4 of the slots without a sample; None if there are none."""
    return None if present.all() else np.packbits(~present).tobytes()


def present_slots(packet: DataPacket, packet_samples: int) -> np.ndarray:
    """bool[count or packet_samples]: which slots carry a sample."""
    slots = packet_samples if packet.count is None else packet.count
    if packet.absent is None:
        return np.ones(slots, dtype=bool)
    return np.unpackbits(np.frombuffer(packet.absent, np.uint8), count=slots) == 0
