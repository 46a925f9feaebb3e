"""A fleet of simulated nodes: who they are, and what each puts on air when.

A member is what `fleet.toml` says of a node. `encode` runs the node encoder itself over a node's samples and dates each
packet by the sample that completes it, so nothing of the wire format is shortcut. Which encoder that is: `firmware_sim.backends`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edge_wz.codec.encoder import EncoderCounters
from edge_wz.errors import ConfigError, InputError
from edge_wz.formats import bundle, packet
from edge_wz.formats.layout import TYPE_DATA
from edge_wz.model import Model, NodeModel


@dataclass(frozen=True, eq=False)
class Member:
    """One node. `side`: names of the members that are its neighbours, in the order of `model.side`."""

    node_id: int
    name: str
    model: Model
    side: tuple[str, ...] = ()
    path: str = ""  # of the bundle

    @property
    def period_us(self) -> int:
        return round(self.model.period_s * 1e6)


@dataclass(frozen=True)
class RunSpec:
    """What all nodes of a run share. `start_ms`: Unix time of sample 0, 0 = nodes without a clock."""

    start_ms: int
    shared_link: bool = True
    boot_epoch: int = 0
    rate_point: int = 0
    layers: str = ""  # policy of all nodes of scheme `layered` (`edge_wz.codec.layer_policy.policy_of`); "": what the rate point says


@dataclass(frozen=True, eq=False)
class Transmission:
    """What one node sent: (time_us, frame) in order, times on the pipeline's clock."""

    frames: list[tuple[int, bytes]]
    counters: EncoderCounters
    clipped: int  # samples beyond int16
    backend: str = "numba"
    core: str = ""  # on which `instructions` were counted, "" = not
    instructions: np.ndarray | None = None  # of each packet, the first with the boot hello; the last of the flush


@dataclass(frozen=True, eq=False)
class Encoded:
    """Of a whole run: packets in order, the same as frames, and instructions of each packet where they were counted."""

    packets: list[bytes]
    frames: list[bytes]
    counters: EncoderCounters
    instructions: np.ndarray | None = None


class Backend(Protocol):
    """An encoder for one node after another. `core`: of whose instruction set it counts, "" = it does not."""

    @property
    def name(self) -> str: ...

    @property
    def core(self) -> str: ...

    def encode(
        self, member: Member, run: RunSpec, codes: np.ndarray, present: np.ndarray, advance: Callable[[int], None]
    ) -> Encoded: ...


def members_of(path: Path) -> tuple[Member, ...]:
    """The nodes of a fleet file."""
    from edge_wz.gateway.config import load

    specs = load(path).fleet.nodes
    names = {spec.node_id: spec.name for spec in specs}
    return tuple(Member(spec.node_id, spec.name, spec.model, tuple(names[k] for k in spec.side)) for spec in specs)


def deal(paths: Sequence[Path], nodes: int) -> tuple[Member, ...]:
    """`nodes` nodes n1, n2, ...; the bundles are dealt out in turn.

    Nodes of one round are a group: the neighbours of a node are the first ones of its group, which come before it.
    """
    models = [(str(path), bundle.load(path)) for path in paths]
    members: list[Member] = []
    for k in range(nodes):
        turn = k % len(models)
        path, model = models[turn]
        if len(model.side) > turn:
            raise InputError(
                f"{path}: uses {len(model.side)} neighbours ({', '.join(model.side)}), but only {turn} bundles are"
                " given before it; give theirs first, or --fleet"
            )
        side = tuple(member.name for member in members[k - turn : k - turn + len(model.side)])
        members.append(Member(k + 1, f"n{k + 1}", model, side, path))
    return tuple(members)


def fleet_toml(members: Sequence[Member], url: str) -> str:
    """A fleet file of these members on one shared link."""
    lines = ["[gateway]", 'store = "store.sqlite"', 'spool = "spool"', ""]
    lines += ["[[link]]", 'name = "shared"', f'url = "{url}"', "shared = true", ""]
    for member in members:
        side = ", ".join(f'"{name}"' for name in member.side)
        lines += ["[[node]]", f'name = "{member.name}"', f"id = {member.node_id}", f'model = "{member.path}"']
        lines += [f"side = [{side}]", ""]
    return "\n".join(lines)


def encode(
    member: Member, values: np.ndarray, run: RunSpec, backend: Backend, advance: Callable[[int], None]
) -> Transmission:
    """All samples of one node in sensor units (NaN = absent). `advance` is told how many samples are done."""
    if run.rate_point >= len(member.model.node.rate_points):
        raise ConfigError(f"node {member.name}: has no rate point {run.rate_point}")
    codes, present, clipped = to_codes(member.model.node, values)
    sent = backend.encode(member, run, codes, present, advance)
    return Transmission(_dated(sent, member, run, len(values)), sent.counters, clipped, backend.name, backend.core, sent.instructions)


def to_codes(node: NodeModel, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """(int16 codes, which are present, how many were clipped); NaN is an absent sample."""
    present = np.logical_not(np.isnan(values))
    codes, clipped = node.to_codes(np.where(present, values, node.offset))
    return codes, present, clipped


def _dated(sent: Encoded, member: Member, run: RunSpec, samples: int) -> list[tuple[int, bytes]]:
    """A data packet leaves with its last sample, a hello or a refinement right behind the packet before it."""
    slots = member.model.node.packet_samples
    header_at = len(packet.pack_node_id(member.node_id)) if run.shared_link else 0
    start_us = run.start_ms * 1000
    sent_samples = 0
    frames = []
    for raw, frame in zip(sent.packets, sent.frames, strict=True):
        if packet.peek(raw, header_at).type == TYPE_DATA:
            sent_samples = min(sent_samples + slots, samples)
        time_us = start_us + max(sent_samples - 1, 0) * member.period_us
        frames.append((time_us, frame))
    return frames


def addressed_links(members: Sequence[Member], shared: bool) -> list[tuple[str, int | None]]:
    """(name, addressed node or None) of each link of a run, by number."""
    return [("shared", None)] if shared else [(member.name, member.node_id) for member in members]


