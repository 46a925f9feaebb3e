"""The device against a port of memory, in programs with sanitizers (tests/device): power cut at every flash step, and a fuzzer.

Ten million inputs: `fuzz 10000000 SEED IMAGE` of the program that `fuzz` below builds; here fewer.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from firmware_sim import firmware
from tests.device_wire import make_image, model

pytestmark = pytest.mark.c
HERE = Path(__file__).parent / "device"
COMPILE = ("gcc", "-O1", *firmware.WARNINGS, *firmware.SANITIZERS, f"-I{firmware.RUNTIME}")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Runtime, device and port, compiled once for both programs."""
    folder = tmp_path_factory.mktemp("library")
    sources = [HERE / "ram_port.c", *firmware.RUNTIME.glob("*.c"), *(firmware.RUNTIME / "device").glob("*.c")]
    subprocess.run([*COMPILE, "-c", *sources], check=True, cwd=folder)
    return folder


def run(library: Path, name: str, *arguments: str) -> dict[str, int]:
    """The program's last line, as counts by name."""
    program = library / name
    subprocess.run([*COMPILE, "-o", program, HERE / f"{name}.c", *library.glob("*.o")], check=True)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {word: int(count) for word, count in re.findall(r"(\w+) (\d+)", done.stdout)}


def image_file(tmp_path: Path, modulus: int) -> str:
    path = tmp_path / f"{modulus}.img"
    path.write_bytes(make_image(model(modulus)))
    return str(path)


def test_no_power_cut_loses_the_confirmed_image_or_repeats_an_epoch(library, tmp_path):
    counted = run(library, "power_cut", image_file(tmp_path, 64), image_file(tmp_path, 16))
    assert counted["steps"] > 200  # words and pages, each cut in three ways, alone and followed by a second cut
    assert counted["cuts"] >= 9 * counted["steps"]


def test_no_input_breaks_the_device(library, tmp_path):
    counted = run(library, "fuzz", "200000", "1", image_file(tmp_path, 64))
    assert counted["inputs"] == 200000
    assert counted["requests"] > 50000 and counted["trials"] > 1000 and counted["restarts"] > 100  # it reached what lies behind the checks
