"""Polar codes on ratios: what the list decoder computes on a vector, and the trees of ratios that bit planes make of a table.

All numbers are single precision; a ratio is ln P(0)/P(1). Vectors of one walk lie in one flat array, which is why kernels take where to read and
to write (unsigned, as signed ones would be tested for each access). ln(1 + exp(-x)) is the inverse of a polynomial.

Reference: Balatsoukas-Stimming, Parizi, Burg, "LLR-based successive cancellation list decoding" (2015), (10)-(12).
"""

import numpy as np
from numba import njit

from edge_wz.decoders import single

CERTAIN = np.float32(60.0)  # ratio of a bit that is known
_C0, _C1, _C2 = np.float32(1.44269504), np.float32(1.04068449), np.float32(0.490524054)
_C3, _C4, _C5, _C6 = np.float32(0.166164516), np.float32(0.0422432475), np.float32(0.00290334), np.float32(0.004353)
_FAR = np.float32(24.0)
_ONE, ZERO = np.float32(1.0), np.float32(0.0)


@njit(cache=True, error_model="numpy")
def transform(bits):
    """The polar transform in place, bits uint8[2^m]; its own inverse."""
    half = 1
    while half < bits.shape[0]:
        for first in range(0, bits.shape[0], 2 * half):
            a, b = bits[first : first + half], bits[first + half : first + 2 * half]
            for i in range(half):
                a[i] ^= b[i]
        half *= 2


@njit(cache=True, error_model="numpy")
def llr_trees(trees, count):
    """In place: from the masses of the 2^C values of the bits of each sample, lowest bit = first plane, to `trees`.

    Where both are zero, the ratio does not matter."""
    size = trees.shape[0]
    while size > 1:
        half = size >> 1
        for w in range(half):
            zeros, ones = trees[w], trees[w + half]
            for i in range(count):
                zero, one = zeros[i], ones[i]
                ones[i] = min(max(single.ln(zero / one), -CERTAIN), CERTAIN)
                zeros[i] = zero + one
        size = half


@njit(cache=True, error_model="numpy")
def _steep(x):
    """1 / ln(1 + exp(-x)) for x >= 0; its first five coefficients are those of the series, so that weak ratios combine exactly."""
    x = min(x, _FAR)
    return _C0 + x * (_C1 + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))


@njit(cache=True, error_model="numpy")
def _soft(x):
    """ln(1 + exp(-x)) for x >= 0, to 0.0005."""
    return _ONE / _steep(x)


@njit(cache=True, error_model="numpy")
def _check(a, b):
    """Ratio of the sum of two bits, 2 atanh(tanh(a/2) tanh(b/2))."""
    near, far = _steep(abs(a - b)), _steep(abs(a + b))
    if (a < ZERO) == (b < ZERO):
        return min(abs(a), abs(b)) + (near - far) / (near * far)
    return (near - far) / (near * far) - min(abs(a), abs(b))


@njit(cache=True, error_model="numpy")
def known_before(ratios):
    """In place: from the ratios of a vector of zero bits to those of its transform, each given all positions before it (float32[2^m])."""
    half = ratios.shape[0] >> 1
    while half > 0:
        for first in range(0, ratios.shape[0], 2 * half):
            for i in range(first, first + half):
                a, b = ratios[i], ratios[i + half]
                ratios[i] = _check(a, b)
                ratios[i + half] = a + b
        half >>= 1


@njit(cache=True, error_model="numpy")
def fork(ratios, source, out, size):
    """The ratios of the sums of the two halves; all numbers unsigned, as signed ones would be tested for each access."""
    for i in range(size):
        ratios[out + i] = _check(ratios[source + i], ratios[source + size + i])


@njit(cache=True, error_model="numpy")
def fork_right(ratios, source, bits, at, out, size):
    """The ratios of the second half once the sums are known."""
    for i in range(size):
        a, b = ratios[source + i], ratios[source + size + i]
        ratios[out + i] = b - a if bits[at + i] else b + a


@njit(cache=True, error_model="numpy")
def fork_shifted(ratios, source, out, size):
    """The same for sums that are zero."""
    for i in range(size):
        ratios[out + i] = ratios[source + i] + ratios[source + size + i]


@njit(cache=True, error_model="numpy")
def cost(ratio):
    """-ln P(0)."""
    return max(ZERO, -ratio) + _soft(abs(ratio))


@njit(cache=True, error_model="numpy")
def cost_known(ratios, source, size, scratch):
    """-ln P(all bits zero)."""
    for i in range(size):
        scratch[i] = cost(ratios[source + i])
    return _sum(scratch, size)


@njit(cache=True, error_model="numpy")
def cost_remainder(ratios, source, size, scratch):
    """The same for the sums of the two halves of 2 * size ratios."""
    for i in range(size):
        scratch[i] = cost(_check(ratios[source + i], ratios[source + size + i]))
    return _sum(scratch, size)


@njit(cache=True, error_model="numpy")
def cost_unknown(ratios, source, size, scratch):
    """-ln P(hard decisions)."""
    for i in range(size):
        scratch[i] = _soft(abs(ratios[source + i]))
    return _sum(scratch, size)


@njit(cache=True, error_model="numpy")
def _sum(scratch, size):
    """In four strands, as one would wait for each addition; `scratch` has room for three more."""
    for i in range(size, size + np.uint64(3)):
        scratch[i] = ZERO
    a, b, c, d = ZERO, ZERO, ZERO, ZERO
    for i in range(np.uint64(0), size, np.uint64(4)):
        a += scratch[i]
        b += scratch[i + np.uint64(1)]
        c += scratch[i + np.uint64(2)]
        d += scratch[i + np.uint64(3)]
    return (a + b) + (c + d)


@njit(cache=True, error_model="numpy")
def join(bits, out, known, second, half, shifted):
    """The bits of a subtree from those of its halves."""
    for i in range(half):
        right = bits[second + i]
        bits[out + i] = right if shifted else bits[known + i] ^ right
        bits[out + half + i] = right


@njit(cache=True, error_model="numpy")
def fill(bits, out, size, value):
    for i in range(size):
        bits[out + i] = value


@njit(cache=True, error_model="numpy")
def total(ratios, source, size):
    """The ratio of a bit that `size` (even) positions repeat."""
    a, b = ZERO, ZERO
    for i in range(np.uint64(0), size, np.uint64(2)):
        a += ratios[source + i]
        b += ratios[source + i + np.uint64(1)]
    return a + b


@njit(cache=True, error_model="numpy")
def decide(ratios, source, bits, out, size):
    """Hard decisions; whether their sum is odd."""
    odd = np.uint8(0)
    for i in range(size):
        bit = np.uint8(ratios[source + i] < ZERO)
        bits[out + i] = bit
        odd ^= bit
    return odd


@njit(cache=True, error_model="numpy")
def least_sure(ratios, source, size):
    """Position of the smallest |ratio|."""
    best, least = source, abs(ratios[source])
    for at in range(source + np.uint64(1), source + size):
        value = abs(ratios[at])
        if value < least:
            best, least = at, value
    return best - source
