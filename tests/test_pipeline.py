"""The pipeline on whole fleets: order, loss, neighbours, and that nothing depends on how bytes and ticks were dealt."""

from __future__ import annotations

import random

import numpy as np
import pytest

from edge_wz.codec.reconstruction import ABSENT, CONCEALED
from edge_wz.errors import ConfigError
from edge_wz.formats.framing import encode_frame
from edge_wz.gateway.events import FrameDiscarded, PacketLost, PacketRefused, SamplesDecoded, SamplesRevised
from edge_wz.gateway.fleet import Fleet, LinkSpec
from edge_wz.gateway.pipeline import Pipeline
from tests.fleet_models import nested_model
from tests.pipeline_fleet import (
    SAMPLES,
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


def trouble(script: list[Delivery], seed: int, loss: float = 0.06) -> list[Delivery]:
    """Loss, duplicates and delays (seconds), the same for the same seed."""
    rng, out, late = random.Random(seed), [], (10, 45, 100)
    for delivery in script:
        if rng.random() < loss:
            continue
        time_us = delivery.time_us + rng.choice((0,) * 8 + late) * SECOND
        out.append(Delivery(time_us, delivery.node_id, delivery.raw))
        if rng.random() < 0.05:
            out.append(Delivery(time_us + rng.randrange(50) * SECOND, delivery.node_id, delivery.raw))
    return sorted(out, key=lambda delivery: delivery.time_us)


def lose(script: list[Delivery], node_id: int, numbers: set[int]) -> list[Delivery]:
    """Without some packets of a node, hellos counted too."""
    kept, number = [], -1
    for delivery in script:
        number += delivery.node_id == node_id
        if delivery.node_id != node_id or number not in numbers:
            kept.append(delivery)
    return kept


def test_all_samples_of_an_undisturbed_fleet_come_once_and_close():
    fleet, codes = chain(), field_codes(3, 805)
    pipeline = Pipeline(fleet)
    events = run(pipeline, deliveries(fleet, codes))
    told = Told.of(events)
    for row, node_id in enumerate((1, 2, 3)):
        values = told.column(node_id)
        assert len(values) == 805
        assert np.sqrt(np.mean((values - codes[row] * 0.01) ** 2)) < 0.05
    assert not any(isinstance(event, SamplesRevised | PacketLost | PacketRefused) for event in events)
    assert not any(event.provisional for event in events if isinstance(event, SamplesDecoded))
    assert balanced(pipeline)
    assert {node.samples_decoded for node in pipeline.stats.nodes.values()} == {805}


def test_bits_on_air_are_counted():
    fleet, codes = chain(), field_codes(3, 805)
    pipeline, script = Pipeline(fleet), deliveries(fleet, codes)
    run(pipeline, script)
    for node_id, stats in pipeline.stats.nodes.items():
        assert stats.packet_bits == sum(8 * len(d.raw) for d in script if d.node_id == node_id)
        assert 0 < stats.payload_bits < stats.packet_bits - stats.hello_bits


def test_a_lost_packet_is_concealed_after_its_wait():
    fleet, codes = chain(), field_codes(3, 800)
    script = lose(deliveries(fleet, codes), 2, {10})
    pipeline = Pipeline(fleet)
    events = run(pipeline, script)
    lost = [event for event in events if isinstance(event, PacketLost)]
    assert [(event.node_id, event.packets, event.count) for event in lost] == [(2, 1, SAMPLES)]
    flags = Told.of(events).flags(2)
    assert len(flags) == 800
    start = lost[0].first_index
    assert np.array_equal(np.flatnonzero(flags & CONCEALED), np.arange(start, start + SAMPLES))
    stats = pipeline.stats.nodes[2]
    assert (stats.lost, stats.samples_concealed, stats.samples_decoded) == (1, SAMPLES, 800 - SAMPLES)
    assert balanced(pipeline)


def test_the_wait_for_a_lost_packet_ends_on_time():
    fleet = make_fleet({1: (predictive_model(), ())})
    script = lose(deliveries(fleet, field_codes(1, 160)), 1, {4})
    pipeline = Pipeline(fleet)
    revealed = script[4].time_us
    run(pipeline, script[:5], finish=False)
    assert not [e for e in pipeline.tick(revealed + 40 * SECOND - 1) if isinstance(e, PacketLost)]
    lost = [e for e in pipeline.tick(revealed + 50 * SECOND) if isinstance(e, PacketLost)]
    assert [event.time_us for event in lost] == [revealed + 40 * SECOND]


def test_packets_lost_at_the_end_are_revealed_by_the_last_hello():
    fleet = make_fleet({1: (predictive_model(), ())})
    script = deliveries(fleet, field_codes(1, 165))
    pipeline = Pipeline(fleet)
    events = run(pipeline, [*script[:-4], script[-1]])
    stats = pipeline.stats.nodes[1]
    assert stats.samples_expected == 165
    assert stats.samples_concealed == 2 * SAMPLES + 5
    assert sorted(Told.of(events).values[1, 0]) == list(range(165))


def test_a_packet_that_comes_after_it_was_given_up_revises():
    fleet, codes = chain(), field_codes(3, 800)
    script = deliveries(fleet, codes)
    clean = Told.of(run(Pipeline(fleet), script))
    at = [n for n, delivery in enumerate(script) if delivery.node_id == 1][10]
    late = Delivery(script[at].time_us + 100 * SECOND, 1, script[at].raw)
    pipeline = Pipeline(fleet)
    events = run(pipeline, sorted([*script[:at], *script[at + 1 :], late], key=lambda d: d.time_us))
    assert any(isinstance(event, SamplesRevised) and event.node_id == 1 for event in events)
    told, stats = Told.of(events), pipeline.stats.nodes[1]
    assert (stats.lost, stats.recovered, stats.samples_concealed, stats.samples_decoded) == (0, 1, 0, 800)
    assert np.array_equal(told.column(1), clean.column(1))
    assert balanced(pipeline)


def test_a_late_neighbour_makes_provisional_samples_that_are_revised():
    fleet, codes = chain(), field_codes(3, 800)
    script = deliveries(fleet, codes)
    clean = Told.of(run(Pipeline(fleet), script))
    delayed = [Delivery(d.time_us + 100 * SECOND * (d.node_id == 1), d.node_id, d.raw) for d in script]
    pipeline = Pipeline(fleet)
    events = run(pipeline, sorted(delayed, key=lambda d: d.time_us))
    first = [event for event in events if isinstance(event, SamplesDecoded) and event.node_id == 2]
    assert all(event.provisional for event in first)
    told = Told.of(events)
    assert not any(cells[3] for rows in told.values.values() for cells in rows.values())
    assert told.same(clean)
    assert balanced(pipeline)


def test_a_neighbour_that_never_comes_costs_quality_only():
    fleet, codes = chain(), field_codes(3, 400)
    pipeline = Pipeline(fleet)
    told = Told.of(run(pipeline, [d for d in deliveries(fleet, codes) if d.node_id != 1]))
    assert len(told.column(2)) == len(told.column(3)) == 400
    assert pipeline.stats.nodes[3].samples_decoded == 400


@pytest.mark.parametrize("seed", range(4))
def test_ticks_change_nothing(seed):
    fleet = chain("kalman")
    script = trouble(deliveries(fleet, field_codes(3, 500)), seed)
    quiet = run(Pipeline(fleet), script)
    pipeline, busy, rng, last_us = Pipeline(fleet), [], random.Random(seed), script[0].time_us
    for delivery in script:
        for now_us in sorted(rng.randint(last_us, delivery.time_us) for _ in range(rng.randrange(4))):
            busy += pipeline.tick(now_us)
        busy += pipeline.feed(0, encode_frame(delivery.raw), delivery.time_us)
        last_us = delivery.time_us
    busy += pipeline.finish(last_us)
    assert repr(busy) == repr(quiet)


@pytest.mark.parametrize("seed", range(4))
def test_the_cut_of_the_stream_changes_no_sample(seed):
    """Bytes of one time in one feed, or in any pieces."""
    fleet = chain()
    script = trouble(deliveries(fleet, field_codes(3, 500)), seed)
    bunches: dict[int, bytes] = {}
    for delivery in script:
        now_us = -(-delivery.time_us // (70 * SECOND)) * 70 * SECOND
        bunches[now_us] = bunches.get(now_us, b"") + encode_frame(delivery.raw)
    rng, told = random.Random(seed), []
    for pieces in (1, 2, 40):
        pipeline, events = Pipeline(fleet), []
        for now_us, data in bunches.items():
            cuts = sorted(rng.randrange(len(data)) for _ in range(pieces - 1))
            for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
                events += pipeline.feed(0, data[start:stop], now_us)
        events += pipeline.finish(now_us)
        told.append(Told.of(events))
        assert balanced(pipeline)
    assert told[1].same(told[0])
    assert told[2].same(told[0])


@pytest.mark.parametrize("seed", range(6))
def test_a_restored_pipeline_goes_on_as_if_it_had_not_stopped(seed):
    fleet, rng = chain("kalman"), random.Random(seed)
    script = trouble(deliveries(fleet, field_codes(3, 500)), seed)
    stream = [(delivery.time_us, encode_frame(delivery.raw)) for delivery in script]
    pieces = [(now_us, part) for now_us, data in stream for part in (data[:5], data[5:])]
    whole, uncut = Pipeline(fleet), []
    for now_us, data in pieces:
        uncut += whole.feed(0, data, now_us)
    uncut += whole.finish(pieces[-1][0])

    pipeline, cut, store = Pipeline(fleet), [], {}
    for now_us, data in pieces:
        cut += pipeline.feed(0, data, now_us)
        if rng.random() < 0.1:
            store.update(pipeline.snapshot(dirty_only=True))
            pipeline = Pipeline(fleet)
            pipeline.restore(store)
    cut += pipeline.finish(pieces[-1][0])
    assert repr(cut) == repr(uncut)
    assert pipeline.stats == whole.stats
    assert balanced(pipeline)


@pytest.mark.parametrize("seed", range(8))
def test_books_balance_under_trouble(seed):
    fleet = chain()
    script = trouble(deliveries(fleet, field_codes(3, 800)), seed, loss=0.2)
    pipeline, rng, events = Pipeline(fleet), random.Random(seed), []
    for delivery in script:
        data = bytearray(encode_frame(delivery.raw))
        if rng.random() < 0.05:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        events += pipeline.feed(0, bytes(data), delivery.time_us)
        assert balanced(pipeline)
    events += pipeline.finish(script[-1].time_us)
    assert balanced(pipeline)
    told = Told.of(events)
    for node_id, stats in pipeline.stats.nodes.items():
        rows = sorted(told.values[node_id, 0])
        assert rows == list(range(rows[0], rows[-1] + 1))
        assert stats.samples_expected == len(rows)
        concealed = int(np.count_nonzero(told.flags(node_id) & CONCEALED))
        assert stats.samples_concealed == concealed


def test_absent_samples_are_told_as_absent_and_expected_nowhere():
    from edge_wz.codec.encoder import NodeEncoder

    model = nested_model()
    fleet = make_fleet({1: (model, ())})
    codes = field_codes(1, 100)[0]
    present = np.random.default_rng(1).random(100) > 0.2
    encoder = NodeEncoder(model.node, 1, period_us=SECOND, shared_link=True)
    pipeline = Pipeline(fleet)
    raws = [*encoder.encode(codes, present), *encoder.flush()]
    events = run(pipeline, [Delivery(1 + at, 1, raw) for at, raw in enumerate(raws)])
    flags, stats = Told.of(events).flags(1), pipeline.stats.nodes[1]
    assert np.array_equal(flags == ABSENT, ~present)
    assert np.isnan(Told.of(events).column(1)[~present]).all()
    assert stats.samples_absent == np.count_nonzero(~present)
    assert stats.samples_expected == stats.samples_decoded == np.count_nonzero(present)


def test_periods_may_differ_between_neighbours():
    from edge_wz.codec.encoder import NodeEncoder

    fleet = make_fleet({1: (predictive_model(), ()), 2: (nested_model("y", modulus=8), (1,))})
    codes = field_codes(1, 1200)[0]
    pipeline, script = Pipeline(fleet), []
    for spec, every in zip(fleet.nodes, (3, 1), strict=True):
        encoder = NodeEncoder(spec.model.node, spec.node_id, period_us=every * SECOND, start_ms=1000, shared_link=True)
        for at in range(0, 1200, SAMPLES * every):
            now_us = (at + SAMPLES * every) * SECOND
            taken = codes[at : at + SAMPLES * every : every]
            script += [Delivery(now_us, spec.node_id, raw) for raw in encoder.encode(taken)]
        script += [Delivery(1300 * SECOND, spec.node_id, raw) for raw in encoder.flush()]
    told = Told.of(run(pipeline, sorted(script, key=lambda d: d.time_us)))
    assert len(told.column(1)) == 400
    assert np.sqrt(np.mean((told.column(2) - codes * 0.01) ** 2)) < 0.3


def test_nodes_with_the_same_blob_keep_their_own_neighbours():
    alone, beside = nested_model(modulus=16), nested_model("x", modulus=16, source="y")
    assert alone.model_id == beside.model_id
    fleet, codes = make_fleet({1: (alone, ()), 2: (beside, (1,))}), field_codes(2, 320)
    pipeline = Pipeline(fleet)
    run(pipeline, deliveries(fleet, codes)[:-2], finish=False)
    neighbours = [pipeline._sessions[n].reconstructors[alone.model_id].neighbours for n in (1, 2)]
    assert neighbours == [(), (1,)]


def test_unknown_nodes_and_garbage_are_counted():
    fleet = chain()
    pipeline = Pipeline(fleet)
    script = deliveries(make_fleet({9: (predictive_model(), ())}), field_codes(1, 64))
    events = run(pipeline, script)
    assert {e.node_id for e in events if isinstance(e, PacketRefused)} == {9}
    assert pipeline.stats.unknown_nodes == {9: len(script)}
    events = pipeline.feed(0, b"\x09\x01\x00\x00\xff\xff\x00", 10**12)
    assert any(isinstance(event, FrameDiscarded | PacketRefused) for event in events)
    assert balanced(pipeline)


def test_addressed_links_and_whole_packets():
    from edge_wz.codec.encoder import NodeEncoder

    model = predictive_model()
    fleet = make_fleet({7: (model, ())}, links=(LinkSpec(3, "radio", False, 7, "packet"),))
    encoder = NodeEncoder(model.node, 7, period_us=SECOND)
    codes, pipeline = field_codes(1, 100)[0], Pipeline(fleet)
    raws = [*encoder.encode(codes), *encoder.flush()]
    events = [event for raw in raws for event in pipeline.feed(3, raw, 5 * SECOND)]
    assert len(Told.of(events).column(7)) == 100
    assert balanced(pipeline)


def test_fleets_that_cannot_be_decoded_are_refused():
    with pytest.raises(ConfigError, match="n1 -> n2 -> n1|n2 -> n1 -> n2"):
        make_fleet({1: (nested_model("a"), (2,)), 2: (nested_model("b"), (1,))})
    with pytest.raises(ConfigError, match="unknown node 9"):
        make_fleet({1: (nested_model("a"), (9,))})
    with pytest.raises(ConfigError, match="names 0 neighbours"):
        make_fleet({1: (nested_model("a"), ())})
    with pytest.raises(ConfigError, match="at least 1"):
        Fleet((), (), side_wait_us=0)
