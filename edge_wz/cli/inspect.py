"""`edge-wz inspect`: what a file or a few hexadecimal digits are, field by field, with the bits each field costs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import click

from edge_wz.errors import FormatError, InputError
from edge_wz.formats import blob, bundle, capture, describe, packet
from edge_wz.formats.describe import Section
from edge_wz.formats.framing import FrameDecoder, FrameStatus
from edge_wz.formats.layout import BLOB_MAGIC, CAPTURE_MAGIC
from edge_wz.model import NodeModel

ZIP_MAGIC = b"PK"


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@click.option("--hex", "digits", help="A packet or frames as hexadecimal digits, instead of FILE.")
@click.option("--model", "model_path", type=click.Path(), help="Bundle or node blob that opens payloads.")
@click.option("--shared/--addressed", default=None, help="Whether packets begin with a node id. Default: guessed.")
@click.option("--first", default=8, show_default=True, help="Frames, and records of a capture, to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def inspect(
    file: str | None, digits: str | None, model_path: str | None, shared: bool | None, first: int, as_json: bool
) -> None:
    """Show a bundle, node blob, capture, packet or COBS frames field by field, with the bits each field costs."""
    data, where = _read(file, digits)
    node = None if model_path is None else _load_node(model_path)
    kind, sections = _describe(data, where, node, shared, first)
    if as_json:
        click.echo(json.dumps({"kind": kind, "bytes": len(data), "sections": [_as_json(s) for s in sections]}))
    else:
        _print(sections)


def _read(file: str | None, digits: str | None) -> tuple[bytes, str]:
    """The bytes, and what to call them in a message."""
    if (file is None) == (digits is None):
        raise InputError("inspect takes either FILE or --hex")
    if file is None:
        return _from_hex(digits or "", "--hex"), "--hex"
    data = _read_file(file)
    if data[:4] in (BLOB_MAGIC, CAPTURE_MAGIC) or data[:2] == ZIP_MAGIC or not _is_hex(data):
        return data, file
    return _from_hex(data.decode(), file), file


def _read_file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _is_hex(data: bytes) -> bool:
    return bool(data.strip()) and not data.strip(b"0123456789abcdefABCDEF \t\r\n")


def _from_hex(digits: str, where: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise InputError(f"{where}: not pairs of hexadecimal digits") from None


def _load_node(path: str) -> NodeModel:
    data = _read_file(path)
    return _parse_blob(data, path) if data[:4] == BLOB_MAGIC else bundle.parse(data, path).node


def _parse_blob(data: bytes, where: str) -> NodeModel:
    try:
        return blob.parse(data)
    except FormatError as error:
        raise type(error)(f"{where}: {error}") from None


def _describe(
    data: bytes, where: str, node: NodeModel | None, shared: bool | None, first: int
) -> tuple[str, list[Section]]:
    if not data:
        raise InputError(f"{where}: empty")
    if data[:4] == BLOB_MAGIC:
        return "blob", describe.describe_blob(_parse_blob(data, where))
    if data[:2] == ZIP_MAGIC:
        model = bundle.parse(data, where)
        return "bundle", describe.describe_bundle(model, bundle.read_members(data, where), len(data))
    if data[:4] == CAPTURE_MAGIC:
        return "capture", _describe_capture(data, where, node, first)
    if _is_frames(data):
        return "frames", _describe_frames(data, node, shared, first)
    return "packet", _packet_sections(data, node, shared)


def _is_frames(data: bytes) -> bool:
    """Ends in a delimiter, and every frame decodes."""
    if data[-1] or isinstance(packet.parse_hello(data), packet.Hello):
        return False
    return all(frame.status is FrameStatus.OK for frame in FrameDecoder().feed(data))


def _describe_frames(data: bytes, node: NodeModel | None, shared: bool | None, first: int) -> list[Section]:
    frames = FrameDecoder().feed(data)
    sections: list[Section] = []
    for frame in frames[:first]:
        sections.append(describe.describe_frame(frame))
        sections += _packet_sections(frame.payload, node, shared)
    return sections + _left_out(len(frames) - first, "frames")


def _describe_capture(data: bytes, where: str, node: NodeModel | None, first: int) -> list[Section]:
    sections, frames = describe.describe_capture(capture.CaptureReader(data, where), first)
    for addressed, frame in frames if node is not None else []:
        if frame.status is FrameStatus.OK:
            sections += _packet_sections(frame.payload, node, addressed is None)
    return sections


def _left_out(count: int, what: str) -> list[Section]:
    return [Section(f"and {count} more {what}", ())] if count > 0 else []


def _packet_sections(raw: bytes, node: NodeModel | None, shared: bool | None) -> list[Section]:
    is_shared = describe.looks_shared(raw) if shared is None else shared
    sections = [describe.describe_packet(raw, is_shared, node.packet_samples if node else None)]
    offset = packet.split_node_id(raw)[1] if is_shared else 0
    if node is None or describe.packet_kind(raw, None if is_shared else 0) != "data":
        return sections
    parsed = packet.parse_data(raw, offset, node.packet_samples)
    if isinstance(parsed, packet.PacketStatus):
        return [*sections, Section(f"payload: {parsed.value}", ())]
    from edge_wz.cli.inspect_payload import payload_section

    return [*sections, payload_section(node, parsed)]


def _as_json(section: Section) -> dict[str, object]:
    return {"title": section.title, "rows": [dataclasses.asdict(row) for row in section.rows], "bits": section.bits}


def _print(sections: Iterable[Section]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for section in sections:
        table = Table(title=section.title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
        table.add_column("field", no_wrap=True)
        table.add_column("value", overflow="fold")
        table.add_column("bits", justify="right", no_wrap=True)
        table.add_column("", style="dim")
        for row in section.rows:
            cells = (row.field, _shown(row.value), _bits(row.bits), row.note)
            table.add_row(*(Text(cell) for cell in cells))
        if section.bits:
            table.add_section()
            table.add_row("sum", "", _bits(section.bits), "")
        console.print(table if section.rows else Text(section.title))
        console.print()


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _bits(bits: float | None) -> str:
    if bits is None:
        return ""
    return str(int(bits)) if float(bits).is_integer() else f"{bits:.2f}"
