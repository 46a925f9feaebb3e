"""Where link bytes come from: serial ports and TCP, live. (A replay is read by `gateway.spool`.)

A transport registers its descriptor with `Readers` and hands what it reads to an `Intake` in the same callback, so
that no byte is ever between two owners when the daemon stops. A byte path that ends and comes back is told by
`Intake.interrupted`: the intake ends the broken frame, so that the next one is not lost with it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Protocol

READ_BYTES = 1 << 16
DRAIN_READS = 256  # more than any kernel buffer holds: a sender that never stops cannot hold up the end
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0


class Intake(Protocol):
    """What a transport gives its bytes to."""

    def received(self, link: int, data: bytes) -> None: ...

    def interrupted(self, link: int) -> None: ...


class Transport(Protocol):
    async def start(self) -> None:
        """Open for the first time. LinkError if that cannot work."""

    async def run(self) -> None:
        """Keep open until cancelled."""

    def close(self) -> None:
        """Read what has arrived, then close."""

    def connected(self, link: int) -> bool:
        """Whether there is a byte path at the moment."""

    def send(self, link: int, data: bytes) -> int:
        """How many of these bytes the path took, at once. LinkError if there is none."""


class Readers:
    """The descriptors being read, which can all be paused while the disk is behind."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: dict[int, Callable[[], None]] = {}
        self.paused = False

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._callbacks[descriptor] = callback
        if not self.paused:
            self._loop.add_reader(descriptor, callback)

    def remove(self, descriptor: int) -> None:
        if self._callbacks.pop(descriptor, None) is not None:
            self._loop.remove_reader(descriptor)

    def pause(self) -> None:
        if not self.paused:
            self.paused = True
            for descriptor in self._callbacks:
                self._loop.remove_reader(descriptor)

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            for descriptor, callback in self._callbacks.items():
                self._loop.add_reader(descriptor, callback)


def backoff() -> Iterator[float]:
    """Seconds to wait before the next attempts: doubling, with jitter, so that many links do not knock at once."""
    delay_s = FIRST_DELAY_S
    while True:
        yield delay_s * random.uniform(0.8, 1.2)
        delay_s = min(2 * delay_s, LONGEST_DELAY_S)
