"""What no code can beat: rate-distortion limits of stationary Gaussian sources, with and without side information.

    S_{X|Y} = S_X - |S_XY|^2 / S_Y      R = mean max(0, 1/2 log2(S_{X|Y} / theta))      D = mean min(theta, S_{X|Y})

means over frequency. For jointly Gaussian processes the Wyner-Ziv limit is that of a code that knows Y at both ends,
with the whole of Y, past and future. Reference: Berger, Rate Distortion Theory, ch. 4; Wyner, "The rate-distortion
function for source coding with side information at the decoder II" (1978).
"""

from __future__ import annotations

import numpy as np

from edge_wz.model import StateSpace

FREQUENCIES = 8192


def spectra(space: StateSpace, frequencies: int = FREQUENCIES) -> np.ndarray:
    """complex[F, 1+m, 1+m]: spectral density matrices of the observations at F frequencies that tile the circle."""
    omega = 2 * np.pi * (np.arange(frequencies) + 0.5) / frequencies
    d = len(space.A)
    resolvent = np.linalg.inv(np.exp(1j * omega)[:, None, None] * np.eye(d) - space.A)
    transfer = space.C @ resolvent  # from w to o; v adds directly
    whole = np.concatenate([transfer, np.broadcast_to(np.eye(len(space.C)), (frequencies, *space.R.shape))], axis=2)
    noise = np.block([[space.Q, space.S], [space.S.T, space.R]])
    return np.asarray(whole @ noise @ whole.conj().transpose(0, 2, 1))


def conditional_spectrum(space: StateSpace, frequencies: int = FREQUENCIES, side: bool = True) -> np.ndarray:
    """float64[F]: S_X given all neighbours at all times, or S_X alone with `side=False`."""
    density = spectra(space, frequencies)
    own = density[:, 0, 0].real
    if not side or len(space.mean) == 1:
        return own
    cross = density[:, 1:, :1]
    explained = cross.conj().transpose(0, 2, 1) @ np.linalg.solve(density[:, 1:, 1:], cross)
    return np.maximum(own - explained[:, 0, 0].real, 1e-300)


def source_variance(space: StateSpace, frequencies: int = FREQUENCIES) -> float:
    return float(spectra(space, frequencies)[:, 0, 0].real.mean())


def distortion(spectrum: np.ndarray, rate: float) -> float:
    """The least mean square error at `rate` bits per sample: reverse water-filling."""
    low, high = np.log(spectrum.min()) - 2 * np.log(2) * (rate + 1), np.log(spectrum.max())
    for _ in range(100):
        level = 0.5 * (low + high)
        if _rate_at(spectrum, np.exp(level)) > rate:
            low = level
        else:
            high = level
    return float(np.minimum(np.exp(high), spectrum).mean())


def rate(spectrum: np.ndarray, target: float) -> float:
    """The least bits per sample for a mean square error of `target`."""
    if target >= spectrum.mean():
        return 0.0
    low, high = 0.0, float(spectrum.max())
    for _ in range(200):
        theta = 0.5 * (low + high)
        if np.minimum(theta, spectrum).mean() < target:
            low = theta
        else:
            high = theta
    return _rate_at(spectrum, high)


def _rate_at(spectrum: np.ndarray, theta: float) -> float:
    return float(np.maximum(0.0, 0.5 * np.log2(spectrum / theta)).mean())


def wyner_ziv_sqnr_db(space: StateSpace, bits: float) -> float:
    """The limit in SQNR at `bits` per sample, with side information at the decoder."""
    return float(10 * np.log10(source_variance(space) / distortion(conditional_spectrum(space), bits)))


def no_side_sqnr_db(space: StateSpace, bits: float) -> float:
    """The limit without any neighbour."""
    return float(10 * np.log10(source_variance(space) / distortion(conditional_spectrum(space, side=False), bits)))
