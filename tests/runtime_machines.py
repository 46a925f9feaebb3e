"""The machines that run the C runtime in tests: built once per session, by name."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from export import c_build, harness

CORES = ["m0", "m3", "rv32"]
MARKS = {
    "host": [pytest.mark.c], "m0": [pytest.mark.arm, pytest.mark.emulator], "m3": [pytest.mark.arm, pytest.mark.emulator],
    "rv32": [pytest.mark.riscv, pytest.mark.emulator],
}  # fmt: skip
host = pytest.mark.c
machines = pytest.mark.parametrize("machine", [pytest.param(name, marks=marks) for name, marks in MARKS.items()], indirect=True)
cores = pytest.mark.parametrize("machine", [pytest.param(name, marks=MARKS[name]) for name in CORES], indirect=True)


@functools.cache
def make(name: str) -> harness.Machine:
    with tempfile.TemporaryDirectory() as folder:
        if name in CORES:
            return harness.Core(c_build.image(Path(folder), name))
        return harness.Library(c_build.library(Path(folder), name))


def sanitized(module: str) -> None:
    """Run `module` as a program with the sanitized library, which has to be there before Python is."""
    with tempfile.TemporaryDirectory() as folder:
        library = c_build.library(Path(folder), "sanitized")
        preload = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
        environment = {**os.environ, "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0", "WZ_LIBRARY": str(library)}
        done = subprocess.run([sys.executable, "-m", module], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AddressSanitizer" not in done.stderr and "runtime error" not in done.stderr
