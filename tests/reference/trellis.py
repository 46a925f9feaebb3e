"""SPEC 9 in Python integers. Samples are a list with None for absent ones."""

from tests.reference import nested


def syndromes(z: list[int], memory: int, h0: int, h1: int) -> list[int]:
    """Two circular convolutions mod 2, bit by bit, without a register: bit i of h0 and h1 acts i samples later."""
    found = [0] * len(z)
    for n, value in enumerate(z):
        for delay in range(memory + 1):
            found[(n + delay) % len(z)] ^= (h0 >> delay & value & 1) ^ (h1 >> delay & value >> 1 & 1)
    return found


def is_code(memory: int, h0: int, h1: int) -> bool:
    """SPEC 9.3, the common factor by trying them all: of h(D^k) it is that of h(D), each D become D^k."""
    if not 2 <= memory <= 30 or h0 >> memory != 1 or not h0 & 1 or not 0 < h1 < 1 << memory or h1 & 1:
        return False
    stride = max(k for k in range(1, memory + 1) if not any((h0 | h1) >> place & 1 and place % k for place in range(memory + 1)))
    if memory > 10 * stride:
        return False
    h0, h1 = (sum((taps >> stride * place & 1) << place for place in range(memory // stride + 1)) for taps in (h0, h1))
    return not any(_divides(factor, h0) and _divides(factor, h1) for factor in range(2, h1 + 1))


def _divides(factor: int, polynomial: int) -> bool:
    while polynomial.bit_length() >= factor.bit_length():
        polynomial ^= factor << polynomial.bit_length() - factor.bit_length()
    return polynomial == 0


def encode(
    samples: list[int | None], point: tuple[list[int], int, int, int], code: tuple[int, int, int], check_bits: int, slots: int
) -> tuple[list[int | None], list[int | None], list[bytes]]:
    """(indices, turns, payloads) from boot on; `point`: taps, shift, rounding, q."""
    taps, shift, rounding, q = point
    lows, turns, _ = nested.quantize(samples, taps, shift, rounding, q)
    indices: list[int | None] = []
    payloads = []
    for at in range(0, len(samples), slots):
        here = [turn for turn in turns[at : at + slots] if turn is not None]
        bits = iter(syndromes([turn % 4 for turn in here], *code))
        packet = [None if low is None else 2 * low + next(bits) for low in lows[at : at + slots]]
        payloads.append(nested.pack(packet, turns[at : at + slots], 2 * q, check_bits))
        indices += packet
    return indices, turns, payloads
