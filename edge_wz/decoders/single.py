"""Logarithm and exponential in single precision, without the calls that the library's cost: for ratios, which need not be finer.

The exponent is taken from the bits of the number, the rest is a short series. Relative to `math`: `ln` is off by less than 1e-6 + 1e-7 |ln x|, `exp`
by less than 1e-6 + 1e-7 |x| of its value. Beyond what single precision holds both saturate instead of failing: ln(0) = -88, ln(inf) = 88.7.
"""

import numpy as np
from numba import njit

_MANTISSA, _BIAS, _MANTISSA_BITS = np.int32(0x7FFFFF), np.int32(127), np.int32(23)
_HALF_ROOT_BITS = np.int32(0x3F3504F3)  # of the root of 1/2: mantissas from there to twice that
_LN2, _LOG2E, _ONE, _TWO = np.float32(0.69314718), np.float32(1.44269504), np.float32(1.0), np.float32(2.0)
_L3, _L5, _L7 = np.float32(2 / 3), np.float32(2 / 5), np.float32(0.2857)
_LEAST, _MOST = np.float32(-126.0), np.float32(127.0)
_E1, _E2, _E3, _E4, _E5, _E6 = (
    np.float32(value) for value in (0.69314718, 0.24022651, 0.055504109, 0.0096181291, 0.0013333558, 0.00015403530)
)  # powers of ln 2 over factorials


@njit(cache=True, error_model="numpy")
def ln(x):
    """float32 of x >= 0."""
    bits = np.int32(np.float32(x).view(np.int32) - _HALF_ROOT_BITS)
    power = np.float32(bits >> _MANTISSA_BITS)
    m = np.int32((bits & _MANTISSA) + _HALF_ROOT_BITS).view(np.float32)
    s = (m - _ONE) / (m + _ONE)
    z = s * s
    return power * _LN2 + s * (_TWO + z * (_L3 + z * (_L5 + z * _L7)))


@njit(cache=True, error_model="numpy")
def exp(x):
    """float32."""
    scaled = min(max(np.float32(x) * _LOG2E, _LEAST), _MOST)
    power = np.rint(scaled)
    f = scaled - power
    series = _ONE + f * (_E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * (_E5 + f * _E6)))))
    return series * np.int32((np.int32(power) + _BIAS) << _MANTISSA_BITS).view(np.float32)
