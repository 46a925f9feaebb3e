"""What a simulated run would cost the nodes' batteries, by `export.energy`: from the packets that were sent, and from instructions.

Instructions are those recorded for a model like it (`edge_wz/deploy/footprint.json`) unless the run counted its own. Where neither is
known the processor's share is left out and the row says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cobs import cobs

from edge_wz.deploy.costs import measured
from export.energy import DUTY_LIMIT, Load, Mcu, Radio, estimate
from firmware_sim.fleet import Member, Transmission

COUNTED, RECORDED, UNKNOWN = "counted", "recorded for models like these", "unknown, not counted"


def rows(members: Sequence[Member], sent: Mapping[str, Transmission], mcu: Mcu, radio: Radio, battery_mah: float) -> dict[str, dict[str, Any]]:
    """By node."""
    return {member.name: _row(member, sent[member.name], mcu, radio, battery_mah) for member in members}


def _row(member: Member, sent: Transmission, mcu: Mcu, radio: Radio, battery_mah: float) -> dict[str, Any]:
    samples = sent.counters.samples
    instructions, origin = _instructions(member, sent, mcu)
    sizes = Counter(len(cobs.decode(frame[:-1])) for _, frame in sent.frames)
    load = Load(max(samples, 1) * member.period_us / 1e6, samples, instructions, sizes)
    found = estimate(load, mcu, radio, battery_mah)
    return {
        **found.as_row(), "mcu": mcu.name, "radio": radio.name, "battery_mah": battery_mah, "instructions": origin,
        "instructions_per_sample": instructions / max(samples, 1), "over_duty_limit": found.air_share > DUTY_LIMIT,
    }  # fmt: skip


def _instructions(member: Member, sent: Transmission, mcu: Mcu) -> tuple[float, str]:
    """Counted ones if the run counted on this processor's core."""
    if sent.instructions is not None and sent.core == mcu.core:
        return float(sent.instructions.sum()), COUNTED
    recorded = measured(member.model.node, mcu.core)
    return (0.0, UNKNOWN) if recorded is None else (recorded.instructions_per_sample * sent.counters.samples, RECORDED)


def note(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What the estimates rest on."""
    any_row = next(iter(found.values()))
    origin = ", ".join(sorted({row["instructions"] for row in found.values()}))
    return (
        f"current and battery life are estimates: {any_row['radio']}, {any_row['mcu']}, {any_row['battery_mah']:g} mAh, 1 % self-discharge"
        f" a year; instructions {origin}; without sensor, regulator and retransmissions"
    )
