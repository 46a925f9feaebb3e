"""Real firmware in QEMU, on both boards: what it sends is bit for bit what the gateway's own encoder makes of the same samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.formats import blob, packet
from edge_wz.model import NodeModel
from firmware_sim.firmware import MICROBIT, MPS2, Board
from firmware_sim.qemu import QemuBoard
from tests.device_wire import ECHO, INFO, RESET, STATE, WRITE, Wire, chip_program, lines, make_image, message, model
from tests.layered_models import layered_model
from tests.pipeline_fleet import predictive_model

pytestmark = [pytest.mark.arm, pytest.mark.qemu]
BOARDS = pytest.mark.parametrize("board", [MICROBIT, MPS2], ids=lambda board: board.name)


SENT = np.random.default_rng(7).random((2, 32)) < 0.6  # of two planes, the positions whose syndrome bits go out


@contextmanager
def booted(board: Board, folder: Path) -> Iterator[tuple[QemuBoard, Wire]]:
    with QemuBoard(board, chip_program(board), folder) as node:
        wire = Wire(node.port)
        try:
            yield node, wire
            assert node.running
        finally:
            wire.close()


def walk(count: int, seed: int = 3) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 40, count)
    return np.clip(np.cumsum(steps), -30000, 30000).astype(np.int16)


def models() -> dict[str, NodeModel]:
    return {
        "nested": blob.make_nested(32, 50, 8, 0.01, 0.0, [(64, 12, 1 << 11, [700, -150, 40])]),
        "coded": blob.make_nested(20, 50, 4, 0.01, 0.0, [(23, 12, 1 << 11, [600])]),
        "trellis": blob.make_trellis(32, 50, 4, 0.01, 0.0, (4, 0o23, 0o4), [(16, 12, 1 << 11, [700])]),
        "predictive": predictive_model(samples=32).node,
        "syndrome": blob.make_syndrome(32, 50, 0.01, 0.0, 8, [(4, 12, 1 << 11, [700], SENT)]),
        "layered": layered_model(samples=32).node,
    }


@BOARDS
def test_every_scheme_and_every_switch_is_bit_exact(board, tmp_path):
    codes = walk(1500 * len(models()))
    present = np.random.default_rng(4).random(len(codes)) > 0.02
    expected: list[bytes] = []
    encoder = None
    with booted(board, tmp_path) as (node, wire):
        for number, node_model in enumerate(models().values()):
            part = slice(1500 * number, 1500 * (number + 1))
            wire.deploy(make_image(node_model, 5))
            node.recording.feed(codes[part], present[part])
            if encoder is None:
                encoder = NodeEncoder(node_model, 5, period_us=1000)
            else:
                expected += encoder.switch_model(node_model)
            expected += encoder.encode(codes[part], present[part])
            wire.packets(len(expected))
        node.recording.flush()
        expected += encoder.flush()
        assert wire.packets(len(expected)) == expected
        counted = wire.counters()
        assert (counted["samples"], counted["lost"], counted["bad_lines"]) == (len(codes), 0, 0)
        assert counted["saturated"] == encoder.counters.saturated


@BOARDS
def test_a_wire_that_nobody_reads_loses_nothing(board, tmp_path):
    codes = walk(40000)
    with booted(board, tmp_path) as (node, wire):
        wire.deploy(make_image(model()))
        node.recording.feed(codes)
        node.recording.flush()
        time.sleep(1)  # terminal, ring and queue are full: 57 KB of frames
        encoder = NodeEncoder(model(), 7, period_us=1000)
        expected = encoder.encode(codes) + encoder.flush()
        assert wire.packets(len(expected)) == expected


@BOARDS
def test_requests_that_come_faster_than_they_are_read_are_all_answered(board, tmp_path):
    with booted(board, tmp_path) as (_, wire):
        wire.ask(ECHO, WRITE, d="boot")
        burst = 60
        wire.send(b"".join(lines(message(*INFO, 0, b"\xa0", number)) for number in range(burst)))
        for number in range(burst):
            assert wire.answer(number, INFO, 0)["board"] == board.name
        assert wire.counters()["bad_lines"] == 0


@BOARDS
def test_a_restart_keeps_the_model_and_raises_the_epoch(board, tmp_path):
    codes = walk(320)
    with booted(board, tmp_path) as (node, wire):
        wire.deploy(make_image(model()))
        node.recording.feed(codes[:160])
        first, second = NodeEncoder(model(), 7, period_us=1000), NodeEncoder(model(), 7, period_us=1000, boot_epoch=1)
        expected = first.encode(codes[:160])
        wire.packets(len(expected))
        wire.ask(RESET, WRITE)
        wire.wake()
        assert wire.ask(STATE)["epoch"] == 1
        node.recording.feed(codes[160:])
        wire.resume()
        expected += second.encode(codes[160:])
        packets = wire.packets(len(expected))
        assert packets == expected
        assert packet.peek(packets[-1]).type == 0
