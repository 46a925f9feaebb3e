"""A small fleet, its frames, and the daemon: in this process where that shows enough, else as one that can be killed.

A process costs two seconds of start-up, so it is for what only a process has: signals, limits, exit status, its log.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from edge_wz.cli.main import main
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.formats import bundle
from edge_wz.formats.framing import encode_frame
from edge_wz.gateway import config, daemon
from tests.fleet_models import nested_model

COMMAND = [sys.executable, "-c", "from edge_wz.cli.main import main; main()"]
START_MS = 1_700_000_000_000
NODE = '[[node]]\nname = "n{id}"\nid = {id}\nmodel = "{model}.ewz"\nside = [{side}]\n'
GATEWAY = "[gateway]\nreorder_wait_s = 0.3\nside_wait_s = 0.4\nrevise_window_s = 1.0\nsegment_mb = 0.02\n{more}\n"


def write_fleet(folder: Path, link: str, nodes: int = 3, more: str = "") -> Path:
    """Nodes 1.. of one fleet file; every third uses the two before it."""
    bundle.save(folder / "alone.ewz", nested_model())
    bundle.save(folder / "beside.ewz", nested_model("y1", "y2", modulus=16))
    rows = [_node(node_id) for node_id in range(1, nodes + 1)]
    path = folder / "fleet.toml"
    path.write_text(GATEWAY.format(more=more) + f"[[link]]\nname = \"l\"\n{link}\n" + "".join(rows))
    return path


def _node(node_id: int) -> str:
    if node_id % 3:
        return NODE.format(id=node_id, model="alone", side="")
    return NODE.format(id=node_id, model="beside", side=f'"n{node_id - 2}", "n{node_id - 1}"')


def frames(
    nodes: int, samples: int, boot_epoch: int = 0, node_ids: list[int] | None = None, seed: int = 1
) -> list[bytes]:
    """Frames of a shared link, the nodes taking turns."""
    rng = np.random.default_rng(seed)
    queues = [_frames_of(node_id, samples, rng, boot_epoch) for node_id in node_ids or range(1, nodes + 1)]
    longest = max(map(len, queues))
    return [queue[i] for i in range(longest) for queue in queues if i < len(queue)]


def _frames_of(node_id: int, samples: int, rng: np.random.Generator, boot_epoch: int) -> list[bytes]:
    model = nested_model() if node_id % 3 else nested_model("y1", "y2", modulus=16)
    codes = np.cumsum(rng.normal(0, 3, samples)).round().clip(-300, 300).astype(np.int16)
    encoder = NodeEncoder(
        model.node, node_id, period_us=10_000, start_ms=START_MS, shared_link=True, boot_epoch=boot_epoch
    )
    return [encode_frame(packet) for packet in [*encoder.encode(codes), *encoder.flush()]]


class Daemon:
    """`edge-wz serve` as a process; its log is read as it comes."""

    def __init__(self, fleet: Path, *options: str, **popen: Any) -> None:
        self._log = open(fleet.parent / "daemon.log", "a+b")  # noqa: SIM115
        self._log_start = self._log.seek(0, os.SEEK_END)
        self._process = subprocess.Popen([*COMMAND, "serve", "--fleet", str(fleet), *options], stdout=self._log,
                                         stderr=self._log, **popen)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        self._log.close()

    @property
    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, self._log_start).decode()

    def wait_for(self, pattern: str, count: int = 1, timeout_s: float = 90) -> str:
        """First group of the `count`th match of `pattern` in the log."""
        until_s = time.monotonic() + timeout_s
        while len(found := re.findall(pattern, self.log)) < count:
            assert time.monotonic() < until_s and self._process.poll() is None, self.log
            time.sleep(0.02)
        return str(found[count - 1])

    def port(self) -> int:
        return int(self.wait_for(r"listening on \S+ port (\d+)"))

    def stop(self, timeout_s: float = 90) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self.ended(timeout_s)

    def ended(self, timeout_s: float = 90) -> int:
        """Exit status; then `usage` is what it used."""
        until_s = time.monotonic() + timeout_s
        while True:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self.usage = usage
                self._process.returncode = os.waitstatus_to_exitcode(status)
                return self._process.returncode
            if time.monotonic() > until_s:
                raise subprocess.TimeoutExpired(self._process.args, timeout_s)
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`edge-wz ARGUMENTS` in this process."""
    status = 0
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as errors, \
            mock.patch.object(sys, "argv", ["edge-wz", *arguments]):
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), errors.getvalue())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listen_here(more: str = "shared = true") -> str:
    """A link for `served`, which must know the port."""
    return f'url = "tcp-listen://127.0.0.1:{free_port()}"\n{more}'


def served(
    fleet: Path, data: bytes, samples: int, finish: bool = True, sinks: tuple[config.SinkSpec, ...] = ()
) -> daemon.Daemon:
    """Run the daemon in this process, send it data, stop it when `samples` are in the store."""
    loaded = replace(config.load(fleet), sinks=sinks)

    async def send() -> None:
        await asyncio.sleep(0.1)
        _, writer = await asyncio.open_connection("127.0.0.1", loaded.sources[0].endpoint.port)
        for start in range(0, len(data), 100):
            writer.write(data[start:start + 100])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()
        await until(lambda: count_in(loaded.store) >= samples)

    return asyncio.run(serving(loaded, send(), finish))


async def serving(loaded: config.DaemonConfig, visit: Coroutine[Any, Any, None], finish: bool = True) -> daemon.Daemon:
    """The daemon while `visit` lasts."""
    running = daemon.Daemon(loaded, daemon.Options(finish=finish))
    task = asyncio.ensure_future(running.run())
    try:
        await visit
    finally:
        running._told_to_stop()
        await task
    return running


async def until(condition: Callable[[], bool], timeout_s: float = 90) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s
        await asyncio.sleep(0.02)


def run(*arguments: str, timeout: float = 60, **popen: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout, **popen)


def samples_in(store: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(store) as db:
        return db.execute("SELECT * FROM samples ORDER BY node, boot_epoch, sample_index").fetchall()


def count_in(store: Path) -> int:
    if not store.exists():
        return 0
    with sqlite3.connect(store, timeout=20) as db:
        return int(db.execute("SELECT count(*) FROM samples").fetchone()[0])


def wait_for_samples(store: Path, count: int, timeout_s: float = 90) -> None:
    until_s = time.monotonic() + timeout_s
    while count_in(store) < count:
        assert time.monotonic() < until_s, f"{count_in(store)} of {count} samples"
        time.sleep(0.05)


def chunks(data: bytes, rng: np.random.Generator, largest: int) -> Iterator[bytes]:
    while data:
        size = int(rng.integers(1, largest))
        yield data[:size]
        data = data[size:]
