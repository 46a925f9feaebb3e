"""Frames: every split of the stream gives the same frames, and every byte is in one counter."""

import base64
import binascii
import random

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from edge_wz.formats.framing import Frame, FrameDecoder, FrameStatus, encode_frame
from edge_wz.formats.layout import MAX_FRAME_BYTES


def balanced(decoder):
    parts = decoder.good_bytes + decoder.bad_bytes + decoder.discarded_bytes + decoder.console_bytes + decoder.pending_bytes
    return parts == decoder.fed_bytes


def line(message):
    """An answer on one line, SPEC 12.2."""
    checked = message + binascii.crc_hqx(message, 0).to_bytes(2, "big")
    return b"\x06\x09" + base64.b64encode(len(checked).to_bytes(2, "big") + checked) + b"\n"


def feed_all(pieces):
    decoder, frames = FrameDecoder(), []
    for piece in pieces:
        frames += decoder.feed(piece)
        assert balanced(decoder)
    return frames, decoder.state()


def mixed_stream():
    """Good packets, idle fill, garbage, a frame that is too long, one as long as allowed, an unfinished one."""
    random.seed(5)
    good = [encode_frame(random.randbytes(size)) for size in (1, 12, 40, 254, 255, 300)]
    longest = b"\x01" * MAX_FRAME_BYTES + b"\0"
    return b"".join([b"\0\0", *good, b"\x09ab\0", b"\x01" * 17000, b"\0", longest, good[1], b"\x05half"])


def console_stream():
    """Frames, then answers among which there is damage, then frames; and what only looks like an answer."""
    random.seed(6)
    good = [encode_frame(random.randbytes(size)) for size in (9, 30)]
    answers = [line(random.randbytes(size)) for size in (8, 11, 60)]
    damaged = answers[1][:5] + b"?" + answers[1][6:]
    endless = b"x" * 300
    looks_like = b"\x06\x09abc\n" + b"y" * 30 + b"\0"
    return b"".join([good[0], *answers, damaged, answers[0], b"\0", good[1], looks_like, answers[2], endless, answers[1],
                     b"\0", *good, answers[0], answers[1][:9]])


def test_a_frame_byte_by_byte():
    assert encode_frame(bytes([0, 1, 2, 0])) == bytes([1, 3, 1, 2, 1, 0])
    decoder = FrameDecoder()
    assert decoder.feed(bytes([1, 3, 1, 2, 1])) == []
    assert decoder.pending_bytes == 5
    assert decoder.feed(b"\0") == [Frame(FrameStatus.OK, bytes([0, 1, 2, 0]), 6)]


def test_statuses_and_counters_of_a_mixed_stream():
    stream = mixed_stream()
    frames, state = feed_all([stream])
    statuses = [frame.status for frame in frames]
    assert statuses == [FrameStatus.OK] * 6 + [FrameStatus.BAD, FrameStatus.TOO_LONG] + [FrameStatus.OK] * 2
    assert frames[6].payload == b"\x09ab" and frames[7] == Frame(FrameStatus.TOO_LONG, b"", 17001)
    assert state.pending == b"\x05half" and state.discarded_bytes == 2 + 17001 and state.bad_bytes == 4
    assert state.good_bytes == sum(frame.wire_bytes for frame in frames if frame.status is FrameStatus.OK)


def test_answers_are_cut_out_and_counted():
    stream = console_stream()
    frames, state = feed_all([stream])
    good = [frame for frame in frames if frame.status is FrameStatus.OK]
    assert len(good) == 4 and state.good_bytes == sum(frame.wire_bytes for frame in good)
    bad = [frame.payload for frame in frames if frame.status is FrameStatus.BAD]
    random.seed(6)
    _, answers = [random.randbytes(size) for size in (9, 30)], [line(random.randbytes(size)) for size in (8, 11, 60)]
    assert bad[0] == answers[1][:5] + b"?" + answers[1][6:] and bad[1].startswith(b"\x06\x09abc\n")
    cut_out = [*answers, answers[0], answers[2], answers[0]]
    assert state.console_bytes == sum(map(len, cut_out)), "the one behind 300 x is part of a bad line"
    assert state.in_console and state.pending == answers[1][:9]


def test_a_session_of_answers_is_never_too_long():
    decoder, answer = FrameDecoder(), line(b"12345678off")
    assert decoder.feed(answer * 2000) == [] and decoder.pending_bytes == 0
    assert decoder.console_bytes == 2000 * len(answer)
    assert decoder.feed(b"\0" + encode_frame(b"abc")) == [Frame(FrameStatus.OK, b"abc", 5)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 127, 128, 129])
def test_answers_in_feeds_of_one_size(size):
    stream = console_stream()
    assert feed_all(stream[i : i + size] for i in range(0, len(stream), size)) == feed_all([stream])


def test_every_split_of_answers_into_two_feeds():
    stream = console_stream()
    whole = feed_all([stream])
    for cut in range(len(stream)):
        assert feed_all([stream[:cut], stream[cut:]]) == whole
    for cut in range(0, len(stream), 7):
        first = FrameDecoder()
        frames, refused = first.feed_packets(stream[:cut])
        second = FrameDecoder(first.state())
        more = second.feed_packets(stream[cut:])
        assert second.state() == whole[1] and len(frames + more[0]) + len(refused + more[1]) == len(whole[0])


def test_every_split_into_two_feeds():
    stream = mixed_stream()
    whole = feed_all([stream])
    near_events = [i for i in range(len(stream)) if 0 in stream[max(0, i - 3) : i + 3]]
    cuts = {*near_events, *range(0, len(stream), 97), *range(900), len(stream)}
    for cut in sorted(cuts):
        assert feed_all([stream[:cut], stream[cut:]]) == whole


def test_every_split_of_a_short_stream_into_three_feeds():
    stream = encode_frame(b"\0ab\0") + b"\0" + b"\x09x\0" + encode_frame(b"cd")
    whole = feed_all([stream])
    for i in range(len(stream) + 1):
        for j in range(i, len(stream) + 1):
            assert feed_all([stream[:i], stream[i:j], stream[j:]]) == whole


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 16384, 16385])
def test_feeds_of_one_size(size):
    stream = mixed_stream()
    assert feed_all(stream[i : i + size] for i in range(0, len(stream), size)) == feed_all([stream])


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_garbage_never_raises_and_stays_balanced(pieces):
    frames, state = feed_all(pieces)
    assert feed_all([b"".join(pieces)]) == (frames, state)


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=20).map(encode_frame), max_size=12))
def test_the_fast_way_gives_the_same(pieces):
    one, other = FrameDecoder(), FrameDecoder()
    for piece in pieces:
        frames = one.feed(piece)
        good = [frame.payload for frame in frames if frame.status is FrameStatus.OK]
        bad = [frame for frame in frames if frame.status is not FrameStatus.OK]
        assert other.feed_packets(piece) == (good, bad)
        assert other.state() == one.state()


@pytest.mark.parametrize("size", [1, 1000, 17000])
def test_the_fast_way_on_the_mixed_stream(size):
    stream, one, other = mixed_stream(), FrameDecoder(), FrameDecoder()
    for i in range(0, len(stream), size):
        frames = one.feed(stream[i : i + size])
        packets, refused = other.feed_packets(stream[i : i + size])
        assert packets == [frame.payload for frame in frames if frame.status is FrameStatus.OK]
        assert refused == [frame for frame in frames if frame.status is not FrameStatus.OK]
        assert other.state() == one.state()


@given(st.lists(st.binary(min_size=1, max_size=600), max_size=6))
def test_packets_come_back(packets):
    frames, state = feed_all([b"".join(map(encode_frame, packets))])
    assert [frame.payload for frame in frames] == packets
    assert state.good_bytes == state.fed_bytes


def test_a_flipped_bit_costs_at_most_two_frames():
    packets = [bytes([i, 0, i + 1, 7]) for i in range(5)]
    stream = b"".join(map(encode_frame, packets))
    for bit in range(8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        frames, _ = feed_all([bytes(flipped)])
        assert len({frame.payload for frame in frames} & set(packets)) >= 3


def test_state_can_be_taken_and_given_back_anywhere():
    stream = mixed_stream()
    whole = feed_all([stream])
    for cut in range(0, len(stream), 501):
        first = FrameDecoder()
        frames = first.feed(stream[:cut])
        second = FrameDecoder(first.state())
        assert (frames + second.feed(stream[cut:]), second.state()) == whole


def test_an_endless_frame_keeps_no_bytes():
    decoder = FrameDecoder()
    for _ in range(100):
        assert decoder.feed(b"\x55" * 1000) == []
        assert decoder.pending_bytes <= MAX_FRAME_BYTES and balanced(decoder)
    assert decoder.feed(b"\0" + encode_frame(b"x"))[1].payload == b"x"


def test_the_largest_packet_fits():
    """SPEC 4: 4096 samples of 31 bits, header, id, check."""
    assert len(cobs.encode(bytes([7]) * (4096 * 31 // 8 + 6))) <= MAX_FRAME_BYTES
