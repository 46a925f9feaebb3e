"""Fleets: the truth written is the truth sent, every link carries the same bytes, and the accounts balance."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.errors import EdgeWzError, InputError, RecordingError
from edge_wz.formats import bundle
from edge_wz.formats.capture import CaptureReader, DataRecord, LinkRecord
from edge_wz.formats.framing import FrameDecoder
from firmware_sim import simulate
from firmware_sim.channel import ChannelSpec
from firmware_sim.cli import simulate as simulate_verb
from firmware_sim.fleet import Member, RunSpec, deal
from firmware_sim.node import read_columns
from firmware_sim.simulate import SourceSpec
from tests.fleet_models import nested_model

LOSSY = ChannelSpec(loss=0.05, duplicate=0.01, reorder=0.02, jitter_us=20_000)
SHARED = RunSpec(start_ms=1_000_000)


def chain(nodes: int) -> tuple[Member, ...]:
    """n1 alone, each other node with the one before as its neighbour."""
    first, other = nested_model(modulus=512), nested_model("y", modulus=256)
    return tuple(
        Member(k, f"n{k}", other if k > 1 else first, (f"n{k - 1}",) if k > 1 else ()) for k in range(1, nodes + 1)
    )


def field_samples(members: tuple[Member, ...], samples: int, seed: int = 1) -> dict[str, np.ndarray]:
    names = [member.name for member in members]
    return simulate.true_samples(names, names, SourceSpec("field", samples, seed))


@pytest.fixture
def bundles(tmp_path: Path) -> tuple[Path, Path]:
    for name, model in (("ref.ewz", nested_model(modulus=512)), ("wz.ewz", nested_model("y", modulus=256))):
        bundle.save(tmp_path / name, model)
    return tmp_path / "ref.ewz", tmp_path / "wz.ewz"


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(simulate_verb, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_pairs_share_a_source_and_differ_between_pairs() -> None:
    samples = simulate.true_samples(["a", "b", "c", "d"], ["x", "y", "x", "y"], SourceSpec("fig5", 5000, 3))
    assert np.corrcoef(samples["a"], samples["b"])[0, 1] > 0.95
    assert abs(np.corrcoef(samples["a"], samples["c"])[0, 1]) < 0.2


def test_true_samples_are_written_exactly(tmp_path: Path) -> None:
    samples = {"a": np.array([0.1, np.nan, 1e-17]), "b": np.array([1.0, 2.0, 1 / 3])}
    for name in ("t.csv", "t.csv.gz"):
        simulate.write_csv(tmp_path / name, samples)
        again = read_columns(tmp_path / name)
        np.testing.assert_array_equal(again["a"], samples["a"])
        np.testing.assert_array_equal(again["b"], samples["b"])


def test_replay_takes_columns_by_node_or_by_source(tmp_path: Path) -> None:
    path = tmp_path / "rec.csv"
    path.write_text("k,n1,x\n0,1,5\n1,,6\n")
    samples = simulate.true_samples(["n1", "n2"], ["x", "x"], SourceSpec(replay=path))
    np.testing.assert_array_equal(samples["n1"], [1, np.nan])
    np.testing.assert_array_equal(samples["n2"], [5, 6])
    with pytest.raises(RecordingError, match="no column 'n3' .there are n1, x"):
        simulate.true_samples(["n3"], ["z"], SourceSpec(replay=path))


def test_packets_leave_with_their_last_sample() -> None:
    members = chain(1)
    run = simulate.transmit(members, field_samples(members, 40), SHARED, ChannelSpec(), 1)
    times = [delivery.time_us for delivery in run.deliveries]
    start_us = 1_000_000_000
    seconds = [0, 15, 31, 39, 39]  # boot hello, two packets, short packet, last hello
    assert times == [start_us + s * 1_000_000 for s in seconds]


def test_absent_samples_cost_a_bitmap_and_no_code() -> None:
    members = chain(1)
    samples = field_samples(members, 64)
    samples["n1"][10:20] = np.nan
    run = simulate.transmit(members, samples, SHARED, ChannelSpec(), 1)
    counters = run.sent["n1"].counters
    assert (counters.samples, counters.absent) == (64, 10)


def test_every_link_carries_the_same_bytes(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    fleet = ("--nodes", 4, "--model", bundles[0], "--model", bundles[1])
    common = (*fleet, "--samples", 100, "--loss", 0.1, "--flip", 1e-3)
    invoke(*common, "--to", tmp_path / "frames.bin")
    result = json.loads(invoke(*common, "--to", f"capture:{tmp_path / 'c.wzc'}", "--json"))
    frames = (tmp_path / "frames.bin").read_bytes()
    records = list(CaptureReader((tmp_path / "c.wzc").read_bytes()))
    assert isinstance(records[0], LinkRecord) and records[0].node_id is None
    data = [record for record in records if isinstance(record, DataRecord)]
    assert b"".join(record.data for record in data) == frames
    assert result["link_bytes"] == len(frames) and result["channel"]["delivered"] == len(data)
    assert [record.time_us for record in data] == sorted(record.time_us for record in data)
    assert result["channel"]["flipped"] > 0 and len(FrameDecoder().feed(frames)) > 0


def test_addressed_nodes_have_a_link_each(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    path = tmp_path / "c.wzc"
    invoke("--nodes", 3, "--model", bundles[0], "--samples", 50, "--addressed", "--to", f"capture:{path}")
    links = [record for record in CaptureReader(path.read_bytes()) if isinstance(record, LinkRecord)]
    assert [(link.link, link.name, link.node_id) for link in links] == [(0, "n1", 1), (1, "n2", 2), (2, "n3", 3)]


def test_a_written_fleet_is_read_back(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    path = tmp_path / "fleet.toml"
    invoke("--nodes", 4, "--model", bundles[0], "--model", bundles[1], "--write-fleet", path)
    common = ("--samples", 60, "--seed", 5)
    invoke("--fleet", path, *common, "--to", tmp_path / "a.bin")
    invoke("--nodes", 4, "--model", bundles[0], "--model", bundles[1], *common, "--to", tmp_path / "b.bin")
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()


def test_pace_stretches_the_delivery(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    begun_s = time.monotonic()
    invoke("--nodes", 1, "--model", bundles[0], "--samples", 64, "--pace", 63, "--to", tmp_path / "a.bin")
    assert 0.9 < time.monotonic() - begun_s < 10


def test_pty_waits_for_its_reader_and_loses_nothing(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    from firmware_sim.links import open_link

    received = bytearray()
    ended = threading.Event()

    def read(device: str) -> None:
        with open(device, "rb", buffering=0) as far:
            while not ended.is_set():
                try:
                    received.extend(far.read(4096))
                except OSError:
                    return

    def announce(device: str) -> None:
        threading.Thread(target=read, args=(device,), daemon=True).start()

    members = chain(3)
    run = simulate.transmit(members, field_samples(members, 20_000), SHARED, LOSSY, 1)
    with open_link("pty", [], 0, announce) as link:
        simulate.deliver(link, run.deliveries, simulate.link_numbers(members, True))
    ended.set()
    assert bytes(received) == b"".join(delivery.data for delivery in run.deliveries)


def test_two_hundred_nodes_take_seconds() -> None:
    members = chain(200)
    samples = field_samples(members, 3600)
    begun_s = time.monotonic()
    run = simulate.transmit(members, samples, SHARED, LOSSY, 1)
    assert time.monotonic() - begun_s < 15
    assert sum(sent.counters.samples for sent in run.sent.values()) == 200 * 3600
    assert run.channel.delivered == len(run.deliveries)


@pytest.mark.parametrize("shared", [True, False])
def test_in_process_every_sample_is_accounted_for(shared: bool) -> None:
    members = chain(5)
    samples = field_samples(members, 1000)
    samples["n2"][100:150] = np.nan
    spec = RunSpec(start_ms=1_000_000, shared_link=shared)
    run = simulate.transmit(members, samples, spec, LOSSY, 2)
    outcomes = simulate.decode_in_process(members, samples, run, shared)
    for outcome in outcomes:
        assert outcome.expected == outcome.decoded + outcome.concealed
        assert outcome.expected + outcome.absent == 1000
    assert sum(outcome.concealed for outcome in outcomes) > 0
    assert min(outcome.sqnr_db for outcome in outcomes) > 10


def test_process_prints_the_accounts(bundles: tuple[Path, Path]) -> None:
    output = invoke(
        "--nodes", 2, "--model", bundles[0], "--model", bundles[1], "--samples", 200, "--loss", 0.1, "--seed", 4,
        "--to", "process",
    )
    accounts = re.search(r"accounting: (\d+) expected = (\d+) decoded \+ (\d+) concealed .of 400 taken", output)
    assert accounts is not None
    expected, decoded, concealed = map(int, accounts.groups())
    assert expected == decoded + concealed > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to do"),
        (("--to", "process"), "--to needs --fleet"),
        (("--source", "fig9", "--out", "x.csv"), "no source 'fig9'"),
        (("--ar", "0.5;1", "--out", "x.csv"), "is no list of numbers"),
        (("--ar", "1.2", "--out", "x.csv"), "not stable"),
        (("--replay", "no.csv", "--out", "x.csv"), "no.csv: No such file"),
        (("--model", "no.ewz", "--to", "process"), "No such file"),
    ],
)
def test_bad_input_says_what(arguments: tuple[Any, ...], message: str) -> None:
    result = CliRunner().invoke(simulate_verb, list(arguments))
    assert isinstance(result.exception, EdgeWzError) and message in str(result.exception)


def test_bundles_that_need_more_neighbours_are_refused(bundles: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="uses 1 neighbours .y., but only 0 bundles are"):
        deal([bundles[1]], 4)
