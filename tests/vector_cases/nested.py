"""Scheme `nested`, SPEC 3."""

import random
from collections.abc import Iterator

from tests.reference import nested, range_coder
from tests.reference.arithmetic import pack_bits
from tests.vector_cases.samples import Case, columns, sample_runs


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
        for samples in sample_runs(rng):
            yield _nested_case(samples, taps, shift, rounding, modulus, check_bits, rng.choice([1, 7, 32]))


def _nested_case(
    samples: list[int | None], taps: list[int], shift: int, rounding: int, modulus: int, check_bits: int, slots: int
) -> Case:
    bins, turns, saturated = nested.quantize(samples, taps, shift, rounding, modulus)
    starts = range(0, len(samples), slots)
    payloads = [nested.pack(bins[i : i + slots], turns[i : i + slots], modulus, check_bits).hex() for i in starts]
    return {
        "taps": taps, "shift": shift, "rounding": rounding, "modulus": modulus, "check_bits": check_bits,
        "packet_samples": slots, **columns(samples), "bins": [0 if v is None else v for v in bins],
        "turns": [0 if v is None else v for v in turns], "saturated": saturated, "payloads": payloads,
    }  # fmt: skip


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
