"""The cases of tests/vectors on the reference and on numba. A missing file, case or digest fails."""

import hashlib
import json
from typing import Any

import pytest

from tests import kernel_driver, reference_driver
from tests.make_vectors import MAKERS, VECTORS, render

Case = dict[str, Any]
MANIFEST = json.loads((VECTORS / "MANIFEST.json").read_text())
implementations = pytest.mark.parametrize("driver", [reference_driver, kernel_driver], ids=["reference", "numba"])


def cases(name: str) -> list[Case]:
    data = (VECTORS / f"{name}.jsonl").read_bytes()
    found = [json.loads(line) for line in data.splitlines()]
    assert hashlib.sha256(data).hexdigest() == MANIFEST[f"{name}.jsonl"]["sha256"]
    assert len(found) == MANIFEST[f"{name}.jsonl"]["cases"] > 0
    return found


def only(case: Case, *names: str) -> Case:
    return {name: case[name] for name in names}


def test_manifest_lists_exactly_the_files_there_are():
    assert set(MANIFEST) == {path.name for path in VECTORS.glob("*.jsonl")} == {f"{name}.jsonl" for name in MAKERS}


@pytest.mark.parametrize("name", MAKERS)
def test_files_are_what_the_reference_writes(name):
    assert (VECTORS / f"{name}.jsonl").read_bytes() == render(name)


@implementations
def test_arithmetic(driver):
    for case in cases("arithmetic"):
        assert driver.arithmetic_case(case) == case["result"], case


@implementations
def test_level_check(driver):
    for case in cases("level_check"):
        assert driver.level_check(case) == case["check"], case


@implementations
def test_range_coder(driver):
    for case in cases("range_coder"):
        assert driver.range_encode(case) == case["payload"], case
        for step, found in zip(case["steps"], driver.range_decode(case), strict=True):
            assert found == step[0] if len(step) == 2 else step[0] <= found < step[0] + step[1], case


@implementations
def test_nested(driver):
    for case in cases("nested"):
        assert driver.nested_encode(case) == only(case, "bins", "turns", "saturated", "payloads"), case
        slots = case["packet_samples"]
        for at, payload in zip(range(0, len(case["bins"]), slots), case["payloads"], strict=True):
            present = [bool(here) for here in case["present"][at : at + slots]]
            parsed = driver.nested_parse(bytes.fromhex(payload), present, case["modulus"], case["check_bits"])
            assert parsed is not None and parsed["bins"] == case["bins"][at : at + slots], case


@implementations
def test_trellis(driver):
    for case in cases("trellis"):
        assert driver.trellis_encode(case) == only(case, "indices", "turns", "payloads"), case
        slots = case["packet_samples"]
        for at, payload in zip(range(0, len(case["indices"]), slots), case["payloads"], strict=True):
            present = [bool(here) for here in case["present"][at : at + slots]]
            parsed = driver.nested_parse(bytes.fromhex(payload), present, 2 * case["modulus"], case["check_bits"])
            assert parsed is not None and parsed["bins"] == case["indices"][at : at + slots], case


@implementations
def test_trellis_codes(driver):
    for case in cases("trellis_codes"):
        assert driver.is_trellis_code(case) == case["valid"], case


@implementations
def test_syndrome(driver):
    for case in cases("syndrome"):
        assert driver.syndrome_encode(case) == only(case, "indices", "payloads"), case
        slots = case["packet_samples"]
        for at, payload in zip(range(0, len(case["indices"]), slots), case["payloads"], strict=True):
            present = [bool(here) for here in case["present"][at : at + slots]]
            parsed = driver.syndrome_parse(case, bytes.fromhex(payload), present)
            assert parsed is not None and parsed["indices"] == case["indices"][at : at + slots], case


@implementations
def test_syndrome_payloads(driver):
    for case in cases("syndrome_payloads"):
        parsed = driver.syndrome_parse(case, bytes.fromhex(case["payload"]), [True] * case["packet_samples"])
        assert parsed == (only(case, "indices", "check") if case["valid"] else None), case


@implementations
def test_layered(driver):
    for case in cases("layered"):
        assert driver.layered_encode(case) == only(case, "messages", "payloads"), case
        slots, layers = case["packet_samples"], case["last"] - case["first"]
        for at, payload in zip(range(0, len(case["codes"]), slots), case["payloads"], strict=True):
            present = [bool(here) for here in case["present"][at : at + slots]]
            parsed = driver.layered_parse(case, bytes.fromhex(payload), present)
            assert parsed is not None and parsed["layers"] == layers, case
            found = parsed["symbols"]
            if not case["first"]:
                found = [driver.layered_node(case, value, layers) for value in found]
            assert found == case["values"][at : at + slots], case


@implementations
def test_layered_payloads(driver):
    for case in cases("layered_payloads"):
        parsed = driver.layered_parse(case, bytes.fromhex(case["payload"]), [True] * case["count"])
        assert parsed == (only(case, "symbols", "layers") if case["valid"] else None), case


@implementations
def test_layered_blocks(driver):
    for case in cases("layered_blocks"):
        assert driver.layered_block(case) == only(case, "messages", "payload"), case
        present = [bool(here) for here in case["present"]]
        parsed = driver.layered_block_parse(case, bytes.fromhex(case["payload"]), present)
        assert parsed == {"values": case["values"], "layers": case["last"] - case["first"]}, case


@implementations
def test_layered_block_payloads(driver):
    for case in cases("layered_block_payloads"):
        parsed = driver.layered_block_parse(case, bytes.fromhex(case["payload"]), [True] * case["packet_samples"])
        assert parsed == (only(case, "values", "layers") if case["valid"] else None), case


@implementations
def test_nested_payloads(driver):
    for case in cases("nested_payloads"):
        present = [True] * case["count"]
        parsed = driver.nested_parse(bytes.fromhex(case["payload"]), present, case["modulus"], case["check_bits"])
        assert parsed == (only(case, "bins", "check") if case["valid"] else None), case


@implementations
def test_predictive(driver):
    for case in cases("predictive"):
        expected = only(case, "payload", "levels", "preds", "recon")
        assert driver.predictive_encode(case) == expected, case
        present = [bool(here) for here in case["present"]]
        parsed = driver.predictive_parse(case, bytes.fromhex(case["payload"]), present)
        assert parsed == only(case, "levels", "preds", "recon"), case


@implementations
def test_predictive_payloads(driver):
    for case in cases("predictive_payloads"):
        parsed = driver.predictive_parse(case, bytes.fromhex(case["payload"]), [True] * case["count"])
        assert parsed == (only(case, "levels", "preds", "recon") if case["valid"] else None), case


@implementations
def test_node(driver):
    for case in cases("node"):
        assert driver.node_run(case) == only(case, "blob", "model_id", "packets", "frames"), case


@implementations
@pytest.mark.parametrize("name", ["syndrome_node", "layered_node", "layered_block_node"])
def test_node_of_another_scheme(driver, name):
    for case in cases(name):
        assert driver.node_run(case) == only(case, "blob", "model_id", "packets", "frames"), case
