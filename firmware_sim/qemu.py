"""Real firmware in QEMU: an emulated chip with a pseudo terminal for its UART and a recording for its ADC.

Used as `firmware_sim.host_board`. The launcher keeps the terminal open on its side, so that QEMU takes the wire for connected all the
time and drops nothing while hosts come and go; what nobody reads holds up the UART, as flow control would. QEMU knows no baud rate: it
shows that the firmware is right, not that a chip is fast enough. Reference: QEMU 7.2, machines microbit and mps2-an385.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

from edge_wz.errors import InputError
from firmware_sim.firmware import Board, Recording

QEMU = "qemu-system-arm"
TERMINAL = re.compile(r"redirected to (\S+)")


def find() -> str:
    """The emulator; InputError says how to get it."""
    qemu = shutil.which(QEMU)
    if qemu is None:
        raise InputError(f"{QEMU} is missing: apt-get install {QEMU}")
    return qemu


def command(board: Board, program: Path, recording: Path, *extra: str) -> list[str]:
    qemu = find()
    semihosting = f"enable=on,target=native,arg=firmware,arg={recording}"
    return [
        qemu, "-M", board.machine, "-display", "none", "-monitor", "none", "-serial", "pty",
        "-semihosting-config", semihosting, "-kernel", str(program), *extra,
    ]  # fmt: skip


class QemuBoard:
    """`port`: the terminal. Ends with the `with` block, whatever happened in it."""

    def __init__(self, board: Board, program: Path, folder: Path, *extra: str) -> None:
        self.recording = Recording(folder / "recording.bin")
        self._terminal = -1
        self._process = subprocess.Popen(
            command(board, program, self.recording.path, *extra),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, start_new_session=True,  # Ctrl-C is for us
        )  # fmt: skip
        self.port = self._find_terminal()
        self._terminal = os.open(self.port, os.O_RDWR | os.O_NOCTTY)

    def _find_terminal(self) -> str:
        assert self._process.stdout is not None
        heard = []
        for line in self._process.stdout:
            found = TERMINAL.search(line)
            if found:
                return found[1]
            heard.append(line.strip())
        self.close()
        raise InputError(f"QEMU did not start: {'; '.join(heard) or 'it said nothing'}")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1
        self.recording.close()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def __enter__(self) -> QemuBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
