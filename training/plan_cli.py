"""`edge-wz plan`. Nothing heavy is imported before the command runs."""

from __future__ import annotations

from typing import Any

import click

from training.cli import load_columns, recording_options


@click.command()
@click.argument("recording", metavar="REC.csv", type=click.Path())
@click.option("-o", "--out", required=True, metavar="FOLDER", type=click.Path(file_okay=False),
              help="Where fleet.toml, the bundles, plan.json and plan.html go.")
@click.option("--rmse", type=click.FloatRange(min=0, min_open=True), help="Root mean square error, sensor units.")
@click.option("--max-error", type=click.FloatRange(min=0, min_open=True), help="Largest error, sensor units.")
@click.option("--bits", type=click.FloatRange(min=0, min_open=True), help="Payload bits per sample.")
@click.option("--nodes", default="", metavar="A,B,C", help="Columns to plan.  [default: all]")
@click.option("--packet-samples", type=click.IntRange(1, 4096), default=32, show_default=True)
@click.option("--max-depth", type=click.IntRange(0, 16), default=2, show_default=True,
              help="How many decodings a node may have to wait for; 0: no node uses another.")
@click.option("--max-neighbours", type=click.IntRange(1, 12), default=4, show_default=True)
@click.option("--layers", metavar="M[,M...]", help="Weigh scheme layered with these alphabets too, the coarsest first, like 2,2,2.")
@click.option("--schemes", default="predictive,nested,trellis,syndrome", show_default=True, help="What may be planned.")
@click.option("--radio", help="Estimate battery life: 802.15.4, 802.15.4-ack, ble-adv, ble, lora-sf7 .. lora-sf12.")
@click.option("--mcu", default="stm32l031", show_default=True, help="For --radio: nrf51822, stm32l031, stm32l152, nrf52832.")
@click.option("--battery-mah", type=click.FloatRange(min=0, min_open=True), default=2400.0, show_default=True, help="For --radio.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@recording_options
def plan(recording: str, out: str, as_json: bool, **options: Any) -> None:
    """Choose reference nodes, neighbours and schemes for a fleet by measured cost.

    One of --rmse, --max-error and --bits says how fine, the same for every node. The last quarter of the rows validates;
    a node uses neighbours only where they lower its bits there. The folder is ready for `check`, `serve` and `evaluate`.
    """
    from training import plan_jobs
    from training.report import to_json

    wanted = plan_jobs.options_of(options)
    names = tuple(part.strip() for part in options["nodes"].split(",") if part.strip())
    made = plan_jobs.run(load_columns(recording, options, names), names, wanted, out)
    click.echo(to_json(made) if as_json else plan_jobs.table(made))
