"""Whether a trained encoder is worth more than no training: its table against plain nested modulo, layer by layer.

A symbol that is never sent is seen while training (`training.layered`). The published recipe fails otherwise: all symbols are sent, but the
layers do not fold the source, so that the later ones say next to nothing of what side information leaves open. What tells is the objective
itself, the bits of a layer and lambda times the error behind it. A layer of plain nested modulo, its period the best of a few, is what every
recipe should reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_wz.errors import DesignError
from edge_wz.formats.layout import MAX_THRESHOLDS
from edge_wz.model import LayeredRatePoint
from export.layered_table import compile_table
from training import layered_lloyd as lloyd
from training.layered_measure import Measured, measure
from training.layered_pairs import Pairs

SAMPLES = 40_960
WORSE = 1.25  # times the cost of nested modulo: from there on a layer has failed


@dataclass(frozen=True)
class Costs:
    """Bits plus lambda times the squared error of each layer, of a table and of nested modulo."""

    own: tuple[float, ...]
    modulo: tuple[float, ...]
    period: float  # of the modulo, in deviations of the noise

    @property
    def failed(self) -> tuple[str, ...]:
        """One line for each layer that costs far more than nested modulo's."""
        return tuple(
            f"layer {k} of {len(self.own)} costs {own:.2f} bits, plain nested modulo {modulo:.2f}"
            for k, (own, modulo) in enumerate(zip(self.own, self.modulo, strict=True))
            if own > WORSE * modulo
        )

    def require_sound(self) -> None:
        """DesignError that says which layers failed, if any did."""
        if self.failed:
            raise DesignError(f"training collapsed: {'; '.join(self.failed)}")


def compare(point: LayeredRatePoint, pairs: Pairs, mode: str, weights: Sequence[float], samples: int = SAMPLES) -> Costs:
    """`weights`: lambda of each layer, normal units."""
    own = costs_of(measure(point, pairs, samples), mode, weights)
    rivals = {
        period: costs_of(measure(table, pairs, samples), mode, weights)
        for period in lloyd.PERIODS
        if (table := modulo_of(pairs, point.alphabets, period)) is not None
    }
    if not rivals:
        raise DesignError(f"{pairs.name}: nested modulo needs more thresholds than a table holds, so nothing tells whether the training went well")
    best = min(rivals, key=lambda period: sum(rivals[period]))
    return Costs(own, rivals[best], best)


def costs_of(found: Measured, mode: str, weights: Sequence[float]) -> tuple[float, ...]:
    bits = np.diff(found.sent_bits if mode == "marginal" else found.ideal_bits, prepend=0.0)
    errors = 10 ** (np.array(found.distortion_db) / 10)
    return tuple(float(cost) for cost in bits + np.array(weights) * errors)


def modulo_of(pairs: Pairs, alphabets: tuple[int, ...], period: float) -> LayeredRatePoint | None:
    """Nested modulo over the trained range, with the priors of its symbols; None where a table cannot hold it."""
    codes, messages = np.arange(-32768, 32768), math.prod(alphabets)
    step = period * pairs.noise / messages
    x = np.clip(pairs.to_normal(codes), -pairs.reach, pairs.reach)
    if 2 * pairs.reach / step >= MAX_THRESHOLDS or step < pairs.lsb:
        return None
    numbers = np.floor(x / step).astype(np.int64) % messages
    drawn = pairs.to_codes(pairs.draw(np.random.default_rng(4), SAMPLES)[0])
    mass = np.bincount(numbers[drawn + 32768], minlength=messages).astype(np.float64)
    return compile_table(numbers, alphabets, lloyd.priors(mass, alphabets))
