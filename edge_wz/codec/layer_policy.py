"""How many layers a node sends: always the same, what a budget allows, or more at an event. Integers, as firmware would do it.

A policy is asked once per packet, in order. What it answers is (layers in the data packet, layers in all): the difference goes into a
refinement packet of its own, which a link may treat with less care, or, with `inline`, into the data packet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edge_wz.errors import InputError
from edge_wz.model import LayeredRatePoint

HEADER_BITS = 32  # header and check of any data packet
REFINEMENT_BITS = 40
MEMORY_BITS = 8  # of the fraction of a running mean


class LayerPolicy(Protocol):
    def decide(self, codes: np.ndarray, point: LayeredRatePoint) -> tuple[int, int]:
        """Of one packet with these present samples (int16): layers in the data packet, layers in all."""


@dataclass
class Command:
    """As told, until told otherwise."""

    base: int
    total: int

    def decide(self, codes: np.ndarray, point: LayeredRatePoint) -> tuple[int, int]:
        return min(self.base, point.layers), min(max(self.base, self.total), point.layers)


@dataclass
class Event:
    """`base` layers; all of them in a packet with an innovation above `threshold` (LSB), and in the `hold` packets after it.

    The innovation is the distance of a sample from a running mean of the samples before: mean += (x - mean) / 2^memory; with memory 0
    that is the sample before.
    """

    threshold: int
    base: int = 1
    memory: int = 0
    hold: int = 0
    inline: bool = False
    _mean: int | None = field(default=None, init=False)
    _left: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.threshold < 1 or not 0 <= self.memory <= 15 or self.hold < 0:
            raise InputError("an event needs a threshold of at least 1 LSB, a memory of 0 .. 15 and a hold of at least 0 packets")

    def decide(self, codes: np.ndarray, point: LayeredRatePoint) -> tuple[int, int]:
        if self._surprising(codes):
            self._left = self.hold + 1
        total = point.layers if self._left else min(self.base, point.layers)
        self._left = max(self._left - 1, 0)
        return (total, total) if self.inline else (min(self.base, total), total)

    def _surprising(self, codes: np.ndarray) -> bool:
        found = False
        for code in codes.tolist():
            scaled = code << MEMORY_BITS
            if self._mean is None:
                self._mean = scaled
            found |= abs(scaled - self._mean) > self.threshold << MEMORY_BITS
            self._mean += (scaled - self._mean) >> self.memory
        return found


@dataclass
class Budget:
    """`base` layers always, and as many more as the bits saved up allow.

    Each slot earns `millibits` (bits per hour / slots per hour x 1000); what a packet costs is taken off, the bits of coded layers counted
    as if they were raw. At most `packets` packets' worth is saved. `inner` decides which packets are worth it: without it, all.
    """

    millibits: int
    base: int = 1
    packets: int = 64
    inline: bool = False
    inner: LayerPolicy | None = None
    _saved: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.millibits < 1:
            raise InputError("a budget of less than 0.001 bit per sample sends nothing")

    def decide(self, codes: np.ndarray, point: LayeredRatePoint) -> tuple[int, int]:
        base = min(self.base, point.layers)
        wanted = point.layers if self.inner is None else self.inner.decide(codes, point)[1]
        bits = [(alphabet - 1).bit_length() * len(codes) for alphabet in point.alphabets]
        earned = self.millibits * len(codes)
        self._saved = min(self._saved + earned, self.packets * max(earned, 1))
        self._saved -= 1000 * (HEADER_BITS + sum(bits[:base]))
        total = base
        extra = 0 if self.inline else REFINEMENT_BITS
        while total < wanted and 1000 * (extra + sum(bits[base : total + 1])) <= self._saved:
            total += 1
        if total > base:
            self._saved -= 1000 * (extra + sum(bits[base:total]))
        return (total, total) if self.inline else (base, total)


def policy_of(text: str, lsb: float, period_s: float) -> LayerPolicy:
    """As a user writes it. `lsb`: sensor units of one code.

        2                       two layers in every packet
        1+3                     one in the data packet, those up to three in a refinement packet
        event:T[:HOLD]          one; all of them where the source jumps by more than T sensor units, and HOLD packets on, in refinement packets
        budget:BITS             one, and as many more as so many bits per hour allow
    """
    kind, _, rest = text.partition(":")
    try:
        if kind == "event":
            threshold, _, hold = rest.partition(":")
            return Event(max(1, round(float(threshold) / lsb)), hold=int(hold or 0))
        if kind == "budget":
            return budget(float(rest), period_s)
        base, plus, total = text.partition("+")
        policy = Command(int(base), int(total if plus else base))
    except (ValueError, OverflowError):
        raise InputError(f"layers '{text}': a number, like 2; 1+3; event:T or event:T:HOLD; or budget:BITS_PER_HOUR") from None
    if not 1 <= policy.base <= policy.total:
        raise InputError(f"layers '{text}': at least one layer in the data packet, and no fewer in all")
    return policy


def budget(bits_per_hour: float, period_s: float, inner: LayerPolicy | None = None, base: int = 1, inline: bool = False) -> Budget:
    """A budget as a user states it."""
    return Budget(round(1000 * bits_per_hour * period_s / 3600), base, inline=inline, inner=inner)
