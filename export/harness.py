"""Drive the node runtime through `runtime/harness`: the same commands to a shared library and to code in an emulated core.

`Commands` collects what a node is to do, `Output` is what it did. A `Machine` keeps one harness (encoder, blobs, buffers) in memory
between calls, as a node would. Emulation is unicorn's: functions run, peripherals do not exist.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_wz.model import NodeModel
from export.c_build import HARNESS_ENTRY, IMAGE_BASE, Image, MissingTool
from export.counting import Counter

LINK_ADDRESSED, LINK_SHARED, LINK_PACKETS = 0, 1, 2
ANSWER = 0x40000000
HARNESS_BYTES = 256  # more than wz_harness_t has anywhere
BLOB_BYTES = 0x8000  # for each of two models
BUFFER_BYTES = 0x8000
MODEL_AREA = 16 + BLOB_BYTES  # model id, blob
BUFFER_AT = HARNESS_BYTES + 2 * MODEL_AREA
MEMORY_BYTES = BUFFER_AT + 2 * BUFFER_BYTES
RUN_COMMANDS = 1 << 22
RUN_OUTPUT = 1 << 24


class Op(IntEnum):
    """The commands of harness.h, in its order."""

    END = 0
    OPEN = 1
    START = 2
    RESUME = 3
    SAMPLES = 4
    BLOCK = 5
    ABSENT = 6
    FLUSH = 7
    ANNOUNCE = 8
    RATE = 9
    SWITCH = 10
    TAKING = 11
    COUNTERS = 12
    BUFFER = 13
    SAT16 = 14
    SHIFT = 15
    LENGTH = 16
    CHECK = 17
    CODER = 18
    USE = 19


@dataclass
class Commands:
    """Words for one run of the harness."""

    words: bytearray = field(default_factory=bytearray)

    def add(self, op: Op, *arguments: int) -> Commands:
        self.words += struct.pack(f"<{1 + len(arguments)}I", op, *(value & 0xFFFFFFFF for value in arguments))
        return self

    def samples(self, codes: Sequence[int] | np.ndarray, block: bool = True) -> Commands:
        """int16 codes, all present."""
        column = np.asarray(codes, dtype="<i2")
        self.add(Op.BLOCK if block else Op.SAMPLES, len(column))
        self.words += column.tobytes() + bytes(2 * (len(column) & 1))
        return self

    def mixed(self, codes: np.ndarray, present: np.ndarray, block: bool = True) -> Commands:
        """Runs of present samples and of absent ones."""
        edges = np.flatnonzero(np.diff(present.astype(np.int8))) + 1
        for run, here in zip(np.split(codes, edges), np.split(present, edges), strict=True):
            if len(run):
                _ = self.samples(run, block) if here[0] else self.add(Op.ABSENT, len(run))
        return self

    def start(
        self, node_id: int, period_us: int, boot_epoch: int = 0, start_ms: int = 0, link: int = LINK_ADDRESSED, which: int = 0,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> Commands:  # fmt: skip
        low, high = 0xFFFFFFFF, 32
        return self.add(
            Op.START, which, BUFFER_AT, buffer_bytes, period_us & low, period_us >> high, start_ms & low, start_ms >> high, node_id,
            boot_epoch, link,
        )  # fmt: skip

    def finished(self) -> bytes:
        return bytes(self.words) + struct.pack("<I", Op.END)


@dataclass(frozen=True)
class Output:
    """Frames (or packets) in order, and the answers of each command in order, as signed 32-bit numbers."""

    frames: list[bytes]
    answers: list[tuple[Op, int]]

    def values(self, op: Op) -> list[int]:
        return [value for name, value in self.answers if name == op]


def parse_output(data: bytes) -> Output:
    frames, answers, at = [], [], 0
    while at < len(data):
        (head,) = struct.unpack_from("<I", data, at)
        at += 4
        if head >= ANSWER:
            answers.append((Op(head - ANSWER), struct.unpack_from("<i", data, at)[0]))
            at += 4
        else:
            frames.append(data[at : at + head])
            at += (head + 3) & ~3
    return Output(frames, answers)


class Machine(Protocol):
    """Memory of MEMORY_BYTES with a harness at its start."""

    def write(self, at: int, data: bytes) -> None: ...

    def execute(self, commands: bytes) -> bytes: ...


def run(machine: Machine, commands: Commands) -> Output:
    return parse_output(machine.execute(commands.finished()))


def load(machine: Machine, node: NodeModel | bytes, which: int = 0) -> int:
    """Write a blob and its id, and open it; returns the status."""
    blob = node if isinstance(node, bytes) else node.blob
    identity = bytes(8) if isinstance(node, bytes) else node.model_id
    if len(blob) > BLOB_BYTES:
        raise ValueError(f"a blob of {len(blob)} bytes, the harness has room for {BLOB_BYTES}")
    at = HARNESS_BYTES + which * MODEL_AREA
    machine.write(at, identity.ljust(16, b"\0") + blob)
    return run(machine, Commands().add(Op.OPEN, which, at + 16, len(blob), at)).values(Op.OPEN)[0]


class Library:
    """The shared library of `c_build.library`."""

    def __init__(self, path: Path) -> None:
        self._run = ctypes.CDLL(str(path))[HARNESS_ENTRY]
        self._run.restype = ctypes.c_uint32
        self._run.argtypes = [ctypes.c_void_p] * 3
        self._memory = np.zeros(MEMORY_BYTES // 8, dtype=np.uint64).view(np.uint8)
        self._out = np.zeros(RUN_OUTPUT, dtype=np.uint8)

    def write(self, at: int, data: bytes) -> None:
        self._memory[at : at + len(data)] = np.frombuffer(data, dtype=np.uint8)

    def execute(self, commands: bytes) -> bytes:
        given = np.frombuffer(commands, dtype=np.uint32)
        words = self._run(self._memory.ctypes.data, given.ctypes.data, self._out.ctypes.data)
        return self._out[: 4 * words].tobytes()


STACK_TOP = 0x30000000 + 0x4000
STACK_BYTES = 0x4000
MEMORY_AT = 0x20000000
COMMANDS_AT = 0x40000000
OUTPUT_AT = 0x50000000
RETURN_TO = 0x08000000
PAINT = b"\xa5"


class Core:
    """An image of `c_build.image` in unicorn. `counter`, if asked for, knows what it executed."""

    def __init__(self, image: Image, count: bool = False) -> None:
        self._uc, self._unicorn = _engine(image.target)
        self._image = image
        code = (len(image.data) + 0xFFF) & ~0xFFF
        for at, size in (
            (IMAGE_BASE, code), (STACK_TOP - STACK_BYTES, STACK_BYTES), (MEMORY_AT, (MEMORY_BYTES + 0xFFF) & ~0xFFF),
            (COMMANDS_AT, RUN_COMMANDS), (OUTPUT_AT, RUN_OUTPUT), (RETURN_TO, 0x1000),
        ):  # fmt: skip
            self._uc.mem_map(at, size)
        self._uc.mem_write(IMAGE_BASE, image.data)
        if count:
            self.counter = Counter(self._uc, image.data, IMAGE_BASE, image.symbols, image.target == "rv32")

    def write(self, at: int, data: bytes) -> None:
        self._uc.mem_write(MEMORY_AT + at, data)

    def execute(self, commands: bytes) -> bytes:
        if len(commands) > RUN_COMMANDS:
            raise ValueError(f"{len(commands)} bytes of commands, the harness has room for {RUN_COMMANDS}")
        self._uc.mem_write(COMMANDS_AT, commands)
        words = self._call(self._image.symbols[HARNESS_ENTRY], (MEMORY_AT, COMMANDS_AT, OUTPUT_AT))
        return bytes(self._uc.mem_read(OUTPUT_AT, 4 * words))

    def stack_below(self, entry: str, commands: bytes) -> int:
        """Bytes of stack that the function `entry`, wherever the harness calls it, and all below it used."""
        tops: list[int] = []
        stack = getattr(_constants(self._image.target), _REGISTERS[_kind(self._image.target)].stack)
        address = self._image.symbols[entry]
        self._uc.ctl_flush_tb()  # what was translated before has no hook
        hook = self._uc.hook_add(
            self._unicorn.UC_HOOK_CODE, lambda uc, *_: tops.append(uc.reg_read(stack)), begin=address, end=address
        )
        self._uc.mem_write(STACK_TOP - STACK_BYTES, PAINT * STACK_BYTES)
        self.execute(commands)
        self._uc.hook_del(hook)
        painted = bytes(self._uc.mem_read(STACK_TOP - STACK_BYTES, STACK_BYTES))
        lowest = STACK_TOP - len(painted.lstrip(PAINT))
        return min(tops) - lowest

    def _call(self, address: int, arguments: Iterable[int]) -> int:
        names = _REGISTERS[_kind(self._image.target)]
        constants = _constants(self._image.target)
        thumb = self._image.target != "rv32"
        for name, value in zip(names.arguments, arguments, strict=False):
            self._uc.reg_write(getattr(constants, name), value)
        self._uc.reg_write(getattr(constants, names.stack), STACK_TOP)
        self._uc.reg_write(getattr(constants, names.link), RETURN_TO | thumb)
        self._uc.emu_start(address | thumb, RETURN_TO)
        return int(self._uc.reg_read(getattr(constants, names.arguments[0])))


@dataclass(frozen=True)
class _Registers:
    """Names of the calling convention in unicorn's constants."""

    arguments: tuple[str, ...]
    stack: str
    link: str


_REGISTERS = {
    "arm": _Registers(("UC_ARM_REG_R0", "UC_ARM_REG_R1", "UC_ARM_REG_R2"), "UC_ARM_REG_SP", "UC_ARM_REG_LR"),
    "riscv": _Registers(("UC_RISCV_REG_A0", "UC_RISCV_REG_A1", "UC_RISCV_REG_A2"), "UC_RISCV_REG_SP", "UC_RISCV_REG_RA"),
}


def _kind(target: str) -> str:
    return "riscv" if target == "rv32" else "arm"


def _unicorn() -> Any:
    try:
        import unicorn
    except ImportError:
        raise MissingTool("unicorn missing: pip install 'edge-wz[emulator]'") from None
    return unicorn


def _constants(target: str) -> Any:
    from unicorn import arm_const, riscv_const

    return riscv_const if _kind(target) == "riscv" else arm_const


def _engine(target: str) -> tuple[Any, Any]:
    unicorn = _unicorn()
    if _kind(target) == "riscv":
        return unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32), unicorn
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    cpu = {"m0": "UC_CPU_ARM_CORTEX_M0", "m3": "UC_CPU_ARM_CORTEX_M3"}[target]
    uc.ctl_set_cpu_model(getattr(_constants(target), cpu))
    return uc, unicorn
