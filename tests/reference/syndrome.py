"""SPEC 10 in Python integers. Samples are a list with None for absent ones; a set of positions is a list of numbers."""

from tests.reference import nested
from tests.reference.arithmetic import pack_bits, unpack_bits
from tests.reference.range_coder import Malformed

POLYNOMIALS = {6: 0x0C00, 8: 0x2F00, 12: 0x80F0, 16: 0x1021}


def transform(bits: list[int]) -> list[int]:
    """By its definition: what is sent at i is the sum of all bits at numbers that have every one-bit of i."""
    return [sum(bit for j, bit in enumerate(bits) if j & i == i) % 2 for i in range(len(bits))]


def block_check(levels: list[int], check_bits: int) -> int:
    """Polynomial division, bit by bit; levels plus 32768."""
    register = (2**check_bits - 1) * 2 ** (16 - check_bits)
    for u in levels:
        for byte in (u // 256, u % 256):
            register ^= byte * 256
            for _ in range(8):
                top = register >= 32768
                register = (2 * register) % 65536 ^ (POLYNOMIALS[check_bits] if top else 0)
    return register // 2 ** (16 - check_bits)


def pack(
    lows: list[int | None], turns: list[int | None], low_bits: int, sets: list[list[int]], check_bits: int, slots: int
) -> tuple[list[int | None], bytes]:
    """(indices, payload) of one packet."""
    size = 1
    while size < slots:
        size *= 2
    here = [turn for turn in turns if turn is not None]
    low = [value for value in lows if value is not None]
    sent = [(value, low_bits) for value in low]
    indices = list(low)
    for p, chosen in enumerate(sets):
        bits = transform([turn >> p & 1 for turn in here] + [0] * (size - len(here)))
        for i in sorted(chosen):
            if i < len(here):
                sent.append((bits[i], 1))
                indices[i] += bits[i] << low_bits + p
    levels = [turn * 2**low_bits + value for turn, value in zip(here, low, strict=True)]
    rest = iter(indices)
    columns = [None if value is None else next(rest) for value in lows]
    return columns, pack_bits([*sent, (block_check(levels, check_bits), check_bits)])


def encode(
    samples: list[int | None], point: tuple[list[int], int, int, int], sets: list[list[int]], check_bits: int, slots: int
) -> tuple[list[int | None], list[bytes]]:
    """(indices, payloads) from boot on; `point`: taps, shift, rounding, b."""
    taps, shift, rounding, low_bits = point
    lows, turns, _ = nested.quantize(samples, taps, shift, rounding, 2**low_bits)
    indices: list[int | None] = []
    payloads = []
    for at in range(0, len(samples), slots):
        found, payload = pack(lows[at : at + slots], turns[at : at + slots], low_bits, sets, check_bits, slots)
        indices += found
        payloads.append(payload)
    return indices, payloads


def unpack(
    payload: bytes, present: list[bool], low_bits: int, sets: list[list[int]], check_bits: int
) -> tuple[list[int | None], int]:
    """(indices, block check); Malformed if SPEC says so."""
    count = sum(present)
    kept = [[i for i in sorted(chosen) if i < count] for chosen in sets]
    widths = [low_bits] * count + [1] * sum(map(len, kept)) + [check_bits]
    try:
        values = unpack_bits(payload, widths)
    except ValueError as error:
        raise Malformed(str(error)) from None
    indices, rest = values[:count], iter(values[count:-1])
    for p, chosen in enumerate(kept):
        for i in chosen:
            indices[i] += next(rest) << low_bits + p
    found = iter(indices)
    return [next(found) if here else None for here in present], values[-1]
