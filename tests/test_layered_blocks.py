"""Blocks of layers: they decode to what was sent, at fewer bits; a layer that fails, is lost or cut off leaves the layers before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.cli.inspect_payload import payload_section
from edge_wz.codec import layered, layered_packets, schemes
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.healing import cut as packets_of
from edge_wz.codec.layer_policy import Command
from edge_wz.codec.layered_encoder import LayeredNodeEncoder
from edge_wz.codec.reconstruction import CONCEALED, SUSPECT, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError, FormatError, InputError
from edge_wz.formats import blob, bundle, packet
from edge_wz.formats.layout import TYPE_DATA
from edge_wz.gateway.pipeline import Pipeline
from edge_wz.model import SideFilter, StateSpace
from tests.layered_models import layered_model, modulo_table
from tests.pipeline_fleet import Told, field_codes, make_fleet, predictive_model, run
from tests.test_layered_gateway import books, script_of
from training import layered_blocks
from training.cli import evaluate
from training.layered_streams import decode, resolved_layers, send
from training.syndrome_trials import Pool

BLOCK, BLOCKS = 256, 40
SIGMA = 100.0  # LSB, of the correlation noise
MOMENTS = SideFilter(1, np.zeros(2), np.array([[1e6 + SIGMA**2, 1e6], [1e6, 1e6]]), np.ones(1))


def drawn(seed: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and side information."""
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 1000, samples)
    return np.rint(y + rng.normal(0, SIGMA, samples)).astype(np.int16), y


@pytest.fixture(scope="module")
def models():
    """(raw layers, the same as blocks): 2, 4 at a period of seven deviations."""
    plain = replace(layered_model("y", samples=BLOCK, period=696, alphabets=(2, 4)), decoder="posterior", side_filter=MOMENTS)
    table = modulo_table(696, (2, 4), 5000)
    node = blob.make_layered(BLOCK, 20, 1.0, 0.0, [replace(table, sent=sent) for sent in (2, 1)])
    plain = replace(plain, node=node)
    codes, y = drawn(1, BLOCK * 100)
    shape = (-1, BLOCK)
    pool = Pool(codes.reshape(shape).astype(float), y.reshape(shape), np.full((100, BLOCK), SIGMA**2), np.ones((1, 2)), 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layered_blocks, "TRIAL_SAMPLES", 40_000)
        patch.setattr(layered_blocks, "HARDNESS_SAMPLES", 40_000)
        made, layers = layered_blocks.with_blocks(plain, pool)
    assert all(layer.ideal_bits < layer.bits < layer.ideal_bits + 0.35 * layer.planes for layer in layers)
    return plain, made


@pytest.fixture(scope="module")
def streams(models):
    """By depth: (stream, result) of the raw and of the block model, the same samples."""
    codes, y = drawn(2, BLOCK * BLOCKS)
    present, side = np.ones(len(codes), bool), SideInformation.of(y)
    found = {}
    for depth in (1, 2):
        for name, model in zip(("raw", "block"), models, strict=True):
            stream = send(model.node, codes, present, Command(depth, depth))
            found[depth, name] = stream, decode(model, stream, side)
    return found


def test_ratios_are_those_of_the_posterior():
    """Among samples whose ratio says p, a share of p has the bit 0; and the ideal bits of a design are those of the ratios."""
    codes, y = drawn(3, BLOCK * 100)
    shape = (-1, BLOCK)
    pool = Pool(codes.reshape(shape).astype(float), y.reshape(shape), np.full((100, BLOCK), SIGMA**2), np.ones((1, 2)), 5)
    trials = layered_blocks.trials_of(modulo_table(696, (2, 2), 5000), pool, np.ones((1, 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layered_blocks, "HARDNESS_SAMPLES", codes.size - 1)  # every block once
        _, ideal = layered_blocks.hardness(trials)
    flat, rows = trials.bits.reshape(-1), trials.trees.reshape(codes.size, -1)
    for plane in range(2):
        ratios = rows[np.arange(len(rows)), (1 << plane) + (flat & ((1 << plane) - 1))]
        said, zero = 1 / (1 + np.exp(-ratios)), (flat >> plane) & 1 == 0
        for low in np.arange(0, 1, 0.1):
            among = (said >= low) & (said < low + 0.1)
            assert abs(np.mean(zero[among]) - np.mean(said[among])) < 5 * np.sqrt(0.25 / among.sum())
        bits = -np.mean(np.log2(np.where(zero, said, 1 - said)))
        assert ideal[plane] == pytest.approx(bits, abs=1e-4)


def test_blocks_are_what_raw_layers_are_at_fewer_bits(models, streams):
    for depth in (1, 2):
        (raw, plain), (sent, coded) = streams[depth, "raw"], streams[depth, "block"]
        whole = resolved_layers(models[1].node, sent.indices, coded.levels).reshape(-1, BLOCK) == depth
        assert (whole.all(axis=1) == whole.any(axis=1)).all() and whole.mean() > 0.9
        same = whole.reshape(-1)
        assert np.array_equal(coded.values[same], plain.values[same]) and np.array_equal(coded.sigmas[same], plain.sigmas[same])
        assert sent.counters.payload_bits < 0.95 * raw.counters.payload_bits


def test_a_cut_packet_is_the_packet_of_fewer_layers(models):
    codes, _ = drawn(3, BLOCK + 100)
    data = {}
    for depth in (1, 2):
        encoder = LayeredNodeEncoder(models[1].node, 1, policy=Command(depth, depth), period_us=10)
        data[depth] = [raw for raw in encoder.encode(codes) + encoder.flush() if packet.peek(raw).type == TYPE_DATA]
    assert [layered_packets.cut(models[1].node, raw, 1) for raw in data[2]] == data[1]


def test_a_block_that_ends_early_has_its_whole_layers(models):
    node, (codes, _) = models[1].node, drawn(4, BLOCK)
    present, counts = np.ones((1, BLOCK), bool), np.full(1, BLOCK, np.int32)
    whole, coarse = (layered.encode(node, 0, codes[None, :], present, counts, layers)[0] for layers in (2, 1))
    found = [schemes.parse(node, [whole[:size]], [0], [BLOCK]) for size in range(len(whole) + 1)]
    tree = layered.flat_point(node, 0).tree
    depths = [int(tree.depths(indices.values).max(initial=0)) for indices in found]
    assert depths == [0] * len(coarse) + [1] * (len(whole) - len(coarse)) + [2]
    assert np.array_equal(found[len(coarse)].values, schemes.parse(node, [coarse], [1], [BLOCK]).values)


def test_refinements_lost_or_not(models, streams):
    codes, y = drawn(2, BLOCK * BLOCKS)
    stream = send(models[1].node, codes, np.ones(len(codes), bool), Command(1, 2), refinement_loss=0.3, seed=2)
    result = decode(models[1], stream, SideInformation.of(y))
    for depth in (1, 2):
        came = stream.depths == depth
        assert came.any() and np.array_equal(result.values[came], streams[depth, "block"][1].values[came])
        assert np.array_equal(stream.indices.values[came], streams[depth, "block"][0].indices.values[came])


def test_side_information_that_says_nothing_conceals_and_says_so(models):
    codes, y = drawn(5, 2 * BLOCK)
    stream = send(models[1].node, codes, np.ones(len(codes), bool), Command(2, 2))
    y[:BLOCK] = np.random.default_rng(6).normal(0, 1000, BLOCK)
    result = decode(models[1], stream, SideInformation.of(y))
    assert (result.flags[:BLOCK] == CONCEALED | SUSPECT).all() and (result.levels[:BLOCK] == NO_LEVEL).all()
    assert not (result.flags[BLOCK:] & CONCEALED).any()


def test_absent_samples_and_short_packets(models):
    plain, made = models
    codes, y = drawn(7, 2 * BLOCK + 150)
    present = np.random.default_rng(8).random(len(codes)) < 0.9
    present[BLOCK : BLOCK + 230] = False  # too few for a block
    side = SideInformation.of(y)
    results = [decode(model, send(model.node, codes, present, Command(2, 2)), side) for model in models]
    assert np.array_equal(results[0].values[BLOCK : 2 * BLOCK], results[1].values[BLOCK : 2 * BLOCK])
    assert (results[0].levels == results[1].levels).mean() > 0.95


def test_what_is_no_model_is_refused(models):
    plain, made = models
    with pytest.raises(InputError, match="no state space"):
        Decoder(replace(made, state_space=None), "kalman")
    with pytest.raises(DesignError, match="powers of two"):
        layered_blocks.check((2, 3), BLOCK)
    with pytest.raises(DesignError, match="too short"):
        layered_blocks.check((2, 2), 31)
    points = made.node.rate_points
    for positions, text in ((points[0].positions[:1], "shape"), (np.zeros_like(points[0].positions), "sends nothing")):
        with pytest.raises(FormatError, match=text):
            blob.make_layered(BLOCK, 20, 1.0, 0.0, [replace(points[0], positions=positions)], 12)
    with pytest.raises(FormatError, match="shape"):
        blob.make_layered(BLOCK, 20, 1.0, 0.0, points)


def test_the_bundle_keeps_what_resolves_it(models, tmp_path):
    bundle.save(tmp_path / "m.ewz", models[1])
    loaded = bundle.load(tmp_path / "m.ewz")
    assert loaded.model_id == models[1].model_id and np.array_equal(loaded.block.density, models[1].block.density)
    assert np.array_equal(loaded.node.rate_points[1].positions, models[1].node.rate_points[1].positions)


def test_kalman_sees_own_samples_on_both_sides(models):
    """A source with memory that its neighbour sees through noise: smoothed blocks are closer, cut between packets or not, and losses stay losses."""
    rng, count = np.random.default_rng(11), 12 * BLOCK
    x = np.zeros(count)
    for n in range(1, count):
        x[n] = 0.999 * x[n - 1] + rng.normal(0, 1000 * np.sqrt(1 - 0.999**2))
    codes, y = np.rint(x).astype(np.int16), x + rng.normal(0, SIGMA, count)
    space = StateSpace(
        np.array([[0.999]]), np.ones((2, 1)), np.array([[1e6 * (1 - 0.999**2)]]), np.zeros((1, 2)), np.diag([1 / 12, SIGMA**2]), np.zeros(2)
    )
    model = replace(models[1], state_space=space, decoder="kalman")
    stream = send(model.node, codes, np.ones(count, bool), Command(1, 1), loss=0.1, seed=4)
    side = SideInformation.of(y)
    whole, rough = decode(model, stream, side), decode(model, stream, side, "posterior")
    kept = stream.depths > 0
    assert 0 < kept.mean() < 1 and (whole.flags[~kept] == CONCEALED).all()
    assert np.std((whole.values - x)[kept]) < 0.8 * np.std((rough.values - x)[kept])
    engine, cut = Decoder(model), 5 * BLOCK
    head, state = engine.reconstruct(engine.initial_state(), packets_of(stream.indices, slice(0, cut)), side[0:cut])
    tail, _ = engine.reconstruct(state, packets_of(stream.indices, slice(cut, count)), side[cut:count])
    assert np.array_equal(np.concatenate([head.values, tail.values]), whole.values)


def test_evaluate_tells_every_layer(models, tmp_path):
    codes, y = drawn(10, 3 * BLOCK)
    np.savetxt(tmp_path / "r.csv", np.column_stack([codes, y]), delimiter=",", header="x,y", comments="")
    bundle.save(tmp_path / "m.ewz", replace(models[1], source="x", side=("y",)))
    told = CliRunner().invoke(evaluate, [str(tmp_path / "m.ewz"), "--data", str(tmp_path / "r.csv"), "--no-baselines"], catch_exceptions=False)
    lines = told.output.splitlines()
    at = next(i for i, line in enumerate(lines) if "unresolved" in line)
    bits = [float(line.split()[2]) for line in lines[at + 2 : at + 4]]
    assert 0.7 < bits[0] < 1.1 and bits[0] + 0.8 < bits[1] < 2.9


def test_inspect_shows_planes_and_checks(models):
    codes, _ = drawn(9, BLOCK)
    encoder = LayeredNodeEncoder(models[1].node, 1, policy=Command(2, 2), period_us=10)
    raw = next(raw for raw in encoder.encode(codes) if packet.peek(raw).type == TYPE_DATA)
    section = payload_section(models[1].node, packet.parse_data(raw, 0, BLOCK, layered=True))
    names = [row.field for row in section.rows]
    assert names == ["layer 0", "check 0", "layer 1", "layer 1", "check 1", "rounding up to bytes"]
    assert 0 <= section.rows[-1].bits < 8


@pytest.mark.parametrize("decoder", ["posterior", "kalman"])
def test_the_gateway_puts_blocks_together(decoder):
    """Through the pipeline: refinements that come late join, and what a relay cut is what fewer layers are. All positions sent: no luck needed."""
    base = layered_model("y", samples=40)
    table = replace(base.node.rate_points[0], positions=np.ones((3, 40), bool))
    node = blob.make_layered(40, 20, 0.01, 0.0, [replace(table, sent=sent) for sent in (3, 2, 1)], 8)
    moments = SideFilter(1, np.zeros(2), np.array([[4e4, 100.0], [100.0, 1.0]]), np.ones(1))
    made = make_fleet({1: (predictive_model(), ()), 2: (replace(base, node=node, decoder=decoder, side_filter=moments), (1,))})
    codes = field_codes(2, 400)
    full = Told.of(run(Pipeline(made), script_of(made, codes, Command(3, 3))))
    late = Pipeline(made)
    assert np.array_equal(Told.of(run(late, script_of(made, codes, Command(1, 3)))).column(2), full.column(2))
    assert late.stats.nodes[2].refinements_merged == 10 and books(late)
