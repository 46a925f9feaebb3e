"""Who has a device open: a look through /proc, so that "port is locked" can name the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def holders(device: str) -> list[str]:
    """`process 4711 (minicom)` for every other process that has `device` open and that we may look into."""
    target = os.path.realpath(device)
    return [f"process {pid} ({_name(pid)})" for pid in _pids() if pid != os.getpid() and _has_open(pid, target)]


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _has_open(pid: int, target: str) -> bool:
    try:
        return any(os.path.realpath(entry.path) == target for entry in os.scandir(f"/proc/{pid}/fd"))
    except OSError:  # another user's, or gone meanwhile
        return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone meanwhile"
