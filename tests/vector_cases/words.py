"""Arithmetic of SPEC 1, level checks, the range coder."""

import random
from collections.abc import Iterator

from tests.reference import range_coder
from tests.reference.arithmetic import level_check, sat16, sat32, shift_round
from tests.vector_cases.samples import EXTREMES, Case


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
