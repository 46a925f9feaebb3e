"""Serial links, on pseudo terminals: a port that is locked, that vanishes and that comes back."""

from __future__ import annotations

import os
import pty
import sys
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.serial

from edge_wz.errors import LinkError  # noqa: E402
from edge_wz.gateway.transports import serial_port  # noqa: E402
from edge_wz.gateway.transports.holders import holders  # noqa: E402
from tests.daemon_driver import (  # noqa: E402
    Daemon,
    count_in,
    frames,
    run,
    run_here,
    samples_in,
    wait_for_samples,
    write_fleet,
)


class Port:
    """A path like /dev/serial/by-id/...: a symbolic link to a pseudo terminal that can be unplugged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._plug()

    def _plug(self) -> None:
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.path.symlink_to(os.ttyname(slave))
        self._slave = slave

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._master, data[:512]):]

    def unplug(self) -> None:
        os.close(self._slave)
        os.close(self._master)
        self.path.unlink()

    def replug(self) -> None:
        self._plug()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    yield Port(tmp_path / "tty")


@pytest.fixture
def fleet(tmp_path: Path, port: Port) -> Path:
    return write_fleet(tmp_path, f'url = "serial://{port.path}"\nshared = true')


def test_a_port_that_vanishes_and_returns(tmp_path: Path, port: Port, fleet: Path) -> None:
    parts = frames(3, 640)
    store = tmp_path / "store.sqlite"
    half = len(parts) // 2
    with Daemon(fleet, "--finish") as daemon:
        daemon.wait_for("reading")
        port.write(b"".join(parts[:half]) + parts[half][:5])
        wait_for_samples(store, 3 * 300)
        port.unplug()
        daemon.wait_for("is gone")
        daemon.wait_for("No such file or directory; trying again")
        port.replug()
        daemon.wait_for("reading", count=2)
        port.write(b"".join(parts[half:]))
        wait_for_samples(store, 3 * 600)
        assert daemon.stop() == 0, daemon.log
    assert count_in(store) == 3 * 640
    assert not any(row[6] & 2 for row in samples_in(store)), "the cut frame came again, whole"


def test_a_locked_port_names_its_holder(port: Port, fleet: Path) -> None:
    import serial

    with serial.Serial(str(port.path), exclusive=True):
        done = run("serve", "--fleet", str(fleet))
    assert done.returncode == 6
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"edge-wz: l: {port.path} is locked by process {os.getpid()} (")


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, f'url = "serial://{tmp_path}/tty"\nshared = true')
    done = run_here("serve", "--fleet", str(fleet))
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1] == f"edge-wz: l: {tmp_path}/tty: No such file or directory"
    with Daemon(fleet, "--wait-links") as daemon:
        daemon.wait_for("No such file or directory; trying again")
        port = Port(tmp_path / "tty")
        daemon.wait_for("reading")
        port.write(b"".join(frames(3, 320)))
        wait_for_samples(tmp_path / "store.sqlite", 900)
        assert daemon.stop() == 0, daemon.log


def test_without_pyserial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(LinkError, match=r"pip install edge-wz\[serial\]"):
        serial_port._pyserial()


def test_holders_of_nothing(tmp_path: Path) -> None:
    assert holders(str(tmp_path / "nothing")) == []
