"""Node models of any scheme with fields anywhere in their ranges, from one `random.Random` (hypothesis has one too).

Extremes are frequent: sums of taps at the edge of 32 bits, packets of 1 and of 4096 samples, tables of steps of 1.
"""

import math
import random
from collections.abc import Callable

import numpy as np

from edge_wz.decoders import bcjr
from edge_wz.errors import FormatError
from edge_wz.formats import blob, layout
from edge_wz.formats.sections.predictive import escape_classes
from edge_wz.model import LayeredRatePoint, NodeModel
from export.harness import BLOB_BYTES

Filter = tuple[int, int, list[int]]  # shift, rounding, taps
WEIGHT = 65535  # of all taps, or of all coefficients: times 32768 it just stays below 2^31


def random_model(scheme: str, rng: random.Random) -> NodeModel:
    """One that the harness has room for."""
    while True:
        node = MAKERS[scheme](rng)
        if len(node.blob) <= BLOB_BYTES:
            return node


def _samples(rng: random.Random) -> int:
    return rng.choice([1, 2, 7, 31, 32, 33, 64, 100, 255, 1000, layout.MAX_PACKET_SAMPLES, rng.randint(1, 300), rng.randint(1, 300)])


def _hello_every(rng: random.Random) -> int:
    return rng.choice([1, 2, rng.randint(1, 40), 255, 65535])


def _points(rng: random.Random) -> range:
    return range(rng.choice([1, 1, 2, 3, layout.MAX_RATE_POINTS]))


def _split(rng: random.Random, total: int, parts: int) -> list[int]:
    """Integers whose magnitudes add up to `total`."""
    cuts = sorted(rng.randint(0, total) for _ in range(parts - 1))
    return [rng.choice([-1, 1]) * (high - low) for low, high in zip([0, *cuts], [*cuts, total], strict=True)]


def _log_uniform(rng: random.Random, largest: int) -> int:
    return rng.choice([largest, int(2 ** (rng.random() * math.log2(largest)))])


def _filter(rng: random.Random, taps: int) -> Filter:
    weight = _log_uniform(rng, WEIGHT)
    shift = rng.choice([rng.randint(0, layout.MAX_SHIFT), min(layout.MAX_SHIFT, weight.bit_length() + rng.randint(-4, 6)) % 31])
    room = 2**31 - 1 - weight * 32768
    rounding = rng.choice([0, min(room, 1 << shift >> 1), room, -room, rng.randint(-room, room)])
    return shift, rounding, _split(rng, weight, taps)


def _taps(rng: random.Random) -> int:
    return rng.choice([1, 1, 2, 5, layout.MAX_TAPS, rng.randint(1, layout.MAX_TAPS)])


def _nested(rng: random.Random) -> NodeModel:
    taps = _taps(rng)
    points = []
    for _ in _points(rng):
        coded = rng.choice([3, 5, layout.MAX_CODED_MODULUS - 1, rng.randint(2, layout.MAX_CODED_MODULUS)])
        points.append((rng.choice([1 << rng.randint(1, 15), coded]), *_filter(rng, taps)))
    return blob.make_nested(_samples(rng), _hello_every(rng), rng.choice([0, 4, 8]), 1.0, 0.0, points)


def _code(rng: random.Random) -> tuple[int, int, int]:
    """Drawn until it is one."""
    while True:
        memory = rng.randint(2, layout.MAX_CHAIN_MEMORY)
        inside, stride = (1 << memory) - 2, rng.randint(1, layout.MAX_MEMORY // memory)
        taps = 1 << memory | 1 | rng.getrandbits(memory) & inside, rng.getrandbits(memory) & inside
        code = memory * stride, *(bcjr.spread(word, stride) for word in taps)
        try:
            blob.make_trellis(1, 1, 0, 1.0, 0.0, code, [(1, 0, 0, [1])])
        except FormatError:
            continue
        return code


def _trellis(rng: random.Random) -> NodeModel:
    taps = _taps(rng)
    points = [(1 << rng.randint(0, 12), *_filter(rng, taps)) for _ in _points(rng)]
    return blob.make_trellis(_samples(rng), _hello_every(rng), rng.choice([0, 4, 8]), 1.0, 0.0, _code(rng), points)


def _sets(rng: random.Random, planes: int, samples: int) -> np.ndarray:
    density = rng.random()
    sets = np.array([[rng.random() < density for _ in range(samples)] for _ in range(planes)], np.bool_).reshape(planes, samples)
    for row in sets:
        row[rng.randrange(samples)] = True
    return sets


def _syndrome(rng: random.Random) -> NodeModel:
    taps, samples = _taps(rng), _samples(rng)
    points = []
    for _ in _points(rng):
        planes = rng.randint(0, layout.MAX_CODED_PLANES)
        low_bits = rng.randint(0 if planes else 1, layout.MAX_LOW_BITS)
        points.append((1 << low_bits, *_filter(rng, taps), _sets(rng, planes, samples)))
    return blob.make_syndrome(samples, _hello_every(rng), 1.0, 0.0, rng.choice(layout.BLOCK_CHECKS), points)


def _cdf(rng: random.Random, symbols: int, bits: int) -> list[int]:
    """Rises strictly from 0 to 2^bits; now and then almost all of it is one symbol."""
    if rng.random() < 0.2:
        low = rng.randrange(symbols)
        return [*range(low + 1), *range((1 << bits) - symbols + low + 1, (1 << bits) + 1)]
    return [0, *sorted(rng.sample(range(1, 1 << bits), symbols - 1)), 1 << bits]


def _predictor(rng: random.Random, order: int) -> list[list[int]]:
    rows = []
    for p in range(order + 1):
        weight = rng.choice([WEIGHT - 1, 4096, rng.randint(0, WEIGHT - 1)]) if p else 0
        room = 2**31 - 1 - 2048 - weight * 32768
        rows.append([rng.choice([0, room, -room, rng.randint(-room, room) >> 12]), *(_split(rng, weight, p) if p else [])])
    return rows


def _predictive(rng: random.Random) -> NodeModel:
    order, first, contexts, bits = rng.randint(0, 6), rng.randint(1, 8), rng.randint(1, 9), rng.randint(8, 15)
    points = []
    for _ in _points(rng):
        step = rng.choice([256, 257, rng.randint(256, layout.MAX_STEP_Q8), int(256 * 2 ** (16 * rng.random()))])
        rounding = rng.choice([0, step // 2, step - 1, rng.randrange(step)])
        tables = []
        for _ in range(first + contexts):
            direct = rng.choice([0, rng.randint(0, 12), layout.MAX_DIRECT])
            symbols = 2 * direct + escape_classes(step, rounding, direct) + 2
            tables.append((direct, _cdf(rng, symbols, bits)))
        points.append((step, rounding, tables))
    thresholds = sorted(rng.sample(range(rng.choice([12, 65536])), contexts - 1))
    return blob.make_predictive(
        _samples(rng), _hello_every(rng), 1.0, 0.0, order, _predictor(rng, order), thresholds, first, contexts, bits, points
    )


def _table(rng: random.Random, cdf_bits: int) -> LayeredRatePoint:
    alphabets = [rng.choice([2, 3, 4, 8, layout.MAX_ALPHABET])]
    while len(alphabets) < layout.MAX_LAYERS and rng.random() < 0.7:
        largest = min(layout.MAX_ALPHABET, layout.MAX_MESSAGES // math.prod(alphabets))
        if largest < 2:
            break
        alphabets.append(rng.choice([2, largest, rng.randint(2, largest)]))
    count = rng.choice([1, rng.randint(1, 60), rng.randint(1, 60), rng.randint(1, 600)])
    thresholds = sorted(rng.sample(range(-32767, 32768), count))
    messages = np.array([[rng.randrange(m) for m in alphabets] for _ in range(count + 1)], np.uint8)
    cdfs = []
    for layer, alphabet in enumerate(alphabets):
        coded = alphabet & (alphabet - 1) != 0 or rng.random() < 0.4
        rows = [_cdf(rng, alphabet, cdf_bits) for _ in range(math.prod(alphabets[:layer]) if coded else 0)]
        cdfs.append(np.array(rows, np.int32).reshape(-1, alphabet + 1))
    return LayeredRatePoint(np.array(thresholds, np.int32), messages, tuple(alphabets), tuple(cdfs), rng.randint(1, len(alphabets)))


def _layered_blocks(rng: random.Random) -> NodeModel:
    samples = max(layout.MIN_LAYER_BLOCK, _samples(rng))
    points = []
    for _ in _points(rng):
        widths = [rng.randint(1, 3) for _ in range(rng.choice([1, 2]))]
        alphabets = tuple(1 << width for width in widths)
        count = rng.choice([1, rng.randint(1, 60)])
        thresholds = np.array(sorted(rng.sample(range(-32767, 32768), count)), np.int32)
        messages = np.array([[rng.randrange(m) for m in alphabets] for _ in range(count + 1)], np.uint8)
        cdfs = tuple(np.zeros((0, m + 1), np.int32) for m in alphabets)
        sets = _sets(rng, sum(m.bit_length() - 1 for m in alphabets), samples)
        points.append(LayeredRatePoint(thresholds, messages, alphabets, cdfs, rng.randint(1, len(alphabets)), sets))
    return blob.make_layered(samples, _hello_every(rng), 1.0, 0.0, points, rng.choice(layout.BLOCK_CHECKS))


def _layered(rng: random.Random) -> NodeModel:
    if rng.random() < 0.3:
        return _layered_blocks(rng)
    cdf_bits = rng.randint(layout.MIN_LAYERED_CDF_BITS, layout.MAX_LAYERED_CDF_BITS)
    points: list[LayeredRatePoint] = []
    for _ in _points(rng):
        points.append(_table(rng, cdf_bits))
        if rng.random() < 0.5:  # the same table, cut elsewhere
            table = points[-1]
            points.append(LayeredRatePoint(table.thresholds, table.messages, table.alphabets, table.cdfs, rng.randint(1, table.layers)))
    return blob.make_layered(_samples(rng), _hello_every(rng), 1.0, 0.0, points[: layout.MAX_RATE_POINTS])


MAKERS: dict[str, Callable[[random.Random], NodeModel]] = {
    "nested": _nested, "predictive": _predictive, "trellis": _trellis, "syndrome": _syndrome, "layered": _layered,
}
