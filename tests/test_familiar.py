"""Whoever reads samples says so, once, when a bundle was made for others."""

import logging

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.codec.familiar import ENOUGH, TRAITS, Familiar, stranger, traits
from edge_wz.formats import bundle
from firmware_sim.cli import node
from training import design
from training.data import from_columns
from training.evaluate import evaluate_bundle


@pytest.fixture(scope="module")
def walk():
    rng = np.random.default_rng(3)
    return 20 + np.cumsum(rng.standard_normal(4000)) * 0.1


@pytest.fixture(scope="module")
def model(walk):
    return design.design(from_columns({"x": walk}, 1.0), "x", (), "predictive", step=0.1)


def test_a_design_remembers_its_recording(model, walk):
    assert model.provenance[TRAITS] == traits(walk)


@pytest.mark.parametrize("change", [lambda x: x * 1.8 + 32, lambda x: x / 1000, lambda x: x + 273.15, lambda x: 40 * (x - 20) + 20])
def test_other_units_and_gains_are_strange(model, walk, change):
    assert stranger(model, change(walk)) is not None


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x + 5, lambda x: 0 * x + 21, lambda x: 20 + 3 * (x - 20), lambda x: x[::10]])
def test_drift_stillness_and_other_spacing_are_not(model, walk, change):
    assert stranger(model, change(walk)) is None


def test_bundles_that_remember_nothing_are_not_doubted(model, walk):
    from dataclasses import replace

    assert stranger(replace(model, provenance={}), walk + 1e6) is None


def test_a_stream_is_judged_once_and_gaps_do_not_matter(model, walk):
    familiar = Familiar(model)
    values = walk + 500
    values[::3] = np.nan
    said = [familiar.look(values[k : k + 100]) for k in range(0, 2000, 100)]
    assert [k for k, line in enumerate(said) if line] == [-(-ENOUGH // 100) - 1]


def test_evaluate_and_node_warn(model, walk, tmp_path):
    report = evaluate_bundle(model, from_columns({"x": walk[:1000] + 273.15}, 1.0), with_baselines=())
    assert len(report["warnings"]) == 1 and "another unit or sensor?" in report["warnings"][0]
    assert evaluate_bundle(model, from_columns({"x": walk[:1000]}, 1.0), with_baselines=())["warnings"] == []
    bundle.save(tmp_path / "m.ewz", model)
    for name, values in (("far", walk[:300] + 273.15), ("near", walk[:300])):
        (tmp_path / f"{name}.csv").write_text("x\n" + "\n".join(f"{v:.3f}" for v in values) + "\n")
        arguments = ["--model", str(tmp_path / "m.ewz"), "--input", str(tmp_path / f"{name}.csv"), "--link", str(tmp_path / f"{name}.out")]
        result = CliRunner().invoke(node, arguments)
        assert ("another unit or sensor?" in result.output) == (name == "far"), result.output


def test_the_gateway_warns(model, caplog):
    from types import SimpleNamespace

    from edge_wz.gateway.consumer import Consumer

    consumer = SimpleNamespace(_familiar={1: Familiar(model)}, _name=lambda node_id: f"node {node_id}")
    event = _decoded(np.full(ENOUGH, 400.0))
    with caplog.at_level(logging.WARNING):
        Consumer._look(consumer, event)
        Consumer._look(consumer, event)
    assert caplog.text.count("another unit or sensor?") == 1


def _decoded(values):
    from edge_wz.gateway.events import SamplesDecoded

    flags = np.zeros(values.size, np.uint8)
    return SamplesDecoded(1, 0, 0, 0, 1_000_000, values, np.ones(values.size), flags, False, 0, 0)
