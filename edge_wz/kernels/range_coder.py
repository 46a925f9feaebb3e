"""The range coder of SPEC 1.2: 32 bits, carry, bytes, power-of-two totals, shortest finish.

A coder's state travels as a tuple of plain integers (so it stays in registers), not as an array: (low, range,
position) when encoding, (code, range, position) when decoding. A position may run past the end of the buffer: the
encoder then writes nothing, and `finish` says so; the decoder reads zeros, as trailing zero bytes are not sent.
After "Range encoding: an algorithm for removing redundancy from a digitised message", G. N. N. Martin, 1979.
"""

import numpy as np
from numba import njit

from edge_wz.kernels.status import STATUS_CODE, STATUS_NO_SPACE, STATUS_OK, STATUS_TRAILING

RANGE_START = 0xFFFFFFFF
MASK32 = 0xFFFFFFFF
RENORM_LIMIT = 1 << 24
LOOKUP_BITS = 8


@njit(cache=True)
def _carry(out, position):
    """Add one to the bytes written. Bytes beyond the buffer are lost anyway."""
    i = min(position, out.shape[0]) - 1
    while i >= 0 and out[i] == 255:
        out[i] = 0
        i -= 1
    if i >= 0:
        out[i] += 1


@njit(cache=True)
def encode_symbol(out, low, span, position, start, size, total_bits):
    """Encode [start, start + size) of 2^total_bits; returns (low, range, position)."""
    r = span >> total_bits
    low += r * start
    span = span - r * start if start + size == 1 << total_bits else r * size
    if low > MASK32:
        low &= MASK32
        _carry(out, position)
    while span < RENORM_LIMIT:
        if position < out.shape[0]:
            out[position] = low >> 24
        position += 1
        low = (low << 8) & MASK32
        span <<= 8
    return low, span, position


@njit(cache=True)
def encode_bits(out, low, span, position, value, n):
    """Encode the n <= 16 low bits of `value` as they are."""
    if n > 8:
        low, span, position = encode_symbol(out, low, span, position, (value >> 8) & ((1 << (n - 8)) - 1), 1, n - 8)
        n = 8
    if n > 0:
        low, span, position = encode_symbol(out, low, span, position, value & ((1 << n) - 1), 1, n)
    return low, span, position


@njit(cache=True)
def finish(out, low, span, position):
    """Write the fewest bytes that decode to what was encoded; returns the size of the payload or STATUS_NO_SPACE."""
    k = 0
    mask = MASK32
    v = (low + mask) & ~mask
    while v >= low + span:
        k += 1
        mask >>= 8
        v = (low + mask) & ~mask
    if v > MASK32:
        v &= MASK32
        _carry(out, position)
    if position + k > out.shape[0]:
        return STATUS_NO_SPACE
    for i in range(k):
        out[position + i] = (v >> (24 - 8 * i)) & 0xFF
    position += k
    while position > 0 and out[position - 1] == 0:
        position -= 1
    return position


@njit(cache=True)
def next_byte(data, position, end):
    return np.int64(data[position]) if position < end else np.int64(0)


@njit(cache=True)
def start_decoder(data, begin, end):
    """(code, range, position) at the start of the payload data[begin:end]; code >= range is malformed."""
    code = 0
    for i in range(begin, begin + 4):
        code = (code << 8) | next_byte(data, i, end)
    return code, RANGE_START, begin + 4


@njit(cache=True)
def decode_target(code, span, total_bits):
    """Where in 0 .. 2^total_bits - 1 the next symbol lies."""
    # The masks change nothing; they tell the compiler that 32 bits suffice, which halves the cost of the division.
    return min((code & MASK32) // ((span & MASK32) >> total_bits), (1 << total_bits) - 1)


@njit(cache=True)
def decode_step(data, end, code, span, position, start, size, total_bits):
    """Take the symbol [start, start + size) out of the code; returns (code, range, position)."""
    r = span >> total_bits
    code -= r * start
    span = span - r * start if start + size == 1 << total_bits else r * size
    # At most two bytes, as total_bits <= 16; without a loop, for whether one comes is not predictable.
    shift = 8 * ((span < RENORM_LIMIT) + (span < RENORM_LIMIT >> 8))
    if position + 2 <= end:
        fresh = (np.int64(data[position]) << 8) | np.int64(data[position + 1])
    else:
        fresh = next_byte(data, position, end) << 8
    return (code << shift) | (fresh >> (16 - shift)), span << shift, position + (shift >> 3)


@njit(cache=True)
def decode_bits(data, end, code, span, position, n):
    """Decode n <= 16 plain bits; returns (value, code, range, position)."""
    value = 0
    if n > 8:
        value = decode_target(code, span, n - 8)
        code, span, position = decode_step(data, end, code, span, position, value, 1, n - 8)
        n = 8
    if n > 0:
        low_bits = decode_target(code, span, n)
        code, span, position = decode_step(data, end, code, span, position, low_bits, 1, n)
        value = (value << n) | low_bits
    return value, code, span, position


@njit(cache=True)
def finish_decoder(end, position):
    """STATUS_TRAILING if the payload has bytes that the decoder never needed."""
    return STATUS_TRAILING if position < end else STATUS_OK


def make_lookup(cdf: np.ndarray, total_bits: int) -> np.ndarray:
    """int32[256]: the symbol at the start of each of 2^8 equal parts of the table, where `find_symbol` begins."""
    targets = np.arange(1 << LOOKUP_BITS) << max(0, total_bits - LOOKUP_BITS)
    found = np.searchsorted(cdf, targets, side="right") - 1
    return np.minimum(found, len(cdf) - 2).astype(np.int32)


@njit(cache=True)
def find_symbol(cdf, first, lookup, total_bits, target):
    """The symbol s with cdf[first + s] <= target < cdf[first + s + 1]; its lookup table begins at cdf[lookup].

    A jump and, at most parts of the table, no step: halving would mispredict at each level.
    """
    s = cdf[lookup + (target >> max(0, total_bits - LOOKUP_BITS))]
    while cdf[first + s + 1] <= target:
        s += 1
    return s


@njit(cache=True)
def encode_batch(symbols, cdf, total_bits, out, sizes):
    """One payload per row of symbols int32[B, n] with one table; sizes int32[B] get its bytes or STATUS_NO_SPACE."""
    for p in range(symbols.shape[0]):
        low, span, position = 0, RANGE_START, 0
        for i in range(symbols.shape[1]):
            s = symbols[p, i]
            low, span, position = encode_symbol(out[p], low, span, position, cdf[s], cdf[s + 1] - cdf[s], total_bits)
        sizes[p] = finish(out[p], low, span, position)


@njit(cache=True)
def decode_batch(data, offsets, table, total_bits, symbols, status):
    """The inverse of `encode_batch`: row p is data[offsets[p]:offsets[p+1]]; `table`: the lookup, then the cdf."""
    cdf = table[1 << LOOKUP_BITS :]
    for p in range(symbols.shape[0]):
        end = offsets[p + 1]
        code, span, position = start_decoder(data, offsets[p], end)
        if code >= span:
            status[p] = STATUS_CODE
            continue
        for i in range(symbols.shape[1]):
            s = find_symbol(table, 1 << LOOKUP_BITS, 0, total_bits, decode_target(code, span, total_bits))
            symbols[p, i] = s
            code, span, position = decode_step(data, end, code, span, position, cdf[s], cdf[s + 1] - cdf[s], total_bits)
        status[p] = finish_decoder(end, position)
