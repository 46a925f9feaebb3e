"""A cable that drops and flips: a pseudo terminal for the host, joined to the port of a node, at the pace of a line.

What the node sends is kept as it was (`sent`), so that what became of it can be judged. Damage is seeded; each fate is counted.
"""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from dataclasses import dataclass
from pathlib import Path

import numpy as np

READ_BYTES = 4096
LONGEST_DROP = 40
UNREAD_BYTES = 1 << 14  # what may wait for a slow reader before the other side is held up
UNREAD_S = 10.0  # for which a reader that has stopped is waited for
PIECE_S = 0.02


@dataclass
class Counted:
    """Of one direction: `taken == delivered + dropped`, in bytes."""

    taken: int = 0
    delivered: int = 0
    dropped: int = 0
    drops: int = 0
    flips: int = 0


class Direction:
    """Bytes from one descriptor to another."""

    def __init__(self, source: int, sink: int, damage: float, seed: int, bytes_per_s: float) -> None:
        self.source, self.sink, self.waiting = source, sink, b""
        self.counted = Counted()
        self.kept = bytearray()
        self._damage = damage
        self._rng = np.random.default_rng(seed)
        self._bytes_per_s = bytes_per_s
        self._allowance = 0.0
        self._then_s = time.monotonic()
        self._dropping = 0  # bytes of a drop that are still to come

    def move(self) -> bool:
        """Whether anything moved."""
        moved = len(self.waiting) < UNREAD_BYTES and self._take()
        return self.give() or moved

    def _take(self) -> bool:
        count = self._allowed()
        if not count or not select.select([self.source], [], [], 0)[0]:
            return False
        data = os.read(self.source, count)
        self._allowance -= len(data)
        self.kept += data
        self.counted.taken += len(data)
        self.waiting += self._damaged(np.frombuffer(data, np.uint8).copy())
        return True

    def _allowed(self) -> int:
        if not self._bytes_per_s:
            return READ_BYTES
        now_s = time.monotonic()
        most = self._bytes_per_s * PIECE_S + 1
        self._allowance = min(most, self._allowance + (now_s - self._then_s) * self._bytes_per_s)
        self._then_s = now_s
        return int(self._allowance)

    def _damaged(self, data: np.ndarray) -> bytes:
        flipped = np.flatnonzero(self._rng.random(data.size) < self._damage)
        data[flipped] ^= (1 << self._rng.integers(0, 8, flipped.size)).astype(np.uint8)
        keep = np.ones(data.size, dtype=bool)
        keep[: self._dropping] = False
        self._dropping = max(0, self._dropping - data.size)
        for start in np.flatnonzero(self._rng.random(data.size) < self._damage):
            end = int(start) + int(self._rng.integers(1, LONGEST_DROP + 1))
            keep[start:end] = False
            self._dropping = max(self._dropping, end - data.size)
            self.counted.drops += 1
        self.counted.flips += int(keep[flipped].sum())
        self.counted.dropped += int((~keep).sum())
        return data[keep].tobytes()

    def give(self) -> bool:
        """Whether the sink took anything of what waits."""
        try:
            count = os.write(self.sink, self.waiting) if self.waiting else 0
        except BlockingIOError:
            return False
        self.waiting = self.waiting[count:]
        self.counted.delivered += count
        return count > 0


class BadCable:
    """`port` for the host. `damage`: probability per byte of a flipped bit, and as much again of a drop of up to 40 bytes."""

    def __init__(self, node_port: str, port: Path, damage: float, seed: int = 1, bytes_per_s: float = 0.0) -> None:
        self._near, self._far = os.openpty()
        tty.setraw(self._far)  # and kept open, so that nothing is lost while hosts come and go
        port.symlink_to(os.ttyname(self._far))
        self._node = os.open(node_port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.set_blocking(self._near, False)
        self.to_host = Direction(self._node, self._near, damage, seed, bytes_per_s)
        self.to_node = Direction(self._near, self._node, damage, seed + 1, bytes_per_s)
        self._stop = threading.Event()
        self._mover = threading.Thread(target=self._move)

    def start(self) -> None:
        """From here on bytes move: when the host has opened its end, which throws away what came before."""
        self._mover.start()

    @property
    def sent(self) -> bytes:
        """All that the node sent, undamaged."""
        return bytes(self.to_host.kept)

    def stop(self) -> None:
        """Nothing is taken from here on; what was taken for the host is delivered, if it reads."""
        self._stop.set()
        if self._mover.is_alive():
            self._mover.join()
        until_s = time.monotonic() + UNREAD_S
        while self.to_host.waiting and time.monotonic() < until_s:
            if not self.to_host.give():
                time.sleep(0.002)

    def close(self) -> None:
        self.stop()
        for descriptor in (self._near, self._far, self._node):
            os.close(descriptor)

    def _move(self) -> None:
        while not self._stop.is_set():
            moved = [direction.move() for direction in (self.to_host, self.to_node)]
            if not any(moved):
                time.sleep(0.002)
