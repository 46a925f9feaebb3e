"""What a description is made of: sections of rows, each row a field with the bits it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """`bits`: what the field costs where it lies; None for what is said about it only."""

    field: str
    value: Any
    bits: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Section:
    title: str
    rows: tuple[Row, ...]

    @property
    def bits(self) -> float:
        return sum(row.bits or 0 for row in self.rows)
