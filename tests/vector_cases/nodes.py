"""Whole runs of a node: blob, hellos, data packets, frames."""

import random
from collections.abc import Callable, Iterator

from tests.reference import node
from tests.vector_cases.layered import layered_tables
from tests.vector_cases.layered_blocks import layered_block_tables
from tests.vector_cases.predictive import predictive_model
from tests.vector_cases.samples import Case, columns, sample_runs

TWO_LINKS: list[Case] = [
    {"shared": 0, "node_id": 7, "packet_counter": 0, "sample_index": 0, "boot_epoch": 0, "start_ms": 0},
    {"shared": 1, "node_id": 300, "packet_counter": 2**32 - 3, "sample_index": 2**48 - 20, "boot_epoch": 9, "start_ms": 1},
]


def node_cases(rng: random.Random) -> Iterator[Case]:
    """Whole runs: blob, hellos, data packets, frames."""
    plain = {"taps": [1 << 10], "shift": 13, "rounding": 1 << 12, "modulus": 4, "check_bits": 0}
    filtered = {"taps": [700, -300, 50], "shift": 11, "rounding": 1024, "modulus": 5, "check_bits": 8}
    coded = predictive_model(rng, 3, 1000, 500, 2, 3)
    convolved = {**plain, "code": [3, 0o13, 0o4], "modulus": 2, "check_bits": 8}
    links: list[Case] = [
        {"shared": 0, "node_id": 7, "packet_counter": 0, "sample_index": 0, "boot_epoch": 0, "start_ms": 0},
        {"shared": 1, "node_id": 127, "packet_counter": 250, "sample_index": 4000, "boot_epoch": 3, "start_ms": 1},
        {"shared": 1, "node_id": 128, "packet_counter": 2**32 - 3, "sample_index": 2**48 - 20, "boot_epoch": 65535,
         "start_ms": 2**48 - 1},
        {"shared": 0, "node_id": 32767, "packet_counter": 65535, "sample_index": 1, "boot_epoch": 1, "start_ms": 10**12},
    ]  # fmt: skip
    for model in (plain, filtered, coded, convolved):
        yield from _runs(rng, links, lambda slots, model=model: model)


def syndrome_node_cases(rng: random.Random) -> Iterator[Case]:
    """The same with blocks."""
    return _runs(rng, TWO_LINKS, lambda slots: _blocks(rng, slots))


def layered_node_cases(rng: random.Random) -> Iterator[Case]:
    """The same with tables, which send all their layers or fewer."""
    tables = [{**table, "last": rng.randint(1, len(table["alphabets"]))} for table in layered_tables(rng, 60)]
    return _runs(rng, TWO_LINKS, lambda slots: rng.choice(tables))


def layered_block_node_cases(rng: random.Random) -> Iterator[Case]:
    """With tables that make blocks; runs end in a short packet, a block or not."""
    for slots, table in layered_block_tables(rng):
        for length in (slots, 2 * slots + 31, slots + 32):
            samples = [rng.randrange(-32768, 32768) if rng.random() < 0.95 else None for _ in range(length)]
            layers = rng.randint(1, len(table["alphabets"]))
            yield _run({**table, "last": layers}, rng.choice(TWO_LINKS), samples, slots, rng.choice([1, 10**6]), rng.choice([1, 3, 128]))


def _blocks(rng: random.Random, slots: int) -> Case:
    """A model of SPEC 10 for packets of so many samples."""
    sets = [sorted(rng.sample(range(slots), rng.randrange(1, slots + 1))) for _ in range(2)]
    return {"taps": [1 << 10], "shift": 13, "rounding": 1 << 12, "low_bits": 1, "sets": sets, "block_check_bits": 12}


def _runs(rng: random.Random, links: list[Case], model_of: Callable[[int], Case]) -> Iterator[Case]:
    for link in links:
        for samples in [*sample_runs(rng), [5] * 300]:
            slots, period = rng.choice([1, 4, 16, 64]), rng.choice([1, 10**6, 2**40 - 1])
            hello_every = rng.choice([1, 3, 128])
            yield _run(model_of(slots), link, samples, slots, period, hello_every)


def _run(model: Case, link: Case, samples: list[int | None], slots: int, period: int, hello_every: int) -> Case:
    case = {**model, **link, **columns(samples), "packet_samples": slots, "hello_every": hello_every, "period_us": period}
    sent = node.run(case)
    frames = [node.cobs(bytes.fromhex(packet)).hex() for packet in sent["packets"]]
    return {**case, **sent, "frames": frames}
