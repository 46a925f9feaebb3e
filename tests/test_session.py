"""Contexts of a node: restarts, model switches, wrapped counters, late hellos, unknown models."""

from __future__ import annotations

import numpy as np

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.gateway.contexts import after, near
from edge_wz.gateway.events import Event, ModelSwitched, NodeReset, NodeSeen, PacketLost, UnknownModel
from edge_wz.gateway.pipeline import Pipeline
from tests.pipeline_fleet import (
    SAMPLES,
    SECOND,
    Delivery,
    Told,
    balanced,
    field_codes,
    make_fleet,
    predictive_model,
    run,
)

MODEL, OTHER = predictive_model(), predictive_model(samples=8)
STEP = SAMPLES * SECOND


def encoder(boot_epoch: int = 0, **more: int) -> NodeEncoder:
    return NodeEncoder(MODEL.node, 1, period_us=SECOND, boot_epoch=boot_epoch, shared_link=True, **more)


def timed(raws: list[bytes], start_us: int = STEP) -> list[Delivery]:
    return [Delivery(start_us + at * STEP, 1, raw) for at, raw in enumerate(raws)]


def decode(script: list[Delivery], **models) -> tuple[Pipeline, list[Event], Told]:
    pipeline = Pipeline(make_fleet({1: (MODEL, ())}), models.get("models"))
    events = run(pipeline, script)
    assert balanced(pipeline)
    return pipeline, events, Told.of(events)


def kinds(events: list[Event]) -> list[str]:
    known = (NodeSeen, NodeReset, ModelSwitched, UnknownModel)
    return [type(event).__name__ for event in events if isinstance(event, known)]


def coded(codes: np.ndarray, **fields: int) -> list[bytes]:
    node = encoder(**fields)
    return [*node.encode(codes), *node.flush()]


CODES = field_codes(1, 1600)[0]


def close(values: np.ndarray, codes: np.ndarray) -> bool:
    return len(values) == len(codes) and bool(np.max(np.abs(values - codes * 0.01)) < 0.03)


def test_windows_of_the_sequence():
    for expected in (0, 5, 255, 256, 1000):
        for counter in range(max(0, expected - 16), expected + 16):
            assert near(expected, counter & 0xFF) == counter
        assert near(expected, (expected + 16) & 0xFF) == -1
    assert near(3, (3 - 10) & 0xFF) == -1
    assert after(300, 299 & 0xFF) == 299 + 256


def test_a_restart_is_told_and_begins_a_new_stream():
    first, second = coded(CODES[:320], boot_epoch=4), coded(CODES[320:640], boot_epoch=5)
    _, events, told = decode(timed(first + second))
    assert kinds(events) == ["NodeSeen", "NodeReset"]
    assert close(told.column(1, 4), CODES[:320])
    assert close(told.column(1, 5), CODES[320:640])


def test_a_late_hello_of_before_the_restart_changes_nothing():
    first, second = coded(CODES[:320], boot_epoch=4), coded(CODES[320:640], boot_epoch=5)
    _, events, told = decode(timed([*first, *second[:5], first[0], first[-1], *second[5:]]))
    assert kinds(events) == ["NodeSeen", "NodeReset"]
    assert close(told.column(1, 5), CODES[320:640])


def test_packets_overtaken_by_the_hello_of_a_restart_are_decoded():
    first, second = coded(CODES[:320], boot_epoch=4), coded(CODES[320:640], boot_epoch=5)
    script = timed([*first[:18], *second[:3], *first[18:], *second[3:]])
    script = [Delivery(STEP + at, d.node_id, d.raw) for at, d in enumerate(script)]
    _, _, told = decode(script)
    assert close(told.column(1, 4), CODES[:320])
    assert close(told.column(1, 5), CODES[320:640])


def test_a_restart_that_the_node_did_not_count_is_noticed():
    first, second = coded(CODES, start_ms=1), coded(CODES[:320], start_ms=1)
    long = coded(np.tile(CODES, 4))
    pipeline = Pipeline(make_fleet({1: (MODEL, ())}))
    events = run(pipeline, timed(long + second))
    assert kinds(events) == ["NodeSeen", "NodeReset"]
    assert pipeline.stats.nodes[1].samples_decoded == 6400 + 320
    assert first


def test_a_model_switch_goes_on_in_the_same_stream():
    node = encoder()
    raws = [*node.encode(CODES[:325]), *node.switch_model(OTHER.node), *node.encode(CODES[325:645]), *node.flush()]
    pipeline, events, told = decode(timed(raws), models={OTHER.model_id: OTHER})
    assert kinds(events) == ["NodeSeen", "ModelSwitched"]
    assert close(told.column(1), CODES[:645])
    assert pipeline.stats.nodes[1].samples_concealed == 0


def test_a_model_switch_whose_hello_is_lost_waits_for_the_next():
    node = encoder()
    before, switch = node.encode(CODES[:320]), node.switch_model(OTHER.node)
    raws = [*before, *switch[:-1], *node.encode(CODES[320:640]), *node.flush()]
    pipeline, events, told = decode(timed(raws), models={OTHER.model_id: OTHER})
    assert kinds(events) == ["NodeSeen", "ModelSwitched"]
    assert close(told.column(1), CODES[:640])
    assert pipeline.stats.nodes[1].quarantined == 0


def test_an_unknown_model_waits_in_quarantine_for_its_bundle():
    node = encoder()
    raws = [*node.encode(CODES[:320]), *node.switch_model(OTHER.node), *node.encode(CODES[320:480])]
    script = timed(raws)
    pipeline = Pipeline(make_fleet({1: (MODEL, ())}))
    events = run(pipeline, script, finish=False)
    assert kinds(events) == ["NodeSeen", "UnknownModel"]
    assert pipeline.stats.nodes[1].quarantined == 20
    events += pipeline.add_model(OTHER, script[-1].time_us)
    assert pipeline.stats.nodes[1].quarantined == 0
    assert kinds(events) == ["NodeSeen", "UnknownModel", "ModelSwitched"]
    assert close(Told.of(events).column(1), CODES[:480])


def test_packets_before_the_first_hello_are_decoded_after_it():
    raws = coded(CODES)
    _, events, told = decode(timed(raws[1:]))
    assert kinds(events) == ["NodeSeen"]
    assert close(told.column(1), CODES)


def test_a_gap_of_more_than_the_window_is_bridged_by_two_packets():
    node = encoder()
    raws = [raw for raw in node.encode(CODES[:800]) if len(raw) < 39]
    hello = encoder().encode(CODES[:16])[0]
    pipeline, events, told = decode(timed([hello, *raws[:10], *raws[40:]]))
    lost = [event for event in events if isinstance(event, PacketLost)]
    assert [(event.counter, event.packets, event.count) for event in lost] == [(10, 30, 30 * SAMPLES)]
    assert len(told.column(1)) == 800
    assert pipeline.stats.nodes[1].held == 0


def test_one_packet_beyond_the_window_is_held_and_then_discarded():
    raws = [raw for raw in encoder().encode(CODES[:800]) if len(raw) < 39]
    hello = encoder().encode(CODES[:16])[0]
    pipeline = Pipeline(make_fleet({1: (MODEL, ())}))
    run(pipeline, timed([hello, *raws[:5], raws[40]]), finish=False)
    assert pipeline.stats.nodes[1].held == 1
    run(pipeline, timed([raws[5]], 100 * STEP), finish=False)
    stats = pipeline.stats.nodes[1]
    assert (stats.held, stats.held_discarded, stats.data_packets) == (0, 1, 6)


def test_a_node_silent_for_longer_than_its_sequence_is_decoded_after_its_next_hello():
    codes = np.tile(CODES, 14)  # 1400 packets
    raws = coded(codes)
    tail = raws[-25:]
    pipeline, events, told = decode(timed([*raws[:10], *tail]))
    stats = pipeline.stats.nodes[1]
    assert stats.samples_expected == len(codes) == len(told.column(1))
    assert stats.quarantined == 0
    assert stats.data_packets > 25
    got = told.flags(1) & 1 > 0
    assert close(told.column(1)[got], codes[got])


def test_duplicates_are_dropped():
    raws = coded(CODES[:320])
    script = timed([raw for raw in raws for _ in range(2)])
    pipeline, _, told = decode(script)
    assert close(told.column(1), CODES[:320])
    assert pipeline.stats.nodes[1].duplicates == 20


def test_reordered_packets_come_out_in_order():
    raws = coded(CODES[:640])
    rng = np.random.default_rng(5)
    keys = np.arange(len(raws)) + rng.uniform(0, 8, len(raws))
    shuffled = [raws[at] for at in np.argsort(keys)]
    script = [Delivery(STEP + at, 1, raw) for at, raw in enumerate(shuffled)]
    pipeline, events, told = decode(script)
    assert close(told.column(1), CODES[:640])
    assert pipeline.stats.nodes[1].lost == 0
    assert not [event for event in events if isinstance(event, PacketLost)]


def test_a_sequence_that_wraps_many_times():
    codes = np.tile(CODES, 10)
    _, _, told = decode(timed(coded(codes)))
    assert close(told.column(1), codes)


def test_time_comes_from_the_first_hello_where_the_node_has_no_clock():
    script = timed(coded(CODES[:320], sample_index=160, packet_counter=10))
    _, events, _ = decode(script)
    first = next(event for event in events if hasattr(event, "values"))
    assert (first.first_index, first.first_time_us, first.period_us) == (160, script[0].time_us, SECOND)
