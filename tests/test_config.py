"""Fleet files: everything a user can get wrong is one line that names the file and the key."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edge_wz.errors import ConfigError
from edge_wz.formats import bundle
from edge_wz.formats.blob import make_nested
from edge_wz.gateway import config
from tests.fleet_models import nested_model

FLEET = """
[gateway]
store = "out/store.sqlite"
side_wait_s = 1.5
[[link]]
name = "radio"
url = "serial:///dev/ttyUSB0?baud=57600"
shared = true
[[link]]
name = "yard"
url = "tcp-listen://127.0.0.1:7071"
clients = 3
node = "b"
[[node]]
name = "a"
id = 1
model = "a.ewz"
[[node]]
name = "b"
id = 2
model = "b.ewz"
side = ["a"]
[[sink]]
kind = "jsonl"
path = "out.jsonl"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle.save(tmp_path / "a.ewz", nested_model())
    bundle.save(tmp_path / "b.ewz", nested_model("y", modulus=4))
    return tmp_path


def load(folder: Path, text: str, **environ: str) -> config.DaemonConfig:
    path = folder / "fleet.toml"
    path.write_text(text)
    return config.load(path, environ)


def test_all_of_a_file(folder: Path) -> None:
    loaded = load(folder, FLEET)
    assert loaded.store == folder / "out/store.sqlite" and loaded.spool == folder / "spool"
    assert loaded.fleet.side_wait_us == 1_500_000
    assert [(node.node_id, node.name, node.side, node.unit) for node in loaded.fleet.nodes] == [
        (1, "a", (), "V"), (2, "b", (1,), "V")]
    radio, yard = loaded.sources
    assert (radio.endpoint.kind, radio.endpoint.path, radio.endpoint.baud) == ("serial", "/dev/ttyUSB0", 57600)
    assert (yard.endpoint.host, yard.endpoint.port) == ("127.0.0.1", 7071)
    assert [(link.link, link.name, link.shared, link.node_id) for link in loaded.fleet.links] == [
        (0, "radio", True, None), (1, "yard", False, 2), (2, "yard#1", False, 2), (3, "yard#2", False, 2)]
    assert set(loaded.models) == {node.model.model_id for node in loaded.fleet.nodes}
    assert loaded.sinks == (config.SinkSpec("jsonl", folder / "out.jsonl"),)


def test_the_example_in_the_docs(folder: Path) -> None:
    for name, side in (("reference", ()), ("north", ("y",)), ("south", ("y1", "y2")), ("south_coarse", ("y1", "y2"))):
        bundle.save(folder / f"{name}.ewz", nested_model(*side))
    loaded = load(folder, (Path(__file__).parent.parent / "docs/fleet.example.toml").read_text())
    assert loaded.fleet.order[0] == 1


def test_environment_overrides_gateway_keys(folder: Path) -> None:
    loaded = load(folder, FLEET, EDGE_WZ_STORE="other.sqlite", EDGE_WZ_SPOOL_LIMIT_MB="2.5", EDGE_WZ_UNRELATED="x")
    assert loaded.store == folder / "other.sqlite" and loaded.spool_limit_bytes == 2_500_000
    with pytest.raises(ConfigError, match=r"gateway.side_wait_s: EDGE_WZ_SIDE_WAIT_S='soon' is not a number"):
        load(folder, FLEET, EDGE_WZ_SIDE_WAIT_S="soon")


@pytest.mark.parametrize(("old", "new", "complaint"), [
    ("side_wait_s", "side_wait", r"gateway.side_wait: unknown key \(did you mean side_wait_s\?\)"),
    ("[gateway]", "[gatway]", r"gatway: unknown key \(did you mean gateway\?\)"),
    ("1.5", '"long"', r"gateway.side_wait_s: must be a number, not 'long'"),
    ("1.5", "-1", r"gateway.side_wait_s: -1.0 is not a number >= 0"),
    ("1.5", "0", r"side_wait"),
    ("id = 2", "id = 1", r"node\[1\].id: duplicate id 1"),
    ("id = 2", "id = true", r"node\[1\].id: must be an integer, not True"),
    ("id = 2", "id = 40000", r"node\[1\].id: 40000 is not in 0..32767"),
    ("id = 2", "", r"node\[1\].id: missing"),
    ('name = "b"', 'name = "a"', r"node\[1\].name: duplicate name 'a'"),
    ('name = "yard"', 'name = "radio"', r"link\[1\].name: duplicate name 'radio'"),
    ('side = ["a"]', 'side = ["z"]', r"node\[1\].side: unknown neighbour 'z'"),
    ('side = ["a"]', "", r"node\[1\].side: unknown neighbour 'y'"),
    ('side = ["a"]', "side = []", r"node\[1\].side: 0 neighbours, but the bundle wants 1"),
    ('side = ["a"]', "side = [1]", r"node\[1\].side: must be a list of strings"),
    ('side = ["a"]', 'side = ["b"]', r"cycle: b -> b"),
    ('model = "b.ewz"', 'model = "c.ewz"', r"node\[1\].model: .*c.ewz.*No such file"),
    ('node = "b"', 'node = "z"', r"link\[1\].node: unknown node 'z'"),
    ('node = "b"', "", r"link\[1\].node: a link is either shared"),
    ("shared = true", 'shared = true\nnode = "a"', r"link\[0\].node: a link is either shared"),
    ("serial:///dev/ttyUSB0", "serial:ttyUSB0", r"link\[0\].url: .* names no device"),
    ("baud=57600", "baud=fast", r"link\[0\].url: baud 'fast' is not a number"),
    ("baud=57600", "parity=even", r"link\[0\].url: unknown option 'parity'"),
    ("tcp-listen://127.0.0.1:7071", "tcp-listen://127.0.0.1", r"link\[1\].url: .* is not tcp-listen://HOST:PORT"),
    ("tcp-listen://127.0.0.1:7071", "udp://127.0.0.1:1", r"link\[1\].url: .* is none of"),
    ("clients = 3", "clients = 0", r"link\[1\].clients: 0 is not in 1..4096"),
    ("tcp-listen://127.0.0.1:7071\"\nclients = 3", 'replay:x.wzcp"', r"link: replay and live links cannot be mixed"),
    ('kind = "jsonl"', 'kind = "xml"', r"sink\[0\].kind: 'xml' is none of jsonl"),
    ("[[sink]]", "[sink]", r"sink: must be an array of tables"),
    ("[gateway]", "[gateway", r"not a TOML file: .*line 2"),
])
def test_mistakes_are_named(folder: Path, old: str, new: str, complaint: str) -> None:
    assert FLEET.count(old) >= 1
    with pytest.raises(ConfigError, match=complaint) as caught:
        load(folder, FLEET.replace(old, new))
    assert str(caught.value).startswith(str(folder / "fleet.toml")) and "\n" not in str(caught.value)


def test_a_longer_cycle_is_drawn(folder: Path) -> None:
    bundle.save(folder / "a.ewz", nested_model("b"))
    with pytest.raises(ConfigError, match="cycle: (a -> b -> a|b -> a -> b)"):
        load(folder, FLEET)


def test_no_nodes_no_links_no_file(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"node: no \[\[node\]\]"):
        load(folder, "")
    with pytest.raises(ConfigError, match=r"link: no \[\[link\]\]"):
        load(folder, '[[node]]\nname="a"\nid=1\nmodel="a.ewz"\n')
    with pytest.raises(ConfigError, match="nowhere.toml: No such file"):
        config.load(folder / "nowhere.toml")


def test_a_broken_and_a_newer_bundle(folder: Path) -> None:
    whole = (folder / "b.ewz").read_bytes()
    (folder / "b.ewz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"node\[1\].model: .*b.ewz"):
        load(folder, FLEET)
    (folder / "b.ewz").write_bytes(whole)
    _raise_format(folder / "b.ewz")
    with pytest.raises(ConfigError, match=r"node\[1\].model: .*b.ewz.*2"):
        load(folder, FLEET)


def test_a_bundle_whose_decoder_cannot_be(folder: Path) -> None:
    filtered = make_nested(16, 20, 8, 0.01, 0.0, [(64, 12, 1 << 11, [256, 1])])
    bundle.save(folder / "c.ewz", replace(nested_model(), node=filtered))
    with pytest.raises(ConfigError, match=r"model\[0\].path: decoder kalman needs a node without filter"):
        load(folder, FLEET + '[[model]]\npath = "c.ewz"\n')


def _raise_format(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | {"format": 2}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_links_keep_their_numbers_when_others_come_and_go(folder: Path) -> None:
    known = {"gone": 0, "yard": 1, "yard#1": 2, "radio": 7}
    renumbered = config.with_link_numbers(load(folder, FLEET), known)
    numbers = {link.name: link.link for link in renumbered.fleet.links}
    assert numbers == {"radio": 7, "yard": 1, "yard#1": 2, "yard#2": 3}
    assert renumbered.sources[0].links[0].link == 7
