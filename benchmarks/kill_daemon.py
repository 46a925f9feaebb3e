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
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.daemon_driver import Daemon, frames, run, samples_in, write_fleet

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
    for number, part in enumerate(parts):
        last = number == kills
        with Daemon(fleet, "--jsonl", str(folder / "live.jsonl"), *(["--finish"] if last else [])) as daemon:
            send(daemon.port(), b"".join(part), rng)
            if last:
                assert daemon.stop(600) == 0, daemon.log
            else:
                time.sleep(rng.uniform(0, 0.5))
                daemon.kill()
    began = time.monotonic()
    replayed = folder / "replayed.sqlite"
    done = run("serve", "--fleet", str(fleet), "--replay", str(folder / "spool"), "--store", str(replayed),
               "--jsonl", str(folder / "replayed.jsonl"))
    assert done.returncode == 0, done.stderr
    replay_s = time.monotonic() - began
    rows, expected = samples_in(folder / "store.sqlite"), samples_in(replayed)
    twice = len(rows) - len({row[:3] for row in rows})
    same_lines = (folder / "live.jsonl").read_bytes() == (folder / "replayed.jsonl").read_bytes()
    print(f"kills {kills}, nodes {nodes}, samples sent {nodes * samples}, rows {len(rows)}, twice {twice}, "
          f"rows equal an unkilled replay: {rows == expected}, JSON lines too: {same_lines}, "
          f"replay {len(expected) / replay_s:.0f} samples/s with start-up")
    sys.exit(0 if rows == expected and same_lines and not twice else 1)


def send(port: int, data: bytes, rng: np.random.Generator) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while data:
            size = int(rng.integers(1, 5000))
            sock.sendall(data[:size])
            data = data[size:]


if __name__ == "__main__":
    main()
