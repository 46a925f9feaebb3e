"""`edge-wz plan`: who uses whom, what it never does, what it writes and refuses."""

import itertools
import json

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.errors import DesignError, EdgeWzError, InputError, RecordingError
from edge_wz.formats import bundle
from edge_wz.gateway import config
from training import arborescence, plan_page
from training.cli import evaluate
from training.data import from_columns
from training.plan import Options, make_plan
from training.plan_cli import plan
from training.plan_models import file_names, make_models
from training.plan_nested import NestedTrial

T = 3072
OPTIONS = Options("rmse", 0.06, packet_samples=32, schemes=("predictive",))


def walk(rng, samples, pole=0.9):
    noise, out = rng.normal(size=samples), np.zeros(samples)
    for n in range(1, samples):
        out[n] = pole * out[n - 1] + noise[n]
    return out


@pytest.fixture(scope="module")
def columns():
    """Two sensors of one fast field, and one that has nothing to do with them; gaps in one."""
    rng = np.random.default_rng(4)
    field = walk(rng, T, 0.5)
    made = {name: np.round(field + 0.05 * rng.normal(size=T), 2) for name in ("near", "far")}
    made["alien"] = np.round(walk(rng, T), 2)
    made["far"][500:510] = np.nan
    made["far"][2700:2702] = np.nan
    return made


@pytest.fixture(scope="module")
def planned(columns):
    made = make_plan(from_columns(columns, 1.0, "field.csv"), list(columns), OPTIONS)
    make_models(made)
    return made


# ---------------------------------------------------------------------------------------------------------- trees


def cheapest_by_force(costs):
    size = len(costs)
    found = np.inf
    for rest in itertools.product(range(size), repeat=size - 1):
        parent = np.array((0, *rest))
        if all(_ends_at_root(parent, vertex) for vertex in range(1, size)):
            found = min(found, arborescence.total(costs, parent))
    return found


def _ends_at_root(parent, vertex):
    for _ in parent:
        vertex = parent[vertex]
    return vertex == 0


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_tree_is_cheapest_and_bounded(size):
    rng = np.random.default_rng(size)
    for _ in range(40):
        costs = rng.random((size, size))
        costs[0] += rng.random()
        costs[1:][rng.random((size - 1, size)) < 0.3] = np.inf
        parent = arborescence.cheapest(costs)
        assert arborescence.total(costs, parent) == pytest.approx(cheapest_by_force(costs))
        for depth in (1, 2):
            bounded = arborescence.bounded(costs, parent, depth)
            assert arborescence.depths(bounded).max() <= depth
            assert np.isfinite(arborescence.total(costs, bounded))


# ---------------------------------------------------------------------------------------------------------- plans


def test_neighbours_are_used_where_they_pay(planned):
    pair = planned.choices["near"], planned.choices["far"]
    assert sorted(len(choice.candidate.side) for choice in pair) == [0, 1]
    user = max(pair, key=lambda choice: choice.depth)
    assert user.bits < 0.97 * user.own_bits
    assert planned.choices["alien"].candidate.side == ()
    assert planned.order.index(user.name) > planned.order.index(user.candidate.side[0])


def test_never_worse_than_alone(planned):
    for choice in planned.choices.values():
        assert choice.bits <= 1.01 * choice.plain_bits
        assert choice.rmse == pytest.approx(OPTIONS.value, rel=0.1)
        assert set(choice.rivals) == {"hold", "dpcm_rice", "dpcm_range"}
        for tried in choice.tried:
            assert not tried.used or tried.ratio[2] < 1.0


def test_depth_zero_uses_nobody(columns):
    options = Options("bits", 2.0, packet_samples=32, max_depth=0, schemes=("predictive",))
    two = {name: columns[name][600:1624] for name in ("near", "far")}
    made = make_plan(from_columns(two, 1.0), list(two), options)
    assert all(not choice.candidate.side and choice.bits == pytest.approx(2.0, rel=0.15) for choice in made.choices.values())


def test_page_says_what_was_found(planned):
    from training.plan_models import as_report

    text = plan_page.page(as_report(planned))
    assert text.count("<circle") == len(planned.choices)
    assert "Where side information pays" in text and "alien" in text


def test_file_names_are_safe_and_differ():
    names = file_names(["a/b", "a b", "a_b", "v1"])
    assert len(set(names.values())) == 4 and names["v1"] == "v1.ewz"
    assert all("/" not in name for name in names.values())


# --------------------------------------------------------------------------------------------------------- command


def run(command, *args):
    return CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=True)


def test_command_writes_a_fleet_that_evaluates(columns, tmp_path):
    two = [columns[name] for name in ("near", "far")]
    lines = ["k,near,far"] + [f"{n}," + ",".join("" if np.isnan(v) else f"{v:.2f}" for v in row) for n, row in enumerate(zip(*two, strict=True))]
    recording, folder = tmp_path / "rec.csv", tmp_path / "fleet"
    recording.write_text("\n".join(lines) + "\n")
    made = run(plan, recording, "-o", folder, "--max-error", 0.1, "--first-half", "--period", 1, "--json", "--schemes", "predictive",
               "--radio", "lora-sf9")
    assert made.exit_code == 0, made.output
    report = json.loads(made.output)
    energy = report["energy"]
    assert energy["radio"] == "lora-sf9" and "Battery life: estimates" in (folder / "plan.html").read_text()
    for name in ("near", "far"):
        planned, *others, raw = [row for row in energy["candidates"] if row["node"] == name]
        assert planned["estimate"] and planned["coded_as"] == "predictive, as planned" and planned["instructions_per_sample"] > 100
        assert others[-1]["coded_as"].endswith("the best conventional") and raw["coded_as"] == "16 bits, uncoded"
        assert raw["average_ua"] > planned["average_ua"] and raw["battery_years"] < planned["battery_years"]
    assert {path.name for path in folder.iterdir()} == {"fleet.toml", "plan.json", "plan.html", "near.ewz", "far.ewz"}
    fleet = config.load(folder / "fleet.toml").fleet
    assert {node.name for node in fleet.nodes} == {"near", "far"}
    assert bundle.load(folder / "near.ewz").max_error == pytest.approx(0.1)
    result = run(evaluate, folder / "fleet.toml", "--data", recording, "--second-half", "--no-baselines", "--json")
    assert result.exit_code == 0, result.output
    nodes = {node["name"]: node for node in json.loads(result.output)["nodes"]}
    for node in report["nodes"]:
        assert nodes[node["name"]]["max_abs_error"] <= 0.1 + 1e-6
        assert nodes[node["name"]]["payload_bits_per_sample"] == pytest.approx(node["bits"], rel=0.1)


# ------------------------------------------------------------------------------------------------------- bad input


def test_copies_are_named(columns):
    recording = from_columns({"a": columns["near"], "b": columns["alien"], "c": 2 * columns["near"] + 1}, path="r.csv")
    with pytest.raises(DesignError, match="columns 'a' and 'c' are copies"):
        make_plan(recording, ["a", "b", "c"], OPTIONS)


@pytest.mark.parametrize(
    ("names", "options", "error", "words"),
    [
        (["flat", "near"], OPTIONS, RecordingError, "'flat' is constant"),
        (["near", "nobody"], OPTIONS, RecordingError, "no column 'nobody'"),
        (["short"], OPTIONS, DesignError, "samples"),
        (["early"], OPTIONS, DesignError, "last quarter"),
        (["near", "near"], OPTIONS, InputError, "named twice"),
        (["near"], Options("rmse", float("nan")), InputError, "positive"),
        (["near"], Options("rmse", 1e9), InputError, "wider"),
        ([], OPTIONS, InputError, "no column"),
    ],
)
def test_bad_input_is_one_line(columns, names, options, error, words):
    short, early = np.full(T, np.nan), columns["near"].copy()
    short[:150], early[T // 2 :] = columns["alien"][:150], np.nan
    recording = from_columns({**columns, "flat": np.ones(T), "short": short, "early": early}, path="r.csv")
    with pytest.raises(error, match=words) as caught:
        make_plan(recording, names, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("args", [[], ["--rmse", 1, "--bits", 2], ["--rmse", 1, "--schemes", "magic"], ["--rmse", 1, "--schemes", "nested"]])
def test_command_refuses(tmp_path, args):
    result = run(plan, tmp_path / "none.csv", "-o", tmp_path / "f", *args)
    assert isinstance(result.exception, EdgeWzError)


def test_nested_is_adopted_where_it_was_measured_cheaper(columns, monkeypatch):
    """The measurement is made up; the choice, the model and its fleet are not."""

    def cheap(study, recording, rmse, met, promised, side, decoded):
        if not side:
            return NestedTrial("no neighbour")
        return NestedTrial("measured", rmse * 3.4 * study.material.scale, rmse, met.bits / 2, study.material.values)

    monkeypatch.setattr("training.plan_schemes.try_nested", cheap)
    two = {name: columns[name][600:1624] for name in ("near", "far")}
    made = make_plan(from_columns(two, 1.0), list(two), Options("rmse", 0.06, schemes=("predictive", "nested")))
    make_models(made)
    schemes = {made.models[name].node.scheme for name in made.order}
    assert schemes == {"predictive", "nested"}
    user = made.choices[made.order[-1]]
    assert user.scheme == "nested" and user.depth == 1 and made.models[user.name].side == user.candidate.side
