"""Scheme `predictive` (SPEC 4): closed-loop prediction, division by the step, range coding with conditional tables.

A packet stands alone: reconstructions and levels before its first slot count as not there. The model travels as one
flat int32 array, built once by `flatten_predictive`, so that kernels take arrays and integers only.
What runs once per sample is inlined by numba: a call counts references of its arrays, which costs as much as the work.
"""

from typing import Any

import numpy as np
from numba import njit

from edge_wz.kernels.fixed_point import bit_length, sat16, shift_round
from edge_wz.kernels.nested_quantizer import NO_LEVEL
from edge_wz.kernels.range_coder import (
    MASK32,
    RANGE_START,
    decode_bits,
    decode_step,
    decode_target,
    encode_bits,
    encode_symbol,
    find_symbol,
    finish,
    finish_decoder,
    make_lookup,
    start_decoder,
)
from edge_wz.kernels.status import STATUS_CODE, STATUS_COUNT, STATUS_OK

COEF_BITS = 12

# Slots of the flat model
FLAT_ORDER = 0
FLAT_POSITION_TABLES = 1
FLAT_CONTEXTS = 2
FLAT_CDF_BITS = 3
FLAT_STEP_Q8 = 4
FLAT_ROUNDING_Q8 = 5
FLAT_THRESHOLDS = 6  # eight; the unused ones are never reached
FLAT_DIRECTORY = 14  # where the directory starts: direct, offset of the cdf, offset of its lookup for each table
FLAT_ROWS = 15  # predictor rows, one after another: bias, coef[0..p-1]; row p starts at FLAT_ROWS + p(p+1)/2


def flatten_predictive(node_model: Any, rate_point: int) -> np.ndarray:
    """The arrays of one rate point of a `model.NodeModel` as one int32 array."""
    point = node_model.rate_points[rate_point]
    thresholds = np.full(8, 2**31 - 1, dtype=np.int64)
    thresholds[: len(node_model.thresholds)] = node_model.thresholds
    rows = np.concatenate(node_model.predictors)
    directory = FLAT_ROWS + len(rows)
    offset = directory + 3 * len(point.tables)
    entries: list[int] = []
    columns: list[np.ndarray] = []
    for table in point.tables:
        lookup = make_lookup(table.cdf, node_model.cdf_bits)
        columns += [table.cdf, lookup]
        entries += [table.direct, offset, offset + len(table.cdf)]
        offset += len(table.cdf) + len(lookup)
    head = [node_model.order, node_model.position_tables, node_model.contexts, node_model.cdf_bits]
    head += [point.step_q8, point.rounding_q8]
    parts = [head, thresholds, [directory], rows, entries, *columns]
    flat = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts]).astype(np.int32)
    flat.setflags(write=False)
    return flat


@njit(cache=True, inline="always")
def _predict(model, recon, n):
    """Prediction of slot n from recon[0..n-1]."""
    p = min(n, model[FLAT_ORDER])
    row = FLAT_ROWS + ((p * (p + 1)) >> 1)
    acc = np.int64(model[row])
    for i in range(p):
        acc += model[row + 1 + i] * recon[n - 1 - i]
    return sat16(shift_round(acc, COEF_BITS))


@njit(cache=True, inline="always")
def _rebuild(pred, level, step_q8):
    """Middle of the cell of `level` around `pred`."""
    offset = (abs(level) * step_q8 + 128) >> 8
    return sat16(pred - offset) if level < 0 else sat16(pred + offset)


@njit(cache=True, inline="always")
def _table(model, n, level1, level2):
    """Where the directory describes the table of slot n, after the levels `level1` (newest) and `level2`."""
    if n < model[FLAT_POSITION_TABLES]:
        return model[FLAT_DIRECTORY] + 3 * n
    activity = 2 * abs(level1) + abs(level2)
    context = 0
    for j in range(model[FLAT_CONTEXTS] - 1):
        context += activity >= model[FLAT_THRESHOLDS + j]
    return model[FLAT_DIRECTORY] + 3 * (model[FLAT_POSITION_TABLES] + context)


@njit(cache=True, inline="always")
def _encode_level(model, entry, level, out, low, span, position):
    direct = model[entry]
    cdf = model[entry + 1]
    excess = abs(level) - direct - 1
    c = bit_length(excess) if excess >= 0 else 0
    symbol = cdf + (level + direct if excess < 0 else 2 * direct + 1 + c)
    low, span, position = encode_symbol(
        out, low, span, position, model[symbol], model[symbol + 1] - model[symbol], model[FLAT_CDF_BITS]
    )
    if excess >= 0:
        if c >= 2:
            low, span, position = encode_bits(out, low, span, position, excess - (1 << (c - 1)), c - 1)
        low, span, position = encode_bits(out, low, span, position, 1 if level < 0 else 0, 1)
    return low, span, position


@njit(cache=True, inline="always")
def _decode_level(model, entry, data, end, code, span, position):
    """Returns (level, code, range, position)."""
    direct = model[entry]
    cdf = model[entry + 1]
    bits = model[FLAT_CDF_BITS]
    symbol = find_symbol(model, cdf, model[entry + 2], bits, decode_target(code, span, bits))
    start = model[cdf + symbol]
    code, span, position = decode_step(data, end, code, span, position, start, model[cdf + symbol + 1] - start, bits)
    if symbol <= 2 * direct:
        return symbol - direct, code, span, position
    c = symbol - 2 * direct - 1
    level = direct + 1
    if c >= 1:
        extra, code, span, position = decode_bits(data, end, code, span, position, c - 1)
        level += (1 << (c - 1)) + extra
    negative, code, span, position = decode_bits(data, end, code, span, position, 1)
    return (-level if negative else level), code, span, position


@njit(cache=True)
def _encode_packet(codes, present, count, model, out, recon):
    step_q8 = np.int64(model[FLAT_STEP_Q8]) & MASK32
    low, span, position = 0, RANGE_START, 0
    level1, level2 = 0, 0
    for n in range(count):
        pred = _predict(model, recon, n)
        level = 0
        if present[n]:
            d = codes[n] - pred
            m = ((abs(d) * 256 + model[FLAT_ROUNDING_Q8]) & MASK32) // step_q8  # masked as in decode_target
            level = m if d >= 0 else -m
            entry = _table(model, n, level1, level2)
            low, span, position = _encode_level(model, entry, level, out, low, span, position)
        recon[n] = _rebuild(pred, level, step_q8)
        level2 = level1
        level1 = level
    return finish(out, low, span, position)


@njit(cache=True)
def encode_packets(codes, present, counts, model, out, sizes, recon):
    """Payloads of codes int16[B, N] into out uint8[B, max]; sizes int32[B] (or STATUS_NO_SPACE); recon int16[B, N].

    Returns the number of payloads that did not fit.
    """
    failed = 0
    for p in range(codes.shape[0]):
        count = min(max(counts[p], 0), codes.shape[1])
        sizes[p] = _encode_packet(codes[p], present[p], count, model, out[p], recon[p])
        failed += sizes[p] < 0
    return failed


@njit(cache=True)
def _decode_packet(data, begin, end, present, count, model, levels, preds, recon):
    step_q8 = np.int64(model[FLAT_STEP_Q8])
    code, span, position = start_decoder(data, begin, end)
    if code >= span:
        return STATUS_CODE
    level1, level2 = 0, 0
    for n in range(count):
        pred = _predict(model, recon, n)
        level = 0
        if present[n]:
            entry = _table(model, n, level1, level2)
            level, code, span, position = _decode_level(model, entry, data, end, code, span, position)
            levels[n] = level
        preds[n] = pred
        recon[n] = _rebuild(pred, level, step_q8)
        level2 = level1
        level1 = level
    return finish_decoder(end, position)


@njit(cache=True)
def decode_packets(data, offsets, present, counts, model, levels, preds, recon, status):
    """Levels int32[B, N] of the payloads data[offsets[p]:offsets[p+1]]; NO_LEVEL: nothing sent, or a bad status.

    preds and recon int32[B, N]: prediction and reconstruction of every slot, absent ones included; 0 past the count.
    """
    for p in range(levels.shape[0]):
        levels[p, :] = NO_LEVEL
        preds[p, :] = 0
        recon[p, :] = 0
        if counts[p] < 0 or counts[p] > levels.shape[1]:
            status[p] = STATUS_COUNT
            continue
        status[p] = _decode_packet(
            data, offsets[p], offsets[p + 1], present[p], counts[p], model, levels[p], preds[p], recon[p]
        )
        if status[p] != STATUS_OK:
            levels[p, :] = NO_LEVEL
            preds[p, :] = 0
            recon[p, :] = 0
