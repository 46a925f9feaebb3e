"""Decoded samples as JSON lines, one per run of samples, append only.

Unlike the store a file cannot take part in a transaction: the store remembers the length that belongs to its position,
and a restart cuts the file there. So every run is in it exactly once; a revised run is a later line with a higher
`revision`. A file that was moved away (log rotation) is begun anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_wz.gateway.sinks import Samples
from edge_wz.gateway.storage import storage_errors


class JsonLines:
    def __init__(self, path: Path, length: int | None) -> None:
        """`length`: what the store remembers; None: the store has not met this file, what is in it stays."""
        self.path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (open for the life of the daemon)
            size = os.fstat(self._file.fileno()).st_size
            self.length = size if length is None else min(size, length)
            self._file.truncate(self.length)

    def write(self, samples: Sequence[Samples]) -> None:
        """Append and bring to the disk. After an error the next start cuts what is behind the committed length."""
        if not samples:
            return
        lines = b"".join(json_line(run) for run in samples)
        with storage_errors(self.path):
            view = memoryview(lines)
            while view:
                view = view[self._file.write(view):]
            os.fdatasync(self._file.fileno())
        self.length += len(lines)

    def close(self) -> None:
        with storage_errors(self.path):
            self._file.close()


def json_line(run: Samples) -> bytes:
    row = {
        "node": run.node_id, "epoch": run.boot_epoch, "index": run.first_index, "time_us": run.first_time_us,
        "period_us": run.period_us, "revision": run.revision,
        "values": _numbers(run.values), "sigmas": _numbers(run.sigmas), "flags": np.asarray(run.flags).tolist(),
    }
    return json.dumps(row, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _numbers(values: np.ndarray) -> list[float | None]:
    """JSON has no NaN (nor infinities): null."""
    finite = np.isfinite(values)
    if finite.all():
        return list(values.tolist())
    return [value if known else None for value, known in zip(values.tolist(), finite.tolist(), strict=True)]
