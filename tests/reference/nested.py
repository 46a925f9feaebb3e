"""SPEC 3 in Python integers. Samples are a list with None for absent ones."""

from tests.reference.arithmetic import level_check, pack_bits, sat16, unpack_bits
from tests.reference.range_coder import Decoder, Encoder, Malformed

FLAT_BITS = 14


def quantize(
    samples: list[int | None], taps: list[int], shift: int, rounding: int, modulus: int
) -> tuple[list[int | None], list[int | None], int]:
    """(bins, turns, saturation count) from boot on."""
    history = [0] * (len(taps) - 1)
    bins: list[int | None] = []
    turns: list[int | None] = []
    saturated = 0
    for x in samples:
        if x is None:
            history = ([history[0], *history] if history else [])[: len(taps) - 1]
            bins.append(None)
            turns.append(None)
            continue
        window = [x, *history]
        acc = rounding + sum(tap * value for tap, value in zip(taps, window, strict=True))
        assert -(2**31) <= acc < 2**31
        level = sat16(acc >> shift)
        saturated += level != acc >> shift
        turn, index = divmod(level + 32768, modulus)
        bins.append(index)
        turns.append(turn)
        history = window[: len(taps) - 1]
    return bins, turns, saturated


def _flat_cdf(modulus: int) -> list[int]:
    return [j * 2**FLAT_BITS // modulus for j in range(modulus + 1)]


def _bits_of(modulus: int) -> int | None:
    bits = modulus.bit_length() - 1
    return bits if 2**bits == modulus else None


def pack(bins: list[int | None], turns: list[int | None], modulus: int, check_bits: int) -> bytes:
    """Payload of one packet."""
    check = level_check([turn for turn in turns if turn is not None], check_bits)
    sent = [index for index in bins if index is not None]
    bits = _bits_of(modulus)
    if bits is not None:
        return pack_bits([(index, bits) for index in sent] + [(check, check_bits)])
    coder, cdf = Encoder(), _flat_cdf(modulus)
    for index in sent:
        coder.encode(cdf[index], cdf[index + 1] - cdf[index], FLAT_BITS)
    if check_bits:
        coder.encode_bits(check, check_bits)
    return coder.finish()


def unpack(payload: bytes, present: list[bool], modulus: int, check_bits: int) -> tuple[list[int | None], int]:
    """(bins, level check or -1); Malformed if SPEC says so."""
    bits = _bits_of(modulus)
    if bits is not None:
        try:
            values = unpack_bits(payload, [bits] * sum(present) + [check_bits])
        except ValueError as error:
            raise Malformed(str(error)) from None
    else:
        coder, cdf = Decoder(payload), _flat_cdf(modulus)
        values = [coder.symbol(cdf, FLAT_BITS) for _ in range(sum(present))]
        values.append(coder.bits(check_bits))
        coder.finish()
    sent = iter(values[:-1])
    return [next(sent) if here else None for here in present], values[-1] if check_bits else -1
