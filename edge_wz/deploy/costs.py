"""What a model takes of a node: counted for this image where that is possible, else from recorded measurements of the C runtime.

`footprint.json` beside this file is written by `python -m export.footprint --record`, which counts in an emulated core, and a test holds
the runtime to it; it travels with deploy, so that the field needs no cross compiler. Its figures are of example models: estimates for
any other, and marked so.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from edge_wz.deploy.device import Info
from edge_wz.formats import image as images
from edge_wz.model import NodeModel

RECORD = "footprint.json"
CORES = {"microbit": "m0", "mps2-an385": "m3"}  # board -> what its code was measured on
ASSUMED_CORE = "m0"
NESTED_BITS = (1, 2, 3, 4, 6, 8, 12)  # of the examples with one tap, without check
EXAMPLES = {"predictive": "predictive", "trellis": "trellis 2 bit", "syndrome": "syndrome 2 bit", "layered": "layered 2 bit"}
LAYER_BLOCKS = "layered 2 bit, blocks"


@dataclass(frozen=True)
class Measured:
    """Of one example model on a core, -Os. `instructions_per_sample`: from sample to the frame's bytes, sample by sample, mean over full packets."""

    core: str
    example: str
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


def measured(node: NodeModel, core: str) -> Measured | None:
    """Of the example most like this model; None: it was not measured on that core."""
    return measured_example(example_of(node), core)


def measured_example(example: str, core: str) -> Measured | None:
    """`example`: a name of the record."""
    found = _recorded().get(core, {}).get(example)
    if found is None:
        return None
    text_bytes = found["path_text"] + found["session_text"] + found["check_text"]
    return Measured(core, example, text_bytes, found["state"], found["stack"], found["single"])


def example_of(node: NodeModel) -> str:
    """The name in the record: by what costs most, first the coded bins, then the filter, then the check."""
    if node.scheme == "layered" and node.block_check_bits:
        return LAYER_BLOCKS
    if node.scheme != "nested":
        return EXAMPLES[node.scheme]
    modulus = max(point.modulus for point in node.rate_points)
    if modulus & (modulus - 1):
        return "nested 5 bins"
    if node.taps > 1:
        return "nested 2 bit, 5 taps"
    if node.level_check_bits:
        return "nested 2 bit, level check"
    bits = min(NESTED_BITS, key=lambda bits: abs(bits - math.log2(modulus)))
    return f"nested {bits} bit"


@cache
def _recorded() -> dict[str, Any]:
    return dict(json.loads((files("edge_wz.deploy") / RECORD).read_text(encoding="utf-8")))


def rows(node: NodeModel, image: bytes, info: Info) -> list[Row]:
    """Flash, RAM, stack and instructions of the model on that node."""
    return [*_counted(node, image, info), *_estimated(node, CORES.get(info.board, ASSUMED_CORE))]


def _counted(node: NodeModel, image: bytes, info: Info) -> list[Row]:
    scheme_problem = "" if node.scheme in info.schemes else f"its firmware has no {node.scheme}: build one that has"
    slot_problem = "" if len(image) <= info.slot_bytes else f"{len(image)} bytes do not fit its slot of {info.slot_bytes}"
    found = [
        Row("scheme", node.scheme, ", ".join(info.schemes), "compiled in", scheme_problem),
        Row("flash of a slot", f"{len(image)} B", f"{info.slot_bytes} B", "", slot_problem),
    ]
    buffer = images.buffer_bytes(node)
    problem = "" if buffer <= info.buffer_bytes else f"packets need {buffer} bytes of RAM, it has {info.buffer_bytes}"
    return [*found, Row("RAM for a packet", f"{buffer} B", f"{info.buffer_bytes} B", "", problem)]


def _estimated(node: NodeModel, core: str) -> list[Row]:
    found = measured(node, core)
    if found is None:
        return [Row("instructions a sample", "-", "", f"{node.scheme} was not measured on {core}")]
    note = f"estimate: measured with {found.example}, compiled alone, on {core}"
    return [
        Row("flash of the code", f"{found.text_bytes} B", "", note + ", in the firmware already"),
        Row("RAM of the state", f"{found.state_bytes} B", "", note),
        Row("stack", f"{found.stack_bytes} B", "", note),
        Row("instructions a sample", f"{found.instructions_per_sample:.0f}", "", note),
    ]
