"""`edge-wz node`: from a CSV or a pipe to frames on a link, and every way in which its input can be wrong."""

from __future__ import annotations

import gzip
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from edge_wz.cli.main import main
from edge_wz.codec import schemes
from edge_wz.formats import bundle, packet
from edge_wz.formats.framing import FrameDecoder
from edge_wz.formats.layout import TYPE_HELLO
from firmware_sim.links import PtyLink
from tests.fleet_models import nested_model

MODEL = nested_model(modulus=4096, step_shift=0)


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "m.ewz"
    bundle.save(path, MODEL)
    return path


@dataclass(frozen=True)
class Result:
    returncode: int
    stderr: str


def edge_wz(*arguments: object) -> Result:
    """The command, in this process: starting one for each case takes too long."""
    with (
        patch.object(sys, "argv", ["edge-wz", *map(str, arguments)]),
        redirect_stderr(io.StringIO()) as stderr,
        redirect_stdout(io.StringIO()),
    ):
        try:
            main()
        except SystemExit as stop:
            return Result(int(stop.code or 0), stderr.getvalue())
    return Result(0, stderr.getvalue())


def read_frames(data: bytes) -> tuple[list[packet.Hello], np.ndarray]:
    """(hellos, values with NaN for absent samples) of the packets of an addressed link; levels do not wrap here."""
    hellos, values = [], []
    for frame in FrameDecoder().feed(data):
        if packet.peek(frame.payload).type == TYPE_HELLO:
            hello = packet.parse_hello(frame.payload)
            assert isinstance(hello, packet.Hello)
            hellos.append(hello)
            continue
        data_packet = packet.parse_data(frame.payload, 0, MODEL.node.packet_samples)
        assert isinstance(data_packet, packet.DataPacket)
        present = packet.present_slots(data_packet, MODEL.node.packet_samples)
        slots = np.zeros((1, MODEL.node.packet_samples), dtype=bool)
        slots[0, : len(present)] = present
        indices = schemes.parse(MODEL.node, [data_packet.payload], [0], [len(present)], slots)
        bins = indices.values[0, : len(present)].astype(float)
        bins[~present] = np.nan
        values.append((bins + 2048) % 4096 - 2048)
    return hellos, np.concatenate(values) * 0.01


def run_node(model_path: Path, csv_text: str, *arguments: object) -> tuple[Result, Path]:
    out = model_path.parent / "frames.bin"
    source = model_path.parent / "in.csv"
    source.write_text(csv_text)
    common = ("node", "--model", model_path, "--input", source, "--link", out, "--start-ms", 5000, "--epoch", 3)
    return edge_wz(*common, *arguments), out


def test_every_sample_is_sent(model_path: Path) -> None:
    sent = np.round(np.sin(np.arange(50)) * 10, 2)
    lines = "".join(f"{k},{value},ignored\n" for k, value in enumerate(sent))
    result, out = run_node(model_path, "k,x,note\n" + lines, "--id", 9, "--period", 0.5)
    assert result.returncode == 0, result.stderr
    hellos, values = read_frames(out.read_bytes())
    np.testing.assert_allclose(values, sent, atol=1e-9)
    assert {(h.node_id, h.boot_epoch, h.period_us, h.start_ms) for h in hellos} == {(9, 3, 500_000, 5000)}
    assert hellos[-1].sample_index == 50 and hellos[-1].packet_counter == 4
    assert "50 samples (0 absent); 4 packets" in result.stderr


def test_missing_samples_are_absent_and_clipped_ones_counted(model_path: Path) -> None:
    result, out = run_node(model_path, "x\n1.5\n\nNaN\nna\n-2\n400\n")
    assert result.returncode == 0, result.stderr
    _, values = read_frames(out.read_bytes())
    np.testing.assert_allclose(values[:5], [1.5, np.nan, np.nan, np.nan, -2.0])
    assert "6 samples (3 absent)" in result.stderr and "1 samples beyond the model's range, clipped" in result.stderr


def test_reads_gzip_windows_lines_and_a_byte_order_mark(model_path: Path) -> None:
    path = model_path.parent / "in.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbftime,x\r\n0,1.25\r\n1,2.5"))
    out = model_path.parent / "frames.bin"
    result = edge_wz("node", "--model", model_path, "--input", path, "--link", out)
    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(read_frames(out.read_bytes())[1], [1.25, 2.5])


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("x\n1\nbad\n", (), "line 3, column x: 'bad' is no number"),
        ("x\n1\n-inf\n", (), "line 3, column x: -inf is not finite"),
        ("x,y\n1,2\n3\n", ("--column", "x"), "line 3: 1 fields, the header has 2"),
        ("x\n1\n", ("--column", "z"), "no column 'z' (there are x)"),
        ("a,b\n1,2\n", (), "several columns (a, b); choose with --column"),
        ("1\n2\n", (), "line 1: numbers where the header row belongs"),
        ("k\n1\n", (), "no column of samples, only k"),
        ("", (), "is empty, not even a header row"),
        ("x\n", (), "no samples behind the header"),
        ("x\n1\n", ("--rate-point", "4"), "rate point 4 of a model that has 1"),
        ("x\n1\n", ("--period", "0"), "--period 0 is not within"),
        ("x\n1\n", ("--id", "40000"), "node id 40000 is not within 0 .. 32767"),
    ],
)
def test_bad_input_is_one_line(model_path: Path, text: str, arguments: tuple[str, ...], message: str) -> None:
    result, _ = run_node(model_path, text, *arguments)
    assert result.returncode in (2, 3)
    assert message in result.stderr and result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


def test_unreachable_links_are_named(model_path: Path) -> None:
    source = model_path.parent / "in.csv"
    source.write_text("x\n1\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for url, message in ((f"tcp://127.0.0.1:{port}", "refused"), ("serial:///dev/null", "not a serial device")):
        result = edge_wz("node", "--model", model_path, "--input", source, "--link", url)
        assert result.returncode == 6 and message in result.stderr and result.stderr.count("\n") == 1
    result = edge_wz("node", "--model", model_path, "--input", source, "--link", "ftp://x")
    assert result.returncode == 2


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_flushes(model_path: Path, signal_number: signal.Signals) -> None:
    """Samples on a pipe leave over TCP packet by packet; the signal sends the rest and a hello."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "edge_wz", "node", "--model", str(model_path), "--input", "-"]
        with subprocess.Popen([*command, "--link", url], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as node:
            assert node.stdin is not None and node.stderr is not None
            connection, _ = server.accept()
            with connection:
                connection.settimeout(30)
                node.stdin.write(b"x\n" + b"0.5\n" * 20)
                node.stdin.flush()
                received = connection.recv(4096)
                while len(FrameDecoder().feed(received)) < 2:
                    received += connection.recv(4096)
                time.sleep(0.2)
                node.send_signal(signal_number)
                while more := connection.recv(4096):
                    received += more
            assert node.wait(30) == 0
            assert b"interrupted: 20 samples" in node.stderr.read()
    hellos, values = read_frames(received)
    np.testing.assert_allclose(values, [0.5] * 20)
    assert hellos[-1].sample_index == 20


def test_realtime_keeps_the_period(model_path: Path) -> None:
    begun_s = time.monotonic()
    result, _ = run_node(model_path, "x\n" + "1\n" * 16, "--realtime", "--period", "0.1")
    assert result.returncode == 0 and time.monotonic() - begun_s > 1.5


def test_a_pty_holds_back_the_writer_and_loses_nothing() -> None:
    link = PtyLink()
    sent = bytes(range(256)) * 2000  # half a megabyte: more than a pty buffers
    received = bytearray()

    def read() -> None:
        far = os.open(link.device, os.O_RDWR | os.O_NOCTTY)
        time.sleep(1.0)
        while len(received) < len(sent):
            received.extend(os.read(far, 4096))
        os.close(far)

    reader = threading.Thread(target=read)
    reader.start()
    link.wait_for_reader(10)
    with link:
        link.write(0, sent)
    reader.join(30)
    assert bytes(received) == sent and link.bytes_written == len(sent)
