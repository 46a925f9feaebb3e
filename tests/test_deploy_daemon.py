"""Deploy while the daemon owns the port: packets keep coming, every byte is in the spool once, and the replay gives the same bits."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.c, pytest.mark.deploy]

from edge_wz.deploy.link import borrow, daemon_status  # noqa: E402
from edge_wz.errors import LinkError  # noqa: E402
from edge_wz.formats.capture import CaptureReader, DataRecord  # noqa: E402
from tests.daemon_driver import Daemon, run_here, samples_in, wait_for_samples  # noqa: E402
from tests.deploy_driver import Node, quick_model, save  # noqa: E402
from tests.test_daemon import replayed  # noqa: E402

FLEET = """[gateway]
reorder_wait_s = 0.5
side_wait_s = 0.5
revise_window_s = 1.0
[[link]]
name = "wire"
url = "serial://{port}"
node = "n1"
[[node]]
name = "n1"
id = 1
model = "old.ewz"
[[model]]
path = "new.ewz"
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    save(tmp_path, "old.ewz", quick_model())
    save(tmp_path, "new.ewz", quick_model(32))
    node = Node(tmp_path)
    (tmp_path / "fleet.toml").write_text(FLEET.format(port=node.port))
    with node.sampling():
        assert node.deploy(quick_model()).outcome == "deployed"
    yield node
    node.close()


def deploy_here(node: Node, *options: str) -> tuple[int, dict[str, object], str]:
    done = run_here("deploy", "--fleet", str(node.folder / "fleet.toml"), "--json", "--wait", "6", *options)
    return done.returncode, json.loads(done.stdout)["nodes"] if done.stdout else [], done.stderr


def link_statistics(node: Node) -> dict[str, int]:
    with sqlite3.connect(node.folder / "store.sqlite") as db:
        return dict(json.loads(db.execute("SELECT statistics FROM links").fetchone()[0]))


def spooled(folder: Path) -> bytes:
    """All that arrived."""
    files = sorted((folder / "spool").glob("*.wzcp"))
    records = [record for file in files for record in CaptureReader(file.read_bytes())]
    return b"".join(record.data for record in records if isinstance(record, DataRecord))


def books_balance(node: Node) -> None:
    link = link_statistics(node)
    parts = ("good_bytes", "bad_bytes", "discarded_bytes", "console_bytes", "pending_bytes")
    assert link["fed_bytes"] == sum(link[part] for part in parts) == len(spooled(node.folder))
    assert link["console_bytes"] > 0 and link["bad_bytes"] == 0, link
    store = replayed(node.folder / "fleet.toml")
    assert samples_in(store) == samples_in(node.folder / "store.sqlite"), "the replay gives the same bits"


def test_a_second_model_while_the_fleet_runs(node: Node) -> None:
    new = node.folder / "new.ewz"
    before = node.fed
    with Daemon(node.folder / "fleet.toml", "--finish") as daemon:
        daemon.wait_for("reading")
        with node.sampling():
            wait_for_samples(node.folder / "store.sqlite", 320)
            code, (result,), errors = deploy_here(node, str(new))
            assert (code, result["outcome"]) == (0, "deployed"), (result, errors, daemon.log)
            assert result["lost_packets"] == 0
            code, (again,), _ = deploy_here(node, str(new))
            assert (code, again["outcome"]) == (0, "up to date")
            assert deploy_here(node, str(new), "--only-outdated")[:2] == (0, []), "the daemon knows that it runs it"
            time.sleep(0.3)
        node.board.recording.flush()
        daemon.wait_for("switched to model")
        assert "lent to process" in daemon.log and "given back by process" in daemon.log
        wait_for_samples(node.folder / "store.sqlite", node.fed - before)
        assert daemon.stop() == 0, daemon.log
    rows = samples_in(node.folder / "store.sqlite")
    assert len({row[:3] for row in rows}) == len(rows) >= node.fed - before
    assert not any(row[6] & 2 for row in rows), "nothing was concealed: no sample was lost to the deploy"
    books_balance(node)


def test_a_model_that_the_daemon_does_not_know(node: Node) -> None:
    fleet = node.folder / "fleet.toml"
    with Daemon(fleet) as daemon:
        daemon.wait_for("reading")
        save(node.folder, "third.ewz", quick_model(16))
        fleet.write_text(fleet.read_text() + '[[model]]\npath = "third.ewz"\n')
        done = run_here("deploy", str(node.folder / "third.ewz"), "--fleet", str(fleet))
        assert done.returncode == 9 and "the running daemon has no bundle" in done.stderr
        info = run_here("device", "info", "--fleet", str(fleet), "--select", "n1", "--json")
        assert json.loads(info.stdout)["model_id"] == quick_model().model_id.hex(), info.stderr
        assert daemon.stop() == 0


def test_one_borrower_at_a_time_and_those_that_vanish(node: Node) -> None:
    control = node.folder / "store.control"
    with Daemon(node.folder / "fleet.toml", "--finish") as daemon, node.sampling():
        daemon.wait_for("reading")
        link = borrow(control, link="wire")
        with pytest.raises(LinkError, match=r"link wire is lent to process \d+ "):
            borrow(control, node=1)
        with pytest.raises(LinkError, match="no link 'x' \\(there are wire\\)"):
            borrow(control, link="x")
        link.write(b"\x06\x09AAA")  # half a request, then gone
        link.close()
        daemon.wait_for("given back")
        deaf = borrow(control, link="wire")
        status = daemon_status(control)
        assert status is not None and status["links"][0]["lent_to"].startswith("process")
        wait_for_samples(node.folder / "store.sqlite", 320)
        deaf.close()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(control))
            sock.sendall(b"nonsense\n")
            assert json.loads(sock.recv(1000)) == {"ok": False, "error": "not one line of JSON"}
        code, (result,), _ = deploy_here(node, str(node.folder / "new.ewz"))
        assert (code, result["outcome"]) == (0, "deployed"), result
        assert daemon.stop() == 0, daemon.log
    assert not control.exists()
    books_balance(node)


def test_a_daemon_killed_in_the_middle(node: Node) -> None:
    """The borrower sees its link go; the next daemon takes over the socket; the deploy goes on through it."""
    control, fleet = node.folder / "store.control", node.folder / "fleet.toml"
    with node.sampling():
        with Daemon(fleet) as daemon:
            daemon.wait_for("reading")
            link = borrow(control, link="wire")
            daemon.kill()
            with pytest.raises(LinkError, match="closed by the other side|is gone"):
                while True:
                    link.read(0.2)
            link.close()
        assert control.exists() and daemon_status(control) is None
        with Daemon(fleet, "--finish") as daemon:
            daemon.wait_for("reading")
            code, (result,), _ = deploy_here(node, str(node.folder / "new.ewz"))
            assert (code, result["outcome"]) == (0, "deployed"), result
            assert daemon.stop() == 0, daemon.log
    books_balance(node)
