"""Blocks of scheme `layered` (SPEC 11.6): the planes of each layer through the polar transform, and a check for each layer.

Unlike `threshold_table`, which sends symbols as they are, only transformed bits that are hard to guess are sent, and unlike `polar` there are no low
bits: a message is all planes, plane c of a message of C bits being bit C-1-c. The bits stop here as what was sent; which messages they
belong to is the business of `decoders.block_layers`.
"""

import numpy as np
from numba import njit

from edge_wz.kernels.nested_quantizer import NO_LEVEL
from edge_wz.kernels.polar import CHECK_TABLES, CHOSEN_BITS, CHOSEN_TABLE, check_start, transform
from edge_wz.kernels.status import STATUS_COUNT, STATUS_OK, STATUS_PADDING, STATUS_TRAILING, STATUS_TRUNCATED

NUMBER_BITS = 10  # of what a parser yields: the number in the tree of prefixes, below the check


def _two_bytes(registers):
    """int64[17, 256]: by check bits, registers after two zero bytes."""
    rows = []
    for table in CHECK_TABLES:
        once = ((registers << 8) & 0xFFFF) ^ table[registers >> 8]
        rows.append(((once << 8) & 0xFFFF) ^ table[once >> 8])
    return np.array(rows)


CHECK_HIGH, CHECK_LOW = _two_bytes(np.arange(256) << 8), _two_bytes(np.arange(256))


@njit(cache=True)
def _put(out, at, value, bits):
    """Set `bits` <= 16 bits from bit `at` on of bytes that are zero there; where they end."""
    value <<= 24 - bits - (at & 7)
    byte = at >> 3
    while value:
        out[byte] |= (value >> 16) & 0xFF
        value = (value << 8) & 0xFFFFFF
        byte += 1
    return at + bits


@njit(cache=True)
def _take(data, at, bits):
    value = 0
    for _ in range(bits):
        value = (value << 1) | ((data[at >> 3] >> (7 - (at & 7))) & 1)
        at += 1
    return value


@njit(cache=True)
def _gather(messages, here):
    """The messages that are present, in order; how many."""
    count = 0
    for slot in range(messages.shape[0]):
        if messages[slot] != NO_LEVEL:
            here[count] = messages[slot]
            count += 1
    return count


@njit(cache=True)
def _put_plane(here, count, shift, sent, plane, size, out, at):
    """Append the sent bits of one plane, bit `shift` of the messages."""
    plane[:] = 0
    for i in range(count):
        plane[i >> 5] |= ((here[i] >> shift) & 1) << (i & 31)
    transform(plane, size)
    for w in range((count + 31) >> 5):
        chosen, bits = sent[w], plane[w]
        if count - (w << 5) < 32:
            chosen &= (1 << (count - (w << 5))) - 1
        while chosen > 0:
            mask = chosen & 0xFF
            at = _put(out, at, np.int64(CHOSEN_TABLE[mask, bits & 0xFF]), CHOSEN_BITS[mask])
            chosen >>= 8
            bits >>= 8
    return at


@njit(cache=True)
def layer_check(prefixes, count, check_bits):
    """The check over prefixes, one for each sample; both bytes of a step at once, as the first one is zero."""
    r = check_start(check_bits)
    high, low = CHECK_HIGH[check_bits], CHECK_LOW[check_bits]
    for i in range(count):
        r ^= prefixes[i]
        r = high[(r >> 8) & 0xFF] ^ low[r & 0xFF]
    return r >> (16 - check_bits)


@njit(cache=True)
def pack_blocks(messages, ends, sent, check_bits, first, last, work, out, sizes):
    """Payloads of layers first .. last - 1 of messages int32[B, N] into out uint8[B, max], zeroed, large enough; sizes int32[B] get the bytes.

    ends int64[K + 1]: planes before each layer, and all of them; sent int64[C, W]: the sets; work: (plane int64[`transform_words_of`], here, prefixes
    int64[N]).
    """
    plane, here, prefixes = work
    size, planes = max(plane.shape[0] << 5, 1), ends[-1]
    while size >> 1 >= messages.shape[1]:
        size >>= 1
    for b in range(messages.shape[0]):
        count, at = _gather(messages[b], here), 0
        for layer in range(first, last):
            for c in range(ends[layer], ends[layer + 1]):
                at = _put_plane(here, count, planes - 1 - c, sent[c], plane, size, out[b], at)
            for i in range(count):
                prefixes[i] = here[i] >> (planes - ends[layer + 1])
            at = _put(out[b], at, layer_check(prefixes, count, check_bits), check_bits)
        sizes[b] = (at + 7) >> 3


@njit(cache=True)
def layer_bits(ends, sent, check_bits, layer, count):
    """Bits of one layer of a block with `count` samples."""
    total = check_bits
    for c in range(ends[layer], ends[layer + 1]):
        for i in range(count):
            total += (sent[c, i >> 5] >> (i & 31)) & 1
    return total


@njit(cache=True)
def _unpack_block(data, begin, end, ends, sent, check_bits, first, last, places, count, values):
    """Layers found, or a negative status."""
    wanted, whole = 0, 0
    while first + whole < last:
        more = layer_bits(ends, sent, check_bits, first + whole, count)
        if wanted + more > 8 * (end - begin):
            break
        wanted += more
        whole += 1
    if whole == 0:
        return STATUS_TRUNCATED
    at, top = 8 * begin, ends[first + whole]
    for layer in range(first, first + whole):
        for c in range(ends[layer], ends[layer + 1]):
            for i in range(count):
                if (sent[c, i >> 5] >> (i & 31)) & 1:
                    values[places[i]] |= ((data[at >> 3] >> (7 - (at & 7))) & 1) << (top - 1 - c)
                    at += 1
        values[places[layer]] += _take(data, at, check_bits) << NUMBER_BITS
        at += check_bits
    if whole < last - first:
        return whole
    if end - begin > (wanted + 7) >> 3:
        return STATUS_TRAILING
    return whole if _take(data, at, 8 * end - at) == 0 else STATUS_PADDING


@njit(cache=True)
def unpack_blocks(data, offsets, present, counts, ends, sent, check_bits, first, lasts, places, values, depths, status):
    """Layers first .. lasts[p] - 1 of the payloads data[offsets[p]:offsets[p+1]], as `threshold_table.unpack_packets` has them: values int32[B, N]
    the transformed bits as one number, and the checks above NUMBER_BITS. places int64[N]: work space."""
    for p in range(values.shape[0]):
        count = 0
        for i in range(values.shape[1]):
            values[p, i] = NO_LEVEL
            if i < counts[p] and present[p, i]:
                values[p, i] = 0
                places[count] = i
                count += 1
        found = STATUS_COUNT
        if 0 <= counts[p] <= values.shape[1]:
            found = _unpack_block(data, offsets[p], offsets[p + 1], ends, sent, check_bits, first, lasts[p], places, count, values[p])
        status[p], depths[p] = min(found, STATUS_OK), max(found, 0)
        if found < 0:
            values[p] = NO_LEVEL
