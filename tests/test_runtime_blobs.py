"""Blobs that the C runtime refuses: each kind by its name, on every core; and damaged ones, of which it takes exactly those that Python takes.

A million of them: `benchmarks/blob_mutations.py`.
"""

import math
import random
import struct

import numpy as np
import pytest

from edge_wz.formats import blob
from edge_wz.model import LayeredRatePoint
from export import harness
from export.harness import Commands, Op
from tests import blob_mutations, random_runs, runtime_machines
from tests.blob_mutations import resealed
from tests.random_models import MAKERS
from tests.runtime_machines import machines
from tests.test_formats_blob import nested, predictive

ALIGNMENT, LENGTH, FOREIGN, NEWER, CHECK, SCHEME, FIELD, OVERFLOW, TABLE = range(-16, -25, -1)  # wz_status_t
MUTATED = 400
CDFS = (np.array([[0, 100, 256]]), np.array([[0, 1, 256], [0, 255, 256]]))
NESTED = nested().blob  # rate points at 36 and 52: modulus, shift, 0, rounding, two taps
PREDICTIVE = predictive().blob  # thresholds at 36, rows at 52, rate points at 76, the first cdf at 140
TRELLIS = blob.make_trellis(32, 50, 8, 1.0, 0.0, (3, 0o13, 0o4), [(4, 10, 512, [700])]).blob
SYNDROME = blob.make_syndrome(40, 50, 1.0, 0.0, 8, [(4, 10, 512, [700], [[True] * 40])]).blob  # the set at 52
LAYERED = blob.make_layered(  # the table at 40: thresholds at 52, messages at 58, cdfs at 60
    32, 50, 1.0, 0.0, [LayeredRatePoint(np.array([-5, 0, 5]), np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (2, 2), CDFS)]
).blob


def changed(data: bytes, at: int, form: str, *values: float) -> bytes:
    """Other values in one place, the check made to fit."""
    out = bytearray(data)
    struct.pack_into("<" + form, out, at, *values)
    return resealed(bytes(out), length=False)


BAD = {
    "cut": (NESTED[:50], LENGTH),
    "cut, the check made to fit": (resealed(NESTED[:-8]), LENGTH),
    "only a header": (NESTED[:36], LENGTH),
    "more than it says": (NESTED + bytes(4), LENGTH),
    "says more than there is": (changed(NESTED, 12, "I", 1 << 31), LENGTH),
    "odd length": (resealed(NESTED + bytes(1)), LENGTH),
    "foreign": (b"WZIM" + NESTED[4:], FOREIGN),
    "newer": (changed(NESTED, 4, "B", 2), NEWER),
    "version 0": (changed(NESTED, 4, "B", 0), FIELD),
    "changed bytes": (NESTED[:40] + bytes([NESTED[40] ^ 1]) + NESTED[41:], CHECK),
    "wrong check": (NESTED[:-1] + bytes([NESTED[-1] ^ 0x80]), CHECK),
    "scheme to come": (changed(NESTED, 5, "B", 6), SCHEME),
    "no rate point": (changed(NESTED, 6, "B", 0), FIELD),
    "nine rate points": (changed(NESTED, 6, "B", 9), FIELD),
    "level check of 5 bits": (changed(NESTED, 7, "B", 5), FIELD),
    "no packet samples": (changed(NESTED, 8, "H", 0), FIELD),
    "4097 packet samples": (changed(NESTED, 8, "H", 4097), FIELD),
    "never a hello": (changed(NESTED, 10, "H", 0), FIELD),
    "scale 0": (changed(NESTED, 16, "d", 0.0), FIELD),
    "scale -1": (changed(NESTED, 16, "d", -1.0), FIELD),
    "scale infinite": (changed(NESTED, 16, "d", math.inf), FIELD),
    "offset no number": (changed(NESTED, 24, "d", math.nan), FIELD),
    "no taps": (changed(NESTED, 32, "B", 0), FIELD),
    "17 taps": (changed(NESTED, 32, "B", 17), FIELD),
    "reserved byte": (changed(NESTED, 34, "B", 1), FIELD),
    "modulus 1": (changed(NESTED, 36, "H", 1), FIELD),
    "coded modulus 4097": (changed(NESTED, 36, "H", 4097), FIELD),
    "shift 31": (changed(NESTED, 38, "B", 31), FIELD),
    "all taps 0": (changed(NESTED, 44, "ii", 0, 0), FIELD),
    "a tap of 2^16": (changed(NESTED, 44, "ii", 1 << 16, 0), OVERFLOW),
    "a tap of -2^31": (changed(NESTED, 44, "ii", -(1 << 31), 0), OVERFLOW),
    "taps of 2^16 together": (changed(NESTED, 44, "ii", 32769, -32767), OVERFLOW),
    "rounding one too much": (changed(NESTED, 40, "iii", 32768, 65535, 0), OVERFLOW),
    "rounding of -2^31": (changed(NESTED, 40, "iii", -(1 << 31), 1, 0), OVERFLOW),
    "trellis: q 3": (changed(TRELLIS, 44, "H", 3), FIELD),
    "trellis: h1 0": (changed(TRELLIS, 40, "I", 0), FIELD),
    "trellis: h0 too long": (changed(TRELLIS, 36, "I", 0o33), FIELD),
    "trellis: overflow": (changed(TRELLIS, 52, "i", 1 << 16), OVERFLOW),
    "syndrome: check of 7 bits": (changed(SYNDROME, 33, "B", 7), FIELD),
    "syndrome: nothing sent": (changed(SYNDROME, 48, "II", 0, 0), TABLE),
    "syndrome: a position from N on": (changed(SYNDROME, 48, "II", 1, 1 << 8), TABLE),
    "syndrome: five planes": (changed(SYNDROME, 37, "B", 5), FIELD),
    "predictive: thresholds fall": (changed(PREDICTIVE, 36, "HH", 4, 1), FIELD),
    "predictive: thresholds equal": (changed(PREDICTIVE, 36, "HH", 4, 4), FIELD),
    "predictive: coefficients overflow": (changed(PREDICTIVE, 68, "ii", 1 << 15, -(1 << 15)), OVERFLOW),
    "predictive: bias overflows": (changed(PREDICTIVE, 52, "i", (1 << 31) - 2048), OVERFLOW),
    "predictive: step below 1 LSB": (changed(PREDICTIVE, 76, "I", 255), FIELD),
    "predictive: another reciprocal": (changed(PREDICTIVE, 84, "H", 1), FIELD),
    "predictive: a cdf elsewhere": (changed(PREDICTIVE, 90, "H", 0), TABLE),
    "predictive: a cdf that does not rise": (changed(PREDICTIVE, 142, "H", 0), TABLE),
    "predictive: a cdf from 1": (changed(PREDICTIVE, 140, "H", 1), TABLE),
    "layered: thresholds fall": (changed(LAYERED, 54, "h", -5), TABLE),
    "layered: cdf 0": (changed(LAYERED, 60, "H", 0), TABLE),
    "layered: cdf at its end": (changed(LAYERED, 64, "H", 256), TABLE),
    "layered: layer beyond those there are": (changed(LAYERED, 37, "B", 3), FIELD),
}


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> harness.Machine:
    return runtime_machines.make(request.param)


@machines
def test_what_is_bad_is_refused_by_name_and_counted(machine):
    good = [NESTED, PREDICTIVE, TRELLIS, SYNDROME, LAYERED]
    assert [harness.load(machine, data) for data in good] == [0] * 5
    before = rejected(machine)
    assert {name: harness.load(machine, data) for name, (data, _) in BAD.items()} == {name: status for name, (_, status) in BAD.items()}
    assert rejected(machine) == min(before + len(BAD), 65535)  # a library keeps its count, and another test brings it to its end


def rejected(machine: harness.Machine) -> int:
    return harness.run(machine, Commands().add(Op.COUNTERS)).values(Op.COUNTERS)[2]


def test_python_refuses_them_too():
    for name, (data, status) in BAD.items():
        assert blob_mutations.agree(data, blob_mutations.parsed(data), status), name


@runtime_machines.host
def test_every_cut_and_every_flipped_bit_is_refused():
    host = runtime_machines.make("host")
    for data in (NESTED, PREDICTIVE):
        assert all(harness.load(host, data[:size]) < 0 for size in range(len(data)))
    for at in range(8 * len(NESTED)):
        assert harness.load(host, (int.from_bytes(NESTED, "little") ^ 1 << at).to_bytes(len(NESTED), "little")) < 0


@runtime_machines.host
def test_a_blob_has_to_be_aligned():
    host = runtime_machines.make("host")
    host.write(harness.HARNESS_BYTES, bytes(18) + NESTED)
    commands = Commands().add(Op.OPEN, 0, harness.HARNESS_BYTES + 18, len(NESTED), harness.HARNESS_BYTES)
    assert harness.run(host, commands).values(Op.OPEN) == [ALIGNMENT]


@machines
def test_the_model_before_goes_on(machine):
    node = nested()
    run = random_runs.run_of(node, random.Random(1), 100)
    expected = random_runs.numba(run)
    assert random_runs.runtime(machine, run) == expected
    at = harness.HARNESS_BYTES + harness.MODEL_AREA
    machine.write(at, bytes(16) + BAD["wrong check"][0])
    assert harness.run(machine, Commands().add(Op.OPEN, 0, at + 16, len(NESTED), at)).values(Op.OPEN) == [CHECK]
    commands = Commands().start(1, 1).samples(run.codes).add(Op.FLUSH)
    assert len(harness.run(machine, commands).frames) > 3


@runtime_machines.host
def test_the_count_of_refused_blobs_stops_at_its_end():
    host = runtime_machines.make("host")
    commands = Commands()
    for _ in range(65536):
        commands.add(Op.OPEN, 0, harness.HARNESS_BYTES + 16, 8, harness.HARNESS_BYTES)
    harness.run(host, commands)
    assert rejected(host) == 65535


@runtime_machines.host
@pytest.mark.parametrize("scheme", list(MAKERS))
def test_mutated_blobs_are_taken_by_both_or_neither(scheme):
    host = runtime_machines.make("host")
    rng = random.Random(scheme)
    taken = 0
    for number in range(MUTATED):
        if number % 50 == 0:
            data = blob_mutations.base(scheme, rng, 1000).blob
        bad = blob_mutations.mutated(data, rng)
        verdict, status = blob_mutations.parsed(bad), harness.load(host, bad)
        assert blob_mutations.agree(bad, verdict, status), (status, verdict, bad.hex())
        if status == 0:
            taken += 1
            assert blob_mutations.sends_alike(host, verdict, rng)
    assert MUTATED / 20 < taken < MUTATED * 0.7
