"""One layer always, refinements only at events: bits and rmse on recordings against fixed rate.

    python -m benchmarks.layered_events [DATA_DIR] [--picture FILE.png] [--json]

222 in packets of 32, trained on the first half of a recording (tuned modulo, polished where that wins; two neighbours), measured on the
second. The decoder `posterior` believes neighbours only, `kalman` its own past, too: where a coarse layer is resolved wrongly, that lasts.
Fixed rate: 1, 2 or 3 layers in every packet. Event: 1 layer, all three in a packet with a sample further from the running mean than a
threshold (`codec.layer_policy.Event`), which is set on the first half so that 10, 25 or 50 % of its packets are events. The further layers
go into refinement packets of their own (`apart`, 40 bits each) or into the data packet (`inline`, by another rate point).

`bits`: payload per sample; `air bits`: with headers and checks; `rmse`: over all, in event packets of the 25 % threshold, and in the others;
`fixed rmse`: of time shared between the two fixed rates next to these air bits, so the rival that knows nothing of events.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import show
from edge_wz.codec.layer_policy import Command, Event, LayerPolicy
from edge_wz.codec.side_information import SideInformation
from edge_wz.model import Model
from training.data import Recording, load_recording
from training.design import design
from training.evaluate import Source
from training.layered_streams import Stream, decode, send

PACKET = 32
SHARES = (0.10, 0.25, 0.50)
MARKED = 0.25  # the events by which the rmse is told apart
MEMORY = 4  # of the running mean: 16 samples
HEADER = ("recording", "decoder", "policy", "events", "bits", "air bits", "rmse", "in events", "elsewhere", "fixed rmse", "saving")


@dataclass(frozen=True)
class Case:
    name: str
    file: str
    source: str
    side: tuple[str, ...]
    decoder: str
    thin: int = 1


CASES = (
    Case("PM2.5, 1 h", "beijing_air_1h.csv.gz", "pm25_ds", ("pm25_tt", "pm25_nz"), "posterior"),
    Case("temperature, 5 min", "intel_temp_30s.csv.gz", "m35", ("m34", "m36"), "posterior", 10),
    Case("PM2.5, 1 h", "beijing_air_1h.csv.gz", "pm25_ds", ("pm25_tt", "pm25_nz"), "kalman"),
    Case("ECG v5, 1 ms", "ecg_ptb_1khz.csv.gz", "v5", ("v4", "v6"), "kalman"),
)


@dataclass(frozen=True, eq=False)
class Run:
    stream: Stream
    values: np.ndarray  # as reconstructed

    def bits(self, samples: int) -> tuple[float, float]:
        counters = self.stream.counters
        return counters.payload_bits / samples, (counters.air_bits - counters.hello_bits) / samples


def surprise(codes: np.ndarray, memory: int) -> np.ndarray:
    """Of every packet, the largest distance of a sample from the running mean, as the policy sees it."""
    mean, found = float(codes[0]), np.empty(len(codes))
    for n, code in enumerate(codes.tolist()):
        found[n] = abs(code - mean)
        mean += (code - mean) / (1 << memory)
    whole = len(codes) // PACKET
    return found[: whole * PACKET].reshape(whole, PACKET).max(axis=1)


def events_of(policy: Event, codes: np.ndarray, present: np.ndarray, model: Model) -> np.ndarray:
    """bool[packets], by the policy itself."""
    point = model.node.rate_points[0]
    cuts = range(0, len(codes), PACKET)
    return np.array([policy.decide(codes[at : at + PACKET][present[at : at + PACKET]], point)[1] > policy.base for at in cuts])


def measured(case: Case, folder: Path) -> tuple[list[list[object]], dict[str, Any]]:
    recording = load_recording(folder / case.file, [case.source, *case.side], thin=case.thin)
    half = recording.samples // 2
    model = design(recording.part(0, half), case.source, case.side, "layered", decoder=case.decoder, layers=(2, 2, 2), packet_samples=PACKET)
    first, second = Source.of(model, recording.part(0, half), case.source), Source.of(model, recording.part(half, recording.samples), case.source)
    side = _side(model, recording.part(half, recording.samples))
    steps = surprise(first.codes[first.present], MEMORY)
    thresholds = {share: max(1, int(np.quantile(steps, 1 - share))) for share in SHARES}

    def run(policy: LayerPolicy) -> Run:
        stream = send(model.node, second.codes, second.present, policy)
        return Run(stream, decode(model, stream, side).values)

    def at_events(share: float, inline: bool) -> Event:
        return Event(thresholds[share], memory=MEMORY, inline=inline)

    marked = np.repeat(events_of(at_events(MARKED, True), second.codes, second.present, model), PACKET)[: len(second.codes)]
    fixed = [run(Command(layers, layers)) for layers in (1, 2, 3)]
    curve = [(one.bits(second.samples)[1], float(np.mean((one.values - second.values)[second.present] ** 2))) for one in fixed]
    named = [(f"{layers} layer{'s' if layers > 1 else ''}", one) for layers, one in enumerate(fixed, 1)]
    told = {(share, inline): run(at_events(share, inline)) for share in SHARES for inline in (False, True)}
    named += [(f"events {100 * share:.0f} %, {'inline' if inline else 'apart'}", one) for (share, inline), one in told.items()]
    rows = [[case.name, case.decoder, *_row(name, one, second, marked, curve)] for name, one in named]
    shown = {"case": case, "source": second, "marked": marked, "fixed": fixed, "told": told[MARKED, True]}
    return rows, shown


def _side(model: Model, recording: Recording) -> SideInformation:
    return SideInformation.of(recording.matrix(model.side))


def _row(name: str, one: Run, source: Source, marked: np.ndarray, curve: list[tuple[float, float]]) -> Iterator[object]:
    payload, air = one.bits(source.samples)
    errors = one.values - source.values
    whole, inside, outside = (float(np.sqrt(np.mean(errors[source.present & chosen] ** 2))) for chosen in (True, marked, ~marked))
    shared = float(np.sqrt(np.interp(air, *zip(*curve, strict=True))))
    full = np.mean(one.stream.depths[source.present] > 1)
    figures = (f"{value:.4g}" for value in (payload, air, whole, inside, outside, shared))
    return iter([name, f"{100 * full:.0f} %", *figures, f"{100 * (1 - whole / shared):+.0f} %"])


def draw(shown: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sheet, panels = pyplot.subplots(len(shown), 2, figsize=(14, 3.4 * len(shown)), width_ratios=(3, 1), layout="constrained")
    for (wide, narrow), one in zip(panels, shown, strict=True):
        _stretch(wide, one)
        _curve(narrow, one)
    sheet.savefig(path, dpi=110)
    pyplot.close(sheet)


def _stretch(panel: Any, one: dict[str, Any]) -> None:
    """The source and its reconstruction where an event begins after some quiet."""
    marked, source = one["marked"], one["source"]
    begins = np.flatnonzero(np.diff(marked.astype(int)) == 1)
    begins = begins[(begins > 500) & (begins < len(marked) - 700)]
    quiet = [np.mean(marked[at - 300 : at]) + abs(np.mean(marked[at : at + 500]) - 0.5) for at in begins]
    at = int(begins[int(np.argmin(quiet))]) - 300 if len(begins) else 0
    span = slice(at, at + 800)
    here, height = marked[span], panel.get_xaxis_transform()
    panel.fill_between(np.arange(len(here)), 0, 1, where=here, transform=height, color="#fee6ce", label="three layers")
    panel.plot(one["told"].values[span], color="#08519c", linewidth=1.2, label="reconstruction, layers at events")
    panel.plot(one["fixed"][0].values[span], color="#9ecae1", linewidth=0.8, label="reconstruction, one layer")
    panel.plot(source.values[span], color="black", linewidth=0.8, linestyle=":", label="source")
    panel.set_title(f"{one['case'].name}, {one['case'].decoder}", fontsize=10)
    panel.legend(fontsize=7, loc="upper left", frameon=False)


def _curve(panel: Any, one: dict[str, Any]) -> None:
    source = one["source"]

    def point(run: Run) -> tuple[float, float]:
        return run.bits(source.samples)[1], float(np.sqrt(np.mean((run.values - source.values)[source.present] ** 2)))

    panel.plot(*zip(*map(point, one["fixed"]), strict=True), "o-", color="#969696", label="fixed rate")
    panel.plot(*point(one["told"]), "D", color="#08519c", label="layers at events")
    panel.set(xlabel="bits on air per sample", ylabel="rmse")
    panel.legend(fontsize=7, frameon=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", default=os.environ.get("EDGE_WZ_DATA", "../shared/data"), type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = [measured(case, chosen.data) for case in CASES]
    show(HEADER, [row for rows, _ in found for row in rows], chosen.json)
    if chosen.picture:
        draw([shown for _, shown in found], chosen.picture)


if __name__ == "__main__":
    main()
