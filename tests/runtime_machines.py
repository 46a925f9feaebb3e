"""The machines that run the C runtime in tests: built once per session, by name."""

import ctypes
import functools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from export import c_build, harness

BUFFERS = harness.Commands().add(harness.Op.BUFFER, 0).add(harness.Op.BUFFER, 1).finished()
CORES = ["m0", "m3", "rv32"]
MARKS = {
    "host": [pytest.mark.c], "m0": [pytest.mark.arm, pytest.mark.emulator], "m3": [pytest.mark.arm, pytest.mark.emulator],
    "rv32": [pytest.mark.riscv, pytest.mark.emulator],
}  # fmt: skip
host = pytest.mark.c
GUARDED = "WZ_SANITIZED_LIBRARY"  # in the environment: the path of the library that `sanitized` built
machines = pytest.mark.parametrize("machine", [pytest.param(name, marks=marks) for name, marks in MARKS.items()], indirect=True)
cores = pytest.mark.parametrize("machine", [pytest.param(name, marks=MARKS[name]) for name in CORES], indirect=True)


@functools.cache
def make(name: str) -> harness.Machine:
    if name == "host" and GUARDED in os.environ:
        return Guarded(Path(os.environ[GUARDED]))
    with tempfile.TemporaryDirectory() as folder:
        if name in CORES:
            return harness.Core(c_build.image(Path(folder), name))
        return harness.Library(c_build.library(Path(folder), name))


class Guarded(harness.Library):
    """A library with sanitizers in a program that has theirs: what a blob or a model's buffer does not need is poisoned, to the byte."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        program = ctypes.CDLL(None)
        self._poison = program["__asan_poison_memory_region"]
        self._unpoison = program["__asan_unpoison_memory_region"]
        for call in (self._poison, self._unpoison):
            call.argtypes, call.restype = [ctypes.c_void_p, ctypes.c_size_t], None

    def write(self, at: int, data: bytes) -> None:
        """A model: its id and blob; then nothing more up to the next model or the buffers."""
        self._unpoison(self._memory.ctypes.data + at, harness.MODEL_AREA)
        super().write(at, data)
        self._limit(at, len(data), harness.MODEL_AREA)

    def execute(self, commands: bytes) -> bytes:
        for buffer in range(2):
            self._limit(harness.BUFFER_AT + buffer * harness.BUFFER_BYTES, self._needed(), harness.BUFFER_BYTES)
        try:
            return super().execute(commands)
        finally:
            self._unpoison(self._memory.ctypes.data + harness.BUFFER_AT, 2 * harness.BUFFER_BYTES)

    def _needed(self) -> int:
        """Bytes of a buffer, for either model."""
        answers = np.frombuffer(super().execute(BUFFERS), np.uint32)
        return int(max(answers[1], answers[3]))

    def _limit(self, at: int, used: int, area: int) -> None:
        self._poison(self._memory.ctypes.data + at + used, area - used)


def sanitized(*arguments: str, quiet: bool = True) -> str:
    """What `python ARGUMENTS` prints, with the sanitized library, which has to be there before Python is; it has to end well."""
    with tempfile.TemporaryDirectory() as folder:
        library = c_build.library(Path(folder), "sanitized")
        preload = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
        environment = {**os.environ, "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0", GUARDED: str(library)}
        errors = subprocess.PIPE if quiet else None
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, check=False
        )
    said = done.stderr or ""
    assert done.returncode == 0, done.stdout + said
    assert "AddressSanitizer" not in said and "runtime error" not in said
    return done.stdout


def sanitized_tests(*arguments: str) -> int:
    """pytest with these arguments in such a program; how many tests passed."""
    found = re.search(r"(\d+) passed", sanitized("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--capture=sys", *arguments))
    return int(found[1]) if found else 0
