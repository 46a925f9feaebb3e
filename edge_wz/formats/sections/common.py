"""What the scheme sections of a node blob share: reading in order, refusing with a reason, 32-bit rows."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edge_wz.errors import FormatError
from edge_wz.model import frozen

HEADER_BYTES = 32
CHECK_BYTES = 4
Head = tuple[int, int, int, float, float]  # packet samples, hello every, level check bits, scale, offset


def refused(message: str) -> FormatError:
    return FormatError(f"node blob: {message}")


def within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise refused(f"{what} is {value}, not within {low} .. {high}")


def int32s(values: Any, what: str) -> np.ndarray:
    """A read-only int32 copy; numpy would wrap wider integers silently."""
    wide = np.asarray(values)
    if wide.size and wide.dtype.kind not in "iu":
        raise refused(f"{what}: integers expected, not {wide.dtype}")
    if wide.ndim != 1 or (wide.size and (int(wide.min()) < -(2**31) or int(wide.max()) >= 2**31)):
        raise refused(f"{what}: a row of 32-bit integers expected")
    return frozen(wide, np.int32)


class Reader:
    """Takes fields in order; a blob that ends inside one is a FormatError."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data[:-CHECK_BYTES]
        self._at = at

    def take(self, fields: struct.Struct, what: str) -> tuple[Any, ...]:
        self._require(self._at, fields.size, what)
        values = fields.unpack_from(self._data, self._at)
        self._at += fields.size
        return values

    def array(self, dtype: str, count: int, what: str) -> np.ndarray:
        values = self.array_at(self._at, dtype, count, what)
        self._at += np.dtype(dtype).itemsize * count
        return values

    def array_at(self, at: int, dtype: str, count: int, what: str) -> np.ndarray:
        self._require(at, np.dtype(dtype).itemsize * count, what)
        return frozen(np.frombuffer(self._data, dtype, count, at), np.int32)

    def _require(self, at: int, size: int, what: str) -> None:
        if at + size > len(self._data):
            raise refused(f"{what} at byte {at} runs past the end at byte {len(self._data)}")
