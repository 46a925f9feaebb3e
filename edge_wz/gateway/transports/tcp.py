"""TCP links: connect to a node or concentrator, or listen for several.

Every accepted connection is a byte path with its own frames, so it takes a link number of its own, the lowest free
one of those reserved for the listener (`clients` in the fleet file); the capture records them like any other link.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable

from edge_wz.errors import LinkError
from edge_wz.gateway.config import LinkSource
from edge_wz.gateway.transports import DRAIN_READS, READ_BYTES, Intake, Readers, backoff

_LOGGER = logging.getLogger(__name__)
BACKLOG = 128


class Connection:
    """One connected socket feeding one link."""

    def __init__(self, sock: socket.socket, link: int, intake: Intake, readers: Readers,
                 on_end: Callable[[str], None]) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sock = sock
        self._link = link
        self._intake = intake
        self._readers = readers
        self._on_end = on_end
        self._ended = False
        intake.interrupted(link)
        readers.add(sock.fileno(), self._readable)

    def close(self) -> None:
        """Hand on what has arrived, then close."""
        for _ in range(DRAIN_READS):
            if self._ended or not self._read():
                break
        self._finish()

    def send(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise LinkError(f"connection lost: {error.strerror}") from error

    def _readable(self) -> None:
        self._read()

    def _read(self) -> int:
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            return self._end(error.strerror or str(error))
        if not data:
            return self._end("closed by the other side")
        self._intake.received(self._link, data)
        return len(data)

    def _end(self, reason: str) -> int:
        self._finish()
        self._on_end(reason)
        return 0

    def _finish(self) -> None:
        if not self._ended:
            self._ended = True
            self._readers.remove(self._sock.fileno())
            self._sock.close()


class TcpClient:
    """Connects, and connects again with growing pauses."""

    def __init__(self, source: LinkSource, intake: Intake, readers: Readers) -> None:
        self._name = source.name
        self._address = (source.endpoint.host, source.endpoint.port)
        self._link = source.links[0].link
        self._intake = intake
        self._readers = readers
        self._connection: Connection | None = None
        self._lost = asyncio.Event()

    async def start(self) -> None:
        """Nothing: the other side may come later."""

    async def run(self) -> None:
        while True:
            await self._connect()
            await self._lost.wait()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def connected(self, link: int) -> bool:
        return self._connection is not None

    def send(self, link: int, data: bytes) -> int:
        if self._connection is None:
            raise LinkError(f"{self._name}: not connected")
        return self._connection.send(data)

    async def _connect(self) -> None:
        told = ""
        for delay_s in backoff():
            try:
                sock = await _connected(*self._address)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
                if reason != told:
                    told = reason
                    _LOGGER.warning("%s: %s:%d: %s; trying again", self._name, *self._address, reason)
                await asyncio.sleep(delay_s)
                continue
            self._lost.clear()
            self._connection = Connection(sock, self._link, self._intake, self._readers, self._ended)
            _LOGGER.info("%s: connected to %s:%d", self._name, *self._address)
            return

    def _ended(self, reason: str) -> None:
        _LOGGER.warning("%s: %s:%d: %s", self._name, *self._address, reason)
        self._connection = None
        self._lost.set()


class TcpListener:
    """Accepts as many clients as the listener has links."""

    def __init__(self, source: LinkSource, intake: Intake, readers: Readers) -> None:
        self._name = source.name
        self._host, self._port = source.endpoint.host, source.endpoint.port
        self._free = sorted(link.link for link in source.links)
        self._intake = intake
        self._readers = readers
        self._connections: dict[int, Connection] = {}
        self._server: socket.socket | None = None

    async def start(self) -> None:
        try:
            self._server = _listening(self._host, self._port)
        except OSError as error:
            where = f"{self._host or '*'}:{self._port}"
            raise LinkError(f"{self._name}: cannot listen on {where}: {error.strerror}") from error
        self._server.setblocking(False)
        self._readers.add(self._server.fileno(), self._knocked)
        _LOGGER.info("%s: listening on %s port %d", self._name, self._host or "*", self._server.getsockname()[1])

    async def run(self) -> None:
        """Nothing: accepting needs no attention."""

    def close(self) -> None:
        """Take in who already knocked, read what has arrived, close."""
        if self._server is not None:
            while self._accept():
                pass
            self._readers.remove(self._server.fileno())
            self._server.close()
        for connection in list(self._connections.values()):
            connection.close()

    def connected(self, link: int) -> bool:
        return link in self._connections

    def send(self, link: int, data: bytes) -> int:
        if link not in self._connections:
            raise LinkError(f"{self._name}: link {link} is not connected")
        return self._connections[link].send(data)

    def _knocked(self) -> None:
        self._accept()

    def _accept(self) -> bool:
        assert self._server is not None
        try:
            sock, address = self._server.accept()
        except OSError:  # nobody there, or gone before we looked
            return False
        peer = f"{address[0]}:{address[1]}"
        if not self._free:
            _LOGGER.warning("%s: %s refused: %d clients are connected", self._name, peer, len(self._connections))
            sock.close()
            return True
        link = self._free.pop(0)
        self._connections[link] = Connection(
            sock, link, self._intake, self._readers, lambda reason: self._release(link, peer, reason)
        )
        _LOGGER.info("%s: %s connected as link %d", self._name, peer, link)
        return True

    def _release(self, link: int, peer: str, reason: str) -> None:
        del self._connections[link]
        self._free = sorted([*self._free, link])
        _LOGGER.info("%s: %s on link %d: %s", self._name, peer, link, reason)


async def _connected(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    reasons: list[OSError] = []
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
            return sock
        except OSError as error:
            sock.close()
            reasons.append(error)
        except BaseException:
            sock.close()
            raise
    raise reasons[0] if reasons else OSError(f"no address for {host}")


def _listening(host: str, port: int) -> socket.socket:
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)
