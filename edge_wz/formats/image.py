"""The image that a device keeps in a slot (SPEC 12.4): a node blob with what only the device must know, and a check.

Unlike the blob, which is the same for every node of a model, an image is made for one node on one link.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from struct import Struct
from typing import Any

from edge_wz.errors import FormatError, NewerVersion
from edge_wz.formats import blob
from edge_wz.formats.layout import DATA_CHECK_BYTES, HELLO_BYTES, MAX_NODE_ID
from edge_wz.model import NodeModel

MAGIC = b"WZIM"
VERSION = 1
HEADER = Struct("<4sBBHIHH8sQ")
CHECK_BYTES = 4
SHARED_LINK = 1
MAX_TRIAL_S = 65535
MAX_PERIOD_US = (1 << 40) - 1
LONGEST_HEADER = 7  # node id, header, extension flags, count
HELLO_SPACE = HELLO_BYTES + 1


@dataclass(frozen=True)
class Image:
    """`period_us` between samples; `trial_s`: how long the model runs before it must be confirmed."""

    node: NodeModel
    node_id: int
    shared_link: bool
    period_us: int
    trial_s: int


def pack(image: Image) -> bytes:
    if not 0 <= image.node_id <= MAX_NODE_ID:
        raise ValueError(f"node id {image.node_id}")
    if not 1 <= image.trial_s <= MAX_TRIAL_S or not 1 <= image.period_us <= MAX_PERIOD_US:
        raise ValueError(f"trial of {image.trial_s} s, period of {image.period_us} us")
    node_blob = blob.pack(image.node)
    flags = SHARED_LINK if image.shared_link else 0
    header = HEADER.pack(
        MAGIC, VERSION, flags, image.node_id, len(node_blob), image.trial_s, 0, image.node.model_id, image.period_us
    )
    body = header + node_blob
    return body + zlib.crc32(body).to_bytes(CHECK_BYTES, "little")


def parse(data: bytes, where: str = "image") -> Image:
    """FormatError names the first rule of SPEC 12.4 that is broken."""
    if len(data) < HEADER.size + CHECK_BYTES or data[:4] != MAGIC:
        raise FormatError(f"{where}: not an image of {len(data)} bytes")
    _, version, flags, node_id, blob_bytes, trial_s, zero, model_id, period_us = HEADER.unpack_from(data)
    if version > VERSION:
        raise NewerVersion(f"{where}: version {version}, this program reads up to {VERSION}")
    if HEADER.size + blob_bytes + CHECK_BYTES != len(data) or blob_bytes % 4:
        raise FormatError(f"{where}: says {blob_bytes} bytes of blob, {len(data)} bytes in all")
    if zlib.crc32(data[:-CHECK_BYTES]) != int.from_bytes(image_hash(data), "little"):
        raise FormatError(f"{where}: does not check, bytes were changed")
    if version != VERSION or flags & ~SHARED_LINK or zero or node_id > MAX_NODE_ID or not trial_s or not period_us:
        raise FormatError(f"{where}: a header field is out of range")
    node = blob.parse(data[HEADER.size : -CHECK_BYTES])
    if node.model_id != model_id:
        raise FormatError(f"{where}: names model {model_id.hex()}, holds {node.model_id.hex()}")
    return Image(node, node_id, bool(flags & SHARED_LINK), period_us, trial_s)


def image_hash(data: bytes) -> bytes:
    """What a device calls this image by."""
    return data[-CHECK_BYTES:]


def buffer_bytes(node: NodeModel) -> int:
    """What the packet being filled asks of a device: `wz_buffer_bytes` of the node runtime, which a test holds it to."""
    needs = [_needs(node, point) for point in node.rate_points]
    payload = (max(bits for bits, _ in needs) + 7) // 8
    front = LONGEST_HEADER + (node.packet_samples + 7) // 8
    front += 1 + ((front + payload + DATA_CHECK_BYTES) >> 7)
    return _whole_words(front + max(payload + DATA_CHECK_BYTES + 1, HELLO_SPACE)) + _whole_words(max(work for _, work in needs))


def _whole_words(count: int) -> int:
    return (count + 3) // 4 * 4


def _needs(node: NodeModel, point: Any) -> tuple[int, int]:
    """(bits of the longest payload, bytes of work space) of a rate point, as the runtime reckons them."""
    slots = node.packet_samples
    if node.scheme == "predictive":
        classes = max(table.classes for table in point.tables)
        return slots * (node.cdf_bits + classes) + slots // 4 + 40, 0
    if node.scheme == "layered":
        layers = list(zip(point.alphabets, point.coded, strict=True))[: point.layers_sent]
        bits = sum(node.cdf_bits if coded else (alphabet - 1).bit_length() for alphabet, coded in layers)
        if not node.block_check_bits:
            return slots * bits + slots // 2 + 48, slots
        plane_words = ((1 << (slots - 1).bit_length()) + 31) // 32
        return slots * bits + slots // 2 + 48 + len(layers) * node.block_check_bits, _whole_words(slots) + 4 * plane_words
    if node.scheme == "syndrome":
        plane_words = ((1 << (slots - 1).bit_length()) + 31) // 32
        bits = point.modulus.bit_length() - 1 + len(point.sent)
        return slots * bits + node.block_check_bits, 4 + 4 * len(point.sent) * plane_words
    if node.scheme == "trellis":
        return int(slots * point.modulus.bit_length() + node.level_check_bits), 0
    return int(slots * (point.modulus - 1).bit_length() + node.level_check_bits + slots // 16 + 40), 0
