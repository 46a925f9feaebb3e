"""Firmware for the boards of `firmware_sim/boards`: build it, and feed a running one with a recording.

`build` compiles the runtime, the device and a board's own files with the compiler of that board. A running node reads its samples from a
file of four-byte records (boards/common/recording.h) that may grow while it is played; how it is started is the business of
`firmware_sim.host_board` (a process) and `firmware_sim.qemu` (an emulated chip).
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.errors import InputError

BOARDS = Path(__file__).parent / "boards"
RUNTIME = Path(__file__).parent.parent / "export" / "runtime"
RECORD = np.dtype([("code", "<i2"), ("flags", "<u2")])
RECORD_ABSENT, RECORD_NO_WAIT, RECORD_FLUSH = 1, 2, 4
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror")
BARE = ("-Os", "-ffreestanding", "-fdata-sections", "-ffunction-sections", "-nostdlib", "-nostartfiles", "-Wl,--gc-sections")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Board:
    """`machine`: of QEMU; empty for the process."""

    name: str
    folder: str
    compiler: str
    flags: tuple[str, ...]
    machine: str = ""
    package: str = "gcc"


HOST = Board("host", "host", "cc", ("-O2",))
MICROBIT = Board(
    "microbit", "microbit", "arm-none-eabi-gcc", ("-mcpu=cortex-m0", "-mthumb", *BARE), "microbit", "gcc-arm-none-eabi"
)
MPS2 = Board(
    "mps2-an385", "mps2_an385", "arm-none-eabi-gcc", ("-mcpu=cortex-m3", "-mthumb", *BARE), "mps2-an385", "gcc-arm-none-eabi"
)
BY_NAME = {board.name: board for board in (HOST, MICROBIT, MPS2)}


def sources(board: Board) -> list[Path]:
    own = BOARDS / board.folder
    shared = [] if board is HOST else sorted((BOARDS / "cortex_m").glob("*.c"))
    return [
        *sorted(RUNTIME.glob("*.c")), *sorted((RUNTIME / "device").glob("*.c")), BOARDS / "common" / "recording.c",
        *shared, *sorted(own.glob("*.c")),
    ]  # fmt: skip


def build(board: Board, folder: Path, *extra: str, name: str = "") -> Path:
    """The program of a board, in `folder`; `extra` goes to the compiler. InputError without a compiler, or with its words."""
    compiler = shutil.which(board.compiler)
    if compiler is None:
        raise InputError(f"{board.compiler} is missing: apt-get install {board.package}")
    program = folder / (name or f"{board.name}.elf")
    script = BOARDS / board.folder / "link.ld"
    link = ("-T", str(script), "-lgcc") if script.exists() else ()
    include = [f"-I{folder}" for folder in (RUNTIME, BOARDS / board.folder, BOARDS / "cortex_m")]
    command = [compiler, *WARNINGS, *board.flags, *extra, *include, "-o", str(program), *map(str, sources(board)), *link]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{board.name} does not compile: {done.stderr.strip()}")
    return program


def records(codes: Any, present: Any = None, *, wait: bool = True) -> bytes:
    """Samples as a node reads them; without `wait` it takes them as an ADC would, whatever becomes of their packets."""
    rows = np.zeros(len(codes), RECORD)
    rows["code"] = codes
    if present is not None:
        rows["flags"][np.logical_not(present)] = RECORD_ABSENT
    rows["flags"] |= 0 if wait else RECORD_NO_WAIT
    return rows.tobytes()


class Recording:
    """The file that a node plays: samples go in at one end while it reads at the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb", buffering=0)

    def feed(self, codes: Any, present: Any = None, *, wait: bool = True) -> None:
        self._file.write(records(codes, present, wait=wait))

    def flush(self) -> None:
        """End the packet begun: it goes out short, and a hello behind it."""
        self._file.write(np.array([(0, RECORD_FLUSH)], RECORD).tobytes())

    def close(self) -> None:
        self._file.close()
