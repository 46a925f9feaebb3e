"""What is done to an encoder in C between packets: rate points, models, buffers, hellos; what it counts, and that the host can read it."""

import numpy as np
import pytest
from cobs import cobs

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.formats import blob, framing, packet
from export import harness
from export.harness import BUFFER_AT, BUFFER_BYTES, Commands, Op
from tests import runtime_machines
from tests.runtime_machines import machines

SLOTS = 16
NO_SPACE, COUNT, BUSY = -5, -6, -7  # wz_status_t
CODES = np.random.default_rng(4).integers(-32768, 32768, 5 * SLOTS).astype(np.int16)
FIRST = blob.make_nested(SLOTS, 3, 0, 1.0, 0.0, [(4, 10, 512, [700, -300, 50]), (5, 10, 512, [300, 1, 1]), (16, 4, 8, [60, 0, 9])])
SECOND = blob.make_trellis(2 * SLOTS, 100, 8, 1.0, 0.0, (3, 0o13, 0o4), [(8, 10, 512, [700])])


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> harness.Machine:
    made = runtime_machines.make(request.param)
    assert harness.load(made, FIRST) == 0 and harness.load(made, SECOND, 1) == 0
    return made


def started(*, taking: bool = True) -> Commands:
    commands = Commands().add(Op.TAKING, 0).start(7, 1000).add(Op.TAKING, 1)  # not before: nothing of the run before
    return commands if taking else commands.add(Op.TAKING, 0)


def counters(machine: harness.Machine) -> tuple[int, int]:
    """(saturated, overruns)"""
    found = harness.run(machine, Commands().add(Op.COUNTERS)).values(Op.COUNTERS)
    return found[0], found[1]


def frames(packets: list[bytes]) -> list[bytes]:
    return [framing.encode_frame(each) for each in packets]


def headers(found: harness.Output) -> list[packet.Header]:
    return [packet.peek(cobs.decode(frame[:-1])) for frame in found.frames]


@machines
def test_a_rate_point_begins_with_the_next_packet(machine):
    encoder = NodeEncoder(FIRST, 7, period_us=1000)
    commands, expected = started(), []
    for rate_point, part in ((0, CODES[:20]), (2, CODES[20:21]), (1, CODES[21:50]), (2, CODES[50:])):
        encoder.rate_point = rate_point
        expected += encoder.encode(part)
        commands.add(Op.RATE, rate_point).samples(part)
    found = harness.run(machine, commands.add(Op.FLUSH))
    assert found.frames == frames(expected + encoder.flush())
    assert found.values(Op.RATE) == [0] * 4
    assert [head.rate_point for head in headers(found) if head.type == 0] == [0, 0, 1, 1, 2]


@machines
def test_a_rate_point_that_is_not_there_changes_nothing(machine):
    found = harness.run(machine, started().add(Op.RATE, 1).add(Op.RATE, 3).add(Op.RATE, 0xFFFFFFFF).samples(CODES[:SLOTS]))
    assert found.values(Op.RATE) == [0, COUNT, COUNT]
    assert headers(found)[-1].rate_point == 1


@machines
def test_another_model_goes_on_where_the_first_one_ended(machine):
    encoder = NodeEncoder(FIRST, 7, period_us=1000, rate_point=0)
    expected = encoder.encode(CODES[:40])
    encoder.rate_point = 2
    expected += encoder.switch_model(SECOND) + encoder.encode(CODES[40:]) + encoder.switch_model(FIRST) + encoder.encode(CODES) + encoder.flush()
    commands = started().samples(CODES[:40]).add(Op.RATE, 2).add(Op.FLUSH).add(Op.SWITCH, 1, BUFFER_AT + BUFFER_BYTES, BUFFER_BYTES)
    commands.samples(CODES[40:]).add(Op.FLUSH).add(Op.SWITCH, 0, BUFFER_AT, BUFFER_BYTES).samples(CODES).add(Op.FLUSH)
    found = harness.run(machine, commands)
    assert found.values(Op.SWITCH) == [0, 0]
    assert found.frames == frames(expected)


@machines
def test_a_switch_at_the_wrong_time_or_without_room_changes_nothing(machine):
    room = harness.run(machine, Commands().add(Op.BUFFER, 1)).values(Op.BUFFER)[0]
    commands = started().samples(CODES[:5]).add(Op.SWITCH, 1, BUFFER_AT, room)
    commands.samples(CODES[5:SLOTS]).add(Op.SWITCH, 1, BUFFER_AT, room - 1).add(Op.SWITCH, 1, BUFFER_AT + 2, room)
    commands.add(Op.TAKING, 0).samples(CODES[SLOTS : 2 * SLOTS]).add(Op.SWITCH, 1, BUFFER_AT, room).add(Op.TAKING, 1)
    found = harness.run(machine, commands.samples(CODES[2 * SLOTS :]).add(Op.FLUSH))
    assert found.values(Op.SWITCH) == [BUSY, NO_SPACE, NO_SPACE, BUSY]
    encoder = NodeEncoder(FIRST, 7, period_us=1000)
    assert found.frames == frames(encoder.encode(CODES) + encoder.flush())
    assert harness.run(machine, Commands().add(Op.SWITCH, 1, BUFFER_AT, room)).values(Op.SWITCH) == [0]


@machines
def test_nothing_starts_without_room(machine):
    room = harness.run(machine, Commands().add(Op.BUFFER, 0)).values(Op.BUFFER)[0]
    for size, status in ((room - 1, NO_SPACE), (0, NO_SPACE), (room, 0)):
        assert harness.run(machine, Commands().add(Op.TAKING, 0).start(7, 1000, buffer_bytes=size)).values(Op.START) == [status]


@machines
def test_packets_not_taken_are_counted_and_only_they_are_missing(machine):
    encoder = NodeEncoder(FIRST, 7, period_us=1000)
    expected = [raw for raw in encoder.encode(CODES) if packet.peek(raw).type == 0]
    found = harness.run(machine, started(taking=False).samples(CODES).add(Op.TAKING, 1))
    assert headers(found)[0].type == 1  # of the start
    assert found.frames[1] == frames(expected)[-1]
    hello = packet.parse_hello(cobs.decode(found.frames[2][:-1]))  # due since the third packet
    assert (hello.packet_counter, hello.sample_index) == (5, len(CODES))
    assert len(found.frames) == 3
    assert counters(machine) == (encoder.counters.saturated, 4)


@runtime_machines.host
def test_the_count_of_overruns_stops_at_its_end():
    host = runtime_machines.make("host")
    assert harness.load(host, blob.make_nested(1, 65535, 0, 1.0, 0.0, [(4, 10, 512, [700])])) == 0
    harness.run(host, started(taking=False).samples(np.zeros(65600, np.int16)))
    assert counters(host)[1] == 65535


@machines
def test_saturated_samples_are_counted_across_packets_and_models(machine):
    loud = blob.make_nested(SLOTS, 3, 0, 1.0, 0.0, [(4, 0, 0, [2])])
    assert harness.load(machine, loud) == 0
    harness.run(machine, started().samples([16383, 16384, -16384, -16385, 0]).add(Op.ABSENT, 2).add(Op.FLUSH))
    assert counters(machine)[0] == 2
    harness.run(machine, Commands().add(Op.SWITCH, 0, BUFFER_AT, BUFFER_BYTES).samples([32767] * 20))
    assert counters(machine)[0] == 22
    harness.run(machine, started())
    assert counters(machine)[0] == 0


@machines
def test_refused_blobs_are_counted_beside_the_encoder(machine):
    before = harness.run(machine, Commands().add(Op.COUNTERS)).values(Op.COUNTERS)[2]
    assert harness.load(machine, FIRST.blob[:-1] + bytes([FIRST.blob[-1] ^ 1]), 1) < 0
    # A library keeps its count for the life of the process, and other tests may have brought it to its end.
    assert harness.run(machine, started().add(Op.COUNTERS)).values(Op.COUNTERS)[2] == min(before + 1, 65535)


@machines
def test_hellos_come_when_asked_for_and_when_due(machine):
    commands = started().add(Op.ANNOUNCE).samples(CODES[:5]).add(Op.ANNOUNCE).samples(CODES[5 : 4 * SLOTS]).add(Op.FLUSH).add(Op.FLUSH)
    kinds = [head.type for head in headers(harness.run(machine, commands))]
    # at the start, when asked; behind the packet begun, then every third, then at the end: nothing more to tell the second time
    assert kinds == [1, 1, 0, 1, 0, 0, 0, 1]


@machines
def test_a_hello_not_taken_stays_due(machine):
    commands = Commands().add(Op.TAKING, 0).start(7, 1000).samples(CODES[:SLOTS]).add(Op.TAKING, 1)
    found = harness.run(machine, commands)
    assert [head.type for head in headers(found)] == [0, 1]
    hello = packet.parse_hello(cobs.decode(found.frames[1][:-1]))
    assert (hello.packet_counter, hello.sample_index) == (1, SLOTS)


@machines
def test_two_buffers_in_turn(machine):
    other = BUFFER_AT + BUFFER_BYTES
    commands = started().samples(CODES[:5]).add(Op.USE, other).samples(CODES[5:SLOTS]).add(Op.USE, other)
    commands.samples(CODES[SLOTS : 2 * SLOTS]).add(Op.USE, BUFFER_AT).samples(CODES[2 * SLOTS :]).add(Op.FLUSH)
    found = harness.run(machine, commands)
    assert found.values(Op.USE) == [0, 1, 1]
    encoder = NodeEncoder(FIRST, 7, period_us=1000)
    assert found.frames == frames(encoder.encode(CODES) + encoder.flush())
