"""`edge-wz export`: the parts of a bundle as files of their own, and the proof that its implementations agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_wz.errors import EdgeWzError, InputError, StorageError

COLUMNS = ("part", "rate_point", "inputs", "first", "second", "samples", "excluded", "mismatches", "largest")


class ParityError(EdgeWzError):
    """Two implementations of one bundle disagree."""


@click.command()
@click.argument("bundle_path", metavar="BUNDLE", type=click.Path())
@click.option("--onnx", "folder", metavar="DIR", type=click.Path(file_okay=False), help="Write encoder.onnx and decoder.onnx.")
@click.option("--c", "c_folder", metavar="DIR", type=click.Path(file_okay=False), help="Write the encoder in C with this model, to compile.")
@click.option("--node", "node_file", metavar="FILE", type=click.Path(dir_okay=False), help="Write node.bin, what a device loads.")
@click.option("--verify", "with_verify", is_flag=True, help="Compare torch, ONNX, plain integers and numba.")
@click.option("--samples", type=click.IntRange(64), default=20_000, show_default=True, help="Per kind of input, for --verify.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of those inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export(
    bundle_path: str, folder: str | None, c_folder: str | None, node_file: str | None, with_verify: bool, samples: int, seed: int, as_json: bool
) -> None:
    """Write a bundle's ONNX graphs, C sources or node blob, and verify that all implementations of it agree.

    With --verify the exit code tells whether they do. Floats may differ where an input lies on the edge of a cell; such
    inputs are excluded and counted.
    """
    from edge_wz.formats import bundle

    if not (folder or c_folder or node_file or with_verify):
        raise InputError("nothing to do: give --onnx DIR, --c DIR, --node FILE or --verify")
    model = bundle.load(bundle_path)
    report: dict[str, Any] = {"bundle": bundle_path, "model_id": model.model_id.hex(), "written": []}
    if node_file:
        report["written"].append(_write(Path(node_file), model.node.blob))
    if c_folder:
        from export import c_folder as sources

        report["written"] += [_write(Path(c_folder) / name, data) for name, data in sources.files(model).items()]
    if folder:
        from export import onnx_graph

        graphs = onnx_graph.members(model)
        report["written"] += [_write(Path(folder) / name, data) for name, data in graphs.items()]
    if with_verify:
        from export import verify

        report["parity"] = verify.verify(model, samples, seed)
        report["left_out"] = verify.missing_packages()
        report["passed"] = verify.passed(report["parity"])
    click.echo(json.dumps(report, indent=2) if as_json else _text(report))
    if with_verify and not report["passed"]:
        raise ParityError(f"{bundle_path}: implementations disagree")


def _write(path: Path, data: bytes) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
    return str(path)


def _text(report: dict[str, Any]) -> str:
    lines = [f"wrote {name}" for name in report["written"]]
    if "parity" in report:
        lines += _table([list(COLUMNS), *([_cell(row[name]) for name in COLUMNS] for row in report["parity"])])
        lines += [f"left out, not installed: {name}" for name in report["left_out"]]
        lines.append("all agree" if report["passed"] else "they do not agree")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
