"""Scheme `trellis` at the node (SPEC 9): what `nested_quantizer` leaves of a sample, turned into low bits and a syndrome bit.

The index of a sample is 2 * low + syndrome, so payloads are packed and unpacked by `nested_quantizer` with 2q bins. Rounding and low
bits are those of `nested`; the register of `convolution` runs along one packet and is folded into its first syndromes at the end.
"""

from numba import njit

from edge_wz.kernels.convolution import syndrome_step
from edge_wz.kernels.nested_quantizer import NO_LEVEL


@njit(cache=True)
def _fold(bins, p, register, count):
    """Tail-biting: add what the register still holds to the first `count` present samples, round and round."""
    while register > 0 and count > 0:
        seen = 0
        for i in range(bins.shape[1]):
            if bins[p, i] != NO_LEVEL:
                bins[p, i] ^= register & 1
                register >>= 1
                seen += 1
                if seen == count or register == 0:
                    break


@njit(cache=True)
def add_syndromes(bins, turns, h0, h1):
    """bins int32[B, N] of modulus q become indices, by the lowest two bits of turns int32[B, N]; NO_LEVEL is skipped."""
    for p in range(bins.shape[0]):
        register, count = 0, 0
        for i in range(bins.shape[1]):
            low = bins[p, i]
            if low == NO_LEVEL:
                continue
            register = syndrome_step(register, turns[p, i], h0, h1)
            bins[p, i] = (low << 1) | (register & 1)
            register >>= 1
            count += 1
        _fold(bins, p, register, count)
