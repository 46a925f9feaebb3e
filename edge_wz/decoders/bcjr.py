"""Which of four cosets each sample of a packet lies in, from its syndrome bits and a soft belief: circular BCJR.

Syndromes are not decoded as such. The coset sequences of one syndrome are one of them (the *leader*, found by a short convolution) plus
the words of a convolutional code, so the trellis is the code's own: the state is its last input bits, the predecessors of a state lie side by
side, and a packet's leader only says which mass stands for which branch. Tail-biting: the recursions start uniform, run `WARM_UP` memories
into the packet's other end, and then count. Unlike `decoders.posterior`, which weighs the candidates of one bin, this weighs sequences.

    code words: z0 = h1 u, z1 = h0 u    leader: z0 = a s, z1 = b s with a h0 + b h1 = 1    (polynomials mod 2, circular)

Codes whose taps are all `stride` samples apart are as many codes as that, one after the other's samples in turn: a packet's samples are taken in
chains, each step `stride` samples on, around the packet. Between two samples of a chain lie those of others, so that what makes one sample
hard to tell makes its neighbours in the chain hard no more.

References: Bahl, Cocke, Jelinek, Raviv (1974); Anderson and Hladik, "Tailbiting MAP decoders" (1998); Forney, "Coset codes" (1988) for
cosets by leaders; Ungerboeck (1982) for the codes.
"""

import math

import numpy as np
from numba import njit, uint64

WARM_UP = 6  # memories; circular recursions have forgotten their start by then
LEAST_MASS = 1e-9  # of a coset, relative to the likeliest: no belief is so sure that a code may not contradict it
LEAST_STATE = 1e-20  # of a state, relative to all; times LEAST_MASS still a normal float32, and denormal ones are slow
FAST = {"reassoc", "contract", "nsz"}
ZERO, ONE, TWO = np.uint64(0), np.uint64(1), np.uint64(2)


def leader_polynomials(h0: int, h1: int) -> tuple[int, int]:
    """(a, b) with a h0 + b h1 = 1 mod 2, for a code as SPEC 9.3 requires it."""
    rows = [(h0, 1, 0), (h1, 0, 1)]
    while rows[1][0]:
        (first, a, b), (second, c, d) = rows
        while first.bit_length() >= second.bit_length():
            shift = first.bit_length() - second.bit_length()
            first, a, b = first ^ (second << shift), a ^ (c << shift), b ^ (d << shift)
            if not first:
                break
        rows = [(second, c, d), (first, a, b)]
    return rows[0][1], rows[0][2]


def thinned(taps: int, stride: int) -> int:
    """`spread` undone."""
    return sum((taps >> place & 1) << place // stride for place in range(0, taps.bit_length(), stride))


def spread(taps: int, stride: int) -> int:
    """The polynomial with each power of D times `stride`."""
    return sum((taps >> place & 1) << place * stride for place in range(taps.bit_length()))


def branch_labels(h0: int, h1: int, memory: int) -> np.ndarray:
    """int32[2, states / 2]: z0 and z1 of the branch from state 2v with input 0, for each v.

    A state holds the last inputs, the newest in its highest bit. From state 2v + 1, or with input 1, z1 is the other one: h0 has bits 0
    and nu set, h1 neither (SPEC 9.3).
    """
    labels = np.zeros((2, 1 << memory >> 1), dtype=np.int32)
    for v in range(labels.shape[1]):
        word = sum((2 * v >> memory - i & 1) << i for i in range(1, memory + 1))  # bit i: the input i samples ago
        labels[0, v], labels[1, v] = (h1 & word).bit_count() & 1, (h0 & word).bit_count() & 1
    return labels


@njit(cache=True, error_model="numpy")
def find_leaders(syndromes, count, a, b, leaders):
    """leaders[n] = z0 + 2 z1 of the leader of syndromes[0..count-1]; circular."""
    for n in range(count):
        z = 0
        at, taps0, taps1 = n, a, b
        while taps0 | taps1:
            if syndromes[at]:
                z ^= (taps0 & 1) | ((taps1 & 1) << 1)
            taps0 >>= 1
            taps1 >>= 1
            at = at - 1 if at > 0 else count - 1
        leaders[n] = z


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _forward(rows, here, there, masses, n, scale, leader, labels):
    """Row `here`, times `scale`, one sample later, and its sum. Indices are unsigned: each access would be tested for a negative one
    otherwise, and no loop vectorised."""
    m0, m1, m2, m3 = scale * masses[n, leader], scale * masses[n, leader ^ 1], scale * masses[n, leader ^ 2], scale * masses[n, leader ^ 3]
    half, here, there = uint64(labels.shape[1]), uint64(here), uint64(there)
    total, least = np.float32(0.0), np.float32(LEAST_STATE)
    for i in range(half):
        v = uint64(i)
        odd, upper = labels[ZERO, v] != 0, labels[ONE, v] != 0
        low, high = m1 if odd else m0, m3 if odd else m2
        p, q = high if upper else low, low if upper else high
        x, y = rows[here, TWO * v], rows[here, TWO * v + ONE]
        a, b = p * x + q * y + least, q * x + p * y + least
        rows[there, v] = a
        rows[there, half + v] = b
        total += a + b
    return total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _warm_backward(beta, out, masses, n, scale, leader, labels):
    """`_backward` on the way to the packet's end, where nobody asks for a posterior yet; its sum."""
    m0, m1, m2, m3 = scale * masses[n, leader], scale * masses[n, leader ^ 1], scale * masses[n, leader ^ 2], scale * masses[n, leader ^ 3]
    half, least, total = uint64(labels.shape[1]), np.float32(LEAST_STATE), np.float32(0.0)
    for i in range(half):
        v = uint64(i)
        odd, upper = labels[ZERO, v] != 0, labels[ONE, v] != 0
        low, high = m1 if odd else m0, m3 if odd else m2
        p, q = high if upper else low, low if upper else high
        b, c = beta[v], beta[half + v]
        first, second = p * b + q * c + least, q * b + p * c + least
        out[TWO * v] = first
        out[TWO * v + ONE] = second
        total += first + second
    return total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _backward(alphas, at, beta, out, masses, n, scale, leader, labels, posteriors):
    """`out`: beta, times `scale`, one sample earlier; its sum; and the posterior of this sample's cosets, given row `at` of alphas."""
    m0, m1, m2, m3 = scale * masses[n, leader], scale * masses[n, leader ^ 1], scale * masses[n, leader ^ 2], scale * masses[n, leader ^ 3]
    half, at, zero, least = uint64(labels.shape[1]), uint64(at), np.float32(0.0), np.float32(LEAST_STATE)
    s0, s1, s2, s3, total = zero, zero, zero, zero, zero
    for i in range(half):
        v = uint64(i)
        odd, upper = labels[ZERO, v] != 0, labels[ONE, v] != 0
        low, high = m1 if odd else m0, m3 if odd else m2
        p, q = high if upper else low, low if upper else high
        x, y = alphas[at, TWO * v], alphas[at, TWO * v + ONE]
        b, c = beta[v], beta[half + v]
        first, second = p * b + q * c + least, q * b + p * c + least
        out[TWO * v] = first
        out[TWO * v + ONE] = second
        total += first + second
        same, other = x * b + y * c, x * c + y * b
        lower, higher = other if upper else same, same if upper else other
        s0 += zero if odd else lower
        s1 += lower if odd else zero
        s2 += zero if odd else higher
        s3 += higher if odd else zero
    posteriors[n, leader], posteriors[n, leader ^ 1] = m0 * s0, m1 * s1
    posteriors[n, leader ^ 2], posteriors[n, leader ^ 3] = m2 * s2, m3 * s3
    return total


@njit(cache=True, error_model="numpy")
def coset_posteriors(masses, leaders, labels, memory, rows, even, odd, posteriors):
    """posteriors[n, z] from masses[n, z] (the likeliest coset 1, none below LEAST_MASS) of one packet; all but leaders float32.

    rows: (N + 1, states); even, odd: (states,); work space.
    """
    samples = masses.shape[0]
    if samples == 0:
        return
    warm, one = min(WARM_UP * memory, 2 * samples), np.float32(1.0)
    here, there = (0, samples) if warm & 1 == 0 else (samples, 0)
    rows[here, :] = one
    total = np.float32(rows.shape[1])
    for step in range(2 * samples - warm, 2 * samples):
        n = step - samples if step >= samples else step
        total = _forward(rows, here, there, masses, n, one / total, leaders[n], labels)
        here, there = there, here
    for n in range(samples - 1):
        total = _forward(rows, n, n + 1, masses, n, one / total, leaders[n], labels)
    even[:] = one
    odd[:] = one
    total = np.float32(rows.shape[1])
    later, earlier = even, odd
    for step in range(warm + samples - 1, samples - 1, -1):
        n = step % samples
        total = _warm_backward(later, earlier, masses, n, one / total, leaders[n], labels)
        later, earlier = earlier, later
    for n in range(samples - 1, -1, -1):
        total = _backward(rows, n, later, earlier, masses, n, one / total, leaders[n], labels, posteriors)
        later, earlier = earlier, later
    for n in range(samples):
        scale = one / (posteriors[n, 0] + posteriors[n, 1] + posteriors[n, 2] + posteriors[n, 3])
        for z in range(4):
            posteriors[n, z] *= scale


@njit(cache=True, error_model="numpy")
def interleaved_posteriors(masses, leaders, stride, labels, memory, rows, even, odd, chain, posteriors):
    """`coset_posteriors` of a code of this stride. chain: work space (masses, leaders, posteriors of as many samples)."""
    samples, chains = masses.shape[0], math.gcd(stride, masses.shape[0])
    chain_masses, chain_leaders, found = chain
    length = samples // chains
    for first in range(chains):
        n = first
        for i in range(length):
            chain_leaders[i], chain_masses[i] = leaders[n], masses[n]
            n = (n + stride) % samples
        coset_posteriors(chain_masses[:length], chain_leaders, labels, memory, rows, even, odd, found)
        for i in range(length):
            posteriors[n] = found[i]
            n = (n + stride) % samples
