"""The one border where learned floats become the integers of the node (SPEC 3.1).

What is rounded here is what the decoder is told: steps and cells are always read back from the integers, so rounding
costs a little optimality and never agreement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_wz.errors import DesignError
from edge_wz.formats import layout

_LIMIT = 1 << 31


def nested_rate_point(filter_taps: Sequence[float], step_lsb: float, modulus: int) -> tuple[int, int, int, list[int]]:
    """(modulus, shift, rounding, taps) for source filter `filter_taps` (newest first, first one 1) and a step in LSB.

    Takes the largest shift whose accumulator stays in 32 bits. Raises DesignError when not even shift 0 does, or when
    the step is so large that the first tap vanishes.
    """
    wanted = np.asarray(filter_taps, dtype=np.float64) / step_lsb
    for shift in range(layout.MAX_SHIFT, -1, -1):
        taps = np.rint(wanted * (1 << shift)).astype(np.int64)
        rounding = (1 << shift) >> 1
        if int(np.abs(taps).sum()) * 32768 + rounding < _LIMIT:
            break
    else:
        raise DesignError(f"a step of {step_lsb:g} LSB is too small for 32-bit arithmetic with these taps")
    if taps[0] == 0:
        raise DesignError(f"a step of {step_lsb:g} LSB is larger than the range of the source")
    return int(modulus), shift, rounding, [int(tap) for tap in taps]
