"""The numba kernels, called with the JSON fields of a case; the same functions as in `reference_driver`."""

from dataclasses import replace
from typing import Any

import numpy as np

from edge_wz.codec import layered
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.errors import FormatError
from edge_wz.formats import blob, framing
from edge_wz.kernels import fixed_point, nested_quantizer, polar, predictor, range_coder, threshold_table, trellis_quantizer
from edge_wz.kernels.nested_quantizer import NO_LEVEL
from edge_wz.model import LayeredRatePoint, NodeModel

Case = dict[str, Any]


def arithmetic_case(case: Case) -> int:
    operation = getattr(fixed_point, case["op"])
    return operation(case["v"], case["s"]) if "s" in case else operation(case["v"])


def level_check(case: Case) -> int:
    turns = np.array(case["turns"], dtype=np.int32)
    return nested_quantizer.check_levels(turns, np.ones(len(turns), dtype=np.bool_), case["bits"])


def range_encode(case: Case) -> str:
    out = np.zeros(4 * len(case["steps"]) + 8, dtype=np.uint8)
    state = (0, range_coder.RANGE_START, 0)
    for step in case["steps"]:
        call = range_coder.encode_symbol if len(step) == 3 else range_coder.encode_bits
        state = call(out, *state, *step)
    return out[: range_coder.finish(out, *state)].tobytes().hex()


def range_decode(case: Case) -> list[int]:
    data = np.frombuffer(bytes.fromhex(case["payload"]), dtype=np.uint8)
    state = range_coder.start_decoder(data, 0, len(data))
    assert state[0] < state[1]
    found = []
    for step in case["steps"]:
        if len(step) == 3:
            found.append(range_coder.decode_target(state[0], state[1], step[2]))
            state = range_coder.decode_step(data, len(data), *state, *step)
        else:
            value, *state = range_coder.decode_bits(data, len(data), *state, step[1])
            found.append(value)
    assert range_coder.finish_decoder(len(data), state[2]) == 0
    return found


def _rows(values: list[int], slots: int, fill: int, dtype: Any) -> np.ndarray:
    rows = np.full((-(-len(values) // slots), slots), fill, dtype=dtype)
    rows.reshape(-1)[: len(values)] = values
    return rows


def nested_encode(case: Case) -> Case:
    codes = np.array(case["codes"], dtype=np.int16)
    bins, turns = np.zeros((2, len(codes)), dtype=np.int32)
    saturated = nested_quantizer.quantize_stream(
        codes, np.array(case["present"], dtype=np.bool_), np.array(case["taps"], dtype=np.int32), case["shift"],
        case["rounding"], case["modulus"], np.zeros(nested_quantizer.STATE_SLOTS, dtype=np.int32), bins, turns,
    )  # fmt: skip
    bin_rows = _rows(bins.tolist(), case["packet_samples"], NO_LEVEL, np.int32)
    turn_rows = _rows(turns.tolist(), case["packet_samples"], 0, np.int32)
    payloads = _packed(bin_rows, turn_rows, case["modulus"], case["check_bits"])
    shown = np.where(bins == NO_LEVEL, 0, bins).tolist()
    return {"bins": shown, "turns": turns.tolist(), "saturated": saturated, "payloads": payloads}


def _packed(bin_rows: np.ndarray, turn_rows: np.ndarray, modulus: int, check_bits: int) -> list[str]:
    out = np.zeros((len(bin_rows), 4 * bin_rows.shape[1] + 8), dtype=np.uint8)
    sizes = np.zeros(len(bin_rows), dtype=np.int32)
    nested_quantizer.pack_packets(bin_rows, turn_rows, modulus, check_bits, out, sizes)
    return [row[:size].tobytes().hex() for row, size in zip(out, sizes, strict=True)]


def trellis_encode(case: Case) -> Case:
    codes = np.array(case["codes"], dtype=np.int16)
    bins, turns = np.zeros((2, len(codes)), dtype=np.int32)
    nested_quantizer.quantize_stream(
        codes, np.array(case["present"], dtype=np.bool_), np.array(case["taps"], dtype=np.int32), case["shift"],
        case["rounding"], case["modulus"], np.zeros(nested_quantizer.STATE_SLOTS, dtype=np.int32), bins, turns,
    )  # fmt: skip
    index_rows = _rows(bins.tolist(), case["packet_samples"], NO_LEVEL, np.int32)
    turn_rows = _rows(turns.tolist(), case["packet_samples"], 0, np.int32)
    trellis_quantizer.add_syndromes(index_rows, turn_rows, *case["code"][1:])
    payloads = _packed(index_rows, turn_rows, 2 * case["modulus"], case["check_bits"])
    indices = index_rows.reshape(-1)[: len(codes)]
    shown = np.where(indices == NO_LEVEL, 0, indices).tolist()
    return {"indices": shown, "turns": turns.tolist(), "payloads": payloads}


def is_trellis_code(case: Case) -> bool:
    try:
        blob.make_trellis(8, 65535, 0, 1.0, 0.0, tuple(case["code"]), [(1, 4, 8, [1])])
    except FormatError:
        return False
    return True


def _sets(case: Case) -> np.ndarray:
    words = np.zeros((len(case["sets"]), (case["packet_samples"] + 31) // 32), dtype=np.int64)
    for plane, chosen in enumerate(case["sets"]):
        for position in chosen:
            words[plane, position >> 5] |= 1 << (position & 31)
    return words


def syndrome_encode(case: Case) -> Case:
    codes, slots = np.array(case["codes"], dtype=np.int16), case["packet_samples"]
    bins, turns = np.zeros((2, len(codes)), dtype=np.int32)
    nested_quantizer.quantize_stream(
        codes, np.array(case["present"], dtype=np.bool_), np.array(case["taps"], dtype=np.int32), case["shift"],
        case["rounding"], 1 << case["low_bits"], np.zeros(nested_quantizer.STATE_SLOTS, dtype=np.int32), bins, turns,
    )  # fmt: skip
    bin_rows = _rows(bins.tolist(), slots, NO_LEVEL, np.int32)
    turn_rows = _rows(turns.tolist(), slots, 0, np.int32)
    sets = _sets(case)
    planes = np.zeros((len(sets), polar.transform_words_of(slots)), dtype=np.int64)
    out = np.zeros((len(bin_rows), 2 * slots + 4), dtype=np.uint8)
    sizes = np.zeros(len(bin_rows), dtype=np.int32)
    polar.pack_blocks(bin_rows, turn_rows, case["low_bits"], sets, case["block_check_bits"], planes, out, sizes)
    payloads = [row[:size].tobytes() for row, size in zip(out, sizes, strict=True)]
    present = _rows(case["present"], slots, 0, np.bool_)
    rows = [_syndrome_parsed(case, payload, here) for payload, here in zip(payloads, present, strict=True)]
    indices = np.concatenate([values for values, _, _ in rows])[: len(codes)]
    return {"indices": np.where(indices == NO_LEVEL, 0, indices).tolist(), "payloads": [payload.hex() for payload in payloads]}


def _syndrome_parsed(case: Case, payload: bytes, present: np.ndarray) -> tuple[np.ndarray, int, int]:
    values = np.empty((1, len(present)), dtype=np.int32)
    check, status = np.empty((2, 1), dtype=np.int32)
    polar.unpack_blocks(
        *_joined(payload), present[None], np.array([len(present)], dtype=np.int32), case["low_bits"], _sets(case),
        case["block_check_bits"], values, check, status, np.empty(len(present), dtype=np.int64),
    )  # fmt: skip
    return values[0], int(check[0]), int(status[0])


def syndrome_parse(case: Case, payload: bytes, present: list[bool]) -> Case | None:
    values, check, status = _syndrome_parsed(case, payload, np.array(present, dtype=np.bool_))
    assert np.array_equal(values != NO_LEVEL, np.array(present, dtype=np.bool_) & (status == 0))
    return None if status < 0 else {"indices": np.where(values == NO_LEVEL, 0, values).tolist(), "check": check}


def nested_parse(payload: bytes, present: list[bool], modulus: int, check_bits: int) -> Case | None:
    bins = np.empty((1, len(present)), dtype=np.int32)
    check, status = np.empty((2, 1), dtype=np.int32)
    nested_quantizer.unpack_packets(
        *_joined(payload), np.array([present], dtype=np.bool_), np.array([len(present)], dtype=np.int32), modulus,
        check_bits, bins, check, status,
    )  # fmt: skip
    assert np.array_equal(bins[0] != NO_LEVEL, np.array(present) & (status[0] == 0))
    return None if status[0] < 0 else {"bins": np.where(bins == NO_LEVEL, 0, bins)[0].tolist(), "check": int(check[0])}


def _joined(payload: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The payload between two others, so that a read past its ends shows."""
    data = np.frombuffer(b"\xa5" * 7 + payload + b"\x5a" * 7, dtype=np.uint8)
    return data, np.array([7, 7 + len(payload)], dtype=np.int64)


def node_model(case: Case, packet_samples: int) -> NodeModel:
    return blob.make_predictive(
        packet_samples, 50, 1.0, 0.0, len(case["predictors"]) - 1, case["predictors"], case["thresholds"],
        case["position_tables"], case["contexts"], case["cdf_bits"],
        [(case["step_q8"], case["rounding_q8"], [(table["direct"], table["cdf"]) for table in case["tables"]])],
    )  # fmt: skip


def layered_point(case: Case) -> LayeredRatePoint:
    alphabets = tuple(case["alphabets"])
    messages = np.empty((len(case["numbers"]), len(alphabets)), np.uint8)
    numbers = np.array(case["numbers"])
    for layer in reversed(range(len(alphabets))):
        numbers, messages[:, layer] = np.divmod(numbers, alphabets[layer])
    cdfs = tuple(np.array(rows, np.int32).reshape(-1, m + 1) for rows, m in zip(case["cdfs"], alphabets, strict=True))
    point = LayeredRatePoint(np.array(case["thresholds"], np.int32), messages, alphabets, cdfs)
    return replace(point, positions=_positions(case)) if "sets" in case else point


def _positions(case: Case) -> np.ndarray:
    sent = np.zeros((len(case["sets"]), case["packet_samples"]), dtype=np.bool_)
    for plane, chosen in enumerate(case["sets"]):
        sent[plane, chosen] = True
    return sent


def layered_encode(case: Case) -> Case:
    flat = layered.Flat(layered_point(case), case["cdf_bits"])
    codes, messages = np.array(case["codes"], np.int16), np.empty(len(case["codes"]), np.int32)
    threshold_table.encode_codes(codes, flat.lookup, messages)
    halved = [case["numbers"][threshold_table.interval_of(np.array(case["thresholds"], np.int32), code)] for code in codes]
    assert halved == messages.tolist()
    threshold_table.drop_absent(np.array(case["present"], dtype=np.bool_), messages)
    rows = _rows(messages.tolist(), case["packet_samples"], NO_LEVEL, np.int32)
    out = np.zeros((len(rows), 16 * rows.shape[1] + 8), dtype=np.uint8)
    sizes = np.zeros(len(rows), dtype=np.int32)
    first, last = case["first"], case["last"]
    threshold_table.pack_packets(rows, flat.symbols, flat.prefixes, *flat.coding(first), first, last, out, sizes)
    payloads = [row[:size].tobytes().hex() for row, size in zip(out, sizes, strict=True)]
    return {"messages": np.where(messages == NO_LEVEL, 0, messages).tolist(), "payloads": payloads}


def layered_parse(case: Case, payload: bytes, present: list[bool]) -> Case | None:
    """{symbols, layers} or None for malformed; absent symbols are 0."""
    flat = layered.Flat(layered_point(case), case["cdf_bits"])
    coding = flat.coding(case["first"])
    values = np.empty((1, len(present)), np.int32)
    depths, status = np.empty((2, 1), np.int32)
    threshold_table.unpack_packets(
        np.frombuffer(payload, np.uint8), np.array([0, len(payload)]), np.array([present]), np.array([len(present)], np.int32),
        coding.bits, flat.alphabets, coding.starts, coding.strides, coding.cdfs, coding.total_bits, case["first"],
        np.array([case["last"]], np.int32), values, depths, status,
    )  # fmt: skip
    if status[0] < 0:
        return None
    return {"symbols": np.where(values[0] == NO_LEVEL, 0, values[0]).tolist(), "layers": int(depths[0])}


def layered_block(case: Case) -> Case:
    """{messages, payload} of one packet."""
    node = run_model({**case, "hello_every": 1})
    codes, present = np.array([case["codes"]], np.int16), np.array([case["present"]], np.bool_)
    found = layered.messages(node, 0, codes, present)
    payload = layered.pack(node, 0, found, case["first"], case["last"])[0]
    return {"messages": np.where(found[0] == NO_LEVEL, 0, found[0]).tolist(), "payload": payload.hex()}


def layered_block_parse(case: Case, payload: bytes, present: list[bool]) -> Case | None:
    """{values, layers} or None for malformed; absent samples are 0."""
    node, first = run_model({**case, "hello_every": 1}), case["first"]
    here = np.zeros((1, node.packet_samples), np.bool_)
    here[0, : len(present)] = present
    lasts, counts = np.array([case["last"]], np.int32), np.array([len(present)], np.int32)
    data, ends = np.frombuffer(payload, np.uint8), np.array([0, len(payload)])
    values, depths, status = layered.unpack(node, 0, data, ends, counts, here, first, lasts)
    if status[0] < 0:
        return None
    if not first:
        parsed = layered.parse(node, 0, data, ends, counts, here)
        values = parsed["values"]
    shown = np.where(values[0] == NO_LEVEL, 0, values[0])[: len(present)]
    return {"values": shown.tolist(), "layers": int(depths[0])}


def layered_node(case: Case, value: int, layers: int) -> int:
    return value + int(layered.Tree(tuple(case["alphabets"])).bases[layers])


def predictive_encode(case: Case) -> Case:
    count = len(case["codes"])
    codes = np.array([case["codes"]], dtype=np.int16)
    present = np.array([case["present"]], dtype=np.bool_)
    out = np.zeros((1, 5 * count + 8), dtype=np.uint8)
    sizes, recon = np.zeros(1, dtype=np.int32), np.zeros((1, count), dtype=np.int16)
    model = predictor.flatten_predictive(node_model(case, count), 0)
    failed = predictor.encode_packets(codes, present, np.array([count], dtype=np.int32), model, out, sizes, recon)
    assert failed == 0
    payload = out[0, : sizes[0]].tobytes()
    parsed = predictive_parse(case, payload, case["present"])
    assert parsed is not None and parsed["recon"] == recon[0].tolist()
    return {**parsed, "payload": payload.hex()}


def predictive_parse(case: Case, payload: bytes, present: list[bool]) -> Case | None:
    count = len(present)
    levels, preds, recon = np.empty((3, 1, count), dtype=np.int32)
    status = np.empty(1, dtype=np.int32)
    predictor.decode_packets(
        *_joined(payload), np.array([present], dtype=np.bool_), np.array([count], dtype=np.int32),
        predictor.flatten_predictive(node_model(case, count), 0), levels, preds, recon, status,
    )  # fmt: skip
    if status[0] < 0:
        return None
    assert np.array_equal(levels[0] != NO_LEVEL, np.array(present, dtype=np.bool_))
    shown = np.where(levels == NO_LEVEL, 0, levels)[0].tolist()
    return {"levels": shown, "preds": preds[0].tolist(), "recon": recon[0].tolist()}


def run_model(case: Case) -> NodeModel:
    if "alphabets" in case:
        point = replace(layered_point(case), sent=case["last"])
        return blob.make_layered(case["packet_samples"], case["hello_every"], 1.0, 0.0, [point], case.get("block_check_bits", 0))
    if "sets" in case:
        point = (1 << case["low_bits"], case["shift"], case["rounding"], case["taps"], _positions(case))
        return blob.make_syndrome(case["packet_samples"], case["hello_every"], 1.0, 0.0, case["block_check_bits"], [point])
    if "taps" in case:
        point = (case["modulus"], case["shift"], case["rounding"], case["taps"])
        if "code" in case:
            code = tuple(case["code"])
            return blob.make_trellis(
                case["packet_samples"], case["hello_every"], case["check_bits"], 1.0, 0.0, code, [point]
            )
        return blob.make_nested(case["packet_samples"], case["hello_every"], case["check_bits"], 1.0, 0.0, [point])
    tables = [(table["direct"], table["cdf"]) for table in case["tables"]]
    return blob.make_predictive(
        case["packet_samples"], case["hello_every"], 1.0, 0.0, len(case["predictors"]) - 1, case["predictors"],
        case["thresholds"], case["position_tables"], case["contexts"], case["cdf_bits"],
        [(case["step_q8"], case["rounding_q8"], tables)],
    )  # fmt: skip


def node_run(case: Case) -> Case:
    model = run_model(case)
    encoder = NodeEncoder(
        model, case["node_id"], period_us=case["period_us"], boot_epoch=case["boot_epoch"], start_ms=case["start_ms"],
        shared_link=bool(case["shared"]), packet_counter=case["packet_counter"], sample_index=case["sample_index"],
    )  # fmt: skip
    codes, present = np.array(case["codes"], dtype=np.int16), np.array(case["present"], dtype=np.bool_)
    half = len(codes) // 2 + 1  # in two calls: what waits between them is part of the run
    packets = encoder.encode(codes[:half], present[:half]) + encoder.encode(codes[half:], present[half:])
    packets += encoder.flush()
    return {
        "blob": model.blob.hex(), "model_id": model.model_id.hex(), "packets": [packet.hex() for packet in packets],
        "frames": [framing.encode_frame(packet).hex() for packet in packets],
    }  # fmt: skip
