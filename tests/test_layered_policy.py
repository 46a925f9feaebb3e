"""Who decides how many layers go: policies as a user writes them, and a simulated node that follows one over a lossy channel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.codec.layer_policy import Budget, Command, Event, policy_of
from edge_wz.errors import InputError
from edge_wz.formats import bundle
from firmware_sim.cli import simulate as simulate_verb
from tests.layered_models import layered_model

LSB, PERIOD_S = 0.01, 2.0


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("2", Command(2, 2)),
        ("1+3", Command(1, 3)),
        ("event:0.4", Event(40)),
        ("event:0.4:3", Event(40, hold=3)),
        ("budget:3600", Budget(2000)),
    ],
)
def test_policies_are_read_in_sensor_units_and_hours(text, policy):
    assert policy_of(text, LSB, PERIOD_S) == policy


@pytest.mark.parametrize("text", ["", "x", "0", "3+1", "1+", "event:", "event:a", "event:1:b", "budget:", "budget:-1", "budget:inf", "always:1"])
def test_what_is_no_policy_is_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        policy_of(text, LSB, PERIOD_S)
    assert "\n" not in str(caught.value)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle, and a recording that is still for a long time and then jumps."""
    bundle.save(tmp_path / "m.ewz", replace(layered_model(source="n1"), period_s=1.0))
    rng = np.random.default_rng(3)
    values = 0.02 * rng.normal(size=3200)
    values[1600:2000] += np.where(np.arange(400) // 8 % 2, 0.15, 0.0)
    (tmp_path / "rec.csv").write_text("n1\n" + "\n".join(f"{value:.4f}" for value in values) + "\n")
    return tmp_path / "m.ewz", tmp_path / "rec.csv"


def simulated(files: tuple[Path, Path], *options: str) -> dict:
    model, recording = files
    arguments = ["--model", str(model), "--replay", str(recording), "--nodes", "1", "--to", "process", "--json", *options]
    result = CliRunner().invoke(simulate_verb, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["nodes"][0]


def test_a_simulated_node_sends_refinements_at_events_only(files):
    coarse, fine = simulated(files, "--layers", "1"), simulated(files, "--layers", "3")
    events = simulated(files, "--layers", "event:0.1")
    assert coarse["refinement_packets"] == fine["refinement_packets"] == 0
    assert 25 <= events["refinement_packets"] <= 30 and events["refinement_bits"] > 0
    assert coarse["air_bits_per_sample"] < events["air_bits_per_sample"] < fine["air_bits_per_sample"]
    assert fine["rmse"] < events["rmse"] < coarse["rmse"]
    assert coarse["decoded"] == fine["decoded"] == events["decoded"] == 3200
    assert events["packet_bits_per_sample"] == pytest.approx(events["air_bits_per_sample"])


def test_refinements_get_lost_and_everything_is_decoded(files):
    whole, lossy = simulated(files, "--layers", "1+3"), simulated(files, "--layers", "1+3", "--loss", "0.1", "--seed", "5")
    assert whole["decoded"] == 3200 and whole["rmse"] == pytest.approx(simulated(files, "--layers", "3")["rmse"])
    assert lossy["decoded"] + lossy["concealed"] == lossy["expected"]


def test_a_budget_is_kept(files):
    spent = simulated(files, "--layers", "budget:14400", "--addressed")
    assert spent["refinement_packets"] > 0
    assert spent["air_bits_per_sample"] - spent["hello_bits"] / 3200 <= 4.0 + 0.1
