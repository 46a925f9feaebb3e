"""The same frames from numba, the C runtime of this machine, its Thumb and RISC-V code, and the plain-integer reference, on random runs.

    python benchmarks/runtime_parity.py [--samples 1000000] [--reference 1000000] [--schemes nested ...] [--machines host ...] [--json]

Every run has a model of its own (any rate points, filters up to the edge of 32 bits, tables, codes, sets), an identity, counters near their wraps,
samples that are noise, extremes or constant, gaps, and rate switches; what is compared is all of its COBS frames, hellos included, and the count of
saturated samples. Exit code 1 if anything differs; the run is named, and `--only SCHEME:NUMBER` repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from rich.console import Console
from rich.progress import Progress

from benchmarks.timing import show
from export import c_build, harness
from tests import random_runs
from tests.random_models import MAKERS
from tests.random_runs import Run, Sent

MACHINES = ("host", "m0", "m3", "rv32")
RUN_SAMPLES = 4000


@dataclass
class Row:
    """One implementation against numba. `models`: runs, each with its own."""

    scheme: str
    against: str
    samples: int = 0
    absent: int = 0
    models: int = 0
    frames: int = 0
    bytes: int = 0
    mismatches: int = 0
    seconds: float = 0.0
    differing: list[int] = field(default_factory=list)


def machine(name: str) -> harness.Machine:
    with tempfile.TemporaryDirectory() as folder:
        if name == "host":
            return harness.Library(c_build.library(Path(folder)))
        return harness.Core(c_build.image(Path(folder), name))


def make_run(scheme: str, number: int, seed: int, samples: int = RUN_SAMPLES) -> Run:
    return random_runs.random_run(scheme, random.Random(f"{scheme} {seed} {number}"), samples)


def compare(row: Row, number: int, run: Run, expected: Sent, encode: Callable[[Run], Sent]) -> None:
    began = time.process_time()
    found = encode(run)
    row.seconds += time.process_time() - began
    row.samples += len(run.codes)
    row.absent += int(len(run.present) - run.present.sum())
    row.models += 1
    row.frames += len(expected.frames)
    row.bytes += sum(map(len, expected.frames))
    if found.frames != expected.frames or found.saturated not in (expected.saturated, None):
        row.mismatches += 1
        row.differing.append(number)


def run_scheme(scheme: str, options: argparse.Namespace, progress: Progress) -> list[Row]:
    """Runs until each implementation has its samples."""
    encoders: dict[str, Callable[[Run], Sent]] = {name: partial(random_runs.runtime, machine(name)) for name in options.machines}
    wanted = dict.fromkeys(encoders, options.samples)
    if options.reference:
        encoders["reference"], wanted["reference"] = random_runs.reference, options.reference
    rows = {name: Row(scheme, name) for name in encoders}
    task = progress.add_task(scheme, total=max(wanted.values(), default=0))
    number = 0
    while any(rows[name].samples < wanted[name] for name in rows):
        run = make_run(scheme, number, options.seed)
        expected = random_runs.numba(run)
        for name, row in rows.items():
            if row.samples < wanted[name]:
                compare(row, number, run, expected, encoders[name])
        progress.advance(task, len(run.codes))
        number += 1
    return list(rows.values())


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1_000_000, help="per scheme and machine")
    parser.add_argument("--reference", type=int, default=1_000_000, help="per scheme, for the slow reference; 0 leaves it out")
    parser.add_argument("--schemes", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--machines", nargs="*", choices=MACHINES, default=list(MACHINES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="SCHEME:NUMBER", help="this run alone")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def repeat(options: argparse.Namespace) -> list[Row]:
    scheme, number = options.only.split(":")
    run = make_run(scheme, int(number), options.seed)
    expected, rows = random_runs.numba(run), []
    for name in options.machines:
        rows.append(Row(scheme, name))
        compare(rows[-1], int(number), run, expected, partial(random_runs.runtime, machine(name)))
    rows.append(Row(scheme, "reference"))
    compare(rows[-1], int(number), run, expected, random_runs.reference)
    return rows


def main() -> int:
    options = parse_options()
    rows: list[Row] = []
    with Progress(console=Console(stderr=True)) as progress:
        if options.only:
            rows = repeat(options)
        else:
            for scheme in options.schemes:
                rows += run_scheme(scheme, options, progress)
    for row in rows:
        row.seconds = round(row.seconds, 1)
        if row.differing:
            print(f"{row.scheme} against {row.against}: runs {row.differing[:10]} differ", file=sys.stderr)
    columns = tuple(entry.name for entry in fields(Row) if entry.name != "differing")
    show(columns, [[asdict(row)[name] for name in columns] for row in rows], options.json)
    return int(any(row.mismatches for row in rows))


if __name__ == "__main__":
    sys.exit(main())
