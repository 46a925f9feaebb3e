"""Real firmware at full speed over a bad cable to a live daemon, while models are deployed: every byte is accounted for.

An emulated chip plays a recording as fast as its line carries it; the cable drops and flips in both directions; `edge-wz serve` reads the other
end, and through its control socket the node is looked at and given one of two models in turn. What must come out is worked out from what
the node sent before the cable damaged it:

    sent       is bit for bit what numba's encoder makes of the recording, switches included
    taken      = delivered + dropped bytes of the cable; delivered (and the zero that begins) = fed bytes of the daemon = bytes of its spool
    fed        = good + bad + discarded + console + pending bytes
    expected   = decoded + concealed samples, a row for each, none twice; a replay of the spool gives the same bits

    python -m benchmarks.firmware_soak [--minutes 1] [--board mps2-an385] [--baud 115200] [--damage 1e-4] [--json]

`--baud 0`: as fast as the emulator goes, which then takes a whole core. Exit code 1 if any check fails.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.deploy import procedure, targets
from edge_wz.deploy.procedure import Options
from edge_wz.errors import EdgeWzError
from edge_wz.formats import blob, bundle, packet
from edge_wz.formats.framing import FrameDecoder, FrameStatus
from edge_wz.formats.layout import TYPE_DATA, TYPE_HELLO
from edge_wz.model import Model
from firmware_sim import firmware
from firmware_sim.qemu import QemuBoard
from tests.bad_cable import BadCable
from tests.daemon_driver import Daemon
from tests.deploy_driver import Quiet
from tests.device_wire import Wire, chip_program, make_image
from tests.fleet_models import nested_model
from tests.test_daemon import replayed
from tests.test_deploy_daemon import FLEET, spooled

NODE_ID = 1
PERIOD_US = 1000
PACKET_SAMPLES = 64
BITS_PER_BYTE = 10  # of a serial line: start, eight, stop
AHEAD_SAMPLES = 1 << 14
STOP_S = 900
LAST_S = 300  # for what is under way when the recording ends: a daemon on a busy machine is far behind
FIRST = 1  # packet: the hello that is heard before the cable is there
OPENING = 1  # byte: with it the daemon ends the frame that was perhaps under way when it opened the port
OPTIONS = Options(wait_s=20.0, attach_s=20.0)


@dataclass
class Asked:
    minutes: float = 1.0
    board: str = "mps2-an385"
    baud: int = 115200
    damage: float = 1e-4
    seed: int = 1
    manage_s: float = 5.0


@dataclass
class Managed:
    """What became of looks and deploys."""

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(Asked()).items():
        options.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options.add_argument("--json", action="store_true")
    given = vars(options.parse_args())
    as_json = given.pop("json")
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), Asked(**given))
    print(json.dumps(result) if as_json else _shown(result))
    sys.exit(0 if all(result["checks"].values()) else 1)


def models() -> tuple[Model, Model]:
    """Two bytes a sample or so: bytes are what is soaked."""
    nodes = [blob.make_nested(PACKET_SAMPLES, 20, 0, 0.01, 0.0, [(modulus, 10, 1 << 9, [256])]) for modulus in (1 << 14, 1 << 13)]
    first, second = (replace(nested_model(), node=node, period_s=PERIOD_US / 1e6) for node in nodes)
    return first, second


def soak(folder: Path, asked: Asked) -> dict[str, Any]:
    first, second = models()
    bundle.save(folder / "old.ewz", first)
    bundle.save(folder / "new.ewz", second)
    fleet = folder / "fleet.toml"
    fleet.write_text(FLEET.format(port=folder / "tty"))
    board = firmware.BY_NAME[asked.board]
    with QemuBoard(board, chip_program(board), folder) as node:
        wire = Wire(node.port)
        wire.deploy(make_image(first.node, NODE_ID, period_us=PERIOD_US))
        wire.packets(FIRST)  # the cable begins behind a whole frame
        wire.close()
        cable = BadCable(node.port, folder / "tty", asked.damage, asked.seed, asked.baud / BITS_PER_BYTE)
        try:
            run = _run(folder, asked, node, cable, fleet)
        finally:
            cable.close()
    return _judge(folder, asked, cable, **run)


def _run(folder: Path, asked: Asked, node: QemuBoard, cable: BadCable, fleet: Path) -> dict[str, Any]:
    """The soak itself: what was fed, what the node counted, what the daemon used."""
    managed, over, feeder = Managed(), threading.Event(), Feeder(node, cable, asked.seed)
    opener = partial(targets.opener_of, fleet, None, "n1")
    with Daemon(fleet, "--finish") as daemon:
        daemon.wait_for("reading")
        cable.start()
        manager = threading.Thread(target=_manage, args=(fleet, asked.manage_s, over, managed))
        manager.start()
        begun_s = time.monotonic()
        try:
            feeder.feed(begun_s + 60 * asked.minutes)
        finally:
            over.set()
            manager.join()
        node.recording.flush()
        _wait(feeder.heard_all)
        elapsed_s = time.monotonic() - begun_s
        counters = procedure.look(opener(), OPTIONS.attach_s, lambda device: device.counters())
        cable.stop()
        _wait(lambda: len(spooled(folder)) >= cable.to_host.counted.delivered + OPENING)
        assert daemon.stop(STOP_S) == 0, daemon.log
        usage = daemon.usage
    return {"codes": np.concatenate(feeder.parts), "counters": counters, "managed": managed, "elapsed_s": elapsed_s,
            "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}


def _wait(arrived: Callable[[], bool]) -> None:
    """For what must come, never for silence, which a busy machine makes too; what does not come fails the checks."""
    until_s = time.monotonic() + LAST_S
    while not arrived() and time.monotonic() < until_s:
        time.sleep(0.1)


def _recording(seed: int) -> Iterator[np.ndarray]:
    rng, level = np.random.default_rng(seed), 0.0
    while True:
        steps = np.cumsum(rng.normal(0, 3, 4096)) + level
        codes = steps.round().clip(-300, 300).astype(np.int16)
        level = float(codes[-1])
        yield codes


class Feeder:
    """Keeps the node in samples: so many ahead of what its packets say that it never waits for them."""

    def __init__(self, node: QemuBoard, cable: BadCable, seed: int) -> None:
        self._node, self._cable = node, cable
        self._recording = _recording(seed)
        self._frames, self._seen, self._sent, self._announced = FrameDecoder(), 0, 0, 0
        self.parts: list[np.ndarray] = []

    def feed(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            if sum(map(len, self.parts)) - self._sent < AHEAD_SAMPLES:
                self.parts.append(next(self._recording))
                self._node.recording.feed(self.parts[-1])
            else:
                time.sleep(0.05)
                self._count()

    def _count(self) -> None:
        new = bytes(self._cable.to_host.kept[self._seen :])
        self._seen += len(new)
        for raw in self._frames.feed_packets(new)[0]:
            if packet.peek(raw).type == TYPE_DATA:
                self._sent += PACKET_SAMPLES
            elif isinstance(hello := packet.parse_hello(raw), packet.Hello):
                self._announced = hello.sample_index

    def heard_all(self) -> bool:
        """Whether the hello has come that a flush puts behind the last sample."""
        self._count()
        return self._announced == sum(map(len, self.parts))


def _manage(fleet: Path, every_s: float, over: threading.Event, managed: Managed) -> None:
    """Look at the node, then give it the other model, and so on."""
    turn = 0
    while not over.wait(every_s):
        turn += 1
        try:
            if turn % 2:
                procedure.look(targets.opener_of(fleet, None, "n1"), OPTIONS.attach_s, lambda device: device.info())
                managed.outcomes["looked"] += 1
                continue
            (target,) = targets.of_fleet(fleet, None, models()[turn // 2 % 2], targets.Wanted())
            result = procedure.deploy(*target, OPTIONS, Quiet())
            managed.outcomes[result.outcome] += 1
            managed.problems += [result.detail] if result.exit_code else []
        except EdgeWzError as error:
            managed.outcomes["not answered"] += 1
            managed.problems.append(str(error))


# -- the verdict


def _judge(
    folder: Path, asked: Asked, cable: BadCable, codes: np.ndarray, counters: dict[str, int], managed: Managed, **measured: float
) -> dict[str, Any]:
    sent = FrameDecoder().feed(cable.sent)
    packets = [frame.payload for frame in sent if frame.status is FrameStatus.OK]
    delivered = spooled(folder)
    arrived = [frame.payload for frame in FrameDecoder().feed(delivered) if frame.status is FrameStatus.OK]
    known = set(packets)
    intact = [raw for raw in arrived if raw in known]
    encoded = _encoded(packets, codes)
    replay = replayed(folder / "fleet.toml")
    with sqlite3.connect(folder / "store.sqlite") as db:
        (books,) = [json.loads(text) for (text,) in db.execute("SELECT statistics FROM nodes")]
        (link,) = [json.loads(text) for (text,) in db.execute("SELECT statistics FROM links")]
        db.execute("ATTACH ? AS replayed", (str(replay),))
        rows, low, high = db.execute("SELECT count(*), min(sample_index), max(sample_index) FROM samples").fetchone()
        differ = db.execute("SELECT count(*) FROM (SELECT * FROM samples EXCEPT SELECT * FROM replayed.samples)").fetchone()[0]
        replay_rows = db.execute("SELECT count(*) FROM replayed.samples").fetchone()[0]
        concealed = db.execute("SELECT count(*) FROM samples WHERE flags & 2").fetchone()[0]
    fates = {name: link[f"{name}_bytes"] for name in ("good", "bad", "discarded", "console", "pending")}
    decoded = PACKET_SAMPLES * len({raw for raw in intact if packet.peek(raw).type == TYPE_DATA})
    wire = cable.to_host.counted
    checks = {
        "sent = what numba's encoder makes": packets == encoded[FIRST:],
        "the node sent frames and answers alone": all(frame.status is FrameStatus.OK for frame in sent),
        "the node took all samples, lost no packet": (counters["samples"], counters["lost_packets"]) == (len(codes), 0),
        "taken = delivered + dropped": wire.taken == len(cable.sent) == wire.delivered + wire.dropped,
        "delivered and one zero of the daemon's own = fed = spooled": wire.delivered + OPENING == link["fed_bytes"] == len(delivered),
        "fed = good + bad + discarded + console + pending": link["fed_bytes"] == sum(fates.values()),
        "expected = decoded + concealed": books["samples_expected"] == books["samples_decoded"] + books["samples_concealed"],
        "a row for each, none twice": rows == high - low + 1 == books["samples_expected"] and concealed == books["samples_concealed"],
        "replay gives the same bits": not differ and replay_rows == rows,
        "management answered": managed.outcomes["looked"] > 0 and managed.outcomes["deployed"] > 0,
    }
    return {
        **asdict(asked), **measured, "samples": len(codes), "packets": len(packets), "bytes_per_s": wire.taken / measured["elapsed_s"],
        "unaccounted_bytes": abs(wire.taken - wire.delivered - wire.dropped) + abs(wire.delivered + OPENING - sum(fates.values())),
        **{f"to_host_{name}": value for name, value in asdict(wire).items()},
        **{f"to_node_{name}": value for name, value in asdict(cable.to_node.counted).items()},
        **{f"{name}_bytes": value for name, value in fates.items()}, "packets_intact": len(intact),
        "frames_damaged_unseen": len(arrived) - len(intact), "refused": books["refused"], "node_bad_lines": counters["bad_lines"],
        "samples_expected": books["samples_expected"], "samples_decoded": books["samples_decoded"], "samples_concealed": concealed,
        "samples_of_intact_packets": decoded, "managed": dict(managed.outcomes), "problems": managed.problems, "checks": checks,
    }


def _encoded(packets: list[bytes], codes: np.ndarray) -> list[bytes]:
    """What numba makes of the recording when the model changes where the node's hellos say."""
    by_id = {model.node.model_id: model.node for model in models()}
    running, at = models()[0].node, 0
    encoder = NodeEncoder(running, NODE_ID, period_us=PERIOD_US)
    made: list[bytes] = []
    for raw in packets:
        hello = packet.parse_hello(raw) if packet.peek(raw).type == TYPE_HELLO else None
        if isinstance(hello, packet.Hello) and hello.model_id != running.model_id:
            made += encoder.encode(codes[at : hello.sample_index])
            running, at = by_id[hello.model_id], hello.sample_index
            made += encoder.switch_model(running)
    return made + encoder.encode(codes[at:]) + encoder.flush()


def _shown(result: dict[str, Any]) -> str:
    lines = []
    for key, value in result.items():
        if key == "checks":
            lines += [f"  {check:<60} {'yes' if holds else 'NO':>10}" for check, holds in value.items()]
        else:
            lines.append(f"  {key.replace('_', ' '):<60} {f'{value:.1f}' if isinstance(value, float) and value > 1 else value!s:>10}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
