"""Packets: byte by byte, round trips, and what damage the checks let through."""

import math
import struct
import zlib

import numpy as np
import pytest
from fastcrc import crc16
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import packet_mutations
from edge_wz.formats import packet
from edge_wz.formats.framing import FrameDecoder, encode_frame
from edge_wz.formats.packet import Context, DataPacket, Hello, PacketStatus

MODEL_ID = bytes(range(1, 9))
HELLO = Hello(300, 2, MODEL_ID, 70_000, 123_456_789, 1_000_000, 1_700_000_000_123, 3)
CONTEXT = Context(7, MODEL_ID, 2, 99)
SEED = CONTEXT.seed(5)
PLAIN = packet.pack_payload(b"payload", 2, 5, SEED)


def flips(raw):
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        yield bit, bytes(flipped)


# ------------------------------------------------------------------------------------------------- node id


@pytest.mark.parametrize(("node_id", "varint"), [
    (0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x80"), (300, b"\x81\x2c"), (32767, b"\xff\xff"),
])
def test_node_id_varint(node_id, varint):
    assert packet.pack_node_id(node_id) == varint
    assert packet.split_node_id(varint + b"rest") == (node_id, len(varint))


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff", b"\x80\x7f", b"\x80\x00"])
def test_malformed_node_ids(raw):
    assert packet.split_node_id(raw) == (-1, 0)


@pytest.mark.parametrize("node_id", [-1, 32768])
def test_node_ids_that_do_not_fit(node_id):
    with pytest.raises(ValueError, match="node id"):
        packet.pack_node_id(node_id)


# ------------------------------------------------------------------------------------------------- hello


def test_a_hello_byte_by_byte():
    raw = packet.pack_hello(HELLO, shared=False)
    expected = (
        struct.pack(">HHH", 1 << 14 | 1 << 12 | 3 << 9 | (70_000 & 255) << 1, 300, 2) + MODEL_ID
        + struct.pack(">I", 70_000) + (123_456_789).to_bytes(6, "big") + (1_000_000).to_bytes(5, "big")
        + (1_700_000_000_123).to_bytes(6, "big")
    )
    assert raw == expected + struct.pack(">I", zlib.crc32(expected)) and len(raw) == 39


@pytest.mark.parametrize("shared", [False, True])
def test_hello_comes_back_and_no_damage_passes(shared):
    raw = packet.pack_hello(HELLO, shared)
    offset = 2 if shared else 0
    assert packet.parse_hello(raw, offset) == HELLO
    for size in range(len(raw)):
        assert isinstance(packet.parse_hello(raw[:size], offset), PacketStatus)
    for _, flipped in flips(raw):
        assert packet.parse_hello(flipped, offset) is PacketStatus.BAD_CHECK
        for _, twice in list(flips(flipped))[::17]:
            assert twice == raw or packet.parse_hello(twice, offset) is PacketStatus.BAD_CHECK
    assert packet.parse_hello(raw + b"\0", offset) is PacketStatus.MALFORMED


@pytest.mark.parametrize(("byte", "value"), [
    (0, 0x90), (0, 0x46), (1, 0xE1), (1, 0xE2), (2, 0x80), (27, 0),
])
def test_hellos_that_check_but_break_a_rule(byte, value):
    """Version, type, extension, sequence, node id, period."""
    body = bytearray(packet.pack_hello(HELLO._replace(period_us=1 << 8), shared=False)[:-4])
    body[byte] = value
    forged = bytes(body) + zlib.crc32(body).to_bytes(4, "big")
    assert packet.parse_hello(forged) is PacketStatus.MALFORMED


def test_both_ids_of_a_shared_hello_must_agree():
    body = packet.pack_node_id(301) + packet.pack_hello(HELLO, shared=False)[:-4]
    forged = body + zlib.crc32(body).to_bytes(4, "big")
    assert packet.parse_hello(forged, 2) is PacketStatus.MALFORMED


@given(
    st.builds(
        Hello, st.integers(0, 32767), st.integers(0, 65535), st.binary(min_size=8, max_size=8),
        st.integers(0, 2**32 - 1), st.integers(0, 2**48 - 1), st.integers(1, 2**40 - 1), st.integers(0, 2**48 - 1),
        st.integers(0, 7),
    ), st.booleans(),
)
def test_any_hello_comes_back(hello, shared):
    raw = packet.pack_hello(hello, shared)
    offset = packet.split_node_id(raw)[1] if shared else 0
    assert packet.parse_hello(raw, offset) == hello


# ------------------------------------------------------------------------------------------------- context


def test_seed_is_the_crc_of_the_context():
    context = bytes([0, 7]) + MODEL_ID + bytes([0, 2]) + (99).to_bytes(6, "big") + bytes([0, 0, 3])
    assert CONTEXT.seed(0x3FF) == crc16.ibm_3740(context)
    assert packet.crc(b"123456789") ^ 0xFFFF == 0xD64E
    assert crc16.genibus(context + PLAIN[:-2]) != 0  # another counter than below
    own = context[:-1] + b"\0"
    assert crc16.genibus(own + PLAIN[:-2]) == int.from_bytes(PLAIN[-2:], "big")


@given(st.binary(max_size=200), st.integers(0, 65535))
def test_both_crc_implementations_agree(data, state):
    assert packet.crc(data, state) == crc16.ibm_3740(data, state)


def test_context_of_a_hello():
    context = Context.of(HELLO, 32, shared=False)
    assert context.base_index == 123_456_789 - 70_000 * 32 and context.node_id == 300
    assert context.first_index(70_001, 32) == 123_456_789 + 32
    late = Context.of(HELLO._replace(sample_index=0), 32, shared=True)
    assert late.node_id == 0 and late.first_index(70_000, 32) == 0


def test_every_field_of_the_context_changes_the_seed():
    others = [Context(8, MODEL_ID, 2, 99), Context(7, bytes(8), 2, 99), Context(7, MODEL_ID, 3, 99),
              Context(7, MODEL_ID, 2, 100)]
    assert len({SEED, CONTEXT.seed(256), *(other.seed(5) for other in others)}) == 6
    assert CONTEXT.seed(255) == SEED and CONTEXT.seed(2**32) == CONTEXT.seed(0)


def test_seeds_of_a_long_run_are_not_all_kept():
    context = Context(1, MODEL_ID, 0, 0)
    seeds = [context.seed(c << 8) for c in range(1000)]
    assert len(context._seeds) <= packet.SEEDS_KEPT
    assert seeds == [Context(1, MODEL_ID, 0, 0).seed(c << 8) for c in range(1000)]


# ------------------------------------------------------------------------------------------------- data


def test_a_data_packet_byte_by_byte():
    assert PLAIN[:2] == struct.pack(">H", 1 << 14 | 2 << 9 | 5 << 1) and PLAIN[2:-2] == b"payload"
    full = DataPacket(1, 200, 19, b"\x80\x00\x20", b"xy")
    raw = packet.pack_data(full, SEED, 300)
    word = struct.pack(">H", 1 << 14 | 1 << 9 | 200 << 1 | 1)
    assert raw[:-2] == b"\x81\x2c" + word + b"\x03" + b"\x00\x13" + b"\x80\x00\x20" + b"xy"
    assert packet.check_data(raw, SEED) and packet.parse_data(raw, 2, 32) == full


def test_plain_packets_take_the_short_way():
    assert packet.plain_header(PLAIN, 0) == 2 << 8 | 5 and packet.plain_payload(PLAIN, 0) == b"payload"
    assert packet.parse_data(PLAIN, 0, 32) == DataPacket(2, 5, None, None, b"payload")
    assert packet.pack_data(DataPacket(2, 5, None, None, b"payload"), SEED) == PLAIN
    extended = packet.pack_data(DataPacket(2, 5, 3, None, b""), SEED)
    assert packet.plain_header(extended, 0) == -1 and packet.plain_header(PLAIN[:3], 0) == -1
    assert packet.plain_header(packet.pack_hello(HELLO, False), 0) == -1


@given(st.integers(0, 7), st.integers(0, 255), st.integers(2, 70), st.data(), st.binary(max_size=30))
def test_any_data_packet_comes_back(rate_point, sequence, samples, data, payload):
    count = data.draw(st.none() | st.integers(1, samples - 1))
    slots = samples if count is None else count
    present = np.array(data.draw(st.lists(st.booleans(), min_size=slots, max_size=slots)))
    made = DataPacket(rate_point, sequence, count, packet.absent_bitmap(present), payload)
    node_id = data.draw(st.none() | st.integers(0, 32767))
    raw = packet.pack_data(made, SEED, node_id)
    offset = 0 if node_id is None else packet.split_node_id(raw)[1]
    assert packet.check_data(raw, SEED)
    assert packet.parse_data(raw, offset, samples) == made
    assert packet.present_slots(made, samples).tolist() == present.tolist()


@pytest.mark.parametrize("extension", [
    b"", b"\x00", b"\x04", b"\x80", b"\x83\x00\x05", b"\x01", b"\x01\x00", b"\x01\x00\x00", b"\x01\x00\x20",
    b"\x01\x01\x00", b"\x02", b"\x02\x80\x00\x00", b"\x02\x00\x00\x00\x00", b"\x03\x00\x03\x10", b"\x03\x00\x03\x00",
    b"\x03\x00\x03",
])
def test_extensions_that_break_a_rule(extension):
    body = struct.pack(">H", 1 << 14 | 1) + extension
    raw = body + (packet.crc(body, SEED) ^ 0xFFFF).to_bytes(2, "big")
    assert packet.check_data(raw, SEED)
    assert packet.parse_data(raw, 0, 32) is PacketStatus.MALFORMED


@given(st.binary(max_size=80), st.integers(0, 2))
def test_any_bytes_get_a_status_or_fields(raw, offset):
    header = packet.peek(raw, offset)
    refused = packet.refusal(raw, offset, header)
    assert refused is None or refused in PacketStatus
    assert isinstance(packet.parse_data(raw, offset, 32), DataPacket | PacketStatus)
    assert isinstance(packet.parse_hello(raw, offset), Hello | PacketStatus)
    node_id, at = packet.split_node_id(raw)
    assert (node_id == -1) == (at == 0)


def test_refusals():
    def refused(raw):
        return packet.refusal(raw, 0, packet.peek(raw))

    assert refused(b"") is refused(b"\x40") is PacketStatus.TOO_SHORT
    assert refused(b"\x00\x00") is refused(b"\x80\x00") is refused(b"\xc0\x00") is PacketStatus.NEWER_VERSION
    assert refused(b"\x70\x00") is PacketStatus.RESERVED_TYPE
    assert refused(b"\x40\x00") is refused(b"\x50\x00") is refused(b"\x60\x00") is None


# ------------------------------------------------------------------------------------------------- what passes


@pytest.mark.parametrize("payload_bytes", [0, 1, 12, 63, 300])
def test_every_flip_and_truncation_of_a_data_packet_fails_its_check(payload_bytes):
    raw = packet.pack_payload(bytes(payload_bytes), 0, 5, SEED, packet.pack_node_id(300))
    assert packet.check_data(raw, SEED)
    assert not any(packet.check_data(flipped, SEED) for _, flipped in flips(raw))
    assert not any(packet.check_data(raw[:size], SEED) for size in range(len(raw)))


def test_appended_zero_bytes_fail_the_check():
    for size in range(1, 40):
        assert not packet.check_data(PLAIN + bytes(size), SEED)


def test_a_delimiter_flipped_before_idle_fill_is_found():
    """0x00 0x00 -> 0x01 0x00 appends a zero byte to the packet, the one error that the final xor is there for."""
    stream = encode_frame(PLAIN)[:-1] + b"\x01\x00"
    (frame,) = FrameDecoder().feed(stream)
    assert frame.payload == PLAIN + b"\0"
    assert not packet.check_data(frame.payload, SEED)


def test_every_pair_and_triple_of_flips_of_a_short_packet_is_found():
    """By linearity of the CRC: no two or three single-bit syndromes cancel, for the longest packet there is."""
    longest = 4092 - 21
    state, syndromes = 1, []
    for _ in range(8 * longest):
        syndromes.append(state)
        state = (state << 1 ^ (0x11021 if state & 0x8000 else 0)) & 0xFFFF
    assert len(set(syndromes)) == len(syndromes) and 0 not in syndromes
    # The generator has the factor x + 1, so an odd number of flips never cancels.
    assert bin(0x11021).count("1") % 2 == 0


def test_three_flips_cannot_change_the_counter_high_within_the_near_window():
    for expected in range(256, 512):
        window = range(expected - 16, expected + 16)
        for sent in window:
            for taken in window:
                if sent >> 8 != taken >> 8:
                    assert bin((sent ^ taken) & 0xFF).count("1") >= 4


def test_mutated_packets_pass_no_more_often_than_chance():
    """60 000 packets (10^6 in the benchmark). Bound: five standard deviations above contexts x 2^-16."""
    offered, passed = packet_mutations.run(60_000, seed=2)
    for mutation in packet_mutations.GUARANTEED:
        assert offered[mutation, "near"] > 4_000 and passed[mutation, "near"] == 0
    others = [key for key in offered if key[0] not in packet_mutations.GUARANTEED and key[1] != "packets"]
    expected = sum(offered[key] for key in others) / 65536
    assert sum(passed[key] for key in others) <= expected + 5 * math.sqrt(expected)
    for mutation in packet_mutations.MUTATIONS:
        assert sum(passed[mutation, c] for c in packet_mutations.CONTEXTS) <= 6
