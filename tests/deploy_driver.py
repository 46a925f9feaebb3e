"""A node to deploy to: the C device on a pseudo terminal, as a process or in an emulated chip, fed with samples, its cable and its
power in our hands.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_wz.deploy.link import Link, open_port
from edge_wz.deploy.procedure import Options, Order, Result, deploy
from edge_wz.errors import LinkError
from edge_wz.formats import bundle
from edge_wz.model import Model
from firmware_sim.firmware import Board
from firmware_sim.host_board import HostBoard
from firmware_sim.qemu import QemuBoard
from tests.device_wire import chip_program, host_program
from tests.fleet_models import nested_model

PERIOD_S = 0.001
QUICK = Options(wait_s=4.0, attach_s=3.0)


def quick_model(modulus: int = 64) -> Model:
    """A packet in 16 ms."""
    return replace(nested_model(modulus=modulus), period_s=PERIOD_S)


class Node:
    """`port` is a symbolic link like those of /dev/serial/by-id: it stays while the node is restarted. `fed`: samples, so far.

    `chip`: which one to emulate; its flash is RAM, so that a power cut leaves nothing of it.
    """

    def __init__(self, folder: Path, chip: Board | None = None) -> None:
        self.folder = folder
        self.port = folder / "tty"
        self.chip = chip
        self.parts: list[np.ndarray] = []
        self._rng = np.random.default_rng(4)
        self._level = 0.0
        self._stop = threading.Event()
        self._feeder: threading.Thread | None = None
        self.board = self._plug()

    @property
    def fed(self) -> int:
        return sum(map(len, self.parts))

    @property
    def codes(self) -> np.ndarray:
        return np.concatenate(self.parts)

    def _plug(self) -> HostBoard | QemuBoard:
        board = HostBoard(host_program(), self.folder) if self.chip is None else QemuBoard(self.chip, chip_program(self.chip), self.folder)
        self.port.unlink(missing_ok=True)
        self.port.symlink_to(board.port)
        return board

    def power_cut(self) -> None:
        """And on again: RAM is gone, flash is there."""
        self.board.close()
        self.board = self._plug()

    def feed(self, samples: int, wait: bool = True) -> None:
        """Without `wait` as an ADC does, whatever becomes of the packets."""
        steps = np.cumsum(self._rng.normal(0, 3, samples)) + self._level
        codes = steps.round().clip(-300, 300).astype(np.int16)
        self._level = float(codes[-1])
        self.board.recording.feed(codes, wait=wait)
        self.parts.append(codes)

    @contextlib.contextmanager
    def sampling(self, every_s: float = 0.016, wait: bool = True) -> Iterator[None]:
        """A packet's worth of samples now and then."""
        self._stop.clear()
        self._feeder = threading.Thread(target=self._sample, args=(every_s, wait))
        self._feeder.start()
        try:
            yield
        finally:
            self._stop.set()
            self._feeder.join()

    def _sample(self, every_s: float, wait: bool) -> None:
        while not self._stop.wait(every_s):
            with contextlib.suppress(ValueError):  # between power off and on
                self.feed(16, wait)

    def open(self) -> Link:
        return open_port(str(self.port))

    def deploy(self, model: Model, node_id: int | None = 1, options: Options = QUICK, **order: object) -> Result:
        return deploy(self.open, Order(model, "n1", node_id, **order), options, Quiet())  # type: ignore[arg-type]

    def close(self) -> None:
        self.board.close()


class Quiet:
    def costs(self, result: Result) -> None: ...

    @contextlib.contextmanager
    def step(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        yield lambda at: None


class Faulty:
    """A link that breaks, loses or damages: `sent` and `got` see the bytes on their way and may change or refuse them."""

    def __init__(self, link: Link, sent: Callable[[bytes], bytes] | None = None, got: Callable[[bytes], bytes] | None = None) -> None:
        self.name = link.name
        self._link = link
        self._sent = sent or (lambda data: data)
        self._got = got or (lambda data: data)

    def read(self, wait_s: float) -> bytes:
        return self._got(self._link.read(wait_s))

    def write(self, data: bytes) -> None:
        self._link.write(self._sent(data))

    def close(self) -> None:
        self._link.close()


class Breaks:
    """`sent` of a link that breaks after so many bytes, once for each number given."""

    def __init__(self, *after: int) -> None:
        self._after = list(after)
        self.sent = 0

    def __call__(self, data: bytes) -> bytes:
        self.sent += len(data)
        if self._after and self.sent > self._after[0]:
            self._after.pop(0)
            self.sent = 0
            raise LinkError("the cable is out")
        return data


def save(folder: Path, name: str, model: Model) -> Path:
    bundle.save(folder / name, model)
    return folder / name


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def pipe_port(folder: Path) -> tuple[int, Path]:
    """(our end, their end) of a serial cable with nothing on it."""
    import pty
    import tty

    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    path = folder / "silent"
    path.symlink_to(os.ttyname(theirs))
    return ours, path
