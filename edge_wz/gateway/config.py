"""`fleet.toml` -> `Fleet` (what the pipeline decodes) and `DaemonConfig` (where bytes come from and samples go).

Everything is checked here, bundles included, so that the daemon never finds a mistake at run time. Paths are relative
to the file. Keys of `[gateway]` can be overridden by the environment: `EDGE_WZ_STORE`, `EDGE_WZ_SPOOL_LIMIT_MB`, ...
An annotated example is docs/fleet.example.toml.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edge_wz.codec.reconstruction import Decoder
from edge_wz.errors import ConfigError, FormatError, InputError
from edge_wz.formats import bundle
from edge_wz.formats.layout import MAX_NODE_ID
from edge_wz.gateway.fleet import Fleet, LinkSpec, NodeSpec
from edge_wz.gateway.tables import Table
from edge_wz.model import Model

DEFAULT_BAUD = 115200
DEFAULT_CLIENTS = 16
MAX_LINKS = 1 << 16
URL_FORMS = "serial:///dev/NAME?baud=N, tcp://HOST:PORT, tcp-listen://[HOST]:PORT, replay:FILE"
SINK_KINDS = ("jsonl",)
WAITS = ("side_wait_s", "reorder_wait_s", "revise_window_s")
NUMBERS = (*WAITS, "commit_every_s", "spool_limit_mb", "segment_mb")
OVERRIDES = ("store", "spool", "control", *NUMBERS)


@dataclass(frozen=True)
class Endpoint:
    """A parsed link URL. `kind`: serial | tcp | tcp-listen | replay; `path`: the device or the capture."""

    kind: str
    url: str
    path: str = ""
    host: str = ""
    port: int = 0
    baud: int = DEFAULT_BAUD


@dataclass(frozen=True)
class LinkSource:
    """Where the bytes of some links come from. `links`: one; for tcp-listen one per client at the same time."""

    name: str
    endpoint: Endpoint
    links: tuple[LinkSpec, ...]


@dataclass(frozen=True)
class SinkSpec:
    kind: str
    path: Path


@dataclass(frozen=True)
class DaemonConfig:
    """`control`: the socket through which a port is lent, `gateway.control`."""

    path: Path
    fleet: Fleet
    models: Mapping[bytes, Model]
    sources: tuple[LinkSource, ...]
    sinks: tuple[SinkSpec, ...]
    store: Path
    spool: Path
    control: Path
    spool_limit_bytes: int
    segment_bytes: int
    commit_every_s: float


def load(path: Path, environ: Mapping[str, str] = os.environ) -> DaemonConfig:
    """Read and check a fleet file. ConfigError names the file and the key path."""
    root = Table(_read_toml(path), str(path))
    gateway = Table(_with_overrides(root.table("gateway"), root, environ), str(path), "gateway")
    base = path.parent
    loaded: dict[Path, Model] = {}
    nodes = _nodes(root, base, loaded)
    sources = _sources(root, base, {node.name: node.node_id for node in nodes})
    for row in root.tables("model"):
        _model(row, "path", base, loaded)
        row.done()
    store = base / gateway.text("store", "store.sqlite")
    config = DaemonConfig(
        path=path,
        fleet=_fleet(path, nodes, tuple(link for source in sources for link in source.links), gateway),
        models={model.model_id: model for model in loaded.values()},
        sources=sources,
        sinks=_sinks(root, base),
        store=store,
        spool=base / gateway.text("spool", "spool"),
        control=base / gateway.text("control", str(store.with_suffix(".control").absolute())),
        spool_limit_bytes=int(gateway.number("spool_limit_mb", 1024) * 1e6),
        segment_bytes=int(gateway.number("segment_mb", 16) * 1e6),
        commit_every_s=gateway.number("commit_every_s", 0.1),
    )
    gateway.done()
    root.done()
    return config


def with_link_numbers(config: DaemonConfig, known: Mapping[str, int]) -> DaemonConfig:
    """The same links with the numbers they had before, by name; new ones take free numbers."""
    free = (number for number in range(MAX_LINKS) if number not in known.values())
    numbers = {link.name: known[link.name] if link.name in known else next(free) for link in config.fleet.links}

    def numbered(links: tuple[LinkSpec, ...]) -> tuple[LinkSpec, ...]:
        return tuple(replace(link, link=numbers[link.name]) for link in links)

    return replace(
        config,
        fleet=replace(config.fleet, links=numbered(config.fleet.links)),
        sources=tuple(replace(source, links=numbered(source.links)) for source in config.sources),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error


def _with_overrides(gateway: Table, root: Table, environ: Mapping[str, str]) -> dict[str, Any]:
    values = gateway.raw()
    for key in OVERRIDES:
        name = f"EDGE_WZ_{key.upper()}"
        if name in environ:
            values[key] = _override(root, name, key, environ[name])
    return values


def _override(root: Table, name: str, key: str, value: str) -> str | float:
    if key not in NUMBERS:
        return value
    try:
        return float(value)
    except ValueError:
        raise root.refuse(f"gateway.{key}", f"{name}={value!r} is not a number") from None


# -- nodes and models

def _nodes(root: Table, base: Path, loaded: dict[Path, Model]) -> tuple[NodeSpec, ...]:
    rows = root.tables("node")
    if not rows:
        raise root.refuse("node", "no [[node]] in the file")
    ids: dict[str, int] = {}
    for row in rows:
        name, node_id = row.text("name"), row.integer("id", low=0, high=MAX_NODE_ID)
        if name in ids:
            raise row.refuse("name", f"duplicate name {name!r}")
        if node_id in ids.values():
            raise row.refuse("id", f"duplicate id {node_id}")
        ids[name] = node_id
    return tuple(_node(row, base, loaded, ids) for row in rows)


def _node(row: Table, base: Path, loaded: dict[Path, Model], ids: Mapping[str, int]) -> NodeSpec:
    model = _model(row, "model", base, loaded)
    side = row.texts("side") if row.has("side") else model.side
    if len(side) != len(model.side):
        raise row.refuse("side", f"{len(side)} neighbours, but the bundle wants {len(model.side)}: {list(model.side)}")
    unknown = [neighbour for neighbour in side if neighbour not in ids]
    if unknown:
        raise row.refuse("side", f"unknown neighbour {unknown[0]!r}: no [[node]] has that name")
    name = row.text("name")
    spec = NodeSpec(node_id=ids[name], name=name, model=model, side=tuple(ids[neighbour] for neighbour in side),
                    unit=row.text("unit", model.unit))
    row.done()
    return spec


def _model(row: Table, key: str, base: Path, loaded: dict[Path, Model]) -> Model:
    path = base / row.text(key)
    if path not in loaded:
        try:
            loaded[path] = bundle.load(path)
            Decoder(loaded[path])  # or the daemon would find out when the first packet comes
        except (InputError, FormatError) as error:
            raise row.refuse(key, str(error)) from error
    return loaded[path]


def _fleet(path: Path, nodes: tuple[NodeSpec, ...], links: tuple[LinkSpec, ...], gateway: Table) -> Fleet:
    waits = {f"{key[:-2]}_us": round(gateway.number(key) * 1e6) for key in WAITS if gateway.has(key)}
    try:
        return Fleet(nodes=nodes, links=links, **waits)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


# -- links and sinks

def _sources(root: Table, base: Path, ids: Mapping[str, int]) -> tuple[LinkSource, ...]:
    rows = root.tables("link")
    if not rows:
        raise root.refuse("link", "no [[link]] in the file")
    sources: list[LinkSource] = []
    first = 0
    for row in rows:
        source = _source(row, base, ids, first)
        if source.name in [other.name for other in sources]:
            raise row.refuse("name", f"duplicate name {source.name!r}")
        first += len(source.links)
        sources.append(source)
    if first > MAX_LINKS:
        raise root.refuse("link", f"{first} links, at most {MAX_LINKS} have a number")
    kinds = {source.endpoint.kind == "replay" for source in sources}
    if len(kinds) > 1:
        raise root.refuse("link", "replay and live links cannot be mixed: their times are not comparable")
    return tuple(sources)


def _source(row: Table, base: Path, ids: Mapping[str, int], first: int) -> LinkSource:
    name = row.text("name")
    endpoint = _endpoint(row, base)
    shared = row.flag("shared", False)
    node_id = _link_node(row, ids, shared)
    clients = row.integer("clients", DEFAULT_CLIENTS, low=1, high=4096) if endpoint.kind == "tcp-listen" else 1
    row.done()
    links = tuple(
        LinkSpec(link=first + i, name=f"{name}#{i}" if i else name, shared=shared, node_id=node_id, framing="cobs")
        for i in range(clients)
    )
    return LinkSource(name, endpoint, links)


def _link_node(row: Table, ids: Mapping[str, int], shared: bool) -> int | None:
    if shared == row.has("node"):
        raise row.refuse("node", "a link is either shared = true or names its node")
    if shared:
        return None
    name = row.text("node")
    if name not in ids:
        raise row.refuse("node", f"unknown node {name!r}")
    return ids[name]


def _endpoint(row: Table, base: Path) -> Endpoint:
    url = row.text("url")
    parts = urlsplit(url)
    if parts.scheme == "serial":
        return _serial(row, url, parts.netloc + parts.path, parse_qs(parts.query, keep_blank_values=True))
    if parts.scheme == "replay":
        target = url.removeprefix("replay:").removeprefix("//")
        return Endpoint("replay", url, path=str(base / target))
    if parts.scheme in ("tcp", "tcp-listen"):
        return _tcp(row, url)
    raise row.refuse("url", f"{url!r} is none of {URL_FORMS}")


def _serial(row: Table, url: str, device: str, query: Mapping[str, list[str]]) -> Endpoint:
    if not device.startswith("/"):
        raise row.refuse("url", f"{url!r} names no device, e.g. serial:///dev/ttyUSB0?baud=115200")
    unknown = sorted(set(query) - {"baud"})
    baud = query.get("baud", [str(DEFAULT_BAUD)])[-1]
    if unknown or not baud.isdecimal() or int(baud) == 0:
        raise row.refuse("url", f"unknown option {unknown[0]!r}" if unknown else f"baud {baud!r} is not a number")
    return Endpoint("serial", url, path=device, baud=int(baud))


def _tcp(row: Table, url: str) -> Endpoint:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None or (parts.scheme == "tcp" and not parts.hostname) or parts.path not in ("", "/"):
        raise row.refuse("url", f"{url!r} is not {parts.scheme}://HOST:PORT")
    return Endpoint(parts.scheme, url, host=parts.hostname or "", port=port)


def _sinks(root: Table, base: Path) -> tuple[SinkSpec, ...]:
    sinks = []
    for row in root.tables("sink"):
        kind = row.text("kind")
        if kind not in SINK_KINDS:
            raise row.refuse("kind", f"{kind!r} is none of {', '.join(SINK_KINDS)}")
        sinks.append(SinkSpec(kind, base / row.text("path")))
        row.done()
    paths = [sink.path for sink in sinks]
    if len(set(paths)) < len(paths):
        raise root.refuse("sink", "two sinks write to the same path")
    return tuple(sinks)
