"""What a model takes of a node: counted for this image where that is possible, else from recorded measurements of the C runtime.

`node_costs.json` beside this file is written by `python -m export.footprint` on the machine that measured; deploy reads it, so that
the field needs no cross compiler. Its figures are of one example model of each scheme: estimates for any other, and marked so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from edge_wz.deploy.device import Info
from edge_wz.formats import image as images
from edge_wz.model import NodeModel

CORES = {"microbit": "m0", "mps2-an385": "m3"}  # board -> what its code was measured on
ASSUMED_CORE = "m0"


@dataclass(frozen=True)
class Measured:
    """Of a scheme on a core, -Os. `instructions`: of the whole path to the frame's bytes, mean over full packets."""

    core: str
    text_bytes: int
    state_bytes: int
    stack_bytes: int
    instructions_per_sample: float


@dataclass(frozen=True)
class Row:
    """One line of the table. `has` "": the node does not limit it. `problem`: why it does not fit, else ""."""

    what: str
    needs: str
    has: str
    note: str = ""
    problem: str = ""


def measured(scheme: str, core: str) -> Measured | None:
    """None: this pair was not measured."""
    found = _recorded().get("cores", {}).get(core, {}).get(scheme)
    return None if found is None else Measured(core, **{name: found[name] for name in Measured.__annotations__ if name != "core"})


@cache
def _recorded() -> dict[str, Any]:
    file = files("edge_wz.deploy") / "node_costs.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def rows(node: NodeModel, image: bytes, info: Info) -> list[Row]:
    """Flash, RAM, stack and instructions of the model on that node."""
    return [*_counted(node, image, info), *_estimated(node.scheme, CORES.get(info.board, ASSUMED_CORE))]


def _counted(node: NodeModel, image: bytes, info: Info) -> list[Row]:
    scheme_problem = "" if node.scheme in info.schemes else f"its firmware has no {node.scheme}: build one that has"
    slot_problem = "" if len(image) <= info.slot_bytes else f"{len(image)} bytes do not fit its slot of {info.slot_bytes}"
    found = [
        Row("scheme", node.scheme, ", ".join(info.schemes), "compiled in", scheme_problem),
        Row("flash of a slot", f"{len(image)} B", f"{info.slot_bytes} B", "", slot_problem),
    ]
    buffer = images.buffer_bytes(node)
    if buffer is not None:
        problem = "" if buffer <= info.buffer_bytes else f"packets need {buffer} bytes of RAM, it has {info.buffer_bytes}"
        found.append(Row("RAM for a packet", f"{buffer} B", f"{info.buffer_bytes} B", "", problem))
    return found


def _estimated(scheme: str, core: str) -> list[Row]:
    found = measured(scheme, core)
    if found is None:
        return [Row("instructions a sample", "-", "", f"{scheme} was not measured on {core}")]
    note = f"estimate: an example model of {scheme} on {core}"
    return [
        Row("flash of the code", f"{found.text_bytes} B", "", note + ", in the firmware already"),
        Row("RAM of the state", f"{found.state_bytes} B", "", note),
        Row("stack", f"{found.stack_bytes} B", "", note),
        Row("instructions a sample", f"{found.instructions_per_sample:.0f}", "", note),
    ]
