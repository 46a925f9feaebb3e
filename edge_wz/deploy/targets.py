"""Which nodes, by which byte path: one port, or the nodes of a fleet file, lent by the daemon where one runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge_wz.deploy.link import Link, borrow, daemon_status, open_port
from edge_wz.deploy.procedure import Opener, Order
from edge_wz.errors import DeployError, InputError, LinkError
from edge_wz.gateway import config as fleet_file
from edge_wz.gateway.config import DaemonConfig, LinkSource
from edge_wz.gateway.fleet import NodeSpec
from edge_wz.model import Model

Target = tuple[Opener, Order]


@dataclass(frozen=True)
class Wanted:
    """`select`: names, () for all."""

    select: tuple[str, ...] = ()
    only_outdated: bool = False
    force: bool = False


def of_port(
    port: str, baud: int, model: Model, node_id: int | None, shared_link: bool, period_us: int | None
) -> Target:
    return partial(open_port, port, baud), Order(model, "", node_id, True, shared_link, period_us)


def of_fleet(path: Path, control: Path | None, model: Model | None, wanted: Wanted) -> list[Target]:
    """`model`: in place of the ones that the file names; the file must know it, so that the gateway can decode it."""
    config = fleet_file.load(path)
    chosen = _selected(config, wanted.select)
    if model is not None and model.model_id not in config.models:
        raise InputError(f"{path}: has no bundle with model id {model.model_id.hex()}: name it in a [[model]] or at its node")
    socket = control or config.control
    status = daemon_status(socket)
    if control is not None and status is None:
        raise LinkError(f"{control}: no daemon answers there")
    found = []
    for node in chosen:
        wish = model or node.model
        if status is not None and not wanted.force:
            _check_known(status, wish, node)
            if wanted.only_outdated and status["running"].get(str(node.node_id)) == wish.model_id.hex():
                continue
        found.append(_target(config, node, wish, socket if status is not None else None))
    return found


def opener_of(path: Path, control: Path | None, select: str) -> Opener:
    """The byte path of one node of a fleet."""
    config = fleet_file.load(path)
    (node,) = _selected(config, (select,))
    socket = control or config.control
    return _target(config, node, node.model, socket if daemon_status(socket) is not None else None)[0]


def _selected(config: DaemonConfig, names: tuple[str, ...]) -> list[NodeSpec]:
    """In the order of the fleet: neighbours first, so that users of a node never wait for one under deploy."""
    by_name = {node.name: node for node in config.fleet.nodes}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InputError(f"{config.path}: no node {unknown[0]!r} (there are {', '.join(by_name)})")
    nodes = [config.fleet.node(node_id) for node_id in config.fleet.order]
    return [node for node in nodes if not names or node.name in names]


def _check_known(status: Mapping[str, Any], model: Model, node: NodeSpec) -> None:
    if model.model_id.hex() not in status["models"]:
        raise DeployError(
            f"{node.name}: the running daemon has no bundle with model id {model.model_id.hex()}: restart it with the changed fleet"
            " file, or its packets wait (--force to send it nevertheless)"
        )


def _target(config: DaemonConfig, node: NodeSpec, model: Model, socket: Path | None) -> Target:
    source = _source_of(config, node)
    link = source.links[0]
    order = Order(model, node.name, node.node_id, False, link.shared)
    if socket is not None:
        wanted = {"link": link.name} if len(source.links) == 1 else {"node": node.node_id}
        return partial(_borrowed, socket, wanted), order
    endpoint = source.endpoint
    if endpoint.kind == "serial":
        return partial(open_port, endpoint.path, endpoint.baud), order
    if endpoint.kind == "tcp":
        return partial(open_port, endpoint.url), order
    raise InputError(f"{config.path}: link {source.name}: {endpoint.url}: only a running daemon can reach its nodes")


def _borrowed(socket: Path, wanted: dict[str, Any]) -> Link:
    return borrow(socket, **wanted)


def _source_of(config: DaemonConfig, node: NodeSpec) -> LinkSource:
    """Its own link, else the shared one."""
    own = [source for source in config.sources if source.links[0].node_id == node.node_id]
    shared = [source for source in config.sources if source.links[0].shared]
    if not own and len(shared) != 1:
        raise InputError(f"{config.path}: node {node.name} may be on any of {len(shared)} shared links: use --port")
    return (own or shared)[0]
