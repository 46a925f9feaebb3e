"""Evaluation: the same numbers as counting by hand, whatever is lost or absent; cutting a stream changes nothing."""

import numpy as np
import pytest

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.reconstruction import CONCEALED, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import InputError
from edge_wz.formats import blob
from edge_wz.model import Model
from firmware_sim.field import fig5
from training import baselines, evaluate, report
from training.data import from_columns
from training.state_space import source_in_codes
from training.transmission import transmit, true_levels

SCALE = 2.0**-12
T = 6000


def nested_model(modulus=4, step=0.245, packet_samples=32, level_check_bits=0):
    tap = round(2**20 / (step / SCALE))
    node = blob.make_nested(packet_samples, 64, level_check_bits, SCALE, 0.0, [(modulus, 20, 1 << 19, [tap])])
    space = source_in_codes(fig5().state_space(), SCALE, 0.0)
    return Model(node, "kalman", side=("y",), state_space=space, name="n1")


def recording(samples=T, seed=1, absent=0.0):
    columns = {name: values.copy() for name, values in fig5().generate(samples, seed).items()}
    columns["x"][np.random.default_rng(seed).random(samples) < absent] = np.nan
    return from_columns(columns, 1.0)


def only(made):
    assert len(made["nodes"]) == 1
    return made["nodes"][0]


def test_bits_and_fidelity_of_plain_nested():
    node = only(evaluate.evaluate_bundle(nested_model(), recording(), with_baselines=()))
    assert node["samples"] == T and node["concealed"] == 0
    assert node["payload_bits_per_sample"] == pytest.approx(2.0, abs=0.01)
    data_packets, hellos = 188, 4  # the last one short; at boot, after 64 and 128 packets, at the end
    on_air = node["packet_bits_per_sample"] * node["samples"]
    assert on_air == pytest.approx(2 * T + 32 * data_packets + 24 + 312 * hellos, abs=0.01)
    assert node["sqnr_db"] == pytest.approx(23.1, abs=0.6)
    assert 0 < node["bin_error_rate"] < 0.01
    assert node["flags"]["resolved"] == T and node["flags"]["absent"] == 0


def test_the_level_check_and_the_shared_link_are_paid_for():
    plain = only(evaluate.evaluate_bundle(nested_model(), recording(), with_baselines=()))
    checked = only(evaluate.evaluate_bundle(nested_model(level_check_bits=8), recording(), with_baselines=()))
    shared = only(evaluate.evaluate_bundle(nested_model(), recording(), link="shared", with_baselines=()))
    assert checked["payload_bits_per_sample"] - plain["payload_bits_per_sample"] == pytest.approx(8 * 188 / T)
    assert checked["flags"]["suspect"] >= plain["flags"]["suspect"]
    assert shared["packet_bits_per_sample"] > plain["packet_bits_per_sample"] + 8 / 32
    assert shared["rmse"] == plain["rmse"]


def test_losses_are_concealed_and_counted():
    made = recording()
    whole = only(evaluate.evaluate_bundle(nested_model(), made, with_baselines=()))
    lossy = only(evaluate.evaluate_bundle(nested_model(), made, loss=0.2, seed=3, with_baselines=()))
    again = only(evaluate.evaluate_bundle(nested_model(), made, loss=0.2, seed=3, with_baselines=()))
    assert lossy == again
    assert 0.1 * T < lossy["concealed"] < 0.3 * T
    assert lossy["flags"]["resolved"] + lossy["concealed"] == T
    assert lossy["payload_bits_per_sample"] == whole["payload_bits_per_sample"]
    assert lossy["rmse"] > whole["rmse"]


def test_absent_samples_cost_nothing_and_come_out_absent():
    made = recording(absent=0.1)
    absent = int(np.isnan(made.columns["x"]).sum())
    node = only(evaluate.evaluate_bundle(nested_model(), made, with_baselines=()))
    assert node["samples"] == T - absent and node["flags"]["absent"] == absent
    assert node["flags"]["resolved"] == node["samples"]
    assert node["payload_bits_per_sample"] == pytest.approx(2.0, abs=0.15)  # packets are filled to whole bytes


def test_absent_and_lost_together_leave_no_sample_unaccounted():
    made = recording(absent=0.1)
    node = only(evaluate.evaluate_bundle(nested_model(), made, loss=0.3, with_baselines=()))
    slots = node["flags"]["resolved"] + node["flags"]["absent"] + node["flags"]["concealed"]
    assert slots == T
    assert node["concealed"] <= node["flags"]["concealed"]


def test_every_decoder_reads_the_same_packets():
    model = nested_model()
    made = evaluate.evaluate_bundle(model, recording(), decoders=["kalman", "kalman"], with_baselines=())
    assert made["nodes"][0] == made["nodes"][1]


def test_missing_neighbours_cost_quality_and_no_bits():
    made = recording()
    alone = from_columns({"x": made.columns["x"], "y": np.full(T, np.nan)}, 1.0)
    with_side = only(evaluate.evaluate_bundle(nested_model(), made, with_baselines=()))
    without = only(evaluate.evaluate_bundle(nested_model(), alone, with_baselines=()))
    assert without["payload_bits_per_sample"] == with_side["payload_bits_per_sample"]
    assert without["sqnr_db"] < with_side["sqnr_db"] - 3


def test_cutting_the_stream_changes_nothing(monkeypatch):
    model, made = nested_model(), recording()
    source = evaluate.Source.of(model, made, "x")
    sent = transmit(model.node, source.codes, source.present, loss=0.1)
    side = SideInformation.of(made.columns["y"])
    whole = evaluate.reconstruct(Decoder(model), sent.indices, side)
    for chunk in (1, 700, T - 1):
        monkeypatch.setattr(evaluate, "CHUNK_SAMPLES", chunk)
        parts = evaluate.reconstruct(Decoder(model), sent.indices, side)
        assert np.array_equal(parts.values, whole.values) and np.array_equal(parts.flags, whole.flags)


def test_lost_packets_are_runs_of_nothing_known():
    model, made = nested_model(), recording()
    source = evaluate.Source.of(model, made, "x")
    whole = transmit(model.node, source.codes, source.present)
    lossy = transmit(model.node, source.codes, source.present, loss=0.5, seed=1)
    assert np.array_equal(lossy.indices.values == NO_LEVEL, ~lossy.received)
    assert np.array_equal(lossy.indices.values[lossy.received], whole.indices.values[lossy.received])
    assert np.array_equal(lossy.packet_bits, whole.packet_bits)
    bins = (true_levels(model.node, source.codes, source.present) + 32768) % 4
    assert np.array_equal(whole.indices.values, bins)


def test_everything_lost_is_everything_concealed():
    model, made = nested_model(), recording(640)
    source = evaluate.Source.of(model, made, "x")
    sent = transmit(model.node, source.codes, source.present, loss=0.9999)
    result = evaluate.reconstruct(Decoder(model), sent.indices, SideInformation.of(made.columns["y"]))
    assert np.all(result.flags & CONCEALED)


def test_another_packet_length_is_another_model_with_the_same_tables():
    model = nested_model()
    longer = evaluate.with_packet_samples(model, 64)
    assert longer.node.packet_samples == 64 and longer.model_id != model.model_id
    assert evaluate.with_packet_samples(longer, 32).model_id == model.model_id
    assert evaluate.with_packet_samples(model, None) is model


def test_rivals_meet_the_rmse_in_the_same_packets():
    node = only(evaluate.evaluate_bundle(nested_model(), recording(), with_baselines=("hold", "dpcm_rice")))
    overhead = node["packet_bits_per_sample"] - node["payload_bits_per_sample"]
    for rival in node["baselines"].values():
        assert rival["rmse"] == pytest.approx(node["rmse"], rel=0.01)
        assert rival["packet_bits_per_sample"] - rival["payload_bits_per_sample"] == pytest.approx(overhead)
        assert rival["payload_bits_per_sample"] > 2.5


def test_rivals_are_measured_against_the_decoder_without_losses():
    made = recording()
    whole = only(evaluate.evaluate_bundle(nested_model(), made, with_baselines=("dpcm_rice",)))
    lossy = only(evaluate.evaluate_bundle(nested_model(), made, loss=0.2, with_baselines=("dpcm_rice",)))
    assert lossy["baselines"] == whole["baselines"]


def test_bad_arguments_are_said_in_one_line():
    for wrong in ({"loss": 1.0}, {"side": "guessed"}, {"link": "radio"}, {"decoders": ["oracle"]}):
        with pytest.raises(InputError) as caught:
            evaluate.evaluate_bundle(nested_model(), recording(640), with_baselines=(), **wrong)
        assert "\n" not in str(caught.value)


def test_bootstrap_covers_the_ratio():
    rng = np.random.default_rng(1)
    theirs = rng.integers(50, 90, 400) * 8
    ours = 0.9 * theirs + rng.normal(0, 20, 400)
    ratio, low, high = evaluate.bootstrap_ratio(ours, theirs)
    assert low < ratio < high and low > 0.88 and high < 0.92
    assert evaluate.bootstrap_ratio(theirs[:3], theirs[:3]) == (1.0, 1.0, 1.0)


def test_report_as_text_and_json():
    made = evaluate.evaluate_bundle(nested_model(), recording(), with_baselines=("hold",))
    text = report.evaluation(made)
    assert "hold" in text and "n1" in text
    lines = text.splitlines()
    assert len(lines[1]) >= len(lines[0].rstrip()) and set(lines[1]) == {"-", " "}
    assert '"nodes"' in report.to_json(made)
    strange = {"a": float("inf"), "b": np.float64(2.0), "c": (np.int64(1),)}
    assert report.plain(strange) == {"a": None, "b": 2.0, "c": [1]}


def test_names_of_the_rivals():
    assert baselines.NAMES == ("hold", "dpcm_rice", "dpcm_range", "modulo")
