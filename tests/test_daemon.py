"""The daemon: what it is sent over TCP is in the store, exactly once, whatever happens to it.

At full size, killed at many more moments: benchmarks/kill_daemon.py and benchmarks/fleet_soak.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_wz.errors import FormatError, StorageError
from edge_wz.formats.capture import pack_data, pack_header, pack_link
from edge_wz.gateway import config, consumer
from edge_wz.gateway.replay import Replay
from tests.daemon_driver import (
    Daemon,
    chunks,
    count_in,
    frames,
    free_port,
    listen_here,
    run_here,
    samples_in,
    served,
    serving,
    until,
    wait_for_samples,
    write_fleet,
)

LISTEN = 'url = "tcp-listen://127.0.0.1:0"\nshared = true'


def send(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(data)


def replayed(fleet: Path, name: str = "replayed") -> Path:
    """The spool, decoded again without interruption."""
    store = fleet.parent / f"{name}.sqlite"
    sink = config.SinkSpec("jsonl", store.with_suffix(".jsonl"))
    replay = Replay(replace(config.load(fleet), store=store, sinks=(sink,)), fleet.parent / "spool")
    for _ in replay.run():
        pass
    replay.close()
    return store


def test_tcp_to_store_and_back_from_the_spool(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, LISTEN)
    data = b"".join(frames(3, 400))
    with Daemon(fleet, "--finish", "--status-every", "0.2", "--jsonl", str(tmp_path / "live.jsonl")) as daemon:
        send(daemon.port(), data)
        wait_for_samples(tmp_path / "store.sqlite", 900)
        daemon.wait_for("samples: .* decoded")
        assert daemon.stop() == 0, daemon.log
        assert "samples expected = decoded + concealed" in daemon.log
    rows = samples_in(tmp_path / "store.sqlite")
    assert [(row[0], row[2]) for row in rows] == [(node, i) for node in (1, 2, 3) for i in range(400)]
    assert rows[399][3] == 1_700_000_000_000_000 + 399 * 10_000
    store = replayed(fleet)
    assert samples_in(store) == rows
    assert store.with_suffix(".jsonl").read_bytes() == (tmp_path / "live.jsonl").read_bytes()


def test_clients_have_their_own_frames_and_come_back(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, LISTEN + "\nclients = 3")
    streams = [b"".join(frames(1, 320, node_ids=[node])) for node in (1, 2, 3)]
    with Daemon(fleet, "--finish") as daemon:
        port = daemon.port()
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in streams]
        for start in range(0, max(map(len, streams)), 7):
            for sock, stream in zip(socks, streams, strict=True):
                sock.sendall(stream[start:start + 7])
        send(port, b"one too many")
        daemon.wait_for("refused: 3 clients are connected")
        socks[0].sendall(b"half a frame")
        socks[0].close()
        daemon.wait_for("closed by the other side")
        send(port, b"".join(frames(1, 160, node_ids=[1], boot_epoch=1)))
        wait_for_samples(tmp_path / "store.sqlite", 3 * 320 + 160)
        assert daemon.stop() == 0, daemon.log
    assert samples_in(replayed(fleet)) == samples_in(tmp_path / "store.sqlite")
    assert count_in(tmp_path / "store.sqlite") == 3 * 320 + 160


def test_what_waits_survives_a_stop(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, listen_here(), nodes=1)
    parts = frames(1, 480)
    store = tmp_path / "store.sqlite"
    served(fleet, b"".join(parts[:10]) + parts[10][:5], 9 * 16, finish=False)
    served(fleet, b"".join(parts[10:]), 480)
    assert samples_in(replayed(fleet)) == samples_in(store)
    assert {row[6] & 2 for row in samples_in(store)} == {0}, "nothing was concealed"


def test_killed_at_any_moment(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, listen_here(), nodes=9)
    live = config.SinkSpec("jsonl", tmp_path / "live.jsonl")
    rng = np.random.default_rng(5)
    parts = frames(9, 640)
    store = tmp_path / "store.sqlite"
    for part in np.array_split(np.arange(len(parts)), 2):
        with Daemon(fleet, "--jsonl", str(live.path)) as daemon, \
                socket.create_connection(("127.0.0.1", daemon.port())) as sock:
            for chunk in chunks(b"".join(parts[i] for i in part), rng, 600):
                sock.sendall(chunk)
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.3))
            daemon.kill()
    served(fleet, b"", 9 * 500, sinks=(live,))
    rows = samples_in(store)
    assert len(rows) == len({row[:3] for row in rows}) > 9 * 500
    again = replayed(fleet)
    assert rows == samples_in(again)
    assert again.with_suffix(".jsonl").read_bytes() == live.path.read_bytes()


def test_capture_now_and_decode_later(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, listen_here())
    with Daemon(fleet, "--capture-only") as daemon:
        send(daemon.port(), b"".join(frames(3, 320)))
        daemon.wait_for("closed by the other side")
        assert daemon.stop() == 0, daemon.log
    assert count_in(tmp_path / "store.sqlite") == 0
    served(fleet, b"", 900)
    assert count_in(tmp_path / "store.sqlite") == 960


def test_a_full_disk_ends_the_daemon_and_loses_nothing(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, listen_here(), more="spool_limit_mb = 100")
    limit = 100_000

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with Daemon(fleet, preexec_fn=small_files) as daemon:
        with contextlib.suppress(ConnectionError):  # it ended before it read all
            send(daemon.port(), b"".join(frames(3, 3000)))
        assert daemon.ended() == 7, daemon.log
        last = daemon.log.strip().splitlines()[-1]
        assert last.startswith(f"edge-wz: {tmp_path}") and ("disk full" in last or "disk I/O error" in last)
        assert "Traceback" not in daemon.log
    served(fleet, b"", 1)
    assert samples_in(replayed(fleet)) == samples_in(tmp_path / "store.sqlite")


def capture_of(path: Path, data: bytes) -> Path:
    records = [pack_data(6, data[at:at + 50], 10 * at) for at in range(0, len(data), 50)]
    path.write_bytes(pack_header(0) + pack_link(6, "pty0", None, 0) + b"".join(records))
    return path


def test_an_interrupted_replay_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = write_fleet(tmp_path, LISTEN)
    capture = tmp_path / "spool"
    capture.mkdir()
    capture_of(capture / "00000001.wzcp", b"".join(frames(3, 320)))
    first = samples_in(replayed(fleet))
    monkeypatch.setattr(consumer, "SLICE_SAMPLES", 100)
    cut = replace(config.load(fleet), store=tmp_path / "cut.sqlite")
    for steps in (1, 2, 1, 100):
        replay = Replay(cut, capture)
        for _, _ in zip(range(steps), replay.run(), strict=False):
            pass
        replay._consumer.abandon()
    assert samples_in(cut.store) == first and len(first) == 960
    with pytest.raises(FormatError, match="no capture segments"):
        Replay(cut, tmp_path)
    with pytest.raises(StorageError, match="choose another with --store"):
        Replay(cut, capture / "00000001.wzcp")


def test_replay_by_command(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, LISTEN.replace("tcp-listen://127.0.0.1:0", "replay:run.wzcp"))
    capture_of(tmp_path / "run.wzcp", b"".join(frames(3, 320)))
    done = run_here("serve", "--fleet", str(fleet))
    assert done.returncode == 0 and "n3" in done.stdout, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert count_in(tmp_path / "store.sqlite") == 960


def test_a_restart_without_a_new_boot_epoch_loses_nothing(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, LISTEN.replace("tcp-listen://127.0.0.1:0", "replay:run.wzcp"), nodes=1)
    first, second = frames(1, 6400), frames(1, 480, seed=2)
    capture_of(tmp_path / "run.wzcp", b"".join([*first, *second]))
    done = run_here("serve", "--fleet", str(fleet))
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        replaced = db.execute("SELECT * FROM replaced ORDER BY sample_index").fetchall()
    capture_of(tmp_path / "first.wzcp", b"".join(first))
    run_here("serve", "--fleet", str(fleet), "--replay", str(tmp_path / "first.wzcp"), "--store",
             str(tmp_path / "first.sqlite"))
    rows, before = samples_in(tmp_path / "store.sqlite"), samples_in(tmp_path / "first.sqlite")
    assert len(rows) == 6400 and rows[480:] == before[480:]
    assert replaced == [old for old, row in zip(before[:480], rows[:480], strict=True) if old != row]
    assert len(replaced) > 470 and f"n1: {len(replaced)} samples replaced by others" in done.stdout


def test_an_address_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        fleet = write_fleet(tmp_path, f'url = "tcp-listen://127.0.0.1:{server.getsockname()[1]}"\nshared = true')
        done = run_here("serve", "--fleet", str(fleet))
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1].startswith("edge-wz: l: cannot listen on 127.0.0.1:")


def test_connecting_to_one_that_comes_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    loaded = config.load(write_fleet(tmp_path, f'url = "tcp://127.0.0.1:{port}"\nshared = true'))
    parts = frames(3, 320)

    async def come_and_go() -> None:
        await until(lambda: "refused; trying again" in caplog.text)
        for half in (parts[: len(parts) // 2], parts[len(parts) // 2:]):
            with socket.create_server(("127.0.0.1", port)) as server:
                sock, _ = await asyncio.to_thread(server.accept)
                with sock:
                    sock.sendall(b"".join(half))
        await until(lambda: count_in(loaded.store) >= 900)

    caplog.set_level("INFO")
    asyncio.run(serving(loaded, come_and_go()))
    assert count_in(loaded.store) == 960


@pytest.mark.parametrize("arguments", [("check",), ("serve", "--fleet")])
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    fleet = write_fleet(tmp_path, LISTEN, more="speed = 3")
    done = run_here(*arguments, str(fleet))
    assert done.returncode == 4 and done.stderr == f"edge-wz: {fleet}: gateway.speed: unknown key\n"


def test_check_shows_the_fleet(tmp_path: Path) -> None:
    done = run_here("check", str(write_fleet(tmp_path, LISTEN)))
    assert done.returncode == 0 and "node n3 (id 3): nested, kalman decoder" in done.stdout
    assert done.stdout.endswith("fleet.toml: in order\n")
