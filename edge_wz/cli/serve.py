"""`edge-wz serve`: run the decoder daemon of a fleet. `edge-wz check`: are its file and bundles in order."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_wz.gateway.config import DaemonConfig
    from edge_wz.gateway.daemon import Daemon
    from edge_wz.gateway.replay import Replay
    from edge_wz.gateway.stats import PipelineStats

FILE = click.Path(dir_okay=False, path_type=Path)
ANY = click.Path(exists=True, path_type=Path)


@click.command()
@click.option("--fleet", "fleet_path", type=FILE, required=True, help="The fleet file (see docs/fleet.example.toml).")
@click.option("--replay", type=ANY, help="Decode this capture (file or folder) instead of the live links, then end.")
@click.option("--store", type=FILE, help="Decode into this SQLite file, not into the fleet file's store and sinks.")
@click.option("--jsonl", type=FILE, help="Also write JSON lines to this file.")
@click.option("--capture-only", is_flag=True, help="Fill the spool, decode nothing.")
@click.option("--finish", is_flag=True, help="At a stop, decode or conceal what still waits for packets or neighbours.")
@click.option("--wait-links", is_flag=True, help="Do not end when a port cannot be opened, try again.")
@click.option("--status-every", type=click.FloatRange(min=0), default=0, metavar="S", help="Log the status every S s.")
@click.option("--log-json", is_flag=True, help="JSON log lines also on a terminal.")
@click.option("-v", "--verbose", is_flag=True, help="Log every frame and packet that was refused.")
def serve(fleet_path: Path, replay: Path | None, store: Path | None, jsonl: Path | None, capture_only: bool,
          finish: bool, wait_links: bool, status_every: float, log_json: bool, verbose: bool) -> None:
    """Run the decoder daemon of a fleet until SIGTERM or Ctrl-C."""
    from dataclasses import replace

    from edge_wz.errors import InputError
    from edge_wz.gateway import config as fleet_file
    from edge_wz.gateway.replay import replayed_capture

    _set_up_logging(log_json or not sys.stderr.isatty(), verbose)
    config = fleet_file.load(fleet_path)
    if store is not None:
        config = replace(config, store=store, sinks=())
    if jsonl is not None:
        config = replace(config, sinks=(*config.sinks, fleet_file.SinkSpec("jsonl", jsonl)))
    capture = replay or replayed_capture(config)
    _import_numba()
    done: Daemon | Replay
    if capture is None:
        done = _live(config, capture_only, finish, wait_links, status_every)
    elif capture_only:
        raise InputError("--capture-only has no use in a replay: the capture is there")
    else:
        done = _replay(config, capture)
    if done.stats is not None:
        _print_summary(config, done.stats, done.replaced)


@click.command()
@click.argument("fleet_path", metavar="FLEET.TOML", type=FILE)
def check(fleet_path: Path) -> None:
    """Check a fleet file and the bundles it names."""
    from edge_wz.gateway import config as fleet_file

    config = fleet_file.load(fleet_path)
    names = {node.node_id: node.name for node in config.fleet.nodes}
    for source in config.sources:
        several = f", up to {len(source.links)} clients" if len(source.links) > 1 else ""
        node_id = source.links[0].node_id
        click.echo(f"link {source.name}: {source.endpoint.url}, "
                   f"{'shared' if node_id is None else f'node {names[node_id]}'}{several}")
    for node_id in config.fleet.order:
        node = config.fleet.node(node_id)
        side = f" beside {', '.join(names[other] for other in node.side)}" if node.side else ""
        click.echo(f"node {node.name} (id {node_id}): {node.model.node.scheme}, {node.model.decoder} decoder, "
                   f"model {node.model.model_id.hex()}{side}")
    click.echo(f"{fleet_path}: in order")


def _live(config: DaemonConfig, capture_only: bool, finish: bool, wait_links: bool,
          status_every: float) -> Daemon:
    import asyncio

    from edge_wz.gateway.daemon import Daemon, Options

    daemon = Daemon(config, Options(capture_only, finish, wait_links, status_every))
    asyncio.run(daemon.run())
    return daemon


def _replay(config: DaemonConfig, capture: Path) -> Replay:
    import signal

    from rich.progress import Progress

    from edge_wz.gateway.replay import Replay

    replay = Replay(config, capture)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    with Progress(disable=not sys.stderr.isatty(), transient=True, console=_stderr()) as progress:
        bar = progress.add_task("decoding", total=replay.total_bytes)
        for position in replay.run():
            progress.update(bar, completed=position)
            if stopped:
                break
    replay.close()
    return replay


def _import_numba() -> None:
    """Without the half second in which it loads scipy, if that is there, to look for BLAS: no kernel needs it."""
    blas: Any = "scipy.linalg.cython_blas"
    if blas in sys.modules:
        return
    sys.modules[blas] = None  # type: ignore[assignment]
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules[blas]


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname.lower(), "logger": record.name,
                "message": record.getMessage()}
        return json.dumps(line)


def _set_up_logging(as_json: bool, verbose: bool) -> None:
    handler = logging.StreamHandler()
    human = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    human.converter = time.localtime
    handler.setFormatter(_JsonFormatter() if as_json else human)
    package = logging.getLogger("edge_wz")
    package.handlers[:] = [handler]
    package.setLevel(logging.DEBUG if verbose else logging.INFO)


def _print_summary(config: DaemonConfig, stats: PipelineStats, replaced: Mapping[int, int]) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(_node_table(config, stats), _link_table(config, stats))
    for node in config.fleet.nodes:
        if node.node_id in replaced:
            click.echo(f"{node.name}: {replaced[node.node_id]} samples replaced by others of the same boot epoch and"
                       " index;\nthe earlier ones are in the table replaced")


def _node_table(config: DaemonConfig, stats: PipelineStats) -> Any:
    counts = ("data_packets", "lost", "samples_expected", "samples_decoded", "samples_concealed", "samples_absent",
              "samples_suspect", "packet_bits")
    headings = ("packets", "lost", "expected", "decoded", "concealed", "absent", "suspect", "bits/sample")
    table = _table("node", "samples expected = decoded + concealed", headings)
    totals = [0] * len(counts)
    for node in config.fleet.nodes:
        row = [getattr(stats.nodes[node.node_id], count) for count in counts]
        totals = [total + count for total, count in zip(totals, row, strict=True)]
        table.add_row(node.name, *_cells(row))
    if len(config.fleet.nodes) > 1:
        table.add_section()
        table.add_row("all", *_cells(totals))
    return table


def _cells(row: list[int]) -> list[str]:
    """All but the last as they are; that one, bits of packets, per decoded sample."""
    *counts, packet_bits = row
    decoded = counts[3]
    return [*map(str, counts), f"{packet_bits / decoded:.2f}" if decoded else "-"]


def _link_table(config: DaemonConfig, stats: PipelineStats) -> Any:
    headings = ("fed", "good", "bad", "discarded", "console", "pending", "packets refused")
    table = _table("link", "bytes fed = good + bad + discarded + console + pending", headings)
    for link in config.fleet.links:
        s = stats.links.get(link.link)
        if s is not None and s.fed_bytes:
            table.add_row(link.name, *(str(count) for count in (
                s.fed_bytes, s.good_bytes, s.bad_bytes, s.discarded_bytes, s.console_bytes, s.pending_bytes, s.refused)))
    return table


def _table(first: str, title: str, headings: tuple[str, ...]) -> Any:
    """Numbers to the right and never cut; a long name is folded."""
    from rich.table import Column, Table

    return Table(Column(first, overflow="fold"), *(Column(h, justify="right", no_wrap=True) for h in headings),
                 title=title)
