"""The float chain of a `nested` bundle, read back from its integers: what ONNX graphs and their torch twin are built
from.

    level = floor(gain * x + half), bin = (level + 32768) mod J;  v = b * (y - mean_y);  u = step * level + zero;  x_hat = mean_x + c * (u - mean_u)

The bundle stays the only truth: a graph can be made from any bundle with the decoder `nearest`, learned or not. All
neighbours are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_wz.codec.nested_decoders import nearest_table, source_mean
from edge_wz.decoders.nearest import HIGHEST, LEVEL_STEP, LEVEL_ZERO, LOWEST
from edge_wz.errors import InputError
from edge_wz.model import Model


@dataclass(frozen=True, eq=False)
class Chain:
    """One rate point.

    gain: (L,) levels per LSB, newest sample first; b: (m, Lb); c: (Lc,); all else in LSB, `mean_y` in sensor units.
    """

    gain: np.ndarray
    half: float
    modulus: int
    lowest: int
    highest: int
    step: float
    zero: float
    b: np.ndarray
    c: np.ndarray
    mean_u: float
    mean_x: float
    mean_y: np.ndarray

    @property
    def lags(self) -> int:
        """Rows at the start that see zeros or missing neighbours."""
        return max(self.gain.size, self.b.shape[1]) + self.c.size - 2

    @staticmethod
    def of(model: Model, rate_point: int = 0) -> Chain:
        """Raises InputError for a bundle without a float chain."""
        if model.node.scheme != "nested" or model.side_filter is None:
            raise InputError(f"scheme {model.node.scheme} has no float chain to export; nested with a side filter has")
        point, moments = model.node.rate_points[rate_point], model.side_filter
        row = nearest_table(model)[rate_point]
        scale = float(1 << point.shift)
        mean_u, taps = float(moments.mean[0]), moments.taps
        weights = np.linalg.pinv(moments.cov[1:, 1:], rcond=1e-13, hermitian=True) @ moments.cov[0, 1:]
        return Chain(
            point.taps / scale, point.rounding / scale, point.modulus, int(row[LOWEST]), int(row[HIGHEST]),
            float(row[LEVEL_STEP]), float(row[LEVEL_ZERO]), weights.reshape(-1, taps), np.array(moments.output_taps),
            mean_u, source_mean(model, mean_u), np.array(moments.mean[1::taps]),
        )
