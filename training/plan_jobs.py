"""What `edge-wz plan` does once its options are read."""

from __future__ import annotations

from typing import Any

from edge_wz.cli.progress import live_progress
from edge_wz.errors import InputError
from training import plan_energy, plan_models, report
from training.data import Recording
from training.design_layered import parse_layers
from training.plan import KINDS, SCHEMES, Options, make_plan

STAGES = 4  # of each node: alone, neighbours, choice, model
COLUMNS = ("node", "side", "decoder", "step", "rmse", "bits/sa", "alone", "best rival", "bits/sa", "ratio", "95 %")


def options_of(given: dict[str, Any]) -> Options:
    """Exactly one target; known schemes."""
    targets = {kind: given[kind] for kind in KINDS if given[kind] is not None}
    if len(targets) != 1:
        raise InputError("give exactly one of --rmse, --max-error and --bits")
    schemes = tuple(part.strip() for part in given["schemes"].split(",") if part.strip())
    if unknown := [scheme for scheme in schemes if scheme not in SCHEMES]:
        raise InputError(f"--schemes: '{unknown[0]}' is none of {', '.join(SCHEMES)}")
    if "predictive" not in schemes:
        raise InputError("--schemes: predictive cannot be left out: it is what a plan is never worse than")
    layers = parse_layers(given["layers"]) if given["layers"] else ()
    if "layered" in schemes and not layers:
        raise InputError("--schemes: layered needs --layers, like 2,2,2")
    schemes += ("layered",) if layers and "layered" not in schemes else ()
    kind, value = next(iter(targets.items()))
    return Options(
        kind, float(value), given["packet_samples"], given["max_depth"], given["max_neighbours"], schemes,
        plan_energy.power_of(given), layers,
    )


def run(recording: Recording, names: tuple[str, ...], options: Options, folder: str) -> dict[str, Any]:
    """Plan, make the models, write the folder; the report."""
    names = names or tuple(recording.columns)
    with live_progress("plan", STAGES * len(names)) as show:
        plan = make_plan(recording, names, options, show)
        plan_models.make_models(plan, show)
    made = plan_models.write(plan, folder)
    return {"folder": folder, **made}


def table(made: dict[str, Any]) -> str:
    rows = []
    for node in made["nodes"]:
        ratio, low, high = node["ratio"]
        rows.append([
            node["name"], ", ".join(node["side"]) or "-", node["decoder"], node["step"], node["rmse"], node["bits"],
            node["own_bits"], node["rival"], node["rivals"][node["rival"]], ratio, f"{low:.3f} - {high:.3f}",
        ])  # fmt: skip
    reasons = [
        f"{node['name']}: {node['why']}; nested {node['nested']}; trellis {node['trellis']}; syndrome {node['syndrome']}" for node in made["nodes"]
    ]
    reasons += [f"{node['name']}: layered {node['layered']}" for node in made["nodes"] if node["layered"]]
    energy = made["energy"]
    battery = [report.table(plan_energy.COLUMNS, plan_energy.rows(energy)), "", plan_energy.note(energy), ""] if energy else []
    return "\n".join([
        report.table(COLUMNS, rows), "", "On the last quarter of the rows; the rival at the same rmse.", "", *reasons, "", *battery,
        f"{made['folder']}: fleet.toml, plan.json, plan.html, {len(rows)} bundles",
    ])  # fmt: skip
