"""The border of the codec: what callers hand in becomes contiguous arrays of known type here, once."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_wz.errors import InputError
from edge_wz.kernels.nested_quantizer import NO_LEVEL

FEW_ROWS = 64  # of a size: fewer are sliced

__all__ = ["NO_LEVEL", "as_codes", "as_present", "payload_bytes"]


def as_codes(values: Any) -> np.ndarray:
    """Source codes as int16[n]; integers of any width are taken if they fit, anything else is refused."""
    codes = np.asarray(values)
    if codes.ndim != 1:
        raise InputError(f"codes have {codes.ndim} dimensions, not 1")
    if codes.size == 0:
        return np.zeros(0, dtype=np.int16)
    if codes.dtype != np.int16:
        if not np.issubdtype(codes.dtype, np.integer):
            raise InputError(f"codes are {codes.dtype}, not integers")
        if codes.min() < -32768 or codes.max() > 32767:
            raise InputError("codes do not fit int16")
    return np.ascontiguousarray(codes, dtype=np.int16)


def as_present(present: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Which samples the sensor gave, as bool of `shape`; None means all of them."""
    if present is None:
        return np.ones(shape, dtype=np.bool_)
    mask = np.ascontiguousarray(present, dtype=np.bool_)
    if mask.shape != shape:
        raise InputError(f"the presence mask has shape {mask.shape}, the samples {shape}")
    return mask


def payload_bytes(out: np.ndarray, sizes: np.ndarray) -> list[bytes]:
    """The first `sizes[p]` bytes of each row of uint8[B, max].

    Rows of one size are one conversion, which costs a fifth of a slice for each; short packets have few sizes.
    """
    if not sizes.size:
        return []
    least, most = int(sizes.min()), int(sizes.max())
    if least == most:
        return _of_one_size(out, most)
    if (most - least + 1) * FEW_ROWS > sizes.size:
        data, width = out.tobytes(), out.shape[1]
        return [data[at : at + size] for at, size in zip(range(0, len(data), width), sizes.tolist(), strict=True)]
    rows = np.empty(sizes.size, dtype=object)
    for size in range(least, most + 1):
        own = np.flatnonzero(sizes == size)
        rows[own] = _of_one_size(out[own], size)
    payloads: list[bytes] = rows.tolist()
    return payloads


def _of_one_size(out: np.ndarray, size: int) -> list[bytes]:
    if not size:
        return [b""] * len(out)
    rows: list[bytes] = np.ascontiguousarray(out[:, :size]).view(f"V{size}").ravel().tolist()
    return rows
