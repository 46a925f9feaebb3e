"""Deadlines on the pipeline's own clock: given times, never the wall's.

Due deadlines come out in (due time, arrival order), whenever they are asked for. A key that is set again replaces
its entry;
the old one stays in the heap and is skipped when its turn comes.
"""

from __future__ import annotations

import heapq


class Deadlines:
    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int]] = []
        self._current: dict[int, tuple[int, int]] = {}

    def set(self, key: int, due_us: int, order: int) -> None:
        """`order` breaks ties: the arrival number of the packet that waits."""
        if self._current.get(key) != (due_us, order):
            self._current[key] = (due_us, order)
            heapq.heappush(self._heap, (due_us, order, key))

    def clear(self, key: int) -> None:
        self._current.pop(key, None)

    def next_due_us(self) -> int | None:
        self._drop_replaced()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_us: int | None) -> tuple[int, int] | None:
        """The first deadline due at or before `now_us` (None: whenever) as (due time, key), or None."""
        self._drop_replaced()
        if not self._heap or (now_us is not None and self._heap[0][0] > now_us):
            return None
        due_us, _, key = heapq.heappop(self._heap)
        del self._current[key]
        return due_us, key

    def _drop_replaced(self) -> None:
        heap, current = self._heap, self._current
        while heap and current.get(heap[0][2]) != heap[0][:2]:
            heapq.heappop(heap)
