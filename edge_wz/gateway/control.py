"""The control socket: whoever deploys while the daemon owns the port borrows the byte path of one link.

A borrower connects to a Unix socket, sends one JSON line, gets one back, and from then on the socket is the link: what it
sends goes to the node, and what arrives from the node goes to it *after* it is in the spool, so the pipeline misses nothing
and sees the node's answers as what they are (SPEC 12: `FrameStatus.CONSOLE`). One borrower a link at a time. A borrower that
vanishes ends the loan, whatever it left half sent; one that does not read is dropped, and never holds up the link.

    -> {"verb": "lend", "link": "radio"}   or   {"verb": "lend", "node": 3}   or   {"verb": "status"}
    <- {"ok": true, "link": "radio", "where": "serial:///dev/ttyUSB0", ...}   or   {"ok": false, "error": "..."}

`status` lists the links, the models that the daemon has (`models`) and the one that each node last said it runs (`running`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_wz.errors import InputError, LinkError
from edge_wz.gateway.config import LinkSource
from edge_wz.gateway.fleet import LinkSpec
from edge_wz.gateway.transports import Transport

_LOGGER = logging.getLogger(__name__)
LONGEST_PATH = 107  # sockaddr_un
REQUEST_S = 5.0
REQUEST_BYTES = 4096
READ_BYTES = 4096
UNREAD_BYTES = 1 << 20  # what a borrower may leave unread
RETRY_S = 0.005
STUCK_S = 5.0  # a byte path that takes nothing for this long

Listen = Callable[[int, Callable[[bytes], None] | None], None]


@dataclass(frozen=True)
class BytePath:
    """A link that can be lent, and who moves its bytes."""

    spec: LinkSpec
    where: str
    transport: Transport


class Control:
    """`listen(link, callback)` has the intake hand on what arrives; None ends that. `about`: more to say about the fleet."""

    def __init__(
        self, path: Path, paths: Mapping[int, BytePath], listen: Listen, about: Callable[[], dict[str, object]]
    ) -> None:
        self._path = path
        self._paths = paths
        self._listen = listen
        self._about = about
        self._borrowers: dict[int, str] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Without a socket the daemon still decodes: a path that cannot be is told, not raised."""
        if len(os.fsencode(self._path)) > LONGEST_PATH:
            _LOGGER.warning("%s: too long for a socket (%d bytes at most); deploy needs the port for itself",
                            self._path, LONGEST_PATH)
            return
        try:
            _remove_stale(self._path)
            self._server = await asyncio.start_unix_server(self._visited, self._path, limit=REQUEST_BYTES)
            self._path.chmod(0o660)
        except OSError as error:
            _LOGGER.warning("%s: no control socket: %s", self._path, error.strerror or error)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                self._path.unlink()

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # gone, or the daemon stops
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _request(reader)
            if request.get("verb") == "status":
                return _reply(writer, ok=True, links=[self._described(path) for path in self._paths.values()], **self._about())
            path = self._wanted(request)
        except (InputError, LinkError) as error:
            return _reply(writer, ok=False, error=str(error))
        who = _peer(writer)
        self._borrowers[path.spec.link] = who
        _LOGGER.info("%s: lent to %s", path.spec.name, who)
        try:
            _reply(writer, ok=True, **self._described(path))
            await self._lend(path, reader, writer)
        finally:
            self._listen(path.spec.link, None)
            del self._borrowers[path.spec.link]
            _LOGGER.info("%s: given back by %s", path.spec.name, who)

    async def _lend(self, path: BytePath, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the borrower goes or the byte path breaks."""

        def arrived(data: bytes) -> None:
            writer.write(data)
            if writer.transport.get_write_buffer_size() > UNREAD_BYTES:
                _LOGGER.warning("%s: the borrower does not read; dropped", path.spec.name)
                writer.transport.abort()

        self._listen(path.spec.link, arrived)
        while data := await reader.read(READ_BYTES):
            try:
                await _send_all(path, data)
            except LinkError as error:
                _LOGGER.warning("%s", error)
                return

    def _described(self, path: BytePath) -> dict[str, Any]:
        spec = path.spec
        return {"link": spec.name, "where": path.where, "shared": spec.shared, "node": spec.node_id,
                "connected": path.transport.connected(spec.link), "lent_to": self._borrowers.get(spec.link)}

    def _wanted(self, request: Mapping[str, Any]) -> BytePath:
        if request.get("verb") != "lend":
            raise InputError(f"unknown verb {request.get('verb')!r}")
        found = [path for path in self._paths.values() if _asked_for(path.spec, request)]
        if not found:
            raise InputError(f"no link {_shown(request)} (there are {', '.join(p.spec.name for p in self._paths.values())})")
        connected = [path for path in found if path.transport.connected(path.spec.link)]
        if not connected:
            raise LinkError(f"link {found[0].spec.name}: {found[0].where} is not open at the moment")
        if len(connected) > 1:
            raise InputError(f"several links {_shown(request)}: name one of {', '.join(p.spec.name for p in connected)}")
        link = connected[0].spec.link
        if link in self._borrowers:
            raise LinkError(f"link {connected[0].spec.name} is lent to {self._borrowers[link]}")
        return connected[0]


def paths_of(sources: Iterable[LinkSource], transports: Iterable[Transport]) -> dict[int, BytePath]:
    """By link number."""
    return {spec.link: BytePath(spec, source.endpoint.url, transport)
            for source, transport in zip(sources, transports, strict=True) for spec in source.links}


def _asked_for(spec: LinkSpec, request: Mapping[str, Any]) -> bool:
    if "link" in request:
        return spec.name == request["link"]
    return spec.shared or spec.node_id == request.get("node")


def _shown(request: Mapping[str, Any]) -> str:
    return repr(request["link"]) if "link" in request else f"for node {request.get('node')}"


async def _request(reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        line = await asyncio.wait_for(reader.readline(), REQUEST_S)
        request = json.loads(line)
    except (TimeoutError, ValueError):  # also a line too long
        raise InputError("not one line of JSON") from None
    if not isinstance(request, dict):
        raise InputError("not a JSON object")
    return request


def _reply(writer: asyncio.StreamWriter, **answer: Any) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")


async def _send_all(path: BytePath, data: bytes) -> None:
    waited_s = 0.0
    while data:
        taken = path.transport.send(path.spec.link, data)
        data = data[taken:]
        waited_s = 0.0 if taken else waited_s + RETRY_S
        if waited_s > STUCK_S:
            raise LinkError(f"{path.spec.name}: {path.where} takes no bytes")
        if data:
            await asyncio.sleep(RETRY_S)


def _peer(writer: asyncio.StreamWriter) -> str:
    sock = writer.get_extra_info("socket")
    pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = "gone"
    return f"process {pid} ({name})"


def _remove_stale(path: Path) -> None:
    """What a killed daemon left. One that is alive holds the spool's lock, so nobody gets here beside it with its paths."""
    if not path.exists() or not stat.S_ISSOCK(path.lstat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise OSError("another daemon answers there")
