"""The reference, called with the JSON fields of a case; `kernel_driver` has the same functions for numba."""

from typing import Any

from tests.reference import arithmetic, layered, nested, node, predictive, range_coder, syndrome, trellis
from tests.vector_cases.predictive import reference_model

Case = dict[str, Any]


def samples_of(case: Case) -> list[int | None]:
    return [code if here else None for code, here in zip(case["codes"], case["present"], strict=True)]


def arithmetic_case(case: Case) -> int:
    operation = getattr(arithmetic, case["op"])
    return operation(case["v"], case["s"]) if "s" in case else operation(case["v"])


def level_check(case: Case) -> int:
    return arithmetic.level_check(case["turns"], case["bits"])


def range_encode(case: Case) -> str:
    coder = range_coder.Encoder()
    for step in case["steps"]:
        (coder.encode if len(step) == 3 else coder.encode_bits)(*step)
    return coder.finish().hex()


def range_decode(case: Case) -> list[int]:
    """The target of every symbol, the value of all plain bits."""
    coder = range_coder.Decoder(bytes.fromhex(case["payload"]))
    found = []
    for step in case["steps"]:
        if len(step) == 3:
            found.append(coder.target(step[2]))
            coder.take(*step)
        else:
            found.append(coder.bits(step[1]))
    coder.finish()
    return found


def nested_encode(case: Case) -> Case:
    bins, turns, saturated = nested.quantize(
        samples_of(case), case["taps"], case["shift"], case["rounding"], case["modulus"]
    )
    slots = case["packet_samples"]
    payloads = [
        nested.pack(bins[i : i + slots], turns[i : i + slots], case["modulus"], case["check_bits"]).hex()
        for i in range(0, len(bins), slots)
    ]
    columns = {"bins": [v or 0 for v in bins], "turns": [v or 0 for v in turns]}
    return {**columns, "saturated": saturated, "payloads": payloads}


def is_trellis_code(case: Case) -> bool:
    return trellis.is_code(*case["code"])


def nested_parse(payload: bytes, present: list[bool], modulus: int, check_bits: int) -> Case | None:
    """{bins, check} or None for malformed; absent bins are 0."""
    try:
        bins, check = nested.unpack(payload, present, modulus, check_bits)
    except range_coder.Malformed:
        return None
    return {"bins": [v or 0 for v in bins], "check": check}


def trellis_encode(case: Case) -> Case:
    point = case["taps"], case["shift"], case["rounding"], case["modulus"]
    indices, turns, payloads = trellis.encode(
        samples_of(case), point, tuple(case["code"]), case["check_bits"], case["packet_samples"]
    )
    columns = {"indices": [v or 0 for v in indices], "turns": [v or 0 for v in turns]}
    return {**columns, "payloads": [payload.hex() for payload in payloads]}


def syndrome_encode(case: Case) -> Case:
    point = case["taps"], case["shift"], case["rounding"], case["low_bits"]
    indices, payloads = syndrome.encode(
        samples_of(case), point, case["sets"], case["block_check_bits"], case["packet_samples"]
    )
    return {"indices": [v or 0 for v in indices], "payloads": [payload.hex() for payload in payloads]}


def syndrome_parse(case: Case, payload: bytes, present: list[bool]) -> Case | None:
    """{indices, check} or None for malformed; absent indices are 0."""
    try:
        indices, check = syndrome.unpack(payload, present, case["low_bits"], case["sets"], case["block_check_bits"])
    except range_coder.Malformed:
        return None
    return {"indices": [v or 0 for v in indices], "check": check}


def layered_encode(case: Case) -> Case:
    """{messages, payloads} of layers first .. last-1."""
    messages = [None if x is None else layered.message(case, x) for x in samples_of(case)]
    slots, first, last = case["packet_samples"], case["first"], case["last"]
    how = layered.marginal(case) if first else case
    payloads = [layered.pack(how, messages[i : i + slots], first, last, first > 0).hex() for i in range(0, len(messages), slots)]
    return {"messages": [m or 0 for m in messages], "payloads": payloads}


def layered_parse(case: Case, payload: bytes, present: list[bool]) -> Case | None:
    """{symbols, layers} or None for malformed; absent symbols are 0."""
    first, last = case["first"], case["last"]
    how = layered.marginal(case) if first else case
    try:
        values, layers = layered.unpack(how, payload, present, first, last, first > 0)
    except range_coder.Malformed:
        return None
    return {"symbols": [v or 0 for v in values], "layers": layers}


def layered_block(case: Case) -> Case:
    """{messages, payload} of one packet."""
    messages = [None if x is None else layered.message(case, x) for x in samples_of(case)]
    payload = layered.payload_of(case, messages, case["first"], case["last"], case["packet_samples"])
    return {"messages": [m or 0 for m in messages], "payload": payload.hex()}


def layered_block_parse(case: Case, payload: bytes, present: list[bool]) -> Case | None:
    """{values, layers} or None for malformed; absent samples are 0."""
    try:
        values, layers = layered.parse_packet(case, payload, present, case["first"], case["last"])
    except range_coder.Malformed:
        return None
    return {"values": [v or 0 for v in values], "layers": layers}


def layered_node(case: Case, value: int, layers: int) -> int:
    return layered.node(value, case["alphabets"], layers)


def predictive_encode(case: Case) -> Case:
    payload, levels, preds, recon = predictive.encode(reference_model(case), samples_of(case))
    return {"payload": payload.hex(), "recon": recon, "levels": levels, "preds": preds}


def predictive_parse(case: Case, payload: bytes, present: list[bool]) -> Case | None:
    """{levels, preds, recon} or None for malformed; absent levels are 0."""
    try:
        levels, preds, recon = predictive.decode(reference_model(case), payload, present)
    except range_coder.Malformed:
        return None
    return {"levels": levels, "preds": preds, "recon": recon}


def node_run(case: Case) -> Case:
    """{blob, model_id, packets, frames}."""
    sent = node.run(case)
    return {**sent, "frames": [node.cobs(bytes.fromhex(packet)).hex() for packet in sent["packets"]]}
