"""Which of four cosets each sample of a packet lies in, from its syndrome bits and a soft belief: circular BCJR.

The states are those of the syndrome former (`kernels.convolution`). A received syndrome leaves two of the four branches of each state. Tail-biting:
the recursions start uniform, run `WARM_UP` memories into the packet's other end, and then count. Unlike `decoders.posterior`, which
weighs the candidates of one bin, this weighs whole sequences. Loops run over the states that are written, so that each write is next to
the last: the forward recursion gathers from both predecessors, the backward one from both successors.

References: Bahl, Cocke, Jelinek, Raviv (1974); Anderson and Hladik, "Tailbiting MAP decoders" (1998); Ungerboeck (1982) for the codes.
"""

import numpy as np
from numba import njit

WARM_UP = 6  # memories; circular recursions have forgotten their start by then
LEAST_MASS = 1e-30  # of a coset, relative to the likeliest: no belief is so sure that a code may not contradict it
RESCALE = 4  # samples between two normalisations; LEAST_MASS to this power is still a float


def branch_tables(h0: int, h1: int, memory: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(previous, previous_coset, following, following_coset), each for both syndromes and both branches.

    previous: uint32[2, 2, states] (unsigned, so that no access tests for a negative index), the states that lead to a state;
    their cosets [2, 2 halves, 2] depend on its highest bit only. following: the
    states it leads to; their cosets [2, 2 parities, 2] depend on its lowest bit only.
    """
    states = 1 << memory
    previous = np.zeros((2, 2, states), dtype=np.uint32)
    following = np.zeros((2, 2, states), dtype=np.uint32)
    previous_coset = np.zeros((2, 2, 2), dtype=np.int32)
    following_coset = np.zeros((2, 2, 2), dtype=np.int32)
    inputs = [(h0 if z & 1 else 0) ^ (h1 if z & 2 else 0) for z in range(4)]
    for syndrome in range(2):
        for state in range(states):
            into = [z for z in range(4) if (2 * state + syndrome) ^ inputs[z] < states]
            out_of = [z for z in range(4) if (state ^ inputs[z]) & 1 == syndrome]
            if len(into) != 2 or len(out_of) != 2:
                raise ValueError(f"code ({h0:o}, {h1:o}) does not split the cosets evenly")
            previous_coset[syndrome, state >> (memory - 1)] = into
            following_coset[syndrome, state & 1] = out_of
            for branch in range(2):
                previous[syndrome, branch, state] = (2 * state + syndrome) ^ inputs[into[branch]]
                following[syndrome, branch, state] = (state ^ inputs[out_of[branch]]) >> 1
    return previous, previous_coset, following, following_coset


@njit(cache=True)
def _forward(alpha, out, mass, syndrome, previous, cosets):
    half = alpha.shape[0] >> 1
    first, second = previous[syndrome, 0], previous[syndrome, 1]
    a, b = mass[cosets[syndrome, 0, 0]], mass[cosets[syndrome, 0, 1]]
    c, d = mass[cosets[syndrome, 1, 0]], mass[cosets[syndrome, 1, 1]]
    for w in range(half):
        out[w] = a * alpha[first[w]] + b * alpha[second[w]]
    for w in range(half, 2 * half):
        out[w] = c * alpha[first[w]] + d * alpha[second[w]]


@njit(cache=True)
def _backward(beta, out, alpha, mass, syndrome, following, cosets, posterior):
    """`out`: beta one sample earlier; `posterior`: of the four cosets of this sample, given alpha before it."""
    first, second = following[syndrome, 0], following[syndrome, 1]
    even0, even1, odd0, odd1 = (
        cosets[syndrome, 0, 0], cosets[syndrome, 0, 1], cosets[syndrome, 1, 0], cosets[syndrome, 1, 1],
    )  # fmt: skip
    a, b, c, d = mass[even0], mass[even1], mass[odd0], mass[odd1]
    p, q, r, s = 0.0, 0.0, 0.0, 0.0
    for j in range(beta.shape[0] >> 1):
        w = 2 * j
        x, y = beta[first[w]], beta[second[w]]
        out[w] = a * x + b * y
        p += alpha[w] * x
        q += alpha[w] * y
        x, y = beta[first[w + 1]], beta[second[w + 1]]
        out[w + 1] = c * x + d * y
        r += alpha[w + 1] * x
        s += alpha[w + 1] * y
    posterior[even0], posterior[even1], posterior[odd0], posterior[odd1] = a * p, b * q, c * r, d * s


@njit(cache=True)
def _rescale(row):
    total = 0.0
    for w in range(row.shape[0]):
        total += row[w]
    if total > 0.0:
        scale = 1.0 / total
        for w in range(row.shape[0]):
            row[w] *= scale
    else:  # what lies before and what lies behind exclude each other: nothing is known
        row[:] = 1.0 / row.shape[0]


@njit(cache=True)
def _floor_masses(masses):
    """So that the likeliest coset has 1 and none less than LEAST_MASS."""
    for n in range(masses.shape[0]):
        largest = max(max(masses[n, 0], masses[n, 1]), max(masses[n, 2], masses[n, 3]))
        scale = 1.0 / largest if largest > 1e-300 else 0.0
        for z in range(4):
            masses[n, z] = max(masses[n, z] * scale, LEAST_MASS)


@njit(cache=True)
def coset_posteriors(masses, syndromes, previous, previous_coset, following, following_coset, memory, alphas, posteriors):
    """posteriors[n, z] from masses[n, z] (beliefs in each coset) of one packet; masses are scaled in place.

    alphas: (N + 2, states) work space.
    """
    samples = masses.shape[0]
    if samples == 0:
        return
    _floor_masses(masses)
    states = previous.shape[2]
    warm = min(WARM_UP * memory, 2 * samples)
    current, other = alphas[samples], alphas[samples + 1]
    current[:] = 1.0 / states
    for step in range(samples - warm, samples):
        n = step % samples
        _forward(current, other, masses[n], syndromes[n], previous, previous_coset)
        current, other = other, current
        if step % RESCALE == 0:
            _rescale(current)
    _rescale(current)
    alphas[0, :] = current
    for n in range(samples - 1):
        _forward(alphas[n], alphas[n + 1], masses[n], syndromes[n], previous, previous_coset)
        if n % RESCALE == 0:
            _rescale(alphas[n + 1])
    beta, before, silent = alphas[samples], alphas[samples + 1], alphas[0]
    beta[:] = 1.0 / states
    for step in range(warm + samples - 1, -1, -1):
        n = step % samples
        alpha = alphas[n] if step < samples else silent
        _backward(beta, before, alpha, masses[n], syndromes[n], following, following_coset, posteriors[n])
        beta, before = before, beta
        if step % RESCALE == 0:
            _rescale(beta)
    for n in range(samples):
        _rescale(posteriors[n])
