"""Where a decoder writes: one row per sample, in LSB. `reconstruction` turns it into sensor units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Decoded(NamedTuple):
    values: np.ndarray  # float64[T]
    sigmas: np.ndarray  # float64[T]
    flags: np.ndarray  # uint8[T]
    levels: np.ndarray  # int32[T], NO_LEVEL where nothing was resolved

    @staticmethod
    def empty(samples: int) -> Decoded:
        return Decoded(
            np.empty(samples), np.empty(samples), np.empty(samples, np.uint8), np.empty(samples, np.int32)
        )
