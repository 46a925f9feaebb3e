"""`edge-wz train` and `edge-wz evaluate` as a user runs them: what they write, print and refuse."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.errors import EdgeWzError
from edge_wz.formats import bundle
from firmware_sim.field import fig5
from training.cli import evaluate, parse_rows, train

T = 4000
KEYS = {
    "name", "scheme", "decoder", "payload_bits_per_sample", "packet_bits_per_sample", "sqnr_db", "rmse",
    "max_abs_error", "bin_error_rate", "concealed", "samples", "flags", "baselines",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording, a bundle of each scheme designed on its first half, and a fleet of the two."""
    folder = tmp_path_factory.mktemp("train")
    samples = fig5().generate(T, 5)
    lines = [f"{n},{x:.3f},{y:.3f}" for n, (x, y) in enumerate(zip(samples["x"], samples["y"], strict=True))]
    lines[T - 7] = f"{T - 7},,0.5"
    (folder / "rec.csv").write_text("k,x,y\n" + "\n".join(lines) + "\n")
    common = [str(folder / "rec.csv"), "--first-half", "--json"]
    run(train, *common, "--source", "x", "--side", "y", "--step", "0.25", "--decoder", "posterior",
        "--level-check", "8", "--out", str(folder / "x.ewz"))
    run(train, *common, "--source", "y", "--scheme", "predictive", "--step", "0.1", "--decoder", "midpoint",
        "--out", str(folder / "y.ewz"))
    (folder / "fleet.toml").write_text(
        '[[link]]\nname = "air"\nurl = "tcp-listen://:9099"\nshared = true\n'
        '[[node]]\nname = "y"\nid = 1\nmodel = "y.ewz"\n[[node]]\nname = "x"\nid = 2\nmodel = "x.ewz"\nside = ["y"]\n'
    )
    return folder


def run(command, *arguments):
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def measured(folder, target, *arguments):
    text = run(evaluate, str(folder / target), "--data", str(folder / "rec.csv"), "--second-half", "--json", *arguments)
    return json.loads(text)


def test_train_writes_a_bundle_that_loads(folder):
    model = bundle.load(folder / "x.ewz")
    assert model.source == "x" and model.side == ("y",) and model.name == "x"
    assert model.node.level_check_bits == 8 and model.decoder == "posterior"
    assert model.node.rate_points[0].step * model.node.scale == pytest.approx(0.25, rel=1e-3)
    assert bundle.load(folder / "y.ewz").node.scheme == "predictive"


def test_evaluate_prints_one_object_with_the_promised_keys(folder):
    made = measured(folder, "x.ewz")
    (node,) = made["nodes"]
    assert set(node) == KEYS and node["samples"] == T // 2 - 1
    assert set(node["baselines"]) == {"hold", "dpcm_rice", "dpcm_range", "modulo"}
    for name in ("hold", "dpcm_rice", "dpcm_range"):
        rival = node["baselines"][name]
        assert set(rival) == {"payload_bits_per_sample", "packet_bits_per_sample", "rmse"}
        assert rival["rmse"] == pytest.approx(node["rmse"], rel=0.011)


def test_a_fleet_is_evaluated_through_the_pipeline(folder):
    made = measured(folder, "fleet.toml", "--no-baselines", "--loss", "0.1")
    by_name = {node["name"]: node for node in made["nodes"]}
    assert [node["name"] for node in made["nodes"]] == ["y", "x"] and made["side"] == "decoded"
    assert by_name["y"]["concealed"] > 0 and by_name["x"]["concealed"] > 0
    assert by_name["x"]["sqnr_db"] > 8


def test_a_fleet_without_losses_equals_the_bundle_with_decoded_neighbours_roughly(folder):
    fleet = measured(folder, "fleet.toml", "--no-baselines")
    alone = measured(folder, "x.ewz", "--no-baselines", "--side", "decoded")
    x = next(node for node in fleet["nodes"] if node["name"] == "x")
    assert x["payload_bits_per_sample"] == alone["nodes"][0]["payload_bits_per_sample"]
    assert x["sqnr_db"] == pytest.approx(alone["nodes"][0]["sqnr_db"], abs=2)
    true = measured(folder, "x.ewz", "--no-baselines")
    assert true["nodes"][0]["sqnr_db"] > alone["nodes"][0]["sqnr_db"]


def test_the_table_aligns(folder):
    text = run(evaluate, str(folder / "y.ewz"), "--data", str(folder / "rec.csv"), "--rows", "-500:", "--no-baselines")
    header, rule, row = text.splitlines()[:3]
    for column in ("decoder", "samples"):
        assert column in header
    ends = [at + 1 for at in range(len(rule)) if rule[at] == "-" and rule[at + 1 : at + 2] != "-"]
    assert all(header[at : at + 1] in ("", " ") and row[at : at + 1] in ("", " ") for at in ends)


@pytest.mark.parametrize(("text", "rows"), [("10:20", (10, 20)), (":5", (0, 5)), ("-5:", (95, 100)), (None, (0, 100))])
def test_rows_are_those_of_a_slice(text, rows):
    assert parse_rows(text, 100, "--rows") == rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "5"], "is not A:B"),
        (["--rows", "9:2"], "leaves no row"),
        (["--rows", "1:900", "--first-half"], "exclude each other"),
    ],
)
def test_bad_rows_are_usage_errors(folder, arguments, said):
    result = CliRunner().invoke(
        train, [str(folder / "rec.csv"), "--source", "x", "--rate", "2", "--out", "no.ewz", *arguments]
    )
    assert result.exit_code == 2 and said in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "z", "--rate", "2"], "no column 'z'"),
        (["--source", "x"], "exactly one of"),
        (["--source", "x", "--rate", "2", "--step", "0.1"], "exactly one of"),
        (["--source", "x", "--rate", "2", "--decoder", "midpoint"], "midpoint"),
    ],
)
def test_what_cannot_be_designed_is_one_line(folder, arguments, said):
    with pytest.raises(EdgeWzError) as caught:
        run(train, str(folder / "rec.csv"), "--out", str(folder / "no.ewz"), *arguments)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (folder / "no.ewz").exists()


def test_targets_that_are_no_bundle(folder):
    for target in ("rec.csv", "missing.ewz", "missing.toml"):
        with pytest.raises(EdgeWzError) as caught:
            measured(folder, target)
        assert target in str(caught.value) and "\n" not in str(caught.value)


def test_evaluation_repeats(folder):
    assert measured(folder, "x.ewz", "--no-baselines") == measured(folder, "x.ewz", "--no-baselines")
    assert np.isfinite(measured(folder, "y.ewz", "--no-baselines")["nodes"][0]["sqnr_db"])
