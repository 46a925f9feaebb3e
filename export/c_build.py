"""Compile the node runtime: for this machine as a shared library, for a core as a flat image that needs nothing else.

One command per target, no build system. A compiler that is missing is named together with the package that has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_wz.errors import EdgeWzError
from export.c_source import RUNTIME

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
FREESTANDING = ("-ffreestanding", "-nostdlib", "-nostartfiles", "-fno-builtin")
IMAGE_BASE = 0x10000
HARNESS = RUNTIME / "harness" / "harness.c"
HARNESS_ENTRY = "wz_harness_run"


class MissingTool(EdgeWzError):
    """A compiler or emulator is not installed."""


class BuildError(EdgeWzError):
    """A compiler refused."""


@dataclass(frozen=True)
class Target:
    """How to compile for one kind of machine. `flags` decide the code; `package` is Debian's."""

    name: str
    prefix: str
    package: str
    flags: tuple[str, ...]

    @property
    def compiler(self) -> str:
        return self.prefix + "gcc"

    def tool(self, name: str) -> str:
        """Path of `prefix + name`."""
        found = shutil.which(self.prefix + name)
        if found is None:
            raise MissingTool(f"{self.prefix}{name} missing: apt-get install {self.package}")
        return found


_THUMB = ("-mthumb", "-Os", "-fno-jump-tables")
TARGETS = {
    target.name: target
    for target in (
        Target("host", "", "gcc", ("-O2",)),
        Target("sanitized", "", "gcc", ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")),
        Target("m0", "arm-none-eabi-", "gcc-arm-none-eabi", ("-mcpu=cortex-m0", *_THUMB)),
        Target("m3", "arm-none-eabi-", "gcc-arm-none-eabi", ("-mcpu=cortex-m3", *_THUMB)),
        Target("rv32", "riscv64-unknown-elf-", "gcc-riscv64-unknown-elf", ("-march=rv32imc", "-mabi=ilp32", "-Os", "-mno-relax")),
    )
}


def sources() -> list[Path]:
    """The files of the runtime, without what is beside it in folders."""
    return sorted(RUNTIME.glob("*.c"))


def run_tool(command: list[str]) -> str:
    """What the tool prints; BuildError with its first line of complaint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode != 0:
        complaint = next((line for line in done.stderr.splitlines() if "error" in line or "undefined" in line), done.stderr.strip()[:200])
        raise BuildError(f"{Path(command[0]).name}: {complaint}")
    return done.stdout


def _defines(defines: Mapping[str, int] | None) -> list[str]:
    return [f"-D{name}={value}" for name, value in (defines or {}).items()]


def _compile(target: Target, defines: Mapping[str, int] | None, extra: Iterable[str], out: Path) -> list[str]:
    return [target.tool("gcc"), *WARNINGS, *target.flags, *_defines(defines), "-I", str(RUNTIME), *extra, "-o", str(out)]


def library(folder: Path, target: str = "host", defines: Mapping[str, int] | None = None) -> Path:
    """The runtime and its harness as a shared library of this machine."""
    out = folder / f"libwz-{target}.so"
    files = [str(path) for path in [*sources(), HARNESS]]
    run_tool(_compile(TARGETS[target], defines, ["-shared", "-fPIC", *files], out))
    return out


def objects(folder: Path, target: str, defines: Mapping[str, int] | None = None, extra: Iterable[str] = ()) -> list[Path]:
    """One object file for each source of the runtime."""
    found = []
    for source in sources():
        out = folder / f"{source.stem}.o"
        options = ["-c", "-ffreestanding", "-ffunction-sections", *extra, str(source)]
        run_tool(_compile(TARGETS[target], defines, options, out))
        found.append(out)
    return found


def compile_one(source: Path, out: Path, target: str, defines: Mapping[str, int] | None = None) -> None:
    """Any C file that includes the runtime's headers."""
    run_tool(_compile(TARGETS[target], defines, ["-c", "-ffreestanding", str(source)], out))


def combined(folder: Path, target: str, defines: Mapping[str, int] | None = None, more: Iterable[Path] = ()) -> Path:
    """One object file of the runtime and `more`, linked without any library: what is still undefined in it is what a board has to give."""
    out = folder / f"wz-{target}.o"
    files = [str(path) for path in [*sources(), *more]]
    run_tool(_compile(TARGETS[target], defines, ["-r", "-ffreestanding", "-nostdlib", *files], out))
    return out


@dataclass(frozen=True)
class Image:
    """Code as it lies in memory from IMAGE_BASE on, and where its functions begin."""

    target: str
    data: bytes
    symbols: dict[str, int]


def image(folder: Path, target: str, defines: Mapping[str, int] | None = None, compiled: Iterable[Path] = ()) -> Image:
    """The runtime (or what `objects` made of it) and its harness, linked without any library: what the code calls is in it."""
    chosen = TARGETS[target]
    elf, flat = folder / f"wz-{target}.elf", folder / f"wz-{target}.bin"
    link = ["-Wl,--gc-sections,--build-id=none,--no-warn-rwx-segments", f"-Wl,-Ttext={IMAGE_BASE:#x},-e,{HARNESS_ENTRY}"]
    files = [str(path) for path in [*(list(compiled) or sources()), HARNESS]]
    run_tool(_compile(chosen, defines, [*FREESTANDING, "-ffunction-sections", *link, *files], elf))
    run_tool([chosen.tool("objcopy"), "-O", "binary", str(elf), str(flat)])
    symbols = {}
    for line in run_tool([chosen.tool("nm"), str(elf)]).splitlines():
        address, kind, name = line.split()
        if kind in "tT" and not name.startswith("$"):
            symbols[name] = int(address, 16)
    return Image(target, flat.read_bytes(), symbols)
