"""Writes tests/vectors: cases for every implementation of SPEC 1 to 4, integers and hex only, one JSON object per line.

    python -m tests.make_vectors

Cases come from `tests.reference` alone, never from the code under test. MANIFEST.json holds the number of cases and the
SHA-256 of each file. Changed vectors are a change of the format: see SPEC, then CHANGELOG, "Bitstream".
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.reference import layered, nested, node, predictive, range_coder, syndrome, trellis
from tests.reference.arithmetic import level_check, pack_bits, sat16, sat32, shift_round

VECTORS = Path(__file__).parent / "vectors"
EXTREMES = [-32768, -32767, -1, 0, 1, 2, 32766, 32767]
Case = dict[str, Any]


def arithmetic_cases(rng: random.Random) -> Iterator[Case]:
    values = [-(2**31), -(2**31) + 1, -32769, *EXTREMES, 32768, 2**30 - 1, 2**31 - 1]
    values += [rng.randrange(-(2**30), 2**30) for _ in range(20)]
    for v in values:
        yield {"op": "sat16", "v": v, "result": sat16(v)}
        for s in (0, 1, 2, 12, 30):
            if v + 2**s < 2**31:
                yield {"op": "shift_round", "v": v, "s": s, "result": shift_round(v, s)}
    for v in (-(2**31) - 1, -(2**31), 2**31 - 1, 2**31, 2**40, -(2**40)):
        yield {"op": "sat32", "v": v, "result": sat32(v)}


def level_check_cases(rng: random.Random) -> Iterator[Case]:
    rows = [[], [0], [255], [256], [32767], list(b"123456789")] + [_turns(rng, n) for n in (2, 16, 33, 300)]
    for turns in rows:
        for bits in (4, 8):
            yield {"turns": turns, "bits": bits, "check": level_check(turns, bits)}


def _turns(rng: random.Random, n: int) -> list[int]:
    return [rng.randrange(32768) for _ in range(n)]


def range_coder_cases(rng: random.Random) -> Iterator[Case]:
    """Steps are [start, size, total bits] for a symbol, [value, n] for plain bits."""
    first, last = [0, 1, 16], [65535, 1, 16]
    runs: list[list[list[int]]] = [[], [first], [last], [first] * 9, [last] * 9, [last] + [first] * 20]
    runs += [[[0, 65535, 16]] * 40, [[0, 1 << 15, 16]] * 100, [[1, 65535, 16]] * 100, [[0, 1, 0]], [[0xBEEF, 16]]]
    runs += [[[n, n + 1] for n in range(16)]]
    runs += [_random_steps(rng, n) for n in (1, 2, 3, 5, 8, 20, 60, 200)]
    runs += [[[32767, 2, 16]] * n + [last] * 3 for n in range(6)]  # a carry through bytes 255
    for steps in runs:
        coder = range_coder.Encoder()
        for step in steps:
            if len(step) == 3:
                coder.encode(*step)
            else:
                coder.encode_bits(*step)
        yield {"steps": steps, "payload": coder.finish().hex()}


def _random_steps(rng: random.Random, n: int) -> list[list[int]]:
    steps = []
    for _ in range(n):
        bits = rng.randrange(17)
        if rng.random() < 0.3:
            steps.append([rng.randrange(2**bits), bits])
            continue
        start = rng.randrange(2**bits)
        steps.append([start, 1 + rng.randrange(2**bits - start), bits])
    return steps


def nested_cases(rng: random.Random) -> Iterator[Case]:
    settings = [
        ([1 << 10], 10, 1 << 9, 2, 0), ([1 << 10], 10, 1 << 9, 4, 4), ([-331], 13, 4096, 8, 8), ([65535], 0, 0, 16, 8),
        ([1], 0, 0, 32768, 0), ([-1], 0, 0, 32768, 8), ([1000], 12, 2048, 3, 0), ([1000], 12, 2048, 3, 4),
        ([77], 9, 256, 5, 8), ([1 << 12], 12, 0, 4095, 0), ([1 << 14], 14, 8191, 1000, 8),
        ([700, -300, 50], 11, 1024, 4, 4),
        ([rng.randrange(-4000, 4000) for _ in range(16)], 15, 1 << 14, 7, 8),
        ([rng.randrange(-4000, 4000) for _ in range(16)], 12, 1 << 11, 64, 0), ([0, 0, 0], 30, -5, 6, 4),
    ]  # fmt: skip
    for taps, shift, rounding, modulus, check_bits in settings:
        for samples in _sample_runs(rng):
            yield _nested_case(samples, taps, shift, rounding, modulus, check_bits, rng.choice([1, 7, 32]))


def _sample_runs(rng: random.Random) -> list[list[int | None]]:
    noisy: list[int | None] = [round(rng.gauss(0, 3000)) for _ in range(70)]
    holes = [None if rng.random() < 0.3 else value for value in noisy]
    return [[*EXTREMES, -16384, 16383], noisy, holes, [None] * 9 + [5]]


def _nested_case(
    samples: list[int | None], taps: list[int], shift: int, rounding: int, modulus: int, check_bits: int, slots: int
) -> Case:
    bins, turns, saturated = nested.quantize(samples, taps, shift, rounding, modulus)
    starts = range(0, len(samples), slots)
    payloads = [nested.pack(bins[i : i + slots], turns[i : i + slots], modulus, check_bits).hex() for i in starts]
    return {
        "taps": taps, "shift": shift, "rounding": rounding, "modulus": modulus, "check_bits": check_bits,
        "packet_samples": slots, **_columns(samples), "bins": [0 if v is None else v for v in bins],
        "turns": [0 if v is None else v for v in turns], "saturated": saturated, "payloads": payloads,
    }  # fmt: skip


def _columns(samples: list[int | None]) -> Case:
    return {"codes": [0 if v is None else v for v in samples], "present": [int(v is not None) for v in samples]}


def trellis_cases(rng: random.Random) -> Iterator[Case]:
    codes = [(2, 0o5, 0o2), (3, 0o13, 0o4), (4, 0o23, 0o4), (5, 0o45, 0o10), (6, 0o147, 0o76), (8, 0o515, 0o362), (10, 0o3221, 0o472)]
    settings = [
        ([1 << 10], 13, 1 << 12, 1, 0), ([-331], 13, 4096, 2, 8), ([65535], 0, 0, 8, 4), ([1], 0, 0, 4096, 0),
        ([700, -300, 50], 11, 1024, 4, 8),
    ]  # fmt: skip
    for code in codes:
        for taps, shift, rounding, q, check_bits in settings:
            for samples in _sample_runs(rng):
                slots = rng.choice([1, 3, 8, 32, 64])
                point = taps, shift, rounding, q
                indices, turns, payloads = trellis.encode(samples, point, code, check_bits, slots)
                yield {
                    "code": list(code), "taps": taps, "shift": shift, "rounding": rounding, "modulus": q,
                    "check_bits": check_bits, "packet_samples": slots, **_columns(samples),
                    "indices": [v or 0 for v in indices], "turns": [v or 0 for v in turns],
                    "payloads": [payload.hex() for payload in payloads],
                }  # fmt: skip


def trellis_code_cases(rng: random.Random) -> Iterator[Case]:
    """Codes that loaders take and refuse: all of memory 2 with a bit more than there is room for, the ends of the others, random ones."""
    tried = [(2, h0, h1) for h0 in range(10) for h1 in range(10)] + [(memory, 0o5, 0o2) for memory in (0, 1, 3)]
    tried += [(1, 3, 1), (1, 3, 2), (11, 0o5001, 0o2), (16, 1, 2), (10, 0o3221, 0o472), (10, 0o3221, 0o2472), (10, 0o3221, 0o473)]
    for memory in range(3, 11):
        for _ in range(12):
            h0, h1 = rng.randrange(2 << memory), rng.randrange(1 << memory)
            tried += [(memory, h0, h1), (memory, h0 | 1 << memory | 1, h1 & ~1)]
    for code in tried:
        yield {"code": list(code), "valid": int(trellis.is_code(*code))}


def syndrome_cases(rng: random.Random) -> Iterator[Case]:
    points = [
        ([1 << 10], 13, 1 << 12, 1, 16), ([-331], 13, 4096, 0, 12), ([65535], 0, 0, 3, 8), ([1], 0, 0, 12, 6),
        ([700, -300, 50], 11, 1024, 2, 8),
    ]  # fmt: skip
    for taps, shift, rounding, low_bits, check_bits in points:
        for slots, planes in ((1, 1), (3, 2), (32, 2), (33, 4), (64, 1), (100, 2), (7, 0)):
            if planes or low_bits:
                sets = [sorted(rng.sample(range(slots), rng.randrange(1, slots + 1))) for _ in range(planes)]
                point = taps, shift, rounding, low_bits
                for samples in _sample_runs(rng):
                    indices, payloads = syndrome.encode(samples, point, sets, check_bits, slots)
                    yield {
                        "taps": taps, "shift": shift, "rounding": rounding, "low_bits": low_bits, "sets": sets,
                        "block_check_bits": check_bits, "packet_samples": slots, **_columns(samples),
                        "indices": [v or 0 for v in indices], "payloads": [payload.hex() for payload in payloads],
                    }  # fmt: skip


def malformed_syndrome_cases(rng: random.Random) -> Iterator[Case]:
    """Payloads that must be refused (valid 0) or taken (valid 1, with indices and check)."""
    for low_bits, sets, check_bits, n in ((0, [[0, 3]], 6, 4), (2, [[1], [0, 1, 2]], 8, 5), (1, [], 12, 3), (12, [[4]], 16, 5)):
        size = (low_bits * n + sum(map(len, sets)) + check_bits + 7) // 8
        payloads = [rng.randbytes(size) for _ in range(20)] + [bytes(size), b"\xff" * size]
        payloads += [rng.randbytes(k) for k in (0, 1, size - 1, size + 1)] + [bytes(size + 1)]
        payloads += [bytes([*rng.randbytes(size - 1), rng.randrange(256) & 0xF0]) for _ in range(8)]
        for payload in payloads:
            case = {"low_bits": low_bits, "sets": sets, "block_check_bits": check_bits, "packet_samples": n, "payload": payload.hex()}
            try:
                indices, check = syndrome.unpack(payload, [True] * n, low_bits, sets, check_bits)
            except range_coder.Malformed:
                yield {**case, "valid": 0}
            else:
                yield {**case, "valid": 1, "indices": indices, "check": check}


def layered_table(rng: random.Random, alphabets: list[int], coded: list[int], intervals: int, cdf_bits: int) -> Case:
    """A random table of SPEC 11 as the JSON fields of a case."""
    messages, rows = 1, []
    for layer, alphabet in enumerate(alphabets):
        cdfs = [[0, *sorted(rng.sample(range(1, 2**cdf_bits), alphabet - 1)), 2**cdf_bits] for _ in range(messages)]
        rows.append(cdfs if layer in coded else [])
        messages *= alphabet
    thresholds = sorted(rng.sample(range(-32767, 32768), intervals - 1))
    numbers = [rng.randrange(messages) for _ in range(intervals)]
    return {
        "alphabets": alphabets, "thresholds": thresholds, "numbers": numbers, "cdfs": rows,
        "cdf_bits": cdf_bits if coded else 0,
    }  # fmt: skip


def layered_tables(rng: random.Random, most: int) -> Iterator[Case]:
    """`most`: intervals of a table."""
    for alphabets, coded, intervals, cdf_bits in (
        ([2], [], 2, 8), ([2, 2, 2], [], 155, 8), ([4, 4], [1], 40, 12), ([2, 3, 2], [1], 17, 14), ([2, 4, 2, 8], [1, 3], 61, 10),
        ([64, 4], [], 200, 8), ([3, 5], [0, 1], 9, 8), ([2] * 8, [2, 5], 90, 9),
    ):  # fmt: skip
        yield layered_table(rng, alphabets, coded, min(intervals, most), cdf_bits)
    yield {**layered_table(rng, [2, 2], [], 4, 8), "thresholds": [-32767, 0, 32767]}


def layered_cases(rng: random.Random) -> Iterator[Case]:
    for table in layered_tables(rng, 200):
        layers = len(table["alphabets"])
        spans = [(first, last) for first in range(layers) for last in range(first + 1, layers + 1)]
        for samples in [*_sample_runs(rng), _jumps(rng)]:
            for first, last in rng.sample(spans, min(len(spans), 2)):
                yield _layered_case(table, samples, first, last, rng.choice([1, 3, 8, 32]))


def _layered_case(table: Case, samples: list[int | None], first: int, last: int, slots: int) -> Case:
    messages = [None if x is None else layered.message(table, x) for x in samples]
    how = layered.marginal(table) if first else table
    cuts = [messages[i : i + slots] for i in range(0, len(messages), slots)]
    payloads = [layered.pack(how, cut, first, last, first > 0).hex() for cut in cuts]
    found = []
    for cut, payload in zip(cuts, payloads, strict=True):
        values, layers = layered.unpack(how, bytes.fromhex(payload), [m is not None for m in cut], first, last, first > 0)
        found += [layered.node(v or 0, table["alphabets"], layers) if not first else v or 0 for v in values]
    shown = {"messages": [m or 0 for m in messages], "values": found}
    return {**table, **_columns(samples), "packet_samples": slots, "first": first, "last": last, **shown, "payloads": payloads}


def malformed_layered_cases(rng: random.Random) -> Iterator[Case]:
    """Every truncation of good payloads, bytes too many, and noise."""
    for table in layered_tables(rng, 6):
        layers = len(table["alphabets"])
        for first, n in ((0, 5), (1, 11)):
            if first == layers:
                continue
            how = layered.marginal(table) if first else table
            good = layered.pack(how, [rng.choice(table["numbers"]) for _ in range(n)], first, layers, first > 0)
            payloads = [good[:size] for size in range(len(good) + 1)] + [good + b"\0", good + b"\1", good[:-1] + b"\xff"]
            payloads += [rng.randbytes(len(good)), b"\xff" * len(good), b"\xff" * 4]
            for payload in payloads:
                yield _layered_parse_case(how, payload, first, layers, n)


def layered_block_tables(rng: random.Random) -> Iterator[tuple[int, Case]]:
    """(samples of a packet, a table of random sets)."""
    for alphabets, check_bits, slots in (([2, 2, 2], 12, 64), ([4, 4], 8, 100), ([2, 8, 2], 6, 33), ([2] * 8, 16, 32), ([16], 12, 70)):
        planes = sum(m.bit_length() - 1 for m in alphabets)
        sets = [sorted(rng.sample(range(slots), rng.randrange(1, slots + 1))) for _ in range(planes)]
        yield slots, {**layered_table(rng, alphabets, [], 30, 8), "sets": sets, "block_check_bits": check_bits}


def layered_block_cases(rng: random.Random) -> Iterator[Case]:
    for slots, table in layered_block_tables(rng):
        layers = len(table["alphabets"])
        for absent, length in ((0.0, slots), (0.1, slots), (0.0, 32), (0.0, 31), (0.7, slots), (0.0, min(slots, 45))):
            samples = [None if rng.random() < absent else rng.randrange(-32768, 32768) for _ in range(length)]
            messages = [None if x is None else layered.message(table, x) for x in samples]
            first = rng.randrange(layers)
            for span in ((0, layers), (0, rng.randint(1, layers)), (first, rng.randint(first + 1, layers))):
                payload = layered.payload_of(table, messages, *span, slots)
                case = {**table, **_columns(samples), "packet_samples": slots, "first": span[0], "last": span[1], "payload": payload.hex()}
                values, _ = layered.parse_packet(table, payload, [m is not None for m in messages], *span)
                yield {**case, "messages": [m or 0 for m in messages], "values": [v or 0 for v in values]}


def malformed_layered_block_cases(rng: random.Random) -> Iterator[Case]:
    """Every truncation of a good payload, bytes too many, and noise."""
    for slots, table in layered_block_tables(rng):
        layers = len(table["alphabets"])
        for first in {0, layers - 1}:
            good = layered.payload_of(table, [rng.choice(table["numbers"]) for _ in range(slots)], first, layers, slots)
            payloads = [good[:size] for size in range(len(good))] + [good + b"\0", good[:-1] + b"\xff", rng.randbytes(len(good))]
            for payload in payloads:
                case = {**table, "first": first, "last": layers, "packet_samples": slots, "payload": payload.hex()}
                try:
                    values, found = layered.parse_packet(table, payload, [True] * slots, first, layers)
                except range_coder.Malformed:
                    yield {**case, "valid": 0}
                else:
                    yield {**case, "valid": 1, "values": values, "layers": found}


def _layered_parse_case(table: Case, payload: bytes, first: int, last: int, n: int) -> Case:
    case = {**table, "first": first, "last": last, "count": n, "payload": payload.hex()}
    try:
        values, layers = layered.unpack(table, payload, [True] * n, first, last, first > 0)
    except range_coder.Malformed:
        return {**case, "valid": 0}
    return {**case, "valid": 1, "symbols": values, "layers": layers}


def malformed_nested_cases(rng: random.Random) -> Iterator[Case]:
    """Payloads that must be refused (valid 0) or taken (valid 1, with bins and check)."""
    for modulus, check_bits, n in ((2, 0, 5), (4, 4, 5), (32, 8, 3), (3, 0, 5), (5, 8, 4), (4000, 4, 2)):
        payloads = [b"", b"\xff" * 4, b"\xff\xff\xff\xfe", b"\xff" * 6, bytes(12), bytes([1] * 12)]
        payloads += [rng.randbytes(size) for size in (1, 2, 2, 2, 3, 3, 4, 5)] + [pack_bits([(1, 40)])]
        for payload in payloads:
            yield _parse_case(payload, modulus, check_bits, n)


def _parse_case(payload: bytes, modulus: int, check_bits: int, n: int) -> Case:
    case = {"modulus": modulus, "check_bits": check_bits, "count": n, "payload": payload.hex()}
    try:
        bins, check = nested.unpack(payload, [True] * n, modulus, check_bits)
    except range_coder.Malformed:
        return {**case, "valid": 0}
    return {**case, "valid": 1, "bins": bins, "check": check}


def predictive_model(
    rng: random.Random, order: int, step_q8: int, rounding_q8: int, positions: int, contexts: int
) -> Case:
    """A random model of SPEC 4 as the JSON fields of a case."""
    cdf_bits = rng.choice([10, 12, 15])
    thresholds = sorted(rng.sample(range(1, 60), contexts - 1))
    rows = [[rng.randrange(-400, 400), *(rng.randrange(-5000, 5000) for _ in range(p))] for p in range(order + 1)]
    top = (65535 * 256 + rounding_q8) // step_q8
    tables = []
    for _ in range(positions + contexts):
        direct = rng.choice([0, 1, 3, 20, 100])
        symbols = 2 * direct + max(0, top - direct - 1).bit_length() + 2
        inner = sorted(rng.sample(range(1, 2**cdf_bits), symbols - 1))
        tables.append({"direct": direct, "cdf": [0, *inner, 2**cdf_bits]})
    return {
        "predictors": rows, "thresholds": thresholds, "position_tables": positions, "contexts": contexts,
        "cdf_bits": cdf_bits, "step_q8": step_q8, "rounding_q8": rounding_q8, "tables": tables,
    }  # fmt: skip


def reference_model(case: Case) -> predictive.Predictive:
    tables = [predictive.Table(table["direct"], table["cdf"]) for table in case["tables"]]
    return predictive.Predictive(
        case["predictors"], case["thresholds"], case["position_tables"], case["cdf_bits"], case["step_q8"],
        case["rounding_q8"], tables,
    )  # fmt: skip


def predictive_cases(rng: random.Random) -> Iterator[Case]:
    settings = [
        (0, 256, 128, 1, 1), (1, 256, 0, 1, 1), (2, 768, 384, 2, 3), (3, 1000, 333, 1, 5), (6, 2304, 1152, 8, 9),
        (6, 100_000, 50_000, 4, 2), (2, 1 << 24, 1 << 23, 1, 1), (4, 257, 256, 1, 9),
    ]  # fmt: skip
    for setting in settings:
        fields = predictive_model(rng, *setting)
        model = reference_model(fields)
        for samples in [*_sample_runs(rng), _jumps(rng)]:
            payload, levels, preds, recon = predictive.encode(model, samples)
            decoded = {"levels": levels, "preds": preds, "recon": recon}
            yield {**fields, **_columns(samples), **decoded, "payload": payload.hex()}


def _jumps(rng: random.Random) -> list[int | None]:
    return [rng.choice([-32768, 32767, 0, 5]) for _ in range(30)]


def malformed_predictive_cases(rng: random.Random) -> Iterator[Case]:
    fields = predictive_model(rng, 3, 512, 256, 2, 3)
    model = reference_model(fields)
    payloads = [b"", b"\xff" * 4, b"\xff" * 40, b"\xff\xff\xff\xfe", bytes(90)]
    for payload in [*payloads, *(rng.randbytes(n) for n in (1, 4, 9, 99))]:
        case = {**fields, "count": 12, "payload": payload.hex()}
        try:
            levels, preds, recon = predictive.decode(model, payload, [True] * 12)
        except range_coder.Malformed:
            yield {**case, "valid": 0}
        else:
            yield {**case, "valid": 1, "levels": levels, "preds": preds, "recon": recon}


def _blocks(rng: random.Random, slots: int) -> Case:
    """A model of SPEC 10 for packets of so many samples."""
    sets = [sorted(rng.sample(range(slots), rng.randrange(1, slots + 1))) for _ in range(2)]
    return {"taps": [1 << 10], "shift": 13, "rounding": 1 << 12, "low_bits": 1, "sets": sets, "block_check_bits": 12}


def node_cases(rng: random.Random) -> Iterator[Case]:
    """Whole runs: blob, hellos, data packets, frames."""
    plain = {"taps": [1 << 10], "shift": 13, "rounding": 1 << 12, "modulus": 4, "check_bits": 0}
    filtered = {"taps": [700, -300, 50], "shift": 11, "rounding": 1024, "modulus": 5, "check_bits": 8}
    coded = predictive_model(rng, 3, 1000, 500, 2, 3)
    convolved = {**plain, "code": [3, 0o13, 0o4], "modulus": 2, "check_bits": 8}
    links: list[Case] = [
        {"shared": 0, "node_id": 7, "packet_counter": 0, "sample_index": 0, "boot_epoch": 0, "start_ms": 0},
        {"shared": 1, "node_id": 127, "packet_counter": 250, "sample_index": 4000, "boot_epoch": 3, "start_ms": 1},
        {"shared": 1, "node_id": 128, "packet_counter": 2**32 - 3, "sample_index": 2**48 - 20, "boot_epoch": 65535,
         "start_ms": 2**48 - 1},
        {"shared": 0, "node_id": 32767, "packet_counter": 65535, "sample_index": 1, "boot_epoch": 1, "start_ms": 10**12},
    ]  # fmt: skip
    for model in (plain, filtered, coded, convolved):
        yield from _runs(rng, links, lambda slots, model=model: model)


TWO_LINKS: list[Case] = [
    {"shared": 0, "node_id": 7, "packet_counter": 0, "sample_index": 0, "boot_epoch": 0, "start_ms": 0},
    {"shared": 1, "node_id": 300, "packet_counter": 2**32 - 3, "sample_index": 2**48 - 20, "boot_epoch": 9, "start_ms": 1},
]


def syndrome_node_cases(rng: random.Random) -> Iterator[Case]:
    """The same with blocks."""
    return _runs(rng, TWO_LINKS, lambda slots: _blocks(rng, slots))


def layered_node_cases(rng: random.Random) -> Iterator[Case]:
    """The same with tables, which send all their layers or fewer."""
    tables = [{**table, "last": rng.randint(1, len(table["alphabets"]))} for table in layered_tables(rng, 60)]
    return _runs(rng, TWO_LINKS, lambda slots: rng.choice(tables))


def layered_block_node_cases(rng: random.Random) -> Iterator[Case]:
    """With tables that make blocks; runs end in a short packet, a block or not."""
    for slots, table in layered_block_tables(rng):
        for length in (slots, 2 * slots + 31, slots + 32):
            samples = [rng.randrange(-32768, 32768) if rng.random() < 0.95 else None for _ in range(length)]
            layers = rng.randint(1, len(table["alphabets"]))
            yield _run({**table, "last": layers}, rng.choice(TWO_LINKS), samples, slots, rng.choice([1, 10**6]), rng.choice([1, 3, 128]))


def _runs(rng: random.Random, links: list[Case], model_of: Callable[[int], Case]) -> Iterator[Case]:
    for link in links:
        for samples in [*_sample_runs(rng), [5] * 300]:
            slots, period = rng.choice([1, 4, 16, 64]), rng.choice([1, 10**6, 2**40 - 1])
            hello_every = rng.choice([1, 3, 128])
            yield _run(model_of(slots), link, samples, slots, period, hello_every)


def _run(model: Case, link: Case, samples: list[int | None], slots: int, period: int, hello_every: int) -> Case:
    case = {**model, **link, **_columns(samples), "packet_samples": slots, "hello_every": hello_every, "period_us": period}
    sent = node.run(case)
    frames = [node.cobs(bytes.fromhex(packet)).hex() for packet in sent["packets"]]
    return {**case, **sent, "frames": frames}


MAKERS: dict[str, Callable[[random.Random], Iterator[Case]]] = {
    "arithmetic": arithmetic_cases,
    "level_check": level_check_cases,
    "range_coder": range_coder_cases,
    "nested": nested_cases,
    "nested_payloads": malformed_nested_cases,
    "trellis": trellis_cases,
    "trellis_codes": trellis_code_cases,
    "syndrome": syndrome_cases,
    "syndrome_payloads": malformed_syndrome_cases,
    "layered": layered_cases,
    "layered_payloads": malformed_layered_cases,
    "layered_blocks": layered_block_cases,
    "layered_block_payloads": malformed_layered_block_cases,
    "predictive": predictive_cases,
    "predictive_payloads": malformed_predictive_cases,
    "node": node_cases,
    "syndrome_node": syndrome_node_cases,
    "layered_node": layered_node_cases,
    "layered_block_node": layered_block_node_cases,
}


def render(name: str) -> bytes:
    """The bytes of one file; the seed is the name, so files do not depend on each other."""
    cases = MAKERS[name](random.Random(name))
    return b"".join(json.dumps(case, separators=(",", ":")).encode() + b"\n" for case in cases)


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    manifest = {}
    for name in MAKERS:
        data = render(name)
        (VECTORS / f"{name}.jsonl").write_bytes(data)
        manifest[f"{name}.jsonl"] = {"cases": data.count(b"\n"), "sha256": hashlib.sha256(data).hexdigest()}
    (VECTORS / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
