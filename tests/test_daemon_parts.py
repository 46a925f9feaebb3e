"""What the daemon is made of, where a process of its own would hide it: spilling, throttling, matching of links."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wz.errors import ConfigError
from edge_wz.formats.capture import DataRecord, LinkRecord
from edge_wz.gateway import consumer, daemon
from edge_wz.gateway.consumer import data_records
from edge_wz.gateway.fleet import LinkSpec
from edge_wz.gateway.transports import backoff
from tests.daemon_driver import count_in, frames, listen_here, served, write_fleet


@pytest.mark.parametrize(("memory_bytes", "limit_mb"), [(50, 100), (1 << 20, 0.003), (1 << 20, 100)])
def test_a_slow_decoder_reads_from_the_disk_or_slows_the_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int, limit_mb: float
) -> None:
    monkeypatch.setattr(daemon, "MEMORY_BYTES", memory_bytes)
    fleet = write_fleet(tmp_path, listen_here(), more=f"spool_limit_mb = {limit_mb}")
    running = served(fleet, b"".join(frames(3, 3200)), 3 * 3150)
    assert count_in(tmp_path / "store.sqlite") == 3 * 3200
    stats = running.stats
    assert stats is not None
    assert all(n.samples_expected == n.samples_decoded + n.samples_concealed == 3200 for n in stats.nodes.values())
    assert all(n.samples_concealed == 0 for n in stats.nodes.values())


def test_a_stop_leaves_a_backlog_to_the_next_start_unless_asked_to_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "DRAIN_S", 0)
    monkeypatch.setattr(consumer, "SLICE_SAMPLES", 100)
    fleet = write_fleet(tmp_path, listen_here())
    served(fleet, b"".join(frames(3, 1600)), 0, finish=False)
    assert count_in(tmp_path / "store.sqlite") < 3 * 1000
    served(fleet, b"", 0)
    assert count_in(tmp_path / "store.sqlite") == 3 * 1600


def told(sock: socket.socket) -> list[bytes]:
    states = []
    with contextlib.suppress(BlockingIOError):
        while True:
            states.append(sock.recv(100))
    return states


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    fleet = write_fleet(tmp_path, listen_here())
    address = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0"))
        manager.setblocking(False)
        served(fleet, b"", 0)
        states = told(manager)
    assert states[0] == b"READY=1" and set(states[1:]) == {b"WATCHDOG=1", b"STOPPING=1"}
    served(fleet, b"", 0)  # nobody listens


LINKS = (LinkSpec(4, "radio"), LinkSpec(5, "yard", shared=False, node_id=7))


def records(*links: LinkRecord) -> Iterator[LinkRecord | DataRecord]:
    yield from links
    for link in links:
        yield DataRecord(link.link, b"x", 10, 100 + link.link)


def test_links_of_a_capture_are_found_by_name_or_kind() -> None:
    named = records(LinkRecord(0, 7, "yard", 0, 0), LinkRecord(1, None, "radio", 0, 0))
    assert [r.link for r in data_records(named, LINKS, strict=True)] == [5, 4]
    alike = records(LinkRecord(0, 7, "pty3", 0, 0), LinkRecord(1, None, "pty4", 0, 0))
    assert [(r.link, r.position) for r in data_records(alike, LINKS, strict=True)] == [(5, 100), (4, 101)]


def test_links_that_are_in_no_fleet_file() -> None:
    strange = (LinkRecord(0, 8, "yard2", 0, 0), LinkRecord(1, None, "radio", 0, 0))
    with pytest.raises(ConfigError, match=r"link 'yard2' \(of node 8\) for which the fleet file has no \[\[link\]\]"):
        list(data_records(records(*strange), LINKS, strict=True))
    assert [r.link for r in data_records(records(*strange), LINKS, strict=False)] == [4]


def test_the_clock_never_falls() -> None:
    clock = daemon.LiveClock(1 << 60)
    times = [clock.now_us() for _ in range(1000)]
    assert times[0] >= 1 << 60 and times == sorted(times)


def test_pauses_between_attempts_grow_to_a_limit() -> None:
    delays = [delay for delay, _ in zip(backoff(), range(12), strict=False)]
    assert delays[0] < 0.2 and 3 < delays[-1] < 7
