"""Nested quantizer (SPEC 3): filter, round, keep the bin; and the payload of bins, packed and unpacked.

`quantize_stream` runs along samples, because the filter's history crosses packets; the others run along packets, each
of which stands alone. Unpacking takes whole arrays and a row number, as a view of each row would cost more than its
bins. Bins that the gateway still has to resolve stop here: resolving is the business of `decoders`.
"""

from numba import njit

from edge_wz.kernels.fir import HISTORY_SLOTS, filter_sample, push_sample
from edge_wz.kernels.fixed_point import bit_length, sat16, sat32
from edge_wz.kernels.level_check import CHECK_INIT, check_fold, check_step
from edge_wz.kernels.range_coder import (
    MASK32,
    RANGE_START,
    decode_bits,
    decode_step,
    decode_target,
    encode_bits,
    encode_symbol,
    finish,
    finish_decoder,
    start_decoder,
)
from edge_wz.kernels.status import (
    STATUS_CODE,
    STATUS_COUNT,
    STATUS_NO_SPACE,
    STATUS_OK,
    STATUS_PADDING,
    STATUS_TRAILING,
    STATUS_TRUNCATED,
)

NO_LEVEL = -(2**31)
FLAT_BITS = 14

# int32[STATE_SLOTS], in the order of wz_encoder_t
STATE_HISTORY = 0
STATE_SATURATED = HISTORY_SLOTS
STATE_SLOTS = HISTORY_SLOTS + 1


@njit(cache=True)
def _missing(present):
    missing = 0
    for i in range(present.shape[0]):
        missing += not present[i]
    return missing


@njit(cache=True)
def _quantize_memoryless(codes, tap, shift, rounding, bits, bins, turns):
    """One tap, J = 2^bits, every sample present: no state, no branch, so the compiler vectorises it."""
    saturated = 0
    mask = (1 << bits) - 1
    for i in range(codes.shape[0]):
        raw = (rounding + tap * codes[i]) >> shift
        level = sat16(raw)
        saturated += level != raw
        bins[i] = (level + 32768) & mask
        turns[i] = (level + 32768) >> bits
    return saturated


@njit(cache=True)
def _quantize_any(codes, present, taps, shift, rounding, modulus, state, bins, turns):
    saturated = 0
    for i in range(codes.shape[0]):
        if not present[i]:
            push_sample(state[STATE_HISTORY], state)
            bins[i] = NO_LEVEL
            turns[i] = 0
            continue
        raw = filter_sample(codes[i], taps, rounding, state) >> shift
        push_sample(codes[i], state)
        level = sat16(raw)
        saturated += level != raw
        turn = (level + 32768) // modulus
        turns[i] = turn
        bins[i] = level + 32768 - turn * modulus
    return saturated


@njit(cache=True)
def _keep_history(codes, state):
    for i in range(max(0, codes.shape[0] - HISTORY_SLOTS), codes.shape[0]):
        push_sample(codes[i], state)


@njit(cache=True)
def quantize_stream(codes, present, taps, shift, rounding, modulus, state, bins, turns):
    """Quantise samples in a row: bins and turns int32[n] (NO_LEVEL and 0 where absent). Returns how many saturated."""
    if taps.shape[0] == 1 and modulus & (modulus - 1) == 0 and _missing(present) == 0:
        bits = bit_length(modulus) - 1
        saturated = _quantize_memoryless(codes, taps[0], shift, rounding, bits, bins, turns)
        _keep_history(codes, state)
    else:
        saturated = _quantize_any(codes, present, taps, shift, rounding, modulus, state, bins, turns)
    state[STATE_SATURATED] = sat32(state[STATE_SATURATED] + saturated)
    return saturated


@njit(cache=True)
def check_levels(turns, present, bits):
    """The level check of one packet's turns: 4 or 8 bits, -1 if `bits` is 0."""
    c = CHECK_INIT
    for i in range(turns.shape[0]):
        if present[i]:
            c = check_step(c, turns[i])
    return check_fold(c, bits)


@njit(cache=True)
def _check_bins(bins, turns, bits):
    c = CHECK_INIT
    for i in range(bins.shape[0]):
        if bins[i] != NO_LEVEL:
            c = check_step(c, turns[i])
    return check_fold(c, bits)


@njit(cache=True)
def _pack_groups(bins, bits, out):
    """Pack eight samples at a time, which fill `bits` whole bytes, as long as all eight are there; returns how many."""
    if bits > 7:
        return 0
    for group in range(min(bins.shape[0] >> 3, out.shape[0] // bits)):
        window, absent = 0, 0
        for i in range(8 * group, 8 * group + 8):
            window = (window << bits) | bins[i]
            absent |= bins[i]
        if absent < 0:
            return 8 * group
        for i in range(bits):
            out[group * bits + i] = (window >> (8 * (bits - 1 - i))) & 0xFF
    return 8 * min(bins.shape[0] >> 3, out.shape[0] // bits)


@njit(cache=True)
def _pack_raw(bins, bits, check, check_bits, out):
    first = _pack_groups(bins, bits, out)
    window, held, position = 0, 0, (first * bits) >> 3
    for i in range(first, bins.shape[0] + 1):
        if i < bins.shape[0]:
            if bins[i] == NO_LEVEL:
                continue
            window = (window << bits) | bins[i]
            held += bits
        elif check_bits > 0:
            window = (window << check_bits) | check
            held += check_bits
        while held >= 8:
            held -= 8
            if position >= out.shape[0]:
                return STATUS_NO_SPACE
            out[position] = (window >> held) & 0xFF
            position += 1
        window &= 0xFF
    if held > 0:
        if position >= out.shape[0]:
            return STATUS_NO_SPACE
        out[position] = (window << (8 - held)) & 0xFF
        position += 1
    return position


@njit(cache=True)
def _flat_cdf(j, modulus):
    """The flat table of SPEC 3.3; masked as in `range_coder.decode_target`."""
    return ((j << FLAT_BITS) & MASK32) // (modulus & 0xFFFF)


@njit(cache=True)
def _pack_coded(bins, modulus, check, check_bits, out):
    low, span, position = 0, RANGE_START, 0
    for i in range(bins.shape[0]):
        if bins[i] != NO_LEVEL:
            start = _flat_cdf(bins[i], modulus)
            size = _flat_cdf(bins[i] + 1, modulus) - start
            low, span, position = encode_symbol(out, low, span, position, start, size, FLAT_BITS)
    if check_bits > 0:
        low, span, position = encode_bits(out, low, span, position, check, check_bits)
    return finish(out, low, span, position)


@njit(cache=True)
def pack_packets(bins, turns, modulus, level_check_bits, out, sizes):
    """Payloads of bins int32[B, N] into out uint8[B, max]; sizes int32[B] get the bytes of each, or STATUS_NO_SPACE."""
    raw = modulus & (modulus - 1) == 0
    bits = bit_length(modulus) - 1
    for p in range(bins.shape[0]):
        check = _check_bins(bins[p], turns[p], level_check_bits) if level_check_bits > 0 else 0
        if raw:
            sizes[p] = _pack_raw(bins[p], bits, check, level_check_bits, out[p])
        else:
            sizes[p] = _pack_coded(bins[p], modulus, check, level_check_bits, out[p])


@njit(cache=True)
def _fill(rows, p, value):
    for i in range(rows.shape[1]):
        rows[p, i] = value


@njit(cache=True)
def _unpack_groups(data, begin, count, bits, bins, p):
    """The inverse of `_pack_groups`, of a packet without gaps."""
    if bits > 7:
        return 0
    for group in range(count >> 3):
        window = 0
        for i in range(begin + group * bits, begin + group * bits + bits):
            window = (window << 8) | data[i]
        for i in range(8):
            bins[p, 8 * group + i] = (window >> (bits * (7 - i))) & ((1 << bits) - 1)
    return (count >> 3) << 3


@njit(cache=True)
def _unpack_raw(data, begin, end, present, count, bits, check_bits, bins, p):
    """Returns the check or a negative status."""
    wanted = check_bits
    for i in range(count):
        wanted += bits * present[p, i]
    size = (wanted + 7) >> 3
    if end - begin != size:
        return STATUS_TRUNCATED if end - begin < size else STATUS_TRAILING
    full = wanted == check_bits + bits * count
    first = _unpack_groups(data, begin, count, bits, bins, p) if full else 0
    window, held, position = 0, 0, begin + ((first * bits) >> 3)
    mask = (1 << bits) - 1
    for i in range(first, count):
        if not present[p, i]:
            continue
        while held < bits:
            window = ((window << 8) | data[position]) & 0xFFFFFFFF
            held += 8
            position += 1
        held -= bits
        bins[p, i] = (window >> held) & mask
    if held < check_bits:
        window = (window << 8) | data[position]
        held += 8
    held -= check_bits
    if window & ((1 << held) - 1) != 0:
        return STATUS_PADDING
    return (window >> held) & ((1 << check_bits) - 1)


@njit(cache=True)
def _unpack_coded(data, begin, end, present, count, modulus, check_bits, bins, p):
    """Returns the check or a negative status."""
    code, span, position = start_decoder(data, begin, end)
    if code >= span:
        return STATUS_CODE
    for i in range(count):
        if present[p, i]:
            # the largest j with cdf[j] <= target, without a table: cdf[j] = floor(j * 2^14 / J)
            s = ((decode_target(code, span, FLAT_BITS) + 1) * modulus - 1) >> FLAT_BITS
            start = _flat_cdf(s, modulus)
            size = _flat_cdf(s + 1, modulus) - start
            code, span, position = decode_step(data, end, code, span, position, start, size, FLAT_BITS)
            bins[p, i] = s
    check, code, span, position = decode_bits(data, end, code, span, position, check_bits)
    status = finish_decoder(end, position)
    return check if status == STATUS_OK else status


@njit(cache=True)
def unpack_packets(data, offsets, present, counts, modulus, level_check_bits, bins, checks, status):
    """Bins int32[B, N] of the payloads data[offsets[p]:offsets[p+1]]; NO_LEVEL: nothing sent, or a bad status.

    present bool[B, N] past counts[p] is not read. checks: the level check sent, -1 without one.
    """
    raw = modulus & (modulus - 1) == 0
    bits = bit_length(modulus) - 1
    for p in range(bins.shape[0]):
        _fill(bins, p, NO_LEVEL)
        if counts[p] < 0 or counts[p] > bins.shape[1]:
            verdict = STATUS_COUNT
        elif raw:
            verdict = _unpack_raw(
                data, offsets[p], offsets[p + 1], present, counts[p], bits, level_check_bits, bins, p
            )
        else:
            verdict = _unpack_coded(
                data, offsets[p], offsets[p + 1], present, counts[p], modulus, level_check_bits, bins, p
            )
        status[p] = min(verdict, STATUS_OK)
        checks[p] = verdict if verdict >= 0 and level_check_bits > 0 else -1
        if verdict < 0:
            _fill(bins, p, NO_LEVEL)
