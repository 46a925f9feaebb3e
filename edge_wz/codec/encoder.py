"""A node: source samples in, whole packets out, as `firmware` would send them.

All packets that are complete are coded in one kernel call; only headers and checksums are made one by one. The encoder
keeps what a node keeps (filter history, the packet being filled, counters) and has no clock and no link. What it hands
out is the whole truth on air: hellos at boot, at a model switch, after a short packet, and every `hello_every` packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_wz.codec import layered, nested, predictive, syndrome, trellis
from edge_wz.codec.blocks import as_codes, as_present
from edge_wz.errors import InputError
from edge_wz.formats import packet
from edge_wz.formats.layout import COUNTER_MASK, INDEX_MASK, MAX_NODE_ID
from edge_wz.kernels.fir import HISTORY_SLOTS
from edge_wz.kernels.nested_quantizer import STATE_SLOTS
from edge_wz.model import NodeModel

BATCH_PACKETS = 4096
_ENCODERS = {"nested": nested.encode, "trellis": trellis.encode, "syndrome": syndrome.encode}  # those with a state
_MEMORYLESS = {"predictive": predictive.encode, "layered": layered.encode}


@dataclass(frozen=True)
class EncoderCounters:
    """Since boot. `packet_bits`: data packets with header, extension and checksum; hellos only in `hello_bits`."""

    samples: int = 0  # absent ones included
    absent: int = 0
    saturated: int = 0
    data_packets: int = 0
    hello_packets: int = 0
    payload_bits: int = 0
    packet_bits: int = 0
    hello_bits: int = 0
    refinement_packets: int = 0
    refinement_bits: int = 0  # of whole packets

    @property
    def air_bits(self) -> int:
        """Everything sent."""
        return self.packet_bits + self.hello_bits + self.refinement_bits


class NodeEncoder:
    """One node between two restarts; a restart is a new encoder with the next `boot_epoch`.

    `sample_index` and `packet_counter` are those of the first packet; `start_ms` is Unix time of sample 0, 0 = none.
    """

    def __init__(
        self,
        node_model: NodeModel,
        node_id: int,
        *,
        period_us: int,
        boot_epoch: int = 0,
        start_ms: int = 0,
        shared_link: bool = False,
        rate_point: int = 0,
        packet_counter: int = 0,
        sample_index: int = 0,
    ) -> None:
        if not 0 <= node_id <= MAX_NODE_ID:
            raise InputError(f"node id {node_id} is not within 0 .. {MAX_NODE_ID}")
        if not 1 <= period_us < 1 << 40:
            raise InputError(f"a period of {period_us} microseconds is not within 1 .. 2^40 - 1")
        self.node_model = node_model
        self.node_id = node_id
        self.period_us = period_us
        self.boot_epoch = boot_epoch & 0xFFFF
        self.start_ms = start_ms
        self.shared_link = shared_link
        self.rate_point = rate_point
        self.packet_counter = packet_counter
        self.sample_index = sample_index
        self._varint = packet.pack_node_id(node_id) if shared_link else b""
        self._state = np.zeros(STATE_SLOTS, dtype=np.int32)
        self._pending = (np.zeros(0, dtype=np.int16), np.zeros(0, dtype=np.bool_))
        self._pending_rate = rate_point
        self._since_hello = 0
        self._context: packet.Context | None = None  # None until the first hello
        self._samples = self._absent = self._saturated = 0
        self._data_packets = self._hello_packets = 0
        self._payload_bits = self._packet_bits = self._hello_bits = 0

    @property
    def rate_point(self) -> int:
        """Of the next packet to begin; the one being filled keeps its own."""
        return self._rate_point

    @rate_point.setter
    def rate_point(self, value: int) -> None:
        if not 0 <= value < len(self.node_model.rate_points):
            raise InputError(f"rate point {value} of a model that has {len(self.node_model.rate_points)}")
        self._rate_point = value

    @property
    def counters(self) -> EncoderCounters:
        return EncoderCounters(
            self._samples,
            self._absent,
            self._saturated,
            self._data_packets,
            self._hello_packets,
            self._payload_bits,
            self._packet_bits,
            self._hello_bits,
        )

    def encode(self, codes: Any, present: Any = None) -> list[bytes]:
        """The packets that these int16 codes complete, in sending order; the remainder waits for more."""
        new_codes = as_codes(codes)
        new_present = as_present(present, new_codes.shape)
        packets = self._announce()
        waiting = len(self._pending[0])
        rate = self._pending_rate if waiting else self._rate_point
        all_codes = np.concatenate((self._pending[0], new_codes)) if waiting else new_codes
        all_present = np.concatenate((self._pending[1], new_present)) if waiting else new_present
        slots = self.node_model.packet_samples
        ready, done = len(all_codes) // slots, 0
        while done < ready:
            step = 1 if rate != self._rate_point else min(ready - done, BATCH_PACKETS)
            part = slice(done * slots, (done + step) * slots)
            packets += self._send(rate, all_codes[part].reshape(step, slots), all_present[part].reshape(step, slots))
            done += step
            rate = self._rate_point
        self._pending = (all_codes[ready * slots :].copy(), all_present[ready * slots :].copy())
        self._pending_rate = rate
        return packets

    def flush(self) -> list[bytes]:
        """End of a run: the remainder as a short packet, and a hello that tells the gateway where it ended."""
        packets = self._announce() + self._send_remainder()
        if self._since_hello:
            packets.append(self._hello())
        return packets

    def switch_model(self, node_model: NodeModel) -> list[bytes]:
        """Flush, then go on with another model and an empty filter history; a rate point that it does not have becomes 0."""
        packets = self.flush() if self._context is not None else []
        self.node_model = node_model
        self._state[:HISTORY_SLOTS] = 0
        if self._rate_point >= len(node_model.rate_points):
            self._rate_point = 0
        packets.append(self._hello())
        return packets

    def _announce(self) -> list[bytes]:
        return [self._hello()] if self._context is None else []

    def _hello(self) -> bytes:
        hello = packet.Hello(
            self.node_id,
            self.boot_epoch,
            self.node_model.model_id,
            self.packet_counter,
            self.sample_index,
            self.period_us,
            self.start_ms,
            self._rate_point,
        )
        self._context = packet.Context.of(hello, self.node_model.packet_samples, self.shared_link)
        raw = packet.pack_hello(hello, self.shared_link)
        self._since_hello = 0
        self._hello_packets += 1
        self._hello_bits += 8 * len(raw)
        return raw

    def _send_remainder(self) -> list[bytes]:
        codes, present = self._pending
        if not len(codes):
            return []
        padded = np.zeros((2, 1, self.node_model.packet_samples), dtype=np.int16)
        padded[0, 0, : len(codes)] = codes
        padded[1, 0, : len(codes)] = present
        self._pending = (codes[:0], present[:0])
        return self._send(self._pending_rate, padded[0], padded[1].astype(np.bool_), len(codes))

    def _send(self, rate_point: int, codes: np.ndarray, present: np.ndarray, short: int | None = None) -> list[bytes]:
        """Data packets of codes int16[B, N], and the hellos that fall due; `short`: slots of a single short packet."""
        slots = self.node_model.packet_samples if short is None else short
        counts = np.full(len(codes), slots, dtype=np.int32)
        payloads = self._payloads(rate_point, codes, present, counts)
        gaps = np.logical_not(present[:, :slots].all(axis=1)).tolist()
        masks = [present[row, :slots] if gap or short is not None else None for row, gap in enumerate(gaps)]
        packets: list[bytes] = []
        row = 0
        while row < len(payloads):
            due = max(1, self.node_model.hello_every - self._since_hello)
            end = min(len(payloads), row + due, row + COUNTER_MASK + 1 - self.packet_counter)
            packets += self._data(rate_point, payloads[row:end], masks[row:end], slots)
            row = end
            if self._since_hello >= self.node_model.hello_every or self.packet_counter == 0:
                packets.append(self._hello())
        return packets

    def _payloads(self, rate_point: int, codes: np.ndarray, present: np.ndarray, counts: np.ndarray) -> list[bytes]:
        slots = int(counts.sum())
        self._absent += slots - int(np.count_nonzero(present))
        if self.node_model.scheme in _MEMORYLESS:
            return _MEMORYLESS[self.node_model.scheme](self.node_model, rate_point, codes, present, counts)
        payloads, saturated = _ENCODERS[self.node_model.scheme](self.node_model, rate_point, codes, present, counts, self._state)
        self._saturated += saturated
        return payloads

    def _data(
        self, rate_point: int, payloads: list[bytes], masks: list[np.ndarray | None], slots: int
    ) -> list[bytes]:
        """Data packets between two hellos; a mask only where an extension section may be needed."""
        assert self._context is not None
        seed, varint = self._context.seed, self._varint
        counter = self.packet_counter
        packets = []
        for payload, mask in zip(payloads, masks, strict=True):
            if mask is None:
                packets.append(packet.pack_payload(payload, rate_point, counter, seed(counter), varint))
            else:
                packets.append(self._extended(rate_point, payload, mask, counter))
            counter += 1
        self.packet_counter = counter & COUNTER_MASK
        self.sample_index = (self.sample_index + slots * len(payloads)) & INDEX_MASK
        self._since_hello += len(payloads)
        self._samples += slots * len(payloads)
        self._data_packets += len(payloads)
        self._payload_bits += 8 * sum(map(len, payloads))
        self._packet_bits += 8 * sum(map(len, packets))
        return packets

    def _extended(self, rate_point: int, payload: bytes, present: np.ndarray, counter: int) -> bytes:
        """A data packet that is short, or lacks samples, or both."""
        assert self._context is not None
        count = len(present) if len(present) < self.node_model.packet_samples else None
        fields = packet.DataPacket(rate_point, counter & 0xFF, count, packet.absent_bitmap(present), payload)
        return packet.pack_data(fields, self._context.seed(counter), self.node_id if self.shared_link else None)
