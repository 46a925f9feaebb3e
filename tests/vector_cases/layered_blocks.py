"""Scheme `layered`, SPEC 11, in blocks."""

import random
from collections.abc import Iterator

from tests.reference import layered, range_coder
from tests.vector_cases.layered import layered_table
from tests.vector_cases.samples import Case, columns


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
                case = {**table, **columns(samples), "packet_samples": slots, "first": span[0], "last": span[1], "payload": payload.hex()}
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
