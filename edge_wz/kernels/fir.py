"""The encoder's filter at one sample (SPEC 3.1): a dot product whose taps carry the step, so the node never divides."""

from numba import njit

HISTORY_SLOTS = 15


@njit(cache=True)
def filter_sample(x, taps, rounding, state):
    """rounding + sum of tap[i] * x[n-i]; slots 0..14 of `state` hold x[n-1], x[n-2], ... int32 by SPEC 5.3."""
    acc = rounding + taps[0] * x
    for i in range(1, taps.shape[0]):
        acc += taps[i] * state[i - 1]
    return acc


@njit(cache=True)
def push_sample(x, state):
    """Make `x` the newest sample of the history."""
    for i in range(HISTORY_SLOTS - 1, 0, -1):
        state[i] = state[i - 1]
    state[0] = x
