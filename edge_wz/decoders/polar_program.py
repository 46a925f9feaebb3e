"""The walk of successive cancellation through a polar code, made once per set of known positions.

Subtrees that a single step can do are one: all known, all unknown, all but the last known (a repetition), all but the first unknown (a parity
check). A left half that is known altogether needs no bits, only its share of the metric (`REMAINDER`).

Reference: Hashemi, Condo, Gross, "Fast and flexible successive-cancellation list decoders" (2017), III.
"""

from __future__ import annotations

import numpy as np

FORK, FORK_RIGHT, FORK_SHIFTED, REMAINDER, KNOWN, UNKNOWN, REPEATED, PARITY, JOIN, JOIN_SHIFTED = range(10)  # those from KNOWN on end with bits
LEFT, RIGHT = 0, 1


def program(known: np.ndarray) -> np.ndarray:
    """Steps int32[K, 3] (operation, level, side) of the walk for bool[n] known, n = 2^m."""
    steps: list[tuple[int, int, int]] = []

    def visit(first: int, level: int, side: int) -> None:
        part = known[first : first + (1 << level)]
        leaf = _leaf(part)
        if leaf is not None:
            steps.append((leaf, level, side))
            return
        half = 1 << (level - 1)
        if part[:half].all():
            steps.append((REMAINDER, level, LEFT))
            steps.append((FORK_SHIFTED, level, RIGHT))
            visit(first + half, level - 1, RIGHT)
            steps.append((JOIN_SHIFTED, level, side))
            return
        steps.append((FORK, level, LEFT))
        visit(first, level - 1, LEFT)
        steps.append((FORK_RIGHT, level, RIGHT))
        visit(first + half, level - 1, RIGHT)
        steps.append((JOIN, level, side))

    visit(0, len(known).bit_length() - 1, LEFT)
    return np.array(steps, dtype=np.int32).reshape(-1, 3)


def _leaf(part: np.ndarray) -> int | None:
    """The single step that does this subtree."""
    if part.all():
        return KNOWN
    if not part.any():
        return UNKNOWN
    if part[:-1].all():
        return REPEATED
    return None if part[1:].any() else PARITY
