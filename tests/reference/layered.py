"""SPEC 11 in Python integers. Samples are a list with None for absent ones; a table is a dict of the JSON fields of a case."""

from math import prod
from typing import Any

from tests.reference.arithmetic import pack_bits, unpack_bits
from tests.reference.range_coder import Decoder, Encoder, Malformed

FLAT_BITS = 14
Table = dict[str, Any]  # thresholds, numbers, alphabets, cdfs (rows per layer, [] for a raw one), cdf_bits


def message(table: Table, code: int) -> int:
    return table["numbers"][sum(threshold <= code for threshold in table["thresholds"])]


def place(alphabets: list[int], layer: int) -> int:
    return prod(alphabets[layer + 1 :])


def symbol(number: int, alphabets: list[int], layer: int) -> int:
    return number // place(alphabets, layer) % alphabets[layer]


def prefix(number: int, alphabets: list[int], layers: int) -> int:
    return number // prod(alphabets[layers:])


def marginal(table: Table) -> Table:
    """How refinement packets code the layers (SPEC 11.3)."""
    flat = [[] if m & (m - 1) == 0 else [[j * 2**FLAT_BITS // m for j in range(m + 1)]] for m in table["alphabets"]]
    return {**table, "cdfs": flat, "cdf_bits": FLAT_BITS}


def _bits(alphabet: int) -> int:
    return alphabet.bit_length() - 1


def _first_coded(table: Table, first: int, last: int) -> int:
    return next((layer for layer in range(first, last) if table["cdfs"][layer]), last)


def pack(table: Table, messages: list[int | None], first: int, last: int, alone: bool) -> bytes:
    """Payload of layers first .. last-1. `alone`: without prefixes."""
    alphabets, sent = table["alphabets"], [number for number in messages if number is not None]
    coded = _first_coded(table, first, last)
    raw = [(symbol(number, alphabets, k), _bits(alphabets[k])) for k in range(first, coded) for number in sent]
    payload = pack_bits(raw)
    if coded == last:
        return payload
    coder = Encoder()
    for k in range(coded, last):
        for number in sent:
            s = symbol(number, alphabets, k)
            if not table["cdfs"][k]:
                coder.encode_bits(s, _bits(alphabets[k]))
                continue
            cdf = table["cdfs"][k][0 if alone else prefix(number, alphabets, k)]
            coder.encode(cdf[s], cdf[s + 1] - cdf[s], table["cdf_bits"])
    return payload + coder.finish()


def unpack(
    table: Table, payload: bytes, present: list[bool], first: int, last: int, alone: bool
) -> tuple[list[int | None], int]:
    """(symbols of each sample as one number, layers found); Malformed if SPEC says so."""
    alphabets, samples = table["alphabets"], sum(present)
    coded = _first_coded(table, first, last)
    whole = first
    while whole < coded and samples * sum(_bits(alphabets[k]) for k in range(first, whole + 1)) <= 8 * len(payload):
        whole += 1
    if whole < coded and (coded < last or whole == first):
        raise Malformed("truncated")
    widths = [_bits(alphabets[k]) for k in range(first, whole) for _ in range(samples)]
    size = (sum(widths) + 7) // 8
    if whole < coded:
        flat = list(_read(payload, widths))
    else:
        try:
            flat = unpack_bits(payload[:size], widths)
        except ValueError as error:
            raise Malformed(str(error)) from None
    values = [0] * samples
    for at, k in enumerate(range(first, whole)):
        values = [v * alphabets[k] + s for v, s in zip(values, flat[at * samples : (at + 1) * samples], strict=True)]
    if whole == coded:
        values = _unpack_coded(table, payload[size:], values, coded, last, alone)
        whole = last
    sent = iter(values)
    return [next(sent) if here else None for here in present], whole - first


def _read(payload: bytes, widths: list[int]) -> list[int]:
    """The first fields, whatever follows."""
    text = "".join(format(byte, "08b") for byte in payload)
    values, at = [], 0
    for width in widths:
        values.append(int(text[at : at + width] or "0", 2))
        at += width
    return values


def _unpack_coded(table: Table, rest: bytes, values: list[int], first: int, last: int, alone: bool) -> list[int]:
    if first == last:
        if rest:
            raise Malformed("bytes left over")
        return values
    coder = Decoder(rest)
    for k in range(first, last):
        alphabet = table["alphabets"][k]
        for i, before in enumerate(values):
            if table["cdfs"][k]:
                s = coder.symbol(table["cdfs"][k][0 if alone else before], table["cdf_bits"])
            else:
                s = coder.bits(_bits(alphabet))
            values[i] = before * alphabet + s
    coder.finish()
    return values


def node(value: int, alphabets: list[int], layers: int) -> int:
    """SPEC 11.4."""
    return value + sum(prod(alphabets[: k + 1]) for k in range(layers - 1))
