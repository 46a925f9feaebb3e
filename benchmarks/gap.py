"""Distance from the Wyner-Ziv limit, from the squared errors on a long stream of known statistics."""

from __future__ import annotations

import math

import numpy as np

from firmware_sim.field import PairSource
from training.limits import wyner_ziv_sqnr_db

STRETCHES = 50  # of the stream, for the interval


def decibels(power: float, errors: np.ndarray) -> float:
    return 10 * math.log10(power / float(errors.mean()))


def gap_columns(source: PairSource, power: float, errors: np.ndarray, bits: float) -> dict[str, float]:
    """`power`: variance of the source; `errors`: squared, one per sample; the interval is of 95 %, by STRETCHES."""
    means = np.array([part.mean() for part in np.array_split(errors, STRETCHES)])
    sqnr = decibels(power, errors)
    return {
        "sqnr_db": sqnr, "gap_db": wyner_ziv_sqnr_db(source.state_space(), bits) - sqnr,
        "interval_db": 1.96 * float(means.std(ddof=1) / means.mean()) / math.sqrt(STRETCHES) * 10 / math.log(10),
    }  # fmt: skip
