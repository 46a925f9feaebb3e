"""The plan as one page that needs no other file: the graph, bits beside the best conventional coder, and the reasons.

Drawn by hand as SVG from what `plan.json` holds; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from training import plan_energy

INK, QUIET, OURS, RIVAL, WORSE = "#222222", "#6b6b6b", "#0b6e99", "#e0a030", "#d1495b"
COLUMN, ROW, RADIUS = 230, 82, 24
BAR, LEFT, WIDTH = 22, 120, 620
STYLE = f"""body {{ font: 15px/1.45 system-ui, sans-serif; color: {INK}; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.15rem; margin-top: 2rem }} .quiet {{ color: {QUIET} }}
table {{ border-collapse: collapse; font-size: 0.9rem }} th, td {{ padding: 0.25rem 0.6rem; border-bottom: 1px solid #ddd }}
th {{ text-align: left; font-weight: 600 }} td.n {{ text-align: right; font-variant-numeric: tabular-nums }}
.wide {{ overflow-x: auto }} svg {{ max-width: 100%; height: auto }} text {{ font: 13px system-ui, sans-serif; fill: {INK} }}
.worse {{ color: {WORSE} }}"""

Node = dict[str, Any]
Places = dict[str, tuple[float, float]]


def page(made: dict[str, Any]) -> str:
    """HTML of a plan's report."""
    nodes: list[Node] = made["nodes"]
    kind, value = next(iter(made["target"].items()))
    unit = "bits per sample" if kind == "bits" else "sensor units"
    parts = [
        "<h1>Plan of a fleet</h1>",
        f"<p>{escape(str(made['recording']))}, {made['rows']} rows; {kind.replace('_', ' ')} {value:g} {unit}; packets of "
        f"{made['packet_samples']} samples. {_summary(nodes)}</p>",
        "<h2>Who uses whom</h2>", _graph(nodes),
        '<p class="quiet">An arrow leads to the node that is decoded with the other\'s samples; on it the bits that this takes '
        "off, neighbours together. Nodes without an incoming arrow are decoded by themselves.</p>",
        "<h2>Payload bits per sample</h2>", _bars(nodes),
        '<p class="quiet">Measured on the last quarter of the rows, which took no part in the design, every coder in the same '
        "packets and at the same rmse. The whisker is the 95 % interval of our bits against that rival's (paired block "
        "bootstrap over packets).</p>",
        "<h2>Nodes</h2>", _nodes_table(nodes),
        "<h2>Where side information pays, and where it does not</h2>", _reasons(nodes),
        *_battery(made["energy"]),
        "<h2>Everything that was measured</h2>", _tried_table(nodes),
        '<p class="quiet">Gain: variance given own samples on both sides over that with neighbours too, linear, on the rows of '
        "the design. A ratio counts if its whole interval is below 1.</p>",
    ]  # fmt: skip
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>edge-wz plan</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _summary(nodes: Sequence[Node]) -> str:
    ours = sum(node["bits"] * node["samples"] for node in nodes)
    theirs = sum(node["rivals"][node["rival"]] * node["samples"] for node in nodes)
    users = sum(bool(node["side"]) for node in nodes)
    change = 1 - ours / theirs if theirs else 0.0
    verb = "fewer" if change >= 0 else "more"
    return (
        f"{users} of {len(nodes)} nodes use neighbours. Together {abs(change):.1%} {verb} payload bits than the best "
        "conventional coder of each."
    )


# ---------------------------------------------------------------------------------------------------------- graph


def _graph(nodes: Sequence[Node]) -> str:
    """One column for each depth, references at the left."""
    depth = {node["name"]: node["depth"] for node in nodes}
    columns = [[name for name in depth if depth[name] == level] for level in range(max(depth.values()) + 1)]
    columns = _untangled(columns, nodes)
    tallest = max(map(len, columns))
    height = tallest * ROW + 20
    place: Places = {
        name: (60.0 + level * COLUMN, 10 + ROW * (at + 0.5) + (tallest - len(names)) * ROW / 2)
        for level, names in enumerate(columns)
        for at, name in enumerate(names)
    }
    width = 170 + COLUMN * (len(columns) - 1) + 130
    edges = [_edge(place, node, other, at == 0) for node in nodes for at, other in enumerate(node["side"])]
    dots = [_dot(*place[node["name"]], node) for node in nodes]
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{OURS}"/></marker></defs>'
    )
    return f'<div class="wide"><svg viewBox="0 0 {width} {height:.0f}" width="{width}">{marker}{"".join(edges + dots)}</svg></div>'


def _untangled(columns: list[list[str]], nodes: Sequence[Node]) -> list[list[str]]:
    """Each column in the order of its neighbours' mean place."""
    side = {node["name"]: node["side"] for node in nodes}
    users = {name: [node["name"] for node in nodes if name in node["side"]] for name in side}
    columns[0].sort(key=lambda name: -len(users[name]))
    place = {name: at / len(columns[0]) for at, name in enumerate(columns[0])}
    for names in columns[1:]:
        names.sort(key=lambda name: sum(place[other] for other in side[name]) / max(1, len(side[name])))
        place.update({name: at / len(names) for at, name in enumerate(names)})
    return columns


def _edge(place: Places, node: Node, other: str, labelled: bool) -> str:
    (x0, y0), (x1, y1) = place[other], place[node["name"]]
    x0, x1 = x0 + RADIUS, x1 - RADIUS - 2
    middle, lift = (x0 + x1) / 2, ROW * 0.8 if x1 - x0 > COLUMN else 0.0  # over the nodes of the columns between
    path = (
        f'<path d="M{x0:.0f} {y0:.0f} C{middle:.0f} {y0 - lift:.0f} {middle:.0f} {y1 - lift:.0f} {x1:.0f} {y1:.0f}" fill="none" '
        f'stroke="{OURS}" stroke-width="1.6" marker-end="url(#tip)"/>'
    )
    if not labelled:
        return path
    saved = 1 - node["bits"] / node["own_bits"] if node["own_bits"] else 0.0
    label = f'<text x="{x1 - 8:.0f}" y="{y1 + 17:.0f}" text-anchor="end" style="fill:{OURS}">{-saved:+.1%}</text>'
    return path + label


def _dot(x: float, y: float, node: Node) -> str:
    fill = OURS if node["side"] else "#ffffff"
    ink = "#ffffff" if node["side"] else INK
    name = node["name"]
    size = 13 if len(name) <= 5 else 10 if len(name) <= 7 else 8
    return (
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{RADIUS}" fill="{fill}" stroke="{OURS}" stroke-width="1.6"/>'
        f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle" style="fill:{ink};font-size:{size}px">{escape(name[:12])}</text>'
        f'<text x="{x:.0f}" y="{y + RADIUS + 13:.0f}" text-anchor="middle" style="fill:{QUIET};font-size:12px">'
        f'{node["bits"]:.2f} b</text>'
    )


# ----------------------------------------------------------------------------------------------------------- bars


def _bars(nodes: Sequence[Node]) -> str:
    """Two bars for each node: ours with its interval, and the best rival's."""
    most = max(max(node["rivals"][node["rival"]] * max(1.0, node["ratio"][2]), node["bits"]) for node in nodes) or 1.0
    scale = WIDTH / most
    pitch = 2 * BAR + 14
    rows = "".join(_bar_pair(node, 26 + at * pitch, scale) for at, node in enumerate(nodes))
    legend = (
        f'<rect x="{LEFT}" y="4" width="12" height="12" fill="{OURS}"/><text x="{LEFT + 18}" y="14">this plan</text>'
        f'<rect x="{LEFT + 110}" y="4" width="12" height="12" fill="{RIVAL}"/>'
        f'<text x="{LEFT + 128}" y="14">best conventional coder</text>'
    )
    height, width = 30 + pitch * len(nodes), LEFT + WIDTH + 130
    return f'<div class="wide"><svg viewBox="0 0 {width} {height}" width="{width}">{legend}{rows}</svg></div>'


def _bar_pair(node: Node, y: float, scale: float) -> str:
    ours, theirs = node["bits"], node["rivals"][node["rival"]]
    low, high = (theirs * bound * scale + LEFT for bound in node["ratio"][1:])
    middle = y + BAR / 2
    return (
        f'<text x="{LEFT - 10}" y="{y + BAR + 5:.0f}" text-anchor="end">{escape(node["name"][:14])}</text>'
        f'<rect x="{LEFT}" y="{y:.0f}" width="{ours * scale:.1f}" height="{BAR}" fill="{OURS}"/>'
        f'<path d="M{low:.1f} {middle - 5} V{middle + 5} M{low:.1f} {middle} H{high:.1f} M{high:.1f} {middle - 5} V{middle + 5}" '
        f'stroke="{INK}" fill="none"/>'
        f'<text x="{max(high, LEFT + ours * scale) + 6:.1f}" y="{middle + 5:.0f}">{ours:.2f}</text>'
        f'<rect x="{LEFT}" y="{y + BAR:.0f}" width="{theirs * scale:.1f}" height="{BAR}" fill="{RIVAL}"/>'
        f'<text x="{LEFT + theirs * scale + 6:.1f}" y="{middle + BAR + 5:.0f}">{theirs:.2f} '
        f'<tspan style="fill:{QUIET}">{escape(node["rival"])}</tspan></text>'
    )


# --------------------------------------------------------------------------------------------------------- tables


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.3g}</td>'
    return f"<td>{escape(str(value))}</td>"


def _interval(ratio: Sequence[float]) -> str:
    return f"{ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f})"


def _nodes_table(nodes: Sequence[Node]) -> str:
    header = ("node", "neighbours", "scheme", "decoder", "step", "rmse", "bits", "own samples only", "mid-cell", "rival", "ratio")
    rows = [
        (
            node["name"], ", ".join(node["side"]) or "none", node["scheme"] + (", dead zone" if node["dead_zone"] else ""),
            node["decoder"], node["step"], node["rmse"], node["bits"], node["own_bits"], node["plain_bits"],
            f"{node['rival']} {node['rivals'][node['rival']]:.3g}", _interval(node["ratio"]),
        )
        for node in nodes
    ]  # fmt: skip
    return _table(header, rows)


def _reasons(nodes: Sequence[Node]) -> str:
    keys = ["why", "nested", "trellis", "syndrome"]
    head = ["node", "uses neighbours", "why", "scheme nested", "scheme trellis", "scheme syndrome"]
    if any(node["layered"] for node in nodes):
        head, keys = [*head, "scheme layered"], [*keys, "layered"]
    rows = [(node["name"], "yes" if node["side"] else "no", *(node[key] for key in keys)) for node in nodes]
    return _table(head, rows)


def _battery(energy: dict[str, Any] | None) -> list[str]:
    if energy is None:
        return []
    return [
        "<h2>Battery life: estimates</h2>", _table(plan_energy.COLUMNS, plan_energy.rows(energy)),
        f'<p class="quiet">{escape(plan_energy.note(energy))}</p>',
    ]  # fmt: skip


def _tried_table(nodes: Sequence[Node]) -> str:
    rows = [
        (node["name"], ", ".join(one["side"]), f"{one['gain_db']:.2f} dB", one["bits"], _interval(one["ratio"]),
         "used" if one["used"] else "")
        for node in nodes for one in node["tried"]
    ]  # fmt: skip
    if not rows:
        return "<p>No neighbour was worth measuring.</p>"
    return _table(("node", "neighbours", "gain", "bits", "bits over those alone", ""), rows)
