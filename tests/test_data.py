"""Recordings: what is read, what is refused and with which words, and the scale of codes."""

import gzip

import numpy as np
import pytest

from edge_wz.errors import RecordingError
from training.data import choose_scale, from_columns, load_recording


def write(path, text):
    path.write_text(text)
    return str(path)


def test_wide_with_missing_cells_and_a_clock(tmp_path):
    path = write(tmp_path / "a.csv", "time,x,y\n0,1.5,2\n0.5,,3\n1.5,4,5\n")
    recording = load_recording(path)
    assert list(recording.columns) == ["x", "y"]
    assert recording.period_s == 0.5 or recording.period_s == 0.75  # median of two unequal intervals
    assert np.isnan(recording.column("x")[1])


def test_a_row_missing_from_the_clock_is_a_missing_sample(tmp_path):
    path = write(tmp_path / "a.csv", "k,x\n0,1\n1,2\n2,3\n4,5\n5,6\n")
    recording = load_recording(path)
    assert recording.samples == 6
    assert np.isnan(recording.column("x")[3]) and recording.column("x")[4] == 5


def test_gzip_and_no_clock(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"x,y\n1,2\n3,4\n"))
    recording = load_recording(path, ["y"])
    assert recording.columns["y"].tolist() == [2, 4] and recording.period_s is None


def test_iso_times_give_the_period(tmp_path):
    path = write(
        tmp_path / "a.csv", "timestamp,x\n2026-01-01T00:00:00Z,1\n2026-01-01T00:01:00Z,2\n2026-01-01T00:02:00Z,4\n"
    )
    assert load_recording(path).period_s == 60


def test_long_layout_keeps_the_first_duplicate(tmp_path):
    path = write(tmp_path / "a.csv", "seq,node,v\n1,a,10\n1,b,20\n2,a,11\n2,a,99\n4,b,23\n3,a,12\n")
    recording = load_recording(path, layout="long", value_column="v")
    assert recording.columns["a"].tolist()[:3] == [10, 11, 12]
    assert np.isnan(recording.columns["b"][1:3]).all() and recording.columns["b"][3] == 23


def test_thin_split_segments(tmp_path):
    recording = from_columns({"x": [1, np.nan, 3, 4, 5, 6, np.nan, 8]}, period_s=2.0)
    assert recording.segments("x") == [(0, 1), (2, 6), (7, 8)]
    assert recording.thin(3).columns["x"].tolist()[:2] == [1, 4] and recording.thin(3).period_s == 6.0
    first, second = recording.split()
    assert first.samples == 4 and second.columns["x"][0] == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("x,y\n", "no rows"),
        ("x,y\n1,2\n3\n", "line 3: 1 cells, the header has 2"),
        ("x,y\n1,2\n3,abc\n", "line 3, column 'y': 'abc' is not a number"),
        ("x,y\n1,2\n\n3,nan\n", "line 4, column 'y': 'nan' is not a finite number"),
        ("x,y\n1,inf\n", "line 2, column 'y'"),
        ("x,y\n1,1_000\n", "line 2, column 'y'"),
        ("x,x\n1,2\n", "column 'x' appears twice"),
        ("x,\n1,2\n", "column 2 has no name"),
        ("1,2\n1,2\n", "header"),
        ("k,x\n0,1\n0,2\n", "line 3, column 'k': the clock does not advance"),
        ("k,x\n0,1\n,2\n", "line 3, column 'k': the clock has no value"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, words):
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(RecordingError) as error:
        load_recording(path)
    assert words in str(error.value) and "bad.csv" in str(error.value) and "\n" not in str(error.value)


def test_missing_files_columns_and_broken_archives(tmp_path):
    path = write(tmp_path / "a.csv", "x\n1\n2\n")
    with pytest.raises(RecordingError, match="no column 'z'"):
        load_recording(path, ["z"])
    with pytest.raises(RecordingError, match="No such file"):
        load_recording(tmp_path / "none.csv")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"x\n" + b"1\n" * 5000)[:-20])
    with pytest.raises(RecordingError, match="gzip"):
        load_recording(tmp_path / "b.csv.gz")


def test_a_source_must_vary():
    recording = from_columns({"x": [3.0, 3.0, np.nan], "y": [np.nan] * 3})
    with pytest.raises(RecordingError, match="constant"):
        recording.source("x")
    with pytest.raises(RecordingError, match="no sample"):
        recording.source("y")


@pytest.mark.parametrize(
    ("values", "scale", "offset"),
    [
        ([18.61, 18.6, np.nan, 19.04], 0.01, 0.0),
        ([0, 5, 995], 1.0, 0.0),
        ([0.5, -2.5], 0.5, 0.0),
        ([40000, 40001], 1.0, 40000.0),
    ],
)
def test_the_quantum_of_a_recording_is_found(values, scale, offset):
    assert choose_scale(np.array(values)) == (pytest.approx(scale), pytest.approx(offset, abs=1.0))


def test_without_a_quantum_a_power_of_two_leaves_headroom():
    values = np.random.default_rng(1).standard_normal(1000) + 100
    scale, offset = choose_scale(values)
    codes = (values - offset) / scale
    assert np.log2(scale) == round(np.log2(scale))
    assert 16384 / 2 < np.abs(codes).max() * 1.25 <= 65535
