"""Scheme `trellis`, SPEC 9."""

import random
from collections.abc import Iterator

from tests.reference import trellis
from tests.vector_cases.samples import Case, columns, sample_runs


def strided(code: tuple[int, int, int], stride: int) -> tuple[int, int, int]:
    """`stride` codes that take turns."""
    memory, *taps = code
    h0, h1 = (sum((word >> place & 1) << stride * place for place in range(memory + 1)) for word in taps)
    return memory * stride, h0, h1


def trellis_cases(rng: random.Random) -> Iterator[Case]:
    codes = [(2, 0o5, 0o2), (3, 0o13, 0o4), (4, 0o23, 0o4), (5, 0o45, 0o10), (6, 0o147, 0o76), (8, 0o515, 0o362), (10, 0o3221, 0o472)]
    codes += [strided(code, stride) for code, stride in (((3, 0o13, 0o4), 3), ((8, 0o515, 0o362), 3), ((10, 0o3221, 0o472), 3), ((2, 0o5, 0o2), 15))]
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
    for memory in range(2, 11):
        for stride in range(2, 31 // memory + 1):
            h0, h1 = rng.randrange(2 << memory) | 1 << memory | 1, rng.randrange(1 << memory) & ~1
            tried += [strided((memory, h0, h1), stride), (memory * stride, h0 | 1 << memory * stride, h1)]
    tried += [(30, 1 << 30 | 1, 1 << 29), (31, 1 << 31 | 1, 1 << 1), (20, 1 << 20 | 1 << 10 | 1, 1 << 10)]
    tried += [(22, 1 << 22 | 1, 1 << 11), (22, 1 << 22 | 1, 1 << 2)]
    for code in tried:
        yield {"code": list(code), "valid": int(trellis.is_code(*code))}
