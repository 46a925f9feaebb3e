"""Who has a device open: a look through /proc, so that "port is locked" can name the process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

LOCKED = (errno.EAGAIN, errno.EBUSY)


def why_not_open(device: str, error: OSError | ValueError) -> str:
    """One line about a serial port that pyserial could not open exclusively."""
    if isinstance(error, OSError) and (error.errno in LOCKED or "exclusively lock" in str(error)):
        return f"{device} is locked by {' and '.join(holders(device)) or 'a process of another user'}"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"{device}: {os.strerror(errno.EACCES)} (on Debian, serial ports are for the group dialout)"
    if f"({errno.ENOTTY}, " in str(error):  # pyserial hides the number in its words
        return f"{device}: not a serial port"
    if isinstance(error, OSError) and error.errno:
        return f"{device}: {os.strerror(error.errno)}"
    return f"{device}: {error}"


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
