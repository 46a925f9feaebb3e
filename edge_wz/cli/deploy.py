"""`edge-wz deploy`: a model onto nodes, over a port or through the daemon that owns it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wz.errors import DeployError, InputError

if TYPE_CHECKING:
    from edge_wz.deploy.procedure import Opener, Order, Result

FILE = click.Path(dir_okay=False, path_type=Path)
COLUMNS = ("node", "id", "board", "model before", "model after", "outcome", "bytes", "checked", "lost", "s")


@click.command()
@click.argument("model", metavar="[MODEL.ewz]", required=False, type=FILE)
@click.option("--port", metavar="DEV", help="Serial device of the node, or tcp://HOST:PORT.")
@click.option("--baud", default=115200, show_default=True, help="Of --port.")
@click.option("--fleet", "fleet_path", type=FILE, help="Nodes, links and models of this fleet file; through its daemon if that runs.")
@click.option("--select", default="", metavar="A,B,C", help="These nodes of --fleet.  [default: all]")
@click.option("--only-outdated", is_flag=True, help="Leave alone the nodes that run their model already.")
@click.option("--control", type=FILE, help="Socket of the daemon.  [default: as the fleet file says]")
@click.option("--node", "node_id", type=click.IntRange(0, 32767), help="Id for the node on --port.  [default: the one it has]")
@click.option("--shared", is_flag=True, help="The node on --port shares its link: packets begin with its id.")
@click.option("--period", "period_s", type=click.FloatRange(min=1e-6, max=1e6), help="Seconds between samples.  [default: the model's]")
@click.option("--packets", default=2, show_default=True, type=click.IntRange(0, 1000), help="To check on trial; 0: the hello alone.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=1, max=65000), help="Seconds for them.  [default: as long as they take]")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.5), default=5.0, show_default=True, help="For the first answer.")
@click.option("--dry-run", is_flag=True, help="Say what it would take of the node and send no model.")
@click.option("--force", is_flag=True, help="Again though it runs already, ending another's trial, or though RAM looks too small.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def deploy(model: Path | None, **options: Any) -> None:
    """Send a model to a node: reckon, upload, run it on trial, check its first packets, confirm.

    Without a proof the node keeps the model it had. Give MODEL.ewz and --port, or --fleet. docs/DEPLOY.md says what can go wrong.
    """
    from edge_wz.deploy import procedure

    targets = _targets(model, options)
    chosen = procedure.Options(
        options["packets"], options["wait_s"], options["timeout_s"], options["dry_run"], options["force"]
    )
    show = _Show(quiet=options["as_json"])
    results = [procedure.deploy(opener, order, chosen, show) for opener, order in targets]
    if options["as_json"]:
        click.echo(json.dumps({"nodes": [dataclasses.asdict(result) for result in results]}))
    elif results:
        _print(results)
    else:
        click.echo("nothing to do: every node runs its model")
    sys.exit(next((result.exit_code for result in results if result.exit_code), 0))


def _targets(model: Path | None, options: dict[str, Any]) -> list[tuple[Opener, Order]]:
    from edge_wz.deploy import targets
    from edge_wz.formats import bundle

    if (options["port"] is None) == (options["fleet_path"] is None):
        raise InputError("give either --port or --fleet")
    loaded = None if model is None else bundle.load(model)
    if options["port"] is None:
        for name in ("node_id", "period_s"):
            if options[name] is not None:
                raise InputError(f"--{name.removesuffix('_id').removesuffix('_s')} is for --port; with --fleet the file says it")
        wanted = targets.Wanted(_names(options["select"]), options["only_outdated"], options["force"])
        return targets.of_fleet(options["fleet_path"], options["control"], loaded, wanted)
    if loaded is None:
        raise InputError("MODEL.ewz is missing")
    period_us = None if options["period_s"] is None else round(options["period_s"] * 1e6)
    return [targets.of_port(options["port"], options["baud"], loaded, options["node_id"], options["shared"], period_us)]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class _Show:
    """The table of costs before anything is sent, and bars; on standard error, so that results can be piped."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def costs(self, result: Result) -> None:
        if self._quiet:
            return
        from rich.console import Console
        from rich.table import Table

        table = Table("", "needs", "has", "", title=f"{_called(result)} on {result.board}, firmware {result.runtime}")
        for row in result.costs:
            table.add_row(row.what, row.needs, row.has, row.problem or row.note, style="red" if row.problem else None)
        Console(stderr=True, width=None if sys.stderr.isatty() else 120).print(table)

    @contextmanager
    def step(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        from edge_wz.cli.progress import progress

        reached = 0.0
        with progress(label, total) as advance:

            def told(at: float) -> None:
                nonlocal reached
                advance(at - reached)
                reached = at

            yield told


def _called(result: Result) -> str:
    return result.name or (f"node {result.node_id}" if result.node_id is not None else "node")


def _print(results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(*(Column(title, overflow="fold") for title in COLUMNS))
    for result in results:
        lost = "" if result.lost_packets is None else str(result.lost_packets)
        table.add_row(
            result.name or "-", "" if result.node_id is None else str(result.node_id), result.board, result.before or "none",
            result.after or "none", result.outcome, str(result.image_bytes), str(result.packets), lost, f"{result.elapsed_s:.1f}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    for result in results:
        if result.exit_code:
            known = bool(result.name) or result.node_id is not None
            click.echo(f"edge-wz: {f'{_called(result)}: ' if known else ''}{result.detail}", err=True)
        else:
            click.echo(f"{_called(result)}: {result.detail}")
    if len(results) > 1 and any(result.exit_code for result in results):
        failed = sum(bool(result.exit_code) for result in results)
        click.echo(f"edge-wz: {failed} of {len(results)} nodes failed (exit codes: {DeployError.exit_code} the node, 6 the link)", err=True)
