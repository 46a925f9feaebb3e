"""The fleet as data: which nodes, on which links, who is whose neighbour, how long to wait.

Frozen and checked when made, so that the pipeline need not ask: an unknown neighbour and a cycle cannot exist. Reading
`fleet.toml` is `gateway.config`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from edge_wz.errors import ConfigError
from edge_wz.formats.layout import MAX_NODE_ID
from edge_wz.model import Model

FRAMINGS = ("cobs", "packet")


@dataclass(frozen=True, eq=False)
class NodeSpec:
    """`side`: node ids of the neighbours in the order of `model.side`. `unit` defaults to the model's."""

    node_id: int
    name: str
    model: Model
    side: tuple[int, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class LinkSpec:
    """`shared`: packets begin with a node id; else `node_id` names the one node.

    framing `packet`: each feed is one packet.
    """

    link: int
    name: str
    shared: bool = True
    node_id: int | None = None
    framing: str = "cobs"


@dataclass(frozen=True, eq=False)
class Fleet:
    """Waits are at least 1 us, so that bytes of one time may come in any number of feeds."""

    nodes: tuple[NodeSpec, ...]
    links: tuple[LinkSpec, ...]
    reorder_wait_us: int = 2_000_000
    side_wait_us: int = 5_000_000
    revise_window_us: int = 60_000_000
    order: tuple[int, ...] = field(init=False)  # node ids, neighbours first
    users: Mapping[int, tuple[int, ...]] = field(init=False)  # node id -> nodes that use it
    level: Mapping[int, int] = field(init=False)  # node id -> one above its neighbours', from 0
    depth: int = field(init=False)  # the highest level

    def __post_init__(self) -> None:
        for wait in ("reorder_wait_us", "side_wait_us", "revise_window_us"):
            if getattr(self, wait) < 1:
                raise ConfigError(f"{wait}: must be at least 1 microsecond")
        by_id = _unique((node.node_id, node) for node in self.nodes)
        _check_nodes(by_id)
        _check_links(self.links, by_id)
        order = _topological(by_id)
        level = _levels(by_id, order)
        derived = {"order": order, "users": _users(by_id), "level": level, "depth": max(level.values(), default=0)}
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def node(self, node_id: int) -> NodeSpec:
        return next(node for node in self.nodes if node.node_id == node_id)


def _unique(pairs: Iterable[tuple[int, NodeSpec]]) -> dict[int, NodeSpec]:
    by_id: dict[int, NodeSpec] = {}
    for node_id, node in pairs:
        if node_id in by_id:
            raise ConfigError(f"node {node.name}: id {node_id} is also that of {by_id[node_id].name}")
        by_id[node_id] = node
    return by_id


def _check_nodes(by_id: Mapping[int, NodeSpec]) -> None:
    for node in by_id.values():
        if not 0 <= node.node_id <= MAX_NODE_ID:
            raise ConfigError(f"node {node.name}: id {node.node_id} is not in 0..{MAX_NODE_ID}")
        if len(node.side) != len(node.model.side):
            raise ConfigError(
                f"node {node.name}: side names {len(node.side)} neighbours, its model has {len(node.model.side)}"
            )
        for neighbour in node.side:
            if neighbour not in by_id:
                raise ConfigError(f"node {node.name}: side names the unknown node {neighbour}")


def _check_links(links: tuple[LinkSpec, ...], by_id: Mapping[int, NodeSpec]) -> None:
    numbers = [link.link for link in links]
    for link in links:
        if numbers.count(link.link) > 1:
            raise ConfigError(f"link {link.name}: number {link.link} is taken twice")
        if link.framing not in FRAMINGS:
            raise ConfigError(f"link {link.name}: framing {link.framing!r} is none of {', '.join(FRAMINGS)}")
        if not link.shared and link.node_id not in by_id:
            raise ConfigError(f"link {link.name}: addresses the unknown node {link.node_id}")


def _topological(by_id: Mapping[int, NodeSpec]) -> tuple[int, ...]:
    """Neighbours before those who use them; for the same fleet always the same order."""
    try:
        return tuple(TopologicalSorter({node_id: node.side for node_id, node in by_id.items()}).static_order())
    except CycleError as error:
        path = " -> ".join(by_id[node_id].name for node_id in error.args[1])
        raise ConfigError(f"side: nodes use each other in a cycle: {path}") from None


def _users(by_id: Mapping[int, NodeSpec]) -> dict[int, tuple[int, ...]]:
    users: dict[int, tuple[int, ...]] = {node_id: () for node_id in by_id}
    for node in by_id.values():
        for neighbour in dict.fromkeys(node.side):
            users[neighbour] += (node.node_id,)
    return users


def _levels(by_id: Mapping[int, NodeSpec], order: tuple[int, ...]) -> dict[int, int]:
    level: dict[int, int] = {}
    for node_id in order:
        level[node_id] = 1 + max((level[neighbour] for neighbour in by_id[node_id].side), default=-1)
    return level
