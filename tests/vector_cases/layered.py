"""Scheme `layered`, SPEC 11, sample by sample."""

import random
from collections.abc import Iterator

from tests.reference import layered, range_coder
from tests.vector_cases.samples import Case, columns, jumps, sample_runs


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
        for samples in [*sample_runs(rng), jumps(rng)]:
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
    return {**table, **columns(samples), "packet_samples": slots, "first": first, "last": last, **shown, "payloads": payloads}


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


def _layered_parse_case(table: Case, payload: bytes, first: int, last: int, n: int) -> Case:
    case = {**table, "first": first, "last": last, "count": n, "payload": payload.hex()}
    try:
        values, layers = layered.unpack(table, payload, [True] * n, first, last, first > 0)
    except range_coder.Malformed:
        return {**case, "valid": 0}
    return {**case, "valid": 1, "symbols": values, "layers": layers}
