"""Deploy to the C device on a pseudo terminal: what it does when all is well, and what it leaves behind when something is not.

The device itself is tested in test_device_wire.py, the way through the daemon in test_deploy_daemon.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = [pytest.mark.c, pytest.mark.deploy]

from edge_wz.deploy import procedure  # noqa: E402
from edge_wz.deploy.device import Device, Info  # noqa: E402
from edge_wz.deploy.link import open_port  # noqa: E402
from edge_wz.deploy.procedure import Options, Order  # noqa: E402
from edge_wz.errors import LinkError  # noqa: E402
from firmware_sim import firmware  # noqa: E402
from firmware_sim.host_board import HostBoard  # noqa: E402
from tests import daemon_driver  # noqa: E402
from tests.deploy_driver import (  # noqa: E402
    QUICK,
    Breaks,
    Faulty,
    Node,
    Quiet,
    pipe_port,
    quick_model,
    wait_for,
)
from tests.test_device_wire import resealed  # noqa: E402


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def running(node: Node) -> tuple[str, int | None]:
    state = procedure.look(node.open, 3.0, lambda device: device.state())
    return state.model_id, state.trial_s


def test_a_first_model_then_another_over_it(node: Node) -> None:
    first, second = quick_model(), quick_model(32)
    with node.sampling():
        result = node.deploy(first, options=replace(QUICK, packets=3))
        assert (result.outcome, result.exit_code, result.before) == ("deployed", 0, ""), result
        assert result.packets >= 3 and result.samples >= 48 and result.after == first.model_id.hex()
        again = node.deploy(first)
        assert again.outcome == "up to date" and again.uploaded_bytes == 0
        assert node.deploy(first, options=replace(QUICK, force=True)).outcome == "deployed"
        over = node.deploy(second, node_id=None)
        assert over.outcome == "deployed" and over.node_id == 1 and over.before == first.model_id.hex(), over
        assert over.lost_packets == 0, "16 ms of samples at a time fit the node's queue"
    assert running(node) == (second.model_id.hex(), None)
    node.power_cut()
    assert running(node) == (second.model_id.hex(), None)


def test_a_new_node_needs_an_id(node: Node) -> None:
    result = node.deploy(quick_model(), node_id=None)
    assert result.exit_code == 2 and "give one with --node" in result.detail


def test_the_wrong_node_of_a_fleet_is_left_alone(node: Node) -> None:
    with node.sampling():
        assert node.deploy(quick_model(), node_id=5).outcome == "deployed"
        result = node.deploy(quick_model(32), node_id=6, renumber=False)
    assert result.exit_code == 9 and "node 5 answers on the link of node 6" in result.detail
    assert running(node)[0] == quick_model().model_id.hex()


def test_what_does_not_fit_is_refused_before_anything_is_sent(node: Node) -> None:
    wide = daemon_driver.nested_model(samples=4096, modulus=32768)
    result = node.deploy(replace(wide, period_s=0.001))
    assert (result.outcome, result.exit_code, result.uploaded_bytes) == ("refused", 9, 0)
    assert result.detail.startswith("packets need ") and "it has 4096" in result.detail
    forced = node.deploy(replace(wide, period_s=0.001), options=replace(QUICK, force=True))
    assert forced.exit_code == 9 and "keeps its model" in forced.detail, "the node is the judge, and agrees"
    dry = node.deploy(quick_model(), options=replace(QUICK, dry_run=True))
    assert (dry.outcome, dry.exit_code) == ("would fit", 0)
    assert running(node) == ("", None)


@pytest.mark.parametrize(("info", "says"), [
    (Info("microbit", "0.1.0", ("nested",), 64, 4096), "do not fit its slot of 64"),
    (Info("microbit", "0.0.9", ("predictive",), 4096, 4096), "its firmware has no nested"),
])  # fmt: skip
def test_reasons_to_refuse(info: Info, says: str) -> None:
    from edge_wz.deploy import costs

    image = b"\0" * 100
    problems = [row.problem for row in costs.rows(quick_model().node, image, info) if row.problem]
    assert len(problems) == 1 and says in problems[0]


@pytest.mark.parametrize(("place", "value", "reason"), [
    (40, 99, "image check"), (4, 2, "image version: its firmware is older than this model"),
    (32 + 4, 9, "blob version: its firmware is older than this model"), (32 + 47, 0x7F, "blob overflow"),
])  # fmt: skip
def test_an_image_that_the_node_refuses(
    node: Node, monkeypatch: pytest.MonkeyPatch, place: int, value: int, reason: str
) -> None:
    pack = procedure.images.pack
    spoil = damaged if reason == "image check" else resealed
    with node.sampling():
        assert node.deploy(quick_model()).outcome == "deployed"
        monkeypatch.setattr(procedure.images, "pack", lambda image: spoil(pack(image), place, value))
        result = node.deploy(quick_model(32))
    assert (result.exit_code, result.after) == (9, quick_model().model_id.hex())
    assert result.detail == f"the node refuses the image: {reason}; the node keeps its model"
    assert running(node) == (quick_model().model_id.hex(), None)


def test_a_trial_whose_answer_was_lost(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    test = Device.test
    monkeypatch.setattr(Device, "test", lambda self, image_hash: (test(self, image_hash), test(self, image_hash)))
    with node.sampling():
        result = node.deploy(quick_model())
    assert (result.outcome, result.exit_code) == ("deployed", 0), result


def damaged(raw: bytes, place: int, value: int) -> bytes:
    return raw[:place] + bytes([raw[place] ^ value]) + raw[place + 1 :]


def test_firmware_that_lacks_the_scheme(tmp_path: Path) -> None:
    older = firmware.build(firmware.HOST, tmp_path, "-DWZ_WITH_NESTED=0", name="older")
    with HostBoard(older, tmp_path) as board:
        result = procedure.deploy(lambda: open_port(board.port), Order(quick_model(), "n1", 1), QUICK, Quiet())
    assert (result.outcome, result.exit_code) == ("refused", 9)
    assert result.detail == "its firmware has no nested: build one that has"


def test_without_packets_the_old_model_stays(node: Node) -> None:
    with node.sampling():
        node.deploy(quick_model())
    result = node.deploy(quick_model(32), options=replace(QUICK, wait_s=1.0))
    assert (result.outcome, result.exit_code) == ("reverted", 9) and result.detail == "only 0 of 2 packets in 1 s"
    assert result.after == quick_model().model_id.hex() and running(node) == (result.after, None)
    assert node.deploy(quick_model(32), options=replace(QUICK, packets=0)).outcome == "deployed", "the hello alone"


def test_an_upload_goes_on_where_it_broke(node: Node) -> None:
    cable, offsets = Breaks(1000, 500), []

    class Seen(Quiet):
        def step(self, label: str, total: float):  # type: ignore[no-untyped-def, override]
            return contextlib.nullcontext(offsets.append if label == "upload" else lambda at: None)

    order = Order(replace(quick_model(), node=_long_blob()), "n1", 1, period_us=1000)
    with node.sampling():
        result = procedure.deploy(lambda: Faulty(node.open(), sent=cable), order, QUICK, Seen())
    assert result.outcome == "deployed" and result.breaks == 2, result
    assert offsets == sorted(offsets) and offsets[-1] == result.image_bytes, "what the node had was not sent again"
    assert any(0 < one == other for one, other in zip(offsets, offsets[1:], strict=False)), "asked where to go on"


def _long_blob():  # type: ignore[no-untyped-def]
    """As many rate points as there may be, with filters: some 600 bytes."""
    from edge_wz.formats import blob

    points = [(64, 12, 1 << 11, [256 + k, *range(1, 16)]) for k in range(8)]
    return blob.make_nested(16, 20, 8, 0.01, 0.0, points)


def test_noise_on_the_line_costs_time_and_no_more(node: Node) -> None:
    rng = random.Random(3)

    def damaged(data: bytes) -> bytes:
        if not data or rng.random() > 0.15:
            return data
        at = rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]

    order = Order(replace(quick_model(), node=_long_blob()), "n1", 1, period_us=1000)
    with node.sampling():
        result = procedure.deploy(lambda: Faulty(node.open(), damaged, damaged), order, replace(QUICK, wait_s=10), Quiet())
    assert result.outcome == "deployed", result


@pytest.mark.parametrize("stage", ["upload", "proof"])
def test_a_power_cut_keeps_the_old_model(node: Node, stage: str) -> None:
    class Cut(Quiet):
        def step(self, label: str, total: float):  # type: ignore[no-untyped-def, override]
            if label == stage:
                threading.Timer(0.05, node.power_cut).start()
                time.sleep(0.3)
            return super().step(label, total)

    with node.sampling():
        assert node.deploy(quick_model()).outcome == "deployed"
        result = procedure.deploy(node.open, Order(quick_model(32), "n1", 1), QUICK, Cut())
        if stage == "upload":
            assert result.outcome == "deployed" and result.breaks == 1, "sent again after the restart"
        else:
            assert result.exit_code in (6, 9) and result.outcome in ("reverted", "failed"), result
            assert running(node) == (quick_model().model_id.hex(), None)
            assert node.deploy(quick_model(32)).outcome == "deployed"


def test_a_host_that_died_in_the_trial_is_taken_up_at_the_proof(node: Node) -> None:
    class Dies(Quiet):
        def step(self, label: str, total: float):  # type: ignore[no-untyped-def, override]
            if label == "proof":
                raise SystemExit  # not even going back
            return super().step(label, total)

    with node.sampling():
        node.deploy(quick_model())
        go_back = procedure._go_back
        procedure._go_back = lambda session, result: None
        try:
            with pytest.raises(SystemExit):
                procedure.deploy(node.open, Order(quick_model(32), "n1", 1), QUICK, Dies())
        finally:
            procedure._go_back = go_back
        assert running(node)[0] == quick_model(32).model_id.hex() and running(node)[1] is not None
        other = node.deploy(quick_model(16))
        assert other.exit_code == 9 and "is on trial for another" in other.detail
        result = node.deploy(quick_model(32))
    assert result.outcome == "deployed" and result.uploaded_bytes == 0


def test_ctrl_c_in_the_trial_goes_back_at_once(node: Node) -> None:
    class Interrupted(Quiet):
        def step(self, label: str, total: float):  # type: ignore[no-untyped-def, override]
            if label == "proof":
                raise KeyboardInterrupt
            return super().step(label, total)

    with node.sampling():
        node.deploy(quick_model())
        with pytest.raises(KeyboardInterrupt):
            procedure.deploy(node.open, Order(quick_model(32), "n1", 1), QUICK, Interrupted())
        assert running(node) == (quick_model().model_id.hex(), None)


# ------------------------------------------------------------------------------------------- other ends of the cable


def heard(port: Path, says: bytes, answer: bool = False) -> str:
    """What deploy tells of a port at whose other end somebody says this, or sends everything back."""
    ours, theirs = pipe_port(port)
    stop = threading.Event()

    def speak() -> None:
        os.set_blocking(ours, False)
        while not stop.wait(0.05):
            try:
                got = os.read(ours, 4096)
            except BlockingIOError:
                got = b""
            os.write(ours, got if answer else says)

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        result = procedure.deploy(
            lambda: open_port(str(theirs)), Order(quick_model(), "n1", 1), Options(attach_s=1.0), Quiet()
        )
    finally:
        stop.set()
        speaker.join()
        os.close(ours)
    assert result.exit_code == LinkError.exit_code
    return result.detail


def test_silence(tmp_path: Path) -> None:
    assert heard(tmp_path, b"").endswith("no answer in 1 s; nothing was heard")


def test_another_program(tmp_path: Path) -> None:
    assert "heard text: 'login:" in heard(tmp_path, b"login: \r\n")


def test_a_loop(tmp_path: Path) -> None:
    assert "transmit and receive are connected" in heard(tmp_path, b"", answer=True)


def test_a_wrong_baud_rate(tmp_path: Path) -> None:
    assert "wrong baud rate?" in heard(tmp_path, bytes(random.Random(2).choices(range(1, 256), k=40)))


def test_a_node_that_takes_no_models(tmp_path: Path) -> None:
    assert "heard packets of node 1, model" in heard(tmp_path, b"".join(daemon_driver.frames(1, 64)))


def test_ports_that_cannot_be_opened(node: Node, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="nowhere: No such file or directory"):
        open_port(str(tmp_path / "nowhere"))
    with pytest.raises(LinkError, match="refused"):
        open_port(f"tcp://127.0.0.1:{daemon_driver.free_port()}")
    with pytest.raises(LinkError, match="null: not a serial port"):
        open_port("/dev/null")
    link = node.open()
    with pytest.raises(LinkError, match=r"tty is locked by process \d+ \("):
        node.open()
    link.close()
    wait_for(lambda: running(node) == ("", None))


def test_costs_are_those_recorded_for_models_like_it() -> None:
    from edge_wz.deploy import costs
    from edge_wz.formats.sections import SECTIONS
    from export import footprint

    recorded = json.loads(footprint.RECORD.read_text())
    named = {*costs.EXAMPLES.values(), costs.LAYER_BLOCKS, "nested 5 bins", "nested 2 bit, 5 taps", "nested 2 bit, level check"}
    named |= {f"nested {bits} bit" for bits in costs.NESTED_BITS}
    assert named <= set(footprint.settings()) and {"nested", *costs.EXAMPLES} == set(SECTIONS)
    for name, setting in footprint.settings().items():
        for core in costs.CORES.values():
            found = costs.measured(setting.node, core)
            assert found is not None and (found.example == name or name == "everything")
            row = recorded[core][found.example]
            assert (found.stack_bytes, found.instructions_per_sample) == (row["stack"], row["single"])
            assert found.text_bytes == row["path_text"] + row["session_text"] + row["check_text"]
