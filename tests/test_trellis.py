"""Scheme `trellis` from source samples to reconstruction: packets alone, losses, splits, gap to the limit, design."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import CONCEALED, RESOLVED, SUSPECT, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.decoders import cells, cosets
from edge_wz.errors import DesignError, FormatError
from edge_wz.formats import blob, bundle
from edge_wz.formats.sections.trellis import stride_of
from edge_wz.model import Model, Propagation, StateSpace
from firmware_sim.field import pair_source
from tests.decoder_models import LSB, in_lsb, nested_point, pair
from tests.stream_parts import packets_of
from training import design_trellis, trellis_colour
from training.transmission import Received, transmit, true_levels

LIMIT_FIG5_DB = 17.09  # Wyner-Ziv limit of the SQNR at rate 0; 6.02 dB more for each bit


def model(packet_samples=64, states=8, rate=2, step=0.2, check_bits=8, rounds=1, **fields) -> Model:
    code, point = design_trellis.CODES[states], nested_point(step, 2 ** (rate - 1))
    node = blob.make_trellis(packet_samples, 100, check_bits, LSB, 0.0, code, [point])
    space, _, _ = pair("fig5", 2, 0)
    return Model(
        node, "trellis", side=("y",), state_space=in_lsb(space), propagation=Propagation(rounds), **fields
    )


def sent(made: Model, samples: int, seed: int = 1, loss: float = 0.0) -> tuple[np.ndarray, Received, SideInformation]:
    _, x, y = pair("fig5", samples, seed)
    codes, _ = made.node.to_codes(x)
    return x, transmit(made.node, codes, np.ones(samples, bool), loss=loss), SideInformation.of(y[:, None])


def decode(made: Model, received: Received, side: SideInformation):
    engine = Decoder(made)
    return engine.reconstruct(engine.initial_state(), received.indices, side)


@pytest.mark.parametrize(("packet_samples", "states", "worst_db"), [(32, 8, 4.6), (64, 64, 4.0), (1024, 64, 3.9)])
def test_gap_on_fig5(packet_samples, states, worst_db):
    """Against 8.1 dB of `nested` at two bits; the figures of the benchmark with room for 60 000 samples."""
    made = model(packet_samples, states, step=0.205, check_bits=0)
    x, received, side = sent(made, 60_000)
    result, _ = decode(made, received, side)
    error = float(np.mean(np.square(result.values - x)))
    assert LIMIT_FIG5_DB + 12.04 - 10 * np.log10(np.var(x) / error) < worst_db
    assert float(np.mean(np.square(result.sigmas))) == pytest.approx(error, rel=0.1)


def test_levels_are_the_encoders():
    made = model(1024, 64, step=0.25)
    x, received, side = sent(made, 8192)
    result, _ = decode(made, received, side)
    codes, _ = made.node.to_codes(x)
    assert np.mean(result.levels != true_levels(made.node, codes, np.ones(8192, bool))) < 1e-3
    assert np.mean(result.flags == RESOLVED) > 0.99


@pytest.mark.parametrize("packet_samples", [64, 63])
def test_chains_of_a_stride_decode_as_one_code_each(packet_samples):
    """One chain of 64 or three of 21; absent samples leave other numbers of samples, and so of chains."""
    code = design_trellis.code_of(8, 3)
    assert code == (9, 0o1011, 0o100) and stride_of(*code[1:]) == 3
    made = dataclasses.replace(model(packet_samples), node=blob.make_trellis(packet_samples, 100, 8, LSB, 0.0, code, [nested_point(0.27, 2)]))
    _, x, y = pair("fig5", 64 * 63, 1)
    codes, _ = made.node.to_codes(x)
    present = np.random.default_rng(2).random(len(x)) < 0.99
    result, _ = decode(made, transmit(made.node, codes, present), SideInformation.of(y[:, None]))
    wrong = (result.levels != true_levels(made.node, codes, present))[present]
    assert present.mean() < 1 and np.mean(wrong) < 1e-3


def test_stride_and_rounds_by_the_colour_of_a_source():
    """What neighbours leave open of fig5 is white; of fig6 they tell 0.5 dB less than the other samples do."""
    white, coloured = pair_source("fig5").state_space(), pair_source("fig6").state_space()
    assert trellis_colour.told_by_others(white, 0.0) == pytest.approx(1.0, abs=1e-3)
    assert trellis_colour.told_by_others(coloured, 0.0) == pytest.approx(1.13, abs=0.01)
    assert trellis_colour.stride_for(white, 0.0, 3, 4096) == 1
    assert [trellis_colour.stride_for(coloured, 0.0, memory, 4096) for memory in (3, 5, 6, 8)] == [10, 6, 5, 3]
    assert trellis_colour.stride_for(coloured, 0.0, 3, 48) == 5  # by 7 a stretch comes round to its neighbours, by others there are many short chains


def test_splits_between_packets_change_no_bit():
    made = model(32, rounds=2)
    _, received, side = sent(made, 32 * 20 + 7, loss=0.2)
    whole, after = decode(made, received, side)
    engine = Decoder(made)
    state, parts = engine.initial_state(), []
    for first, last in ((0, 1), (1, 8), (8, 8), (8, 21)):
        piece, span = packets_of(received.indices, first, last)
        part, state = engine.reconstruct(state, piece, side[span])
        parts.append(part)
    for name in ("values", "sigmas", "flags", "levels"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    np.testing.assert_array_equal(state, after)


def test_a_lost_packet_costs_nothing_beyond_itself():
    made = model(64)
    x, received, side = sent(made, 64 * 200)
    clean, _ = decode(made, received, side)
    _, lossy, _ = sent(made, 64 * 200, loss=0.1)
    result, _ = decode(made, lossy, side)
    assert np.all(result.flags[~lossy.received] == CONCEALED)
    here = lossy.received
    errors = [float(np.mean(np.square(one.values - x)[here])) for one in (clean, result)]
    assert errors[1] < 1.03 * errors[0]
    assert np.mean(result.levels[here] != clean.levels[here]) < 3e-3


def test_long_gaps_are_concealed_in_pieces():
    made = model(32)
    engine = Decoder(made)
    values = np.full(32 * 5 + 3, NO_LEVEL, np.int32)
    stream = StreamIndices(values, np.zeros_like(values), np.zeros(1, np.int64), np.full(1, -1, np.int32))
    _, _, side = sent(made, len(values))
    result, _ = engine.reconstruct(engine.initial_state(), stream, side)
    assert np.all(result.flags == CONCEALED) and np.all(np.isfinite(result.values))


def test_absent_samples_and_missing_neighbours():
    made = model(64, 64, step=0.25)
    _, x, y = pair("fig5", 64 * 60, 5)
    rng = np.random.default_rng(2)
    present = rng.random(len(x)) > 0.1
    codes, _ = made.node.to_codes(x)
    received = transmit(made.node, np.where(present, codes, 0).astype(np.int16), present)
    values = y[:, None].copy()
    values[rng.random(len(x)) < 0.02] = np.nan
    result, _ = decode(made, received, SideInformation.of(values))
    assert np.all(result.flags[~present] == CONCEALED)
    assert np.mean(result.levels[present] != true_levels(made.node, codes, present)[present]) < 0.01


def test_level_check_tells_a_wrong_coset():
    made = model(64, step=0.08)  # far too fine a step for two bits
    x, received, side = sent(made, 64 * 100)
    result, _ = decode(made, received, side)
    codes, _ = made.node.to_codes(x)
    wrong = (result.levels != true_levels(made.node, codes, np.ones(len(x), bool))).reshape(-1, 64).any(axis=1)
    suspect = (result.flags & SUSPECT != 0).reshape(-1, 64).all(axis=1)
    assert wrong.mean() > 0.5 and suspect[wrong].mean() > 0.97


def test_values_keep_a_promised_distance():
    made = dataclasses.replace(model(64, step=0.25), max_error=0.14)
    x, received, side = sent(made, 64 * 40)
    result, _ = decode(made, received, side)
    codes, _ = made.node.to_codes(x)
    right = result.levels == true_levels(made.node, codes, np.ones(len(x), bool))
    assert np.abs(result.values - made.node.to_units(codes))[right].max() <= 0.14 + 1e-6


@pytest.mark.parametrize("tap", [1, -1])
@pytest.mark.parametrize(("step", "sigma", "q"), [(400.0, 620.0, 2), (110.0, 620.0, 8), (3.0, 8.0, 2), (400.0, 90.0, 1), (60.0, 900.0, 1)])
def test_moments_of_cosets_equal_sums_over_integers(tap, step, sigma, q):
    """Masses up to a common factor."""
    scale = 2.0**16
    point = np.array([scale, scale / 2, tap * scale / step, 4 * q, -32768, 32767])
    codes = np.arange(-9000, 9000)
    levels = np.floor((codes * point[cells.TAP] + point[cells.ROUNDING]) / scale).astype(int)
    for mean in (-713.3, 0.0, 1931.7):
        weights = np.exp(-0.5 * np.square((codes - mean) / sigma))
        low = 1 % q
        chosen = [(levels + 32768) % (4 * q) == low + q * z for z in range(4)]
        exact = np.array([weights[pick].sum() for pick in chosen])
        likely = np.flatnonzero(exact > 0.01 * exact.sum())
        masses, results = moments(mean, sigma, low, point, [np.eye(4)[z] for z in likely])
        np.testing.assert_allclose(masses / masses.sum(), exact / exact.sum(), atol=2e-3)
        for z, (value, variance, level) in zip(likely, results, strict=True):
            centre = np.average(codes[chosen[z]], weights=weights[chosen[z]])
            assert value == pytest.approx(centre, abs=0.01 * sigma)
            spread = np.average(np.square(codes[chosen[z]] - centre), weights=weights[chosen[z]])
            assert variance == pytest.approx(spread + 1 / 12, rel=0.03)
            assert level == max(set(levels[chosen[z]]), key=lambda one: weights[levels == one].sum())


def moments(mean, sigma, low, point, posteriors):
    """Masses of the four cosets of one belief, and (mean, variance, level) given each of the posteriors."""
    beliefs, spreads, slots, lows = np.array([mean]), np.array([sigma * sigma]), np.zeros(1, np.int64), np.array([float(low)])
    comb, masses, floored, scratch = np.empty((cosets.COMB_ROWS, 1)), np.empty((1, 4)), np.empty((1, 4), np.float32), np.empty((4, 4))
    results = []
    for posterior in posteriors:
        reach = cosets.coset_masses(beliefs, spreads, slots, lows, point, 1e-9, comb, masses, floored, scratch)
        values, variances, levels, weights = np.empty(1), np.empty(1), np.empty(1, np.int32), np.empty(1)
        one = posterior[None, :].astype(np.float32)
        cosets.given_code(
            beliefs, spreads, slots, lows, point, one, reach, comb, masses, scratch, values, variances, levels, weights
        )
        results.append((values[0], variances[0], levels[0]))
    return masses[0], results


def mixed(made: Model, density) -> Model:
    return dataclasses.replace(made, propagation=Propagation(1, 0, np.array(density, dtype=float)))


def test_two_gaussians_that_are_one():
    """The sums over cosets of a mixture, against the combs of one Gaussian, whose three points to a cell do for narrow cells."""
    made = model(64, 8, rate=4, step=0.06, check_bits=0)
    _, received, side = sent(made, 4096)
    (one, _), (two, _) = decode(made, received, side), decode(mixed(made, [[0.5, 1.0], [0.5, 1.0]]), received, side)
    assert np.array_equal(one.levels, two.levels) and np.array_equal(one.flags, two.flags)
    np.testing.assert_allclose(two.values, one.values, atol=1e-3)
    np.testing.assert_allclose(two.sigmas, one.sigmas, rtol=0.01, atol=1e-3)


def test_a_neighbour_that_goes_wrong_now_and_then():
    """One sample in a hundred of the neighbour is off by some ten times its noise."""
    made, samples = model(64, 8, step=0.22, check_bits=0), 64 * 400
    x, received, side = sent(made, samples)
    rng = np.random.default_rng(4)
    off = SideInformation.of(np.where(rng.random(samples) < 0.01, side.values[:, 0] + rng.normal(0, 1.0, samples), side.values[:, 0])[:, None])
    errors = [
        float(np.mean(np.square(decode(one, received, off)[0].values - x))) for one in (made, mixed(made, [[0.99, 1.0], [0.01, 47.0]]))
    ]
    assert errors[1] < 0.95 * errors[0]


@pytest.mark.parametrize("density", [[[1.0, 0.0]], [[1.0, 1.0, 1.0]], [[-0.1, 1.0], [1.1, 1.0]]])
def test_densities_that_are_none(tmp_path, density):
    with pytest.raises(FormatError, match="propagation.density"):
        bundle.save(tmp_path / "m.ewz", mixed(model(), density))


def test_bundles_travel(tmp_path):
    made = model(64, 64)
    made = dataclasses.replace(made, propagation=Propagation(3, 0, np.array([[0.9, 0.5], [0.1, 5.5]])))
    bundle.save(tmp_path / "m.ewz", made)
    again = bundle.load(tmp_path / "m.ewz")
    assert again.node.blob == made.node.blob and again.propagation.rounds == 3
    assert np.array_equal(again.propagation.density, made.propagation.density)
    assert (again.node.memory, again.node.h0, again.node.h1) == (6, 0o103, 0o24)


@pytest.mark.parametrize("code", [
    (3, 0o13, 0o13), (3, 0o12, 0o4), (3, 0o23, 0o4), (3, 0o5, 0o2), (0, 1, 1), (1, 0o3, 0o2), (11, 0o4001, 0o4), (3, 0o13, 0), (3, 0o17, 0o6),
])
def test_codes_that_are_none(code):
    with pytest.raises(FormatError, match="memory"):
        blob.make_trellis(32, 100, 0, 1.0, 0.0, code, [(2, 4, 8, [1])])


@pytest.mark.parametrize("q", [0, 3, 8192])
def test_moduli_that_are_none(q):
    with pytest.raises(FormatError, match="q is"):
        blob.make_trellis(32, 100, 0, 1.0, 0.0, (3, 0o13, 0o4), [(q, 4, 8, [1])])


def test_rates_that_are_none():
    with pytest.raises(DesignError, match="whole rates"):
        design_trellis.check_rate(2.5)


def test_train_evaluate_inspect(tmp_path):
    from edge_wz.cli.inspect import inspect
    from training.cli import evaluate, train

    _, x, y = pair("fig5", 12_000, 3)
    path, out = tmp_path / "r.csv", str(tmp_path / "m.ewz")
    np.savetxt(path, np.column_stack([x, y]), delimiter=",", header="x,y", comments="", fmt="%.4f")
    runner = CliRunner()
    common = [str(path), "--source", "x", "--side", "y", "--scheme", "trellis", "--states", "8", "--rate", "2", "--out", out]
    made = runner.invoke(train, common, catch_exceptions=False)
    assert made.exit_code == 0, made.output
    shown = runner.invoke(evaluate, [out, "--data", str(path), "--no-baselines"], catch_exceptions=False)
    assert shown.exit_code == 0 and "trellis" in shown.output
    seen = runner.invoke(inspect, [out], catch_exceptions=False)
    assert seen.exit_code == 0 and "8 states" in seen.output


def slow_source(samples: int, seed: int) -> tuple[StateSpace, np.ndarray, np.ndarray]:
    """A source with a velocity, foretold by its past within 20 LSB and free to go anywhere within a packet; a neighbour says next to nothing."""
    rng = np.random.default_rng(seed)
    A = np.array([[0.995, 1.0], [0.0, 0.97]])
    noise, s = rng.normal(0, 20, samples), np.zeros((samples, 2))
    for n in range(1, samples):
        s[n] = A @ s[n - 1] + [noise[n], noise[n]]
    Q, x = np.full((2, 2), 400.0), s[:, 0]
    space = StateSpace(A, np.array([[1.0, 0.0], [0.1, 0.0]]), Q, np.zeros((2, 2)), np.diag([0.1, 90000.0]), np.zeros(2))
    return space, np.rint(x).astype(np.int16), 0.1 * x + rng.normal(0, 300, samples)


def test_survivors_are_refused_a_code_of_too_many_states(tmp_path):
    """They keep a filter for each state of the whole register, chains or not: 2^24 of them would take all memory there is."""
    made = model(64)
    node = blob.make_trellis(64, 100, 8, LSB, 0.0, design_trellis.code_of(256, 3), [nested_point(0.27, 2)])
    with pytest.raises(FormatError, match="propagation.survivors: a memory of 24 is more than 10"):
        bundle.save(tmp_path / "x.ewz", dataclasses.replace(made, node=node, propagation=Propagation(1, 1)))
    bundle.save(tmp_path / "x.ewz", dataclasses.replace(made, node=node, propagation=Propagation(1, 0)))


def test_survivors_follow_a_source_that_only_its_past_tells():
    space, codes, side = slow_source(64 * 120, 3)
    node = blob.make_trellis(64, 100, 8, 1.0, 0.0, design_trellis.CODES[32], [nested_point(30.0 * LSB, 4)])
    wrong = []
    for survivors in (0, 1):
        made = Model(node, "trellis", side=("y",), state_space=space, propagation=Propagation(1, survivors))
        result, _ = decode(made, transmit(node, codes, np.ones(len(codes), bool)), SideInformation.of(side[:, None]))
        known = slice(64, None)  # nothing tells where the first packet begins
        wrong.append(float(np.mean((result.levels != true_levels(node, codes, np.ones(len(codes), bool)))[known])))
    assert wrong[0] > 0.5 and wrong[1] < 1e-3


def test_design_follows_what_the_past_tells():
    space, _, _ = slow_source(2, 0)
    assert design_trellis.led_by_past(space, 30.0) and not design_trellis.led_by_past(in_lsb(pair("fig5", 2, 0)[0]), 0.2 / LSB)
