"""The store: decoded samples, the pipeline's snapshot and the position in the spool, in one SQLite file (WAL).

One transaction holds what some link bytes became *and* how far they were read, so that after a kill the same bytes are
read again and nothing is there twice (`samples_table` says what happens to a key that comes again). Readers may query
at any time; a missing sample (absent at the sensor) has a NULL value.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_wz.errors import StorageError
from edge_wz.gateway.sinks import Samples, samples_table
from edge_wz.gateway.storage import storage_errors

STORE_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshot(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nodes(
    node INTEGER PRIMARY KEY, name TEXT NOT NULL, unit TEXT NOT NULL, model_id TEXT NOT NULL, statistics TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS links(link INTEGER PRIMARY KEY, name TEXT NOT NULL, statistics TEXT NOT NULL);
"""
WAL_PAGES = 8192  # between checkpoints: a small commit should not pay for one


@dataclass(frozen=True)
class Commit:
    """What one transaction holds. `position`: everything before it in the capture became these and earlier samples."""

    position: int
    time_us: int
    samples: Sequence[Samples] = ()
    snapshot: Mapping[str, bytes] = field(default_factory=dict)
    nodes: Iterable[tuple[int, str, str, str, str]] = ()
    links: Iterable[tuple[int, str, str]] = ()
    sinks: Mapping[str, int] = field(default_factory=dict)


class Store:
    """Opened by one daemon at a time. `source` names the capture whose position it remembers."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for setting in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536",
                            f"wal_autocheckpoint = {WAL_PAGES}"):
                self._db.execute(f"PRAGMA {setting}")
            self._db.executescript(SCHEMA + samples_table.SCHEMA)
            self._claim(source)
        self.position = int(self._meta("position", 0))
        self.time_us = int(self._meta("time_us", 0))

    def close(self) -> None:
        with storage_errors(self.path):
            self._db.close()

    def snapshot(self) -> dict[str, bytes]:
        return dict(self._rows("SELECT key, value FROM snapshot"))

    def sink_lengths(self) -> dict[str, int]:
        """Committed length in bytes of every file that a sink wrote."""
        rows = self._rows("SELECT key, value FROM meta WHERE key LIKE 'sink:%'")
        return {key.removeprefix("sink:"): int(value) for key, value in rows}

    def link_numbers(self) -> dict[str, int]:
        """Numbers that links had when the snapshot was taken, by name."""
        return {name: link for link, name in self._rows("SELECT link, name FROM links")}

    def commit(self, commit: Commit) -> Counter[int]:
        """All of it or nothing; how many samples of each node other ones replaced. StorageError: the disk refuses."""
        with storage_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                replaced = self._write(commit)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self.position, self.time_us = commit.position, commit.time_us
        return replaced

    def _write(self, commit: Commit) -> Counter[int]:
        replaced = samples_table.write(self._db, commit.samples)
        self._db.executemany("INSERT OR REPLACE INTO snapshot VALUES(?, ?)", commit.snapshot.items())
        self._db.executemany("INSERT OR REPLACE INTO nodes VALUES(?, ?, ?, ?, ?)", commit.nodes)
        self._db.executemany("INSERT OR REPLACE INTO links VALUES(?, ?, ?)", commit.links)
        meta = {"position": commit.position, "time_us": commit.time_us}
        meta.update({f"sink:{path}": length for path, length in commit.sinks.items()})
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES(?, ?)", meta.items())
        return replaced

    def _claim(self, source: str) -> None:
        version = self._meta("version", STORE_VERSION)
        if version != STORE_VERSION:
            raise StorageError(f"{self.path}: written by another version of edge-wz (store version {version})")
        owner = self._meta("source", source)
        if owner != source:
            raise StorageError(f"{self.path}: holds what {owner} became, not {source}; choose another with --store")
        claim = [("version", STORE_VERSION), ("source", source)]
        self._db.executemany("INSERT OR IGNORE INTO meta VALUES(?, ?)", claim)

    def _meta(self, key: str, default: Any) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def _rows(self, query: str) -> list[Any]:
        with storage_errors(self.path):
            return self._db.execute(query).fetchall()
