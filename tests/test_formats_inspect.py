"""`edge-wz inspect`: every format, as tables and as JSON; the bits of the fields add up to what was sent."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.cli.inspect import inspect
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.errors import EdgeWzError, FormatError, InputError
from edge_wz.formats import blob, bundle, capture, framing, packet
from edge_wz.formats.sections.predictive import escape_classes
from edge_wz.model import Model

DIRECT, STEP_Q8, ROUNDING_Q8 = 3, 512, 256
CDF = [*range(2 * DIRECT + escape_classes(STEP_Q8, ROUNDING_Q8, DIRECT) + 2), 1 << 10]
NESTED = blob.make_nested(8, 100, 4, 0.1, -3.0, [(8, 12, 2048, [4096]), (7, 12, 2048, [3000])])
PREDICTIVE = blob.make_predictive(
    8, 100, 0.1, 0.0, 2, [[0], [0, 4096], [0, 8192, -4096]], [1, 4], 2, 3, 10,
    [(STEP_Q8, ROUNDING_Q8, [(DIRECT, CDF)] * 5)],
)
CODES = (1000 * np.sin(np.arange(21) / 9)).astype(np.int16)
PRESENT = np.arange(21) % 5 != 3


def packets_of(node, node_id, shared=True, rate_point=0):
    encoder = NodeEncoder(node, node_id, period_us=1000, shared_link=shared, rate_point=rate_point)
    return encoder.encode(CODES, PRESENT) + encoder.flush()


def run(*arguments):
    result = CliRunner().invoke(inspect, [str(argument) for argument in arguments])
    if isinstance(result.exception, EdgeWzError):
        raise result.exception
    assert result.exception is None, result.exception
    return result.output


def as_json(*arguments):
    return json.loads(run(*arguments, "--json"))


def values(section):
    return {row["field"]: row["value"] for row in section["rows"]}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "nested.bin").write_bytes(NESTED.blob)
    (tmp_path / "predictive.bin").write_bytes(PREDICTIVE.blob)
    bundle.save(tmp_path / "m.ewz", Model(NESTED, "nearest", side=("y",), unit="°C", measured={"sqnr_db": 12.34}))
    return tmp_path


@pytest.mark.parametrize("name", ["nested.bin", "predictive.bin"])
def test_bits_of_a_blob_add_up(folder, name):
    shown = as_json(folder / name)
    assert shown["kind"] == "blob"
    assert shown["sections"][0]["bits"] == 8 * shown["bytes"]
    parts = {row["field"]: row["bits"] for row in shown["sections"][0]["rows"]}
    points = sum(section["bits"] for section in shown["sections"][1:])
    assert points == parts["all rate points"] + parts.get("cdfs", 0)


def test_a_bundle(folder):
    shown = as_json(folder / "m.ewz")
    assert shown["kind"] == "bundle"
    manifest = values(shown["sections"][1])
    assert manifest["model id"] == NESTED.model_id.hex() and manifest["measured sqnr_db"] == 12.34
    assert "°C" in run(folder / "m.ewz")


@pytest.mark.parametrize(("node", "name", "rate_point"), [
    (NESTED, "nested.bin", 0), (NESTED, "nested.bin", 1), (PREDICTIVE, "predictive.bin", 0),
])
@pytest.mark.parametrize("shared", [True, False])
def test_bits_of_every_packet_add_up(folder, node, name, rate_point, shared):
    link = "--shared" if shared else "--addressed"
    for raw in packets_of(node, 300, shared, rate_point):
        shown = as_json("--hex", raw.hex(), "--model", folder / name, link)
        assert shown["kind"] == "packet"
        whole, *payload = shown["sections"]
        assert whole["bits"] == 8 * len(raw)
        if payload:
            held = {row["field"]: row["bits"] for row in whole["rows"]}
            assert payload[0]["bits"] == pytest.approx(held["payload"])


def test_levels_shown_are_those_sent(folder):
    raw = packets_of(NESTED, 5)[1]
    shown = as_json("--hex", raw.hex(), "--model", folder / "nested.bin")
    bins = {int(field.split()[1]): value for field, value in values(shown["sections"][1]).items() if "bin " in field}
    expected = {i: (int(CODES[i]) + 32768) % 8 for i in range(8) if PRESENT[i]}
    assert bins == expected


def test_link_kind_is_guessed():
    for shared in (True, False):
        raw = packets_of(NESTED, 300, shared)[0]
        rows = as_json("--hex", raw.hex())["sections"][0]["rows"]
        assert [row["field"] for row in rows].count("node id") == 1 + shared


def test_frames_from_a_file(folder):
    packets = packets_of(NESTED, 5)
    path = folder / "frames"
    path.write_bytes(b"".join(map(framing.encode_frame, packets)))
    shown = as_json(path, "--model", folder / "m.ewz", "--first", 2)
    assert shown["kind"] == "frames"
    titles = [section["title"] for section in shown["sections"]]
    assert titles[0] == f"frame, {len(packets[0]) + 2} bytes" and titles[1].startswith("hello packet")
    assert titles[-1] == f"and {len(packets) - 2} more frames"
    assert shown["sections"][0]["bits"] == 8 * (len(packets[0]) + 2)


def test_hexadecimal_file(folder):
    path = folder / "packet.hex"
    path.write_text(packets_of(NESTED, 5)[0].hex(" ") + "\n")
    assert as_json(path)["sections"][0]["title"] == "hello packet, 40 bytes"


def test_a_torn_capture(folder):
    packets = packets_of(NESTED, 5) + packets_of(PREDICTIVE, 300)
    segment = capture.pack_header(7) + capture.pack_link(0, "pty0", None, 5)
    for i, raw in enumerate(packets):
        segment += capture.pack_data(0, framing.encode_frame(raw), 10 + i)
    path = folder / "capture"
    path.write_bytes(segment[:-3])
    shown = as_json(path, "--model", folder / "m.ewz")
    head, link = (values(section) for section in shown["sections"][:2])
    assert shown["kind"] == "capture" and head["start"] == 7 and "torn" in head
    assert link["frames ok"] == len(packets) - 1 and link["hello packets"] + link["data packets"] == len(packets) - 1
    assert link["bytes"] == link["bytes in good frames"]
    assert "torn" in run(path)


def test_a_damaged_packet_is_shown_and_named():
    raw = bytearray(packets_of(NESTED, 5, shared=False)[0])
    raw[10] ^= 1
    assert "check does not hold" in run("--hex", raw.hex(), "--addressed")
    assert "reserved packet type" in run("--hex", "7000", "--addressed")


def test_any_packet_bytes_are_shown(folder):
    rng = np.random.default_rng(3)
    for size in range(1, 60):
        raw = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
        for start in (b"", b"\x40", b"\x40\x01", b"\x50\x00", b"\x05\x40\x01"):
            run("--hex", (start + raw).hex(), "--model", folder / "nested.bin", "--json")


def test_tables_align(folder):
    lines = [line for line in run(folder / "nested.bin").splitlines() if "│" in line]
    blocks = {line.index("│") for line in lines}
    assert len(blocks) == 2  # one column edge in the head, one in the rate points


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ([], InputError, "either FILE or --hex"),
    (["nowhere"], InputError, "nowhere: cannot be read: No such file"),
    (["--hex", "4x"], InputError, "not pairs of hexadecimal digits"),
    (["--hex", ""], InputError, "empty"),
])
def test_mistakes_are_one_line(arguments, error, message):
    with pytest.raises(error, match=message):
        run(*arguments)


def test_damaged_files_are_typed(folder):
    for name in ("nested.bin", "m.ewz"):
        data = (folder / name).read_bytes()
        (folder / "cut").write_bytes(data[:-1])
        with pytest.raises(FormatError, match="cut: "):
            run(folder / "cut")


def test_a_model_without_the_rate_point_says_so(folder):
    raw = packet.pack_payload(b"abc", 7, 0, 0)
    assert "no rate point 7" in run("--hex", raw.hex(), "--addressed", "--model", folder / "nested.bin")
