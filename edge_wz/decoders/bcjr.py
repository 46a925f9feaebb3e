"""Which of four cosets each sample of a packet lies in, from its syndrome bits and a soft belief: circular BCJR.

The states are those of the syndrome former (`kernels.convolution`). A received syndrome leaves two of the four branches of each state. Tail-biting:
the recursions start uniform, run `WARM_UP` memories into the packet's other end, and then count. Unlike `decoders.posterior`, which
weighs the candidates of one bin, this weighs whole sequences.

References: Bahl, Cocke, Jelinek, Raviv (1974); Anderson and Hladik, "Tailbiting MAP decoders" (1998); Ungerboeck (1982) for the codes.
"""

import numpy as np
from numba import njit

WARM_UP = 6  # memories; circular recursions have forgotten their start by then


def branch_tables(h0: int, h1: int, memory: int) -> tuple[np.ndarray, np.ndarray]:
    """(next_state, coset): int32[2 syndromes, states, 2 branches]."""
    states = 1 << memory
    next_state = np.zeros((2, states, 2), dtype=np.int32)
    coset = np.zeros((2, states, 2), dtype=np.int32)
    for state in range(states):
        filled = [0, 0]
        for z in range(4):
            register = state ^ (h0 if z & 1 else 0) ^ (h1 if z & 2 else 0)
            bit = register & 1
            if filled[bit] == 2:
                raise ValueError(f"code ({h0:o}, {h1:o}) does not split the cosets evenly")
            next_state[bit, state, filled[bit]] = register >> 1
            coset[bit, state, filled[bit]] = z
            filled[bit] += 1
    return next_state, coset


@njit(cache=True)
def _forward_step(alpha, out, mass, next_state, coset):
    states = alpha.shape[0]
    for w in range(states):
        out[w] = 0.0
    total = 0.0
    for w in range(states):
        value = alpha[w]
        total += value
    scale = 1.0 / total
    for w in range(states):
        value = alpha[w] * scale
        out[next_state[w, 0]] += value * mass[coset[w, 0]]
        out[next_state[w, 1]] += value * mass[coset[w, 1]]


@njit(cache=True)
def coset_posteriors(masses, syndromes, next_state, coset, memory, alphas, posteriors):
    """posteriors[n, z] from masses[n, z] (beliefs in each coset, > 0 somewhere) of one packet. alphas: (N, states) work space."""
    samples = masses.shape[0]
    states = next_state.shape[1]
    warm = min(WARM_UP * memory, 2 * samples) if samples > 0 else 0
    current = np.full(states, 1.0 / states)
    after = np.empty(states)
    for step in range(samples - warm, 2 * samples - (samples)):
        n = step % samples
        _forward_step(current, after, masses[n], next_state[syndromes[n]], coset[syndromes[n]])
        current, after = after, current
    for n in range(samples):
        for w in range(states):
            alphas[n, w] = current[w]
        _forward_step(current, after, masses[n], next_state[syndromes[n]], coset[syndromes[n]])
        current, after = after, current
    beta = np.full(states, 1.0 / states)
    before = np.empty(states)
    for step in range(warm + samples - 1, -1, -1):
        n = step % samples
        following, cosets, mass = next_state[syndromes[n]], coset[syndromes[n]], masses[n]
        total = 0.0
        if step < samples:
            p0, p1, p2, p3 = 0.0, 0.0, 0.0, 0.0
            for w in range(states):
                a = alphas[n, w]
                for branch in range(2):
                    z = cosets[w, branch]
                    weight = a * mass[z] * beta[following[w, branch]]
                    if z == 0:
                        p0 += weight
                    elif z == 1:
                        p1 += weight
                    elif z == 2:
                        p2 += weight
                    else:
                        p3 += weight
            norm = p0 + p1 + p2 + p3
            if norm > 0.0:
                posteriors[n, 0], posteriors[n, 1] = p0 / norm, p1 / norm
                posteriors[n, 2], posteriors[n, 3] = p2 / norm, p3 / norm
            else:
                posteriors[n, :] = 0.25
        for w in range(states):
            value = mass[cosets[w, 0]] * beta[following[w, 0]] + mass[cosets[w, 1]] * beta[following[w, 1]]
            before[w] = value
            total += value
        scale = 1.0 / total if total > 0.0 else 1.0
        for w in range(states):
            beta[w] = before[w] * scale
