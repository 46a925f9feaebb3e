"""The table of samples: one row per (node, boot epoch, sample index), written many to a statement.

Three kinds of runs. New samples (revision 0) are plain inserts. Revised samples replace what they revise. New samples
whose keys are taken are a clash: the node began to count again without a new boot epoch (lost its counter, or a
simulation was run twice). The newer ones are shown, the earlier ones move to the table `replaced`, nothing is lost.
A clash of equal samples is none.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, pairwise, repeat
from typing import Any

import numpy as np

from edge_wz.gateway.sinks import Samples

MAX_INTEGER = (1 << 63) - 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS samples(
    node INTEGER, boot_epoch INTEGER, sample_index INTEGER, time_us INTEGER NOT NULL, value REAL, sigma REAL,
    flags INTEGER NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY(node, boot_epoch, sample_index)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replaced(
    node INTEGER, boot_epoch INTEGER, sample_index INTEGER, time_us INTEGER NOT NULL, value REAL, sigma REAL,
    flags INTEGER NOT NULL, revision INTEGER NOT NULL);
"""
ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
TOGETHER = 16  # rows of one statement, consecutive ones of one run, which share what is numbered 1 to 6
ROWS = ", ".join(
    f"(?1, ?2, ?3 + {i}, ?4 + {i} * ?5, ?{7 + 3 * i}, ?{8 + 3 * i}, ?{9 + 3 * i}, ?6)" for i in range(TOGETHER)
)
INSERT = "INSERT INTO samples VALUES "
REVISE = """ ON CONFLICT DO UPDATE
SET value = excluded.value, sigma = excluded.sigma, flags = excluded.flags, revision = excluded.revision
WHERE excluded.revision >= revision AND excluded.time_us = time_us
"""
OVERWRITE = "INSERT OR REPLACE INTO samples VALUES " + ROW
SPAN = "node = ? AND boot_epoch = ? AND sample_index BETWEEN ? AND ?"
TAKEN = f"SELECT EXISTS(SELECT 1 FROM samples WHERE {SPAN})"
READ = f"SELECT * FROM samples WHERE {SPAN}"
KEEP = "INSERT INTO replaced VALUES " + ROW

Row = tuple[Any, ...]


def write(db: sqlite3.Connection, samples: Sequence[Samples]) -> Counter[int]:
    """Inside a transaction. Returns how many earlier samples each node's clashes replaced."""
    fresh, others = _sorted_out(db, samples)
    _execute(db, "", fresh)
    replaced: Counter[int] = Counter()
    for revises, runs in groupby(others, key=lambda run: run.revision > 0):
        if revises:
            _execute(db, REVISE, runs)
        else:
            for run in runs:
                replaced[run.node_id] += _overwrite(db, run)
    return +replaced


def _sorted_out(db: sqlite3.Connection, samples: Sequence[Samples]) -> tuple[list[Samples], list[Samples]]:
    """(runs of keys that are free, in key order, which the B-tree takes twice as fast; the others as they came)."""
    fresh: list[Samples] = []
    clashing: set[int] = set()
    news = sorted((run for run in samples if not run.revision and len(run.values)), key=_key)
    for _, group in groupby(news, key=lambda run: (run.node_id, run.boot_epoch)):
        runs = list(group)
        if _overlap(runs) or _taken(db, runs):
            clashing.update(map(id, runs))
        else:
            fresh += runs
    return fresh, [run for run in samples if run.revision or id(run) in clashing]


def _key(run: Samples) -> tuple[int, int, int]:
    return run.node_id, run.boot_epoch, run.first_index


def _overlap(runs: Sequence[Samples]) -> bool:
    return any(one.first_index + len(one.values) > after.first_index for one, after in pairwise(runs))


def _taken(db: sqlite3.Connection, runs: Sequence[Samples]) -> bool:
    """Whether there is a row anywhere between the first and the last sample of these."""
    first, last = runs[0], runs[-1]
    span = (first.node_id, first.boot_epoch, first.first_index, last.first_index + len(last.values) - 1)
    return bool(db.execute(TAKEN, span).fetchone()[0])


def _execute(db: sqlite3.Connection, clause: str, runs: Iterable[Samples]) -> None:
    rest: list[Row] = []
    db.executemany(INSERT + ROWS + clause, chain.from_iterable(_together(run, rest) for run in runs))
    db.executemany(INSERT + ROW + clause, rest)


def _together(run: Samples, rest: list[Row]) -> Iterator[list[Any]]:
    """What to bind for every TOGETHER rows of a run. Rows behind them are put into `rest`."""
    count = len(run.values)
    if _last_time_us(run) > MAX_INTEGER:
        rest += _rows(run, 0)
        return
    fields: list[Any] = [None] * (3 * count)
    fields[0::3], fields[1::3], fields[2::3] = run.values.tolist(), run.sigmas.tolist(), np.asarray(run.flags).tolist()
    whole = count - count % TOGETHER
    for at in range(0, whole, TOGETHER):
        time_us = run.first_time_us + at * run.period_us
        shared = [run.node_id, run.boot_epoch, run.first_index + at, time_us, run.period_us, run.revision]
        yield shared + fields[3 * at : 3 * (at + TOGETHER)]
    if whole < count:
        rest += _rows(run, whole)


def _overwrite(db: sqlite3.Connection, run: Samples) -> int:
    """Put a run over whatever is there; how many samples it replaced by others."""
    span = (run.node_id, run.boot_epoch, run.first_index, run.first_index + len(run.values) - 1)
    earlier = {row[2]: row for row in db.execute(READ, span)}
    rows = [_stored(row) for row in _rows(run, 0)]
    changed = [earlier[row[2]] for row in rows if row[2] in earlier and earlier[row[2]][:7] != row[:7]]
    db.executemany(KEEP, changed)
    db.executemany(OVERWRITE, (row for row in rows if row[2] not in earlier or earlier[row[2]][:7] != row[:7]))
    return len(changed)


def _stored(row: Row) -> Row:
    """As SQLite gives it back: not a number is NULL."""
    return tuple(None if field != field else field for field in row)


def _rows(run: Samples, first: int) -> Iterator[Row]:
    """The rows of a run from its sample `first` on."""
    count = len(run.values) - first
    yield from zip(
        repeat(run.node_id, count), repeat(run.boot_epoch, count),
        range(run.first_index + first, run.first_index + len(run.values)),
        _event_times(run)[first:], run.values[first:].tolist(), run.sigmas[first:].tolist(),
        np.asarray(run.flags)[first:].tolist(), repeat(run.revision, count), strict=True,
    )


def _event_times(run: Samples) -> Sequence[int]:
    """An absurd hello can claim times that SQLite's integers do not hold; they stay at the largest."""
    times = range(run.first_time_us, run.first_time_us + len(run.values) * run.period_us, run.period_us)
    return times if _last_time_us(run) <= MAX_INTEGER else [min(time_us, MAX_INTEGER) for time_us in times]


def _last_time_us(run: Samples) -> int:
    return run.first_time_us + len(run.values) * run.period_us
