"""The design of refined streams end to end: the gain at equal fidelity, the choice of `auto`, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.errors import InputError
from edge_wz.formats import bundle
from training import design_refined
from training.cli import train
from training.data import Recording, from_columns
from training.design import design
from training.evaluate import evaluate_bundle

STEP = 10.0


def field(seed: int, samples: int = 5_000) -> Recording:
    """A smooth source and two views of it with noise of their own, whole numbers."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=samples)
    x = np.zeros(samples)
    for n in range(2, samples):
        x[n] = 1.8 * x[n - 1] - 0.85 * x[n - 2] + noise[n]
    views = {name: np.rint(x * 4 + rng.normal(scale=2.0, size=samples)) for name in ("y1", "y2")}
    return from_columns({"x": np.rint(x * 4), **views}, 1.0)


def measured(model, side: str = "decoded") -> dict:
    return evaluate_bundle(model, field(12), side=side, fit_recording=field(11), with_baselines=())["nodes"][0]


@pytest.fixture(autouse=True)
def _fewer_trials(monkeypatch):
    monkeypatch.setattr(design_refined, "ROUNDINGS", (0.5,))


@pytest.fixture(scope="module")
def plain() -> dict:
    return measured(design(field(11), "x", ("y1", "y2"), "predictive", step=STEP, decoder="midpoint"))


@pytest.mark.parametrize(("side", "saving"), [((), 0.05), (("y1", "y2"), 0.2)])
def test_fewer_bits_at_the_fidelity_asked_for(plain, side, saving):
    model = design(field(11), "x", side, "predictive", step=STEP, decoder="refine", side_as="true")
    node = measured(model, "true")
    assert model.decoder == "refine" and model.node.rate_points[0].step * model.node.scale > STEP
    assert node["rmse"] < 1.04 * plain["rmse"]
    assert node["payload_bits_per_sample"] < (1 - saving) * plain["payload_bits_per_sample"]


def test_a_guarantee_keeps_its_step_and_auto_leaves_it_alone():
    model = design(field(11, 3000), "x", (), "predictive", max_error=5.0, decoder="auto")
    assert model.decoder != "refine"
    assert model.node.rate_points[0].step * model.node.scale == 11.0


def test_a_rate_keeps_its_step_and_gains_fidelity():
    model = design(field(11, 3000), "x", (), "predictive", rate=2.0, decoder="auto")
    assert model.decoder == "refine"
    assert model.measured["training"][0]["bits"] == pytest.approx(2.0, abs=0.25)


def test_neighbours_are_frozen_with_their_models():
    request = design_refined.Request("step", (STEP,), "refine", "decoded", 32, 128)
    neighbour = design_refined.Neighbour.fit(field(11).column("y1"), STEP, request)
    fresh = field(12).column("y1")
    heard = neighbour.decoded(fresh)
    known = np.isfinite(heard)
    assert known.sum() >= len(fresh) - 32
    assert np.sqrt(np.mean((heard - fresh)[known] ** 2)) < 1.05 * STEP / np.sqrt(12)


def test_the_widest_step_by_secants():
    assert design_refined._widest(lambda step: step / 256, 20.0, 2560) == pytest.approx(20 * 256, rel=0.01)
    assert design_refined._widest(lambda step: step / 256, 5.0, 2560) is None


def test_unknown_choices_are_refused():
    with pytest.raises(InputError, match="side_as must be"):
        design(field(11, 2000), "x", (), "predictive", step=STEP, decoder="refine", side_as="heard")
    with pytest.raises(InputError, match="scheme nested has"):
        design(field(11, 2000), "x", (), "nested", step=STEP, decoder="refine")


def test_the_command_writes_a_bundle_that_refines(tmp_path):
    recording = field(11, 3000)
    lines = [",".join(recording.columns), *(",".join(f"{v:g}" for v in row) for row in zip(*recording.columns.values(), strict=True))]
    (tmp_path / "rec.csv").write_text("\n".join(lines))
    arguments = [str(tmp_path / "rec.csv"), "--source", "x", "--side", "y1", "--scheme", "predictive", "--step", "10"]
    out = tmp_path / "x.ewz"
    result = CliRunner().invoke(train, [*arguments, "--decoder", "refine", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout[result.stdout.index("{") :])
    model = bundle.load(out)
    assert model.decoder == "refine" and model.refinement is not None
