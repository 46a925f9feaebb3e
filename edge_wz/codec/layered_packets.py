"""Layers and packets of scheme `layered`: which rate point or mark says how many layers there are, and cutting a packet to fewer.

A cut needs the node's model but neither its hello nor its side information, so a relay can do it: the check is renewed from the packet
itself (SPEC 11.2), and a packet damaged before stays damaged.
"""

from __future__ import annotations

import math

import numpy as np

from edge_wz.codec import layer_blocks, layered, schemes
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.errors import InputError
from edge_wz.formats import packet
from edge_wz.model import LayeredRatePoint, NodeModel


def same_table(one: LayeredRatePoint, other: LayeredRatePoint) -> bool:
    return (
        one.alphabets == other.alphabets
        and np.array_equal(one.thresholds, other.thresholds)
        and np.array_equal(one.messages, other.messages)
        and np.array_equal(one.positions, other.positions)
        and all(np.array_equal(a, b) for a, b in zip(one.cdfs, other.cdfs, strict=True))
    )


def saying(node: NodeModel, rate_point: int, layers: int) -> tuple[int, int | None]:
    """(rate point, mark) of a packet with so many layers of this rate point's table; a mark costs two bytes, a rate point none."""
    wanted: LayeredRatePoint = node.rate_points[rate_point]
    if wanted.layers_sent == layers:
        return rate_point, None
    for number, point in enumerate(node.rate_points):
        if point.layers_sent == layers and same_table(point, wanted):
            return number, None
    return rate_point, layers


def sound_layers(node: NodeModel, data: packet.DataPacket) -> bool:
    """Whether the mark of a packet is one of SPEC 2.4."""
    if data.layers is None:
        return True
    point: LayeredRatePoint = node.rate_points[data.rate_point]
    return bool(1 <= data.layers <= point.layers and data.layers != point.layers_sent)


def sound_refinement(node: NodeModel, refinement: packet.RefinementPacket) -> bool:
    return refinement.first + refinement.layers <= node.rate_points[refinement.base.rate_point].layers


def cut(node: NodeModel, raw: bytes, layers: int, shared: bool = False) -> bytes:
    """The same data packet with its first `layers` layers only; one that has no more is returned as it is."""
    offset = packet.split_node_id(raw)[1] if shared else 0
    data = packet.parse_data(raw, offset, node.packet_samples, layered=True)
    if isinstance(data, packet.PacketStatus) or data.rate_point >= len(node.rate_points) or not sound_layers(node, data):
        raise InputError("this is no data packet of the model, and cannot be cut")
    slots = packet.present_slots(data, node.packet_samples)
    present = np.zeros((1, node.packet_samples), dtype=np.bool_)
    present[0, : len(slots)] = slots
    indices = schemes.parse(node, [data.payload], [data.rate_point], [len(slots)], present, [data.layers or 0])
    if indices.status[0] < 0:
        raise InputError("the payload is malformed, and cannot be cut")
    tree = layered.flat_point(node, data.rate_point).tree
    depth = int(tree.depths(indices.values[indices.values >= 0]).max(initial=0))
    if depth <= layers:
        return raw
    rate_point, mark = saying(node, data.rate_point, layers)
    if node.block_check_bits and layer_blocks.are_blocks(present)[0]:
        payload = layer_blocks.cut(node, rate_point, data.payload, int(slots.sum()), layers)
    else:
        payload = _repacked(node, rate_point, indices.values, depth, layers)
    made = data._replace(rate_point=rate_point, payload=payload, layers=mark)
    return packet.pack_data(made, packet.seed_before(raw), packet.split_node_id(raw)[0] if shared else None)


def _repacked(node: NodeModel, rate_point: int, values: np.ndarray, depth: int, layers: int) -> bytes:
    """The payload of fewer layers from the prefixes of one packet, int32[1, N]."""
    alphabets = node.rate_points[rate_point].alphabets
    tree = layered.flat_point(node, rate_point).tree
    place = math.prod(alphabets[depth:])
    found = np.where(values == NO_LEVEL, values, (values - tree.bases[depth]) * place).astype(np.int32)
    return layered.pack(node, rate_point, found, 0, layers)[0]
