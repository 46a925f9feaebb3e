"""The command `edge-wz`: verbs by name, loaded only when called, so that `--help` stays fast.

`training`, `export` and `firmware_sim` add their verbs through the entry point group `edge_wz.commands`; the
runtime's own are in the table below. Each class of `edge_wz.errors` ends in one line on stderr and its exit code.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points

import click

from edge_wz.errors import EdgeWzError

OWN_VERBS = {
    "inspect": "edge_wz.cli.inspect:inspect",
    "serve": "edge_wz.cli.serve:serve",
    "check": "edge_wz.cli.serve:check",
    "deploy": "edge_wz.cli.deploy:deploy",
    "device": "edge_wz.cli.device:device",
}
SUMMARIES = {
    "inspect": "Show a bundle, blob, packet, frame or capture field by field.",
    "serve": "Run the decoder daemon of a fleet.",
    "check": "Check a fleet file and the bundles it names.",
    "deploy": "Send a model to nodes, prove it on trial, confirm it.",
    "device": "Look at a node, restart it, read its log.",
    "train": "Design a model bundle from a recording.",
    "evaluate": "Measure bits and fidelity of a bundle or fleet on a recording.",
    "plan": "Choose neighbours and schemes of a whole fleet by measured cost.",
    "export": "Write a bundle's ONNX graphs or node blob, verify that all implementations agree.",
    "node": "Encode samples from a CSV or standard input onto a link.",
    "simulate": "Run a fleet of nodes over a lossy channel.",
    "emulate": "A node without hardware, to deploy to.",
    "demo": "Simulate a correlated fleet, decode it, draw the picture.",
}


class LazyGroup(click.Group):
    def _targets(self) -> dict[str, str]:
        targets = dict(OWN_VERBS)
        targets.update({point.name: point.value for point in entry_points(group="edge_wz.commands")})
        return targets

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._targets())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = self._targets().get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, SUMMARIES.get(name, "")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="edge-wz", prog_name="edge-wz")
def cli() -> None:
    """Wyner-Ziv coding for sensor networks: deploy an encoder, run the decoder daemon, simulate a fleet."""


def main() -> None:
    try:
        cli.main(standalone_mode=False)
    except EdgeWzError as error:
        click.echo(f"edge-wz: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("edge-wz: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
