"""The cases of tests/vectors on the C runtime: compiled for this machine, for Cortex-M0 and M3, and for RISC-V."""

import struct
from dataclasses import replace

import pytest

from edge_wz.formats import blob
from export import c_source, harness
from tests import c_driver, kernel_driver, runtime_machines
from tests.runtime_machines import machines
from tests.test_vectors import cases

ALONG = pytest.mark.parametrize("block", [True, False], ids=["block", "sample"])


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> harness.Machine:
    return runtime_machines.make(request.param)


def test_the_header_of_constants_is_current():
    assert c_source.LAYOUT_HEADER.read_text() == c_source.layout_header()


@machines
def test_arithmetic(machine):
    listed = [case for case in cases("arithmetic") if case["op"] in c_driver.OPERATIONS]
    assert {case["op"] for case in cases("arithmetic")} - set(c_driver.OPERATIONS) == {"sat32"}  # no operation of a node ends in 32 bits
    assert c_driver.arithmetic_cases(machine, listed) == [case["result"] for case in listed]


@machines
def test_level_check(machine):
    for case in cases("level_check"):
        if case["bits"]:
            assert c_driver.level_check(machine, case) == case["check"], case


@machines
def test_range_coder(machine):
    for case in cases("range_coder"):
        assert c_driver.range_encode(machine, case) == case["payload"], case


def _filtered(case):
    point = (case["modulus"], case["shift"], case["rounding"], case["taps"])
    if "code" in case:
        return blob.make_trellis(case["packet_samples"], 65535, case["check_bits"], 1.0, 0.0, tuple(case["code"]), [point])
    return blob.make_nested(case["packet_samples"], 65535, case["check_bits"], 1.0, 0.0, [point])


@machines
@ALONG
@pytest.mark.parametrize("name", ["nested", "trellis"])
def test_filtered(machine, name, block):
    listed = [case for case in cases(name) if any(case["taps"])]  # what is silent altogether is no blob
    assert len(listed) >= 0.9 * len(cases(name))
    for case in listed:
        payloads, saturated = c_driver.payloads(machine, _filtered(case), case, block)
        assert payloads == case["payloads"], case
        assert saturated == case.get("saturated", saturated), case


@machines
def test_trellis_codes(machine):
    for case in cases("trellis_codes"):
        memory, h0, h1 = case["code"]
        body = bytearray(blob.make_trellis(8, 65535, 0, 1.0, 0.0, (2, 0o5, 0o2), [(1, 4, 8, [1])]).blob[:-4])
        body[33:44] = struct.pack("<BBBII", memory, 0, 0, h0, h1)
        assert (harness.load(machine, blob.with_check(bytes(body))) == 0) == case["valid"], case


@machines
@ALONG
def test_predictive(machine, block):
    for case in cases("predictive"):
        node = kernel_driver.node_model(case, len(case["codes"]))
        assert c_driver.payloads(machine, node, case, block)[0] == [case["payload"]], case


@machines
@ALONG
def test_syndrome(machine, block):
    for case in cases("syndrome"):
        node = kernel_driver.run_model({**case, "hello_every": 65535})
        assert c_driver.payloads(machine, node, case, block)[0] == case["payloads"], case


@machines
@ALONG
def test_layered(machine, block):
    listed = [case for case in cases("layered") if case["first"] == 0]  # no refinement packets from a node
    assert len(listed) > 50
    for case in listed:
        point = replace(kernel_driver.layered_point(case), sent=case["last"])
        node = blob.make_layered(case["packet_samples"], 65535, 1.0, 0.0, [point])
        assert c_driver.payloads(machine, node, case, block)[0] == case["payloads"], case


@machines
@ALONG
def test_layered_blocks(machine, block):
    listed = [case for case in cases("layered_blocks") if case["first"] == 0]
    assert len(listed) > 50
    for case in listed:
        node = kernel_driver.run_model({**case, "hello_every": 65535})
        assert c_driver.payloads(machine, node, case, block)[0] == [case["payload"]], case


@machines
@ALONG
@pytest.mark.parametrize("name", ["node", "syndrome_node", "layered_node", "layered_block_node"])
def test_node(machine, name, block):
    for case in cases(name):
        assert c_driver.node_run(machine, case, block) == {name: case[name] for name in ("packets", "frames")}, case
