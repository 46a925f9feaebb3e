"""`plan --layers`: layered is weighed when asked for, sends as few layers as meet the target, and is refused with its figures otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_wz.errors import InputError
from tests.layered_models import layered_model
from training import plan_jobs
from training.data import from_columns
from training.plan import Options, make_plan
from training.plan_layered import sending
from training.plan_models import make_models
from training.plan_nested import NestedTrial

LAYERS = (2, 2, 2)


@pytest.fixture(scope="module")
def recording():
    rng = np.random.default_rng(5)
    near = np.convolve(rng.normal(0, 1, 1100), np.ones(12) / 4, mode="valid")[:1024]
    return from_columns({"near": np.round(near, 2), "far": np.round(near + rng.normal(0, 0.1, near.size), 2)}, 1.0)


def options(**asked) -> Options:
    return Options("rmse", 0.06, schemes=("predictive", "layered"), **asked)


def test_the_fewest_layers_that_do_come_first():
    model = layered_model("y")
    for layers in (1, 2, 3):
        made = sending(model, layers)
        sent = [point.layers_sent for point in made.node.rate_points]
        assert sent[0] == layers and sorted(sent) == [1, 2, 3] and sent[1:] == sorted(sent[1:], reverse=True)


def test_layers_are_adopted_where_they_were_measured_cheaper(recording, monkeypatch):
    """The measurement is made up; the choice and the model are not."""

    def cheap(study, rows, rmse, alphabets, side, decoded):
        assert alphabets == LAYERS
        if not side:
            return NestedTrial("no neighbour")
        bits = np.full(-(-study.validated // study.packet_samples), 16.0)
        return NestedTrial("measured", 0.1, rmse, bits, study.material.values, 2.0)

    monkeypatch.setattr("training.plan_schemes.try_layered", cheap)
    monkeypatch.setattr("training.plan_models.design", lambda *args, **asked: replace(layered_model(*args[2]), state_space=None, decoder="posterior"))
    monkeypatch.setattr("training.plan_models.run_nested", lambda model, values, side, decoded: (values, np.zeros(1)))
    made = make_plan(recording, list(recording.columns), options(layers=LAYERS))
    make_models(made)
    node = next(choice for choice in made.choices.values() if choice.scheme == "layered")
    assert node.rate == 2.0 and node.candidate.decoder == "kalman" and node.layered == "measured"
    assert [point.layers_sent for point in made.models[node.name].node.rate_points] == [2, 3, 1]


def test_layers_are_asked_for_in_one_way():
    given = {"rmse": 1.0, "max_error": None, "bits": None, "packet_samples": 32, "max_depth": 2, "max_neighbours": 4, "radio": None}
    asked = plan_jobs.options_of({**given, "schemes": "predictive", "layers": "2,2,2"})
    assert asked.layers == LAYERS and asked.schemes == ("predictive", "layered")
    with pytest.raises(InputError, match="needs --layers"):
        plan_jobs.options_of({**given, "schemes": "predictive,layered", "layers": None})
