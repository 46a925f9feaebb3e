"""The verbs `node` and `simulate`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from edge_wz.cli.preparing import prepare
from edge_wz.cli.progress import progress
from edge_wz.errors import InputError, RecordingError

DEFAULT_START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z: a simulation is the same whenever it runs


@click.command()
@click.option("--model", "model_path", required=True, type=click.Path(path_type=Path), help="Bundle of this node.")
@click.option("--input", "input_path", required=True, metavar="CSV|-", help="Samples in sensor units; - reads a pipe.")
@click.option("--link", "url", required=True, metavar="URL", help="tcp://HOST:PORT, serial:///dev/NAME, or a FILE.")
@click.option("--column", help="Column of the samples. Default: the model's source, or the only one.")
@click.option("--id", "node_id", default=1, show_default=True, help="Node id.")
@click.option("--period", "period_s", type=float, help="Seconds between samples. Default: the model's.")
@click.option("--rate-point", default=0, show_default=True, help="Which of the model's rate points.")
@click.option("--realtime", is_flag=True, help="Send one sample each period instead of all at once.")
@click.option("--shared/--addressed", default=False, show_default=True, help="Is the link shared with other nodes?")
@click.option("--epoch", type=int, help="Boot epoch, counts restarts. Default: seconds of the clock mod 65536.")
@click.option("--start-ms", type=int, help="Unix time of the first sample in ms, 0 = no clock. Default: now.")
def node(
    model_path: Path,
    input_path: str,
    url: str,
    column: str | None,
    node_id: int,
    period_s: float | None,
    rate_point: int,
    realtime: bool,
    shared: bool,
    epoch: int | None,
    start_ms: int | None,
) -> None:
    """Encode samples from a CSV or standard input onto a link.

    Ends with the input, or on Ctrl-C after sending what is waiting.
    """
    from edge_wz.codec.encoder import NodeEncoder
    from edge_wz.codec.familiar import Familiar
    from edge_wz.formats import bundle
    from firmware_sim import node as sensor
    from firmware_sim.links import open_link

    model = bundle.load(model_path)
    now_ms = time.time_ns() // 1_000_000
    encoder = NodeEncoder(
        model.node,
        node_id,
        period_us=_period_us(model.period_s if period_s is None else period_s),
        boot_epoch=now_ms // 1000 if epoch is None else epoch,
        start_ms=now_ms if start_ms is None else start_ms,
        shared_link=shared,
        rate_point=rate_point,
    )
    samples = sensor.open_samples(input_path, (column,) if column else ())
    if column is None:
        samples.preferred = model.source
    with open_link(url, [("node", None if shared else node_id)], now_ms * 1000, _announce) as link:
        result = sensor.run(
            encoder, samples, link, realtime=realtime, familiar=Familiar(model), say=lambda line: click.echo(f"warning: {line}", err=True)
        )
    if not result.counters.samples:
        raise RecordingError(f"{samples.where}: no samples behind the header")
    click.echo(_node_summary(result), err=True)


def _node_summary(result: Any) -> str:
    counters = result.counters
    air_bits = counters.packet_bits + counters.hello_bits
    parts = [
        f"{counters.samples} samples ({counters.absent} absent)",
        f"{counters.data_packets} packets and {counters.hello_packets} hellos",
        f"{air_bits / max(counters.samples, 1):.2f} bits/sample on air, headers included",
        f"{result.bytes_written} bytes on the link",
    ]
    if result.clipped:
        parts.append(f"{result.clipped} samples beyond the model's range, clipped")
    if counters.saturated:
        parts.append(f"{counters.saturated} levels saturated")
    return ("interrupted: " if result.interrupted else "") + "; ".join(parts)


@click.command()
@click.option("--fleet", "fleet_path", type=click.Path(path_type=Path), help="Nodes and bundles of a fleet file.")
@click.option("--nodes", "node_count", type=click.IntRange(1, 32767), help="Number of nodes, instead of --fleet.")
@click.option("--model", "model_paths", multiple=True, type=click.Path(path_type=Path),
              help="Bundles, dealt out to the nodes in turn; neighbours come first.")
@click.option("--source", default="field", show_default=True, help="fig5, fig6, fig7, or field.")
@click.option("--replay", type=click.Path(path_type=Path), help="True samples from a wide CSV instead.")
@click.option("--samples", type=click.IntRange(1), help="Samples per node. Default: 3600, or all of --replay.")
@click.option("--seed", default=0, show_default=True, help="Of source and channel.")
@click.option("--ar", default="0.95", show_default=True, help="Field: AR coefficients, comma separated.")
@click.option("--range", "correlation_range", default=5.0, show_default=True, help="Field: range in grid steps.")
@click.option("--sigma", default=1.0, show_default=True, help="Field: standard deviation.")
@click.option("--noise", default=0.05, show_default=True, help="Field: standard deviation of measurement noise.")
@click.option("--mean", default=0.0, show_default=True, help="Field: mean.")
@click.option("--loss", default=0.0, help="Probability that a packet is lost.")
@click.option("--burst", default=1.0, help="Mean length of a run of lost packets.")
@click.option("--duplicate", default=0.0, help="Probability that a packet arrives twice.")
@click.option("--reorder", default=0.0, help="Probability that a packet is overtaken.")
@click.option("--flip", default=0.0, help="Probability that a bit is flipped.")
@click.option("--jitter", "jitter_s", default=0.0, metavar="S", help="Largest extra delay in seconds.")
@click.option("--to", "url", metavar="LINK", help="capture:FILE, tcp://HOST:PORT, serial:///dev/X, pty, FILE, process, daemon[:FOLDER].")
@click.option("--shared/--addressed", default=True, help="One shared link, or one per node (capture, process).")
@click.option("--backend", "backends", multiple=True, metavar="[IDS=]NAME",
              help="What encodes: numba, c, thumb, thumb:m3, qemu, qemu:microbit; for some nodes 3=NAME or 1-10=NAME.")
@click.option("--pace", default=0.0, show_default=True, help="Times faster than real time; 0: as fast as possible.")
@click.option("--rate-point", default=0, help="Which of the models' rate points.")
@click.option("--layers", default="", metavar="POLICY",
              help="Of layered nodes: 2; 1+3 (the rest in refinement packets); event:T[:HOLD]; budget:BITS_PER_HOUR.  [default: by rate point]")
@click.option("--epoch", default=0, help="Boot epoch of all nodes.")
@click.option("--start-ms", default=DEFAULT_START_MS, help="Unix time of the first sample, 0 = nodes without a clock.")
@click.option("--out", "out_path", type=click.Path(path_type=Path), help="Write the true samples here (CSV, .csv.gz).")
@click.option("--write-fleet", type=click.Path(path_type=Path), help="Write a fleet file of the --nodes dealt out.")
@click.option("--radio", help="Estimate current and battery life: 802.15.4, 802.15.4-ack, ble-adv, ble, lora-sf7 .. lora-sf12."
              "  [default: 802.15.4 if a backend counts instructions]")
@click.option("--mcu", default="stm32l031", show_default=True, help="For --radio: nrf51822, stm32l031, stm32l152, nrf52832.")
@click.option("--battery-mah", type=click.FloatRange(min=0, min_open=True), default=2400.0, show_default=True, help="For --radio.")
@click.option("--page", "page_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as a page (HTML).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(**options: Any) -> None:
    """Run a fleet of nodes over a lossy channel, into a capture, a live gateway, a pipeline in this process, or a daemon of its own.

    Without --to only the true samples are made: edge-wz simulate --nodes 8 --samples 20000 --out rec.csv
    """
    from firmware_sim.simulate import true_samples, write_csv

    if options["url"] is None and options["out_path"] is None and options["write_fleet"] is None:
        raise InputError("nothing to do: give --to, --out or --write-fleet")
    members = _members(options)
    names = [member.name for member in members] or _bare_names(options)
    columns = [member.model.source for member in members] or names
    samples = true_samples(names, columns, _source(options))
    if options["out_path"]:
        write_csv(options["out_path"], samples)
    if options["write_fleet"]:
        _write_fleet(options["write_fleet"], members, options["url"])
    if options["url"]:
        if not members:
            raise InputError("--to needs --fleet, or --nodes and --model")
        _run(members, samples, options)


def _members(options: dict[str, Any]) -> Any:
    from firmware_sim.fleet import deal, members_of

    if options["fleet_path"] is not None:
        if options["model_paths"] or options["node_count"]:
            raise InputError("--fleet and --nodes/--model exclude each other")
        return members_of(options["fleet_path"])
    if not options["model_paths"]:
        return ()
    return deal(options["model_paths"], options["node_count"] or len(options["model_paths"]))


def _bare_names(options: dict[str, Any]) -> list[str]:
    if options["replay"] is not None:
        return []
    if options["source"] != "field":
        return ["x", "y"]
    return [f"n{k + 1}" for k in range(options["node_count"] or 1)]


def _source(options: dict[str, Any]) -> Any:
    from firmware_sim.simulate import FieldSpec, SourceSpec

    try:
        ar = tuple(float(text) for text in options["ar"].split(","))
    except ValueError:
        raise InputError(f"--ar {options['ar']!r} is no list of numbers, like 0.5,0.3") from None
    shape = FieldSpec(ar, options["correlation_range"], options["sigma"], options["noise"], options["mean"])
    samples = options["samples"] or (0 if options["replay"] else 3600)
    return SourceSpec(options["source"], samples, options["seed"], options["replay"], shape)


def _write_fleet(path: Path, members: Any, url: str | None) -> None:
    from firmware_sim.fleet import fleet_toml

    live = url if url and (url.startswith(("tcp://", "serial://"))) else "serial:///dev/ttyUSB0"
    try:
        path.write_text(fleet_toml(members, live.replace("tcp://", "tcp-listen://")), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _run(members: Any, samples: Any, options: dict[str, Any]) -> None:
    from firmware_sim import fleet_page, report
    from firmware_sim import simulate as simulation
    from firmware_sim.backends import Backends
    from firmware_sim.channel import ChannelSpec
    from firmware_sim.fleet import RunSpec

    shared, url = options["shared"], options["url"]
    if not shared and url.startswith(("tcp:", "pty", "serial:", "daemon")) and len(members) > 1:
        raise InputError(f"--to {url}: one byte path for {len(members)} nodes is a shared link")
    spec = RunSpec(options["start_ms"], shared, options["epoch"], options["rate_point"], options["layers"])
    channel = ChannelSpec(
        options["loss"], options["burst"], options["duplicate"], options["reorder"], options["flip"],
        round(options["jitter_s"] * 1e6),
    )
    begun_s = time.monotonic()
    with Backends(options["backends"]) as backends:
        chosen = backends.prepare([member.node_id for member in members])
        energy = _energy(options, any(backend.core for backend in chosen.values()))
        with progress("encode", sum(len(samples[member.name]) for member in members)) as advance:
            run = simulation.transmit(members, samples, spec, channel, options["seed"], advance, chosen)
    encoded_s = time.monotonic()
    outcomes, link_bytes = _deliver(members, samples, run, spec, options)
    result = simulation.report(members, run, link_bytes, time.monotonic() - begun_s, outcomes)
    result["encode_s"] = round(encoded_s - begun_s, 3)
    if energy is not None:
        found = energy(members, run.sent)
        for row in result["nodes"]:
            row["energy"] = found[row["name"]]
    if options["page_path"]:
        fleet_page.write(result, options["page_path"])
    if options["as_json"]:
        click.echo(json.dumps(result))
    else:
        report.show(result)


def _deliver(members: Any, samples: Any, run: Any, spec: Any, options: dict[str, Any]) -> tuple[Any, int]:
    """(outcome of each node where a gateway of ours decoded, bytes on the link)."""
    from firmware_sim import live
    from firmware_sim import simulate as simulation
    from firmware_sim.fleet import addressed_links
    from firmware_sim.links import open_link

    shared, url = options["shared"], options["url"]
    if url == "process":
        prepare([member.model for member in members])
    with progress("deliver", len(run.deliveries)) as advance:
        if url == "process":
            outcomes = simulation.decode_in_process(members, samples, run, shared, advance)
            return outcomes, sum(len(delivery.data) for delivery in run.deliveries)
        if url == "daemon" or url.startswith("daemon:"):
            return live.decode(members, samples, run, url.removeprefix("daemon").removeprefix(":"), options["pace"], advance)
        numbers = simulation.link_numbers(members, shared)
        with open_link(url, addressed_links(members, shared), spec.start_ms * 1000, _announce) as link:
            simulation.deliver(link, run.deliveries, numbers, options["pace"], advance)
    return [], link.bytes_written


def _energy(options: dict[str, Any], counted: bool) -> Any:
    """What estimates a run, None if nobody asked and no instruction was counted. Names are looked up before anything is simulated."""
    name = options["radio"] or ("802.15.4" if counted else None)
    if name is None:
        return None
    from export.energy import mcu_named, radio_named
    from firmware_sim.energy import rows

    mcu, radio = mcu_named(options["mcu"]), radio_named(name)
    return lambda members, sent: rows(members, sent, mcu, radio, options["battery_mah"])


def _announce(device: str) -> None:
    click.echo(f"pty {device}: waiting for a reader", err=True)


def _period_us(period_s: float) -> int:
    if not 1e-6 <= period_s < 1e6:
        raise InputError(f"--period {period_s:g} is not within 0.000001 .. 1000000 seconds")
    return round(period_s * 1e6)
