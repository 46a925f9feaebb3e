"""Damaged link bytes through the whole pipeline: never an exception, every byte accounted for, no wrong packet taken."""

from __future__ import annotations

import random

import pytest

from edge_wz.formats.framing import encode_frame
from edge_wz.gateway.events import PacketRefused, SamplesDecoded
from edge_wz.gateway.pipeline import UNKNOWN_NODES, Pipeline
from edge_wz.gateway.session import QUARANTINE_BYTES, QUARANTINE_PACKETS
from tests.pipeline_fleet import (
    SECOND,
    Delivery,
    Told,
    balanced,
    chain,
    deliveries,
    field_codes,
    make_fleet,
    predictive_model,
    run,
)


def flipped(frame: bytes, rng: random.Random) -> bytes:
    data = bytearray(frame)
    for position in rng.sample(range(8 * len(data)), rng.randrange(1, 9)):
        data[position >> 3] ^= 1 << (position & 7)
    return bytes(data)


def damaged(frame: bytes, rng: random.Random) -> bytes:
    """One of: flipped bits, cut short, noise of the same length, noise behind it, the delimiter gone."""
    kind = rng.randrange(5)
    if kind == 0:
        return flipped(frame, rng)
    if kind == 1:
        return frame[: rng.randrange(len(frame))] + b"\0" * rng.randrange(2)
    if kind == 2:
        return rng.randbytes(len(frame))
    return frame + rng.randbytes(rng.randrange(60)) if kind == 3 else frame[:-1]


def link_balanced(pipeline: Pipeline, fed_bytes: int) -> bool:
    return pipeline.stats.links[0].fed_bytes == fed_bytes and balanced(pipeline)


@pytest.mark.parametrize("seed", range(5))
def test_damage_is_counted_and_nothing_wrong_is_accepted(seed):
    """A sample that was decoded is the one that an undisturbed link gives: reference nodes decode each packet alone."""
    fleet = make_fleet({1: (predictive_model(), ()), 200: (predictive_model(), ())})
    script, rng = deliveries(fleet, field_codes(2, 3200)), random.Random(seed)
    clean = Told.of(run(Pipeline(fleet), script))
    pipeline, events, fed_bytes = Pipeline(fleet), [], 0
    for delivery in script:
        frame = encode_frame(delivery.raw)
        data = damaged(frame, rng) if rng.random() < 0.3 else frame
        fed_bytes += len(data)
        events += pipeline.feed(0, data, delivery.time_us)
        assert link_balanced(pipeline, fed_bytes)
    events += pipeline.finish(script[-1].time_us)
    assert link_balanced(pipeline, fed_bytes)
    told = Told.of(events)
    for node_id in (1, 200):
        rows, right = told.values[node_id, 0], clean.values[node_id, 0]
        received = [index for index, cells in rows.items() if cells[2] & 1]
        assert len(received) > 1500
        assert [index for index in received if rows[index][0] != right[index][0]] == []
    assert set(told.values) == {(1, 0), (200, 0)}


def test_noise_alone_makes_no_sample():
    fleet, rng, fed_bytes = chain(), random.Random(1), 0
    script = deliveries(fleet, field_codes(3, 160))
    pipeline = Pipeline(fleet)
    run(pipeline, script, finish=False)
    before = {node_id: stats.data_packets for node_id, stats in pipeline.stats.nodes.items()}
    fed_bytes, events = pipeline.stats.links[0].fed_bytes, []
    for at in range(400):
        data = rng.randbytes(rng.randrange(200))
        fed_bytes += len(data)
        events += pipeline.feed(0, data, script[-1].time_us + at)
        assert link_balanced(pipeline, fed_bytes)
    assert {node_id: stats.data_packets for node_id, stats in pipeline.stats.nodes.items()} == before
    assert not [event for event in events if isinstance(event, SamplesDecoded)]
    assert len(pipeline.stats.unknown_nodes) <= UNKNOWN_NODES


def test_packets_of_unknown_nodes_are_counted_and_not_kept():
    other = make_fleet({9: (predictive_model(), ())})
    pipeline, script = Pipeline(chain()), deliveries(other, field_codes(1, 1600))
    events = run(pipeline, script)
    assert pipeline.stats.unknown_nodes == {9: len(script)}
    assert sum(isinstance(event, PacketRefused) for event in events) == len(script)
    assert len(b"".join(pipeline.snapshot().values())) < 10_000


def test_what_waits_for_a_hello_is_bounded():
    fleet = make_fleet({1: (predictive_model(), ())})
    script = [d for d in deliveries(fleet, field_codes(1, 16 * 1000)) if len(d.raw) < 39]
    pipeline = Pipeline(fleet)
    run(pipeline, script, finish=False)
    stats = pipeline.stats.nodes[1]
    assert stats.quarantined <= QUARANTINE_PACKETS
    assert stats.quarantined + stats.quarantine_dropped == len(script)
    long = [Delivery(script[-1].time_us, 1, b"\x01\x40\x00" + bytes(16000)) for _ in range(20)]
    run(pipeline, long, finish=False)
    assert pipeline.stats.nodes[1].quarantined * 16000 <= QUARANTINE_BYTES
    assert balanced(pipeline)


def test_a_packet_after_the_revise_window_is_late_and_a_second_copy_a_duplicate():
    fleet = make_fleet({1: (predictive_model(), ())}, revise_window_us=50 * SECOND)
    script = deliveries(fleet, field_codes(1, 800))
    late = Delivery(script[5].time_us + 400 * SECOND, 1, script[5].raw)
    again = Delivery(script[3].time_us + 400 * SECOND, 1, script[3].raw)
    pipeline = Pipeline(fleet)
    run(pipeline, sorted([*script[:5], *script[6:], late, again], key=lambda d: d.time_us))
    stats = pipeline.stats.nodes[1]
    assert (stats.late, stats.duplicates, stats.lost) == (1, 1, 1)


def test_a_malformed_packet_that_checks_is_no_accepted_payload():
    from edge_wz.formats import packet
    from edge_wz.gateway.contexts import NodeContext

    model = predictive_model()
    fleet = make_fleet({1: (model, ())})
    script = deliveries(fleet, field_codes(1, 160))
    pipeline = Pipeline(fleet)
    run(pipeline, script[:5], finish=False)
    before = pipeline.stats.nodes[1]
    hello = packet.parse_hello(script[0].raw, 1)
    assert isinstance(hello, packet.Hello)
    seed = NodeContext.of(hello, model.node.packet_samples).seed(4, True)
    bad = packet.pack_payload(b"\xff" * 30, 0, 4, seed, packet.pack_node_id(1))
    unknown_point = packet.pack_payload(b"\0", 7, 5, seed, packet.pack_node_id(1))
    run(pipeline, [Delivery(script[5].time_us, 1, bad), Delivery(script[5].time_us, 1, unknown_point)], finish=False)
    after = pipeline.stats.nodes[1]
    assert (after.payload_bits, after.data_packets) == (before.payload_bits, before.data_packets)
    assert sum(after.refused.values()) == 2
    assert after.packet_bits == before.packet_bits + 8 * (len(bad) + len(unknown_point))
