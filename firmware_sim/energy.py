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


def rows(
    members: Sequence[Member], sent: Mapping[str, Transmission], mcu: Mcu, radio: Radio, battery_mah: float,
    counted: Mapping[str, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """By node. `counted`: instructions of the whole run, by node."""
    return {member.name: _row(member, sent[member.name], mcu, radio, battery_mah, (counted or {}).get(member.name)) for member in members}


def _row(
    member: Member, sent: Transmission, mcu: Mcu, radio: Radio, battery_mah: float, counted: float | None
) -> dict[str, Any]:
    samples = sent.counters.samples
    instructions, origin = _instructions(member, samples, mcu, counted)
    sizes = Counter(len(cobs.decode(frame[:-1])) for _, frame in sent.frames)
    load = Load(max(samples, 1) * member.period_us / 1e6, samples, instructions, sizes)
    found = estimate(load, mcu, radio, battery_mah)
    return {
        **found.as_row(), "mcu": mcu.name, "radio": radio.name, "battery_mah": battery_mah, "instructions": origin,
        "instructions_per_sample": instructions / max(samples, 1), "over_duty_limit": found.air_share > DUTY_LIMIT,
    }  # fmt: skip


def _instructions(member: Member, samples: int, mcu: Mcu, counted: float | None) -> tuple[float, str]:
    if counted is not None:
        return counted, COUNTED
    recorded = measured(member.model.node, mcu.core)
    return (0.0, UNKNOWN) if recorded is None else (recorded.instructions_per_sample * samples, RECORDED)


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """For people."""
    text = []
    for name, row in found.items():
        line = (
            f"{name}: {row['average_ua']:.2f} uA on average (radio {row['radio_active_ua']:.2f}, processor {row['mcu_active_ua']:.2f},"
            f" asleep {row['mcu_sleep_ua'] + row['radio_sleep_ua']:.2f}), {row['battery_years']:.1f} years"
        )
        text.append(line + (f", {row['air_share']:.1%} of the time on air" if row["over_duty_limit"] else ""))
    any_row = next(iter(found.values()))
    origin = ", ".join(sorted({row["instructions"] for row in found.values()}))
    return [
        *text,
        f"estimates: {any_row['radio']}, {any_row['mcu']}, {any_row['battery_mah']:g} mAh, 1 % self-discharge a year; instructions"
        f" {origin}; without sensor, regulator and retransmissions",
    ]
