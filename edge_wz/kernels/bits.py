"""Bit fields, most significant bit first (SPEC 1.1). Positions count bits; fields have at most 16."""

from numba import njit


@njit(cache=True)
def put_bits(out, position, value, n):
    """Append the n low bits of `value` to zeroed bytes, never past the end of `out`; returns the new position."""
    for i in range(n - 1, -1, -1):
        byte = position >> 3
        if byte < out.shape[0]:
            out[byte] |= ((value >> i) & 1) << (7 - (position & 7))
        position += 1
    return position


@njit(cache=True)
def get_bits(data, position, end, n):
    """The next n bits of `data` before bit `end`, or -1 if there are not that many."""
    if position + n > end:
        return -1
    value = 0
    for i in range(position, position + n):
        value = (value << 1) | ((data[i >> 3] >> (7 - (i & 7))) & 1)
    return value
