"""Captures: a torn tail at every byte and every flipped bit leave an intact beginning."""

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wz.errors import FormatError, NewerVersion
from edge_wz.formats import capture
from edge_wz.formats.capture import CaptureReader, DataRecord, LinkRecord

START = 1000
RECORDS = [
    capture.pack_link(3, "pty0", None, 5), capture.pack_data(3, b"abc", 6), capture.pack_data(3, b"", 6),
    capture.pack_link(4, "Wärme", 17, 9), capture.pack_data(4, bytes(range(20)), 1 << 50),
]
SEGMENT = capture.pack_header(START) + b"".join(RECORDS)
ENDS = [START + sum(map(len, RECORDS[: i + 1])) for i in range(len(RECORDS))]
WHOLE = [
    LinkRecord(3, None, "pty0", 5, ENDS[0]), DataRecord(3, b"abc", 6, ENDS[1]), DataRecord(3, b"", 6, ENDS[2]),
    LinkRecord(4, 17, "Wärme", 9, ENDS[3]), DataRecord(4, bytes(range(20)), 1 << 50, ENDS[4]),
]


def torn_reason(*records):
    reader = CaptureReader(capture.pack_header(0) + b"".join(records))
    list(reader)
    return reader.torn.reason


def test_bytes_of_a_segment():
    header = capture.pack_header(258)
    assert header[:20] == b"WZCP\x01\0\0\0" + bytes([2, 1, 0, 0, 0, 0, 0, 0]) + bytes(4) and len(header) == 24
    record = capture.pack_data(3, b"abc", 6)
    assert record[:-4] == bytes([1, 0, 3, 0, 3, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]) + b"abc"


def test_reading_a_whole_segment():
    reader = CaptureReader(SEGMENT)
    assert reader.start == START and list(reader) == WHOLE
    assert reader.torn is None and reader.position == ENDS[-1]


def test_a_reader_can_be_read_again_and_from_a_position():
    reader = CaptureReader(SEGMENT)
    list(reader)
    assert list(reader) == WHOLE
    links = [record for record in WHOLE if isinstance(record, LinkRecord)]
    assert list(reader.records(ENDS[1])) == [WHOLE[0], WHOLE[2], WHOLE[3], WHOLE[4]]
    assert list(reader.records(ENDS[-1])) == links


def test_a_torn_tail_at_every_byte():
    for size in range(len(SEGMENT)):
        if size < 24:
            with pytest.raises(FormatError):
                CaptureReader(SEGMENT[:size])
            continue
        reader = CaptureReader(SEGMENT[:size], "x")
        read = list(reader)
        assert read == WHOLE[: len(read)]
        at_record_end = START + size - 24 in [START, *ENDS]
        assert (reader.torn is None) == at_record_end
        assert reader.position == (read[-1].position if read else START)
        if reader.torn is not None:
            assert reader.torn.position == reader.position and reader.torn.byte == reader.position - START + 24


def test_every_flipped_bit_leaves_what_lies_before():
    for bit in range(8 * len(SEGMENT)):
        data = bytearray(SEGMENT)
        data[bit >> 3] ^= 1 << (bit & 7)
        if bit < 8 * 24:
            with pytest.raises(FormatError):
                CaptureReader(bytes(data))
            continue
        reader = CaptureReader(bytes(data))
        intact = sum(end - START + 24 <= bit >> 3 for end in ENDS)
        assert list(reader) == WHOLE[:intact]
        assert reader.torn is not None


def test_rules_of_records():
    link = capture.pack_link(1, "a", None, 5)
    assert "not declared" in torn_reason(capture.pack_data(1, b"x", 5))
    assert "not declared" in torn_reason(link, capture.pack_data(2, b"x", 5))
    assert "time falls" in torn_reason(link, capture.pack_data(1, b"x", 4))
    assert "unknown kind 2" in torn_reason(capture._pack_record(2, 1, b"", 0))
    assert "without a node id" in torn_reason(capture._pack_record(0, 1, b"abc", 0))
    assert "node id -2" in torn_reason(capture._pack_record(0, 1, (-2).to_bytes(4, "little", signed=True), 0))
    assert "UTF-8" in torn_reason(capture._pack_record(0, 1, bytes(4) + b"\xff", 0))


def test_headers_that_are_none():
    newer = bytearray(SEGMENT)
    newer[4] = 2
    with pytest.raises(NewerVersion, match="version 2"):
        CaptureReader(bytes(newer), "spool/0")
    with pytest.raises(FormatError, match="spool/0: byte 0"):
        CaptureReader(b"PK\x03\x04" + bytes(30), "spool/0")


def test_a_mapped_file_reads_alike(tmp_path):
    path = tmp_path / "segment"
    path.write_bytes(SEGMENT[:-1])
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert list(CaptureReader(mapped)) == WHOLE[:-1]


@given(st.integers(0, 2**63), st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=50)), max_size=10))
def test_round_trip(start, data):
    parts = [capture.pack_header(start)]
    parts += [capture.pack_link(link, str(link), None, 0) for link, _ in data]
    parts += [capture.pack_data(link, body, i) for i, (link, body) in enumerate(data)]
    reader = CaptureReader(b"".join(parts))
    read = [(r.link, r.data) for r in reader if isinstance(r, DataRecord)]
    assert read == data and reader.torn is None


@given(st.binary(max_size=300))
def test_any_record_bytes_never_raise(data):
    list(CaptureReader(capture.pack_header(0) + data))
