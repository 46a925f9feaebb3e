"""Scheme `syndrome`, SPEC 10."""

import random
from collections.abc import Iterator

from tests.reference import range_coder, syndrome
from tests.vector_cases.samples import Case, columns, sample_runs


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
                for samples in sample_runs(rng):
                    indices, payloads = syndrome.encode(samples, point, sets, check_bits, slots)
                    yield {
                        "taps": taps, "shift": shift, "rounding": rounding, "low_bits": low_bits, "sets": sets,
                        "block_check_bits": check_bits, "packet_samples": slots, **columns(samples),
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
