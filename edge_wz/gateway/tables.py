"""A TOML table that is read key by key: every refusal names the file and the key path.

Unlike a schema library it costs no import time and no dependency, and it knows the spelling that was meant.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from edge_wz.errors import ConfigError

MISSING: Any = object()


class Table:
    """One table of the file. Read each key once; `done` refuses what nobody read."""

    def __init__(self, values: Mapping[str, Any], where: str, path: str = "") -> None:
        self._values = values
        self._where = where
        self._path = path
        self._read: list[str] = []

    def refuse(self, key: str, why: str) -> ConfigError:
        """The error to raise about `key` of this table."""
        return ConfigError(f"{self._where}: {self._key_path(key)}: {why}")

    def has(self, key: str) -> bool:
        self._read.append(key)
        return key in self._values

    def text(self, key: str, default: Any = MISSING) -> str:
        return str(self._typed(key, default, str, "a string"))

    def flag(self, key: str, default: Any = MISSING) -> bool:
        return bool(self._typed(key, default, bool, "true or false"))

    def integer(self, key: str, default: Any = MISSING, low: int = 0, high: int = 1 << 62) -> int:
        value = int(self._typed(key, default, int, "an integer"))
        if not low <= value <= high:
            raise self.refuse(key, f"{value} is not in {low}..{high}")
        return value

    def number(self, key: str, default: Any = MISSING) -> float:
        """A finite number >= 0."""
        value = float(self._typed(key, default, (int, float), "a number"))
        if not (math.isfinite(value) and value >= 0):
            raise self.refuse(key, f"{value} is not a number >= 0")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._typed(key, MISSING, list, "a list of strings")
        if not all(isinstance(value, str) for value in values):
            raise self.refuse(key, "must be a list of strings")
        return tuple(values)

    def table(self, key: str) -> Table:
        return Table(self._typed(key, {}, dict, "a table"), self._where, self._key_path(key))

    def tables(self, key: str) -> list[Table]:
        rows = self._typed(key, [], list, f"an array of tables ([[{key}]])")
        if not all(isinstance(row, dict) for row in rows):
            raise self.refuse(key, f"must be an array of tables ([[{key}]])")
        return [Table(row, self._where, f"{self._key_path(key)}[{i}]") for i, row in enumerate(rows)]

    def raw(self) -> dict[str, Any]:
        """A copy of the values, unread."""
        return dict(self._values)

    def done(self) -> None:
        for key in self._values:
            if key not in self._read:
                raise self.refuse(key, "unknown key" + _suggestion(key, self._read))

    def _typed(self, key: str, default: Any, kind: Any, noun: str) -> Any:
        self._read.append(key)
        if key not in self._values:
            if default is MISSING:
                raise self.refuse(key, "missing")
            return default
        value = self._values[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.refuse(key, f"must be {noun}, not {value!r}")
        return value

    def _key_path(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key


def _suggestion(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f" (did you mean {near[0]}?)" if near else ""
