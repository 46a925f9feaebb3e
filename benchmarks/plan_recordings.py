"""Plan on the first half of every recording, measure on the second: is a plan ever worse than a conventional coder?

   python -m benchmarks.plan_recordings [DATA_DIR] [--cases ptb_20,chest_4] [--packets 64] [--schemes predictive,trellis] [--out FILE]

DATA_DIR (or EDGE_WZ_DATA, default ../shared/data) holds the recordings. Every node's packets go through the gateway's
pipeline, neighbours as it decodes them. The rival is the one that was cheapest on the plan's validation rows, fitted on
the first half and read off at our rmse of the second half, in the same packets. Ratios come with the paired block
bootstrap's 95 % interval; nodes with fewer than 3000 test samples are judged together. Rows are written after each case.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.recordings import BEIJING, INFRA, INTEL, MITBIH, PTB, ULB, Page, load, parser, sizes
from edge_wz.codec import metrics
from edge_wz.errors import EdgeWzError
from edge_wz.gateway.fleet import Fleet, LinkSpec, NodeSpec
from training import fleets, plan_models
from training.data import Recording
from training.evaluate import bootstrap_ratio, no_progress
from training.material import gather
from training.plan import SCHEMES, Choice, Options, Plan, make_plan, ratio
from training.plan_study import Study

HALF_SAMPLES = 40_000  # of each half, those next to the middle
POOLED_BELOW = 3000  # test samples
ALLOWED = 1.02  # the lower bound of the interval may not exceed it
HEADER = (
    "case", "N", "node", "neighbours", "decoder", "dead zone", "rmse", "bits", "rival", "bits of rival", "ratio", "95 %",
    "planned", "verdict",
)  # fmt: skip
INTRODUCTION = f"""# Plans on real recordings

Each case is planned by `edge-wz plan --rmse` on the first half of a recording (at most {HALF_SAMPLES} rows next to the middle)
and measured on the second half: integer encoder, packets, the gateway's pipeline, neighbours as it decodes them. Bits are
payload bits per sample. The rival is the cheapest of hold, DPCM + Rice and DPCM + range coder on the plan's validation rows,
at our rmse of the second half, in the same packets with the same headers. `ratio` is ours over the rival's with its
95 % interval (paired block bootstrap over packets); `planned` is the ratio that the plan promised from its validation rows.
The number behind each case is the step of a mid-cell coder of the same rmse, in sensor units. A verdict is `worse` where
the interval begins above {ALLOWED}; nodes with fewer than {POOLED_BELOW} test samples are judged together, in the row `all`.

"""


@dataclass(frozen=True)
class Case:
    file: str
    nodes: tuple[str, ...]  # empty: all
    step: float  # sensor units
    thin: int = 1


def pick(prefix: str, sites: str) -> tuple[str, ...]:
    return tuple(f"{prefix}_{site}" for site in sites.split())


CASES = {
    "intel_0.5": Case(INTEL, (), 0.5, 10),
    "ptb_20": Case(PTB, (), 20.0),
    "ulb_0.1": Case(ULB, (), 0.1),
    "pm25_16": Case(BEIJING, pick("pm25", "ds tt nz at gy ws"), 16.0),
    "mitbih_8": Case(MITBIH, (), 8.0),
    "infrasound_200": Case(INFRA, (), 200.0),
    "temp_1": Case(BEIJING, pick("temp", "ds sy gc"), 1.0),
    "o3_16": Case(BEIJING, pick("o3", "ds tt nz"), 16.0),
    "intel_0.1": Case(INTEL, (), 0.1, 10),
    "pm25_4": Case(BEIJING, pick("pm25", "ds tt nz at gy ws"), 4.0),
    "ptb_4": Case(PTB, (), 4.0),
    "ptb_80": Case(PTB, (), 80.0),
    "chest_4": Case(PTB, ("v4", "v5", "v6"), 4.0),
    "chest_20": Case(PTB, ("v4", "v5", "v6"), 20.0),
}


def halves(case: Case, folder: Path) -> tuple[Recording, Recording]:
    whole = load(folder, case.file, case.nodes, case.thin)
    middle = whole.samples // 2
    first = max(0, middle - HALF_SAMPLES)
    return whole.part(first, middle), whole.part(middle, min(whole.samples, middle + HALF_SAMPLES))


@dataclass(frozen=True, eq=False)
class Tested:
    """One node on the second half: its packets' bits and the rival's at the same rmse."""

    choice: Choice
    decoder: str
    rmse: float
    samples: int
    ours: np.ndarray
    theirs: np.ndarray


def fleet_of(plan: Plan) -> Fleet:
    ids = {name: number for number, name in enumerate(plan.choices, 1)}
    nodes = tuple(
        NodeSpec(ids[name], name, plan.models[name], tuple(ids[other] for other in choice.candidate.side))
        for name, choice in plan.choices.items()
    )
    wait_us = round(2e6 * plan.options.packet_samples * (plan.recording.period_s or 1.0)) + 1
    return Fleet(nodes=nodes, links=(LinkSpec(link=0, name="air"),), side_wait_us=wait_us, revise_window_us=wait_us)


def test(plan: Plan, fit: Recording, recording: Recording) -> Iterator[Tested]:
    fleet = fleets.in_process(fleet_of(plan), None)
    members, decoded = fleets.run(fleet, recording, 0.0, 0, no_progress)
    for spec in fleet.nodes:
        choice, member = plan.choices[spec.name], members[spec.node_id]
        rmse = metrics.rmse(member.source.values, decoded[spec.node_id].values)
        theirs = rival_bits(choice, fit, recording, rmse, plan.options.packet_samples)
        yield Tested(choice, spec.model.decoder, rmse, member.source.samples, member.sent.payload_bits, theirs)


def rival_bits(choice: Choice, fit: Recording, recording: Recording, rmse: float, size: int) -> np.ndarray:
    """Of the packets of the second half: the rival of the plan's choice, fitted on the first, at this rmse."""
    skipped = fit.samples % size  # so that packets begin where the second half does
    columns = {choice.name: np.concatenate([fit.column(choice.name)[skipped:], recording.column(choice.name)])}
    joined = Recording(columns, fit.period_s, np.arange(len(columns[choice.name]), dtype=np.float64), fit.path)
    study = Study(choice.name, gather(joined, choice.name, ()), size, fit.samples - skipped)
    target = rmse / study.material.scale
    study.first_q8 = max(256, round(256 * target * np.sqrt(12.0)))
    return study.rivals_at(target)[choice.rival]


def rows(label: str, case: Case, folder: Path, size: int, schemes: tuple[str, ...]) -> Iterator[list[str]]:
    fit, recording = halves(case, folder)
    begun_s = time.monotonic()
    try:
        names = list(case.nodes) or list(fit.columns)
        plan = make_plan(fit, names, Options("rmse", case.step / np.sqrt(12.0), size, schemes=schemes))
        plan_models.make_models(plan)
    except EdgeWzError as error:
        yield [label, str(size), f"not planned: {error}"] + [""] * (len(HEADER) - 3)
        return
    print(f"{label}: planned in {time.monotonic() - begun_s:.0f} s", flush=True)
    for name in plan.order:
        choice = plan.choices[name]
        print(
            f"{name}: {choice.scheme} {choice.bits:.2f} bits, predictive alone {choice.own_bits:.2f}, nested {choice.nested}, "
            f"trellis {choice.trellis}, syndrome {choice.syndrome}",
            flush=True,
        )  # fmt: skip
    tested = list(test(plan, fit, recording))
    for one in tested:
        yield _row(label, size, one)
    if len(tested) > 1:
        yield _pooled(label, size, tested)


def _row(label: str, size: int, one: Tested) -> list[str]:
    choice = one.choice
    found = ratio(one.ours, one.theirs)
    planned = f"{choice.ratio[0]:.2f} ({choice.ratio[1]:.2f}..{choice.ratio[2]:.2f})"
    return [
        label, str(size), choice.name, " ".join(choice.candidate.side) or "-", one.decoder,
        "yes" if choice.candidate.share < 0.5 else "-", f"{one.rmse:.3g}", f"{one.ours.sum() / one.samples:.3f}",
        choice.rival, f"{one.theirs.sum() / one.samples:.3f}", f"{found[0]:.3f}", f"{found[1]:.3f}..{found[2]:.3f}",
        planned, verdict(found) if one.samples >= POOLED_BELOW else "pooled",
    ]  # fmt: skip


def _pooled(label: str, size: int, tested: list[Tested]) -> list[str]:
    """All nodes of a set; the blocks of the bootstrap hold the packets of all nodes at one time."""
    ours, theirs = (np.stack(bits, axis=1) for bits in ([t.ours for t in tested], [t.theirs for t in tested]))
    blocks = max(1, min(8, len(ours) // 12)) * len(tested)
    found = bootstrap_ratio(ours.ravel(), theirs.ravel(), block_packets=blocks)
    samples = sum(one.samples for one in tested)
    users = sum(bool(one.choice.candidate.side) for one in tested)
    return [
        label, str(size), f"all {len(tested)}", f"{users} use some", "", "", "", f"{ours.sum() / samples:.3f}", "",
        f"{theirs.sum() / samples:.3f}", f"{found[0]:.3f}", f"{found[1]:.3f}..{found[2]:.3f}", "", verdict(found),
    ]  # fmt: skip


def verdict(found: tuple[float, float, float]) -> str:
    if found[2] < 1.0:
        return "better"
    return "worse" if found[1] > ALLOWED else "equal"


def main() -> None:
    made = parser(__doc__, list(CASES), "64")
    made.add_argument("--schemes", default=",".join(SCHEMES))
    made.add_argument("--out", type=Path, default=Path("docs/RESULTS_PLAN.md"))
    chosen = made.parse_args()
    page = Page("plan_recordings", INTRODUCTION, HEADER)
    for packet_samples in sizes(chosen):
        for name in chosen.cases.split(","):
            found = []
            for row in rows(name, CASES[name], chosen.data, packet_samples, tuple(chosen.schemes.split(","))):
                print("  ".join(row), flush=True)
                found.append(row)
            kept = [row for row in page.rows(chosen.out) if (row[0], row[1]) != (name, str(packet_samples))]
            page.write(chosen.out, kept + found)


if __name__ == "__main__":
    main()
