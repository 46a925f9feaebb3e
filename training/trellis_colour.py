"""What the colour of a source's conditional noise asks of a code of `trellis`: how far apart its taps, and how many rounds its decoder.

What neighbours leave open of a source is seldom white: what is left of one sample tells something of the next. Propagation finds that out round by
round, but inside a wrong stretch, where samples are not known, it is lost, and the more so the more of its wrong samples are neighbours. A code
whose taps are `stride` samples apart has those of a stretch that far from each other (`decoders.bcjr`), with right ones in between.
"""

from __future__ import annotations

import math

import numpy as np

from edge_wz.formats.layout import MAX_MEMORY
from edge_wz.model import StateSpace
from training.limits import FREQUENCIES, conditional_spectrum

WHITE = 1.02  # variance given the neighbours over that given all other samples too, up to which a source counts as white
SPAN = 3  # memories of a chain that a wrong stretch spans
CHAIN_MEMORIES = 20  # least length of a chain that is not the whole packet


def inverse_covariances(space: StateSpace, noise_variance: float, lags: int) -> np.ndarray:
    """float64[lags]: of what neighbours leave open of the source, known up to `noise_variance`; times its variance, so 1 and zeros if it is white."""
    spectrum = conditional_spectrum(space) + noise_variance
    omega = 2 * np.pi * (np.arange(FREQUENCIES) + 0.5) / FREQUENCIES
    return np.array([np.mean(np.cos(lag * omega) / spectrum) for lag in range(lags)]) * spectrum.mean()


def told_by_others(space: StateSpace, noise_variance: float) -> float:
    """The variance of a sample given the neighbours over that given all other samples too."""
    return float(inverse_covariances(space, noise_variance, 1)[0])


def stride_for(space: StateSpace, noise_variance: float, memory: int, packet_samples: int) -> int:
    """The stride at which samples of a stretch tell each other least, among those for which the register and the packet have room."""
    if told_by_others(space, noise_variance) < WHITE:
        return 1
    shared = np.abs(inverse_covariances(space, noise_variance, min(packet_samples // 2, SPAN * MAX_MEMORY) + 1))

    def told(stride: int) -> float:
        """A chain that goes round and round the packet comes by the neighbours of a sample as well."""
        apart = stride * np.arange(1, SPAN * memory + 1) % packet_samples
        return float(shared[np.minimum(apart, packet_samples - apart)].sum())

    least = min(packet_samples, CHAIN_MEMORIES * memory)
    return min((k for k in range(1, MAX_MEMORY // memory + 1) if packet_samples // math.gcd(k, packet_samples) >= least), key=told)
