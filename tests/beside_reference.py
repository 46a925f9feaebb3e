"""A model whose neighbour is a `predictive` node, through what a user calls: `simulate`, and the daemon on a capture."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from edge_wz.formats import bundle
from edge_wz.formats.capture import pack_data, pack_header, pack_link
from edge_wz.formats.framing import encode_frame
from edge_wz.gateway.fleet import Fleet
from edge_wz.model import Model
from firmware_sim.cli import simulate
from tests.daemon_driver import run_here
from tests.pipeline_fleet import Delivery, deliveries, field_codes, predictive_model

FLEET = """
[gateway]
store = "store.sqlite"
reorder_wait_s = {reorder_s}
side_wait_s = {side_s}
revise_window_s = 600.0
[[link]]
name = "l"
url = "replay:run.wzcp"
shared = true
[[node]]
name = "n1"
id = 1
model = "reference.ewz"
side = []
[[node]]
name = "n2"
id = 2
model = "model.ewz"
side = ["n1"]
"""


def _bundles(folder: Path, model: Model) -> None:
    bundle.save(folder / "reference.ewz", predictive_model())
    bundle.save(folder / "model.ewz", model)


def simulate_with_losses(folder: Path, model: Model, samples: int) -> None:
    """Every sample is decoded or concealed, some of each."""
    _bundles(folder, model)
    arguments = ["--nodes", 2, "--model", folder / "reference.ewz", "--model", folder / "model.ewz", "--samples", samples, "--loss", 0.1,
                 "--seed", 4, "--to", "process"]  # fmt: skip
    result = CliRunner().invoke(simulate, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = re.search(r"accounting: (\d+) expected = (\d+) decoded \+ (\d+) concealed", result.output)
    assert found is not None
    expected, known, concealed = map(int, found.groups())
    assert expected == known + concealed and concealed > 0


def serve_to_a_step(folder: Path, model: Model, fleet: Fleet, packet_s: float, step: float) -> None:
    """Every sample is stored, with the error of cells of a step, sensor units; a packet is `packet_s` long."""
    codes = field_codes(2, 640)
    values = _serve_capture(folder, model, deliveries(fleet, codes), packet_s)
    assert len(values) == codes.shape[1]
    assert np.std(values - codes[1] * 0.01) < 1.1 * step / np.sqrt(12)


def _serve_capture(folder: Path, model: Model, script: list[Delivery], packet_s: float) -> np.ndarray:
    """The values of the model's node that the daemon stores."""
    _bundles(folder, model)
    (folder / "fleet.toml").write_text(FLEET.format(reorder_s=2.5 * packet_s, side_s=3.75 * packet_s))
    records = b"".join(pack_data(6, encode_frame(delivery.raw), delivery.time_us) for delivery in script)
    (folder / "run.wzcp").write_bytes(pack_header(0) + pack_link(6, "pty0", None, 0) + records)
    done = run_here("serve", "--fleet", str(folder / "fleet.toml"))
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(folder / "store.sqlite") as db:
        return np.array([row[0] for row in db.execute("SELECT value FROM samples WHERE node = 2 ORDER BY sample_index")])
