"""Interval table and layers (SPEC 11): codes to messages, and the payload of messages, layer by layer, packed and unpacked.

Unlike `nested_quantizer` there is no arithmetic on the source, only a search, and the payload runs along layers first and samples
second, so that it can be cut. A gateway searches in a table of all codes, a node by halves; both give the same message.

A *coding* says how the layers of one payload are written: `bits` int32[K] (of a raw layer), `starts` int32[K] (where in `cdfs` the rows
of a coded layer begin, -1 for a raw one), `strides` int32[K] (from the row of one prefix to the next, 0 where one row serves all).
"""

from numba import njit

from edge_wz.kernels.nested_quantizer import NO_LEVEL
from edge_wz.kernels.range_coder import (
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

CODES = 65536


@njit(cache=True)
def interval_of(thresholds, code):
    """How many thresholds (rising) are at or below `code`."""
    low, high = 0, thresholds.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if thresholds[middle] <= code:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def fill_lookup(thresholds, numbers, lookup):
    """The message number of every code, uint8[65536], by code + 32768."""
    interval = 0
    for at in range(CODES):
        while interval < thresholds.shape[0] and thresholds[interval] <= at - 32768:
            interval += 1
        lookup[at] = numbers[interval]


@njit(cache=True)
def encode_codes(codes, lookup, messages):
    """Message numbers int32[n] of codes int16[n]."""
    for i in range(codes.shape[0]):
        messages[i] = lookup[codes[i] + 32768]


@njit(cache=True)
def drop_absent(present, messages):
    """NO_LEVEL where the sensor gave no sample."""
    for i in range(messages.shape[0]):
        if not present[i]:
            messages[i] = NO_LEVEL


# ------------------------------------------------------------------------------------------------- to bytes


@njit(cache=True)
def _pack_eights(messages, row, out, position):
    """`_pack_groups` for one bit, the usual layer: a byte of eight samples."""
    groups = min(messages.shape[0] >> 3, out.shape[0] - position)
    for group in range(groups):
        window, absent = 0, 0
        for i in range(8):
            message = messages[8 * group + i]
            absent |= message
            window = (window << 1) | row[message & 0xFF]
        if absent < 0:
            return 8 * group
        out[position + group] = window
    return 8 * groups


@njit(cache=True)
def _pack_groups(messages, row, bits, out, position):
    """Pack one layer eight samples at a time, as long as all eight are there; returns how many samples. `row`: its symbols."""
    groups = min(messages.shape[0] >> 3, (out.shape[0] - position) // bits)
    for group in range(groups):
        window, absent = 0, 0
        for i in range(8):
            message = messages[8 * group + i]
            absent |= message
            window = (window << bits) | row[message & 0xFF]
        if absent < 0:
            return 8 * group
        for i in range(bits):
            out[position + group * bits + i] = (window >> (8 * (bits - 1 - i))) & 0xFF
    return 8 * groups


@njit(cache=True)
def _pack_raw(messages, symbols, bits, first, last, out):
    """Raw layers, then the fill; returns the bytes written, or STATUS_NO_SPACE."""
    window, held, position = 0, 0, 0
    for layer in range(first, last):
        width, at = bits[layer], 0
        if held == 0 and width == 1:
            at = _pack_eights(messages, symbols[layer], out, position)
        elif held == 0:
            at = _pack_groups(messages, symbols[layer], width, out, position)
        position += (at * width) >> 3
        for i in range(at, messages.shape[0]):
            if messages[i] == NO_LEVEL:
                continue
            window = (window << width) | symbols[layer, messages[i]]
            held += width
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
def _pack_coded(messages, symbols, prefixes, bits, starts, strides, cdfs, total_bits, first, last, out):
    low, span, position = 0, RANGE_START, 0
    for layer in range(first, last):
        for i in range(messages.shape[0]):
            if messages[i] == NO_LEVEL:
                continue
            symbol = symbols[layer, messages[i]]
            if starts[layer] < 0:
                low, span, position = encode_bits(out, low, span, position, symbol, bits[layer])
                continue
            row = starts[layer] + strides[layer] * prefixes[layer, messages[i]] + symbol
            start = cdfs[row]
            low, span, position = encode_symbol(out, low, span, position, start, cdfs[row + 1] - start, total_bits)
    return finish(out, low, span, position)


@njit(cache=True)
def first_coded(starts, first, last):
    """The first coded layer of first .. last - 1, or `last`."""
    layer = first
    while layer < last and starts[layer] < 0:
        layer += 1
    return layer


@njit(cache=True)
def pack_packets(messages, symbols, prefixes, bits, starts, strides, cdfs, total_bits, first, last, out, sizes):
    """Payloads of layers first .. last - 1 of messages int32[B, N] into out uint8[B, max]; sizes int32[B]: bytes, or STATUS_NO_SPACE.

    `symbols` int32[K, 256], `prefixes` int32[K, L]: by layer and message number.
    """
    coded = first_coded(starts, first, last)
    for p in range(messages.shape[0]):
        size = _pack_raw(messages[p], symbols, bits, first, coded, out[p])
        if coded < last and size >= 0:
            rest = _pack_coded(
                messages[p], symbols, prefixes, bits, starts, strides, cdfs, total_bits, coded, last, out[p, size:]
            )
            size = size + rest if rest >= 0 else rest
        sizes[p] = size


# ------------------------------------------------------------------------------------------------- from bytes


@njit(cache=True)
def _whole_layers(bits, first, last, samples, size):
    """How many raw layers of first .. last - 1 lie whole in `size` bytes."""
    layers, wanted = 0, 0
    while first + layers < last:
        wanted += bits[first + layers] * samples
        if wanted > 8 * size:
            break
        layers += 1
    return layers


@njit(cache=True)
def _unpack_raw(data, begin, present, count, bits, alphabets, first, last, values, p):
    """Raw layers that are there; returns (where they end, what is left of the last byte)."""
    window, held, position = 0, 0, begin
    for layer in range(first, last):
        width = bits[layer]
        for i in range(count):
            if not present[p, i]:
                continue
            while held < width:
                window = ((window << 8) | data[position]) & 0xFFFFFF
                held += 8
                position += 1
            held -= width
            values[p, i] = values[p, i] * alphabets[layer] + ((window >> held) & ((1 << width) - 1))
    return position, window & ((1 << held) - 1)


@njit(cache=True)
def _unpack_coded(
    data, begin, end, present, count, bits, alphabets, starts, strides, cdfs, total_bits, first, last, values, p
):  # fmt: skip
    code, span, position = start_decoder(data, begin, end)
    if code >= span:
        return STATUS_CODE
    for layer in range(first, last):
        for i in range(count):
            if not present[p, i]:
                continue
            if starts[layer] < 0:
                symbol, code, span, position = decode_bits(data, end, code, span, position, bits[layer])
            else:
                row = starts[layer] + strides[layer] * values[p, i]
                target, symbol = decode_target(code, span, total_bits), 0
                while cdfs[row + symbol + 1] <= target:
                    symbol += 1
                start = cdfs[row + symbol]
                size = cdfs[row + symbol + 1] - start
                code, span, position = decode_step(data, end, code, span, position, start, size, total_bits)
            values[p, i] = values[p, i] * alphabets[layer] + symbol
    return finish_decoder(end, position)


@njit(cache=True)
def _unpack(
    data, begin, end, present, count, bits, alphabets, starts, strides, cdfs, total_bits, first, last, values, p
):  # fmt: skip
    """Layers found, or a negative status."""
    samples = 0
    for i in range(count):
        samples += present[p, i]
    coded = first_coded(starts, first, last)
    whole = _whole_layers(bits, first, coded, samples, end - begin)
    if whole < coded - first and (coded < last or whole == 0):
        return STATUS_TRUNCATED
    position, fill = _unpack_raw(data, begin, present, count, bits, alphabets, first, first + whole, values, p)
    if whole < coded - first:
        return whole
    if fill != 0:
        return STATUS_PADDING
    if coded == last:
        return STATUS_TRAILING if position < end else whole
    status = _unpack_coded(
        data, position, end, present, count, bits, alphabets, starts, strides, cdfs, total_bits, coded, last, values, p
    )
    return last - first if status == STATUS_OK else status


@njit(cache=True)
def unpack_packets(
    data, offsets, present, counts, bits, alphabets, starts, strides, cdfs, total_bits, first, lasts, values, depths, status
):  # fmt: skip
    """Layers first .. lasts[p] - 1 of the payloads data[offsets[p]:offsets[p+1]].

    `values` int32[B, N]: the symbols as one number, the first layer most significant; NO_LEVEL: nothing sent, or a bad status.
    `depths`: layers found, fewer where a raw payload ends early, 0 under a bad status.
    """
    for p in range(values.shape[0]):
        for i in range(values.shape[1]):
            values[p, i] = 0 if i < counts[p] and present[p, i] else NO_LEVEL
        if counts[p] < 0 or counts[p] > values.shape[1]:
            found = STATUS_COUNT
        else:
            found = _unpack(
                data, offsets[p], offsets[p + 1], present, counts[p], bits, alphabets, starts, strides, cdfs, total_bits,
                first, lasts[p], values, p,
            )  # fmt: skip
        status[p], depths[p] = min(found, STATUS_OK), max(found, 0)
        if found < 0:
            for i in range(values.shape[1]):
                values[p, i] = NO_LEVEL
