"""A plan made real: models of all planning rows, the bundles, `fleet.toml`, `plan.json` and the page, in one folder.

Models are made in the plan's order, so that each is fitted to its neighbours as their own final models decode them.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.codec.familiar import TRAITS, traits
from edge_wz.errors import DesignError, StorageError
from edge_wz.formats import bundle
from edge_wz.model import Model, StateSpace
from training import design_predictive as predictive
from training import plan_energy, refinement, report
from training.design import design
from training.material import Material, gather
from training.plan import Choice, Plan, Show, silent
from training.plan_layered import sending
from training.plan_nested import nested_model, run_nested
from training.plan_study import stream_of, with_side
from training.plan_trellis import as_heard, trellis_model
from training.state_space import identify

MODEL_SAMPLES = 200_000
IDENTIFY_SAMPLES = 20_000
LEAST_WAIT_S = 5.0
LINK = "tcp-listen://127.0.0.1:7070"


def make_models(plan: Plan, show: Show = silent) -> None:
    """Fills `plan.models`."""
    decoded: dict[str, np.ndarray] = {}
    for name in plan.order:
        show(1, f"plan: model of {name}")
        plan.models[name] = make_model(plan, plan.choices[name], decoded)


def make_model(plan: Plan, choice: Choice, decoded: dict[str, np.ndarray]) -> Model:
    """The model of one node; its decoded values are added to `decoded`."""
    recording, side, size = plan.recording, choice.candidate.side, plan.options.packet_samples
    recording = recording.part(max(0, recording.samples - MODEL_SAMPLES), recording.samples)
    common: dict[str, Any] = {"source": choice.name, "side": side, "name": choice.name, "period_s": recording.period_s or 1.0}
    promised = plan.options.value if plan.options.kind == "max_error" else None
    if choice.scheme != "predictive":
        if choice.scheme == "nested":
            model = nested_model(recording, choice.name, side, choice.step, promised, size)
        elif choice.scheme == "trellis":
            model = trellis_model(as_heard(recording, side, decoded), choice.name, side, choice.step, size)
        elif choice.scheme == "layered":
            model = sending(design(recording, choice.name, side, "layered", layers=plan.options.layers, packet_samples=size), int(choice.rate))
        else:
            model = design(recording, choice.name, side, "syndrome", rate=choice.rate, packet_samples=size)
        decoded[choice.name], _ = run_nested(model, recording.column(choice.name), side, decoded)
        return replace(model, measured=figures(choice), **common)
    material = gather(recording, choice.name, side)
    step_q8 = round(choice.step / material.scale * 256)
    steps = (step_q8, round(step_q8 * choice.candidate.share))
    space = concealing_space(material, step_q8 / 256)
    model = replace(predictive.build_like(choice.node, material, (steps,)), state_space=space, **common)
    if promised is not None:
        model = replace(model, max_error=predictive.promised_error("max_error", (steps,), material))
    stream, _ = stream_of(model.node, model, material)
    values = stream.recon.astype(np.float64)
    if choice.candidate.decoder == "refine":
        heard = with_side(stream, side, decoded)
        moments = refinement.fit(heard)
        values, _ = refinement.apply(moments, heard if moments.neighbours else heard.without_side())
        model = replace(model, decoder="refine", refinement=moments)
    decoded[choice.name] = np.where(stream.known, values, np.nan) * material.scale + material.offset
    provenance = {"method": "plan", "recording": recording.path, "samples": int(material.present.sum()), TRAITS: traits(material.values)}
    return replace(model, measured=figures(choice), provenance={**provenance, **model.provenance})


def concealing_space(material: Material, step: float) -> StateSpace | None:
    """What conceals a lost packet from past and neighbours; None where the recording is too short for one."""
    recent = material.part(max(0, len(material.codes) - IDENTIFY_SAMPLES), len(material.codes))
    try:
        return identify(recent.in_codes, recent.side, max(step * step, 1.0) / 12).space
    except (DesignError, np.linalg.LinAlgError):
        return None


def figures(choice: Choice) -> dict[str, Any]:
    """What the bundle says of itself: the validation rows, not those it was designed on."""
    return {"validation": {"bits": choice.bits, "rmse": choice.rmse, "step": choice.step, "samples": choice.samples}}


# ---------------------------------------------------------------------------------------------------------- files


def write(plan: Plan, folder: str) -> dict[str, Any]:
    """All files of the plan; the report that `plan.json` holds."""
    from training import plan_page  # drawing is only needed here

    base = Path(folder)
    made = as_report(plan)
    try:
        base.mkdir(parents=True, exist_ok=True)
        files = file_names(list(plan.choices))
        for name, model in plan.models.items():
            bundle.save(base / files[name], model)
        (base / "plan.json").write_text(report.to_json(made) + "\n", encoding="utf-8")
        (base / "plan.html").write_text(plan_page.page(made), encoding="utf-8")
        (base / "fleet.toml").write_text(fleet_toml(plan, files), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror}") from None
    return made


def file_names(names: list[str]) -> dict[str, str]:
    """A file for each node, its name kept where a file system allows it."""
    out: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        out[name] = f"{safe}.ewz" if f"{safe}.ewz".lower() not in {f.lower() for f in out.values()} else f"{safe}-{number}.ewz"
    return out


def fleet_toml(plan: Plan, files: dict[str, str]) -> str:
    period_s = plan.recording.period_s or 1.0
    wait_s = max(LEAST_WAIT_S, round(1.25 * plan.options.packet_samples * period_s, 3))
    lines = [
        f"# Planned from {plan.recording.path} by `edge-wz plan`. `edge-wz check` says whether the file is in order.",
        "",
        "[gateway]",
        'store = "store.sqlite"',
        'spool = "spool"',
        f"side_wait_s = {wait_s:g}  # a packet of a neighbour may end this much later than one's own",
        f"revise_window_s = {4 * wait_s:g}",
        "",
        "[[link]]",
        'name = "air"',
        f'url = "{LINK}"  # or serial:///dev/ttyUSB0?baud=115200',
        "shared = true",
    ]
    ids = {name: number for number, name in enumerate(plan.choices, 1)}
    for name, choice in plan.choices.items():
        side = ", ".join(map(quoted, choice.candidate.side))
        lines += ["", "[[node]]", f"name = {quoted(name)}", f"id = {ids[name]}", f"model = {quoted(files[name])}"]
        lines += [f"side = [{side}]"] if side else []
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    return json.dumps(text)


def as_report(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, nodes in the order of decoding."""
    nodes = []
    for name in plan.order:
        row = asdict(replace(plan.choices[name], node=None))  # type: ignore[arg-type]
        candidate = row.pop("candidate")
        del row["node"]
        row.update(dead_zone=candidate["share"] < 0.5, round_up_from=1 - candidate["share"], decoder=candidate["decoder"])
        row["side"] = list(candidate["side"])
        row["why"] = why(plan.choices[name])
        if name in plan.models:
            row.update(model_id=plan.models[name].model_id.hex(), decoder=plan.models[name].decoder)
        nodes.append(row)
    options = plan.options
    period_s = plan.recording.period_s or 1.0
    energy = plan_energy.as_report(nodes, plan.models, options.packet_samples, period_s, options.power) if options.power else None
    return {
        "recording": plan.recording.path, "rows": plan.recording.samples, "period_s": plan.recording.period_s,
        "target": {options.kind: options.value}, "packet_samples": options.packet_samples,
        "max_depth": options.max_depth, "nodes": nodes, "energy": energy,
    }


def why(choice: Choice) -> str:
    """Why neighbours are used, or why not, in numbers."""
    used = [one for one in choice.tried if one.used]
    if used:
        one = used[-1]
        return (
            f"{', '.join(one.side)}: {one.gain_db:.1f} dB off the conditional variance and {1 - one.ratio[0]:.1%} off "
            f"the bits ({1 - one.ratio[2]:.1%} to {1 - one.ratio[1]:.1%})"
        )
    if choice.tried:
        one = min(choice.tried, key=lambda tried: tried.ratio[0])
        return (
            f"{', '.join(one.side)}: {one.gain_db:.1f} dB off the conditional variance, but the measured bits are "
            f"{one.ratio[0]:.3f} of those alone ({one.ratio[1]:.3f} to {one.ratio[2]:.3f})"
        )
    best = max(choice.gains_db.values(), default=0.0)
    if choice.depth == 0 and best >= 0.1:
        return f"a reference of others: its best neighbour would take {best:.1f} dB off the conditional variance"
    return f"no neighbour takes more than {max(best, 0.0):.2f} dB off the conditional variance"
