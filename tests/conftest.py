"""What all tests share: hypothesis without time limits, as a busy machine is no failure, and alike in each run; and what a
test does when a library it needs is missing: on a user's machine it skips and says how to get it, in CI it fails.
"""

import importlib.util
import os
import shutil

import pytest
from hypothesis import settings

settings.register_profile("edge_wz", deadline=None, derandomize=True)
settings.load_profile("edge_wz")

NEEDS = {  # by marker; each is also the name of an extra
    "train": ("torch", "onnx", "onnxruntime"),
    "serial": ("serial",),
    "deploy": ("serial", "smpclient"),
    "emulator": ("unicorn",),
}
TOOLS = {  # by marker: a program, and the Debian package that has it
    "c": ("gcc", "gcc"),
    "arm": ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
    "qemu": ("qemu-system-arm", "qemu-system-arm"),
    "riscv": ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for extra, modules in NEEDS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if item.get_closest_marker(extra) is not None and missing:
            _give_up(f"{', '.join(missing)} missing: pip install 'edge-wz[{extra}]'")
    for marker, (tool, package) in TOOLS.items():
        if item.get_closest_marker(marker) is not None and shutil.which(tool) is None:
            _give_up(f"{tool} missing: apt-get install {package}")


def _give_up(advice: str) -> None:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(advice)
