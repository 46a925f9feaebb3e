"""Small node models for tests of what surrounds the codec."""

from __future__ import annotations

import numpy as np

from edge_wz.formats import blob
from edge_wz.model import Model, StateSpace, frozen


def state_space(sigma: float, side_sigmas: tuple[float, ...]) -> StateSpace:
    """A slow random source seen by itself (in LSB) and by its neighbours."""
    m = len(side_sigmas)
    return StateSpace(
        A=frozen([[0.95]], np.float64),
        C=frozen([[100.0], *[[1.0]] * m], np.float64),
        Q=frozen([[(1 - 0.95**2) * sigma**2]], np.float64),
        S=frozen(np.zeros((1, 1 + m)), np.float64),
        R=frozen(np.diag([25.0, *(s**2 for s in side_sigmas)]), np.float64),
        mean=frozen(np.zeros(1 + m), np.float64),
    )


def nested_model(*side: str, modulus: int = 64, step_shift: int = 2, source: str = "x", samples: int = 16) -> Model:
    """0.01 units per LSB, a step of 2^step_shift LSB, hello every 20 packets."""
    node = blob.make_nested(samples, 20, 0, 0.01, 0.0, [(modulus, 8 + step_shift, 1 << 7 + step_shift, [256])])
    return Model(
        node=node, decoder="kalman", source=source, side=side, unit="V", period_s=1.0, name="test",
        state_space=state_space(1.0, (0.1,) * len(side)),
    )
