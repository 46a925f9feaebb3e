"""Simulated nodes on every backend: the packets of numba, instructions as `footprint` counts them, and advice where a tool is missing."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_wz.errors import EdgeWzError
from edge_wz.formats import blob
from edge_wz.formats.bundle import save
from export import footprint
from firmware_sim import simulate
from firmware_sim.backends import Backends
from firmware_sim.channel import ChannelSpec
from firmware_sim.fleet import Backend, Member, RunSpec, Transmission
from tests.daemon_driver import run_here
from tests.fleet_models import nested_model
from tests.layered_models import layered_model
from tests.pipeline_fleet import predictive_model

CHIPS = [
    pytest.param("c", marks=pytest.mark.c),
    pytest.param("thumb", marks=[pytest.mark.arm, pytest.mark.emulator]),
    pytest.param("thumb:m3", marks=[pytest.mark.arm, pytest.mark.emulator]),
    pytest.param("qemu", marks=[pytest.mark.arm, pytest.mark.qemu, pytest.mark.deploy]),
]
KEPT = contextlib.ExitStack()  # to the end of the process: what was compiled
atexit.register(KEPT.close)
NO_CLOCK = RunSpec(start_ms=0)
RUNTIME = CHIPS[:3]
SAMPLES = 400


def fleet() -> tuple[Member, ...]:
    """One node of each kind that differs in what it computes."""
    nodes = {
        "nested": nested_model().node,
        "taps": blob.make_nested(32, 50, 8, 0.01, 0.0, [(23, 12, 1 << 11, [700, -150, 40])]),
        "trellis": blob.make_trellis(32, 50, 4, 0.01, 0.0, (3, 0o13, 0o4), [(16, 12, 1 << 11, [700])]),
        "predictive": predictive_model().node,
        "layered": layered_model().node,
    }
    return tuple(Member(125 + k, name, replace(nested_model(), node=node)) for k, (name, node) in enumerate(nodes.items()))


def readings(members: tuple[Member, ...]) -> dict[str, np.ndarray]:
    found = simulate.true_samples([member.name for member in members], [""] * len(members), simulate.SourceSpec("field", SAMPLES, 3))
    for values in found.values():
        values[100:110] = values[333] = np.nan
    return found


def sent_by(name: str, run: RunSpec, members: tuple[Member, ...] = ()) -> Mapping[str, Transmission]:
    members = members or fleet()
    chosen = dict.fromkeys([member.node_id for member in members], backend(name))
    return simulate.transmit(members, readings(members), run, ChannelSpec(), 1, backends=chosen).sent


@functools.cache
def backend(name: str) -> Backend:
    """Made once: one serves many runs."""
    return KEPT.enter_context(Backends([name])).prepare([1])[1]


@functools.cache
def by_numba(run: RunSpec) -> Mapping[str, Transmission]:
    return sent_by("numba", run)


@pytest.mark.parametrize("name", CHIPS)
def test_frames_times_and_counters_are_those_of_numba(name: str) -> None:
    for node, sent in sent_by(name, NO_CLOCK).items():
        expected = by_numba(NO_CLOCK)[node]
        assert sent.frames == expected.frames, node
        assert sent.counters == expected.counters, node


@pytest.mark.parametrize("name", RUNTIME)
def test_clock_epoch_rate_point_and_addressed_links(name: str) -> None:
    run = RunSpec(start_ms=1_767_225_600_123, shared_link=False, boot_epoch=77, rate_point=1)
    members = tuple(member for member in fleet() if len(member.model.node.rate_points) > 1)
    assert members
    for node, sent in sent_by(name, run, members).items():
        assert sent.frames == sent_by("numba", run, members)[node].frames


@pytest.mark.arm
@pytest.mark.emulator
def test_instructions_are_counted_packet_by_packet() -> None:
    setting = footprint.settings()["everything"]
    member = Member(1, "n1", replace(nested_model(), node=setting.node))
    values = setting.node.to_units(footprint.source())
    run = RunSpec(0, shared_link=False)
    sent = simulate.transmit((member,), {"n1": values}, run, ChannelSpec(), 1, backends={1: backend("thumb")}).sent["n1"]
    assert sent.core == "m0" and sent.instructions is not None
    assert len(sent.instructions) == sent.counters.data_packets + 1
    measured = json.loads(footprint.RECORD.read_text())["m0"]["everything"]["single"]
    assert sent.instructions[:-1].sum() / len(values) == pytest.approx(measured, rel=0.03), "2 % is what a record may be off, and a hello at boot"


def test_choices_by_node(tmp_path: Path) -> None:
    save(tmp_path / "m.ewz", nested_model())
    arguments = ("simulate", "--nodes", "3", "--model", str(tmp_path / "m.ewz"), "--samples", "64", "--to", "process", "--json")
    done = run_here(*arguments, "--backend", "c", "--backend", "2-3=numba", "--backend", "3=c")
    assert done.returncode == 0, done.stderr
    assert [row["backend"] for row in json.loads(done.stdout)["nodes"]] == ["c", "numba", "c"]


@pytest.mark.parametrize(("choice", "says"), [
    ("avr", "'avr': is none of numba, c, thumb"), ("x=c", "is none of"), ("5-3=c", "node 3 comes before node 5"), ("3-=c", "is none of"),
])  # fmt: skip
def test_wrong_choices_are_named(choice: str, says: str) -> None:
    with pytest.raises(EdgeWzError, match=says):
        Backends([choice])


@pytest.mark.parametrize(("name", "tool"), [
    ("c", "gcc missing: apt-get install gcc"), ("thumb", "apt-get install gcc-arm-none-eabi"),
    pytest.param("qemu", "qemu-system-arm is missing: apt-get install qemu-system-arm", marks=pytest.mark.deploy),
])  # fmt: skip
def test_a_missing_tool_is_one_line_that_says_how_to_get_it(name: str, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with Backends([name]) as backends, pytest.raises(EdgeWzError) as caught:
        backends.prepare([1])
    assert tool in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.arm
@pytest.mark.emulator
def test_chips_against_a_daemon(tmp_path: Path) -> None:
    """Ten emulated chips, one daemon of its own: text, JSON and page tell instructions, bits and an estimate for each node."""
    save(tmp_path / "m.ewz", nested_model())
    page, folder = tmp_path / "run.html", tmp_path / "gateway"
    done = run_here(
        "simulate", "--nodes", "10", "--model", str(tmp_path / "m.ewz"), "--samples", "160", "--backend", "thumb", "--loss", "0.05",
        "--to", f"daemon:{folder}", "--page", str(page), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["nodes"]
    assert len(rows) == 10 and (folder / "store.sqlite").exists()
    for row in rows:
        assert row["expected"] == row["decoded"] + row["concealed"]
        assert row["instructions"]["core"] == "m0" and 50 < row["instructions"]["per_sample"] < 300
        assert row["energy"]["estimate"] and row["energy"]["instructions"] == "counted" and row["energy"]["battery_years"] > 1
    text = page.read_text()
    assert text.count("<tr>") == 11 and "Battery life in years: an estimate" in text and "n10" in text
    again = run_here("simulate", "--nodes", "1", "--model", str(tmp_path / "m.ewz"), "--to", f"daemon:{folder}")
    assert again.returncode != 0 and "has a store already" in again.stderr
