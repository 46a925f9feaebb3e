"""The device on the host board: modes, commands, images, trials (SPEC 12). The same C that a chip runs, under ASan and UBSan."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cbor2
import numpy as np
import pytest

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.formats import packet
from firmware_sim.host_board import HostBoard
from tests import device_wire
from tests.device_wire import (
    COUNTERS,
    ECHO,
    IMAGES,
    INFO,
    LOG,
    PARAMETERS,
    RESET,
    REVERT,
    STATE,
    UPLOAD,
    WRITE,
    Wire,
    make_image,
    model,
)

pytestmark = pytest.mark.c


@contextmanager
def started(folder: Path) -> Iterator[tuple[HostBoard, Wire]]:
    board = HostBoard(device_wire.host_program(), folder)
    wire = Wire(board.port)
    try:
        yield board, wire
        assert board.running
    finally:
        wire.close()
        said = board.close()
    assert said == "", said


def codes_of(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, count).astype(np.int16)


def test_a_blank_node_answers_and_sends_nothing(tmp_path):
    with started(tmp_path) as (board, wire):
        board.recording.feed(codes_of(100))
        assert wire.ask(ECHO, WRITE, d="hello") == {"r": "hello"}
        assert wire.ask(PARAMETERS) == {"buf_size": 260, "buf_count": 1}
        info = wire.ask(INFO)
        assert info["protocol"] == 1 and info["board"] == "host" and info["schemes"] & 0b1110 == 0b1110
        assert wire.ask(STATE) == {"epoch": 65535}
        assert wire.ask(IMAGES) == {"images": []}
        assert [event for event, _ in wire.ask(LOG)["log"]] == [1, 2]
        assert wire.counters()["samples"] == 100
        wire.resume()
        assert wire.packets() == []


def test_packets_of_a_deployed_model_equal_those_of_the_gateway_encoder(tmp_path):
    codes, present = codes_of(1000), np.random.default_rng(2).random(1000) > 0.1
    with started(tmp_path) as (board, wire):
        wire.deploy(make_image(model()))
        board.recording.feed(codes, present)
        board.recording.flush()
        encoder = NodeEncoder(model(), 7, period_us=1000)
        expected = encoder.encode(codes, present) + encoder.flush()
        assert wire.packets(len(expected)) == expected
        counted = wire.counters()
        assert counted["data"] == encoder.counters.data_packets and counted["hello"] == encoder.counters.hello_packets
        assert (counted["samples"], counted["absent"], counted["lost"]) == (1000, encoder.counters.absent, 0)


def test_a_switch_goes_on_where_the_old_model_ended(tmp_path):
    first, second, codes = make_image(model(64)), make_image(model(16, 24)), codes_of(500)
    with started(tmp_path) as (board, wire):
        wire.deploy(first)
        encoder = NodeEncoder(model(64), 7, period_us=1000)
        board.recording.feed(codes[:250])
        expected = encoder.encode(codes[:250])
        wire.packets(len(expected))
        wire.deploy(second)
        board.recording.feed(codes[250:])
        board.recording.flush()
        expected += encoder.switch_model(model(16, 24)) + encoder.encode(codes[250:]) + encoder.flush()
        assert wire.packets(len(expected)) == expected
        assert wire.ask(STATE)["model"] == model(16, 24).model_id


def test_an_image_for_another_node_starts_from_zero_in_the_next_epoch(tmp_path):
    codes = codes_of(64)
    with started(tmp_path) as (board, wire):
        wire.deploy(make_image(model(), 7))
        old = NodeEncoder(model(), 7, period_us=1000)
        new = NodeEncoder(model(), 300, period_us=1000, boot_epoch=1, shared_link=True)
        board.recording.feed(codes[:40])
        expected = old.encode(codes[:40])
        wire.packets(len(expected))
        wire.deploy(make_image(model(), 300, shared=True))
        board.recording.feed(codes[40:])
        board.recording.flush()
        expected += old.flush() + new.encode(codes[40:]) + new.flush()
        assert wire.packets(len(expected)) == expected


def test_restarts_keep_what_was_confirmed_and_raise_the_epoch(tmp_path):
    with started(tmp_path) as (_, wire):
        wire.deploy(make_image(model(64)))
        wire.deploy(make_image(model(16)), confirm=False)
        assert wire.ask(STATE)["model"] == model(16).model_id
        assert wire.ask(RESET, WRITE) == {}
        state = wire.ask(STATE)
        assert (state["model"], state["other"], state["epoch"]) == (model(64).model_id, model(16).model_id, 1)
        assert "trial" not in state
    for epoch in (2, 3):
        with started(tmp_path) as (_, wire):  # power cut
            state = wire.ask(STATE)
            assert (state["model"], state["epoch"], state["node"]) == (model(64).model_id, epoch, 7)


def test_the_epoch_survives_many_turns_of_the_journal(tmp_path):
    with started(tmp_path) as (_, wire):
        wire.deploy(make_image(model()))
        for epoch in range(1, 300):  # 128 records to a page
            wire.ask(RESET, WRITE)
            assert wire.ask(STATE)["epoch"] == epoch


def test_an_unconfirmed_trial_ends_by_time_and_by_command(tmp_path):
    with started(tmp_path) as (board, wire):
        wire.deploy(make_image(model(64)))
        wire.deploy(make_image(model(16), trial_s=2), confirm=False)
        assert wire.ask(STATE)["trial"] in (1, 2, 3)
        wire.resume()
        time.sleep(3.2)
        state = wire.ask(STATE)
        assert state["model"] == model(64).model_id and "trial" not in state
        wire.ask(IMAGES, WRITE, hash=make_image(model(16), trial_s=2)[-4:])
        assert wire.ask(REVERT, WRITE) == {}
        assert wire.ask(STATE)["model"] == model(64).model_id
        assert wire.counters()["reverted"] == 2
        assert [event for event, _ in wire.ask(LOG)["log"]][-4:] == [3, 5, 3, 6]
        wire.resume()
        hellos = [packet.parse_hello(raw) for raw in wire.packets() if packet.peek(raw).type == 1]
        ids = [hello.model_id for hello in hellos]
        assert ids == [model(modulus).model_id for modulus in (64, 16, 64, 16, 64)]
        assert {hello.boot_epoch for hello in hellos} == {0}


def test_a_first_trial_that_is_reverted_leaves_no_model(tmp_path):
    with started(tmp_path) as (board, wire):
        wire.deploy(make_image(model(64)), confirm=False)
        encoder = NodeEncoder(model(64), 7, period_us=1000)
        board.recording.feed(codes_of(40))
        expected = encoder.encode(codes_of(40))
        wire.packets(len(expected))
        wire.ask(REVERT, WRITE)
        assert "model" not in wire.ask(STATE)
        wire.resume()
        expected += encoder.flush()
        assert wire.packets(len(expected)) == expected


def test_during_a_trial_the_confirmed_image_is_not_touched(tmp_path):
    first, second = make_image(model(64)), make_image(model(16))
    with started(tmp_path) as (_, wire):
        wire.deploy(first)
        wire.deploy(second, confirm=False)
        assert wire.upload(first)["rc"] == 6
        assert wire.ask(IMAGES, WRITE, hash=first[-4:])["rc"] == 6
        assert wire.ask(IMAGES, WRITE, hash=first[-4:], confirm=True)["rc"] == 6
        images = wire.ask(IMAGES)["images"]
        assert [(i["slot"], i["hash"], i.get("active"), i.get("confirmed")) for i in images] == [
            (0, first[-4:], None, True), (1, second[-4:], True, None),
        ]  # fmt: skip
        assert "images" in wire.ask(IMAGES, WRITE, confirm=True)
        assert "images" in wire.ask(IMAGES, WRITE, confirm=True)  # an answer may be lost: asking twice is no error


def test_an_upload_resumes_where_it_stopped(tmp_path):
    whole = make_image(model(), trial_s=60)
    name = hashlib.sha256(whole).digest()
    with started(tmp_path) as (_, wire):
        assert wire.ask(UPLOAD, WRITE, off=0, len=len(whole), sha=name, data=whole[:30])["off"] == 24  # whole groups of 8
        assert wire.ask(UPLOAD, WRITE, off=0, len=len(whole), sha=name, data=whole[:30])["off"] == 24
        assert wire.ask(UPLOAD, WRITE, off=64, data=whole[64:])["off"] == 24  # not the piece that is wanted
        assert wire.ask(UPLOAD, WRITE, off=24, data=whole[24:]) == {"off": len(whole), "match": True}
        assert wire.ask(UPLOAD, WRITE, off=24, data=whole[24:]) == {"off": len(whole), "match": True}
        assert wire.ask(UPLOAD, WRITE, off=0, len=len(whole), sha=name, data=b"") == {"off": len(whole), "match": True}
        assert wire.ask(UPLOAD, WRITE, off=0, len=len(whole), sha=name[::-1], data=b"")["off"] == 0
        assert wire.ask(IMAGES, WRITE, hash=whole[-4:])["rc"] == 9  # that began a new one


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda raw: raw[:50] + bytes([raw[50] ^ 4]) + raw[51:], "image check"),
        (lambda raw: b"WZIX" + raw[4:], "image magic"),
        (lambda raw: resealed(raw, 4, 2), "image version"),
        (lambda raw: resealed(raw, 5, 2), "image field"),
        (lambda raw: resealed(raw, 7, 0x80), "image field"),
        (lambda raw: resealed(raw, 12, 0), "image field"),  # no trial time
        (lambda raw: resealed(raw, 29, 1), "image field"),  # period of 2^40
        (lambda raw: resealed(raw, 9, 0x7F), "image length"),
        (lambda raw: resealed(raw, 32 + 4, 9), "blob version"),
        (lambda raw: resealed(raw, 32 + 5, 8), "blob scheme"),
        (lambda raw: resealed(raw, 32 + 47, 0x7F), "blob overflow"),
        (lambda raw: resealed(raw, 32 + 33, 1), "blob"),
        (lambda raw: raw[:40], "image check"),
    ],
)
def test_bad_images_are_refused_and_the_old_model_stays(tmp_path, spoil, reason):
    bad = spoil(make_image(model(16)))
    with started(tmp_path) as (board, wire):
        wire.deploy(make_image(model(64)))
        assert wire.upload(bad) == {"off": len(bad), "match": False}
        assert wire.ask(IMAGES, WRITE, hash=bad[-4:]) == {"rc": 9, "rsn": reason}
        state = wire.ask(STATE)
        assert state["model"] == model(64).model_id and "other" not in state and "trial" not in state
        assert wire.counters()["refused"] == 1
        wire.deploy(make_image(model(16)))  # and another attempt works


def resealed(raw: bytes, position: int, value: int) -> bytes:
    """One byte changed, and the blob's and the image's check made to fit."""
    body = bytearray(raw[:-4])
    body[position] = value
    body[-4:] = zlib.crc32(body[32:-4]).to_bytes(4, "little")
    return bytes(body) + zlib.crc32(body).to_bytes(4, "little")


def test_a_model_whose_packets_do_not_fit_is_refused(tmp_path):
    large = make_image(model(4096 * 8, samples=4096))  # two bytes a sample
    with started(tmp_path) as (_, wire):
        assert wire.upload(large)["match"] is False
        assert wire.ask(IMAGES, WRITE, hash=large[-4:]) == {"rc": 9, "rsn": "buffer"}
        assert wire.ask(UPLOAD, WRITE, off=0, len=16385, data=b"")["rc"] == 2
        assert wire.ask(UPLOAD, WRITE, off=0, len=35, data=b"")["rc"] == 3


BAD_BODIES = {
    "no map": b"\x80",
    "empty": b"",
    "indefinite map": b"\xbf\xff",
    "indefinite text": b"\xa1\x61d\x7f\x61a\xff",
    "nested map": b"\xa1\x61x\xa0",
    "array": b"\xa1\x61x\x80",
    "tag": b"\xa1\x61x\xc0\x00",
    "float": b"\xa1\x61x\xfb" + bytes(8),
    "negative": b"\xa1\x61x\x20",
    "length of 2^32": b"\xa1\x61d\x7b\x00\x00\x00\x01\x00\x00\x00\x00",
    "length beyond the end": b"\xa1\x61d\x7a\xff\xff\xff\xff",
    "integer of 2^32": b"\xa1\x63off\x1b\x00\x00\x00\x01\x00\x00\x00\x00",
    "wrong type": b"\xa1\x61d\x41a",
    "key twice": b"\xa2\x61d\x61a\x61d\x61a",
    "key no text": b"\xa1\x41d\x61a",
    "more behind": b"\xa1\x61d\x61a\x00",
    "pairs missing": b"\xa2\x61d\x61a",
}


def test_requests_that_break_the_rules_of_cbor_are_told_so(tmp_path):
    with started(tmp_path) as (_, wire):
        for name, body in BAD_BODIES.items():
            wire.send(device_wire.lines(device_wire.message(*ECHO, WRITE, body, 9)))
            assert wire.answer(9, ECHO, WRITE) == {"rc": 3, "rsn": "cbor"}, name
        assert wire.ask(ECHO, WRITE, d="x", dd="unknown", more=7, none=None) == {"r": "x"}  # keys are compared whole
        assert wire.ask(ECHO, WRITE, dd="x") == {"rc": 3, "rsn": "d"}
        assert wire.ask(ECHO, WRITE, d="x" * 65)["rc"] == 2
        assert wire.ask(ECHO, WRITE, d="x" * 64) == {"r": "x" * 64}
        assert wire.ask((1, 5), WRITE)["rc"] == 8
        assert wire.ask((64 << 8, 0))["rc"] == 8
        assert wire.ask(INFO, WRITE)["rc"] == 8


def test_lines_that_are_broken_get_no_answer_and_are_counted(tmp_path):
    good = device_wire.lines(device_wire.message(*COUNTERS, 0, cbor2.dumps({}), 5))
    echo = cbor2.dumps({"d": "y" * 60})
    long = device_wire.lines(device_wire.message(*ECHO, WRITE, echo, 6), 40)
    broken = [
        good[:8] + b"!" + good[9:],
        good[:9] + bytes([good[9] ^ 1]) + good[10:],
        good[:-3] + b"\n",
        b"\x06\x09\n",
        b"\x06\x09AA==\n",
        b"\x06\x09" + b"AAAA" * 100 + b"\n",
        long.split(b"\n")[0] + b"\n",  # goes on, but what follows is another message
    ]
    with started(tmp_path) as (_, wire):
        for count, line in enumerate(broken, 1):
            wire.send(line)
            wire.send(b"\x04\x14AAAA\n" if count % 2 else b"noise \x06 \x04\x09\x06")
            assert wire.counters()["bad_lines"] == count, line
        wire.send(long)
        assert wire.answer(6, ECHO, WRITE) == {"r": "y" * 60}
        wire.send(b"\x06" + good)  # the marker may be preceded by its own first byte
        assert "c" in wire.answer(5, COUNTERS, 0)


def test_smp_mode_ends_by_itself(tmp_path):
    with started(tmp_path) as (board, wire):
        wire.deploy(make_image(model()))
        before = len(wire.packets())
        wire.ask(ECHO, WRITE, d="stay")
        board.recording.feed(codes_of(160))
        assert len(wire.packets(wait_s=0.5)) == before
        time.sleep(3)
        assert len(wire.packets(before + 10)) == before + 10


def test_packets_that_do_not_fit_the_queue_are_counted(tmp_path):
    count = 16 * 3000
    codes = codes_of(count)
    with started(tmp_path) as (board, wire):
        wire.deploy(make_image(model(samples=16)))
        wire.packets()
        wire.ask(ECHO, WRITE, d="hold")
        board.recording.feed(codes, wait=False)
        while wire.counters()["samples"] < count:
            pass
        counted = wire.counters()
        wire.resume()
        got = wire.packets()
        data = [raw for raw in got if packet.peek(raw).type == 0]
        assert len(data) + counted["lost"] == count // 16
        assert counted["lost"] > 2000 and len(data) >= 2
        # what was sent is what the encoder makes of all samples, the ones lost included
        encoder = NodeEncoder(model(samples=16), 7, period_us=1000)
        expected = {raw for raw in encoder.encode(codes) if packet.peek(raw).type == 0}
        assert set(data) <= expected
        # a hello behind the last one tells where the node stands
        hello = packet.parse_hello(got[-1])
        assert (hello.packet_counter, hello.sample_index) == (count // 16, count)
