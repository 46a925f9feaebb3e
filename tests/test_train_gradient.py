"""`edge-wz train --method gradient` from CSV to a bundle that decodes."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.errors import EdgeWzError
from edge_wz.formats import bundle
from firmware_sim.field import pair_source
from training import gradient
from training.cli import evaluate, parse_rates, train
from training.data import from_columns, load_recording

pytestmark = pytest.mark.train

SAMPLES = 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradient")
    columns = pair_source("fig5").generate(SAMPLES, 1)
    gaps = columns["y"].copy()
    gaps[3000:3010] = np.nan
    table = np.stack([columns["x"], columns["y"], gaps, columns["x"], np.full(SAMPLES, 2.0)], axis=1)
    rows = (",".join("" if np.isnan(value) else f"{value:.4f}" for value in row) for row in table)
    (folder / "rec.csv").write_text("x,y,gaps,copy,constant\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch):
    from dataclasses import replace

    from training import nested

    quick = replace(nested.DEFAULT, steps=60, evaluate_every=20, batch_samples=2000, restarts=1)
    monkeypatch.setitem(nested.RECIPES, "default", quick)


def learn(folder, *arguments, out="m.ewz"):
    command = [str(folder / "rec.csv"), "--source", "x", "--method", "gradient", "--jobs", "1", "--out", str(folder / out)]
    return CliRunner().invoke(train, [*command, *arguments], catch_exceptions=False)


def test_from_csv_to_samples(folder):
    report = json.loads(learn(folder, "--side", "y", "--rate", "2,3", "--level-check", "0", "--json").stdout)
    assert report["decoder"] == "nearest" and report["scheme"] == "nested"
    model = bundle.load(folder / "m.ewz")
    assert [point.modulus for point in model.node.rate_points] == [4, 8] and model.node.taps == 5
    assert model.provenance["method"] == "gradient" and model.provenance["kept_seed"] == 0
    assert not (folder / "m.ewz.training").exists()
    made = CliRunner().invoke(
        evaluate, [str(folder / "m.ewz"), "--data", str(folder / "rec.csv"), "--no-baselines", "--json"],
        catch_exceptions=False,
    )
    (node,) = json.loads(made.output)["nodes"]
    assert node["sqnr_db"] > 21 and node["payload_bits_per_sample"] == pytest.approx(2)


def test_the_bundle_carries_its_graphs(folder):
    learn(folder, "--side", "y", "--rate", "2", out="graphs.ewz")
    members = bundle.read_members((folder / "graphs.ewz").read_bytes())
    assert {"encoder.onnx", "decoder.onnx"} <= set(members)


def test_gaps_are_trained_around_and_decoded_through(folder):
    learn(folder, "--side", "y,gaps", "--rate", "2", "--side-taps", "3", out="gaps.ewz")
    model = bundle.load(folder / "gaps.ewz")
    assert model.provenance["samples"] == SAMPLES - 10
    assert model.measured["training"][0]["sqnr_db"] > 20.5


def test_side_information_as_decoded_is_coarser(folder):
    recording = from_columns(pair_source("fig5").generate(SAMPLES, 1), 1.0)
    options = gradient.Options((2.0,), side_step=0.5)
    heard = gradient.as_decoded(recording, ["y"], options)
    error = np.std(heard.column("y") - recording.column("y"))
    assert error == pytest.approx(0.5 / np.sqrt(12), rel=0.15) and np.array_equal(heard.column("x"), recording.column("x"))
    learn(folder, "--side", "y", "--rate", "2", "--side-step", "0.5", out="coarse.ewz")
    learn(folder, "--side", "y", "--rate", "2", out="fine.ewz")
    coarse, fine = (bundle.load(folder / name) for name in ("coarse.ewz", "fine.ewz"))
    assert coarse.node.rate_points[0].step > 1.2 * fine.node.rate_points[0].step


def test_interrupted_command_continues(folder, monkeypatch):
    from training import nested_fit

    whole = learn(folder, "--side", "y", "--rate", "2", out="whole.ewz")
    real = nested_fit.Restart._evaluate
    calls = []

    def once(self):
        calls.append(self.step)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(nested_fit.Restart, "_evaluate", once)
    with pytest.raises(KeyboardInterrupt):
        gradient.train(
            load_recording(folder / "rec.csv", ["x", "y"]), "x", ["y"], str(folder / "cut.ewz"),
            gradient.Options((2.0,), jobs=1),
        )
    monkeypatch.setattr(nested_fit.Restart, "_evaluate", real)
    resumed = learn(folder, "--side", "y", "--rate", "2", out="cut.ewz")
    assert "continuing the training" in resumed.stderr and whole.exit_code == resumed.exit_code == 0
    assert bundle.load(folder / "cut.ewz").model_id == bundle.load(folder / "whole.ewz").model_id


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--side", "y", "--step", "0.1"], "for a --rate"),
        (["--side", "y", "--rate", "2", "--scheme", "predictive"], "scheme nested"),
        (["--side", "y", "--rate", "2", "--decoder", "kalman"], "no filter at the node"),
        (["--rate", "2"], "at least one neighbour"),
        (["--side", "copy", "--rate", "2"], "copy"),
        (["--side", "constant", "--rate", "2"], "constant"),
        (["--side", "y", "--rate", "2,2"], "different rate points"),
        (["--side", "y", "--rate", "2", "--rows", ":3000"], "3000 samples have the source and all neighbours"),
        (["--side", "y", "--rate", "2", "--side-taps", "200"], "210 taps need at least 10500"),
        (["--side", "y", "--rate", "2", "--method", "analytic", "--taps", "3"], "belongs to --method gradient"),
    ],
)
def test_what_cannot_be_learned_is_one_line(folder, arguments, said):
    with pytest.raises(EdgeWzError) as caught:
        learn(folder, *arguments, out="no.ewz")
    message = str(caught.value)
    assert said in message and "\n" not in message
    assert not (folder / "no.ewz").exists()


def test_rates_in_a_row():
    assert parse_rates("2") == 2 and parse_rates("2,3.5") == (2, 3.5) and parse_rates(None) is None
    result = CliRunner().invoke(train, ["r.csv", "--source", "x", "--rate", "two", "--out", "m.ewz"])
    assert result.exit_code == 2 and "not a number" in result.output
