"""`edge-wz train` and `edge-wz evaluate`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from training.data import Recording

Options = Callable[..., Any]


def recording_options(command: Options) -> Options:
    """How to read a CSV, the same for both commands."""
    for option in reversed((
        click.option("--rows", metavar="A:B", help="Rows A to B-1 only, after thinning; both as Python slices them."),
        click.option("--first-half", is_flag=True, help="The first half of the rows only."),
        click.option("--second-half", is_flag=True, help="The second half of the rows only."),
        click.option("--thin", type=click.IntRange(1), default=1, show_default=True, help="Every n-th row."),
        click.option("--layout", type=click.Choice(["wide", "long"]), default="wide", show_default=True,
                     help="One column per sensor, or one row per reading."),
        click.option("--id-column", default="node", show_default=True,
                     help="Long layout: the column that names the sensor."),
        click.option("--value-column", help="Long layout: the column with the readings."),
        click.option("--index-column", help="Time or index column; missing rows are put back in by it."),
        click.option("--period", "period_s", type=click.FloatRange(min=0, min_open=True), help="Seconds between rows."),
    )):
        command = option(command)
    return command


def learning_options(command: Options) -> Options:
    """What only `--method gradient` reads."""
    for option in reversed((
        click.option("--recipe", type=click.Choice(["default", "paper"]), help="How to learn.  [default: default]"),
        click.option("--restarts", type=click.IntRange(1, 64), help="Seeds to try; the best is kept.  [default: the recipe's]"),
        click.option("--seed", type=click.IntRange(0), help="Of everything random.  [default: 0]"),
        click.option("--taps", type=click.IntRange(1, 16), help="Of the node's filter and of the output filter.  [default: 5]"),
        click.option("--side-taps", type=click.IntRange(1, 256), help="Of each neighbour's filter.  [default: 12; paper: 5]"),
        click.option("--side-step", type=click.FloatRange(min=0, min_open=True), metavar="STEP",
                     help="Learn with neighbours as decoded from their own streams of this step, sensor units."),
        click.option("--dropout", type=click.FloatRange(0, 0.9), help="Chance that a sequence lacks a neighbour.  [default: 0.05]"),
        click.option("--jobs", type=click.IntRange(1), help="Restarts at a time.  [default: all processors]"),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: auto]"),
        click.option("--fresh", is_flag=True, default=None, help="Do not continue an interrupted run."),
    )):
        command = option(command)
    return command


@click.command()
@click.argument("recording", metavar="REC.csv", type=click.Path())
@click.option("--source", required=True, help="Column of the sensor that the node measures.")
@click.option("--side", default="", metavar="Y1,Y2", help="Columns of its neighbours, known to the gateway only.")
@click.option("--scheme", type=click.Choice(["nested", "predictive", "trellis", "syndrome", "layered"]), default="nested", show_default=True)
@click.option("--rate", metavar="R[,R...]", callback=lambda ctx, param, text: parse_rates(text),
              help="Bits per sample; several make as many rate points.")
@click.option("--max-error", type=float, help="Largest error, sensor units.")
@click.option("--step", type=float, help="Width of a quantizer cell, sensor units.")
@click.option("--out", required=True, metavar="M.ewz", type=click.Path(dir_okay=False), help="The bundle to write.")
@click.option("--method", type=click.Choice(["analytic", "gradient"]), default="analytic", show_default=True,
              help="By estimated moments, or by gradients (nested and layered, needs torch).")
@click.option("--decoder", help="nested: nearest, posterior, kalman; predictive: midpoint, kalman, refine, auto.")
@click.option("--side-as", type=click.Choice(["decoded", "true"]), default="decoded", show_default=True,
              help="refine, auto: neighbours as a gateway decodes them, or as recorded.")
@click.option("--states", type=click.Choice(["4", "8", "16", "32", "64", "128", "256", "1024"]),
              help="trellis: of the code.  [default: by packet length: 8, from 48 samples 64, from 256 on 256]")
@click.option("--follow", is_flag=True,
              help="trellis: decode by the source's own past even where it tells little: closer, and many times slower.")
@click.option("--layers", metavar="M[,M...]", help="layered: symbols of each layer, the coarsest first, like 2,2,2; they say the rate.")
@click.option("--mode", type=click.Choice(["marginal", "conditional"]),
              help="layered: each layer as it is, or as blocks given side information and layers before.  [default: marginal]")
@click.option("--packet-samples", "--block", "packet_samples", type=click.IntRange(1, 4096),
              help="Of syndrome and conditional layers, a packet is a block.  [default: 32; blocks 1024]")
@click.option("--level-check", type=click.Choice(["0", "4", "8"]),
              help="nested, trellis: bits per packet that tell a wrongly resolved bin and let it heal.  [default: 8]")
@click.option("--name", default="", help="Name of the node.  [default: the source]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@learning_options
@recording_options
def train(recording: str, source: str, side: str, out: str, as_json: bool, **options: Any) -> None:
    """Design a model bundle from a recording.

    One of --rate, --max-error and --step says how fine; with refine, --step is the one whose mid-cells are as close
    to the source, and the node's own is wider. `predictive` takes no side information on the node's part; with
    --side its gateway refines with it. An interrupted --method gradient is continued by the same command.
    """
    from training import jobs

    blocks = options["scheme"] == "syndrome" or options["mode"] == "conditional"
    options["packet_samples"] = options["packet_samples"] or (1024 if blocks else 32)
    sides = tuple(part.strip() for part in side.split(",") if part.strip())
    material = load_columns(recording, options, (source, *sides))
    report = jobs.train(material, source, sides, out, options)
    click.echo(jobs.to_json(report) if as_json else jobs.train_table(report))


@click.command()
@click.argument("target", metavar="FLEET_OR_BUNDLE", type=click.Path())
@click.option("--data", "recording", required=True, metavar="REC.csv", type=click.Path(), help="What to evaluate on.")
@click.option("--packet-samples", type=click.IntRange(1, 4096), help="Samples per packet.  [default: the bundle's]")
@click.option("--loss", type=float, default=0.0, show_default=True, help="Probability that a data packet is lost.")
@click.option("--side", type=click.Choice(["true", "decoded"]), default="true", show_default=True,
              help="Neighbours as recorded, or coded too. A fleet always uses decoded ones.")
@click.option("--decoder", "decoders", multiple=True, help="May be repeated.  [default: the bundle's]")
@click.option("--link", type=click.Choice(["addressed", "shared"]), default="addressed", show_default=True,
              help="On a shared link every packet carries the node id.")
@click.option("--fit-rows", metavar="A:B",
              help="Rows that fit the baselines.  [default: those before --rows, else the first half of them]")
@click.option("--no-baselines", is_flag=True, help="Leave the rivals out.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the losses.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@recording_options
def evaluate(target: str, recording: str, as_json: bool, **options: Any) -> None:
    """Measure bits and fidelity of a bundle or a fleet on a recording, beside the baselines at equal rmse.

    Encoder, packets, parser and decoder are the real ones. Bits are per sample of the source.
    """
    from training import jobs

    target_name, wanted = jobs.load_target(target)
    whole = load_columns(recording, {**options, "rows": None, "first_half": False, "second_half": False}, wanted)
    start, stop = _rows(whole, options)
    report = jobs.evaluate(target_name, whole, (start, stop), _fit_rows(whole, options, start), options)
    click.echo(jobs.to_json(report) if as_json else jobs.evaluate_table(report))


def load_columns(path: str, options: dict[str, Any], columns: tuple[str, ...]) -> Recording:
    """The columns asked for (all, if none) and the rows chosen; for every command that reads a recording."""
    from training.data import load_recording

    recording = load_recording(
        path, list(dict.fromkeys(columns)) or None, index_column=options["index_column"], period_s=options["period_s"],
        layout=options["layout"], id_column=options["id_column"], value_column=options["value_column"],
        thin=options["thin"],
    )
    start, stop = _rows(recording, options)
    return recording if (start, stop) == (0, recording.samples) else recording.part(start, stop)


def _rows(recording: Recording, options: dict[str, Any]) -> tuple[int, int]:
    chosen = [name for name in ("rows", "first_half", "second_half") if options.get(name)]
    if len(chosen) > 1:
        raise click.UsageError("--rows, --first-half and --second-half exclude each other")
    middle = recording.samples // 2
    if options.get("first_half"):
        return 0, middle
    if options.get("second_half"):
        return middle, recording.samples
    return parse_rows(options.get("rows"), recording.samples, "--rows")


def parse_rows(text: str | None, samples: int, option: str) -> tuple[int, int]:
    """`A:B` as Python slices it; at least one row."""
    if not text:
        return 0, samples
    first, colon, last = text.partition(":")
    try:
        start, stop, _ = slice(int(first) if first else None, int(last) if last else None).indices(samples)
    except ValueError:
        colon = ""
    if not colon:
        raise click.BadParameter(f"'{text}' is not A:B, two row numbers", param_hint=option)
    if stop <= start:
        raise click.BadParameter(f"'{text}' leaves no row of the {samples} that there are", param_hint=option)
    return start, stop


def parse_rates(text: str | None) -> float | tuple[float, ...] | None:
    """One number, or several with commas between."""
    if text is None:
        return None
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a number, or numbers with commas between", param_hint="--rate") from None
    return rates[0] if len(rates) == 1 else rates


def _fit_rows(recording: Recording, options: dict[str, Any], start: int) -> tuple[int, int] | None:
    """Rows for the baselines; None: the first half of what is evaluated."""
    if options["fit_rows"]:
        return parse_rows(options["fit_rows"], recording.samples, "--fit-rows")
    return (0, start) if start >= recording.samples // 10 and start > 0 else None
