"""`syndrome` behind the wire: pipeline, losses, a neighbour gone wrong, payloads that are none, simulate, and the daemon on a capture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_wz.codec import syndrome
from edge_wz.codec.reconstruction import CONCEALED, RESOLVED, SUSPECT, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats import blob, packet
from edge_wz.formats.layout import TYPE_DATA
from edge_wz.gateway.pipeline import Pipeline
from edge_wz.kernels.status import STATUS_PADDING, STATUS_TRAILING, STATUS_TRUNCATED
from edge_wz.model import BlockDecoding, Model
from tests.beside_reference import serve_to_a_step, simulate_with_losses
from tests.fleet_models import state_space
from tests.pipeline_fleet import Told, balanced, deliveries, field_codes, make_fleet, predictive_model, run
from training.transmission import transmit

SLOTS, SAMPLES = 64, 640
STEP_SHIFT = 4  # 16 LSB
STEP = 0.16  # units


def syndrome_model() -> Model:
    """A low bit as it is; of the next one all but the seven positions that are surest."""
    sent = np.array([[position.bit_count() <= 4 for position in range(SLOTS)]])
    node = blob.make_syndrome(SLOTS, 20, 0.01, 0.0, 12, [(2, 8 + STEP_SHIFT, 1 << 7 + STEP_SHIFT, [256], sent)])
    block = BlockDecoding(np.array([2.0]), np.array([1000.0]), np.array([[1.0, 1.0]]), 1)
    return Model(node, "syndrome", "x", ("y",), "V", 1.0, "test", state_space=state_space(1.0, (0.1,)), block=block)


def fleet():
    return make_fleet({1: (predictive_model(), ()), 2: (syndrome_model(), (1,))}, reorder_wait_us=80_000_000, side_wait_us=120_000_000)


def errors(told: Told, codes: np.ndarray) -> np.ndarray:
    return told.column(2) - codes[1] * 0.01


def test_the_pipeline_resolves_what_the_node_sent_and_losses_cost_nothing_else():
    made, codes = fleet(), field_codes(2, SAMPLES)
    script = deliveries(made, codes)
    pipeline = Pipeline(made)
    whole = Told.of(run(pipeline, script))
    assert balanced(pipeline) and len(whole.column(2)) == SAMPLES
    assert np.all(whole.flags(2) == RESOLVED)
    assert np.std(errors(whole, codes)) < 1.1 * STEP / np.sqrt(12)

    ours = [at for at, one in enumerate(script) if one.node_id == 2 and packet.peek(one.raw, 1).type == TYPE_DATA]
    gone = {ours[2], ours[3], ours[7]}
    pipeline = Pipeline(made)
    told = Told.of(run(pipeline, [one for at, one in enumerate(script) if at not in gone]))
    concealed = (told.flags(2) & CONCEALED) != 0
    assert balanced(pipeline) and np.count_nonzero(concealed) == len(gone) * SLOTS
    assert np.all(told.flags(2)[~concealed] == RESOLVED)
    assert np.max(np.abs(told.column(2) - whole.column(2))[~concealed]) < 0.01


def test_a_neighbour_gone_wrong_is_noticed_and_then_forgotten():
    model, codes = syndrome_model(), field_codes(2, SAMPLES * 4, seed=3)
    x, y = codes[1], codes[0] * 0.01
    stuck = y.copy()
    span = slice(10 * SLOTS, 20 * SLOTS)
    stuck[span] = y[span.start] + 3.0
    engine, received = Decoder(model), transmit(model.node, x, np.ones(len(x), bool))
    whole, result = (
        engine.reconstruct(engine.initial_state(), received.indices, SideInformation.of(side[:, None]))[0] for side in (y, stuck)
    )
    suspect = (result.flags & SUSPECT != 0).reshape(-1, SLOTS).all(axis=1)
    assert suspect[10:20].all() and not suspect[20:].any() and not suspect[:10].any()
    assert np.array_equal(result.levels[span.stop :], whole.levels[span.stop :])


@pytest.mark.parametrize(("spoil", "status"), [
    (lambda payload: payload[:-1], STATUS_TRUNCATED), (lambda payload: b"", STATUS_TRUNCATED),
    (lambda payload: payload + b"\0", STATUS_TRAILING), (lambda payload: payload[:-1] + bytes([payload[-1] | 1]), STATUS_PADDING),
])  # fmt: skip
def test_payloads_that_are_none(spoil, status):
    node = syndrome_model().node
    codes, present, counts = field_codes(1, SLOTS), np.ones((1, SLOTS), bool), np.array([SLOTS], np.int32)
    payloads, _ = syndrome.encode(node, 0, codes, present, counts, np.zeros(16, np.int32))
    assert 8 * len(payloads[0]) - (SLOTS + 57 + 12) > 0  # some bits of the last byte are filling
    for payload, wanted in ((payloads[0], 0), (spoil(payloads[0]), status)):
        parsed = syndrome.parse(node, 0, np.frombuffer(payload, np.uint8), np.array([0, len(payload)]), counts, present)
        assert parsed["status"][0] == wanted


def test_simulate(tmp_path: Path):
    simulate_with_losses(tmp_path, syndrome_model(), 640)


def test_the_daemon_on_a_capture(tmp_path: Path):
    serve_to_a_step(tmp_path, syndrome_model(), fleet(), 32.0, STEP)
