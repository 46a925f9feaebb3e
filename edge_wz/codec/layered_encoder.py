"""A node of scheme `layered` whose policy decides, packet by packet, how many layers to send, and in which packets.

`NodeEncoder` alone sends what the rate point says. Here every data packet may have fewer layers or more, and be followed at once by a
refinement packet with further ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edge_wz.codec import layered, layered_packets
from edge_wz.codec.encoder import EncoderCounters, NodeEncoder
from edge_wz.codec.layer_policy import LayerPolicy
from edge_wz.errors import InputError
from edge_wz.formats import packet
from edge_wz.formats.layout import COUNTER_MASK, INDEX_MASK
from edge_wz.model import NodeModel


class LayeredNodeEncoder(NodeEncoder):
    """`policy` may be exchanged at any time; it is asked when a packet is complete."""

    def __init__(self, node_model: NodeModel, node_id: int, *, policy: LayerPolicy, **options: Any) -> None:
        if node_model.scheme != "layered":
            raise InputError(f"only scheme layered has layers to choose from, this model is {node_model.scheme}")
        super().__init__(node_model, node_id, **options)
        self.policy = policy
        self._refinement_packets = self._refinement_bits = 0

    @property
    def counters(self) -> EncoderCounters:
        return replace(
            super().counters, refinement_packets=self._refinement_packets, refinement_bits=self._refinement_bits
        )

    def _send(self, rate_point: int, codes: np.ndarray, present: np.ndarray, short: int | None = None) -> list[bytes]:
        if self.node_model.scheme != "layered":  # after a switch
            return super()._send(rate_point, codes, present, short)
        slots = self.node_model.packet_samples if short is None else short
        point = self.node_model.rate_points[rate_point]
        found = layered.messages(self.node_model, rate_point, codes[:, :slots], present[:, :slots])
        packets: list[bytes] = []
        for row in range(len(codes)):
            here = present[row, :slots]
            self._absent += slots - int(np.count_nonzero(here))
            base, total = self.policy.decide(codes[row, :slots][here], point)
            packets += self._layers(rate_point, found[row : row + 1], here, base, total)
            if self._since_hello >= self.node_model.hello_every or self.packet_counter == 0:
                packets.append(self._hello())
        return packets

    def _layers(self, rate_point: int, found: np.ndarray, here: np.ndarray, base: int, total: int) -> list[bytes]:
        """A data packet of `base` layers and, if `total` is more, its refinement."""
        assert self._context is not None
        node, seed, shared = self.node_model, self._context.seed(self.packet_counter), self.node_id if self.shared_link else None
        number, mark = layered_packets.saying(node, rate_point, base)
        payload = layered.pack(node, number, found, 0, base)[0]
        count = len(here) if len(here) < node.packet_samples else None
        data = packet.DataPacket(number, self.packet_counter & 0xFF, count, packet.absent_bitmap(here), payload, mark)
        packets = [packet.pack_data(data, seed, shared)]
        self._count(payload, packets[0], len(here))
        if total > base:
            more = layered.pack(node, number, found, base, total)[0]
            refinement = packet.RefinementPacket(base, total - base, data._replace(payload=more))
            packets.append(packet.pack_refinement(refinement, seed, shared))
            self._refinement_packets += 1
            self._refinement_bits += 8 * len(packets[1])
        return packets

    def _count(self, payload: bytes, raw: bytes, slots: int) -> None:
        self.packet_counter = (self.packet_counter + 1) & COUNTER_MASK
        self.sample_index = (self.sample_index + slots) & INDEX_MASK
        self._since_hello += 1
        self._samples += slots
        self._data_packets += 1
        self._payload_bits += 8 * len(payload)
        self._packet_bits += 8 * len(raw)
