"""A node of a simulated fleet as whole firmware: boot a board in QEMU, deploy its model over the wire, play the samples, take the packets.

The same path as for a chip on a desk: `edge_wz.deploy` speaks to the port, then the port belongs to whoever reads packets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_wz.errors import InputError, LinkError
from edge_wz.formats import image as images
from edge_wz.formats import packet
from edge_wz.formats.framing import encode_frame
from edge_wz.formats.layout import TYPE_HELLO
from firmware_sim.firmware import Board
from firmware_sim.fleet import Member
from firmware_sim.qemu import QemuBoard

if TYPE_CHECKING:
    from edge_wz.deploy.device import Device

ATTACH_S, SILENT_S, TRIAL_S = 20.0, 20.0, 600


def play(
    board: Board, program: Path, folder: Path, member: Member, shared: bool, codes: np.ndarray, present: np.ndarray,
    advance: Callable[[int], None],
) -> tuple[list[bytes], int]:
    """(frames in order, saturated samples)."""
    from edge_wz.deploy.device import Device
    from edge_wz.deploy.link import open_port
    from edge_wz.deploy.wire import Wire

    with QemuBoard(board, program, folder) as node:
        link = open_port(node.port)
        device = Device(Wire(link))
        try:
            device.attach(ATTACH_S)
            _deploy(device, member, shared)
            device.resume()
            node.recording.feed(codes, present)
            node.recording.flush()
            packets = _packets(device, member, shared, len(codes), advance)
            device.attach(ATTACH_S)
            saturated = device.counters()["saturated"]
        finally:
            device.close()
            link.close()
    return [encode_frame(raw) for raw in packets], saturated


def _deploy(device: Device, member: Member, shared: bool) -> None:
    """Upload, run, confirm; InputError if the board has no room for the model."""
    from edge_wz.deploy import costs

    node = member.model.node
    image = images.pack(images.Image(node, member.node_id, shared, member.period_us, TRIAL_S))
    problems = [row.problem for row in costs.rows(node, image, device.info()) if row.problem]
    if problems:
        raise InputError(f"node {member.name}: {'; '.join(problems)}")
    device.upload(image, lambda offset: None)
    device.test(images.image_hash(image))
    device.confirm()


def _packets(device: Device, member: Member, shared: bool, samples: int, advance: Callable[[int], None]) -> list[bytes]:
    """All of the recording: complete when its samples are there and the hello behind the last of them."""
    node, wire = member.model.node, device.wire
    offset = len(packet.pack_node_id(member.node_id)) if shared else 0
    packets: list[bytes] = []
    done, ended = 0, False
    heard_s = time.monotonic()
    while done < samples or not ended:
        if wire.poll(0.2):
            heard_s = time.monotonic()
        elif time.monotonic() - heard_s > SILENT_S:
            raise LinkError(f"node {member.name}: silent after {done} of {samples} samples; {wire.what_was_heard()}")
        while wire.packets:
            packets.append(wire.packets.popleft())
            ended = packet.peek(packets[-1], offset).type == TYPE_HELLO
            slots = 0 if ended else _slots(packets[-1], offset, node.packet_samples, node.scheme == "layered")
            done += slots
            advance(slots)
    return packets


def _slots(raw: bytes, offset: int, packet_samples: int, layered: bool) -> int:
    found = packet.parse_data(raw, offset, packet_samples, layered)
    if not isinstance(found, packet.DataPacket):
        raise LinkError(f"the emulated chip sent a packet that is none: {found.value}")
    return packet_samples if found.count is None else found.count
