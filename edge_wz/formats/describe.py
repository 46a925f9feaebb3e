"""Any of the formats, field by field, with the bits each field costs: what `edge-wz inspect` shows.

Unlike the parsers this looks at what is there, sound or not, and says what is wrong in a row of its own. Values are
plain numbers and strings, for tables and for JSON alike. Payloads, which need the codec, are opened in the command.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_wz.formats import bundle, capture, packet
from edge_wz.formats.framing import Frame, FrameDecoder, FrameStatus
from edge_wz.formats.layout import EXT_ABSENT, EXT_SHORT, HELLO_BYTES, TYPE_DATA, TYPE_HELLO
from edge_wz.formats.rows import Row, Section
from edge_wz.formats.sections import SECTIONS
from edge_wz.model import Model, NodeModel

TYPE_NAMES = ("data", "hello", "refinement", "control (reserved)")


# ------------------------------------------------------------------------------------------------- packets


def looks_shared(raw: bytes) -> bool:
    """Whether a packet of unknown origin begins with a node id; a guess, as a link says so and a packet does not."""
    node_id, offset = packet.split_node_id(raw)
    if node_id >= 0 and isinstance(packet.parse_hello(raw, offset), packet.Hello):
        return True
    if isinstance(packet.parse_hello(raw), packet.Hello):
        return False
    return packet.refusal(raw, 0, packet.peek(raw)) is not None and node_id >= 0


def describe_packet(raw: bytes, shared: bool, packet_samples: int | None = None) -> Section:
    """`packet_samples`: N of the model; without it the bitmap of a full packet cannot be told from the payload."""
    rows: list[Row] = []
    offset = 0
    if shared:
        node_id, offset = packet.split_node_id(raw)
        rows.append(Row("node id", node_id, 8 * offset) if offset else Row("node id", raw[:2].hex(), None, "malformed"))
    header = packet.peek(raw, offset)
    if len(raw) < offset + 2:
        return Section("packet", (*rows, Row("rest", raw[offset:].hex(), 8 * (len(raw) - offset), "too short")))
    rows += [
        Row("version", header.version, 2), Row("type", header.type, 2, TYPE_NAMES[header.type]),
        Row("rate point", header.rate_point, 3), Row("sequence", header.sequence, 8),
        Row("extension", header.extension, 1),
    ]
    refused = packet.refusal(raw, offset, header)
    if refused is not None:
        rows.append(Row("rest", raw[offset + 2 :].hex(), 8 * (len(raw) - offset - 2), refused.value))
    elif header.type == TYPE_HELLO:
        rows += _hello_rows(raw, offset)
    else:
        rows += _data_rows(raw, offset, header, packet_samples)
    return Section(f"{TYPE_NAMES[header.type]} packet, {len(raw)} bytes", tuple(rows))


def _hello_rows(raw: bytes, offset: int) -> list[Row]:
    if len(raw) < offset + HELLO_BYTES:
        return [Row("rest", raw[offset + 2 :].hex(), 8 * (len(raw) - offset - 2), "too short for a hello")]
    fields = (("node id", 2), ("boot epoch", 2), ("model id", 8), ("packet counter", 4), ("sample index", 6),
              ("period", 5), ("start", 6), ("check", 4))
    notes = {"period": "us", "start": "Unix time, ms; 0 = no clock"}
    rows, at = [], offset + 2
    for name, size in fields:
        piece = raw[at : at + size]
        value = piece.hex() if name in ("model id", "check") else int.from_bytes(piece, "big")
        rows.append(Row(name, value, 8 * size, notes.get(name, "")))
        at += size
    hello = packet.parse_hello(raw, offset)
    verdict = "holds" if isinstance(hello, packet.Hello) else hello.value
    return [*rows[:-1], Row("check", rows[-1].value, rows[-1].bits, verdict)]


def _data_rows(raw: bytes, offset: int, header: packet.Header, packet_samples: int | None) -> list[Row]:
    if len(raw) < offset + 4:
        return [Row("rest", raw[offset + 2 :].hex(), 8 * (len(raw) - offset - 2), "too short for a data packet")]
    rows: list[Row] = []
    payload = raw[offset + 2 : -2]
    if header.extension:
        rows, payload = _extension_rows(payload, packet_samples)
    rows.append(Row("payload", payload.hex(), 8 * len(payload)))
    rows.append(Row("check", raw[-2:].hex(), 16, "covers the context too: needs the hello before it"))
    return rows


def _extension_rows(rest: bytes, packet_samples: int | None) -> tuple[list[Row], bytes]:
    """Rows of the extension section, and what lies behind it."""
    flags = rest[0] if rest else 0
    names = [name for bit, name in ((EXT_SHORT, "short"), (EXT_ABSENT, "absent")) if flags & bit]
    rows = [Row("extension flags", flags, 8, ", ".join(names) or "malformed")]
    slots, at = packet_samples, 1
    if flags & EXT_SHORT:
        slots = int.from_bytes(rest[1:3], "big")
        rows.append(Row("count", slots, 16, "sample slots"))
        at = 3
    if flags & EXT_ABSENT and slots is None:
        rows.append(Row("absent", "", None, "as long as the model's packet: give the model"))
    elif flags & EXT_ABSENT and slots is not None:
        size = (slots + 7) // 8
        rows.append(Row("absent", rest[at : at + size].hex(), 8 * size, f"1 = no sample, {slots} slots"))
        at += size
    return rows, rest[at:]


def describe_frame(frame: Frame) -> Section:
    title = f"frame, {frame.wire_bytes} bytes"
    if frame.status is not FrameStatus.OK:
        return Section(title, (Row(frame.status.value, frame.payload.hex(), 8 * frame.wire_bytes),))
    codes = frame.wire_bytes - len(frame.payload) - 1
    return Section(title, (
        Row("COBS codes", codes, 8 * codes, "bytes"), Row("packet", frame.payload.hex(), 8 * len(frame.payload)),
        Row("delimiter", "00", 8),
    ))


# ------------------------------------------------------------------------------------------------- blob and bundle


def describe_blob(node: NodeModel) -> list[Section]:
    head = Section(
        f"node blob, {len(node.blob)} bytes",
        (
            Row("magic", node.blob[:4].decode(), 32), Row("version", node.blob[4], 8),
            Row("scheme", node.blob[5], 8, node.scheme), Row("rate points", len(node.rate_points), 8),
            Row("level check bits", node.level_check_bits, 8), Row("packet samples", node.packet_samples, 16),
            Row("hello every", node.hello_every, 16, "data packets"), Row("total bytes", len(node.blob), 32),
            Row("scale", node.scale, 64, "sensor units per LSB"), Row("offset", node.offset, 64, "sensor units"),
            *SECTIONS[node.scheme].describe(node),
            Row("check", node.blob[-4:].hex(), 32, "CRC-32, holds"),
            Row("model id", node.model_id.hex(), None, "SHA-256 of the blob, first 8 bytes"),
        ),
    )
    return [head, *SECTIONS[node.scheme].describe_points(node)]


def describe_bundle(model: Model, members: dict[str, bytes], file_bytes: int) -> list[Section]:
    inside = [Row(name, len(data), 8 * len(data), "bytes, unpacked") for name, data in members.items()]
    about = [
        Row("name", model.name), Row("model id", model.model_id.hex()), Row("scheme", model.node.scheme),
        Row("decoder", model.decoder), Row("source", model.source), Row("side", " ".join(model.side)),
        Row("unit", model.unit), Row("period", model.period_s, None, "s"),
        Row("max error", model.max_error, None, model.unit),
    ]
    for part in bundle.PARTS:
        held = getattr(model, part) is not None
        about.append(Row(part.replace("_", " "), "yes" if held else "no"))
    facts = [Row(f"measured {name}", value) for name, value in sorted(model.measured.items())]
    facts += [Row(f"provenance {name}", value) for name, value in sorted(model.provenance.items())]
    return [
        Section(f"bundle, {file_bytes} bytes", tuple(inside)), Section("manifest", tuple(about + facts)),
        *describe_blob(model.node),
    ]


# ------------------------------------------------------------------------------------------------- capture


@dataclass
class LinkTotals:
    name: str
    node_id: int | None
    decoder: FrameDecoder = field(default_factory=FrameDecoder)
    records: int = 0
    bytes: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def describe_capture(
    reader: capture.CaptureReader, first: int, framed: bool = True
) -> tuple[list[Section], list[tuple[int | None, Frame]]]:
    """Sections, and the first frames with the node addressed by their link. `framed`: the links carry COBS frames."""
    links: dict[int, LinkTotals] = {}
    shown: list[Row] = []
    frames: list[tuple[int | None, Frame]] = []
    times_us: list[int] = []
    for record in reader:
        times_us[1:] = [record.time_us]
        if isinstance(record, capture.LinkRecord):
            links.setdefault(record.link, LinkTotals(record.name, record.node_id))
            nodes = "shared" if record.node_id is None else f"node {record.node_id}"
            row = Row("link", f"link {record.link}", None, f"{record.name}, {nodes}")
        else:
            _count_data(links[record.link], record.data, framed, frames, first)
            row = Row("data", f"link {record.link}", 8 * len(record.data), record.data[:24].hex())
        if len(shown) < first:
            shown.append(Row(f"{row.field} at {record.time_us} us", row.value, row.bits, row.note))
    return [_capture_head(reader, times_us), *_link_sections(links), Section("first records", tuple(shown))], frames


def _count_data(
    totals: LinkTotals, data: bytes, framed: bool, frames: list[tuple[int | None, Frame]], first: int
) -> None:
    totals.records += 1
    totals.bytes += len(data)
    arrived = totals.decoder.feed(data) if framed else [Frame(FrameStatus.OK, data, len(data))]
    for frame in arrived:
        totals.count(f"frames {frame.status.value}")
        if frame.status is FrameStatus.OK:
            totals.count(f"{packet_kind(frame.payload, totals.node_id)} packets")
        if len(frames) < first:
            frames.append((totals.node_id, frame))


def packet_kind(raw: bytes, addressed: int | None) -> str:
    offset = packet.split_node_id(raw)[1] if addressed is None else 0
    header = packet.peek(raw, offset)
    if packet.refusal(raw, offset, header) is not None:
        return "other"
    return "data" if header.type == TYPE_DATA else "hello"


def _capture_head(reader: capture.CaptureReader, times_us: list[int]) -> Section:
    rows = [
        Row("version", 1, 8), Row("start", reader.start, 64, "record bytes in earlier segments"),
        Row("end", reader.position, None, "position behind the last intact record"),
    ]
    if times_us:
        rows.append(Row("first record", times_us[0], None, "us"))
        rows.append(Row("duration", (times_us[-1] - times_us[0]) / 1e6, None, "s"))
    if reader.torn is not None:
        rows.append(Row("torn", reader.torn.byte, None, f"from this byte on: {reader.torn.reason}"))
    return Section("capture", tuple(rows))


def _link_sections(links: dict[int, LinkTotals]) -> Iterable[Section]:
    for number, totals in links.items():
        rows = [
            Row("name", totals.name), Row("addressed node", totals.node_id),
            Row("data records", totals.records), Row("bytes", totals.bytes, 8 * totals.bytes),
        ]
        rows += [Row(what, count) for what, count in sorted(totals.counts.items())]
        decoder = totals.decoder
        rows += [
            Row("bytes in good frames", decoder.good_bytes), Row("bytes in bad frames", decoder.bad_bytes),
            Row("bytes discarded", decoder.discarded_bytes), Row("bytes of answers", decoder.console_bytes),
            Row("bytes pending", decoder.pending_bytes),
        ] if decoder.fed_bytes else []
        yield Section(f"link {number}", tuple(rows))
