"""A run of `simulate` as one page that needs no other file: bits, instructions and battery life of every node, as bars and as a table.

Drawn by hand as SVG from what `simulate --json` prints; nothing is computed here but sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from edge_wz.errors import StorageError
from firmware_sim.report import Row, columns, totals

INK, QUIET, BARS, REST = "#222222", "#6b6b6b", "#0b6e99", "#9cc9da"
LEFT, HEIGHT, WIDTH, TOP = 60, 130, 860, 12
STYLE = f"""body {{ font: 15px/1.45 system-ui, sans-serif; color: {INK}; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.1rem; margin: 1.6rem 0 0.3rem }} .quiet {{ color: {QUIET} }}
table {{ border-collapse: collapse; font-size: 0.85rem; white-space: nowrap }}
th, td {{ padding: 0.15rem 0.4rem; border-bottom: 1px solid #ddd; text-align: right }}
th {{ font-weight: 600; position: sticky; top: 0; background: #fff }} .wide {{ overflow-x: auto }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left }}
svg {{ max-width: 100%; height: auto }} text {{ font: 12px system-ui, sans-serif; fill: {INK} }}"""


def page(result: Mapping[str, Any]) -> str:
    """HTML of a run's report."""
    nodes: Sequence[Row] = result["nodes"]
    parts = ["<h1>A simulated fleet</h1>", "<ul>", *(f"<li>{escape(line)}</li>" for line in totals(result)), "</ul>"]
    parts += ["<h2>Bits per sample on air</h2>", _bars(nodes, lambda row: row["air_bits_per_sample"], _payload, ".1f")]
    parts.append(f'<p class="quiet"><b style="color:{BARS}">&#9632;</b> payload <b style="color:{REST}">&#9632;</b> headers, checks and hellos</p>')
    if any(row["instructions"] for row in nodes):
        parts += ["<h2>Instructions per sample, counted in an emulated core</h2>", _bars(nodes, _instructions, _instructions, ".0f")]
    if "energy" in nodes[0]:
        parts += ["<h2>Battery life in years: an estimate</h2>", _bars(nodes, _years, _years, ".1f")]
        parts.append('<p class="quiet">From data sheets, not measured; edge-wz simulate --help names the radios and processors.</p>')
    parts += ["<h2>Nodes</h2>", _table(nodes)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>edge-wz simulate</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def write(result: Mapping[str, Any], path: Path) -> None:
    try:
        path.write_text(page(result), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _payload(row: Row) -> float:
    return float(row["payload_bits"]) / max(row["samples"], 1)


def _instructions(row: Row) -> float:
    return float((row["instructions"] or {}).get("per_sample", 0.0))


def _years(row: Row) -> float:
    return float(row["energy"]["battery_years"])


def _bars(nodes: Sequence[Row], whole: Callable[[Row], float], part: Callable[[Row], float], form: str) -> str:
    """A bar for each node in their order; the lower `part` of it darker."""
    most = max(map(whole, nodes)) or 1.0
    pitch = min(40.0, WIDTH / len(nodes))
    bar, bottom = max(1.0, pitch - min(2.0, pitch / 4)), TOP + HEIGHT
    drawn = []
    for number, row in enumerate(nodes):
        x, high, low = LEFT + number * pitch, HEIGHT * whole(row) / most, HEIGHT * part(row) / most
        drawn.append(
            f'<g><title>{escape(str(row["name"]))}: {format(whole(row), form)}</title>'
            f'<rect x="{x:.1f}" y="{bottom - high:.1f}" width="{bar:.1f}" height="{high:.1f}" fill="{REST}"/>'
            f'<rect x="{x:.1f}" y="{bottom - low:.1f}" width="{bar:.1f}" height="{low:.1f}" fill="{BARS}"/></g>'
        )
    end = LEFT + pitch * len(nodes)
    drawn += [_line(most * share, bottom - HEIGHT * share, end, form) for share in (0.0, 0.5, 1.0)]
    every = max(1, round(len(nodes) * 46 / (pitch * len(nodes))))
    drawn += [
        f'<text x="{LEFT + k * pitch + bar / 2:.1f}" y="{bottom + 15}" text-anchor="middle">{escape(str(nodes[k]["name"])[:8])}</text>'
        for k in range(0, len(nodes), every)
    ]
    width = end + 30
    return f'<div class="wide"><svg viewBox="0 0 {width:.0f} {bottom + 22}" width="{width:.0f}">{"".join(drawn)}</svg></div>'


def _line(value: float, y: float, end: float, form: str) -> str:
    return (
        f'<path d="M{LEFT} {y:.1f} H{end:.1f}" stroke="#bbbbbb" stroke-width="0.6"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{format(value, form)}</text>'
    )


def _table(nodes: Sequence[Row]) -> str:
    chosen = columns(nodes)
    head = "".join(f"<th>{escape(title)}</th>" for title, _ in chosen)
    body = "".join("<tr>" + "".join(f"<td>{escape(text(row))}</td>" for _, text in chosen) + "</tr>\n" for row in nodes)
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'
