"""The host board: a node as a process of this machine, with a pseudo terminal for its wire and a file for its flash.

The same C as on a chip, so a model can be deployed and run without hardware or emulator:

    with HostBoard(program, folder) as node:      # program = firmware.build(firmware.HOST, folder)
        node.recording.feed(codes)
        ... node.port is a serial port ...

Flash and recording stay in `folder`; a node that is started there again has its models and the next boot epoch.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType

from edge_wz.errors import InputError
from firmware_sim.firmware import Recording


class HostBoard:
    def __init__(self, program: Path, folder: Path) -> None:
        self.flash = folder / "flash.bin"
        self.recording = Recording(folder / "recording.bin")
        self._process = subprocess.Popen(
            [program, self.flash, self.recording.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,  # Ctrl-C is for us
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()
        if not self.port:
            raise InputError(f"the node did not start: {self.close() or 'no terminal'}")

    def close(self) -> str:
        """Cut the power; what the node said on its standard error."""
        self._process.kill()
        _, said = self._process.communicate()
        self.recording.close()
        return said.strip()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def __enter__(self) -> HostBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
