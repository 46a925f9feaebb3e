"""The spool: what is appended is read back, across segments, kills, deletions and a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from edge_wz.errors import FormatError, StorageError
from edge_wz.formats.capture import DataRecord
from edge_wz.gateway.fleet import LinkSpec
from edge_wz.gateway.spool import Spool, find_segments, read_records

LINKS = (LinkSpec(0, "radio"), LinkSpec(3, "yard", shared=False, node_id=5))


def opened(folder: Path, segment_bytes: int = 500, limit_bytes: int = 10**9) -> Spool:
    spool = Spool(folder, LINKS, segment_bytes=segment_bytes, limit_bytes=limit_bytes)
    spool.start(0)
    return spool


def data_of(folder: Path, position: int = 0) -> list[tuple[int, bytes, int]]:
    records = read_records(find_segments(folder), position)
    return [(r.link, r.data, r.time_us) for r in records if isinstance(r, DataRecord)]


def fill(spool: Spool, first: int, count: int) -> list[DataRecord]:
    return [spool.append(3 * (i % 2), bytes([i % 256]) * (i % 40), 1000 + i) for i in range(first, first + count)]


def test_rotation_positions_and_reading_from_any_of_them(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    written = fill(spool, 0, 100)
    assert spool.position == written[-1].position
    spool.close()
    assert len(find_segments(tmp_path)) > 5
    expected = [(r.link, r.data, r.time_us) for r in written]
    assert data_of(tmp_path) == expected
    for i in range(0, 100, 7):
        assert data_of(tmp_path, written[i].position) == expected[i + 1:]


def test_a_restart_goes_on_at_every_place_a_kill_can_tear(tmp_path: Path) -> None:
    spool = opened(tmp_path / "whole", segment_bytes=10**6)
    written = fill(spool, 0, 8)
    spool.close()
    whole = next((tmp_path / "whole").glob("*.wzcp")).read_bytes()
    ends = [record.position + 24 for record in written]
    for length in range(len(whole)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "00000001.wzcp").write_bytes(whole[:length])
        spool = opened(folder)
        added = spool.append(0, b"later", 5000)
        spool.close()
        intact = sum(end <= length for end in ends)
        assert data_of(folder) == [(r.link, r.data, r.time_us) for r in written[:intact]] + [(0, b"later", 5000)]
        assert not intact or added.position > written[intact - 1].position


def test_time_and_position_survive(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    last = fill(spool, 0, 30)[-1]
    spool.close()
    again = Spool(tmp_path, LINKS, segment_bytes=500, limit_bytes=10**9)
    assert (again.position, again.last_us) == (last.position, last.time_us)
    again.start(last.position + 1000)  # the store knows more than the folder: somebody emptied it
    assert again.position > last.position + 1000
    again.close()


def test_retention_deletes_only_what_is_committed(tmp_path: Path) -> None:
    spool = opened(tmp_path, limit_bytes=1500)
    written = fill(spool, 0, 200)
    count = len(find_segments(tmp_path))
    assert spool.retain(0) == 0
    middle = written[100].position
    deleted = spool.retain(middle)
    assert 0 < deleted < count
    assert find_segments(tmp_path)[0].start <= middle
    spool.retain(spool.position)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.wzcp")) <= 1500
    spool.close()
    assert data_of(tmp_path, spool.position) == []
    assert data_of(tmp_path)[-1] == (3, written[-1].data, written[-1].time_us)


def test_segments_behind_a_position(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    written = fill(spool, 0, 50)
    tail = list(read_records(spool.segments(written[40].position), written[40].position))
    assert [r.data for r in tail if isinstance(r, DataRecord)] == [r.data for r in written[41:]]
    spool.close()


def test_one_daemon_at_a_time(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with pytest.raises(StorageError, match=f"another daemon .process {os.getpid()}."):
        opened(tmp_path)
    spool.close()
    opened(tmp_path).close()


@pytest.mark.parametrize("written_bytes", [0, 5])
def test_a_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_bytes: int) -> None:
    spool = opened(tmp_path)
    kept = spool.append(0, b"kept", 1)
    write = os.write

    def full(descriptor: int, data: Any) -> int:
        if len(data) > 5 and written_bytes:
            return write(descriptor, bytes(data)[:written_bytes])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match=r"00000001.wzcp: disk full"):
        spool.append(0, b"does not fit", 2)
    monkeypatch.undo()
    assert spool.position == kept.position
    spool.append(0, b"fits again", 3)
    spool.close()
    assert data_of(tmp_path) == [(0, b"kept", 1), (0, b"fits again", 3)]


def test_what_is_no_capture(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"short")
    with pytest.raises(FormatError, match="not a capture"):
        find_segments(tmp_path / "x.bin")
    (tmp_path / "y.bin").write_bytes(b"long enough for a header, but none")
    with pytest.raises(FormatError, match=r"y.bin: byte 0"):
        find_segments(tmp_path / "y.bin")
    with pytest.raises(StorageError, match="No such file"):
        find_segments(tmp_path / "nowhere")
