"""Closed loops and code lengths of the simple rivals in `training.baselines`, one call per recording.

Unlike `edge_wz.kernels` these use floats and count bits instead of writing them: no node runs them. The counts are
those of real codes that a decoder can read; `tests/test_baselines.py` writes and reads them back. Arrays are whole
recordings, cut into packets of `packet_samples` slots; nothing crosses a packet.

Rice code: R. F. Rice, "Some practical universal noiseless coding techniques", JPL 79-22.
"""

# mypy: disable-error-code="no-untyped-def"

import numpy as np
from numba import njit

ESCAPE_ONES = 24  # a quotient this long is replaced by the value itself
ESCAPE_BITS = 20
PARAMETER_BITS = 4
MAX_PARAMETER = 15


@njit(cache=True)
def rice_bits(value, parameter):
    """Length of the Rice code of `value` >= 0."""
    quotient = value >> parameter
    if quotient < ESCAPE_ONES:
        return quotient + 1 + parameter
    return ESCAPE_ONES + ESCAPE_BITS


@njit(cache=True)
def zigzag(level):
    """0, -1, 1, -2, ... -> 0, 1, 2, 3, ..."""
    return 2 * level if level >= 0 else -2 * level - 1


@njit(cache=True)
def dpcm(codes, present, packet_samples, rows, step, levels, recon):
    """Closed-loop DPCM: `rows[p]` = intercept and p coefficients, for slot p (the last row from there on)."""
    order = rows.shape[0] - 1
    for n in range(codes.size):
        slot = n % packet_samples
        p = min(slot, order)
        acc = rows[p, 0]
        for i in range(p):
            acc += rows[p, 1 + i] * recon[n - 1 - i]
        pred = np.rint(min(max(acc, -32768.0), 32767.0))
        level = 0
        if present[n]:
            level = int(np.rint((codes[n] - pred) / step))
        levels[n] = level
        recon[n] = pred + level * step


@njit(cache=True)
def rice_packets(levels, present, packet_samples, first_parameter, bits):
    """Payload bits of each packet: 4 bits of parameter, the first sample with its own, the rest with the best."""
    for b in range(bits.size):
        start = b * packet_samples
        stop = min(start + packet_samples, levels.size)
        first = -1
        total = np.zeros(MAX_PARAMETER + 1, np.int64)
        head = 0
        for n in range(start, stop):
            if not present[n]:
                continue
            if first < 0:
                first = n
                head = PARAMETER_BITS + rice_bits(zigzag(levels[n]), first_parameter)
                continue
            value = zigzag(levels[n])
            for k in range(MAX_PARAMETER + 1):
                total[k] += rice_bits(value, k)
        bits[b] = head + total.min() if first >= 0 else 0


@njit(cache=True)
def deadband(codes, present, packet_samples, mean, threshold, step, levels, recon):
    """Send a multiple of `step` when the sample is more than `threshold` from the last value sent. Level 0 = hold."""
    last = mean
    started = False
    for n in range(codes.size):
        if n % packet_samples == 0:
            last, started = mean, False
        levels[n] = 0
        if present[n]:
            if not started or abs(codes[n] - last) > threshold:
                levels[n] = int(np.rint((codes[n] - last) / step))
                last += levels[n] * step
            started = True
        recon[n] = last


@njit(cache=True)
def deadband_packets(levels, present, packet_samples, first_parameter, bits):
    """Payload bits of each packet: first value; then nothing, a bitmap, or run lengths; then the updates.

    2 bits of form; 4 bits of parameter for the updates and, with runs, 4 for those.
    """
    for b in range(bits.size):
        start = b * packet_samples
        stop = min(start + packet_samples, levels.size)
        count, run, updates, head = 0, 0, 0, 0
        values = np.zeros(MAX_PARAMETER + 1, np.int64)
        runs = np.zeros(MAX_PARAMETER + 1, np.int64)
        for n in range(start, stop):
            if not present[n]:
                continue
            count += 1
            if count == 1:
                head = 2 + rice_bits(zigzag(levels[n]), first_parameter)
                continue
            if levels[n] == 0:
                run += 1
                continue
            updates += 1
            value = 2 * (abs(levels[n]) - 1) + (1 if levels[n] < 0 else 0)
            for k in range(MAX_PARAMETER + 1):
                values[k] += rice_bits(value, k)
                runs[k] += rice_bits(run, k)
            run = 0
        if run > 0:
            for k in range(MAX_PARAMETER + 1):
                runs[k] += rice_bits(run, k)
        if updates > 0:
            where = min(count - 1, PARAMETER_BITS + runs.min())
            head += PARAMETER_BITS + values.min() + where
        bits[b] = head


@njit(cache=True)
def first_costs(levels, present, packet_samples, costs):
    """Total bits of the packets' first samples under each Rice parameter."""
    waiting = False
    for n in range(levels.size):
        if n % packet_samples == 0:
            waiting = True
        if waiting and present[n]:
            waiting = False
            value = zigzag(levels[n])
            for k in range(costs.size):
                costs[k] += rice_bits(value, k)
