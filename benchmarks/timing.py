"""Times of the processor, not of the wall, so that a busy machine disturbs less; and how results are printed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from training.report import table


def best_s(call: Callable[[], object], rounds: int = 7, number: int = 1) -> float:
    """Seconds of one call, warm: the best of several rounds."""
    call()
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(number):
            call()
        best = min(best, (time.process_time() - began) / number)
    return best


def show(header: tuple[str, ...], rows: list[list[object]], as_json: bool) -> None:
    """An aligned table, or one JSON object per row."""
    if as_json:
        print(json.dumps([dict(zip(header, row, strict=True)) for row in rows]))
    else:
        print(table(header, rows))
