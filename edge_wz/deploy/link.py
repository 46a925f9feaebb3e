"""Byte paths to one node: a serial port or pseudo terminal, TCP, or a link that the daemon lends.

Unlike the daemon's transports these are read and written by one thread that waits. All of pyserial is in here. Whatever breaks
is a LinkError of one line that says what and where.
"""

from __future__ import annotations

import json
import os
import select
import socket
from pathlib import Path
from typing import Any, Protocol

from edge_wz.errors import InputError, LinkError
from edge_wz.gateway.transports.holders import why_not_open

READ_BYTES = 4096
WRITE_TIMEOUT_S = 3.0
CONNECT_S = 5.0
DEFAULT_BAUD = 115200


class Link(Protocol):
    name: str

    def read(self, wait_s: float) -> bytes:
        """What has come, or comes within `wait_s`; LinkError when the path is gone."""

    def write(self, data: bytes) -> None:
        """All of it. LinkError when the path takes no more or is gone."""

    def close(self) -> None: ...


class SerialLink:
    """Opened exclusively; pyserial sets the line up, and bytes are read from its descriptor, which can be waited for."""

    def __init__(self, device: str, baud: int = DEFAULT_BAUD) -> None:
        self.name = device
        serial = _pyserial()
        try:
            self._port: Any = serial.Serial(device, baud, timeout=0, write_timeout=WRITE_TIMEOUT_S, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise LinkError(why_not_open(device, error)) from error

    def read(self, wait_s: float) -> bytes:
        try:
            if not select.select([self._port.fileno()], [], [], wait_s)[0]:
                return b""
            data = os.read(self._port.fileno(), READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LinkError(f"{self.name} is gone: {error.strerror or error}") from error
        if not data:
            raise LinkError(f"{self.name} is gone: no more bytes")
        return data

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except OSError as error:
            if "timeout" in str(error).lower():
                raise LinkError(f"{self.name} takes no bytes (flow control, or nobody reads at the other end)") from error
            raise LinkError(f"{self.name} is gone: {error}") from error

    def close(self) -> None:
        self._port.close()


class SocketLink:
    """A connected stream socket."""

    def __init__(self, name: str, sock: socket.socket, first: bytes = b"") -> None:
        self.name = name
        self._sock = sock
        self._first = first
        sock.settimeout(WRITE_TIMEOUT_S)

    def read(self, wait_s: float) -> bytes:
        if self._first:
            data, self._first = self._first, b""
            return data
        try:
            if not select.select([self._sock], [], [], wait_s)[0]:
                return b""
            data = self._sock.recv(READ_BYTES)
        except OSError as error:
            raise LinkError(f"{self.name} is gone: {error.strerror or error}") from error
        if not data:
            raise LinkError(f"{self.name} was closed by the other side")
        return data

    def write(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except TimeoutError as error:
            raise LinkError(f"{self.name} takes no bytes") from error
        except OSError as error:
            raise LinkError(f"{self.name} is gone: {error.strerror or error}") from error

    def close(self) -> None:
        self._sock.close()


def open_port(port: str, baud: int = DEFAULT_BAUD) -> Link:
    """`port`: a device, or tcp://HOST:PORT."""
    if not port.startswith("tcp://"):
        return SerialLink(port.removeprefix("serial://"), baud)
    host, _, number = port.removeprefix("tcp://").rpartition(":")
    if not host or not number.isdecimal():
        raise InputError(f"{port!r} is not tcp://HOST:PORT")
    try:
        sock = socket.create_connection((host.strip("[]"), int(number)), CONNECT_S)
    except OSError as error:
        raise LinkError(f"{port}: {error.strerror or error}") from error
    return SocketLink(port, sock)


def daemon_status(control: Path) -> dict[str, Any] | None:
    """What the daemon behind this socket says of its links and nodes; None: there is no daemon."""
    try:
        sock = _connected(control)
    except LinkError:
        return None
    with sock:
        return _answer_of(sock, control, {"verb": "status"})[0]


def borrow(control: Path, **wanted: Any) -> SocketLink:
    """The byte path of a link that the daemon owns. wanted: link=NAME or node=ID."""
    sock = _connected(control)
    try:
        answer, rest = _answer_of(sock, control, {"verb": "lend", **wanted})
    except LinkError:
        sock.close()
        raise
    return SocketLink(f"{answer['where']} (link {answer['link']} of the daemon)", sock, rest)


def _connected(control: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(CONNECT_S)
    try:
        sock.connect(str(control))
    except OSError as error:
        sock.close()
        raise LinkError(f"{control}: no daemon answers there: {error.strerror or error}") from error
    return sock


def _answer_of(sock: socket.socket, control: Path, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """(the daemon's answer, what came behind it). LinkError if it refuses or says nothing."""
    try:
        answer, rest = _asked(sock, request)
    except (OSError, ValueError) as error:
        raise LinkError(f"{control}: the daemon does not answer: {error}") from error
    if not answer.get("ok"):
        raise LinkError(f"daemon: {answer.get('error', 'refused')}")
    return answer, rest


def _asked(sock: socket.socket, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    sock.sendall(json.dumps(request).encode() + b"\n")
    got = b""
    while b"\n" not in got:
        more = sock.recv(READ_BYTES)
        if not more:
            raise OSError("closed")
        got += more
    line, _, rest = got.partition(b"\n")
    answer = json.loads(line)
    return (answer if isinstance(answer, dict) else {}), rest


def _pyserial() -> Any:
    try:
        import serial
    except ImportError:
        raise LinkError("serial ports need pyserial: pip install edge-wz[deploy]") from None
    return serial
