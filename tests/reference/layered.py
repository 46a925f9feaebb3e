"""SPEC 11 in Python integers. Samples are a list with None for absent ones; a table is a dict of the JSON fields of a case."""

from math import prod
from typing import Any

from tests.reference.arithmetic import pack_bits, unpack_bits
from tests.reference.range_coder import Decoder, Encoder, Malformed
from tests.reference.syndrome import block_check, transform

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


# --- blocks (SPEC 11.6) -------------------------------------------------------------------------------------------

MIN_BLOCK, CHECK_PLACE = 32, 1024


def _planes(alphabets: list[int], layer: int) -> range:
    first = sum(_bits(alphabet) for alphabet in alphabets[:layer])
    return range(first, first + _bits(alphabets[layer]))


def pack_block(table: Table, messages: list[int | None], first: int, last: int, slots: int) -> tuple[list[int], bytes]:
    """(what a parser yields of the present samples, payload) of layers first .. last-1 of one block; `slots`: of a whole packet."""
    alphabets, here = table["alphabets"], [number for number in messages if number is not None]
    size = 1
    while size < slots:
        size *= 2
    fields: list[tuple[int, int]] = []
    values, checks = [0] * len(here), []
    for k in range(first, last):
        symbols = [symbol(number, alphabets, k) for number in here]
        values = [value * alphabets[k] for value in values]
        for at, plane in enumerate(_planes(alphabets, k)):
            shift = _bits(alphabets[k]) - 1 - at
            bits = transform([s >> shift & 1 for s in symbols] + [0] * (size - len(here)))
            for i in sorted(table["sets"][plane]):
                if i < len(here):
                    fields.append((bits[i], 1))
                    values[i] += bits[i] << shift
        checks.append(block_check([prefix(number, alphabets, k + 1) for number in here], table["block_check_bits"]))
        fields.append((checks[-1], table["block_check_bits"]))
    if not first:
        values = [node(value, alphabets, last) for value in values]
    for k, check in enumerate(checks, first):
        values[k] += CHECK_PLACE * check
    return values, pack_bits(fields)


def unpack_block(table: Table, payload: bytes, present: list[bool], first: int, last: int) -> tuple[list[int | None], int]:
    """(transformed bits as one number with the checks, layers found); Malformed if SPEC says so."""
    alphabets, count = table["alphabets"], sum(present)
    layers = []
    for k in range(first, last):
        sent = [[i for i in sorted(table["sets"][plane]) if i < count] for plane in _planes(alphabets, k)]
        layers.append([*([1] * sum(map(len, sent))), table["block_check_bits"]])
    whole = 0
    while whole < len(layers) and sum(map(sum, layers[: whole + 1])) <= 8 * len(payload):
        whole += 1
    if not whole:
        raise Malformed("truncated")
    widths = [width for layer in layers[:whole] for width in layer]
    try:
        rest = iter(unpack_bits(payload, widths) if whole == len(layers) else _read(payload, widths))
    except ValueError as error:
        raise Malformed(str(error)) from None
    values, checks = [0] * count, []
    for k in range(first, first + whole):
        values = [value * alphabets[k] for value in values]
        for at, plane in enumerate(_planes(alphabets, k)):
            for i in sorted(table["sets"][plane]):
                if i < count:
                    values[i] += next(rest) << _bits(alphabets[k]) - 1 - at
        checks.append(next(rest))
    for k, check in enumerate(checks, first):
        values[k] += CHECK_PLACE * check
    found = iter(values)
    return [next(found) if here else None for here in present], whole


def payload_of(table: Table, messages: list[int | None], first: int, last: int, slots: int) -> bytes:
    """Of any packet: a block if the table makes blocks and there are enough samples."""
    if table.get("block_check_bits") and sum(number is not None for number in messages) >= MIN_BLOCK:
        return pack_block(table, messages, first, last, slots)[1]
    return pack(marginal(table) if first else table, messages, first, last, first > 0)


def parse_packet(table: Table, payload: bytes, present: list[bool], first: int, last: int) -> tuple[list[int | None], int]:
    """(what a parser yields, layers found) of any packet; Malformed if SPEC says so."""
    if table.get("block_check_bits") and sum(present) >= MIN_BLOCK:
        values, layers = unpack_block(table, payload, present, first, last)
    else:
        values, layers = unpack(marginal(table) if first else table, payload, present, first, last, first > 0)
    if first:
        return values, layers
    return [None if value is None else node(value, table["alphabets"], layers) for value in values], layers
