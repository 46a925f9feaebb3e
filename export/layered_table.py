"""A learned encoder as an interval table: its message for every one of the 65 536 ADC codes, run by run. Exact, since enumerated.

A network that is asked outside the range it was trained on says anything; whoever gives the messages has to saturate there
(`training.layered_network.Encoder` does), and the table then ends with the last interval inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_wz.errors import DesignError
from edge_wz.formats.layout import MAX_THRESHOLDS, NIBBLE_MESSAGES
from edge_wz.kernels import threshold_table as kernel
from edge_wz.model import LayeredRatePoint, frozen

CODES = kernel.CODES
HEAD_BYTES = 12  # of a table in the blob, SPEC 11.5


def compile_table(numbers: np.ndarray, alphabets: Sequence[int], cdfs: tuple[np.ndarray, ...] = ()) -> LayeredRatePoint:
    """`numbers`: message number of every code, by code + 32768. `cdfs`: as in the table; none given: all layers raw."""
    numbers = np.asarray(numbers, np.int64)
    if numbers.shape != (CODES,) or numbers.min() < 0 or numbers.max() >= math.prod(alphabets):
        raise DesignError(f"an encoder has one message below {math.prod(alphabets)} for each of {CODES} codes")
    starts = np.flatnonzero(np.diff(numbers)) + 1
    if not 1 <= len(starts) <= MAX_THRESHOLDS:
        raise DesignError(f"the encoder has {len(starts)} thresholds, a table holds 1 to {MAX_THRESHOLDS}")
    runs = numbers[np.concatenate([[0], starts])]
    raw = tuple(frozen(np.zeros((0, alphabet + 1)), np.int32) for alphabet in alphabets)
    symbols = np.stack(np.unravel_index(runs, tuple(alphabets)), axis=1)
    return LayeredRatePoint(frozen(starts - 32768, np.int32), frozen(symbols, np.uint8), tuple(alphabets), cdfs or raw)


def enumerate_table(point: LayeredRatePoint) -> np.ndarray:
    """uint8[65536]: the message number of every code by the node's kernel."""
    lookup = np.zeros(CODES, np.uint8)
    kernel.fill_lookup(np.asarray(point.thresholds), point.numbers, lookup)
    return lookup


def table_bytes(point: LayeredRatePoint) -> int:
    """What the table takes of the node's flash: thresholds and messages of SPEC 11.5 with their head, no cdf."""
    intervals = len(point.messages)
    packed = (intervals + 1) // 2 if math.prod(point.alphabets) <= NIBBLE_MESSAGES else intervals
    return HEAD_BYTES + 2 * len(point.thresholds) + packed
