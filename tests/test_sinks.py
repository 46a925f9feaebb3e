"""Store and JSON lines: one transaction, nothing twice after replays and revisions, nothing lost on a full disk."""

from __future__ import annotations

import json
import resource
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_wz.errors import StorageError
from edge_wz.gateway.events import SamplesDecoded, SamplesRevised
from edge_wz.gateway.sinks.jsonl import JsonLines, json_line
from edge_wz.gateway.sinks.sqlite import Commit, Store


def decoded(first: int, values: list[float], revision: int = 0, **more: Any) -> SamplesDecoded | SamplesRevised:
    fields = {
        "node_id": 1, "boot_epoch": 2, "first_index": first, "first_time_us": 1_000 + 10 * first, "period_us": 10,
        "values": np.array(values), "sigmas": np.full(len(values), 0.5), "flags": np.ones(len(values), np.uint8),
        "provisional": False, "revision": revision, "time_us": 7,
    } | more
    return SamplesRevised(**fields) if revision else SamplesDecoded(**fields)


def rows(path: Path) -> list[tuple[Any, ...]]:
    return sqlite3.connect(path).execute("SELECT * FROM samples").fetchall()


def test_rows_and_position_in_one_transaction(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.sqlite"
    store = Store(path, "here")
    store.commit(Commit(100, 7, [decoded(0, [1.0, np.nan])], {"node:1": b"state"}, [(1, "a", "V", "00", "{}")],
                        [(4, "radio", "{}")], {"out.jsonl": 12}))
    store.close()
    assert rows(path) == [(1, 2, 0, 1000, 1.0, 0.5, 1, 0), (1, 2, 1, 1010, None, 0.5, 1, 0)]
    again = Store(path, "here")
    assert (again.position, again.time_us, again.snapshot()) == (100, 7, {"node:1": b"state"})
    assert again.link_numbers() == {"radio": 4} and again.sink_lengths() == {"out.jsonl": 12}
    again.close()


def test_revisions_replace(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "here")
    for samples in ([decoded(0, [1.0, 2.0, 3.0])], [decoded(1, [20.0], 1)],
                    [decoded(2, [30.0], 1), decoded(2, [300.0], 2)], [decoded(2, [30.0], 1)]):
        assert not store.commit(Commit(1, 1, samples))
    assert [(row[4], row[7]) for row in rows(tmp_path / "s")] == [(1.0, 0), (20.0, 1), (300.0, 2)]
    store.close()


def test_new_samples_of_a_taken_key_are_counted_and_the_earlier_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = Store(path, "here")
    store.commit(Commit(1, 1, [decoded(0, [1.0, np.nan, 3.0]), decoded(1, [20.0], 1)]))
    again = decoded(0, [1.0, 5.0, 3.0, 4.0])
    other = decoded(0, [8.0], node_id=4)
    assert store.commit(Commit(2, 2, [again, other])) == {1: 1}
    assert store.commit(Commit(3, 3, [again])) == {}, "equal samples are no clash"
    twice = [decoded(10, [1.0] * 40), decoded(10, [2.0] * 40)]
    assert store.commit(Commit(4, 4, twice)) == {1: 40}, "within one commit too"
    assert [row[4] for row in rows(path)][:4] == [1.0, 5.0, 3.0, 4.0]
    assert [row[4] for row in rows(path)][4:] == [2.0] * 40 + [8.0]
    replaced = sqlite3.connect(path).execute("SELECT value, revision FROM replaced").fetchall()
    assert replaced == [(20.0, 1)] + [(1.0, 0)] * 40
    late = decoded(0, [7.0], 3, first_time_us=5)
    store.commit(Commit(5, 5, [late]))
    assert rows(path)[0][4] == 1.0, "a revision of what is not there any more"
    store.close()


@pytest.mark.parametrize("count", [1, 15, 16, 17, 100])
def test_every_field_of_a_run_of_any_length(tmp_path: Path, count: int) -> None:
    store = Store(tmp_path / "s", "here")
    run = decoded(7, np.random.default_rng(count).normal(size=count).tolist())
    store.commit(Commit(1, 1, [run]))
    assert rows(tmp_path / "s") == [
        (1, 2, 7 + i, run.first_time_us + 10 * i, run.values[i], 0.5, 1, 0) for i in range(count)
    ]
    store.close()


def test_a_store_is_of_one_source_and_version(tmp_path: Path) -> None:
    Store(tmp_path / "s", "live links").close()
    with pytest.raises(StorageError, match="holds what live links became, not the capture x"):
        Store(tmp_path / "s", "the capture x")
    (tmp_path / "no_store").write_bytes(b"this is not a database, certainly " * 100)
    with pytest.raises(StorageError, match="no_store: file is not a database"):
        Store(tmp_path / "no_store", "live links")


def test_absurd_times_stay_in_range(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "here")
    store.commit(Commit(1, 1, [decoded(0, [1.0, 2.0], first_time_us=(1 << 63) - 5)]))
    assert [row[3] for row in rows(tmp_path / "s")] == [(1 << 63) - 5, (1 << 63) - 1]
    store.close()


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = Store(path, "here")
    store.commit(Commit(5, 5, [decoded(0, [1.0])]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(StorageError, match="disk full|I/O"):
            for i in range(100):
                store.commit(Commit(6 + i, 6, [decoded(1000 * i, [float(i)] * 1000)]))
        kept = store.position
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.close()
    again = Store(path, "here")
    assert again.position == kept >= 5 and len(rows(path)) == 1 + 999 + 1000 * (kept - 6)
    again.close()


def test_json_lines(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "out.jsonl", None)
    sink.write([decoded(3, [1.5, np.nan])])
    sink.close()
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "node": 1, "epoch": 2, "index": 3, "time_us": 1030, "period_us": 10, "revision": 0,
        "values": [1.5, None], "sigmas": [0.5, 0.5], "flags": [1, 1],
    }


def test_a_restart_cuts_what_was_not_committed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"of somebody else\n")
    sink = JsonLines(path, None)
    sink.write([decoded(0, [1.0])])
    committed = sink.length
    sink.write([decoded(1, [2.0])])
    sink.close()
    again = JsonLines(path, committed)
    again.write([decoded(1, [2.5])])
    again.close()
    assert path.read_bytes() == b"of somebody else\n" + json_line(decoded(0, [1.0])) + json_line(decoded(1, [2.5]))


def test_a_file_moved_away_is_begun_anew(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "out.jsonl", 5000)
    sink.write([decoded(0, [1.0])])
    assert sink.length == (tmp_path / "out.jsonl").stat().st_size
    sink.close()
