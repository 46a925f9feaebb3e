"""Progress bars: on standard error, only in a terminal, only for what takes longer than a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY_S = 0.5


@contextmanager
def progress(label: str, total: float) -> Iterator[Callable[[float], None]]:
    """`with progress("encode", n) as advance: advance(k)`. Shows nothing before DELAY_S or without a terminal."""
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    percentage = TextColumn("{task.percentage:>3.0f}%")
    columns = (TextColumn("{task.description}"), BarColumn(), percentage, TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=total)
    begun_s = time.monotonic()

    def advance(steps: float) -> None:
        if not bar.live.is_started and time.monotonic() - begun_s > DELAY_S:
            bar.start()
        bar.advance(task, steps)

    try:
        yield advance
    finally:
        bar.stop()
