"""SPEC 2, 5 and 7 in plain integers: blobs, whole packets and frames of one run of a node."""

import hashlib
import zlib
from typing import Any

from tests.reference import layered, nested, predictive, syndrome, trellis
from tests.reference.arithmetic import pack_bits

Case = dict[str, Any]


def crc16(data: bytes) -> int:
    """CRC-16/GENIBUS, bit by bit."""
    crc = 0xFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            top = (crc >> 15) ^ (byte >> bit & 1)
            crc = (crc << 1 & 0xFFFF) ^ (0x1021 if top else 0)
    return crc ^ 0xFFFF


def little(value: int, size: int) -> bytes:
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def big(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def with_crc32(data: bytes) -> bytes:
    return data + little(zlib.crc32(data), 4)


def head(case: Case, scheme: int, size: int) -> bytes:
    """SPEC 5; scale 1 and offset 0 as IEEE doubles."""
    check_bits = case.get("check_bits", 0)
    return (
        b"WZNB" + bytes([1, scheme, 1, check_bits]) + little(case["packet_samples"], 2) + little(case["hello_every"], 2)
        + little(size, 4) + bytes.fromhex("000000000000f03f") + bytes(8)
    )  # fmt: skip


def nested_blob(case: Case) -> bytes:
    """SPEC 5.1, one rate point; 9.3 where there is a code."""
    point = little(case["modulus"], 2) + bytes([case["shift"], 0]) + little(case["rounding"], 4)
    start = bytes([len(case["taps"]), 0, 0, 0])
    if "code" in case:
        memory, h0, h1 = case["code"]
        start = bytes([len(case["taps"]), memory, 0, 0]) + little(h0, 4) + little(h1, 4)
    body = start + point + b"".join(little(tap, 4) for tap in case["taps"])
    return with_crc32(head(case, 3 if "code" in case else 1, 32 + len(body) + 4) + body)


def syndrome_blob(case: Case) -> bytes:
    """SPEC 10.3, one rate point."""
    words = (case["packet_samples"] + 31) // 32
    body = bytes([len(case["taps"]), case["block_check_bits"], 0, 0])
    body += bytes([case["low_bits"], len(case["sets"]), case["shift"], 0]) + little(case["rounding"], 4)
    body += b"".join(little(tap, 4) for tap in case["taps"])
    body += b"".join(little(sum(1 << i for i in chosen), 4 * words) for chosen in case["sets"])
    return with_crc32(head(case, 4, 32 + len(body) + 4) + body)


def layered_blob(case: Case) -> bytes:
    """SPEC 11.5, one table and one rate point, which sends `last` layers."""
    alphabets, numbers, thresholds, messages = case["alphabets"], case["numbers"], case["thresholds"], 1
    coded = [k for k, rows in enumerate(case["cdfs"]) if rows]
    for alphabet in alphabets:
        messages *= alphabet
    table = little(len(thresholds), 2) + bytes([len(alphabets), sum(1 << k for k in coded), *alphabets]) + bytes(8 - len(alphabets))
    table += b"".join(little(threshold, 2) for threshold in thresholds)
    table += pack_bits([(number, 4 if messages <= 16 else 8) for number in numbers])
    if coded:
        table += bytes(len(table) % 2)
    table += b"".join(little(entry, 2) for k in coded for row in case["cdfs"][k] for entry in row[1:-1])
    table += bytes(-len(table) % 4)
    table += b"".join(little(sum(1 << i for i in chosen), (case["packet_samples"] + 31) // 32 * 4) for chosen in case.get("sets", []))
    body = bytes([1, case["cdf_bits"] if coded else 0, case.get("block_check_bits", 0), 0, 0, case["last"], 0, 0]) + table
    return with_crc32(head(case, 5, 32 + len(body) + 4) + body)


def predictive_blob(case: Case) -> bytes:
    """SPEC 5.2, one rate point."""
    step, rounding, tables = case["step_q8"], case["rounding_q8"], case["tables"]
    shift = max(s for s in range(31) if (1 << (s + 9)) // step < 1 << 15)
    thresholds = case["thresholds"] + [0] * (8 - len(case["thresholds"]))
    section = bytes([len(case["predictors"]) - 1, case["position_tables"], case["contexts"], case["cdf_bits"]])
    section += b"".join(little(t, 2) for t in thresholds)
    section += b"".join(little(value, 4) for row in case["predictors"] for value in row)
    section += little(step, 4) + little(rounding, 4) + little((1 << (shift + 9)) // step, 2) + bytes([shift, 0])
    top = (65535 * 256 + rounding) // step
    at = 32 + len(section) + 4 * len(tables)
    cdfs = b""
    for table in tables:
        classes = max(0, top - table["direct"] - 1).bit_length()
        section += bytes([table["direct"], classes]) + little((at + len(cdfs)) // 2, 2)
        cdfs += b"".join(little(value, 2) for value in table["cdf"])
    body = section + cdfs + bytes(-len(section + cdfs) % 4)
    return with_crc32(head(case, 2, 32 + len(body) + 4) + body)


def node_id_bytes(case: Case) -> bytes:
    if not case["shared"]:
        return b""
    node_id = case["node_id"]
    return bytes([node_id]) if node_id < 128 else big(0x8000 | node_id, 2)


def header(kind: int, rate_point: int, counter: int, extension: int) -> bytes:
    return pack_bits([(1, 2), (kind, 2), (rate_point, 3), (counter & 0xFF, 8), (extension, 1)])


def hello(case: Case, model_id: bytes, rate_point: int, counter: int, index: int) -> bytes:
    body = (
        node_id_bytes(case) + header(1, rate_point, counter, 0) + big(case["node_id"], 2) + big(case["boot_epoch"], 2) + model_id
        + big(counter, 4) + big(index, 6) + big(case["period_us"], 5) + big(case["start_ms"], 6)
    )  # fmt: skip
    return body + big(zlib.crc32(body), 4)


def data_packet(
    case: Case, model_id: bytes, base: int, rate_point: int, counter: int, here: list[bool], payload: bytes
) -> bytes:
    short, absent = len(here) < case["packet_samples"], not all(here)
    extension = b""
    if short or absent:
        extension = bytes([short | absent << 1])
        extension += big(len(here), 2) if short else b""
        extension += pack_bits([(int(not there), 1) for there in here]) if absent else b""
    packet = node_id_bytes(case) + header(0, rate_point, counter, bool(extension)) + extension + payload
    context = (
        big(0 if case["shared"] else case["node_id"], 2) + model_id + big(case["boot_epoch"], 2) + big(base, 6)
        + big(counter >> 8, 3)
    )  # fmt: skip
    return packet + big(crc16(context + packet), 2)


def payloads(case: Case, samples: list[int | None]) -> list[bytes]:
    slots = case["packet_samples"]
    starts = range(0, len(samples), slots)
    if "alphabets" in case:
        messages = [None if x is None else layered.message(case, x) for x in samples]
        return [layered.payload_of(case, messages[i : i + slots], 0, case["last"], slots) for i in starts]
    if "code" in case:
        point = case["taps"], case["shift"], case["rounding"], case["modulus"]
        return trellis.encode(samples, point, tuple(case["code"]), case["check_bits"], slots)[2]
    if "sets" in case:
        point = case["taps"], case["shift"], case["rounding"], case["low_bits"]
        return syndrome.encode(samples, point, case["sets"], case["block_check_bits"], slots)[1]
    if "taps" in case:
        bins, turns, _ = nested.quantize(samples, case["taps"], case["shift"], case["rounding"], case["modulus"])
        return [nested.pack(bins[i : i + slots], turns[i : i + slots], case["modulus"], case["check_bits"]) for i in starts]
    tables = [predictive.Table(table["direct"], table["cdf"]) for table in case["tables"]]
    model = predictive.Predictive(
        case["predictors"], case["thresholds"], case["position_tables"], case["cdf_bits"], case["step_q8"],
        case["rounding_q8"], tables,
    )  # fmt: skip
    return [predictive.encode(model, samples[i : i + slots])[0] for i in starts]


def packets(
    case: Case, model_id: bytes, samples: list[int | None], payloads: list[bytes], points: list[int], current: list[int]
) -> list[bytes]:
    """Boot, all samples, flush: packets in sending order (SPEC 2.2). `points`: rate point of each data packet; `current`: that
    of the node at the start and behind each data packet.
    """
    slots, counter, index = case["packet_samples"], case["packet_counter"], case["sample_index"]
    base, since = (index - counter * slots) % 2**48, 0
    sent = [hello(case, model_id, current[0], counter, index)]
    for number, payload in enumerate(payloads):
        here = [sample is not None for sample in samples[number * slots : (number + 1) * slots]]
        sent.append(data_packet(case, model_id, base, points[number], counter, here, payload))
        counter, index, since = (counter + 1) % 2**32, (index + len(here)) % 2**48, since + 1
        if since == case["hello_every"] or counter == 0 or len(here) < slots:
            sent.append(hello(case, model_id, current[number + 1], counter, index))
            base, since = (index - counter * slots) % 2**48, 0
    if since:
        sent.append(hello(case, model_id, current[-1], counter, index))
    return sent


def run(case: Case) -> Case:
    """{blob, model_id, packets} in hex, of one rate point."""
    kinds = (("alphabets", layered_blob), ("sets", syndrome_blob), ("taps", nested_blob), ("predictors", predictive_blob))
    blob = next(make for field, make in kinds if field in case)(case)
    model_id = hashlib.sha256(blob).digest()[:8]
    samples = [code if here else None for code, here in zip(case["codes"], case["present"], strict=True)]
    made = payloads(case, samples)
    sent = packets(case, model_id, samples, made, [0] * len(made), [0] * (len(made) + 1))
    return {"blob": blob.hex(), "model_id": model_id.hex(), "packets": [packet.hex() for packet in sent]}


def cobs(packet: bytes) -> bytes:
    """SPEC 7: the frame of a packet, its delimiter included."""
    out, block = b"", b""
    for byte in packet + b"\0":
        if byte:
            block += bytes([byte])
        if not byte or len(block) == 254:
            out += bytes([len(block) + 1]) + block
            block = b""
    # a full block at the very end needs no empty one behind it
    if len(packet) and packet[-1] and len(_last_run(packet)) % 254 == 0:
        out = out[:-1]
    return out + b"\0"


def _last_run(packet: bytes) -> bytes:
    return packet.rsplit(b"\0", 1)[-1]
