"""A gateway daemon of our own, in a process of its own: started on a folder, fed over TCP, stopped when it has everything.

Unlike the pipeline in this process (`simulate.decode_in_process`), this is the gateway as it is installed: `edge-wz serve`, its spool, its
store, whose numbers the comparison with the truth reads back.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from edge_wz.errors import EdgeWzError, LinkError, StorageError
from edge_wz.formats import bundle
from firmware_sim.fleet import Member, fleet_toml
from firmware_sim.links import open_link
from firmware_sim.simulate import Advance, NodeOutcome, Run, deliver, link_numbers, outcome_of

START_TIMEOUT_S = 180.0  # it may have to compile first
ARRIVE_TIMEOUT_S = 60.0  # without a byte
STOP_TIMEOUT_S = 300.0


@contextmanager
def daemon(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`edge-wz serve` on folder/fleet.toml. What it says goes to folder/daemon.log."""
    command = [sys.executable, "-m", "edge_wz", "serve", "--fleet", str(folder / "fleet.toml"), "--finish"]
    with (folder / "daemon.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_port(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise failed(folder, f"the daemon does not listen on port {port}") from None
            time.sleep(0.1)


def wait_for_bytes(process: subprocess.Popen[bytes], folder: Path, link_bytes: int) -> None:
    """Until that many are in the spool."""
    arrived, deadline_s = 0, time.monotonic() + ARRIVE_TIMEOUT_S
    while arrived < link_bytes:
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise failed(folder, f"only {arrived} of {link_bytes} bytes reached the daemon")
        time.sleep(0.1)
        before, arrived = arrived, _spooled_bytes(folder / "spool")
        if arrived > before:
            deadline_s = time.monotonic() + ARRIVE_TIMEOUT_S


def stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """As an operator would; it finishes what it has."""
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise failed(folder, f"the daemon did not stop within {STOP_TIMEOUT_S:g} s") from None
    if code != 0:
        raise failed(folder, "the daemon failed")


def failed(folder: Path, what: str) -> EdgeWzError:
    lines = (folder / "daemon.log").read_text(errors="replace").strip().splitlines()
    return LinkError(f"{what}: {lines[-1] if lines else 'it said nothing'} (see {folder / 'daemon.log'})")


def _spooled_bytes(spool: Path) -> int:
    from edge_wz.formats.capture import CaptureReader, DataRecord
    from edge_wz.formats.layout import CAPTURE_HEADER_BYTES

    return sum(
        len(record.data)
        for path in spool.glob("*.wzcp")
        if path.stat().st_size >= CAPTURE_HEADER_BYTES
        for record in CaptureReader(path.read_bytes(), str(path))
        if isinstance(record, DataRecord)
    )


# -- a fleet of the simulator


def decode(
    members: Sequence[Member], samples: Mapping[str, np.ndarray], run: Run, folder: str, pace: float, advance: Advance
) -> tuple[list[NodeOutcome], int]:
    """Send the deliveries to a daemon over TCP, on one shared link; what its store holds, and bytes on the link.

    `folder`: where fleet file, spool, store and log stay; "": nowhere, unless the daemon fails.
    """
    place, port = Path(folder or tempfile.mkdtemp(prefix="edge_wz_")), free_port()
    prepare(place, members, port)
    with daemon(place) as process:
        wait_for_port(process, place, port)
        with open_link(f"tcp://127.0.0.1:{port}", [], 0) as link:
            deliver(link, run.deliveries, link_numbers(members, True), pace, advance)
        wait_for_bytes(process, place, link.bytes_written)
        stop(process, place)
    found = outcomes(place, members, samples, run)
    if not folder:
        shutil.rmtree(place)
    return found, link.bytes_written


def prepare(folder: Path, members: Sequence[Member], port: int) -> None:
    """Bundles and a fleet file for a daemon that listens on `port`, in a folder that has no store yet."""
    if (folder / "store.sqlite").exists():
        raise StorageError(f"{folder}: has a store already; give a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths: dict[bytes, str] = {}
        for member in members:
            model_id = member.model.model_id
            if model_id not in paths:
                paths[model_id] = f"model{len(paths) + 1}.ewz"
                bundle.save(folder / paths[model_id], member.model)
        named = [replace(member, path=paths[member.model.model_id]) for member in members]
        (folder / "fleet.toml").write_text(fleet_toml(named, f"tcp-listen://127.0.0.1:{port}"), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}") from error


def outcomes(folder: Path, members: Sequence[Member], samples: Mapping[str, np.ndarray], run: Run) -> list[NodeOutcome]:
    """What the store holds, beside the truth."""
    found = []
    with sqlite3.connect(folder / "store.sqlite") as store:
        for member in members:
            (text,) = store.execute("SELECT statistics FROM nodes WHERE node = ?", (member.node_id,)).fetchone()
            truth = samples[member.name]
            decoded = stored(store, member.node_id, len(truth))[0]
            found.append(outcome_of(member, truth, decoded, run.sent[member.name], SimpleNamespace(**json.loads(text))))
    return found


def stored(store: sqlite3.Connection, node_id: int, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, sigmas, flags) by sample index; NaN where the store has nothing."""
    values, sigmas = np.full(samples, np.nan), np.full(samples, np.nan)
    flags = np.zeros(samples, dtype=np.int64)
    query = "SELECT sample_index, value, sigma, flags FROM samples WHERE node = ? AND sample_index < ?"
    for index, value, sigma, flag in store.execute(query, (node_id, samples)):
        values[index] = np.nan if value is None else value
        sigmas[index] = np.nan if sigma is None else sigma
        flags[index] = flag
    return values, sigmas, flags
