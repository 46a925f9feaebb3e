"""Layered tables and models for tests: nested modulo written as an interval table, which is a valid one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_wz.formats import blob
from edge_wz.model import LayeredRatePoint, Model
from tests.fleet_models import state_space


def modulo_table(period: int, alphabets: tuple[int, ...], reach: int, cdfs: tuple[np.ndarray, ...] | None = None) -> LayeredRatePoint:
    """Intervals of period / L codes within +-reach; the message is the place within the period, coarse layer first."""
    messages_in_all = int(np.prod(alphabets))
    width = period // messages_in_all
    thresholds = np.arange(-(reach // width), reach // width + 1, dtype=np.int32) * width
    numbers = np.arange(len(thresholds) + 1) % messages_in_all
    messages = np.empty((len(numbers), len(alphabets)), np.uint8)
    for layer in reversed(range(len(alphabets))):
        numbers, messages[:, layer] = np.divmod(numbers, alphabets[layer])
    raw = tuple(np.zeros((0, alphabet + 1), np.int32) for alphabet in alphabets)
    return LayeredRatePoint(thresholds, messages, alphabets, cdfs or raw)


def layered_model(*side: str, source: str = "x", samples: int = 16, period: int = 64, alphabets: tuple[int, ...] = (2, 2, 2)) -> Model:
    """0.01 units per LSB; rate point d sends all but d layers."""
    table = modulo_table(period, alphabets, 1000)
    points = [replace(table, sent=sent) for sent in range(len(alphabets), 0, -1)]
    node = blob.make_layered(samples, 20, 0.01, 0.0, points)
    return Model(
        node=node, decoder="kalman", source=source, side=side, unit="V", period_s=1.0, name="layered",
        state_space=state_space(1.0, (0.1,) * len(side)),
    )
