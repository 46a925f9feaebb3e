"""What all tests share: hypothesis without time limits, as a busy machine is no failure, and alike in each run; and what a
test does when a library it needs is missing: on a user's machine it skips and says how to get it, in CI it fails.
"""

import importlib.util
import os

import pytest
from hypothesis import settings

settings.register_profile("edge_wz", deadline=None, derandomize=True)
settings.load_profile("edge_wz")

NEEDS = {"train": ("torch", "onnx", "onnxruntime"), "serial": ("serial",)}  # by marker; each is also the name of an extra


def pytest_runtest_setup(item: pytest.Item) -> None:
    for extra, modules in NEEDS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if item.get_closest_marker(extra) is None or not missing:
            continue
        advice = f"{', '.join(missing)} missing: pip install 'edge-wz[{extra}]'"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(advice)
