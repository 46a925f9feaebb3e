"""Battery life of a planned node under each way to code it that the plan has figures for: estimates, by `export.energy`.

Bits on air are the measured payload, in packets with their headers, checks and hellos; instructions those recorded for a model like it. A
conventional coder is charged what `predictive` takes, which is what the best of them are; uncoded samples nothing but their packets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_wz.deploy.costs import EXAMPLES, Measured, measured, measured_example
from edge_wz.formats.layout import DATA_CHECK_BYTES, DATA_HEADER_BYTES, HELLO_BYTES
from edge_wz.model import Model
from export.energy import DUTY_LIMIT, SHELF_YEARS, Estimate, Load, Mcu, Radio, estimate, mcu_named, radio_named
from training.plan_study import HELLO_EVERY

NODE_ID_BYTES = 1  # a plan puts its nodes on one shared link
RAW_BITS = 16.0
NESTED = "nested 2 bit, level check"  # what a node that was not planned as `nested` would cost, nearly
COLUMNS = ("node", "coded as", "payload bits", "instr./sample", "uA", "years")


@dataclass(frozen=True)
class Power:
    """For what the estimates are wanted."""

    radio: Radio
    mcu: Mcu
    battery_mah: float


def power_of(given: Mapping[str, Any]) -> Power | None:
    """Of the options; None where no radio is named."""
    if given["radio"] is None:
        return None
    return Power(radio_named(given["radio"]), mcu_named(given["mcu"]), given["battery_mah"])


def as_report(nodes: Sequence[Mapping[str, Any]], models: Mapping[str, Model], packet_samples: int, period_s: float, power: Power) -> dict[str, Any]:
    """For `plan.json`: candidates of each node, the planned one first."""
    rows = []
    for node in nodes:
        for coded, bits, cost in _candidates(node, models.get(node["name"]), power.mcu.core):
            instructions = cost.instructions_per_sample if cost else 0.0
            found = _estimate(bits, instructions, packet_samples, period_s, power)
            rows.append({
                "node": node["name"], "coded_as": coded, "bits": bits, "instructions_per_sample": instructions, "average_ua": found.average_ua,
                "battery_years": found.battery_years, "over_duty_limit": found.air_share > DUTY_LIMIT, "estimate": True,
            })  # fmt: skip
    return {"radio": power.radio.name, "mcu": power.mcu.name, "battery_mah": power.battery_mah, "period_s": period_s, "candidates": rows}


def _candidates(node: Mapping[str, Any], model: Model | None, core: str) -> list[tuple[str, float, Measured | None]]:
    predictive = measured_example(EXAMPLES["predictive"], core)
    planned = predictive if model is None else measured(model.node, core)
    found = [(f"{node['scheme']}, as planned", node["bits"], planned)]
    if node["side"] or node["scheme"] != "predictive":
        found.append(("predictive, own samples only", node["own_bits"], predictive))
    if node["nested_bits"] and node["scheme"] != "nested":
        found.append(("nested", node["nested_bits"], measured_example(NESTED, core)))
    rival = node["rival"]
    found.append((f"{rival}, the best conventional", node["rivals"][rival], predictive))
    return [*found, ("16 bits, uncoded", RAW_BITS, None)]


def _estimate(bits: float, instructions: float, packet_samples: int, period_s: float, power: Power) -> Estimate:
    """Over a hello's worth of packets a thousand times; a mean between two sizes is a mixture of both."""
    packets = 1000 * HELLO_EVERY
    payload = bits * packet_samples / 8
    larger = round((payload - math.floor(payload)) * packets)
    overhead = NODE_ID_BYTES + DATA_HEADER_BYTES + DATA_CHECK_BYTES
    sizes = {math.floor(payload) + overhead: packets - larger, math.floor(payload) + overhead + 1: larger}
    hello = NODE_ID_BYTES + HELLO_BYTES
    sizes[hello] = sizes.get(hello, 0) + packets // HELLO_EVERY
    samples = packets * packet_samples
    return estimate(Load(samples * period_s, samples, samples * instructions, sizes), power.mcu, power.radio, power.battery_mah)


def rows(energy: Mapping[str, Any]) -> list[list[Any]]:
    """Under COLUMNS."""
    return [
        [row["node"], row["coded_as"], row["bits"], f"{row['instructions_per_sample']:.0f}", f"{row['average_ua']:.2f}",
         f"{row['battery_years']:.1f}" + ("!" if row["over_duty_limit"] else "")]
        for row in energy["candidates"]
    ]  # fmt: skip


def note(energy: Mapping[str, Any]) -> str:
    """What the estimates rest on."""
    over = " A ! marks more than 1 % of the time on air, which 868 MHz rules do not allow." if _any_over(energy) else ""
    return (
        f"Estimates, from data sheets: {energy['radio']}, {energy['mcu']}, {energy['battery_mah']:g} mAh, a sample every {energy['period_s']:g} s, "
        f"1 % self-discharge a year; without sensor, regulator and retransmissions. Beyond some {SHELF_YEARS} years the cell ages first.{over}"
    )


def _any_over(energy: Mapping[str, Any]) -> bool:
    return any(row["over_duty_limit"] for row in energy["candidates"])
