"""A minute of real firmware at the full speed of its line, over a cable that drops and flips, while models are deployed.

Longer, faster, on the other board: benchmarks/firmware_soak.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.arm, pytest.mark.qemu, pytest.mark.deploy]

from benchmarks import firmware_soak  # noqa: E402


def test_every_byte_is_accounted_for(tmp_path: Path) -> None:
    result = firmware_soak.soak(tmp_path, firmware_soak.Asked(minutes=1.0))
    failed = [check for check, holds in result["checks"].items() if not holds]
    assert not failed and result["unaccounted_bytes"] == 0, f"{failed}\n{json.dumps(result, indent=1)}"
    assert result["to_host_drops"] > 0 and result["to_host_flips"] > 0, "the cable was bad"
    assert result["samples_concealed"] > 0 and result["samples_decoded"] > 200_000, "and the line busy"
