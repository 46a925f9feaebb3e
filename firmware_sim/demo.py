"""`edge-wz demo`: the whole path in one command.

A simulated field of eight thermometers; bundles designed from a recording of it; a daemon that listens on TCP; the
fleet sent through a channel that loses one packet in twenty; then the store is compared with the truth, the bits with
the best conventional coder, and all of it drawn. Every step is a verb of the command line, with the options one would
type.
"""

from __future__ import annotations

import io
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
import numpy as np

from edge_wz.cli.progress import progress
from edge_wz.errors import StorageError
from firmware_sim import live
from firmware_sim.page import HEADS, NodeRow, RatePoint, Story, Zoom, draw, table_rows, write_page

UNIT = "°C"
PERIOD_S = 60
PACKET_SAMPLES = 64
DESIGN_SAMPLES = 14 * 1440
LIVE_SAMPLES = 45 * PACKET_SAMPLES
LOSS = 0.05
SEED = 7
FIELD = ("--nodes", 8, "--ar", "0.8", "--range", 60, "--sigma", 2, "--noise", 0.03, "--mean", 21)
REFERENCES = ("n4", "n5")  # the middle of the grid; two, so that one lost packet blinds nobody
NODES = tuple(f"n{k + 1}" for k in range(8))
RATE_BITS = 2
REFERENCE_STEP = 0.1  # of what serves as side information: fine against the differences between neighbours
FIT_SAMPLES = 3 * 1440  # of the rivals
PAIR_RATES = (1, 2, 3, 4)
PAIR_DESIGN_SAMPLES = 40_000
PAIR_FIT_SAMPLES = 5_000
PAIR_SAMPLES = 20_000
CONVENTIONAL = ("hold", "dpcm_rice", "dpcm_range")
CONCEALED = 2  # flag of a sample in the store


@click.command()
@click.option("--out", "out", default="demo-out", show_default=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for everything that is made.")
def demo(out: Path) -> None:
    """Simulate a correlated fleet, decode it in a live daemon, draw the picture."""
    begun_s = time.monotonic()
    _prepare(out)
    with progress("demo", 7 + 2 * len(NODES) + 3 * len(PAIR_RATES)) as advance:
        click.echo(f"1. a field of {len(NODES)} thermometers, one sample a minute")
        simulate("--samples", DESIGN_SAMPLES + LIVE_SAMPLES, *FIELD, "--out", out / "field.csv")
        _split(out)
        advance(1)
        click.echo("2. bundles designed from the first two weeks")
        for name in NODES:
            train_node(out, name)
            advance(2)
        port = live.free_port()
        (out / "fleet.toml").write_text(fleet_toml(port), encoding="utf-8")
        click.echo(f"3. the next two days over TCP into a daemon, {LOSS:.0%} of the packets lost")
        sent = run_live(out, port)
        advance(3)
        click.echo("4. the same samples through the best conventional coders")
        measured = verb("evaluate", out / "fleet.toml", "--data", out / "field.csv",
                        "--rows", f"{DESIGN_SAMPLES}:",
                        "--fit-rows", f"{DESIGN_SAMPLES - FIT_SAMPLES}:{DESIGN_SAMPLES}", "--json")
        advance(3)
        click.echo("5. rate and distortion of the source pair fig5")
        rates = list(_pair_rates(out, advance))
    story = _story(out, sent, measured, tuple(rates))
    draw(story, out / "demo.png")
    write_page(story, out / "demo.png", out / "demo.html")
    _print(story)
    click.echo(f"{out / 'demo.html'}, {out / 'demo.png'}; {time.monotonic() - begun_s:.0f} s")


def verb(name: str, *arguments: object) -> Any:
    """A verb of the command line, in this process; what it prints with --json."""
    from edge_wz.cli.main import cli

    with redirect_stdout(io.StringIO()) as printed:
        cli.main([name, *map(str, arguments)], standalone_mode=False)
    return json.loads(printed.getvalue()) if "--json" in arguments else None


def simulate(*arguments: object) -> Any:
    return verb("simulate", "--seed", SEED, *arguments)


def _prepare(out: Path) -> None:
    """An empty place for the daemon: what an earlier demo stored is not decoded again."""
    import shutil

    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(out / "spool", ignore_errors=True)
        for old in out.glob("store.sqlite*"):
            old.unlink()
    except OSError as error:
        raise StorageError(f"{out}: {error.strerror}") from error


def _split(out: Path) -> None:
    """The live part of the recording by itself, for replay."""
    lines = (out / "field.csv").read_text().splitlines(keepends=True)
    (out / "live.csv").write_text("".join(lines[:1] + lines[1 + DESIGN_SAMPLES :]))


def train_node(out: Path, name: str) -> None:
    target = ["--scheme", "nested", "--side", ",".join(REFERENCES), "--rate", RATE_BITS]
    if name in REFERENCES:
        target = ["--scheme", "predictive", "--step", REFERENCE_STEP]
    verb("train", out / "field.csv", "--source", name, *target, "--rows", f":{DESIGN_SAMPLES}", "--period", PERIOD_S,
         "--packet-samples", PACKET_SAMPLES, "--out", out / f"{name}.ewz")


def fleet_toml(port: int) -> str:
    lines = ["[gateway]", 'store = "store.sqlite"', 'spool = "spool"', "reorder_wait_s = 1.0", "side_wait_s = 2.0", ""]
    lines += ["[[link]]", 'name = "radio"', f'url = "tcp-listen://127.0.0.1:{port}"', "shared = true", ""]
    for name in NODES:
        lines += ["[[node]]", f'name = "{name}"', f"id = {name[1:]}", f'model = "{name}.ewz"', f'unit = "{UNIT}"', ""]
    return "\n".join(lines)


# -- live


def run_live(out: Path, port: int) -> Any:
    """Send the fleet into a daemon and stop it when it has everything. What `simulate` reports."""
    with live.daemon(out) as daemon:
        live.wait_for_port(daemon, out, port)
        sent = simulate("--fleet", out / "fleet.toml", "--replay", out / "live.csv", "--loss", LOSS,
                        "--to", f"tcp://127.0.0.1:{port}", "--json")
        live.wait_for_bytes(daemon, out, sent["link_bytes"])
        live.stop(daemon, out)
    return sent


# -- the source pair


def _pair_rates(out: Path, advance: Any) -> Iterator[RatePoint]:
    simulate("--source", "fig5", "--samples", PAIR_DESIGN_SAMPLES + PAIR_SAMPLES, "--out", out / "fig5.csv")
    for rate in PAIR_RATES:
        path = out / f"fig5-{rate}.ewz"
        verb("train", out / "fig5.csv", "--source", "x", "--side", "y", "--scheme", "nested", "--rate", rate,
             "--level-check", 0, "--rows", f":{PAIR_DESIGN_SAMPLES}", "--out", path)
        test = ("--data", out / "fig5.csv", "--rows", f"{PAIR_DESIGN_SAMPLES}:", "--json")
        kalman = verb("evaluate", path, *test, "--decoder", "kalman", "--fit-rows", f":{PAIR_FIT_SAMPLES}")
        nearest = verb("evaluate", path, *test, "--decoder", "nearest", "--no-baselines")
        yield from _rate_points([*kalman["nodes"], *nearest["nodes"]])
        advance(3)


def _rate_points(nodes: list[dict[str, Any]]) -> Iterator[RatePoint]:
    for node in nodes:
        yield RatePoint(node["decoder"], node["payload_bits_per_sample"], node["sqnr_db"])
    node = nodes[0]  # its rivals meet its rmse
    for name, rival in node["baselines"].items():
        gained_db = 20 * np.log10(node["rmse"] / rival["rmse"])
        yield RatePoint(name, rival["payload_bits_per_sample"], node["sqnr_db"] + gained_db)


# -- the story


def _story(out: Path, sent: Any, measured: Any, rates: tuple[RatePoint, ...]) -> Story:
    from firmware_sim.node import read_columns

    truth = read_columns(out / "live.csv")
    by_name = {node["name"]: node for node in measured["nodes"]}
    with sqlite3.connect(out / "store.sqlite") as store:
        rows = tuple(_node_row(store, on_air, by_name[on_air["name"]], truth) for on_air in sent["nodes"])
        zoom = _zoom(store, truth)
    return Story(zoom, rates, rows, _facts(sent, rows))


def _facts(sent: Any, rows: tuple[NodeRow, ...]) -> tuple[str, ...]:
    def total(key: str) -> Any:
        return sum(getattr(row, key) for row in rows)

    air, rival = total("air_bits") / len(rows), total("rival_bits") / len(rows)
    expected, decoded, concealed = total("expected"), total("decoded"), total("concealed")
    channel = sent["channel"]
    balance = "." if expected == decoded + concealed else ": DOES NOT ADD UP."
    return (
        f"{len(rows)} nodes sent {air:.2f} bits per sample on average, headers and hellos included; the best"
        f" conventional coder needs {rival:.2f} for the same error: {1 - air / rival:.0%} saved.",
        f"{channel['lost']} of {channel['offered']} packets were lost on the way. Samples expected {expected} ="
        f" decoded {decoded} + concealed {concealed}{balance}",
    )


def _node_row(store: sqlite3.Connection, on_air: dict[str, Any], measured: dict[str, Any], truth: Any) -> NodeRow:
    name, samples = on_air["name"], on_air["samples"]
    counted = json.loads(store.execute("SELECT statistics FROM nodes WHERE name = ?", (name,)).fetchone()[0])
    decoded, _, _ = live.stored(store, int(on_air["id"]), len(truth[name]))
    known = np.isfinite(decoded)
    mse = float(np.mean((decoded[known] - truth[name][known]) ** 2))
    rival = min(CONVENTIONAL, key=lambda rival: measured["baselines"][rival]["payload_bits_per_sample"])
    payload = on_air["payload_bits"] / samples
    overhead = (on_air["packet_bits"] + on_air["hello_bits"]) / samples - payload
    return NodeRow(
        name=name,
        scheme=measured["scheme"],
        payload_bits=payload,
        overhead_bits=overhead,
        rival=rival,
        rival_bits=measured["baselines"][rival]["payload_bits_per_sample"] + overhead,
        sqnr_db=measured["sqnr_db"],
        lossy_sqnr_db=float(10 * np.log10(np.var(truth[name]) / mse)),
        expected=counted["samples_expected"],
        decoded=counted["samples_decoded"],
        concealed=counted["samples_concealed"],
    )


def _zoom(store: sqlite3.Connection, truth: dict[str, np.ndarray]) -> Zoom:
    """Three packets of a node with the middle one lost, if there is such a node."""
    for name in sorted(NODES, key=REFERENCES.__contains__):  # the references last
        values, sigmas, flags = live.stored(store, int(name[1:]), len(truth[name]))
        lost = (flags & CONCEALED != 0).reshape(-1, PACKET_SAMPLES).all(axis=1)
        middles = [k for k in range(1, len(lost) - 1) if lost[k] and lost[k - 1 : k + 2].sum() == 1]
        if middles:
            break
    first = (middles[0] - 1 if middles else 0) * PACKET_SAMPLES
    part = slice(first, first + 3 * PACKET_SAMPLES)
    hours = np.arange(part.start, part.stop) * PERIOD_S / 3600
    spans = [
        (k * PACKET_SAMPLES * PERIOD_S / 3600, (k + 1) * PACKET_SAMPLES * PERIOD_S / 3600)
        for k in np.flatnonzero(lost)
        if first <= k * PACKET_SAMPLES < part.stop
    ]
    return Zoom(name, UNIT, hours, truth[name][part], values[part], sigmas[part], tuple(spans))


def _print(story: Story) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="bits per sample, live over TCP", title_justify="left")
    for k, head in enumerate(HEADS):
        table.add_column(head, justify="left" if k < 2 else "right")
    for row in table_rows(story.nodes):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    for fact in story.facts:
        click.echo(fact)
