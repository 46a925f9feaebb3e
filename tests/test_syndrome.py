"""Scheme `syndrome` from source samples to reconstruction: blocks alone, losses, short and damaged ones, design, commands."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import norm

from edge_wz.cli import inspect_payload
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.reconstruction import CONCEALED, RESOLVED, SUSPECT, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError, InputError
from edge_wz.formats import bundle, packet
from edge_wz.model import Model
from firmware_sim import field
from tests.stream_parts import packets_of
from training import design, design_syndrome
from training.data import from_columns
from training.plan import Options, make_plan, make_study
from training.plan_models import as_report, make_models
from training.plan_nested import NestedTrial
from training.plan_study import Candidate, Met
from training.plan_syndrome import try_syndrome
from training.syndrome_trials import Outcome
from training.transmission import Received, transmit, true_levels

LIMIT_FIG5_DB = 17.09  # Wyner-Ziv limit of the SQNR at rate 0; 6.02 dB more for each bit
N = 64


@pytest.fixture(scope="module")
def quick():
    """Fewer trials than a design deserves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design_syndrome, "TRIAL_SAMPLES", 15_000)
        patch.setattr(design_syndrome, "POSITION_SAMPLES", 15_000)
        yield


@pytest.fixture(scope="module")
def made(quick) -> Model:
    return design.from_state_space(
        field.fig5().state_space(), "syndrome", rate=2.0, packet_samples=N, grid=(1 / 2048, 0.0), samples=30_000, side=("y",)
    )  # fmt: skip


def sent(model: Model, samples: int, seed: int = 1, present=None, **options) -> tuple[np.ndarray, Received, SideInformation]:
    stream = field.fig5().generate(samples, seed)
    codes, _ = model.node.to_codes(stream["x"])
    there = np.ones(samples, bool) if present is None else present
    return stream["x"], transmit(model.node, codes, there, **options), SideInformation.of(stream["y"][:, None])


def decode(model: Model, received: Received, side: SideInformation):
    engine = Decoder(model)
    return engine.reconstruct(engine.initial_state(), received.indices, side)


def levels_of(model: Model, x: np.ndarray, present=None) -> np.ndarray:
    codes, _ = model.node.to_codes(x)
    return true_levels(model.node, codes, np.ones(len(x), bool) if present is None else present)


# ---------------------------------------------------------------------------------------------------------- decoding


def test_gap_on_fig5(made):
    """5.9 dB with scalar bins at two bits; 3.9 dB in the benchmark, with room for so few samples."""
    x, received, side = sent(made, N * 600)
    result, _ = decode(made, received, side)
    error = float(np.mean(np.square(result.values - x)))
    bits = received.payload_bits.sum() / len(x)
    assert bits <= 2.0
    assert LIMIT_FIG5_DB + 6.02 * bits - 10 * np.log10(np.var(x) / error) < 4.5


def test_blocks_are_resolved_or_tell(made):
    x, received, side = sent(made, N * 600)
    result, _ = decode(made, received, side)
    wrong = (result.levels != levels_of(made, x)).reshape(-1, N).any(axis=1)
    suspect = (result.flags & SUSPECT != 0).reshape(-1, N)
    assert np.all(suspect.all(axis=1) == suspect.any(axis=1))
    assert np.count_nonzero(wrong & ~suspect.any(axis=1)) <= 4  # a check of 8 bits
    assert 0 < np.mean(wrong) < 0.05


def test_sigmas_are_true(made):
    x, received, side = sent(made, N * 600)
    result, _ = decode(made, received, side)
    good = result.flags == RESOLVED
    errors = np.square(result.values - x)
    assert np.mean(np.square(result.sigmas[good])) == pytest.approx(np.mean(errors[good]), rel=0.05)


def test_splits_between_packets_change_no_bit(made):
    _, received, side = sent(made, N * 20 + 7, loss=0.2)
    whole, after = decode(made, received, side)
    engine = Decoder(made)
    state, parts = engine.initial_state(), []
    for first, last in ((0, 1), (1, 8), (8, 8), (8, 21)):
        piece, span = packets_of(received.indices, first, last)
        part, state = engine.reconstruct(state, piece, side[span])
        parts.append(part)
    for name in ("values", "sigmas", "flags", "levels"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    assert np.array_equal(state, after)


def test_losses_stay_where_they_are(made):
    """Levels of all other packets as without loss, up to the few blocks that fail in one case or the other."""
    x, received, side = sent(made, N * 400)
    clean, _ = decode(made, received, side)
    _, lossy, _ = sent(made, N * 400, loss=0.1, seed=1)
    result, _ = decode(made, lossy, side)
    there = lossy.received
    assert 0.05 < 1 - there.mean() < 0.15
    assert np.all(result.flags[~there] == CONCEALED)
    clear = there & (clean.flags == RESOLVED) & (result.flags == RESOLVED)
    assert clear.sum() > 0.97 * there.sum()
    assert np.array_equal(result.levels[clear], clean.levels[clear])
    assert np.mean(np.square(result.values - x)[clear]) < 1.02 * np.mean(np.square(clean.values - x)[clear])


def test_absent_samples_and_a_short_packet(made):
    samples = N * 40 + 23
    present = np.random.default_rng(3).random(samples) > 0.2
    x, received, side = sent(made, samples, present=present)
    result, _ = decode(made, received, side)
    good = present & (result.flags == RESOLVED)
    assert good.sum() > 0.9 * present.sum()
    assert np.array_equal(result.levels[good], levels_of(made, x, present)[good])
    assert np.all(result.levels[~present] == NO_LEVEL)
    assert result.flags[np.flatnonzero(present)[-1]] & RESOLVED


def test_a_neighbour_that_goes_wrong_is_told(made):
    """Whatever it says, no block is taken for resolved that is not."""
    x, received, side = sent(made, N * 300)
    values = side.values.copy()
    values[N * 100 : N * 200] += 1.5
    result, _ = decode(made, received, SideInformation(values, side.sigmas))
    wrong = (result.levels != levels_of(made, x)).reshape(-1, N).any(axis=1)
    suspect = (result.flags & SUSPECT != 0).reshape(-1, N).any(axis=1)
    assert wrong[100:200].mean() > 0.5
    assert np.count_nonzero(wrong & ~suspect) <= 2
    assert wrong[201:].mean() < 0.05


def test_without_its_neighbour(made):
    """The planes cannot be resolved from the past alone: said so, and close to what the past tells."""
    x, received, side = sent(made, N * 60)
    result, _ = decode(made, received, SideInformation(np.full_like(side.values, np.nan), side.sigmas))
    suspect = result.flags & SUSPECT != 0
    assert suspect.mean() > 0.5
    assert np.mean(np.square(result.values - x)) < 1.1 * np.var(x)


# ------------------------------------------------------------------------------------------------- design and commands


def test_design_says_what_it_is(made, tmp_path):
    point = made.node.rate_points[0]
    row = made.measured["training"][0]
    assert row["bits"] == 2.0 and row["block_failures"] <= design_syndrome.MOST_FAILURES
    assert int(point.sent.sum()) + N * (int(point.modulus).bit_length() - 1) + made.node.block_check_bits == N * 2
    bundle.save(tmp_path / "m.ewz", made)
    again = bundle.load(tmp_path / "m.ewz")
    assert again.model_id == made.model_id
    assert np.array_equal(again.block.density, made.block.density)


def rung(step: float, blocks: int, failed: int) -> design_syndrome.Rung:
    nothing = design_syndrome.Code(0, 1, np.zeros((1, N), np.bool_), 0.0)
    return design_syndrome.Rung(step, nothing, Outcome(blocks, failed, 0, 1.0, 1.0, 1.0, 1.0, 0))


def test_failure_line_reaches_rates_too_rare_to_count():
    rng = np.random.default_rng(5)
    steps = 100 * 1.012 ** np.arange(9)
    true = norm.cdf(-1.0 - 30.0 * np.log(steps / 100))
    for _ in range(20):
        rungs = [rung(step, 3000, int(rng.binomial(3000, chance))) for step, chance in zip(steps, true, strict=True)]
        line = design_syndrome.failure_line(rungs, 1024)
        assert np.all(np.diff(line) < 0)
        assert 1 / 4 < line[-1] / true[-1] < 4  # about one in 60 000


def test_failure_line_hopes_for_no_more_than_the_best_code():
    """One failure at one step would fit a line as steep as you like."""
    rungs = [rung(100.0, 1000, 30), *(rung(step, 1000, 0) for step in (103.0, 106.0))]
    probits = norm.ppf(design_syndrome.failure_line(rungs, 256))
    assert -np.diff(probits) == pytest.approx(np.sqrt(512) * np.diff(np.log([100.0, 103.0, 106.0])), rel=1e-3)
    assert np.all(design_syndrome.failure_line(rungs[1:], 256) > 0)


def test_refusals(quick):
    space = field.fig5().state_space()
    for asked, error in (({"step": 0.1}, InputError), ({"rate": 2.0, "level_check_bits": 8}, InputError), ({"rate": 0.1}, DesignError)):
        with pytest.raises(error):
            design.from_state_space(space, "syndrome", packet_samples=N, grid=(1 / 2048, 0.0), samples=10_000, **asked)
    with pytest.raises(DesignError, match="packets"):
        design.from_state_space(space, "syndrome", rate=2.0, packet_samples=4096, grid=(1 / 2048, 0.0), samples=10_000)


def test_refuses_a_source_that_only_its_own_past_tells(quick):
    """Neighbours leave most open and packets hang together: one that fails takes the next ones with it."""
    rng = np.random.default_rng(3)
    x = np.convolve(rng.standard_normal(40_000), np.ones(40), "same") / 6
    y = x + 2.0 * rng.standard_normal(40_000)
    recording = from_columns({"x": x, "y": y}, 1.0)
    with pytest.raises(DesignError, match="of the packets fail at 1 bits"):
        design.design(recording, "x", ("y",), "syndrome", rate=1.0, packet_samples=N)


def test_inspect_shows_planes(made):
    x = field.fig5().generate(N, 4)["x"]
    codes, _ = made.node.to_codes(x)
    raw = [one for one in NodeEncoder(made.node, 1, period_us=1).encode(codes) if packet.peek(one, 0).type == 0]
    section = inspect_payload.payload_section(made.node, packet.parse_data(raw[0], 0, N))
    names = [row.field for row in section.rows]
    assert "plane 0" in names and "block check" in names
    assert sum(row.bits or 0 for row in section.rows) == pytest.approx(len(packet.parse_data(raw[0], 0, N).payload) * 8)


def test_commands(quick, made, tmp_path):
    """Train on a recording, evaluate on its rest."""
    from training.cli import evaluate, train

    stream = field.fig5().generate(12_000, 8)
    lines = ["x,y", *(f"{a:.4f},{b:.4f}" for a, b in zip(stream["x"], stream["y"], strict=True))]
    (tmp_path / "r.csv").write_text("\n".join(lines) + "\n")
    out = str(tmp_path / "m.ewz")
    recording = str(tmp_path / "r.csv")
    found = CliRunner().invoke(
        train, [recording, "--source", "x", "--side", "y", "--scheme", "syndrome", "--block", "128", "--rate", "2.5", "--out", out,
                "--first-half", "--json"],
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    found = CliRunner().invoke(evaluate, [out, "--data", recording, "--second-half", "--no-baselines", "--json"])
    assert found.exit_code == 0, found.output
    report = json.loads(found.output)["nodes"][0]
    assert report["payload_bits_per_sample"] <= 2.52
    assert LIMIT_FIG5_DB + 15.05 - report["sqnr_db"] < 4.6
    assert report["bin_error_rate"] < 0.05


# -------------------------------------------------------------------------------------------------------------- plan


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    stream = field.fig5().generate(1024, 3)
    return {name: np.round(np.asarray(stream[name]), 3) for name in ("x", "y")}


def test_plan_says_why_not(columns):
    recording = from_columns(columns, 1.0)
    cheap = Met(Candidate(), 100.0, 50.0, np.full(4, 8.0))
    for size, side, reason in ((32, ("y",), "too short"), (N, (), "no neighbour"), (N, ("y",), "needs at least")):
        study = make_study(recording, "x", Options("rmse", 0.1, packet_samples=size))
        assert reason in try_syndrome(study, recording, cheap.rmse, cheap, side, columns).reason


def test_plan_adopts_what_was_measured_cheaper(quick, columns, monkeypatch):
    """The measurement is made up; the choice and the model are not."""

    def cheap(study, recording, rmse, met, side, decoded):
        if not side:
            return NestedTrial("no neighbour")
        return NestedTrial("measured", 0.2 / study.material.scale, rmse, met.bits / 2, study.material.values, 2.0)

    monkeypatch.setattr("training.plan_schemes.try_syndrome", cheap)
    made = make_plan(from_columns(columns, 1.0), ["x", "y"], Options("rmse", 0.05, packet_samples=N, schemes=("predictive", "syndrome")))
    make_models(made)
    assert [made.models[name].node.scheme for name in made.order] == ["predictive", "syndrome"]
    user = made.models[made.order[-1]]
    assert user.side == made.choices[user.source].candidate.side
    assert as_report(made)["nodes"][1]["rate"] == 2.0
