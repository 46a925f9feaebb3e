"""The syndrome former of `trellis`: two binary convolutions, tail-biting inside a packet.

    s[n] = h0 * z0 + h1 * z1 (mod 2, circular over the packet's samples), z0 and z1 the two bits above the low ones

The register holds what earlier samples still add to later syndromes; what is left in it after the last sample is added to the
first ones, which makes the convolution circular. Codes: Ungerboeck, "Channel coding with multilevel/phase signals", table I.
"""

from numba import njit


@njit(cache=True)
def syndrome_step(register, z, h0, h1):
    """Feed z (0..3): the syndrome bit is the lowest of the result, the new register the rest."""
    if z & 1:
        register ^= h0
    if z & 2:
        register ^= h1
    return register


@njit(cache=True)
def syndrome_packet(z, count, h0, h1, memory, syndromes):
    """Syndromes of z[0..count-1] into `syndromes`; all int arrays."""
    register = 0
    for n in range(count):
        register = syndrome_step(register, z[n], h0, h1)
        syndromes[n] = register & 1
        register >>= 1
    for i in range(memory):
        if count > 0:
            syndromes[i % count] ^= (register >> i) & 1
    return 0
