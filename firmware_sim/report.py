"""What `simulate` prints for people: one table, a row for each node, with the columns that this run has figures for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from export.energy import SHELF_YEARS
from firmware_sim import energy

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]  # title, text of a node
SENT = ("node", "scheme", "bits/sample")
ACCOUNTS = ("expected", "decoded", "concealed", "absent")


def _number(form: str) -> Callable[[Any], str]:
    return lambda value: "" if value is None else format(value, form)


def columns(nodes: Sequence[Row]) -> list[Column]:
    """What is known in this run."""
    two, one = _number(".2f"), _number(".1f")
    found: list[Column] = [(SENT[0], lambda row: str(row["name"])), (SENT[1], lambda row: str(row["scheme"]))]
    if any(row["backend"] != "numba" for row in nodes):
        found.append(("encoder", _encoder))
    if "expected" in nodes[0]:
        found += [(key, lambda row, key=key: str(row[key])) for key in ACCOUNTS]  # type: ignore[misc]
    found.append((SENT[2], lambda row: two(row["air_bits_per_sample"])))
    if "expected" in nodes[0]:
        found.append(("SQNR dB", lambda row: two(row["sqnr_db"])))
    if any(row["instructions"] for row in nodes):
        found.append(("instr./sample", lambda row: one((row["instructions"] or {}).get("per_sample"))))
        found.append(("most/packet", lambda row: str((row["instructions"] or {}).get("packet_most", ""))))
    if "energy" in nodes[0]:
        found.append(("uA (est.)", lambda row: two(row["energy"]["average_ua"])))
        found.append(("years (est.)", _years))
    return found


def _encoder(row: Row) -> str:
    return f"{row['backend']} {row['instructions']['core']}" if row["instructions"] else str(row["backend"])


def _years(row: Row) -> str:
    """With a mark where European rules would not let it send so much."""
    return f"{row['energy']['battery_years']:.1f}" + ("!" if row["energy"]["over_duty_limit"] else "")


def totals(result: Mapping[str, Any]) -> list[str]:
    """Lines below the table."""
    nodes, channel = result["nodes"], result["channel"]
    samples = sum(row["samples"] for row in nodes)
    air_bits = sum(row["packet_bits"] + row["hello_bits"] for row in nodes)
    clipped = sum(row["clipped"] for row in nodes)
    on_air = f"{air_bits / max(samples, 1):.2f} bits/sample on air with headers and hellos"
    lines = [f"{len(nodes)} nodes, {samples} samples, {on_air}" + (f", {clipped} clipped" if clipped else "")]
    counted = [row for row in nodes if row["instructions"]]
    if counted:
        total, taken = sum(row["instructions"]["total"] for row in counted), sum(row["samples"] for row in counted)
        rates = [row["instructions"]["per_sample"] for row in counted]
        lines.append(
            f"instructions: {total} counted on {len(counted)} nodes, {total / max(taken, 1):.1f} a sample"
            f" ({min(rates):.1f} to {max(rates):.1f}), from sample to frame"
        )
    lines.append(
        f"channel: {channel['offered']} packets offered, {channel['lost']} lost, {channel['duplicated']} duplicated,"
        f" {channel['reordered']} reordered, {channel['flipped']} damaged, {channel['delivered']} delivered"
    )
    if "expected" in nodes[0]:
        lines.append(_accounting(nodes, samples))
    if "energy" in nodes[0]:
        lines += _energy({row["name"]: row["energy"] for row in nodes})
    return [*lines, f"{result['link_bytes']} bytes on the link, {result['elapsed_s']:.1f} s"]


def _accounting(nodes: Sequence[Row], samples: int) -> str:
    expected, decoded, concealed, absent = (sum(row[key] for row in nodes) for key in ACCOUNTS)
    return f"accounting: {expected} expected = {decoded} decoded + {concealed} concealed (of {samples - absent} taken)"


def _energy(found: Mapping[str, Row]) -> list[str]:
    years = sorted(row["battery_years"] for row in found.values())
    beyond = f"; beyond some {SHELF_YEARS} the cell ages first" if years[-1] > SHELF_YEARS else ""
    lines = [f"battery: {years[0]:.1f} to {years[-1]:.1f} years, an estimate{beyond}", energy.note(found)]
    if any(row["over_duty_limit"] for row in found.values()):
        worst = max(row["air_share"] for row in found.values())
        lines.append(f"! on air for more than 1 % of the time, which 868 MHz rules do not allow; the worst {worst:.1%}")
    return lines


def show(result: Mapping[str, Any]) -> None:
    """The table only where it says more than how many bits were sent."""
    nodes = result["nodes"]
    chosen = columns(nodes)
    if len(chosen) > len(SENT):
        _show_table(nodes, chosen)
    click.echo("\n".join(totals(result)))


def _show_table(nodes: Sequence[Row], chosen: Sequence[Column]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for title, _ in chosen:
        table.add_column(title, justify="left" if title in (*SENT[:2], "encoder") else "right")
    for row in nodes:
        table.add_row(*(text(row) for _, text in chosen))
    Console(width=None if sys.stdout.isatty() else 170).print(table)
