"""Disk trouble said in one line: `storage_errors` turns what the system raises into StorageError."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_wz.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Everything in this block reads or writes `path`."""
    try:
        yield
    except OSError as error:
        reason = "disk full" if error.errno in FULL else str(error.strerror or error)
        raise StorageError(_line(path, reason)) from error
    except sqlite3.Error as error:
        reason = "disk full" if "full" in str(error) else str(error)
        raise StorageError(_line(path, reason)) from error


def _line(path: Path, reason: str) -> str:
    if reason != "disk full":
        return f"{path}: {reason}"
    return f"{path}: disk full; what was committed is safe, free some space and start again"
