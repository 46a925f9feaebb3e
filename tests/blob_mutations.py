"""Damaged node blobs, most of them with a check that fits again, so that what lies behind it is reached; and both loaders' verdicts on them."""

import random
import struct
import zlib
from collections.abc import Callable

import numpy as np

from edge_wz.errors import FormatError, NewerVersion
from edge_wz.formats import blob
from edge_wz.model import NodeModel
from export.harness import Commands, Machine, Op
from tests import random_runs
from tests.random_models import random_model

HEADER, CHECK = 32, 4
BYTES = (0, 1, 2, 7, 8, 9, 15, 16, 17, 30, 31, 0x7F, 0x80, 0xFF)
HALVES = (0, 1, 2, 3, 0xFF, 0x100, 4095, 4096, 4097, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF)
WORDS = (0, 1, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 1 << 24, (1 << 24) + 1, 0x7FFF8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def base(scheme: str, rng: random.Random, largest: int = 3000) -> NodeModel:
    """A model of a short blob."""
    while True:
        node = random_model(scheme, rng)
        if len(node.blob) <= largest:
            return node


def resealed(data: bytes, length: bool = True) -> bytes:
    """With a check that fits, and the length in the header too."""
    body = bytearray(data[:-CHECK])
    if length and len(body) >= 16:
        struct.pack_into("<I", body, 12, len(body) + CHECK)
    return bytes(body) + struct.pack("<I", zlib.crc32(body))


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        data[_place(data, rng, 1)] ^= 1 << rng.randrange(8)


def _place(data: bytearray, rng: random.Random, size: int) -> int:
    """Mostly where the fields are that others depend on."""
    end = len(data) - CHECK
    last = min(end, rng.choice([HEADER + 12, HEADER + 60, end, end])) - size
    return rng.randrange(4, max(5, last + 1)) // size * size


def _set_byte(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng, 1)
    data[at] = rng.choice([*BYTES, (data[at] + rng.choice([-1, 1])) & 255])


def _set_half(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng, 2)
    old = int.from_bytes(data[at : at + 2], "little")
    data[at : at + 2] = rng.choice([*HALVES, (old + rng.choice([-1, 1])) & 0xFFFF]).to_bytes(2, "little")


def _set_word(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng, 4)
    old = int.from_bytes(data[at : at + 4], "little")
    data[at : at + 4] = rng.choice([*WORDS, -old & 0xFFFFFFFF, (old + rng.choice([-1, 1])) & 0xFFFFFFFF]).to_bytes(4, "little")


def _swap_halves(data: bytearray, rng: random.Random) -> None:
    """A table that does not rise any more."""
    at = _place(data, rng, 2)
    data[at : at + 4] = data[at + 2 : at + 4] + data[at : at + 2]


def _repeat_half(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng, 2)
    data[at + 2 : at + 4] = data[at : at + 2]


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(data: bytearray, rng: random.Random) -> None:
    at, count = rng.randrange(HEADER, len(data)), rng.choice([1, 2, 4, 4, 8, 36])
    del data[at : at + count]


def _insert(data: bytearray, rng: random.Random) -> None:
    at, count = rng.randrange(HEADER, len(data)), rng.choice([1, 2, 4, 4, 8, 36])
    data[at:at] = rng.choice([bytes(count), data[at : at + count], rng.randbytes(count)])


def _append(data: bytearray, rng: random.Random) -> None:
    data[-CHECK:-CHECK] = bytes(rng.choice([1, 2, 3, 4, 8]))


def _scheme(data: bytearray, rng: random.Random) -> None:
    """The section of one scheme read as that of another."""
    data[5] = rng.randrange(10)


def _random(data: bytearray, rng: random.Random) -> None:
    data[HEADER:] = rng.randbytes(len(data) - HEADER)


MUTATIONS: dict[str, Callable[[bytearray, random.Random], None]] = {
    "flip": _flip, "byte": _set_byte, "half": _set_half, "word": _set_word, "swap": _swap_halves, "repeat": _repeat_half, "cut": _cut,
    "drop": _drop, "insert": _insert, "append": _append, "scheme": _scheme, "random": _random,
}  # fmt: skip
CHANGES = ("flip", "byte", "half", "word", "swap", "repeat")  # of what most are


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three mutations; one in twenty keeps its old check, one in twenty its old length."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        name = rng.choice(CHANGES) if rng.random() < 0.8 else rng.choice(list(MUTATIONS))
        if len(out) > HEADER + CHECK:
            MUTATIONS[name](out, rng)
    fate = rng.random()
    if fate < 0.05 or len(out) < CHECK:
        return bytes(out)
    return resealed(bytes(out), length=fate > 0.1)


def parsed(data: bytes) -> NodeModel | FormatError:
    """Python's verdict."""
    try:
        return blob.parse(data)
    except FormatError as error:
        return error


NEWER = -19  # WZ_BLOB_NEWER


def agree(data: bytes, verdict: NodeModel | FormatError, status: int) -> bool:
    """Both take it, or neither does; and a version that is too new is told as such by both."""
    if isinstance(verdict, NodeModel):
        return status == 0
    newer = isinstance(verdict, NewerVersion) and data[4] > 1
    return status < 0 and (status == NEWER) == newer


def encode(machine: Machine, rng: random.Random) -> None:
    """Some packets at every rate point of the model just opened; what comes out is not looked at."""
    codes = np.frombuffer(rng.randbytes(400), np.int16)
    commands = Commands().start(1, 1)
    for rate_point in range(8):
        commands.add(Op.RATE, rate_point).samples(codes[rate_point:], rate_point & 1 == 0).add(Op.ABSENT, rng.randrange(3)).add(Op.FLUSH)
    machine.execute(commands.finished())


def sends_alike(machine: Machine, node: NodeModel, rng: random.Random) -> bool:
    """A model that both took makes the same frames of a short run."""
    run = random_runs.run_of(node, rng, 100)
    return random_runs.runtime(machine, run) == random_runs.numba(run)
