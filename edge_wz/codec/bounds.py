"""What can be promised about errors: guaranteed bounds by enumeration, and the chance of a wrong candidate.

All in sensor units, against the source as coded: turning a float sensor value into a code costs up to half an LSB more.
"""

from __future__ import annotations

import math

import numpy as np

from edge_wz.model import NestedRatePoint, NodeModel


def max_error(node: NodeModel, rate_point: int = 0) -> float:
    """Largest error of the scheme's own rule: the closed loop of `predictive`, the centre of the right cell of `nested`."""
    if node.scheme == "predictive":
        return predictive_error_lsb(node, rate_point) * node.scale
    return 0.5 * (widest_cell_lsb(node, rate_point) - 1) * node.scale


def predictive_error_lsb(node: NodeModel, rate_point: int = 0) -> int:
    """max |x - xr| of SPEC 4.1 over every difference of two int16; clipping to int16 only brings xr closer."""
    point = node.rate_points[rate_point]
    differences = np.arange(65536, dtype=np.int64)
    levels = (differences * 256 + point.rounding_q8) // point.step_q8
    return int(np.max(np.abs(differences - ((levels * point.step_q8 + 128) >> 8))))


def widest_cell_lsb(node: NodeModel, rate_point: int = 0) -> int:
    """The most codes that share a level (SPEC 3.1), for an encoder without filter."""
    point: NestedRatePoint = node.rate_points[rate_point]
    if len(point.taps) > 1:
        raise ValueError("levels of a filtered source do not bound the source")
    codes = np.arange(-32768, 32768, dtype=np.int64)
    levels = np.clip((point.rounding + int(point.taps[0]) * codes) >> point.shift, -32768, 32767)
    return int(np.max(np.unique(levels, return_counts=True)[1]))


def wrong_cell_probability(sigma: float, step: float, modulus: int) -> float:
    """Chance that the nearest candidate is the wrong one, if the prediction error is N(0, sigma^2).

    The level's centre is uniform within half a step of the source, so with e in +-step/2 this is the mean over e of
    2 Q((modulus * step / 2 + e) / sigma). `sigma` and `step` in one unit; the residual risk of any bound of `nested`.
    """
    if sigma <= 0.0:
        return 0.0
    low, high = ((modulus - 1) * step / (2 * sigma), (modulus + 1) * step / (2 * sigma))
    return min(max(2.0 * (_tail_integral(low) - _tail_integral(high)) * sigma / step, 0.0), 1.0)


def _tail_integral(x: float) -> float:
    """Integral of Q from x to infinity: phi(x) - x Q(x)."""
    density = math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return density - 0.5 * x * math.erfc(x / math.sqrt(2))
