"""Layers learned from a recording: what ships is never worse than what was designed, and a collapse says which layer died."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_wz.errors import DesignError, InputError
from edge_wz.formats import bundle
from training.data import Recording, load_recording

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from training import layered_learn  # noqa: E402
from training.layered_learn import Options  # noqa: E402


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Recording:
    rng = np.random.default_rng(1)
    y = rng.normal(0, 20, 3000)
    rows = np.round(np.column_stack([y + rng.normal(0, 5, 3000), y]), 1)
    path = Path(tmp_path_factory.mktemp("rec")) / "rec.csv"
    path.write_text("x,y\n" + "\n".join(f"{a:.1f},{b:.1f}" for a, b in rows) + "\n")
    return load_recording(path, ["x", "y"])


@pytest.mark.slow
def test_what_ships_is_at_least_what_was_designed(recording, tmp_path):
    pytest.importorskip("onnx")
    model = layered_learn.train(recording, "x", ("y",), Options((2, 2), steps=160))
    told = model.provenance
    assert told["gain_db"][told["table"]] >= 0.0
    assert [row["layers"] for row in model.measured["training"]] == [1, 2]
    assert model.decoder == told["better_on_validation"] and [point.layers_sent for point in model.node.rate_points] == [2, 1]
    assert set(told["validation_db"]) == {"posterior", "learned"} and told["better_on_validation"] in ("posterior", "learned")
    bundle.save(tmp_path / "m.ewz", model)
    assert bundle.load(tmp_path / "m.ewz").learned == model.learned != b""


def test_a_collapse_is_told_with_its_layer_and_an_exit_code(recording):
    with pytest.raises(DesignError, match="collapsed: layer [01] of 2") as caught:
        layered_learn.train(recording, "x", ("y",), Options((2, 2), recipe="paper", steps=3))
    assert caught.value.exit_code == 8


def test_layers_are_learned_with_a_neighbour_only(recording):
    with pytest.raises(InputError, match="--side"):
        layered_learn.train(recording, "x", (), Options((2, 2)))
