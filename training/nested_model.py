"""Learned filters -> a `Model`: integers for the node, joint moments for the decoder `nearest`.

Through `export.integerize` the source filter and the steps become the node's integers; whatever the decoder is told
afterwards is read back from them. b becomes second moments with cov(u, y) = b cov(y): their conditional mean is b where
every neighbour is there, and the best estimate under the same moments where one is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_wz.formats.blob import make_nested
from edge_wz.model import Model, NodeModel, SideFilter, frozen
from export.integerize import nested_rate_point
from training.material import Material, measure
from training.nested_hard import NestedFilters, Rows, causal, side_estimate, side_moments

RIDGE = 1e-9


def rows_of(material: Material) -> Rows:
    """What a design works on, as rows to train on: the source in LSB, the neighbours in their units."""
    return Rows.of(material.in_codes, material.side.T)


def to_model(
    filters: NestedFilters,
    rows: Rows,
    scale: float,
    offset: float,
    *,
    packet_samples: int = 32,
    hello_every: int = 128,
    level_check_bits: int = 0,
    side: Sequence[str] | None = None,
) -> Model:
    """`filters` in LSB of codes (value = code x scale + offset), `rows` those that they were learned from."""
    points = [nested_rate_point(filters.a.tolist(), step, modulus) for step, modulus in zip(filters.steps, filters.moduli, strict=True)]
    node = make_nested(packet_samples, hello_every, level_check_bits, scale, offset, points)
    names = tuple(side) if side is not None else tuple(f"y{k}" for k in range(rows.y.shape[0]))
    return Model(node=node, decoder="nearest", side=names, side_filter=side_filter(filters, rows, read_back(node)))


def read_back(node: NodeModel) -> np.ndarray:
    """The source filter that the integers of rate point 0 make, first tap 1."""
    taps = node.rate_points[0].taps.astype(np.float64)
    return np.asarray(taps / taps[0])


def side_filter(filters: NestedFilters, rows: Rows, taps: np.ndarray) -> SideFilter:
    """Moments of the source filtered by `taps`, in LSB, and of the side window."""
    neighbours, lags = filters.b.shape
    among, _, _ = side_moments(rows, lags)
    among = among + RIDGE * np.diag(np.diag(among))
    b = filters.b.ravel()
    cross = among @ b
    ready = rows.warm(filters.lags)
    left = (causal(rows.x - filters.mean_x, taps) - side_estimate(filters, rows.y))[ready]
    cov = np.empty((1 + b.size, 1 + b.size))
    cov[0, 0] = float(b @ cross) + float(np.mean(left * left))
    cov[0, 1:] = cov[1:, 0] = cross
    cov[1:, 1:] = among
    mean = np.concatenate([[filters.mean_x * taps.sum()], np.repeat(filters.mean_y, lags)])
    return SideFilter(lags, frozen(mean, np.float64), frozen(cov, np.float64), frozen(filters.c, np.float64))


def figures(model: Model, material: Material) -> list[dict[str, float]]:
    """Every rate point through the integer quantiser and the decoder, on the rows it was learned from."""
    rows = []
    for index, point in enumerate(model.node.rate_points):
        found = measure(model, material, index)
        rows.append({
            "bits": float(np.log2(point.modulus)), "modulus": point.modulus, "step": point.step * material.scale,
            "sqnr_db": round(found.sqnr_db, 3), "rmse": float(np.sqrt(found.mse)), "wrong_cells": found.wrong_cells,
        })
    return rows
