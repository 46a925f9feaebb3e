"""A serial port or pseudo terminal: opened exclusively, opened again with growing pauses when it vanishes.

pyserial sets the line up (baud rate, raw mode, lock); bytes are read from its descriptor directly, because its own read
hides how much has arrived. A port that is unplugged reads as an error or as nothing at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from edge_wz.errors import LinkError
from edge_wz.gateway.config import LinkSource
from edge_wz.gateway.transports import DRAIN_READS, READ_BYTES, Intake, Readers, backoff
from edge_wz.gateway.transports.holders import why_not_open

_LOGGER = logging.getLogger(__name__)


class SerialPort:
    def __init__(self, source: LinkSource, intake: Intake, readers: Readers) -> None:
        self._name = source.name
        self._device = source.endpoint.path
        self._baud = source.endpoint.baud
        self._link = source.links[0].link
        self._intake = intake
        self._readers = readers
        self._port: Any = None
        self._lost = asyncio.Event()

    async def start(self) -> None:
        self._open()

    async def run(self) -> None:
        while True:
            if self._port is None:
                await self._reopen()
            await self._lost.wait()
            self._release()

    def close(self) -> None:
        for _ in range(DRAIN_READS):
            if self._port is None or self._lost.is_set() or not self._read():
                break
        self._release()

    def connected(self, link: int) -> bool:
        return self._port is not None and not self._lost.is_set()

    def send(self, link: int, data: bytes) -> int:
        """Around pyserial, whose write waits: nobody may hold up the event loop."""
        if not self.connected(link):
            raise LinkError(f"{self._name}: {self._device} is not open")
        try:
            return os.write(self._port.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._vanished(error.strerror or str(error))
            raise LinkError(f"{self._name}: {self._device} is gone: {error.strerror}") from error

    def _open(self) -> None:
        serial = _pyserial()
        try:
            self._port = serial.Serial(self._device, self._baud, timeout=0, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise LinkError(f"{self._name}: {why_not_open(self._device, error)}") from error
        self._lost.clear()
        self._intake.interrupted(self._link)
        self._readers.add(self._port.fileno(), self._readable)
        _LOGGER.info("%s: reading %s at %d baud", self._name, self._device, self._baud)

    async def _reopen(self) -> None:
        told = ""
        for delay_s in backoff():
            try:
                return self._open()
            except LinkError as error:
                if str(error) != told:
                    told = str(error)
                    _LOGGER.warning("%s; trying again", told)
            await asyncio.sleep(delay_s)

    def _readable(self) -> None:
        """Called when there is something to read: nothing then means that the device is gone."""
        if not self._read() and not self._lost.is_set():
            self._vanished("no more bytes")

    def _read(self) -> int:
        """Hand on what is there; bytes read. Ends the port when it is gone."""
        try:
            data = os.read(self._port.fileno(), READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._vanished(error.strerror or str(error))
            return 0
        if data:
            self._intake.received(self._link, data)
        return len(data)

    def _vanished(self, reason: str) -> None:
        _LOGGER.warning("%s: %s is gone: %s", self._name, self._device, reason)
        self._readers.remove(self._port.fileno())
        self._lost.set()

    def _release(self) -> None:
        if self._port is not None:
            self._readers.remove(self._port.fileno())
            self._port.close()
            self._port = None


def _pyserial() -> Any:
    try:
        import serial
    except ImportError:
        raise LinkError("serial links need pyserial: pip install edge-wz[serial]") from None
    return serial
