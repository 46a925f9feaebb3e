"""What `edge-wz train` and `edge-wz evaluate` do once their options are read."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from edge_wz.cli.preparing import prepare
from edge_wz.cli.progress import live_progress, progress
from edge_wz.errors import InputError
from edge_wz.formats import bundle
from edge_wz.gateway.fleet import Fleet
from edge_wz.model import Model
from training import baselines, design, report
from training import evaluate as measure
from training.data import Recording
from training.design_layered import parse_layers

to_json = report.to_json
train_table = report.training
evaluate_table = report.evaluation

TARGETS = ("rate", "max_error", "step")
LEARNING = ("recipe", "restarts", "seed", "taps", "side_taps", "side_step", "dropout", "jobs", "device", "fresh")
Report = dict[str, Any]


def train(recording: Recording, source: str, side: tuple[str, ...], out: str, options: dict[str, Any]) -> Report:
    """Design, write the bundle, and say what it is."""
    given = {name: options[name] for name in TARGETS if options[name] is not None}
    if len(given) != 1 and options["scheme"] != "layered":
        raise InputError("give exactly one of --rate, --max-error and --step")
    if options["method"] == "gradient":
        return _learn(recording, source, side, out, options)
    unread = [name for name in LEARNING if options[name] is not None]
    if unread:
        raise InputError(f"--{unread[0].replace('_', '-')} belongs to --method gradient")
    with progress("design", 1) as advance:
        model = design.design(
            recording, source, side, options["scheme"], decoder=options["decoder"],
            packet_samples=options["packet_samples"], level_check_bits=_level_check_bits(options),
            side_as=options["side_as"], states=int(options["states"]) if options["states"] else None, follow=options["follow"],
            layers=parse_layers(options["layers"]) if options["layers"] else None, mode=options["mode"], **given,
        )
        advance(1)
    model = dataclasses.replace(model, name=options["name"] or model.name or source)
    bundle.save(out, model)
    return training_report(model, out, recording)


def _learn_layers(recording: Recording, source: str, side: tuple[str, ...], out: str, options: dict[str, Any]) -> Report:
    from training import layered_learn  # torch comes in here only

    unread = [name for name in LEARNING if options[name] is not None and name not in ("recipe", "seed")]
    if unread:
        raise InputError(f"--{unread[0].replace('_', '-')} is for scheme nested; layered learns with --recipe and --seed")
    if not options["layers"] or options["rate"] is not None:
        raise InputError("scheme layered needs --layers, like 2,2,2, and no --rate: the layers say it")
    wanted = layered_learn.Options(
        parse_layers(options["layers"]), options["mode"] or "marginal", options["packet_samples"], options["recipe"] or "default",
        options["seed"] or 0,
    )
    model = dataclasses.replace(layered_learn.train(recording, source, side, wanted, _say), name=options["name"] or source)
    bundle.save(out, model)
    return training_report(model, out, recording)


def _learn(recording: Recording, source: str, side: tuple[str, ...], out: str, options: dict[str, Any]) -> Report:
    if options["scheme"] == "layered":
        return _learn_layers(recording, source, side, out, options)
    from training import gradient  # torch comes in here only

    if options["rate"] is None or options["scheme"] != "nested":
        raise InputError("--method gradient learns scheme nested for a --rate, or layered for --layers")
    if options["decoder"] not in (None, "nearest"):
        raise InputError(f"decoder {options['decoder']} knows no filter at the node; --method gradient learns for nearest")
    rates = options["rate"] if isinstance(options["rate"], tuple) else (options["rate"],)
    given = {name: options[name] for name in LEARNING if options[name] is not None}
    wanted = gradient.Options(
        rates, packet_samples=options["packet_samples"], level_check_bits=_level_check_bits(options), **given
    )
    recipe = gradient.RECIPES[wanted.recipe]
    with live_progress("train", (wanted.restarts or recipe.restarts) * recipe.steps) as show:
        steps: dict[int, int] = {}

        def watch(restart: int, step: int, sqnr_db: float) -> None:
            done = step - steps.get(restart, 0)
            steps[restart] = step
            show(done, f"train: seed {restart}, {sqnr_db:.2f} dB at {', '.join(f'{rate:g}' for rate in rates)} bits")

        model = gradient.train(recording, source, side, out, wanted, say=_say, watch=watch)
    model = dataclasses.replace(model, name=options["name"] or source)
    bundle.save(out, model, gradient.graphs(model, _say))
    gradient.finish(out)
    return training_report(model, out, recording)


def _level_check_bits(options: dict[str, Any]) -> int:
    """On unless told otherwise: recordings drift, and without it a decoder that went wrong neither knows nor returns.
    """
    if options["level_check"] is None:
        return 8 if options["scheme"] in ("nested", "trellis") else 0
    return int(options["level_check"])


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def training_report(model: Model, out: str, recording: Recording) -> Report:
    point = model.node.rate_points[0]
    return {
        "bundle": out,
        "name": model.name,
        "model_id": model.model_id.hex(),
        "scheme": model.node.scheme,
        "decoder": model.decoder,
        "source": model.source,
        "side": list(model.side),
        "rows": recording.samples,
        "packet_samples": model.node.packet_samples,
        "level_check_bits": model.node.level_check_bits,
        "step": float(point.step) * model.node.scale,
        "node_bytes": len(model.node.blob),
        "measured": model.measured,
    }


def load_target(path: str) -> tuple[Model | Fleet, tuple[str, ...]]:
    """A bundle or a fleet file, and the columns of a recording that it wants."""
    if not Path(path).exists():
        raise InputError(f"{path}: no such file")
    if path.endswith(".toml"):
        from edge_wz.gateway import config  # the gateway is only needed for fleets

        return config.load(Path(path)).fleet, ()
    model = bundle.load(path)
    return model, (model.source, *model.side)


def evaluate(
    target: Model | Fleet,
    recording: Recording,
    rows: tuple[int, int],
    fit_rows: tuple[int, int] | None,
    options: Report,
) -> Report:
    """Rows of the recording for the test; `fit_rows` for the parameters of the rivals."""
    part = recording.part(*rows)
    fit = recording.part(*fit_rows) if fit_rows else part.split()[0]
    common: dict[str, Any] = {
        "packet_samples": options["packet_samples"], "loss": options["loss"], "seed": options["seed"],
        "with_baselines": () if options["no_baselines"] else baselines.NAMES, "fit_recording": fit,
    }
    prepare([node.model for node in target.nodes] if isinstance(target, Fleet) else [target], options["decoders"])
    nodes = len(target.nodes) if isinstance(target, Fleet) else max(1, len(options["decoders"]))
    with progress("evaluate", part.samples * nodes) as advance:
        if isinstance(target, Fleet):
            from training import fleets

            made = fleets.evaluate_fleet(target, part, advance=advance, **common)
        else:
            made = measure.evaluate_bundle(
                target, part, side=options["side"], decoders=options["decoders"] or None, link=options["link"],
                advance=advance, **common,
            )
    made["rows"] = list(rows)
    for line in made["warnings"]:
        _say(f"warning: {line}")
    return made
