"""Deadlines on the pipeline's own clock: given times, never the wall's.

Due deadlines come out in the order of their times, whenever they are asked for, and of those of one time the lowest key
first. A key that is set again replaces its entry; the old one stays in the heap and is skipped when its turn comes.
"""

from __future__ import annotations

import heapq


class Deadlines:
    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._due_us: dict[int, int] = {}

    def set(self, key: int, due_us: int) -> None:
        if self._due_us.get(key) != due_us:
            self._due_us[key] = due_us
            heapq.heappush(self._heap, (due_us, key))

    def clear(self, key: int) -> None:
        self._due_us.pop(key, None)

    def pop_due(self, now_us: int | None) -> tuple[int, int] | None:
        """The first deadline due at or before `now_us` (None: whenever) as (due time, key), or None."""
        heap = self._heap
        while heap and self._due_us.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        if not heap or (now_us is not None and heap[0][0] > now_us):
            return None
        due_us, key = heapq.heappop(heap)
        del self._due_us[key]
        return due_us, key
