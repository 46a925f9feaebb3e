"""`edge-wz emulate`: a node for people without one. Deployed to, looked at, ended, and nothing left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.c, pytest.mark.deploy]

from firmware_sim.firmware import MICROBIT  # noqa: E402
from tests.daemon_driver import COMMAND, run_here  # noqa: E402
from tests.deploy_driver import quick_model, save  # noqa: E402


def test_deploy_to_an_emulated_node(tmp_path: Path) -> None:
    bundle, port, recording = save(tmp_path, "m.ewz", quick_model()), tmp_path / "node", tmp_path / "rec.csv"
    recording.write_text("x\n" + "\n".join(f"{value:.2f}" for value in np.sin(np.arange(40_000) / 100)) + "\n")
    node = subprocess.Popen([*COMMAND, "emulate", "--port", str(port), "--input", str(recording), "--model", str(bundle)],
                            stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        until_s = time.monotonic() + 60
        while not port.is_symlink():
            assert node.poll() is None and time.monotonic() < until_s
            time.sleep(0.05)
        done = run_here("deploy", str(bundle), "--port", str(port), "--node", "3", "--json")
        (row,) = json.loads(done.stdout)["nodes"]
        assert (row["outcome"], row["board"], row["node_id"]) == ("deployed", "host", 3), row
        info = json.loads(run_here("device", "info", "--port", str(port), "--json").stdout)
        assert info["model_id"] == quick_model().model_id.hex() and info["counters"]["samples"] > 0
        node.send_signal(signal.SIGTERM)
        said, _ = node.communicate(timeout=60)
    finally:
        node.kill()
    assert node.returncode == 0 and said.startswith(f"host on {port}, a sample every 0.001 s") and said.endswith(" samples\n"), said
    assert not port.is_symlink()


@pytest.mark.parametrize(("options", "says"), [
    (("--board", MICROBIT.name, "--keep", "flash"), "--keep is for the host board"),
    (("--input", "rec.csv"), "--input and --model go together"),
])  # fmt: skip
def test_options_that_do_not_go_together(options: tuple[str, ...], says: str) -> None:
    done = run_here("emulate", *options)
    assert done.returncode == 2 and says in done.stderr


def test_a_port_that_cannot_be_made(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    done = run_here("emulate", "--port", str(taken))
    assert done.returncode == 2 and done.stderr == f"edge-wz: {taken}: File exists\n"
