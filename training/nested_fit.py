"""Run the restarts of `training.nested`, in parallel processes, and keep the best; an interrupted run continues where
it was.

Each restart writes its whole state beside the bundle after every evaluation, so a second run with the same data and
settings ends in exactly the filters of an uninterrupted one. A restart whose loss is no number is repeated with another
seed, which is named.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.errors import DesignError, InputError, StorageError
from training.nested import Fit, Lesson, Restart
from training.nested_hard import NestedFilters, Rows, polish, sqnr_db, tail_samples_needed

MIN_SAMPLES = 5_000
SAMPLES_PER_WEIGHT = 50
HELD_SHARE = 0.2
ATTEMPTS = 3
SEEDS_PER_RUN = 1009  # restart k of seed s starts from s * SEEDS_PER_RUN + k
NEXT_ATTEMPT = 101
POLL_S = 0.1
SETTINGS = "settings.json"


Report = Callable[[int, int, float], None]  # restart, step, SQNR on held-out rows


@dataclass(frozen=True)
class Result:
    """The kept filters, polished. `sqnr_db` on held-out rows; `notes`: what a user should know."""

    filters: NestedFilters
    sqnr_db: tuple[float, ...]
    seed: int
    scores: tuple[float, ...]  # of every restart
    steps: int  # of the kept restart up to its best evaluation
    tail_samples: tuple[int, ...]  # how many samples would show ten wrong candidates, per rate point
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Task:
    train: Rows
    held: Rows
    lesson: Lesson
    number: int
    seed: int
    folder: str | None


@dataclass(frozen=True)
class _Outcome:
    fit: Fit | None
    notes: tuple[str, ...]


def fit(
    rows: Rows,
    lesson: Lesson,
    *,
    seed: int = 0,
    restarts: int | None = None,
    jobs: int = 1,
    folder: Path | None = None,
    fresh: bool = False,
    report: Report | None = None,
) -> Result:
    """Train `restarts` restarts, at most `jobs` at a time. `folder`: where states are kept until the caller calls
    `forget`.

    `report(restart, step, score)`. Raises DesignError when the recording is too short or every restart diverges.
    """
    check_length(rows, lesson)
    cut = rows.x.size - int(rows.x.size * HELD_SHARE)
    train, held = rows.part(0, cut), rows.part(cut, rows.x.size)
    if folder is not None:
        _open(folder, rows, lesson, seed, fresh)
    count = restarts or lesson.recipe.restarts
    tasks = [
        _Task(train, held, lesson, k, seed * SEEDS_PER_RUN + k, str(folder) if folder else None) for k in range(count)
    ]
    outcomes = _run_all(tasks, min(jobs, count), report or (lambda *_: None))
    fits = [outcome.fit for outcome in outcomes if outcome.fit is not None]
    notes = tuple(note for outcome in outcomes for note in outcome.notes)
    if not fits:
        raise DesignError(f"training diverged: {'; '.join(notes)}")
    polished = [replace(one, filters=polish(one.filters, train)) for one in fits]
    scores = [float(np.mean(sqnr_db(one.filters, held))) for one in polished]
    best = int(np.argmax(scores))
    filters = polish(polished[best].filters, rows)
    needed = tail_samples_needed(filters, rows)
    return Result(
        filters, tuple(sqnr_db(filters, held)), fits[best].seed, tuple(scores), fits[best].history[-1][0], tuple(needed),
        notes + tuple(_tail_notes(lesson, needed, rows.samples)),
    )


def check_length(rows: Rows, lesson: Lesson) -> None:
    weights = 2 * lesson.taps + rows.y.shape[0] * lesson.side_taps
    needed = max(MIN_SAMPLES, SAMPLES_PER_WEIGHT * weights)
    if rows.samples < needed:
        raise DesignError(
            f"{rows.samples} samples have the source and all neighbours; {weights} taps need at least {needed}"
        )


def _tail_notes(lesson: Lesson, needed: list[int], samples: int) -> Iterator[str]:
    for modulus, enough in zip(lesson.moduli, needed, strict=True):
        if enough > samples:
            yield (
                f"{modulus} bins: wrong candidates are so rare that {samples} samples do not show ten of them; "
                f"the stated SQNR rests on an extrapolated tail (about {enough} samples would show them)"
            )


# --- restarts -----------------------------------------------------------------------------------------------------


def _run_all(tasks: list[_Task], jobs: int, report: Report) -> list[_Outcome]:
    if jobs <= 1:
        return [_run_task(task, partial(report, task.number)) for task in tasks]
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    said: Any = context.SimpleQueue()  # written before a worker's result is: nothing said comes late
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_listen, initargs=(said,)) as pool:
        futures = [pool.submit(_run_reporting, task) for task in tasks]
        try:
            _follow(futures, said, report)
        except BaseException:
            _stop(pool, multiprocessing.active_children())
            raise
        return [future.result() for future in futures]


def _stop(pool: ProcessPoolExecutor, workers: Sequence[Any]) -> None:
    """At once: what they had evaluated is in their states."""
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()


def _follow(futures: list[Future[_Outcome]], said: Any, report: Report) -> None:
    left: set[Future[_Outcome]] = set(futures)
    while left:
        _, left = wait(left, timeout=POLL_S, return_when=FIRST_COMPLETED)
        while not said.empty():
            report(*said.get())


_SAID: Any = None


def _listen(said: Any) -> None:
    global _SAID
    _SAID = said
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and stops its workers


def _run_reporting(task: _Task) -> _Outcome:
    return _run_task(task, lambda *said: _SAID.put((task.number, *said)))


def _run_task(task: _Task, report: Callable[[int, float], None]) -> _Outcome:
    notes: list[str] = []
    for seed in range(task.seed, task.seed + ATTEMPTS * NEXT_ATTEMPT, NEXT_ATTEMPT):
        restart = Restart(task.train, task.held, task.lesson, seed)
        path = Path(task.folder) / f"restart-{task.number}-{seed}.pt" if task.folder else None
        if path is not None and path.exists():
            restart.restore(_load(path))
        found = restart.run(report, None if path is None else partial(_save, path))
        if found is not None:
            return _Outcome(found, tuple(notes))
        notes.append(f"restart {task.number} with seed {seed} diverged (loss is not a number, step {restart.step})")
    return _Outcome(None, tuple(notes))


# --- states -------------------------------------------------------------------------------------------------------


def state_folder(out: str) -> Path:
    """Where the states of a run that ends in the bundle `out` are kept."""
    return Path(f"{out}.training")


def forget(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _open(folder: Path, rows: Rows, lesson: Lesson, seed: int, fresh: bool) -> None:
    """Make the folder, or make sure that what lies in it belongs to this very run."""
    settings = {"digest": _digest(rows), "lesson": repr(lesson), "seed": seed}
    if fresh:
        forget(folder)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / SETTINGS).exists():
            _replace(folder / SETTINGS, json.dumps(settings).encode())
            return
    try:
        found = json.loads((folder / SETTINGS).read_bytes())
    except ValueError:
        found = None
    if found != settings:
        raise InputError(f"{folder} holds an unfinished training of other data or settings; --fresh starts anew")


def _digest(rows: Rows) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(rows.x).tobytes())
    digest.update(np.ascontiguousarray(rows.y).tobytes())
    digest.update(repr(rows.segments).encode())
    return digest.hexdigest()


def _save(path: Path, state: dict[str, Any]) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    with _writing(path):
        _replace(path, buffer.getvalue())


def _load(path: Path) -> dict[str, Any]:
    import torch

    try:
        return dict(torch.load(path, weights_only=True))
    except Exception as error:  # pickle raises nearly anything on damaged bytes
        raise InputError(f"{path}: damaged state of a training ({type(error).__name__}); --fresh starts anew") from None


def _replace(path: Path, data: bytes) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(data)
    os.replace(unfinished, path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
