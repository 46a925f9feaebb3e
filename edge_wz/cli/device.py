"""`edge-wz device`: look at a node, restart it, read its log; over a port or through the daemon that owns it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wz.errors import InputError

if TYPE_CHECKING:
    from edge_wz.deploy.device import Device

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def device() -> None:
    """Look at a node, restart it, read its log."""


def _target_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.5), default=5.0, show_default=True,
                     help="For the first answer."),
        click.option("--control", type=FILE, help="Socket of the daemon.  [default: as the fleet file says]"),
        click.option("--select", metavar="NAME", help="This node of --fleet."),
        click.option("--fleet", "fleet_path", type=FILE, help="A fleet file; through its daemon if that runs."),
        click.option("--baud", default=115200, show_default=True, help="Of --port."),
        click.option("--port", metavar="DEV", help="Serial device of the node, or tcp://HOST:PORT."),
    ):  # fmt: skip
        command = option(command)
    return command


@device.command()
@_target_options
def info(as_json: bool, **options: Any) -> None:
    """Firmware, model, and counters since the restart."""
    found = _ask(options, lambda node: (node.info(), node.state(), node.counters()))
    rows = {**asdict(found[0]), **asdict(found[1]), "counters": found[2]}
    if as_json:
        click.echo(json.dumps(rows))
        return
    counters = rows.pop("counters")
    for name, value in (*rows.items(), *counters.items()):
        shown = ", ".join(value) if isinstance(value, tuple) else "-" if value in (None, "") else value
        click.echo(f"{name.replace('_', ' '):<16} {shown}")


@device.command()
@_target_options
def log(as_json: bool, **options: Any) -> None:
    """The last events, with the seconds since the restart."""
    events = _ask(options, lambda node: node.log())
    if as_json:
        click.echo(json.dumps({"log": [{"second": second, "event": event} for second, event in events]}))
        return
    for second, event in events:
        click.echo(f"{second:>8} s  {event}")


@device.command()
@_target_options
def reset(as_json: bool, **options: Any) -> None:
    """Restart the node; a model on trial is gone then."""
    _ask(options, lambda node: node.reset(), resume=False)
    click.echo(json.dumps({"reset": True}) if as_json else "the node restarts")


def _ask(options: dict[str, Any], ask: Callable[[Device], Any], resume: bool = True) -> Any:
    from edge_wz.deploy import procedure, targets
    from edge_wz.deploy.link import open_port

    port, fleet_path = options["port"], options["fleet_path"]
    if (port is None) == (fleet_path is None):
        raise InputError("give either --port or --fleet with --select")
    if port is not None:
        return procedure.look(lambda: open_port(port, options["baud"]), options["timeout_s"], ask, resume)
    if options["select"] is None:
        raise InputError("--fleet needs --select NAME")
    return procedure.look(targets.opener_of(fleet_path, options["control"], options["select"]), options["timeout_s"], ask, resume)
