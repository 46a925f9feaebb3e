"""The model bundle `NAME.ewz` (SPEC 6): one zip that holds all of a `Model`, bytes <-> `Model`.

The node blob decides the stream, the manifest describes, `gateway.npz` holds the decoder's floats. Equal models give
equal bytes: fixed timestamps, sorted keys. Only `load` and `save` touch files; every error names file and member.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.errors import FormatError, InputError, NewerVersion, StorageError
from edge_wz.formats import blob
from edge_wz.formats.layout import BUNDLE_FORMAT, MAX_CHAIN_MEMORY
from edge_wz.model import BlockDecoding, LayeredRatePoint, Model, Propagation, RefinementModel, SideFilter, StateSpace, frozen

MANIFEST = "manifest.json"
NODE = "node.bin"
GATEWAY = "gateway.npz"
LEARNED = "layered_decoder.onnx"
DECODERS = {
    "nested": ("nearest", "posterior", "kalman"), "predictive": ("midpoint", "kalman", "refine"), "trellis": ("trellis",),
    "syndrome": ("syndrome",),
    "layered": ("posterior", "kalman", "learned"),
}
PARTS: dict[str, type] = {
    "state_space": StateSpace, "side_filter": SideFilter, "refinement": RefinementModel, "propagation": Propagation,
    "block": BlockDecoding,
}
MAX_BLOCK_PLANES = 8
MAX_BUNDLE_BYTES = 1 << 28  # unpacked; far above any model, far below what hurts a gateway
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

# What zipfile, zlib and numpy raise on damaged bytes.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, KeyError,
    OverflowError, MemoryError, IndexError, TypeError,
)

# ------------------------------------------------------------------------------------------------- to bytes


def pack(model: Model, extra: Mapping[str, bytes] | None = None) -> bytes:
    """`extra`: members that travel along: `*.onnx`, `report/*`."""
    _check(model, "bundle")
    members = {NODE: model.node.blob, GATEWAY: _pack_arrays(_gateway_arrays(model)), **({LEARNED: model.learned} if model.learned else {})}
    for name, data in (extra or {}).items():
        if not _is_extra(name):
            raise FormatError(f"bundle: a member {name!r} has no place in it")
        members[name] = data
    return _pack_zip({MANIFEST: _pack_manifest(model, members), **members}, zipfile.ZIP_DEFLATED)


def _is_extra(name: str) -> bool:
    return name.endswith(".onnx") or name.startswith("report/")


def _pack_manifest(model: Model, members: Mapping[str, bytes]) -> bytes:
    manifest = {
        "format": BUNDLE_FORMAT, "name": model.name, "scheme": model.node.scheme, "model_id": model.model_id.hex(),
        "source": model.source, "side": list(model.side), "unit": model.unit, "period_s": model.period_s,
        "decoder": model.decoder, "max_error": model.max_error, "members": _digests(members),
        "provenance": model.provenance, "measured": model.measured,
    }
    try:
        text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False, default=_plain)
    except (ValueError, TypeError) as error:
        raise FormatError(f"bundle: {MANIFEST}: {error}") from None
    return text.encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a manifest")


def _digests(members: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}


def _gateway_arrays(model: Model) -> dict[str, np.ndarray]:
    """The fields of the parts that a model has, by `part.field`."""
    return {
        f"{part}.{field.name}": np.array(getattr(getattr(model, part), field.name), dtype=_dtype(field))
        for part, kind in PARTS.items() if getattr(model, part) is not None
        for field in dataclasses.fields(kind)
    }


def _dtype(field: dataclasses.Field[Any]) -> type[np.generic]:
    return np.int64 if field.type == "int" else np.float64


def _pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    members = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    return _pack_zip(members, zipfile.ZIP_STORED)


def _pack_zip(members: Mapping[str, bytes], compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, ZIP_EPOCH)
            info.compress_type = compression
            archive.writestr(info, data)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------- from bytes


def parse(data: bytes, where: str = "bundle") -> Model:
    """FormatError or NewerVersion, naming `where` and the member, if these are not the bytes of a bundle."""
    members = read_members(data, where)
    manifest = _parse_manifest(members, where)
    try:
        node = blob.parse(members[NODE])
    except FormatError as error:
        raise type(error)(f"{where}: {NODE}: {error}") from None
    _require(node.model_id.hex() == manifest["model_id"], where, NODE,
             f"model id {node.model_id.hex()}, the manifest says {manifest['model_id']}")
    _require(node.scheme == manifest["scheme"], where, NODE,
             f"scheme {node.scheme}, the manifest says {manifest['scheme']}")
    arrays = _parse_arrays(members[GATEWAY], where)
    model = Model(
        node=node, decoder=manifest["decoder"], source=manifest["source"], side=tuple(manifest["side"]),
        unit=manifest["unit"], period_s=float(manifest["period_s"]), name=manifest["name"],
        max_error=manifest["max_error"], provenance=manifest["provenance"], measured=manifest["measured"], learned=members.get(LEARNED, b""),
        **{part: _parse_part(arrays, part, where) for part in PARTS},
    )
    _check(model, where)
    return model


def read_members(data: bytes, where: str = "bundle") -> dict[str, bytes]:
    """All members, with their zip checks held; digests are the business of `parse`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            _require(len(set(names)) == len(names), where, MANIFEST, "two members have the same name")
            _require(sum(info.file_size for info in infos) <= MAX_BUNDLE_BYTES, where, MANIFEST,
                     f"unpacks to more than {MAX_BUNDLE_BYTES} bytes")
            return {info.filename: _read_member(archive, info, where) for info in infos}
    except DAMAGE as error:
        raise FormatError(f"{where}: not a bundle, or a damaged one: {_one_line(error)}") from None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    try:
        return archive.read(info)
    except DAMAGE as error:
        raise FormatError(f"{where}: {_printable(info.filename)}: damaged: {_one_line(error)}") from None


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _require(holds: bool, where: str, member: str, message: str) -> None:
    if not holds:
        raise FormatError(f"{where}: {member}: {message}")


def _parse_manifest(members: Mapping[str, bytes], where: str) -> dict[str, Any]:
    """The manifest, its fields of the right types, and every other member as it says."""
    _require(MANIFEST in members, where, MANIFEST, "missing, so this is no bundle")
    try:
        manifest = json.loads(members[MANIFEST])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: {MANIFEST}: {_one_line(error)}") from None
    _require(isinstance(manifest, dict), where, MANIFEST, "not a JSON object")
    version = manifest.get("format")
    _require(type(version) is int and version >= 1, where, MANIFEST, f"format is {version!r}")
    if version > BUNDLE_FORMAT:
        raise NewerVersion(f"{where}: {MANIFEST}: format {version}, this program reads up to {BUNDLE_FORMAT}")
    for name, kinds in MANIFEST_FIELDS.items():
        value = manifest.get(name)
        held = isinstance(value, kinds) and not isinstance(value, bool)
        _require(held, where, MANIFEST, f"{name!r} is missing or of the wrong kind")
    _require(all(isinstance(name, str) for name in manifest["side"]), where, MANIFEST, "'side' is not a list of names")
    _check_members(members, manifest["members"], where)
    return manifest


MANIFEST_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,), "scheme": (str,), "model_id": (str,), "source": (str,), "side": (list,), "unit": (str,),
    "period_s": (int, float), "decoder": (str,), "max_error": (int, float, type(None)), "members": (dict,),
    "provenance": (dict,), "measured": (dict,),
}


def _check_members(members: Mapping[str, bytes], digests: Mapping[str, Any], where: str) -> None:
    for name in (NODE, GATEWAY):
        _require(name in digests, where, MANIFEST, f"lists no {name}")
    for name, digest in digests.items():
        _require(name in members, where, _printable(name), "missing")
        held = hashlib.sha256(members[name]).hexdigest() == digest
        _require(held, where, _printable(name), "has another SHA-256 than the manifest says")
    for name in members:
        _require(name == MANIFEST or name in digests, where, _printable(name), "not listed in the manifest")


def _parse_arrays(data: bytes, where: str) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except DAMAGE as error:
        raise FormatError(f"{where}: {GATEWAY}: {_one_line(error)}") from None


def _parse_part(arrays: Mapping[str, np.ndarray], part: str, where: str) -> Any:
    """The part, frozen; None if no array belongs to it."""
    if not any(name.startswith(f"{part}.") for name in arrays):
        return None
    return PARTS[part](*(_take(arrays, part, field, where) for field in dataclasses.fields(PARTS[part])))


def _take(arrays: Mapping[str, np.ndarray], part: str, field: dataclasses.Field[Any], where: str) -> Any:
    name = f"{part}.{field.name}"
    _require(name in arrays, where, GATEWAY, f"no array {name}")
    array = arrays[name]
    _require(array.dtype == _dtype(field), where, GATEWAY, f"{name} has type {array.dtype}")
    if field.type == "np.ndarray":
        return frozen(array, np.float64)
    _require(array.shape == (), where, GATEWAY, f"{name} is not one number")
    return array.item()


# ------------------------------------------------------------------------------------------------- both ways


def _check(model: Model, where: str) -> None:
    """What must hold for any model, from numbers or from bytes."""
    decoders = DECODERS[model.node.scheme]
    _require(model.decoder in decoders, where, MANIFEST,
             f"decoder {model.decoder!r} is none of {', '.join(decoders)}, those of scheme {model.node.scheme}")
    _require(math.isfinite(model.period_s) and model.period_s > 0, where, MANIFEST,
             f"period_s is {model.period_s}, not a number above 0")
    bounded = model.max_error is None or (math.isfinite(model.max_error) and model.max_error > 0)
    _require(bounded, where, MANIFEST, f"max_error is {model.max_error}, not a number above 0")
    _require(model.max_error is None or model.node.scheme != "layered", where, MANIFEST,
             "max_error: scheme layered promises none")
    _require(len(set(model.side)) == len(model.side), where, MANIFEST, f"'side' names one twice: {list(model.side)}")
    _require(model.decoder not in ("kalman", "trellis", "syndrome") or model.state_space is not None, where, GATEWAY,
             f"decoder {model.decoder} needs a state space")
    _require(model.propagation is None or 1 <= model.propagation.rounds <= 16, where, GATEWAY,
             "propagation.rounds is not within 1 .. 16")
    _require(model.propagation is None or model.propagation.survivors in (0, 1), where, GATEWAY, "propagation.survivors is not 0 or 1")
    _require(model.propagation is None or not model.propagation.survivors or model.node.memory <= MAX_CHAIN_MEMORY, where, GATEWAY,
             f"propagation.survivors: a memory of {model.node.memory} is more than {MAX_CHAIN_MEMORY}")
    _require(model.propagation is None or _is_density(model.propagation.density), where, GATEWAY,
             "propagation.density is not weights and factors above 0")
    _check_block(model, where)
    _require(model.decoder != "learned" or bool(model.learned), where, LEARNED, "missing, decoder learned needs it")
    _require(model.decoder != "refine" or model.refinement is not None, where, GATEWAY,
             "decoder refine needs moments")
    shapes = _expected_shapes(model)
    for name, array in _gateway_arrays(model).items():
        shape = shapes.get(name, ())
        _require(array.shape == shape, where, GATEWAY, f"{name} has shape {array.shape}, not {shape}")
        _require(bool(np.isfinite(array).all()), where, GATEWAY, f"{name} has entries that are not finite")
    _require(model.refinement is None or model.refinement.neighbours in (0, len(model.side)), where, GATEWAY,
             "refinement looks at a part of the neighbours")


def _check_block(model: Model, where: str) -> None:
    """What `decoders.block_syndrome` needs, within what its arrays hold."""
    _require(model.node.scheme != "syndrome" or model.block is not None, where, GATEWAY, "decoder syndrome needs planes and a density")
    if model.block is None:
        return
    _require(model.node.block_check_bits > 0, where, GATEWAY, f"a model of scheme {model.node.scheme} without block checks has no blocks")
    block, points = model.block, model.node.rate_points
    fits = block.planes.shape == (len(points),) and all(
        float(planes).is_integer() and _coded_planes(point) <= planes <= MAX_BLOCK_PLANES
        for planes, point in zip(block.planes, points, strict=True)
    )
    _require(fits, where, GATEWAY, f"block.planes {block.planes} are not those of the rate points, at most {MAX_BLOCK_PLANES}")
    _require(_is_density(block.density), where, GATEWAY, "block.density is not weights and factors above 0")
    _require(bool((block.path_mse >= 0).all()), where, GATEWAY, "block.path_mse is below 0")
    _require(1 <= block.rounds <= 2, where, GATEWAY, "block.rounds is not 1 or 2")


def _coded_planes(point: Any) -> int:
    return len(point.positions if isinstance(point, LayeredRatePoint) else point.sent)


def _is_density(density: np.ndarray) -> bool:
    return density.ndim == 2 and density.shape[1] == 2 and len(density) > 0 and bool((density > 0).all())


def _expected_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Shape of every array that is not one number."""
    shapes: dict[str, tuple[int, ...]] = {}
    outputs = 1 + len(model.side)
    if model.state_space is not None:
        d = len(model.state_space.A)
        shapes |= {"state_space.A": (d, d), "state_space.C": (outputs, d), "state_space.Q": (d, d)}
        shapes |= {"state_space.S": (d, outputs), "state_space.R": (outputs, outputs), "state_space.mean": (outputs,)}
    if model.side_filter is not None:
        entries = 1 + len(model.side) * model.side_filter.taps
        shapes |= {"side_filter.mean": (entries,), "side_filter.cov": (entries, entries)}
        shapes |= {"side_filter.output_taps": (model.side_filter.output_taps.size,)}
    if model.refinement is not None:
        rows, entries = model.refinement.density.shape[:2], 11 + 9 * model.refinement.neighbours
        rows = (len(model.node.rate_points), *rows[1:])
        shapes |= {"refinement.mean": (*rows, entries), "refinement.cov": (*rows, entries, entries)}
        shapes |= {"refinement.density": (*rows, 5)}
    if model.propagation is not None:
        shapes["propagation.density"] = model.propagation.density.shape
    if model.block is not None:
        points = len(model.node.rate_points)
        shapes |= {"block.planes": (points,), "block.path_mse": (points,), "block.density": model.block.density.shape}
    return shapes


# ------------------------------------------------------------------------------------------------- files


def load(path: str | os.PathLike[str]) -> Model:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(data, str(path))


def save(path: str | os.PathLike[str], model: Model, extra: Mapping[str, bytes] | None = None) -> None:
    """Whole or not at all: an older file at `path` survives a full disk."""
    data = pack(model, extra)
    unfinished = Path(f"{os.fspath(path)}.part")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
