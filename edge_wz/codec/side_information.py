"""What the gateway knows about a source before it reads the source's bits: the neighbours, sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_wz.errors import InputError


@dataclass(frozen=True, eq=False)
class SideInformation:
    """Neighbours in the order of `Model.side`. `sigmas` of 0 means exact; NaN in either means missing."""

    values: np.ndarray  # float64[T, m], sensor units
    sigmas: np.ndarray  # float64[T, m], sensor units

    @staticmethod
    def none(samples: int, neighbours: int = 0) -> SideInformation:
        """Every neighbour missing."""
        return SideInformation(np.full((samples, neighbours), np.nan), np.zeros((samples, neighbours)))

    @staticmethod
    def of(values: Any, sigmas: Any = None) -> SideInformation:
        """From anything of shape (T, m), or (T,) for one neighbour; exact unless `sigmas` says otherwise."""
        wide = np.ascontiguousarray(values, dtype=np.float64)
        wide = wide.reshape(-1, 1) if wide.ndim == 1 else wide
        if wide.ndim != 2:
            raise InputError(f"side information has {wide.ndim} dimensions, not 2")
        spread = np.zeros(wide.shape) if sigmas is None else np.ascontiguousarray(sigmas, dtype=np.float64)
        return SideInformation(wide, spread.reshape(wide.shape))

    def __getitem__(self, span: slice) -> SideInformation:
        """A run of samples."""
        return SideInformation(self.values[span], self.sigmas[span])
