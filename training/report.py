"""Reports as people and programs read them: aligned text and one JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

NODE_COLUMNS = (
    ("node", "name"), ("scheme", "scheme"), ("decoder", "decoder"), ("payload b/sa", "payload_bits_per_sample"),
    ("packet b/sa", "packet_bits_per_sample"), ("SQNR dB", "sqnr_db"), ("rmse", "rmse"), ("max error", "max_abs_error"),
    ("bin errors", "bin_error_rate"), ("concealed", "concealed"), ("samples", "samples"),
)
RIVAL_COLUMNS = ("node", "decoder", "baseline", "payload b/sa", "packet b/sa", "rmse", "ours/theirs")
LAYER_COLUMNS = ("node", "layers", "payload b/sa", "packet b/sa", "SQNR dB", "rmse", "stated sigma", "wrong runs", "unresolved")


def plain(value: Any) -> Any:
    """What JSON can say: numpy scalars as numbers, what is no finite number as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def to_json(report: dict[str, Any]) -> str:
    return json.dumps(plain(report), indent=2, allow_nan=False)


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns of text, words to the left and numbers to the right."""
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    numeric = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = (text.rjust(width) if right else text.ljust(width)
                   for text, width, right in zip(cells, widths, numeric, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, texts)])


def evaluation(report: dict[str, Any]) -> str:
    """The nodes, and their rivals at the same rmse."""
    nodes = report["nodes"]
    parts = [table([title for title, _ in NODE_COLUMNS], [[node[key] for _, key in NODE_COLUMNS] for node in nodes])]
    layers = [[node["name"], depth, *row.values()] for node in nodes for depth, row in enumerate(node.get("layers", ()), 1)]
    if layers:
        parts.append("layered: every prefix of layers, sent alone and without loss")
        parts.append(table(LAYER_COLUMNS, layers))
    rivals = [row for node in nodes for row in _rival_rows(node)]
    if rivals:
        parts.append("baselines, at the same rmse in the same packets")
        parts.append(table(RIVAL_COLUMNS, rivals))
    return "\n\n".join(parts)


def _rival_rows(node: dict[str, Any]) -> list[list[Any]]:
    ours = node["payload_bits_per_sample"]
    rows = []
    for name, rival in node["baselines"].items():
        theirs = rival["payload_bits_per_sample"]
        rows.append([
            node["name"], node["decoder"], name, theirs, rival["packet_bits_per_sample"], rival["rmse"],
            ours / theirs if theirs else math.nan,
        ])
    return rows


def training(report: dict[str, Any]) -> str:
    """What was designed, one line per fact."""
    width = max(map(len, report))
    return "\n".join(f"{key.ljust(width)}  {_fact(value)}" for key, value in report.items())


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact(item)}" for key, item in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_fact, value)) or "-"
    return cell(value)
