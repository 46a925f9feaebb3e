"""`trellis` behind the wire: pipeline, losses, a neighbour gone wrong, simulate, and the daemon on a capture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_wz.codec.reconstruction import CONCEALED, RESOLVED, SUSPECT, Decoder, Reconstruction
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats import blob, packet
from edge_wz.formats.layout import TYPE_DATA
from edge_wz.gateway.pipeline import Pipeline
from edge_wz.model import Model, Propagation, StateSpace
from tests.beside_reference import serve_to_a_step, simulate_with_losses
from tests.fleet_models import state_space
from tests.pipeline_fleet import Delivery, Told, balanced, deliveries, field_codes, make_fleet, predictive_model, run
from training.transmission import transmit

SLOTS, SAMPLES = 32, 640
STEP_SHIFT = 4  # 16 LSB
STEP = 0.16  # units


def trellis_model(check_bits: int = 8) -> Model:
    point = (2, 8 + STEP_SHIFT, 1 << 7 + STEP_SHIFT, [256])
    node = blob.make_trellis(SLOTS, 20, check_bits, 0.01, 0.0, (3, 0o13, 0o4), [point])
    space = state_space(1.0, (0.1,))
    return Model(node, "trellis", "x", ("y",), "V", 1.0, "test", state_space=space, propagation=Propagation(1))


def slow_model(check_bits: int) -> Model:
    """A random walk of 2 LSB a sample, a neighbour with noise of 4; three rounds, so that a packet's own samples help each other."""
    point = (2, 8 + STEP_SHIFT, 1 << 7 + STEP_SHIFT, [256])
    node = blob.make_trellis(SLOTS, 20, check_bits, 0.01, 0.0, (3, 0o13, 0o4), [point])
    one = np.ones((1, 1))
    space = StateSpace(0.9999 * one, np.array([[1.0], [0.01]]), 4.0 * one, np.zeros((1, 2)), np.diag([0.1, 0.0016]), np.zeros(2))
    return Model(node, "trellis", "x", ("y",), "V", 1.0, "test", state_space=space, propagation=Propagation(3))


def fleet():
    return make_fleet({1: (predictive_model(), ()), 2: (trellis_model(), (1,))})


def errors(told: Told, codes: np.ndarray) -> np.ndarray:
    return told.column(2) - codes[1] * 0.01


def data_of(delivery: Delivery) -> bool:
    return delivery.node_id == 2 and packet.peek(delivery.raw, 1).type == TYPE_DATA


def test_the_pipeline_resolves_what_the_node_sent():
    made, codes = fleet(), field_codes(2, SAMPLES)
    pipeline = Pipeline(made)
    told = Told.of(run(pipeline, deliveries(made, codes)))
    assert balanced(pipeline) and len(told.column(2)) == SAMPLES
    assert np.mean(told.flags(2) == RESOLVED) > 0.97
    assert np.std(errors(told, codes)) < 1.1 * STEP / np.sqrt(12)


def test_lost_packets_are_concealed_and_cost_nothing_else():
    made, codes = fleet(), field_codes(2, SAMPLES)
    script = deliveries(made, codes)
    ours = [at for at, delivery in enumerate(script) if data_of(delivery)]
    gone = {ours[3], ours[4], ours[9], ours[14]}
    pipeline = Pipeline(made)
    told = Told.of(run(pipeline, [delivery for at, delivery in enumerate(script) if at not in gone]))
    whole = Told.of(run(Pipeline(made), script))
    concealed = (told.flags(2) & CONCEALED) != 0
    assert balanced(pipeline) and np.count_nonzero(concealed) == len(gone) * SLOTS
    heard = ~concealed
    assert np.std(errors(told, codes)[heard]) < 1.05 * np.std(errors(whole, codes)[heard])


def decoded(model: Model, x: np.ndarray, y: np.ndarray) -> Reconstruction:
    engine = Decoder(model)
    received = transmit(model.node, x, np.ones(len(x), bool))
    return engine.reconstruct(engine.initial_state(), received.indices, SideInformation.of(y[:, None]))[0]


def test_a_neighbour_gone_wrong_is_noticed_and_then_forgotten():
    """Stuck for twenty packets: they are marked, and what comes after is as if nothing had been."""
    model, codes = trellis_model(), field_codes(2, SAMPLES * 4, seed=3)
    x, y = codes[1], codes[0] * 0.01
    stuck = y.copy()
    span = slice(20 * SLOTS, 40 * SLOTS)
    stuck[span] = y[span.start] + 3.0
    result, whole = decoded(model, x, stuck), decoded(model, x, y)
    wrong = (np.abs(result.values - x * 0.01) > 0.2).reshape(-1, SLOTS).any(axis=1)
    suspect = (result.flags & SUSPECT != 0).reshape(-1, SLOTS).any(axis=1)
    assert wrong[20:40].mean() > 0.5 and suspect[wrong].mean() > 0.95
    behind = slice(span.stop + SLOTS, None)
    np.testing.assert_array_equal(result.levels[behind], whole.levels[behind])
    np.testing.assert_allclose(result.values[behind], whole.values[behind], atol=1e-6)


def test_the_check_brings_a_belief_back_that_is_whole_periods_off():
    """The source jumps by little more than a period of the cosets while no neighbour is heard: bits alone would never tell."""
    rng = np.random.default_rng(8)
    x = np.cumsum(rng.normal(0, 2, SLOTS * 60))
    x[20 * SLOTS + 5 :] += 140
    x = np.rint(x).astype(np.int16)
    y = (x + rng.normal(0, 4, len(x))) * 0.01
    y[10 * SLOTS :] = np.nan
    late = slice(22 * SLOTS, None)
    blind, healed = (decoded(slow_model(check_bits), x, y) for check_bits in (0, 8))
    wrong = [np.abs(result.values - x * 0.01) > 0.2 for result in (blind, healed)]
    assert wrong[0][late].mean() > 0.5 and wrong[1][late].mean() < 0.01
    assert np.all(healed.flags[wrong[1]] & SUSPECT)


def test_simulate(tmp_path: Path):
    simulate_with_losses(tmp_path, trellis_model(), 320)


def test_the_daemon_on_a_capture(tmp_path: Path):
    serve_to_a_step(tmp_path, trellis_model(), fleet(), 16.0, STEP)
