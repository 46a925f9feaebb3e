"""Real firmware in QEMU from the first model to the second: deployed and read by the command line, its samples against numba's.

The same steps against the device as a process, and many more that go wrong: test_deploy.py, test_deploy_daemon.py.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

pytestmark = [pytest.mark.arm, pytest.mark.qemu, pytest.mark.deploy]

from edge_wz.codec.encoder import NodeEncoder  # noqa: E402
from edge_wz.deploy import link as links  # noqa: E402
from edge_wz.deploy import procedure, targets  # noqa: E402
from edge_wz.formats import blob, packet  # noqa: E402
from edge_wz.formats.framing import FrameDecoder, FrameStatus, encode_frame  # noqa: E402
from edge_wz.formats.layout import TYPE_DATA, TYPE_HELLO  # noqa: E402
from edge_wz.gateway import config  # noqa: E402
from edge_wz.gateway.pipeline import Pipeline  # noqa: E402
from edge_wz.model import Model, SideFilter  # noqa: E402
from firmware_sim.firmware import MICROBIT, MPS2  # noqa: E402
from tests.daemon_driver import Daemon, count_in, run_here, samples_in, wait_for_samples  # noqa: E402
from tests.deploy_driver import PERIOD_S, Breaks, Faulty, Node, quick_model, save, wait_for  # noqa: E402
from tests.pipeline_fleet import Told  # noqa: E402
from tests.test_deploy_daemon import FLEET, books_balance, spooled  # noqa: E402

PERIOD_US = round(PERIOD_S * 1e6)
OLD = quick_model()
NEW = replace(  # whose image takes several requests
    quick_model(), decoder="nearest", side_filter=SideFilter(1, np.zeros(1), np.full((1, 1), 2500.0), np.ones(1)),
    node=blob.make_nested(16, 20, 8, 0.01, 0.0, [(64, 12, 1 << 11, [256 + k, *range(1, 16)]) for k in range(8)]),
)  # fmt: skip


@pytest.fixture(params=[MICROBIT, MPS2], ids=lambda board: board.name)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """A chip to which the command line has given its first model, over the port."""
    old, _ = save(tmp_path, "old.ewz", OLD), save(tmp_path, "new.ewz", NEW)
    node = Node(tmp_path, request.param)
    (tmp_path / "fleet.toml").write_text(FLEET.format(port=node.port))
    try:
        with node.sampling():
            row = deploy(str(old), "--port", str(node.port), "--node", "1")
        assert (row["outcome"], row["board"], row["before"]) == ("deployed", request.param.name, ""), row
        yield node
        assert node.board.running
    finally:
        node.close()


def deploy(*arguments: str) -> dict[str, Any]:
    """The only row of the table, with the exit code that the command had."""
    done = run_here("deploy", *arguments, "--json", "--wait", "6")
    (row,) = json.loads(done.stdout)["nodes"]
    assert row["exit_code"] == done.returncode, done.stderr
    return dict(row)


def deploy_through_daemon(node: Node) -> dict[str, Any]:
    return deploy(str(node.folder / "new.ewz"), "--fleet", str(node.folder / "fleet.toml"))


def test_second_model_over_the_first_while_the_daemon_reads(node: Node) -> None:
    """A cable that breaks, a host that dies and an image that is damaged, then the model: all that was sampled is in the store."""
    store = node.folder / "store.sqlite"
    before = node.fed
    with Daemon(node.folder / "fleet.toml", "--finish") as daemon:
        daemon.wait_for("reading")
        with node.sampling():
            wait_for_samples(store, 320)
            with damaged_images():
                refused = deploy_through_daemon(node)
            assert (refused["exit_code"], refused["after"]) == (9, OLD.model_id.hex()), refused
            assert refused["detail"] == "the node refuses the image: image check; the node keeps its model"
            with pytest.raises(HostDies), cable(dies_after(500)):
                deploy_through_daemon(node)
            with cable(Breaks(300)):
                row = deploy_through_daemon(node)
            assert (row["outcome"], row["exit_code"], row["breaks"], row["lost_packets"]) == ("deployed", 0, 1, 0), (row, daemon.log)
            assert uploads_begun(node) == 2, "the refused image and the good one, which went on twice where it was"
            wait_for_samples(store, count_in(store) + 320)
        node.board.recording.flush()
        wait_for_samples(store, node.fed - before)
        wait_for_last_hello(node)
        assert daemon.stop() == 0, daemon.log
    check_against_numba(node)
    books_balance(node)


def test_adc_that_waits_for_nobody_loses_what_the_node_counts(node: Node) -> None:
    """Samples go on while the node is held in management until its queue is full: what it drops is in the daemon's books."""
    fleet, store = node.folder / "fleet.toml", node.folder / "store.sqlite"
    before = node.fed
    with Daemon(fleet, "--finish") as daemon:
        daemon.wait_for("reading")
        node.feed(320)
        wait_for_samples(store, 320)
        procedure.look(targets.opener_of(fleet, None, "n1"), 5.0, lambda device: sample_while_held(node, device))
        node.feed(320)
        node.board.recording.flush()
        wait_for_samples(store, node.fed - before)
        wait_for_last_hello(node)
        counted = look("info", node)["counters"]
        assert daemon.stop() == 0, daemon.log
    rows = samples_in(store)
    with sqlite3.connect(store) as db:
        (books,) = [json.loads(text) for (text,) in db.execute("SELECT statistics FROM nodes")]
    concealed = [row for row in rows if row[6] & 2]
    assert len(concealed) == books["samples_concealed"] == 16 * counted["lost_packets"] > 0
    assert len(rows) == books["samples_decoded"] + books["samples_concealed"] and counted["samples"] == node.fed
    codes = codes_of(node, rows)
    assert [row[2] for row in rows] == list(range(rows[0][2], len(codes))), "each sample once, and none without a word"
    encoder = NodeEncoder(OLD.node, 1, period_us=PERIOD_US)
    sent = {*encoder.encode(codes), *encoder.flush()}
    assert all(raw in sent for raw in packets_of(node) if packet.peek(raw).type == TYPE_DATA)
    books_balance(node)


def sample_while_held(node: Node, device: Any) -> None:
    node.feed(16 * 600, wait=False)
    while device.counters()["samples"] < node.fed:
        pass


def check_against_numba(node: Node) -> None:
    """Packets and samples are those that encoder and pipeline make of the same recording, bit for bit."""
    rows = samples_in(node.folder / "store.sqlite")
    arrived = packets_of(node)
    switch_at = switch_index(arrived, NEW)
    encoder, codes = NodeEncoder(OLD.node, 1, period_us=PERIOD_US), codes_of(node, rows)
    sent = encoder.encode(codes[:switch_at]) + encoder.switch_model(NEW.node) + encoder.encode(codes[switch_at:]) + encoder.flush()
    assert arrived == sent[len(sent) - len(arrived) :]
    loaded = config.load(node.folder / "fleet.toml")
    pipeline = Pipeline(loaded.fleet, loaded.models)
    events = [event for at, raw in enumerate(arrived) for event in pipeline.feed(0, encode_frame(raw), at * 16_000)]
    told = Told.of([*events, *pipeline.finish(16_000 * len(arrived))])
    assert [row[4] for row in rows] == told.column(1).tolist()
    assert [row[6] for row in rows] == told.flags(1).tolist() and not any(row[6] & 2 for row in rows)
    assert [row[2] for row in rows] == list(range(rows[0][2], len(codes))), "each sample once"


def packets_of(node: Node) -> list[bytes]:
    """All that the daemon ever got."""
    return [frame.payload for frame in FrameDecoder().feed(spooled(node.folder)) if frame.status is FrameStatus.OK]


def wait_for_last_hello(node: Node) -> None:
    """It says where the recording ends, and comes when the store has all samples already."""
    wait_for(lambda: packet.peek(packets_of(node)[-1]).type == TYPE_HELLO, 90)


def codes_of(node: Node, rows: list[Any]) -> np.ndarray:
    """Samples from index 0 on: those before the first model began are in no packet. That none is missing later the packets show."""
    return node.codes[node.fed - rows[-1][2] - 1 :]


def switch_index(packets: list[bytes], model: Model) -> int:
    """Where the node says that the model began."""
    hellos = [packet.parse_hello(raw) for raw in packets if packet.peek(raw).type == TYPE_HELLO]
    return next(hello.sample_index for hello in hellos if isinstance(hello, packet.Hello) and hello.model_id == model.model_id)


def uploads_begun(node: Node) -> int:
    events = [event["event"] for event in look("log", node)["log"]]
    return events[events.index("model confirmed") + 1 :].count("upload begun")


def look(verb: str, node: Node) -> dict[str, Any]:
    """`edge-wz device VERB` through the daemon."""
    done = run_here("device", verb, "--fleet", str(node.folder / "fleet.toml"), "--select", "n1", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


class HostDies(BaseException):
    pass


def dies_after(count: int) -> Callable[[bytes], bytes]:
    """`sent` of a link whose host is no more after so many bytes."""
    left = count

    def sent(data: bytes) -> bytes:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise HostDies
        return data

    return sent


@contextmanager
def cable(sent: Callable[[bytes], bytes]) -> Iterator[None]:
    """What is borrowed from the daemon goes through our hands; in the end it is closed, as the kernel does for a host that is dead."""
    borrowed = []

    def borrow(*where: Any, **what: Any) -> Faulty:
        borrowed.append(Faulty(links.borrow(*where, **what), sent))
        return borrowed[-1]

    with mock.patch.object(targets, "borrow", borrow):
        try:
            yield
        finally:
            for one in borrowed:
                one.close()


@contextmanager
def damaged_images() -> Iterator[None]:
    """One bit of the blob flips where no line check sees it."""
    pack = procedure.images.pack

    def damaged(image: Any) -> bytes:
        raw = pack(image)
        return raw[:70] + bytes([raw[70] ^ 4]) + raw[71:]

    with mock.patch.object(procedure.images, "pack", damaged):
        yield
