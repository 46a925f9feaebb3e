"""SPEC 4 in Python integers. Samples are a list with None for absent ones."""

from dataclasses import dataclass

from tests.reference.arithmetic import sat16, shift_round
from tests.reference.range_coder import Decoder, Encoder


@dataclass(frozen=True)
class Table:
    direct: int
    cdf: list[int]


@dataclass(frozen=True)
class Predictive:
    """One rate point of a model. predictors[p] = bias, coef[0..p-1]."""

    predictors: list[list[int]]
    thresholds: list[int]
    position_tables: int
    cdf_bits: int
    step_q8: int
    rounding_q8: int
    tables: list[Table]

    def predict(self, past: list[int]) -> int:
        p = min(len(past), len(self.predictors) - 1)
        bias, *coefs = self.predictors[p]
        acc = bias + sum(coefs[i] * past[-1 - i] for i in range(p))
        assert acc >= -(2**31) and acc + 2048 < 2**31
        return sat16(shift_round(acc, 12))

    def rebuild(self, pred: int, level: int) -> int:
        sign = -1 if level < 0 else 1
        return sat16(pred + sign * ((abs(level) * self.step_q8 + 128) >> 8))

    def quantize(self, d: int) -> int:
        m = (abs(d) * 256 + self.rounding_q8) // self.step_q8
        return m if d >= 0 else -m

    def table(self, levels: list[int]) -> Table:
        n = len(levels)
        if n < self.position_tables:
            return self.tables[n]
        newest, before = ([0, 0] + levels)[:-3:-1]
        activity = 2 * abs(newest) + abs(before)
        context = sum(activity >= threshold for threshold in self.thresholds)
        return self.tables[self.position_tables + context]


def _encode_level(coder: Encoder, table: Table, level: int, cdf_bits: int) -> None:
    cdf, direct = table.cdf, table.direct
    if abs(level) <= direct:
        symbol = level + direct
        coder.encode(cdf[symbol], cdf[symbol + 1] - cdf[symbol], cdf_bits)
        return
    v = abs(level) - direct - 1
    c = v.bit_length()
    symbol = 2 * direct + 1 + c
    coder.encode(cdf[symbol], cdf[symbol + 1] - cdf[symbol], cdf_bits)
    if c >= 2:
        coder.encode_bits(v - 2 ** (c - 1), c - 1)
    coder.encode_bits(int(level < 0), 1)


def _decode_level(coder: Decoder, table: Table, cdf_bits: int) -> int:
    symbol = coder.symbol(table.cdf, cdf_bits)
    if symbol <= 2 * table.direct:
        return symbol - table.direct
    c = symbol - 2 * table.direct - 1
    v = 2 ** (c - 1) + coder.bits(c - 1) if c >= 2 else c
    magnitude = v + table.direct + 1
    return -magnitude if coder.bits(1) else magnitude


def encode(model: Predictive, samples: list[int | None]) -> tuple[bytes, list[int], list[int], list[int]]:
    """(payload, levels, predictions, reconstructions) of one packet; level 0 where absent."""
    coder = Encoder()
    levels: list[int] = []
    preds: list[int] = []
    recon: list[int] = []
    for x in samples:
        pred = model.predict(recon)
        level = 0
        if x is not None:
            level = model.quantize(x - pred)
            _encode_level(coder, model.table(levels), level, model.cdf_bits)
        recon.append(model.rebuild(pred, level) if x is not None else pred)
        levels.append(level)
        preds.append(pred)
    return coder.finish(), levels, preds, recon


def decode(model: Predictive, payload: bytes, present: list[bool]) -> tuple[list[int], list[int], list[int]]:
    """(levels, predictions, reconstructions); level 0 where absent; Malformed if SPEC says so."""
    coder = Decoder(payload)
    levels: list[int] = []
    preds: list[int] = []
    recon: list[int] = []
    for here in present:
        pred = model.predict(recon)
        level = _decode_level(coder, model.table(levels), model.cdf_bits) if here else 0
        recon.append(model.rebuild(pred, level))
        levels.append(level)
        preds.append(pred)
    coder.finish()
    return levels, preds, recon
