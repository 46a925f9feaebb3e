"""A whole fleet through a live daemon: every sample that was announced is there once, every byte is accounted for.

200 nodes (every third decoded beside two others) encode, a seeded channel loses, duplicates and reorders their packets
and adds line noise, and `edge-wz serve` reads them from one shared link: a pseudo terminal or TCP. What the daemon must
make of it is worked out here from the list of what was delivered, independently of the gateway:

    expected    from the first to the last sample that any delivered packet or hello of a node speaks of
    decoded     the samples of its delivered data packets, each once
    concealed   the rest; what no delivered packet speaks of is lost unnoticed ("unannounced")

    python benchmarks/fleet_soak.py [--link pty,tcp] [--nodes 200] [--samples 3600] [--loss 0.05] [--json]

Exit code 1 if any check fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cobs import cobs

sys.path.insert(0, str(Path(__file__).parent.parent))

from edge_wz.formats import bundle, packet
from edge_wz.formats.layout import TYPE_HELLO
from firmware_sim import simulate
from firmware_sim.channel import ChannelSpec, Delivery
from firmware_sim.fleet import Member, RunSpec, deal, fleet_toml
from firmware_sim.links import Link, PtyLink, TcpLink
from tests.daemon_driver import Daemon, run
from tests.fleet_models import nested_model

PACKET_SAMPLES = 32
START_MS = 1_767_225_600_000
NOISE = 0.001  # bursts of line noise per delivery
STOP_TIMEOUT_S = 900
PEAK_MIB = 512  # what the daemon may take; the hour of samples that comes at once is all within the revise window


@dataclass(frozen=True)
class Account:
    """What the channel let through of one node, in samples; `duplicates` in data packets."""

    taken: int
    expected: int
    decoded: int
    duplicates: int

    @property
    def concealed(self) -> int:
        return self.expected - self.decoded


def main() -> None:
    asked = _arguments()
    measured = []
    for link in asked.link.split(","):
        with tempfile.TemporaryDirectory() as folder:
            measured.append(soak(asked.keep or Path(folder), link, asked))
            if not asked.json:
                show(measured[-1])
    if asked.json:
        print(json.dumps(measured))
    sys.exit(0 if all(all(one["checks"].values()) for one in measured) else 1)


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--link", default="pty,tcp")
    for name, default in (("nodes", 200), ("samples", 3600), ("seed", 1)):
        options.add_argument(f"--{name}", type=int, default=default)
    for name, portion in (("loss", 0.05), ("duplicate", 0.01), ("reorder", 0.02), ("pace", 0.0)):
        options.add_argument(f"--{name}", type=float, default=portion)
    options.add_argument("--json", action="store_true")
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty folder for spool and stores (one link)")
    return options.parse_args()


def soak(folder: Path, kind: str, asked: argparse.Namespace) -> dict[str, Any]:
    members = fleet_members(folder, asked.nodes)
    names = [member.name for member in members]
    samples = simulate.true_samples(names, names, simulate.SourceSpec("field", asked.samples, asked.seed))
    channel = ChannelSpec(asked.loss, 1.0, asked.duplicate, asked.reorder, jitter_us=200_000)
    on_air = simulate.transmit(members, samples, RunSpec(START_MS), channel, asked.seed)
    accounts = {m.node_id: account(m, on_air, asked.samples) for m in members}
    deliveries, noise_bytes = with_noise(on_air.deliveries, np.random.default_rng(asked.seed))
    served = serve(folder, kind, members, deliveries, asked.pace)
    begun_s = time.monotonic()
    done = run("serve", "--fleet", str(folder / "fleet.toml"), "--replay", str(folder / "spool"), "--store",
               str(folder / "replayed.sqlite"), timeout=STOP_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    served["replay_s"] = time.monotonic() - begun_s
    return judge(folder, kind, accounts, served, noise_bytes, on_air.channel)


def fleet_members(folder: Path, nodes: int) -> tuple[Member, ...]:
    bundle.save(folder / "alone.ewz", nested_model(samples=PACKET_SAMPLES))
    bundle.save(folder / "beside.ewz", nested_model("y1", "y2", modulus=16, samples=PACKET_SAMPLES))
    return deal([folder / f"{name}.ewz" for name in ("alone", "alone", "beside")], nodes)


# -- what must come out


def account(member: Member, on_air: simulate.Run, taken: int) -> Account:
    spans = [_span(frame, member, taken) for frame in _numbered(on_air.sent[member.name].frames)]
    arrived = [one.sent for one in on_air.deliveries if one.node_id == member.node_id]
    known = [spans[sent] for sent in set(arrived)]
    if not any(first == last for first, last in known):
        return Account(taken, 0, 0, 0)  # without any hello nothing can be decoded
    data = [sent for sent in arrived if spans[sent][0] < spans[sent][1]]
    decoded = sum(spans[sent][1] - spans[sent][0] for sent in set(data))
    expected = max(last for _, last in known) - min(first for first, _ in known)
    return Account(taken, expected, decoded, len(data) - len(set(data)))


def _numbered(frames: Sequence[tuple[int, bytes]]) -> list[tuple[bytes, int]]:
    """(packet, how many data packets went before it)."""
    packets, before = [], 0
    for _, frame in frames:
        raw = cobs.decode(frame.strip(b"\0"))
        packets.append((raw, before))
        before += packet.peek(raw, packet.split_node_id(raw)[1]).type != TYPE_HELLO
    return packets


def _span(numbered: tuple[bytes, int], member: Member, taken: int) -> tuple[int, int]:
    """First and end of the samples a packet speaks of; a hello of where it stands."""
    raw, before = numbered
    first = min(before * member.model.node.packet_samples, taken)
    if packet.peek(raw, packet.split_node_id(raw)[1]).type == TYPE_HELLO:
        return first, first
    return first, min(first + member.model.node.packet_samples, taken)


def with_noise(deliveries: Sequence[Delivery], rng: np.random.Generator) -> tuple[list[Delivery], int]:
    """Noise between frames: bytes that are no frame, up to a delimiter."""
    out, added = [], 0
    for one in deliveries:
        if rng.random() < NOISE:
            noise = bytes(rng.integers(1, 256, int(rng.integers(1, 40)), dtype=np.uint8)) + b"\0"
            added += len(noise)
            out.append(replace(one, data=noise))
        out.append(one)
    return out, added


# -- the daemon


def serve(folder: Path, kind: str, members: Sequence[Member], deliveries: Sequence[Delivery],
          pace: float) -> dict[str, Any]:
    pty = PtyLink() if kind == "pty" else None
    url = f"serial://{pty.device}" if pty else "tcp-listen://127.0.0.1:0"
    fleet = folder / "fleet.toml"
    fleet.write_text(fleet_toml(members, url))
    with Daemon(fleet, "--finish") as daemon:
        link: Link = pty or TcpLink("127.0.0.1", daemon.port())
        if pty:
            pty.wait_for_reader()
        begun_s = time.monotonic()
        numbers = simulate.link_numbers(members, True)
        simulate.deliver(link, deliveries, numbers, pace)
        link.close()
        sent_s = time.monotonic() - begun_s
        assert daemon.stop(STOP_TIMEOUT_S) == 0, daemon.log
        usage = daemon.usage
    return {"link_bytes": link.bytes_written, "sent_s": sent_s, "served_s": time.monotonic() - begun_s,
            "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}


# -- the verdict


def judge(folder: Path, kind: str, accounts: dict[int, Account], served: dict[str, Any], noise_bytes: int,
          channel: simulate.ChannelCounters) -> dict[str, Any]:
    with sqlite3.connect(folder / "store.sqlite") as db:
        rows = dict(db.execute("SELECT node, count(*) FROM samples GROUP BY node"))
        spans = dict(db.execute("SELECT node, max(sample_index) - min(sample_index) + 1 FROM samples GROUP BY node"))
        concealed = dict(db.execute("SELECT node, sum((flags & 2) = 2) FROM samples GROUP BY node"))
        nodes = {node: json.loads(text) for node, text in db.execute("SELECT node, statistics FROM nodes")}
        (link,) = [json.loads(text) for (text,) in db.execute("SELECT statistics FROM links WHERE link = 0")]
        replaced = db.execute("SELECT count(*) FROM replaced").fetchone()[0]
    fates = ("good_bytes", "bad_bytes", "discarded_bytes", "console_bytes", "pending_bytes")
    checks = {
        "expected = decoded + concealed, each node": all(
            n["samples_expected"] == n["samples_decoded"] + n["samples_concealed"] for n in nodes.values()),
        "expected, decoded, duplicates as delivered": all(
            (nodes[node]["samples_expected"], nodes[node]["samples_decoded"], nodes[node]["duplicates"])
            == (a.expected, a.decoded, a.duplicates) for node, a in accounts.items()),
        "a row for each expected sample, none twice": all(
            rows.get(node, 0) == spans.get(node, 0) == a.expected for node, a in accounts.items()) and not replaced,
        "concealed rows as counted": all(concealed.get(node, 0) == a.concealed for node, a in accounts.items()),
        "good + bad + discarded + console + pending = fed": sum(link[fate] for fate in fates) == link["fed_bytes"],
        "fed = written, good = all but noise": link["fed_bytes"] - served["link_bytes"] in (0, 1)
        and link["good_bytes"] == served["link_bytes"] - noise_bytes,
        f"peak memory below {PEAK_MIB} MiB": served["peak_mib"] < PEAK_MIB,
        "replay gives the same bits": digest(folder / "store.sqlite") == digest(folder / "replayed.sqlite"),
    }
    total = {key: sum(getattr(a, key) for a in accounts.values())
             for key in ("taken", "expected", "decoded", "concealed", "duplicates")}
    return {
        "link": kind, "nodes": len(accounts), **total, "unannounced": total["taken"] - total["expected"],
        "rows": sum(rows.values()), "packets_lost": channel.lost, "reordered": channel.reordered, **link, **served,
        "noise_bytes": noise_bytes, "live_samples_per_s": round(total["expected"] / served["served_s"]),
        "replay_samples_per_s": round(total["expected"] / served["replay_s"]), "checks": checks,
    }


def digest(store: Path) -> str:
    """Of every field of every row, bit by bit."""
    read = hashlib.sha256()
    with sqlite3.connect(store) as db:
        cursor = db.execute("SELECT * FROM samples ORDER BY node, boot_epoch, sample_index")
        while rows := cursor.fetchmany(20_000):
            read.update(np.array(rows, dtype=np.float64).tobytes())
    return read.hexdigest()


def show(result: dict[str, Any]) -> None:
    print(f"{result['nodes']} nodes over one shared {result['link']}")
    keys = ("taken", "unannounced", "expected", "decoded", "concealed", "rows", "duplicates", "packets_lost",
            "reordered", "fed_bytes", "good_bytes", "bad_bytes", "discarded_bytes", "pending_bytes", "noise_bytes",
            "live_samples_per_s", "replay_samples_per_s")
    for key in keys:
        print(f"  {key.replace('_', ' '):<42} {result[key]:>10}")
    for key in ("sent_s", "served_s", "cpu_s", "replay_s", "peak_mib"):
        print(f"  {key.replace('_', ' '):<42} {result[key]:>10.1f}")
    for check, holds in result["checks"].items():
        print(f"  {check:<42} {'yes' if holds else 'NO':>10}", flush=True)


if __name__ == "__main__":
    main()
