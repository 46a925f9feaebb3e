"""`edge-wz export`: graphs, parity, and what is said when implementations differ."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.errors import EdgeWzError
from edge_wz.formats import blob, bundle
from edge_wz.kernels import nested_quantizer
from edge_wz.model import Model, SideFilter, frozen
from export import plain, verify
from export.cli import export
from export.integerize import nested_rate_point
from tests import random_models
from tests.reference import nested as reference
from training import design
from training.data import from_columns


def filtered_model(moduli=(4, 10), taps=(1.0, -0.4, 0.1), level_check_bits=0) -> Model:
    """Made by hand: two neighbours, a filter at the node, an output filter."""
    points = [nested_rate_point(taps, 3000.0 / modulus, modulus) for modulus in moduli]
    node = blob.make_nested(32, 128, level_check_bits, 0.01, 2.0, points)
    rng = np.random.default_rng(3)
    root = rng.standard_normal((7, 7)) * 300
    side = SideFilter(
        3, frozen([40.0, 1.0, 1.0, 1.0, -5.0, -5.0, -5.0], np.float64), frozen(root @ root.T, np.float64),
        frozen([0.99, 0.38, 0.05], np.float64),
    )
    return Model(node=node, decoder="nearest", side=("y0", "y1"), side_filter=side)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "m.ewz"
    bundle.save(path, filtered_model())
    return path


@pytest.mark.train
def test_everything_agrees_on_random_and_extreme_inputs():
    rows = verify.verify(filtered_model(), 4000)
    assert verify.passed(rows)
    assert {(row["first"], row["second"]) for row in rows} >= {("numba", "plain integers"), ("onnx", "numba")}
    for row in rows:
        assert row["excluded"] < 0.3 * row["samples"], row
        assert row["largest"] < 1e-5, row


def test_a_difference_is_found():
    model = filtered_model((4,))
    codes = np.arange(-500, 500, dtype=np.int16) * 30
    found = verify.through_packets(model, codes, 0).values
    other = replace(model.node.rate_points[0], rounding=model.node.rate_points[0].rounding + (1 << 25))
    wrong = plain.nested_levels(replace(model.node, rate_points=(other,)), codes.tolist())
    assert np.count_nonzero(found != np.array(plain.nested_bins(model.node, wrong)))


@pytest.mark.parametrize("modulus", [2, 3, 10, 64])
def test_plain_integers_are_those_of_the_reference(modulus):
    model = filtered_model((modulus,))
    point = model.node.rate_points[0]
    codes = np.random.default_rng(modulus).integers(-32768, 32768, 500).tolist()
    bins, _, _ = reference.quantize(codes, [int(tap) for tap in point.taps], point.shift, point.rounding, modulus)
    assert plain.nested_bins(model.node, plain.nested_levels(model.node, codes)) == bins


def test_predictive_bundles_have_integers_to_compare():
    walk = np.cumsum(np.random.default_rng(0).standard_normal(3000))
    model = design.design(from_columns({"x": walk}, 1.0), "x", (), "predictive", step=0.5)
    rows = verify.verify(model, 2000)
    assert verify.passed(rows) and {row["part"] for row in rows} == {"levels", "reconstructions"}


@pytest.mark.parametrize("scheme", list(random_models.MAKERS))
def test_every_scheme_has_integers_to_compare(scheme):
    for number in range(3):
        node = random_models.random_model(scheme, random.Random(f"{scheme} {number}"))
        rows = verify.verify(Model(node=node, decoder=""), 400)
        assert verify.passed(rows) and len(rows) >= 2 * len(node.rate_points)


@pytest.mark.slow
def test_ten_million_samples_are_the_same_integers():
    model = filtered_model((4,))
    point = model.node.rate_points[0]
    codes = np.random.default_rng(1).integers(-32768, 32768, 10_000_000).astype(np.int16)
    state = np.zeros(nested_quantizer.STATE_SLOTS, np.int32)
    bins, turns = np.empty(codes.size, np.int32), np.empty(codes.size, np.int32)
    nested_quantizer.quantize_stream(
        codes, np.ones(codes.size, bool), point.taps, point.shift, point.rounding, point.modulus, state, bins, turns
    )
    levels = np.array(plain.nested_levels(model.node, codes.tolist()))
    assert np.array_equal((levels + 32768) % point.modulus, bins)
    assert np.array_equal((levels + 32768) // point.modulus, turns)


@pytest.mark.train
def test_command_writes_graphs_and_reports_parity(saved, tmp_path):
    import onnx

    arguments = ["--onnx", str(tmp_path / "graphs"), "--node", str(tmp_path / "node.bin"), "--verify", "--samples", "800"]
    result = CliRunner().invoke(export, [str(saved), *arguments, "--json"], catch_exceptions=False)
    report = json.loads(result.output)
    assert report["passed"] and len(report["written"]) == 5
    onnx.checker.check_model(str(tmp_path / "graphs" / "encoder-1.onnx"))
    assert blob.parse((tmp_path / "node.bin").read_bytes()).model_id.hex() == report["model_id"]


def test_command_prints_a_table(saved):
    result = CliRunner().invoke(export, [str(saved), "--verify", "--samples", "640"], catch_exceptions=False)
    assert "plain integers" in result.output and result.output.endswith("all agree\n")


def test_without_onnx_there_is_one_line(saved, tmp_path, monkeypatch):
    import importlib

    real = importlib.import_module

    def missing(name, *rest):
        if name == "onnx":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(EdgeWzError, match=r"pip install 'edge-wz\[onnx\]'"):
        CliRunner().invoke(export, [str(saved), "--onnx", str(tmp_path / "g")], catch_exceptions=False)


def test_nothing_asked_and_nothing_there(saved, tmp_path):
    with pytest.raises(EdgeWzError, match="nothing to do"):
        CliRunner().invoke(export, [str(saved)], catch_exceptions=False)
    with pytest.raises(EdgeWzError, match="absent.ewz"):
        CliRunner().invoke(export, [str(tmp_path / "absent.ewz"), "--verify"], catch_exceptions=False)
    predictive = design.design(
        from_columns({"x": np.cumsum(np.random.default_rng(0).standard_normal(3000))}, 1.0), "x", (), "predictive", step=0.5
    )
    bundle.save(tmp_path / "p.ewz", predictive)
    with pytest.raises(EdgeWzError, match="no float chain"):
        CliRunner().invoke(export, [str(tmp_path / "p.ewz"), "--onnx", str(tmp_path / "g")], catch_exceptions=False)
