"""A small SMP client for the tests of the device, written from SPEC 12 and not from the library that `deploy` uses."""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import os
import select
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import cbor2

from edge_wz.formats import blob
from edge_wz.formats.framing import FrameDecoder
from edge_wz.model import NodeModel
from firmware_sim import firmware

READ, WRITE = 0, 2
INFO, STATE, COUNTERS, LOG, RESUME, REVERT = ((64, command) for command in range(6))
ECHO, RESET, PARAMETERS = (0, 0), (0, 5), (0, 6)
IMAGES, UPLOAD = (1, 0), (1, 1)
COUNTED = (
    "samples", "absent", "saturated", "data", "hello", "lost", "requests", "bad_lines", "refused", "flash_errors", "reverted",
)  # fmt: skip


def model(modulus: int = 64, samples: int = 16, hello_every: int = 20) -> NodeModel:
    return blob.make_nested(samples, hello_every, 0, 0.01, 0.0, [(modulus, 10, 1 << 9, [256])])


def make_image(node: NodeModel, node_id: int = 7, *, period_us: int = 1000, trial_s: int = 60, shared: bool = False) -> bytes:
    raw = blob.pack(node)
    body = b"WZIM" + struct.pack("<BBHIHH", 1, shared, node_id, len(raw), trial_s, 0) + node.model_id + struct.pack("<Q", period_us) + raw
    return body + zlib.crc32(body).to_bytes(4, "little")


@functools.cache
def host_program() -> Path:
    """The host board with sanitizers and less patience, once per run of the tests."""
    return firmware.build(firmware.HOST, Path(tempfile.mkdtemp(prefix="edge_wz_")), "-O1", "-DWZ_DEVICE_IDLE_MS=3000", *firmware.SANITIZERS)


@functools.cache
def chip_program(board: firmware.Board) -> Path:
    """The firmware of an emulated board, once per run of the tests."""
    return firmware.build(board, Path(tempfile.mkdtemp(prefix="edge_wz_")))


def message(group: int, command: int, operation: int, body: bytes, sequence: int = 1) -> bytes:
    return struct.pack(">BBHHBB", 1 << 3 | operation, 0, len(body), group, sequence, command) + body


def lines(whole: bytes, size: int = 124) -> bytes:
    check = binascii.crc_hqx(whole, 0).to_bytes(2, "big")
    text = base64.b64encode((len(whole) + 2).to_bytes(2, "big") + whole + check)
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return b"".join((b"\x04\x14" if number else b"\x06\x09") + part + b"\n" for number, part in enumerate(parts))


class Wire:
    """The host's end of a node's port. `frames`: all bytes received outside of answers."""

    def __init__(self, port: str) -> None:
        self._port = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._sequence = 0
        self._data = b""
        self.frames = b""

    def close(self) -> None:
        os.close(self._port)

    def send(self, data: bytes) -> None:
        while data:
            select.select([], [self._port], [], 5)
            data = data[os.write(self._port, data) :]

    def receive(self, wait_s: float = 0.3) -> bytes:
        """What comes until nothing has come for `wait_s`."""
        data = b""
        while select.select([self._port], [], [], wait_s)[0]:
            data += os.read(self._port, 1 << 16)
        return data

    def packets(self, count: int = 0, wait_s: float = 0.3) -> list[bytes]:
        """Of all frames so far, waited for until there are `count` and nothing has come for `wait_s`; the wire must carry nothing else."""
        until_s = time.monotonic() + 30
        while True:
            self.frames += self._data + self.receive(wait_s)
            self._data = b""
            frames = FrameDecoder().feed(self.frames)
            if len(frames) >= count or time.monotonic() > until_s:
                break
        assert all(frame.status.value == "ok" for frame in frames), frames
        return [frame.payload for frame in frames]

    def ask(self, command: tuple[int, int], operation: int = READ, **body: Any) -> dict[str, Any]:
        self._sequence = (self._sequence + 1) % 256
        self.send(lines(message(*command, operation, cbor2.dumps(body), self._sequence)))
        return self.answer(self._sequence, command, operation)

    def answer(self, sequence: int, command: tuple[int, int], operation: int, wait_s: float = 10.0) -> dict[str, Any]:
        end_s = time.monotonic() + wait_s
        while time.monotonic() < end_s:
            start = self._data.find(b"\x06\x09")
            end = self._data.find(b"\n", start)
            if start < 0 or end < 0:
                if select.select([self._port], [], [], max(0.0, end_s - time.monotonic()))[0]:
                    self._data += os.read(self._port, 1 << 16)
                continue
            raw = parse_line(self._data[start : end + 1])
            if raw is None:  # a frame that looked like one
                self.frames, self._data = self.frames + self._data[: start + 2], self._data[start + 2 :]
                continue
            self.frames, self._data = self.frames + self._data[:start], self._data[end + 1 :]
            assert raw[:8] == message(*command, operation + 1, b"", sequence)[:2] + raw[2:4] + message(
                *command, 0, b"", sequence
            )[4:8], raw
            return dict(cbor2.loads(raw[8:]))
        raise AssertionError(f"no answer; heard {self._data[-200:]!r}")

    def wake(self) -> None:
        """Echo until it is answered: what comes while a chip restarts is lost."""
        for attempt in range(50):
            self._sequence = (self._sequence + 1) % 256
            self.send(lines(message(*ECHO, WRITE, cbor2.dumps({"d": ""}), self._sequence)))
            with contextlib.suppress(AssertionError):
                self.answer(self._sequence, ECHO, WRITE, 0.3 + 0.1 * attempt)
                return
        raise AssertionError("the node does not wake up")

    def upload(self, data: bytes, piece: int = 96, **more: Any) -> dict[str, Any]:
        reply = self.ask(UPLOAD, WRITE, off=0, len=len(data), data=data[:piece], **more)
        while "off" in reply and reply["off"] < len(data):
            start = reply["off"]
            reply = self.ask(UPLOAD, WRITE, off=start, data=data[start : start + piece])
        return reply

    def deploy(self, data: bytes, *, confirm: bool = True) -> None:
        """Upload, test and, if wanted, confirm; back to data mode."""
        assert self.upload(data)["match"] is True
        assert "images" in self.ask(IMAGES, WRITE, hash=data[-4:])
        if confirm:
            assert "images" in self.ask(IMAGES, WRITE, hash=data[-4:], confirm=True)
        self.resume()

    def resume(self) -> None:
        assert self.ask(RESUME, WRITE) == {}

    def counters(self) -> dict[str, int]:
        return dict(zip(COUNTED, self.ask(COUNTERS)["c"], strict=True))


def parse_line(line: bytes) -> bytes | None:
    """The message of an answer's line; None if it is none."""
    assert line.endswith(b"\n")
    try:
        raw = base64.b64decode(line[2:-1], validate=True)
    except binascii.Error:
        return None
    whole = len(raw) >= 12 and int.from_bytes(raw[:2], "big") == len(raw) - 2 and binascii.crc_hqx(raw[2:], 0) == 0
    assert not whole or len(line) <= 127
    return raw[2:-2] if whole else None
