"""Saturation and rounding (SPEC 1), and nothing else: every narrowing store of the other kernels goes through here."""

from numba import njit


@njit(cache=True)
def sat16(v):
    """Nearest int16."""
    return min(max(v, -32768), 32767)


@njit(cache=True)
def sat32(v):
    """Nearest int32."""
    return min(max(v, -2147483648), 2147483647)


@njit(cache=True)
def shift_round(v, s):
    """v / 2^s to the nearest integer, ties up."""
    if s == 0:
        return v
    return (v + (1 << (s - 1))) >> s


@njit(cache=True)
def bit_length(v):
    """Number of bits of v >= 0; 0 has none."""
    n = 0
    while v > 0:
        v >>= 1
        n += 1
    return n
