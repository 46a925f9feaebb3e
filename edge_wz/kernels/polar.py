"""Scheme `syndrome` at the node (SPEC 10): bit planes of levels, the polar transform on words of 32 bits, payloads in and out.

Position i of a plane is bit i mod 32 of word i >> 5, so a stage of the transform is one shift and xor per word, or one xor per pair of words. The
bits stop here as what was sent; which levels they belong to is the business of `decoders`. Planes come from the bins and turns of `nested_quantizer`.

Reference: Arikan, "Channel polarization" (2009), section VII.
"""

import numpy as np
from numba import njit

from edge_wz.kernels.nested_quantizer import NO_LEVEL
from edge_wz.kernels.status import STATUS_COUNT, STATUS_OK, STATUS_PADDING, STATUS_TRAILING, STATUS_TRUNCATED

CHECK_POLYNOMIALS = {6: 0x0C00, 8: 0x2F00, 12: 0x80F0, 16: 0x1021}  # aligned to the left of 16 bits
WORD_STAGES = 5
FULL_WORD = 0xFFFFFFFF


def _check_tables():
    tables = np.zeros((17, 256), dtype=np.int64)
    for bits, polynomial in CHECK_POLYNOMIALS.items():
        for value in range(256):
            r = value << 8
            for _ in range(8):
                r = ((r << 1) & 0xFFFF) ^ (polynomial if r & 0x8000 else 0)
            tables[bits, value] = r
    return tables


def _chosen_table():
    """uint8[mask, byte]: the bits of the byte that the mask chooses, the lowest one first."""
    table = np.zeros((256, 256), dtype=np.uint8)
    values = np.arange(256)
    for mask in range(256):
        for k in range(8):
            if mask >> k & 1:
                table[mask] = table[mask] * 2 + (values >> k & 1)
    return table


CHECK_TABLES = _check_tables()
CHOSEN_TABLE = _chosen_table()
CHOSEN_BITS = np.array([bin(mask).count("1") for mask in range(256)], dtype=np.int64)
STAGE_MASKS = np.array([0x55555555, 0x33333333, 0x0F0F0F0F, 0x00FF00FF, 0x0000FFFF], dtype=np.int64)


def words_of(positions):
    """Sets of positions bool[C, N] as int64[C, ceil(N / 32)] words."""
    planes, samples = positions.shape
    padded = np.zeros((planes, (samples + 31) >> 5 << 5), dtype=np.bool_)
    padded[:, :samples] = positions
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.int64)


def transform_words_of(packet_samples):
    """Words of the transform for packets of so many samples: a power of two."""
    return max(1, (1 << (packet_samples - 1).bit_length()) >> 5)


@njit(cache=True)
def transform(words, size):
    """The polar transform of the first `size` bits (a power of two) in place; int64[...] of 32 bits each."""
    count = max(1, size >> 5)
    for stage in range(WORD_STAGES):
        if 1 << stage < size:
            for w in range(count):
                words[w] ^= (words[w] >> (1 << stage)) & STAGE_MASKS[stage]
    half = 1
    while half < count:
        for first in range(0, count, 2 * half):
            for w in range(first, first + half):
                words[w] ^= words[w + half]
        half *= 2


@njit(cache=True)
def check_start(check_bits):
    return ((1 << check_bits) - 1) << (16 - check_bits)


@njit(cache=True)
def check_step(r, u, check_bits):
    """The register after one more level, u = level + 32768."""
    r = ((r << 8) & 0xFFFF) ^ CHECK_TABLES[check_bits, (r >> 8) ^ (u >> 8)]
    return ((r << 8) & 0xFFFF) ^ CHECK_TABLES[check_bits, (r >> 8) ^ (u & 0xFF)]


@njit(cache=True)
def _planes_of(bins, turns, low_bits, check_bits, planes):
    """Fill the bits of all planes; (present samples, block check)."""
    planes[:] = 0
    r, i = check_start(check_bits), 0
    for slot in range(bins.shape[0]):
        if bins[slot] == NO_LEVEL:
            continue
        turn = turns[slot]
        r = check_step(r, (turn << low_bits) | bins[slot], check_bits)
        for p in range(planes.shape[0]):
            planes[p, i >> 5] |= ((turn >> p) & 1) << (i & 31)
        i += 1
    return i, r >> (16 - check_bits)


@njit(cache=True)
def _put(out, window, held, position, value, bits):
    """Append up to 32 bits; (window, held, position)."""
    window = (window << bits) | value
    held += bits
    while held >= 8:
        held -= 8
        out[position] = (window >> held) & 0xFF
        position += 1
    return window & 0xFF, held, position


@njit(cache=True)
def _put_set(out, window, held, position, word, chosen):
    """Append the chosen bits of a word, lowest first."""
    value, bits = 0, 0
    while chosen > 0:
        mask = chosen & 0xFF
        value = (value << CHOSEN_BITS[mask]) | CHOSEN_TABLE[mask, word & 0xFF]
        bits += CHOSEN_BITS[mask]
        chosen >>= 8
        word >>= 8
    return _put(out, window, held, position, value, bits)


@njit(cache=True)
def _put_low(out, window, held, position, bins, low_bits):
    """Append the low bits of the present samples, as many at a time as fit."""
    value, bits = 0, 0
    for slot in range(bins.shape[0]):
        if bins[slot] != NO_LEVEL:
            value = (value << low_bits) | bins[slot]
            bits += low_bits
            if bits > 32 - low_bits:
                window, held, position = _put(out, window, held, position, value, bits)
                value, bits = 0, 0
    return _put(out, window, held, position, value, bits)


@njit(cache=True)
def _below(count, w):
    """Bits of word w that stand for positions below count."""
    inside = count - (w << 5)
    if inside >= 32:
        return FULL_WORD
    return (1 << inside) - 1 if inside > 0 else 0


@njit(cache=True)
def pack_blocks(bins, turns, low_bits, sent, check_bits, planes, out, sizes):
    """Payloads of bins int32[B, N] into out uint8[B, max], zeroed, large enough; sizes int32[B] get the bytes of each.

    sent int64[C, W]: the sets; planes int64[C, W']: work space, W' = `transform_words_of`.
    """
    size = max(planes.shape[1] << 5, 1)
    while size >> 1 >= bins.shape[1]:
        size >>= 1
    for b in range(bins.shape[0]):
        count, check = _planes_of(bins[b], turns[b], low_bits, check_bits, planes)
        window, held, position = 0, 0, 0
        if low_bits > 0:
            window, held, position = _put_low(out[b], window, held, position, bins[b], low_bits)
        for p in range(planes.shape[0]):
            transform(planes[p], size)
            for w in range(sent.shape[1]):
                chosen = sent[p, w] & _below(count, w)
                window, held, position = _put_set(out[b], window, held, position, planes[p, w], chosen)
        window, held, position = _put(out[b], window, held, position, check, check_bits)
        if held > 0:
            out[b, position] = (window << (8 - held)) & 0xFF
            position += 1
        sizes[b] = position


@njit(cache=True)
def _sent_bits(sent, count):
    """How many of the sets' positions lie below count."""
    total = 0
    for p in range(sent.shape[0]):
        for w in range(sent.shape[1]):
            chosen = sent[p, w] & _below(count, w)
            while chosen > 0:
                chosen &= chosen - 1
                total += 1
    return total


@njit(cache=True)
def _take(data, at, bits):
    """`bits` (at most 16) bits from bit `at` on."""
    value = 0
    for k in range(bits):
        value = (value << 1) | ((data[(at + k) >> 3] >> (7 - ((at + k) & 7))) & 1)
    return value


@njit(cache=True)
def _unpack_block(data, begin, end, present, slots, low_bits, sent, check_bits, values, row, places):
    """The block check of one payload, or a negative status."""
    count = 0
    for slot in range(slots):
        if present[row, slot]:
            places[count] = slot
            count += 1
    wanted = low_bits * count + _sent_bits(sent, count) + check_bits
    size = (wanted + 7) >> 3
    if end - begin != size:
        return STATUS_TRUNCATED if end - begin < size else STATUS_TRAILING
    at = 8 * begin
    for i in range(count):
        values[row, places[i]] = _take(data, at, low_bits)
        at += low_bits
    for p in range(sent.shape[0]):
        for i in range(count):
            if (sent[p, i >> 5] >> (i & 31)) & 1:
                bit = (data[at >> 3] >> (7 - (at & 7))) & 1
                values[row, places[i]] |= bit << (low_bits + p)
                at += 1
    check = _take(data, at, check_bits)
    at += check_bits
    if _take(data, at, 8 * end - at) != 0:
        return STATUS_PADDING
    return check


@njit(cache=True)
def unpack_blocks(data, offsets, present, counts, low_bits, sent, check_bits, values, checks, status, places):
    """Indices int32[B, N] of SPEC 10.2 of the payloads data[offsets[b]:offsets[b+1]]; NO_LEVEL: nothing sent, or a bad status.

    present bool[B, N] past counts[b] is not read; places int64[N]: work space.
    """
    for b in range(values.shape[0]):
        for slot in range(values.shape[1]):
            values[b, slot] = NO_LEVEL
        if counts[b] < 0 or counts[b] > values.shape[1]:
            verdict = STATUS_COUNT
        else:
            verdict = _unpack_block(
                data, offsets[b], offsets[b + 1], present, counts[b], low_bits, sent, check_bits, values, b, places
            )
        status[b] = min(verdict, STATUS_OK)
        checks[b] = verdict if verdict >= 0 else -1
        if verdict < 0:
            for slot in range(values.shape[1]):
                values[b, slot] = NO_LEVEL
