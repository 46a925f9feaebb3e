"""The C runtime on any machine of `export.harness`, called with the JSON fields of a case; as `kernel_driver` for numba."""

from typing import Any

import numpy as np

from edge_wz.model import NodeModel
from export import harness
from export.harness import LINK_PACKETS, LINK_SHARED, Commands, Machine, Op
from tests import kernel_driver

Case = dict[str, Any]
OPERATIONS = {"sat16": Op.SAT16, "shift_round": Op.SHIFT, "bit_length": Op.LENGTH}


def arithmetic_cases(machine: Machine, cases: list[Case]) -> list[int]:
    """All in one run."""
    commands = Commands()
    for case in cases:
        commands.add(OPERATIONS[case["op"]], *([case["v"], case["s"]] if "s" in case else [case["v"]]))
    return [value for _, value in harness.run(machine, commands).answers]


def level_check(machine: Machine, case: Case) -> int:
    commands = Commands().add(Op.CHECK, case["bits"], len(case["turns"]), *case["turns"])
    return harness.run(machine, commands).values(Op.CHECK)[0]


def range_encode(machine: Machine, case: Case) -> str:
    steps = [value for step in case["steps"] for value in (step if len(step) == 3 else (step[0], 0, step[1]))]
    return harness.run(machine, Commands().add(Op.CODER, len(case["steps"]), *steps)).frames[0].hex()


def payloads(machine: Machine, node: NodeModel, case: Case, block: bool) -> tuple[list[str], int]:
    """(payloads, saturation count) of a run without hellos between its packets."""
    assert harness.load(machine, node) == 0
    commands = Commands().add(Op.TAKING, 0).start(0, 1, link=LINK_PACKETS).add(Op.TAKING, 1)  # not before: nothing of the run before
    commands.mixed(np.array(case["codes"], dtype=np.int16), np.array(case["present"], dtype=np.bool_), block)
    found = harness.run(machine, commands.add(Op.FLUSH).add(Op.COUNTERS))
    data = [packet for packet in found.frames if packet[0] >> 4 & 3 == 0]
    return [_payload(packet, node.packet_samples).hex() for packet in data], found.values(Op.COUNTERS)[0]


def _payload(packet: bytes, slots: int) -> bytes:
    at = 2
    if packet[1] & 1:
        flags = packet[2]
        at = 3
        if flags & 1:
            slots = int.from_bytes(packet[3:5], "big")
            at = 5
        at += (slots + 7) // 8 * (flags >> 1 & 1)
    return packet[at:-2]


def node_run(machine: Machine, case: Case, block: bool) -> Case:
    """Packets and frames of a whole run; the blob is that of numba."""
    node = kernel_driver.run_model(case)
    assert harness.load(machine, node) == 0
    index = case["sample_index"]
    sent = []
    for link in (LINK_PACKETS, 0):
        commands = Commands().add(Op.TAKING, 0)
        commands.start(case["node_id"], case["period_us"], case["boot_epoch"], case["start_ms"], link | LINK_SHARED * case["shared"])
        commands.add(Op.RESUME, case["packet_counter"], index >> 32, index).add(Op.TAKING, 1)
        commands.mixed(np.array(case["codes"], dtype=np.int16), np.array(case["present"], dtype=np.bool_), block)
        sent.append([frame.hex() for frame in harness.run(machine, commands.add(Op.FLUSH)).frames])
    return {"packets": sent[0], "frames": sent[1]}
