"""`kill -9` of the daemon at random moments: every sample whose bytes reached the spool is there exactly once.

A fleet on one shared TCP link; what the daemon stored over all its lives is compared, row by row, with an unkilled
replay of its spool, and so are the JSON lines, byte by byte.

    python benchmarks/kill_daemon.py [--nodes 200] [--samples 3600] [--kills 20] [--seed 1]
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from threading import Timer

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.daemon_driver import Daemon, frames, run, samples_in, write_fleet

SEND_S = 1.0
PIECES = 100
STOP_TIMEOUT_S = 900
LISTEN = 'url = "tcp-listen://127.0.0.1:0"\nshared = true'


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("nodes", 200), ("samples", 3600), ("kills", 20), ("seed", 1)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty folder for spool and stores")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(asked.keep or Path(folder), asked.nodes, asked.samples, asked.kills, np.random.default_rng(asked.seed))


def measure(folder: Path, nodes: int, samples: int, kills: int, rng: np.random.Generator) -> None:
    fleet = write_fleet(folder, LISTEN, nodes=nodes)
    parts = np.array_split(np.array(frames(nodes, samples), dtype=object), kills + 1)
    cut_off = 0
    for part in parts[:-1]:
        cut_off += killed(fleet, b"".join(part), rng)
    with Daemon(fleet, *jsonl(folder, "live"), "--finish") as daemon:
        with socket.create_connection(("127.0.0.1", daemon.port())) as sock:
            sock.sendall(b"".join(parts[-1]))
        assert daemon.stop(STOP_TIMEOUT_S) == 0, daemon.log
    began = time.monotonic()
    done = run("serve", "--fleet", str(fleet), "--replay", str(folder / "spool"), "--store",
               str(folder / "replayed.sqlite"), *jsonl(folder, "replayed"), timeout=STOP_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    replay_s = time.monotonic() - began
    rows, expected = samples_in(folder / "store.sqlite"), samples_in(folder / "replayed.sqlite")
    checks = {
        "no sample twice": len(rows) == len({row[:3] for row in rows}),
        "rows equal an unkilled replay": rows == expected,
        "JSON lines too, byte by byte":
            (folder / "live.jsonl").read_bytes() == (folder / "replayed.jsonl").read_bytes(),
    }
    figures = {
        "kills": kills, "of these while it was being sent to": cut_off, "nodes": nodes,
        "samples sent": nodes * samples, "rows": len(rows), "of these concealed": sum(row[6] & 2 for row in rows) // 2,
        "replay, samples/s with start-up": round(len(expected) / replay_s),
    }
    for name, value in [*figures.items(), *((name, "yes" if holds else "NO") for name, holds in checks.items())]:
        print(f"{name:<36} {value:>8}")
    sys.exit(0 if all(checks.values()) else 1)


def jsonl(folder: Path, name: str) -> tuple[str, str]:
    return "--jsonl", str(folder / f"{name}.jsonl")


def killed(fleet: Path, data: bytes, rng: np.random.Generator) -> bool:
    """Send to a daemon and kill it at a random moment of that or soon after; whether it cut the sending short."""
    with Daemon(fleet, *jsonl(fleet.parent, "live")) as daemon:
        port = daemon.port()
        timer = Timer(rng.uniform(0, 1.5 * SEND_S), daemon.kill)
        timer.start()
        try:
            send(port, data, rng)
        except ConnectionError:
            return True
        finally:
            timer.join()
    return False


def send(port: int, data: bytes, rng: np.random.Generator) -> None:
    """All of it in about SEND_S, in pieces that respect no frame."""
    pieces = np.sort(rng.integers(0, len(data), PIECES)).tolist()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        for start, end in pairwise([0, *pieces, len(data)]):
            sock.sendall(data[start:end])
            time.sleep(SEND_S / PIECES)


if __name__ == "__main__":
    main()
