"""Damaged node blobs to both loaders: the C runtime, under ASan and UBSan, takes exactly those that `formats.blob` takes.

    python benchmarks/blob_mutations.py [--count 1000000] [--seed 1] [--schemes nested ...] [--json]

Blobs of random models with one to three mutations each, nine in ten with length and check made to fit. Of every one that is taken, some packets are
encoded; of one in twenty, the frames are compared with those of numba. All memory beyond a blob and beyond the buffer that the model asks for
is poisoned. Exit code 1 if the loaders disagree or frames differ.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from rich.console import Console
from rich.progress import Progress

from benchmarks.timing import show
from edge_wz.model import NodeModel
from export import harness
from tests import blob_mutations, runtime_machines
from tests.random_models import MAKERS

PER_MODEL = 500
COLUMNS = ("scheme", "models", "mutations", "taken", "unchanged", "refused", "disagreements", "compared", "frames_differ", "seconds")


def run_scheme(scheme: str, count: int, seed: int, machine: harness.Machine, progress: Progress) -> dict[str, object]:
    counted: Counter[str] = Counter()
    began = time.process_time()
    task = progress.add_task(scheme, total=count)
    rng = random.Random(f"{scheme} {seed}")
    data = b""
    for number in range(count):
        if number % PER_MODEL == 0:
            data = blob_mutations.base(scheme, rng).blob
            counted["models"] += 1
            progress.update(task, completed=number)
        check(data, blob_mutations.mutated(data, rng), machine, rng, counted)
    progress.update(task, completed=count)
    row = {name: counted[name] for name in COLUMNS}
    return {**row, "scheme": scheme, "mutations": count, "seconds": round(time.process_time() - began)}


def check(data: bytes, bad: bytes, machine: harness.Machine, rng: random.Random, counted: Counter[str]) -> None:
    verdict, status = blob_mutations.parsed(bad), harness.load(machine, bad)
    if not blob_mutations.agree(bad, verdict, status):
        counted["disagreements"] += 1
        print(f"status {status}, {verdict!r}: {bad.hex()}", file=sys.stderr)
    if status != 0:
        counted["refused"] += 1
        return
    counted["taken"] += 1
    counted["unchanged"] += bad == data
    blob_mutations.encode(machine, rng)
    if isinstance(verdict, NodeModel) and rng.random() < 0.05:
        counted["compared"] += 1
        counted["frames_differ"] += not blob_mutations.sends_alike(machine, verdict, rng)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="of all schemes together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schemes", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    options = parse_options()
    if runtime_machines.GUARDED not in os.environ:  # once more, in a program that has the sanitizers
        try:
            print(runtime_machines.sanitized(*sys.argv, quiet=False), end="")
        except AssertionError as error:
            print(error)
            return 1
        return 0
    machine = runtime_machines.make("host")
    with Progress(console=Console(stderr=True)) as progress:
        rows = [run_scheme(s, options.count // len(options.schemes), options.seed, machine, progress) for s in options.schemes]
    show(COLUMNS, [list(row.values()) for row in rows], options.json)
    return int(any(row["disagreements"] or row["frames_differ"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
