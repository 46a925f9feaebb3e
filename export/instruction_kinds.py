"""What kind the executed instructions of the runtime are, on Thumb cores: how many compute, and how many only serve the compiler's registers.

Unlike `footprint --functions`, which tells where they are, this tells what could go at most: the floor of a path is what is left without
stack, moves and calls.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np

from export import c_build
from export.counting import Counter

KINDS = (
    ("stack", re.compile(r"(push|pop)\b|(ldr|str)\w*(\.\w)?\s.*\bsp\b|(add|sub)(\.\w)?\s+sp\b")),
    ("moves between registers", re.compile(r"movs?(\.\w)?\s+\w+, [a-z]\w*$")),
    ("calls and returns", re.compile(r"(blx?|bx)\b")),
    ("branches", re.compile(r"(b\w{0,2}|cbn?z)(\.\w)?\s")),
    ("loads and stores", re.compile(r"(ldr|str|ldm|stm)")),
    ("multiplications", re.compile(r"(mul|mla|mls)")),
    ("arithmetic, comparisons, constants", re.compile(r"")),
)


def kind_of(instruction: str) -> str:
    """`instruction`: as objdump writes it, without a comment."""
    return next(name for name, pattern in KINDS if pattern.match(instruction))


def executed(image: c_build.Image, counter: Counter, leave_out: tuple[str, ...]) -> dict[str, int]:
    """Executions by kind, those in functions whose names begin with `leave_out` not counted."""
    counts = np.where(counter.owned_by(leave_out), 0, counter.counts)
    found = {name: 0 for name, _ in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        flat = Path(folder) / "image.bin"
        flat.write_bytes(image.data)
        options = ["-D", "-b", "binary", "-m", "arm", "-M", "force-thumb", f"--adjust-vma={c_build.IMAGE_BASE:#x}", "--no-show-raw-insn"]
        listing = c_build.run_tool([c_build.TARGETS[image.target].tool("objdump"), *options, str(flat)])
    for line in listing.splitlines():
        address, colon, instruction = line.partition(":\t")
        if not colon:
            continue
        count = int(counts[(int(address, 16) - c_build.IMAGE_BASE) >> 1])
        if count:
            found[kind_of(re.sub(r"\s+[;@].*", "", instruction.replace("\t", " ")))] += count
    return found
