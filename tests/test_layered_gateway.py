"""Layered streams at the gateway: cut packets, refinements that come late, twice, first, or never; live = replay, books balance."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from edge_wz.codec import layered_packets
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layer_policy import Command, Event
from edge_wz.codec.layered_encoder import LayeredNodeEncoder
from edge_wz.formats import packet
from edge_wz.formats.framing import encode_frame
from edge_wz.formats.layout import TYPE_DATA, TYPE_REFINEMENT
from edge_wz.gateway.events import SamplesDecoded, SamplesRevised
from edge_wz.gateway.layers import is_coarse
from edge_wz.gateway.pipeline import Pipeline
from tests.fleet_models import nested_model
from tests.layered_models import layered_model
from tests.pipeline_fleet import PERIOD, SECOND, Delivery, Told, balanced, field_codes, make_fleet, predictive_model, run

SAMPLES = 400


def fleet(**waits: int):
    return make_fleet({1: (predictive_model(), ()), 2: (layered_model("y"), (1,)), 3: (nested_model("x", modulus=16), (2,))}, **waits)


def kind(raw: bytes) -> int:
    return packet.peek(raw, 1).type


def script_of(made, codes, policy, *, start_ms: int = 1000) -> list[Delivery]:
    """All packets on a shared link, each refinement 3 s behind its base."""
    out = []
    for spec, row in zip(made.nodes, codes, strict=True):
        options = {"period_us": PERIOD, "start_ms": start_ms, "shared_link": True}
        layered = spec.model.node.scheme == "layered"
        encoder = (
            LayeredNodeEncoder(spec.model.node, spec.node_id, policy=policy, **options)
            if layered else NodeEncoder(spec.model.node, spec.node_id, **options)
        )
        full = spec.model.node.packet_samples
        for at in range(0, len(row), full):
            time_us = start_ms * 1000 + min(at + full, len(row)) * PERIOD + 1000 * spec.node_id
            part = encoder.encode(row[at : at + full])
            part += encoder.flush() if at + full >= len(row) else []
            out += [Delivery(time_us + 3 * SECOND * (kind(raw) == TYPE_REFINEMENT), spec.node_id, raw) for raw in part]
    return sorted(out, key=lambda delivery: delivery.time_us)


def errors(told: Told, codes: np.ndarray) -> np.ndarray:
    return told.column(2) - codes[1] * 0.01


def books(pipeline: Pipeline) -> bool:
    stats = pipeline.stats.nodes[2]
    counted = stats.refinements_merged + stats.refinements_known + stats.refinements_dropped + stats.refinements_waiting
    return balanced(pipeline) and stats.refinements == counted


def test_refinements_sharpen_what_was_told():
    made, codes = fleet(), field_codes(3, SAMPLES)
    pipeline = Pipeline(made)
    events = run(pipeline, script_of(made, codes, Command(1, 3)))
    first = Told.of([event for event in events if isinstance(event, SamplesDecoded)])
    last = Told.of(events)
    full = Told.of(run(Pipeline(made), script_of(made, codes, Command(3, 3))))
    assert np.std(errors(last, codes)) < 0.5 * np.std(errors(first, codes))
    assert np.array_equal(last.column(2), full.column(2))
    stats = pipeline.stats.nodes[2]
    assert stats.refinements == stats.refinements_merged == 25 and stats.refinements_waiting == 0
    assert any(isinstance(event, SamplesRevised) and event.node_id == 2 for event in events)
    assert books(pipeline)


def test_a_prefix_is_the_same_stream_however_it_was_made():
    """By the policy, by the rate point, by a mark, or cut on the way by a relay that knows no context."""
    made, codes = fleet(), field_codes(3, SAMPLES)
    node = made.node(2).model.node
    sent = script_of(made, codes, Command(3, 3))
    for layers in (1, 2):
        by_policy = Told.of(run(Pipeline(made), script_of(made, codes, Command(layers, layers))))
        by_relay = [
            replace(d, raw=layered_packets.cut(node, d.raw, layers, shared=True)) if d.node_id == 2 and kind(d.raw) == TYPE_DATA else d
            for d in sent
        ]
        assert Told.of(run(Pipeline(made), by_relay)).same(by_policy)
        assert sum(len(d.raw) for d in by_relay) < sum(len(d.raw) for d in sent)


def test_only_what_lacks_layers_may_be_refined():
    node = layered_model().node
    for prefix, coarse in ((0, True), (5, True), (6, False), (13, False), (NO_LEVEL, False)):
        values = np.full(4, prefix, np.int32)
        indices = StreamIndices(values, np.zeros(4, np.int32), np.zeros(1, np.int64), np.full(1, -1, np.int32))
        assert is_coarse(node, indices) == coarse


def test_a_mark_stands_in_for_a_rate_point():
    plain = layered_model("y")
    one = replace(plain, node=_only_full(plain.node))
    made, codes = make_fleet({1: (predictive_model(), ()), 2: (one, (1,))}), field_codes(2, SAMPLES)
    usual = make_fleet({1: (predictive_model(), ()), 2: (plain, (1,))})
    marked, named = (script_of(each, codes, Command(1, 1)) for each in (made, usual))
    assert sum(len(d.raw) for d in marked) == sum(len(d.raw) for d in named) + 2 * 25
    assert Told.of(run(Pipeline(made), marked)).same(Told.of(run(Pipeline(usual), named)))


def _only_full(node):
    from edge_wz.formats import blob

    return blob.make_layered(node.packet_samples, node.hello_every, node.scale, node.offset, node.rate_points[:1])


def trouble(script: list[Delivery], seed: int, loss: float) -> list[Delivery]:
    """Refinements and data lost, late, twice."""
    rng, out = random.Random(seed), []
    for d in script:
        if d.node_id == 2 and rng.random() < (loss if kind(d.raw) == TYPE_REFINEMENT else loss / 5):
            continue
        out.append(replace(d, time_us=d.time_us + rng.choice((0,) * 6 + (5, 25, 100)) * SECOND))
        if rng.random() < 0.05:
            out.append(replace(d, time_us=d.time_us + rng.randrange(50) * SECOND))
    return sorted(out, key=lambda d: d.time_us)


def test_lost_refinements_cost_their_own_layers_only():
    """30 % of the refinements lost: every sample is decoded, and each packet is as good as the layers that came for it."""
    made, codes = fleet(), field_codes(3, 8000, seed=5)
    script = script_of(made, codes, Command(1, 3))
    rng = random.Random(1)
    kept = [d for d in script if kind(d.raw) != TYPE_REFINEMENT or rng.random() >= 0.3]
    lost = {packet.peek(d.raw, 1).sequence: d for d in script}
    assert lost
    pipeline = Pipeline(made)
    told = Told.of(run(pipeline, kept))
    stats = pipeline.stats.nodes[2]
    assert stats.samples_decoded == 8000 and stats.samples_concealed == 0 and stats.refinements == stats.refinements_merged
    come = np.zeros(500, bool)
    counter = -1
    arrived = {id(d) for d in kept}
    for d in (d for d in script if d.node_id == 2):
        counter += kind(d.raw) == TYPE_DATA
        if kind(d.raw) == TYPE_REFINEMENT and id(d) in arrived:
            come[packet.peek(d.raw, 1).sequence + 256 * (counter // 256)] = True
    refined = np.repeat(come, 16)
    squares = errors(told, codes) ** 2
    coarse, full = (
        errors(Told.of(run(Pipeline(made), script_of(made, codes, Command(layers, layers)))), codes) ** 2 for layers in (1, 3)
    )
    assert np.mean(squares[refined]) < 1.1 * np.mean(full[refined])
    assert np.mean(squares[~refined]) < 1.1 * np.mean(coarse[~refined])
    assert np.mean(coarse) > 4 * np.mean(full)


@pytest.mark.parametrize("seed", range(4))
def test_ticks_change_nothing_and_books_balance(seed):
    made = fleet()
    script = trouble(script_of(made, field_codes(3, SAMPLES), Event(40, hold=1)), seed, 0.3)
    quiet = run(Pipeline(made), script)
    pipeline, busy, rng, last_us = Pipeline(made), [], random.Random(seed), script[0].time_us
    for d in script:
        for now_us in sorted(rng.randint(last_us, d.time_us) for _ in range(rng.randrange(4))):
            busy += pipeline.tick(now_us)
        busy += pipeline.feed(0, encode_frame(d.raw), d.time_us)
        last_us = d.time_us
        assert books(pipeline)
    busy += pipeline.finish(last_us)
    assert repr(busy) == repr(quiet)


@pytest.mark.parametrize("seed", range(4))
def test_a_restored_pipeline_goes_on_as_if_it_had_not_stopped(seed):
    made, rng = fleet(), random.Random(seed)
    script = trouble(script_of(made, field_codes(3, SAMPLES), Command(1, 3)), seed, 0.3)
    whole, uncut = Pipeline(made), []
    pipeline, cut, store = Pipeline(made), [], {}
    for d in script:
        uncut += whole.feed(0, encode_frame(d.raw), d.time_us)
        cut += pipeline.feed(0, encode_frame(d.raw), d.time_us)
        if rng.random() < 0.2:
            store.update(pipeline.snapshot(dirty_only=True))
            pipeline = Pipeline(made)
            pipeline.restore(store)
    assert repr(cut + pipeline.finish(script[-1].time_us)) == repr(uncut + whole.finish(script[-1].time_us))
    assert pipeline.stats == whole.stats


@pytest.mark.parametrize("seed", range(3))
def test_the_cut_of_the_stream_changes_no_sample(seed):
    made = fleet()
    script = trouble(script_of(made, field_codes(3, SAMPLES), Command(1, 3)), seed, 0.2)
    bunches: dict[int, bytes] = {}
    for d in script:
        now_us = -(-d.time_us // (70 * SECOND)) * 70 * SECOND
        bunches[now_us] = bunches.get(now_us, b"") + encode_frame(d.raw)
    rng, told = random.Random(seed), []
    for pieces in (1, 3, 40):
        pipeline, events = Pipeline(made), []
        for now_us, data in bunches.items():
            cuts = sorted(rng.randrange(len(data)) for _ in range(pieces - 1))
            for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
                events += pipeline.feed(0, data[start:stop], now_us)
        told.append(Told.of(events + pipeline.finish(now_us)))
        assert books(pipeline)
    assert told[1].same(told[0]) and told[2].same(told[0])


def one_refinement(codes) -> tuple[list[Delivery], list[Delivery]]:
    """(hello and data, refinements) of node 2 alone."""
    made = make_fleet({2: (layered_model(), ())})
    script = script_of(made, codes[:1], Command(1, 3))
    return [d for d in script if kind(d.raw) != TYPE_REFINEMENT], [d for d in script if kind(d.raw) == TYPE_REFINEMENT]


def test_a_refinement_whose_base_is_lost_waits_and_is_dropped():
    made = make_fleet({2: (layered_model(), ())}, revise_window_us=100 * SECOND)
    data, refinements = one_refinement(field_codes(1, SAMPLES))
    without = [d for d in data if not (kind(d.raw) == TYPE_DATA and packet.peek(d.raw, 1).sequence == 4)]
    script = sorted([*without, *refinements], key=lambda d: d.time_us)
    pipeline = Pipeline(made)
    early = [d for d in script if d.time_us < 6 * 16 * SECOND]
    run(pipeline, early, finish=False)
    assert pipeline.stats.nodes[2].refinements_waiting == 1
    run(pipeline, script[len(early) :])
    stats = pipeline.stats.nodes[2]
    assert stats.refinements_waiting == 0 and stats.refinements_dropped == 1 and stats.refinements_merged == 24 and stats.lost == 1
    assert books(pipeline)


def test_a_base_that_comes_after_its_refinement_is_refined_at_once():
    made = make_fleet({2: (layered_model(), ())})
    data, refinements = one_refinement(field_codes(1, SAMPLES))
    late = [replace(d, time_us=d.time_us + 4 * SECOND) for d in data if kind(d.raw) == TYPE_DATA]
    script = sorted([d for d in data if kind(d.raw) != TYPE_DATA] + late + refinements, key=lambda d: d.time_us)
    pipeline = Pipeline(made)
    events = run(pipeline, script)
    assert not any(isinstance(event, SamplesRevised) for event in events)
    assert pipeline.stats.nodes[2].refinements_merged == 25
    again = Told.of(run(Pipeline(made), sorted(data + refinements, key=lambda d: d.time_us)))
    assert np.array_equal(Told.of(events).column(2), again.column(2))


def test_refinements_before_the_first_hello_wait_with_the_data():
    made = make_fleet({2: (layered_model(), ())})
    data, refinements = one_refinement(field_codes(1, 128))
    script = sorted([*data[1:], *refinements], key=lambda d: d.time_us)
    pipeline = Pipeline(made)
    run(pipeline, script)
    stats = pipeline.stats.nodes[2]
    assert stats.data_packets == 8 and stats.refinements_merged == 8 and stats.quarantined == 0


def single_layers(codes) -> list[Delivery]:
    """Layer 0, then layer 1, then layer 2 of every packet, each alone."""
    from edge_wz.codec import layered

    model = layered_model()
    data, _ = one_refinement(codes)
    out = []
    for d in data:
        out.append(d)
        if kind(d.raw) != TYPE_DATA:
            continue
        base = packet.parse_data(d.raw, 1, 16, True)
        first = base.sequence * 16
        row = codes[0, first : first + 16][None, :]
        found = layered.messages(model.node, base.rate_point, row, np.ones(row.shape, bool))
        for layer in (1, 2):
            payload = layered.pack(model.node, base.rate_point, found, layer, layer + 1)[0]
            refinement = packet.RefinementPacket(layer, 1, base._replace(payload=payload))
            out.append(Delivery(d.time_us + 1, 2, packet.pack_refinement(refinement, packet.seed_before(d.raw), 2)))
    return out


def test_layers_out_of_order_meet_in_the_end():
    made, codes = make_fleet({2: (layered_model(), ())}), field_codes(1, 256)
    script = single_layers(codes)
    ordered = Told.of(run(Pipeline(made), script))
    swapped = list(script)
    for at in range(1, len(script)):
        if kind(script[at - 1].raw) == kind(script[at].raw) == TYPE_REFINEMENT:
            swapped[at - 1], swapped[at] = script[at], script[at - 1]
    pipeline = Pipeline(made)
    assert np.array_equal(Told.of(run(pipeline, swapped)).column(2), ordered.column(2))
    assert pipeline.stats.nodes[2].refinements_merged == 32
    without = [d for d in script if not (kind(d.raw) == TYPE_REFINEMENT and packet.parse_refinement(d.raw, 1, 16).first == 1)]
    pipeline = Pipeline(made)
    run(pipeline, without)
    stats = pipeline.stats.nodes[2]
    assert stats.refinements_merged == 0 and stats.refinements_dropped + stats.refinements_waiting == 16 and books(pipeline)


def test_a_second_copy_says_nothing_new():
    made = make_fleet({2: (layered_model(), ())})
    data, refinements = one_refinement(field_codes(1, 64))
    script = sorted([*data, *refinements, *[replace(d, time_us=d.time_us + 1) for d in refinements]], key=lambda d: d.time_us)
    pipeline = Pipeline(made)
    run(pipeline, script)
    stats = pipeline.stats.nodes[2]
    assert stats.refinements == 8 and stats.refinements_merged == 4 and books(pipeline)
    assert stats.refinements_known + stats.refinements_dropped == 4


def test_refinements_for_other_schemes_are_refused():
    made = make_fleet({1: (predictive_model(), ())})
    pipeline = Pipeline(made)
    script = script_of(made, field_codes(1, 64), Command(1, 1))
    run(pipeline, script, finish=False)
    pipeline.feed(0, encode_frame(b"\x01\x60\x00\x11\x00\x00\x00"), script[-1].time_us)
    assert pipeline.stats.nodes[1].refused == {"reserved packet type": 1}


def test_a_flipped_bit_in_a_refinement_is_never_believed():
    made = make_fleet({2: (layered_model(), ())})
    data, refinements = one_refinement(field_codes(1, 64))
    begin = [d for d in data if d.time_us <= refinements[0].time_us]
    raw = refinements[0].raw
    for bit in range(8, 8 * len(raw)):  # the node id is the other node's business
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        pipeline = Pipeline(made)
        run(pipeline, [*begin, replace(refinements[0], raw=bytes(flipped))], finish=False)
        assert pipeline.stats.nodes[2].refinements == 0
