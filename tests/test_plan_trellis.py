"""`edge-wz plan` and `trellis`: chosen where whole bits resolve what a neighbour tells, refused by its bound where they do not."""

import numpy as np
import pytest

from tests.decoder_models import pair
from training.data import from_columns
from training.plan import Options, make_plan, make_study
from training.plan_models import as_report, make_models
from training.plan_study import Candidate, Met
from training.plan_trellis import try_trellis

N = 64


@pytest.fixture(scope="module")
def columns():
    """Two sensors of one fast field, in hundredths."""
    _, x, y = pair("fig5", 48 * N, 5)
    return {"x": np.round(x, 2), "y": np.round(y, 2)}


def test_a_plan_chooses_it_where_it_is_cheaper(columns):
    made = make_plan(from_columns(columns, 1.0), ["x", "y"], Options("rmse", 0.08, packet_samples=N, schemes=("predictive", "trellis")))
    make_models(made)
    assert [made.models[name].node.scheme for name in made.order] == ["predictive", "trellis"]
    user, report = made.choices[made.order[-1]], as_report(made)["nodes"][1]
    assert user.rmse <= 0.08 and user.bits < 0.8 * user.own_bits
    assert report["decoder"] == "trellis" and report["rate"] == 2.0 and "measured" in report["trellis"]


@pytest.mark.parametrize(("size", "bits", "reason"), [(N, 1.9, "needs at least 2"), (8, 9.0, "too short")])
def test_its_bound_refuses_first(columns, size, bits, reason):
    recording = from_columns(columns, 1.0)
    study = make_study(recording, "x", Options("rmse", 0.065, packet_samples=size))
    rmse = 0.065 / study.material.scale
    met = Met(Candidate(), rmse, rmse, np.full(study.validated // size, bits * size))
    assert reason in try_trellis(study, recording, rmse, met, ("y",), columns).reason
