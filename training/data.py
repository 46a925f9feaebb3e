"""Recordings: CSV files of sensors on one clock, read into float64 columns with NaN where a sample is missing.

Two layouts: *wide*, one row per instant and one column per sensor, and *long*, one row per reading with a column that
names the sensor.
A cell that is no number is an error with its file, line and column, never a NaN: only an empty cell means "missing".
The usual readers (pandas, genfromtxt) guess there. Parsing is by column; rows are looked at only to word an error.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_wz.errors import InputError, RecordingError
from edge_wz.model import frozen

# Names of a first column that is a clock and not a sensor, with the seconds of one unit (None: unknown).
CLOCK_NAMES: dict[str, float | None] = {
    "time": 1.0,
    "timestamp": 1.0,
    "time_s": 1.0,
    "t_s": 1.0,
    "seconds": 1.0,
    "time_ms": 1e-3,
    "ts_ms": 1e-3,
    "hour": 3600.0,
    "t": None,
    "k": None,
    "n": None,
    "seq": None,
    "index": None,
    "sample": None,
    "date": 1.0,
    "datetime": 1.0,
}
MAX_CLOCK_GROWTH = 20  # a clock with more holes than this per row is taken for a broken one
HEADROOM = 1.25
CODE_LIMIT = 32767
QUANTA = tuple(factor * 10.0**-power for power in range(7) for factor in (1.0, 0.5, 0.25, 0.2))


@dataclass(frozen=True, eq=False)
class Recording:
    """Sensor columns on a common clock. `columns[name]`: float64[T], NaN = missing; `index`: float64[T] clock
    values."""

    columns: Mapping[str, np.ndarray]
    period_s: float | None
    index: np.ndarray
    path: str = ""

    @property
    def samples(self) -> int:
        return len(self.index)

    def column(self, name: str) -> np.ndarray:
        """The column `name`; an error that lists the columns there are, if it is none of them."""
        if name not in self.columns:
            raise RecordingError(f"{self.path}: no column '{name}' (there are: {', '.join(self.columns)})")
        return self.columns[name]

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """float64[T, len(names)]."""
        if not names:
            return np.empty((self.samples, 0))
        return np.column_stack([self.column(name) for name in names])

    def source(self, name: str) -> np.ndarray:
        """The column `name`, which must hold a signal: not empty, not constant."""
        values = self.column(name)
        present = values[~np.isnan(values)]
        if not len(present):
            raise RecordingError(f"{self.path}: column '{name}' has no sample at all")
        if present.min() == present.max():
            raise RecordingError(f"{self.path}: column '{name}' is constant ({present[0]:g}): there is nothing to code")
        return values

    def part(self, start: int, stop: int) -> Recording:
        """Rows start..stop-1."""
        columns = {name: values[start:stop] for name, values in self.columns.items()}
        return replace(self, columns=columns, index=self.index[start:stop])

    def split(self, fraction: float = 0.5) -> tuple[Recording, Recording]:
        """The rows before and after `fraction` of the recording."""
        middle = int(self.samples * fraction)
        return self.part(0, middle), self.part(middle, self.samples)

    def thin(self, every: int) -> Recording:
        """Every `every`-th row, as a node with a slower clock would have sampled."""
        if every < 1:
            raise InputError(f"thinning must be at least 1, not {every}")
        columns = {name: frozen(values[::every], np.float64) for name, values in self.columns.items()}
        period_s = None if self.period_s is None else self.period_s * every
        return replace(self, columns=columns, index=self.index[::every], period_s=period_s)

    def segments(self, name: str) -> list[tuple[int, int]]:
        """The runs [start, stop) in which the column `name` misses nothing."""
        edges = np.flatnonzero(np.diff(np.concatenate([[True], np.isnan(self.column(name)), [True]]).astype(np.int8)))
        return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def load_recording(
    path: str | Path,
    columns: Sequence[str] | None = None,
    *,
    index_column: str | None = None,
    period_s: float | None = None,
    layout: str = "wide",
    id_column: str = "node",
    value_column: str | None = None,
    thin: int = 1,
) -> Recording:
    """Reads a `.csv` or `.csv.gz`. `columns`: the sensors wanted (all), in the long layout ids found in `id_column`."""
    if layout not in ("wide", "long"):
        raise InputError(f"layout must be wide or long, not '{layout}'")
    table = _Table.read(str(path))
    if layout == "wide":
        recording = _wide(table, columns, index_column, period_s)
    else:
        recording = _long(table, columns, index_column, period_s, id_column, value_column)
    return recording.thin(thin) if thin != 1 else recording


def from_columns(
    columns: Mapping[str, np.ndarray], period_s: float | None = None, path: str = "recording"
) -> Recording:
    """A recording from arrays, for simulated fields and tests."""
    arrays = {name: frozen(values, np.float64) for name, values in columns.items()}
    lengths = {len(values) for values in arrays.values()}
    if len(lengths) != 1:
        raise InputError(f"{path}: columns of different lengths {sorted(lengths)}")
    for name, values in arrays.items():
        if np.isinf(values).any():
            raise InputError(f"{path}: column '{name}' holds an infinite value")
    return Recording(arrays, period_s, frozen(np.arange(lengths.pop()), np.float64), path)


@dataclass(frozen=True, eq=False)
class _Table:
    """The cells of a CSV file as text, by column."""

    path: str
    text: str
    header: tuple[str, ...]
    cells: dict[str, np.ndarray]  # name -> str[T]

    @staticmethod
    def read(path: str) -> _Table:
        text = _read_text(path)
        rows = csv.reader(io.StringIO(text))
        try:
            header = tuple(name.strip() for name in next(rows, []))
            body = [row for row in rows if row]
        except csv.Error as error:
            raise RecordingError(f"{path}: line {rows.line_num}: {error}") from None
        _check_header(path, header)
        if not body:
            raise RecordingError(f"{path}: the file has a header and no rows")
        if set(map(len, body)) != {len(header)}:
            _raise_ragged(path, text, len(header))
        cells = {
            name: np.array(column, dtype=np.str_) for name, column in zip(header, zip(*body, strict=True), strict=True)
        }
        return _Table(path, text, header, cells)

    def need(self, name: str) -> np.ndarray:
        if name not in self.cells:
            raise RecordingError(f"{self.path}: no column '{name}' (there are: {', '.join(self.header)})")
        return self.cells[name]

    def where(self, row: int, name: str) -> str:
        """`FILE: line L, column 'C'` of body row `row`."""
        return f"{self.path}: line {_line_of(self.text, row)}, column '{name}'"

    def numbers(self, name: str) -> np.ndarray:
        """The column as float64, empty cells NaN."""
        cells = self.need(name)
        empty = cells == ""
        filled = np.where(empty, "nan", cells) if empty.any() else cells
        try:
            if "_" in self.text and (np.char.find(cells, "_") >= 0).any():
                raise ValueError  # Python reads 1_000 as a number; a recording does not mean it
            values = filled.astype(np.float64)
        except ValueError:
            values, empty = self._numbers_by_cell(name)
        bad = np.flatnonzero(~np.isfinite(values) & ~empty)
        if len(bad):
            raise RecordingError(
                f"{self.where(bad[0], name)}: '{cells[bad[0]]}' is not a finite number; leave missing cells empty"
            )
        return values

    def _numbers_by_cell(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        cells = np.char.strip(self.cells[name])
        values = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells.tolist()):
            try:
                if "_" in cell:
                    raise ValueError
                values[row] = float(cell) if cell else np.nan
            except ValueError:
                raise RecordingError(f"{self.where(row, name)}: '{cell}' is not a number") from None
        return values, cells == ""

    def clock(self, name: str) -> np.ndarray:
        """A clock column: numbers, or ISO 8601 times in seconds since 1970."""
        cells = self.need(name)
        first = cells[0].strip()
        if len(first) >= 10 and first[4:5] == "-" and first[7:8] == "-":
            try:
                times = np.char.rstrip(np.char.strip(cells), "Z").astype("datetime64[us]")
            except ValueError as error:
                raise RecordingError(f"{self.path}: column '{name}': {error}") from None
            if np.isnat(times).any():
                raise RecordingError(f"{self.where(int(np.flatnonzero(np.isnat(times))[0]), name)}: no time")
            return times.astype(np.int64) / 1e6
        values = self.numbers(name)
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            raise RecordingError(f"{self.where(missing[0], name)}: the clock has no value here")
        return values


def _read_text(path: str) -> str:
    try:
        raw = Path(path).read_bytes()
        if path.endswith(".gz"):
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from None
    except (EOFError, zlib.error) as error:
        raise RecordingError(f"{path}: damaged gzip file: {error}") from None
    except UnicodeDecodeError as error:
        raise RecordingError(f"{path}: byte {error.start} is not UTF-8 text") from None


def _check_header(path: str, header: tuple[str, ...]) -> None:
    if not any(header):
        raise RecordingError(f"{path}: the file is empty")
    seen: set[str] = set()
    for position, name in enumerate(header, 1):
        if not name:
            raise RecordingError(f"{path}: line 1: column {position} has no name")
        if name in seen:
            raise RecordingError(f"{path}: line 1: column '{name}' appears twice")
        seen.add(name)
    if all(_is_number(name) for name in header):
        raise RecordingError(f"{path}: line 1: a header row with column names is needed, found only numbers")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _raise_ragged(path: str, text: str, expected: int) -> None:
    rows = csv.reader(io.StringIO(text))
    next(rows)
    for row in rows:
        if row and len(row) != expected:
            raise RecordingError(f"{path}: line {rows.line_num}: {len(row)} cells, the header has {expected}")


def _line_of(text: str, body_row: int) -> int:
    rows = csv.reader(io.StringIO(text))
    next(rows)
    count = -1
    for row in rows:
        count += bool(row)
        if count == body_row:
            break
    return rows.line_num


def _clock_name(table: _Table, index_column: str | None) -> str | None:
    if index_column is not None:
        table.need(index_column)
        return index_column
    first = table.header[0]
    return first if first.lower() in CLOCK_NAMES and len(table.header) > 1 else None


def _wide(table: _Table, columns: Sequence[str] | None, index_column: str | None, period_s: float | None) -> Recording:
    clock = _clock_name(table, index_column)
    names = [name for name in table.header if name != clock] if columns is None else list(columns)
    values = {name: table.numbers(name) for name in names}
    if clock is None:
        index = np.arange(len(table.cells[table.header[0]]), dtype=np.float64)
        return _recording(values, index, period_s, table.path)
    index = table.clock(clock)
    backwards = np.flatnonzero(np.diff(index) <= 0)
    if len(backwards):
        raise RecordingError(f"{table.where(backwards[0] + 1, clock)}: the clock does not advance")
    slots, slot_units = _slots(index, table.path)
    spread = {name: _on_clock(column, slots) for name, column in values.items()}
    seconds = CLOCK_NAMES.get(clock.lower())
    if period_s is None and seconds is not None and slot_units:
        period_s = slot_units * seconds
    return _recording(spread, index[0] + np.arange(slots[-1] + 1) * slot_units, period_s, table.path)


def _slots(index: np.ndarray, path: str) -> tuple[np.ndarray, float]:
    """The slot of each row on a regular clock, and the clock units per slot: rows that are missing leave their slots
    empty."""
    if len(index) == 1:
        return np.zeros(1, dtype=np.int64), 1.0
    unit = float(np.median(np.diff(index)))
    slots = np.rint((index - index[0]) / unit).astype(np.int64)
    if np.any(np.diff(slots) < 1):  # an irregular clock: rows are taken as they come
        return np.arange(len(index)), unit
    if slots[-1] + 1 > MAX_CLOCK_GROWTH * len(index):
        raise RecordingError(f"{path}: the clock jumps: {len(index)} rows span {slots[-1] + 1} sampling intervals")
    return slots, unit


def _on_clock(values: np.ndarray, slots: np.ndarray) -> np.ndarray:
    spread = np.full(slots[-1] + 1, np.nan)
    spread[slots] = values
    return spread


def _recording(values: Mapping[str, np.ndarray], index: np.ndarray, period_s: float | None, path: str) -> Recording:
    columns = {name: frozen(column, np.float64) for name, column in values.items()}
    return Recording(columns, period_s, frozen(index, np.float64), path)


def _long(
    table: _Table,
    columns: Sequence[str] | None,
    index_column: str | None,
    period_s: float | None,
    id_column: str,
    value_column: str | None,
) -> Recording:
    clock = _clock_name(table, index_column)
    if clock is None:
        raise RecordingError(f"{table.path}: the long layout needs an index column")
    if value_column is None:
        raise InputError(f"{table.path}: the long layout needs the name of its value column")
    ids = np.char.strip(table.need(id_column))
    values = table.numbers(value_column)
    index = table.clock(clock)
    ticks = np.unique(index)
    slots, unit = _slots(ticks, table.path)
    row_slots = slots[np.searchsorted(ticks, index)]
    wanted = _natural(set(ids.tolist())) if columns is None else list(columns)
    spread = {}
    for name in wanted:
        rows = np.flatnonzero(ids == name)
        if not len(rows):
            raise RecordingError(f"{table.path}: column '{id_column}' holds no '{name}'")
        column = np.full(slots[-1] + 1, np.nan)
        column[row_slots[rows[::-1]]] = values[rows[::-1]]  # written backwards: of duplicates the first one stays
        spread[name] = column
    seconds = CLOCK_NAMES.get(clock.lower())
    if period_s is None and seconds is not None:
        period_s = unit * seconds
    return _recording(spread, ticks[0] + np.arange(slots[-1] + 1) * unit, period_s, table.path)


def _natural(names: set[str]) -> list[str]:
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def choose_scale(values: np.ndarray) -> tuple[float, float]:
    """(scale, offset) of int16 codes: the recording's own quantum if that fits with 25 % headroom, else a power of
    two."""
    present = values[~np.isnan(values)]
    if not len(present):
        raise RecordingError("a column without samples has no scale")
    low, high = float(present.min()), float(present.max())
    for quantum in QUANTA:
        codes = present / quantum
        if np.abs(codes - np.rint(codes)).max() < 1e-6 * max(1.0, np.abs(codes).max() * 1e-6):
            offset = _offset(low, high, quantum)
            if offset is not None:
                return quantum, offset
            break
    exponent = int(np.floor(np.log2(max(high - low, 1e-30) * HEADROOM / (2 * CODE_LIMIT))))
    while True:
        offset = _offset(low, high, 2.0**exponent)
        if offset is not None:
            return 2.0**exponent, offset
        exponent += 1


def _offset(low: float, high: float, scale: float) -> float | None:
    """The offset with which low..high and the headroom fit into int16: 0 where that does."""
    if max(-low, high) * HEADROOM <= CODE_LIMIT * scale:
        return 0.0
    if (high - low) * HEADROOM <= 2 * CODE_LIMIT * scale:
        return float(np.rint((high + low) / 2 / scale) * scale)
    return None
