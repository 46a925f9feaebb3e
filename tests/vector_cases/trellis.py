"""Scheme `trellis`, SPEC 9."""

import random
from collections.abc import Iterator

from tests.reference import trellis
from tests.vector_cases.samples import Case, columns, sample_runs


def trellis_cases(rng: random.Random) -> Iterator[Case]:
    codes = [(2, 0o5, 0o2), (3, 0o13, 0o4), (4, 0o23, 0o4), (5, 0o45, 0o10), (6, 0o147, 0o76), (8, 0o515, 0o362), (10, 0o3221, 0o472)]
    settings = [
        ([1 << 10], 13, 1 << 12, 1, 0), ([-331], 13, 4096, 2, 8), ([65535], 0, 0, 8, 4), ([1], 0, 0, 4096, 0),
        ([700, -300, 50], 11, 1024, 4, 8),
    ]  # fmt: skip
    for code in codes:
        for taps, shift, rounding, q, check_bits in settings:
            for samples in sample_runs(rng):
                slots = rng.choice([1, 3, 8, 32, 64])
                point = taps, shift, rounding, q
                indices, turns, payloads = trellis.encode(samples, point, code, check_bits, slots)
                yield {
                    "code": list(code), "taps": taps, "shift": shift, "rounding": rounding, "modulus": q,
                    "check_bits": check_bits, "packet_samples": slots, **columns(samples),
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
