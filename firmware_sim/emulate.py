"""The verb `emulate`: a node to try `deploy`, `device` and `serve` on, without hardware.

The firmware of `firmware_sim.firmware` with a serial port that other programs open; its ADC gets a recording, or a walk without end, one
sample each period, whether its packets find a reader or not. What a board keeps in flash is forgotten, except with a folder to keep it in.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from edge_wz.errors import InputError, LinkError
from firmware_sim import firmware
from firmware_sim.firmware import Recording
from firmware_sim.host_board import HostBoard
from firmware_sim.node import Stop
from firmware_sim.qemu import QemuBoard

PERIOD_S = 0.01
STEP_LSB = 3.0
REACH_LSB = 300  # of the walk
WALK_SAMPLES = 4096
TURN_S = 0.05
LAST_S = 0.3  # for the last packet and its hello
FILE = click.Path(dir_okay=False, path_type=Path)
Node = HostBoard | QemuBoard


@click.command()
@click.option("--board", "board_name", type=click.Choice(list(firmware.BY_NAME)), default="host", show_default=True,
              help="host: a process of this machine; the others are chips in QEMU.")
@click.option("--port", type=click.Path(path_type=Path), help="Make this a symbolic link to its serial port.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="A folder for the flash of the host board.")
@click.option("--input", "input_path", type=FILE, metavar="CSV", help="Samples in sensor units, with --model.  [default: a walk]")
@click.option("--column", help="Column of --input.  [default: the model's source, or the only one]")
@click.option("--model", "model_path", type=FILE, help="Whose LSB and period the samples of --input have; not deployed.")
@click.option("--period", "period_s", type=click.FloatRange(min=1e-4), help="Seconds between samples.  [default: the model's, or 0.01]")
def emulate(board_name: str, port: Path | None, keep: Path | None, **options: Any) -> None:
    """A node without hardware, on a serial port of its own, until Ctrl-C.

    It has no model at first: edge-wz deploy MODEL.ewz --port PORT --node 1
    """
    blocks, period_s = _samples(**options)
    board, stop = firmware.BY_NAME[board_name], Stop()
    if keep is not None and board is not firmware.HOST:
        raise InputError("--keep is for the host board; the emulated chips have RAM for flash")
    with stop.signals(), ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge_wz_")))
        folder = scratch if keep is None else keep
        folder.mkdir(parents=True, exist_ok=True)
        program = firmware.build(board, scratch)
        node: Node = HostBoard(program, folder) if board is firmware.HOST else QemuBoard(board, program, folder)
        stack.enter_context(node)
        if port is not None:
            stack.enter_context(_linked(port, node.port))
        click.echo(f"{board.name} on {port or node.port}, a sample every {period_s:g} s; Ctrl-C ends it")
        fed = _play(node, blocks, period_s, stop)
    click.echo(f"{fed} samples")


def _samples(input_path: Path | None, column: str | None, model_path: Path | None, period_s: float | None) -> tuple[Any, float]:
    """(codes and which are present, in blocks; seconds between them)."""
    if (input_path is None) != (model_path is None):
        raise InputError("--input and --model go together: the model says what an LSB is")
    if input_path is None or model_path is None:
        return _walk(), period_s or PERIOD_S
    from edge_wz.formats import bundle
    from firmware_sim.fleet import to_codes
    from firmware_sim.node import read_columns

    model = bundle.load(model_path)
    columns = read_columns(input_path, (column,) if column else ())
    name = column or (model.source if model.source in columns else next(iter(columns)))
    if column is None and name != model.source and len(columns) > 1:
        raise InputError(f"{input_path}: several columns ({', '.join(columns)}); choose with --column")
    codes, present, _ = to_codes(model.node, columns[name])
    return iter([(codes, present)]), period_s or model.period_s


def _walk() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng, level = np.random.default_rng(), 0.0
    while True:
        steps = np.cumsum(rng.normal(0, STEP_LSB, WALK_SAMPLES)) + level
        codes = steps.round().clip(-REACH_LSB, REACH_LSB).astype(np.int16)
        level = float(codes[-1])
        yield codes, np.ones(WALK_SAMPLES, dtype=bool)


@contextmanager
def _linked(link: Path, port: str) -> Iterator[None]:
    try:
        if link.is_symlink():
            link.unlink()  # of an emulation that was killed
        link.symlink_to(port)
    except OSError as error:
        raise InputError(f"{link}: {error.strerror}") from error
    try:
        yield
    finally:
        link.unlink(missing_ok=True)


def _play(node: Node, blocks: Iterator[tuple[np.ndarray, np.ndarray]], period_s: float, stop: Stop) -> int:
    """Samples when they are due, to the end of the recording, which ends in a short packet; then only answer. How many there were."""
    begun_s, fed = time.monotonic(), 0
    for codes, present in blocks:
        at = 0
        while at < len(codes) and not stop.requested:
            due = min(int((time.monotonic() - begun_s) / period_s) - fed, len(codes) - at)
            node.recording.feed(codes[at : at + due], present[at : at + due], wait=False)
            at, fed = at + due, fed + due
            _pause(node, stop)
        if stop.requested:
            break
    _end(node.recording)
    while not stop.requested:
        _pause(node, stop)
    return fed


def _pause(node: Node, stop: Stop) -> None:
    if not node.running and not stop.requested:
        raise LinkError("the node ended by itself")
    stop.unless_stopped(lambda: time.sleep(TURN_S), None)


def _end(recording: Recording) -> None:
    recording.flush()
    time.sleep(LAST_S)
