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
    with live_progress(label, total) as show:
        yield lambda steps: show(steps, None)


@contextmanager
def live_progress(label: str, total: float) -> Iterator[Callable[[float, str | None], None]]:
    """`progress` whose label may change: `show(k, "train: 24.1 dB")`."""
    if not sys.stderr.isatty():
        yield lambda steps, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    percentage = TextColumn("{task.percentage:>3.0f}%")
    columns = (TextColumn("{task.description}"), BarColumn(), percentage, TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=total)
    begun_s = time.monotonic()

    def show(steps: float, text: str | None) -> None:
        if not bar.live.is_started and time.monotonic() - begun_s > DELAY_S:
            bar.start()
        bar.update(task, advance=steps, description=text or bar.tasks[0].description)

    try:
        yield show
    finally:
        bar.stop()
