"""The picture of a run and the one page around it: no file besides the page is needed to read it.

Three panels: samples as measured against samples as decoded, with the error band that the gateway itself states;
rate against distortion, with the limit and the rivals; bits on air of every node. matplotlib is imported when drawn.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.errors import InputError, StorageError

TRUE, DECODED, LOST, RIVAL, LIMIT = "#222222", "#0b6e99", "#d1495b", "#e0a030", "#6b6b6b"
BAND_SIGMAS = 2


@dataclass(frozen=True, eq=False)
class Zoom:
    """A stretch of one node. `lost`: (first, last) hours of packets that never came."""

    node: str
    unit: str
    hours: np.ndarray
    truth: np.ndarray
    decoded: np.ndarray
    sigmas: np.ndarray
    lost: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class RatePoint:
    """Of one coder: payload bits per sample and SQNR."""

    coder: str
    bits: float
    sqnr_db: float


@dataclass(frozen=True)
class NodeRow:
    """Bits per sample of one node: payload, everything else on air, and the cheapest rival at the same rmse.

    The rivals meet `sqnr_db`, which is measured without loss; `lossy_sqnr_db` is what the store holds.
    """

    name: str
    scheme: str
    payload_bits: float
    overhead_bits: float
    rival: str
    rival_bits: float
    sqnr_db: float
    lossy_sqnr_db: float
    expected: int
    decoded: int
    concealed: int

    @property
    def air_bits(self) -> float:
        return self.payload_bits + self.overhead_bits

    @property
    def saving(self) -> float:
        return 1 - self.air_bits / self.rival_bits


@dataclass(frozen=True, eq=False)
class Story:
    """Everything on the page."""

    zoom: Zoom
    rates: tuple[RatePoint, ...]
    nodes: tuple[NodeRow, ...]
    facts: tuple[str, ...] = field(default=())
    limit_at_zero_db: float = 17.09  # of the pair fig5: limit = 17.09 + 6.02 R


def draw(story: Story, path: Path) -> None:
    """Write the picture as PNG."""
    try:
        import matplotlib
    except ImportError:
        raise InputError("the picture needs matplotlib: pip install 'edge-wz[plot]'") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    style: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11,
             "axes.titlelocation": "left", "axes.titleweight": "bold", "legend.frameon": False}
    with plt.rc_context(style):
        figure = plt.figure(figsize=(12, 9), layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=[1, 1.1], width_ratios=[1.1, 1])
        _draw_zoom(figure.add_subplot(grid[0, :]), story.zoom)
        _draw_rates(figure.add_subplot(grid[1, 0]), story)
        _draw_bits(figure.add_subplot(grid[1, 1]), story.nodes)
        try:
            figure.savefig(path, dpi=110)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        plt.close(figure)


def _draw_zoom(axes: Any, zoom: Zoom) -> None:
    axes.set_title(f"Node {zoom.node}: measured at the node, decoded at the gateway")
    band = BAND_SIGMAS * zoom.sigmas
    axes.fill_between(zoom.hours, zoom.decoded - band, zoom.decoded + band, color=DECODED, alpha=0.22, linewidth=0,
                      label=f"decoded ± {BAND_SIGMAS} σ, as the gateway states it")
    axes.plot(zoom.hours, zoom.truth, color=TRUE, linewidth=1.0, label="measured")
    axes.plot(zoom.hours, zoom.decoded, color=DECODED, linewidth=1.2, label="decoded")
    for k, (first, last) in enumerate(zoom.lost):
        label = "packet lost, concealed" if k == 0 else None
        axes.axvspan(first, last, color=LOST, alpha=0.10, linewidth=0, label=label)
    axes.set_xlabel("time (h)")
    axes.set_ylabel(f"temperature ({zoom.unit})")
    axes.margins(x=0)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.22 * (high - low))  # room for the legend
    axes.legend(loc="upper left", ncols=4)


def _draw_rates(axes: Any, story: Story) -> None:
    axes.set_title("Rate and distortion, source pair fig5 (through packets)")
    rates = np.linspace(0.8, 0.2 + max(point.bits for point in story.rates if point.coder == "kalman"), 2)
    axes.plot(rates, story.limit_at_zero_db + 6.0206 * rates, color=LIMIT, linestyle="--", label="Wyner-Ziv limit")
    looks = {
        "kalman": (DECODED, "o", "nested, kalman decoder"),
        "nearest": ("#5aa9c9", "s", "nested, nearest decoder"),
        "dpcm_range": (RIVAL, "^", "DPCM + range coder, no side information"),
        "modulo": ("#9c6ade", "v", "plain modulo, kalman decoder"),
    }
    for coder, (colour, marker, label) in looks.items():
        points = sorted((point.bits, point.sqnr_db) for point in story.rates if point.coder == coder)
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=6, linewidth=1.2, label=label)
    axes.set_xlabel("payload (bits/sample)")
    axes.set_ylabel("SQNR (dB)")
    axes.grid(alpha=0.25)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.45 * (high - low))  # room for the legend
    axes.legend(loc="upper left")


def _draw_bits(axes: Any, nodes: Sequence[NodeRow]) -> None:
    axes.set_title("Bits on air per node, headers and hellos included")
    places = np.arange(len(nodes))
    payload = [node.payload_bits for node in nodes]
    overhead = [node.overhead_bits for node in nodes]
    axes.barh(places - 0.2, payload, 0.38, color=DECODED, label="payload")
    axes.barh(places - 0.2, overhead, 0.38, left=payload, color="#9cc9da", label="headers, hellos")
    rivals = [node.rival_bits for node in nodes]
    axes.barh(places + 0.2, rivals, 0.38, color=RIVAL, label="best conventional, same rmse")
    for place, node in zip(places, nodes, strict=True):
        end = max(node.air_bits, node.rival_bits) + 0.05
        axes.text(end, place, f"{-100 * node.saving:+.0f} %", va="center", fontsize=9)
    axes.set_yticks(places, [f"{node.name}\n{node.scheme}" for node in nodes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("bits/sample")
    axes.set_xlim(0, 1.18 * max(max(node.rival_bits, node.air_bits) for node in nodes))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8)


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>edge_wz: a fleet and its gateway</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
img {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
</style></head><body>
<h1>A fleet and its gateway</h1>
<ul>
{facts}
</ul>
<img alt="Measured and decoded samples; rate and distortion; bits on air per node" src="data:image/png;base64,{image}">
<table><thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table>
</body></html>
"""
HEADS = ("node", "scheme", "payload", "on air", "best conventional", "bits saved", "SQNR dB", "with loss", "expected",
         "decoded", "concealed")


def table_rows(nodes: Sequence[NodeRow]) -> list[tuple[str, ...]]:
    """Texts under HEADS; rates in bits/sample."""
    return [
        (
            node.name, node.scheme, f"{node.payload_bits:.2f}", f"{node.air_bits:.2f}",
            f"{node.rival_bits:.2f} {node.rival}", f"{100 * node.saving:.0f} %", f"{node.sqnr_db:.2f}",
            f"{node.lossy_sqnr_db:.2f}", str(node.expected), str(node.decoded), str(node.concealed),
        )
        for node in nodes
    ]


def write_page(story: Story, picture: Path, path: Path) -> None:
    """The page, with the picture inside."""
    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)

    try:
        path.write_text(
            PAGE.format(
                facts="\n".join(f"<li>{html.escape(fact)}</li>" for fact in story.facts),
                image=base64.b64encode(picture.read_bytes()).decode(),
                heads=cells("th", HEADS),
                rows="\n".join(f"<tr>{cells('td', row)}</tr>" for row in table_rows(story.nodes)),
            ),
            encoding="utf-8",
        )
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
