"""Links: where a node's frames go. Blocking writes with a time limit, every byte counted.

A file of frames, a capture with arrival times, a TCP connection, a serial device, or a pty made here, which stands in
for a serial device. What cannot be opened or written within the limit is a LinkError that names the link. Unlike the
gateway's transports these only write, and wait for a slow reader instead of buffering without end.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import termios
import time
import tty
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from edge_wz.errors import InputError, LinkError, StorageError
from edge_wz.formats import capture

WRITE_TIMEOUT_S = 30.0
OPEN_TIMEOUT_S = 10.0
READER_TIMEOUT_S = 600.0
SETTLE_S = 0.5  # a serial reader empties its buffer after opening: what is written before that is lost
BUFFER_BYTES = 1 << 16
DEFAULT_BAUD = 115200


class Link:
    """A byte stream. `write` may buffer up to BUFFER_BYTES; `flush` and `close` do not return before all is written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bytes_written = 0
        self._buffer = bytearray()

    def write(self, time_us: int, data: bytes, link: int = 0) -> None:
        """`time_us`, `link`: of arrival; only a capture records them."""
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            self._send(data)
            self.bytes_written += len(data)

    def close(self) -> None:
        self.flush()

    def _send(self, data: bytes) -> None:
        raise NotImplementedError

    def __enter__(self) -> Link:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.close()


class FileLink(Link):
    """The frames one after another. An existing file is replaced."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115 (open as long as the link)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    def close(self) -> None:
        self.flush()
        self._file.close()

    def _send(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise StorageError(f"{self.name}: {error.strerror}") from error


class CaptureLink(FileLink):
    """A capture of one segment. `links`: (name, addressed node or None). `bytes_written` counts link bytes."""

    def __init__(self, path: Path, links: list[tuple[str, int | None]], time_us: int) -> None:
        super().__init__(path)
        self._buffer += capture.pack_header(0)
        for number, (name, node_id) in enumerate(links):
            self._buffer += capture.pack_link(number, name, node_id, time_us)

    def write(self, time_us: int, data: bytes, link: int = 0) -> None:
        super().write(time_us, capture.pack_data(link, data, time_us))
        self.bytes_written += len(data)

    def flush(self) -> None:
        link_bytes = self.bytes_written
        super().flush()
        self.bytes_written = link_bytes


class TcpLink(Link):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"tcp://{host}:{port}")
        try:
            self._socket = socket.create_connection((host, port), OPEN_TIMEOUT_S)
        except OSError as error:
            raise LinkError(f"{self.name}: {error.strerror or error}") from error
        self._socket.settimeout(WRITE_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self.flush()
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise LinkError(f"{self.name}: the other side has read nothing for {WRITE_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise LinkError(f"{self.name}: {error.strerror or error}") from error


class DescriptorLink(Link):
    """A terminal by its descriptor, which must not block. A full buffer is back pressure: the writer waits."""

    def __init__(self, name: str, descriptor: int) -> None:
        super().__init__(name)
        self._descriptor = descriptor

    def close(self) -> None:
        self.flush()
        os.close(self._descriptor)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if not select.select([], [self._descriptor], [], WRITE_TIMEOUT_S)[1]:
                raise LinkError(f"{self.name}: the other side has read nothing for {WRITE_TIMEOUT_S:g} s")
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                time.sleep(0.001)  # writable by a few bytes less than a pty takes
            except OSError as error:
                raise LinkError(f"{self.name}: {error.strerror}") from error


class SerialLink(DescriptorLink):
    """A serial device: raw, eight bits, exclusive."""

    def __init__(self, device: str, baud: int = DEFAULT_BAUD) -> None:
        try:
            descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            reason = "another program holds it" if error.errno == errno.EBUSY else error.strerror
            raise LinkError(f"{device}: {reason}") from error
        try:
            _make_raw(descriptor, baud)
        except (termios.error, InputError) as error:
            os.close(descriptor)
            raise LinkError(f"{device}: {error if isinstance(error, InputError) else 'not a serial device'}") from error
        super().__init__(device, descriptor)

    def close(self) -> None:
        self.flush()
        termios.tcdrain(self._descriptor)
        super().close()


class PtyLink(DescriptorLink):
    """The near end of a new pty; readers open `device`."""

    def __init__(self) -> None:
        near, far = os.openpty()
        tty.setraw(far)
        self.device = os.ttyname(far)
        os.close(far)  # from here on the near end hangs up while nobody else has the far one open
        os.set_blocking(near, False)
        super().__init__(self.device, near)

    def wait_for_reader(self, timeout_s: float = READER_TIMEOUT_S) -> None:
        """Until some program has opened `device` and had the time to set it up."""
        deadline_s = time.monotonic() + timeout_s
        while self._hung_up():
            if time.monotonic() > deadline_s:
                raise LinkError(f"{self.device}: nobody opened it within {timeout_s:g} s")
            time.sleep(0.02)
        time.sleep(SETTLE_S)

    def close(self) -> None:
        """Closing a pty throws away what was not read: wait until the reader has it all, or has gone."""
        self.flush()
        self._wait_until_read()
        os.close(self._descriptor)

    def _hung_up(self) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, 0)
        return any(event & select.POLLHUP for _, event in poller.poll(0))

    def _wait_until_read(self) -> None:
        deadline_s = time.monotonic() + WRITE_TIMEOUT_S
        empty_polls = 0
        while empty_polls < 10 and not self._hung_up():
            if time.monotonic() > deadline_s:
                raise LinkError(f"{self.device}: the other side has read nothing for {WRITE_TIMEOUT_S:g} s")
            empty_polls = empty_polls + 1 if self._unread_bytes() == 0 else 0
            time.sleep(0.02)

    def _unread_bytes(self) -> int:
        """In the terminal's buffer; 0 when a reader that holds the device for itself keeps us from asking."""
        try:
            far = os.open(self.device, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return 0
        try:
            return _readable_bytes(far)
        finally:
            os.close(far)


def _readable_bytes(descriptor: int) -> int:
    import fcntl
    import struct

    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])


def _make_raw(descriptor: int, baud: int) -> None:
    import fcntl

    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise InputError(f"{baud} baud is not a rate that this system knows")
    tty.setraw(descriptor)
    attributes = termios.tcgetattr(descriptor)
    attributes[4] = attributes[5] = speed
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    fcntl.ioctl(descriptor, termios.TIOCEXCL)


def open_link(
    url: str,
    links: list[tuple[str, int | None]],
    time_us: int,
    announce: Callable[[str], None] = lambda line: None,
) -> Link:
    """tcp://HOST:PORT, serial:///dev/NAME[?baud=N], pty, capture:FILE, or a FILE of frames.

    `links`, `time_us`: what a capture declares. `announce` is told the path of a new pty, before waiting for a reader.
    """
    parts = urlsplit(url)
    if url == "pty":
        pty = PtyLink()
        announce(pty.device)
        pty.wait_for_reader()
        return pty
    if parts.scheme == "capture":
        return CaptureLink(Path(url.removeprefix("capture:")), links, time_us)
    if parts.scheme == "tcp":
        return _open_tcp(url)
    if parts.scheme == "serial":
        return _open_serial(url)
    if "://" in url or not url:
        raise InputError(f"link {url!r} is none of tcp://HOST:PORT, serial:///dev/NAME, pty, capture:FILE, FILE")
    return FileLink(Path(url))


def _open_tcp(url: str) -> TcpLink:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise InputError(f"link {url!r} is not tcp://HOST:PORT")
    return TcpLink(parts.hostname, port)


def _open_serial(url: str) -> SerialLink:
    parts = urlsplit(url)
    baud = parse_qs(parts.query).get("baud", [str(DEFAULT_BAUD)])[-1]
    if not parts.path.startswith("/") or parts.netloc or not baud.isdecimal():
        raise InputError(f"link {url!r} is not serial:///dev/NAME[?baud=N]")
    return SerialLink(parts.path, int(baud))
