"""Scheme predictive: numba against the reference on random models, any payload, and the promised maximum error."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wz.formats.sections.predictive import reciprocal
from edge_wz.kernels import predictor
from edge_wz.kernels.status import STATUS_COUNT, STATUS_NO_SPACE
from tests import kernel_driver, reference_driver
from tests.vector_cases.predictive import predictive_model

codes = st.one_of(st.integers(-300, 300), st.integers(-32768, 32767), st.sampled_from([-32768, 32767]))
samples = st.lists(st.tuples(codes, st.integers(0, 9).map(lambda v: int(v > 0))), min_size=1, max_size=50)


@st.composite
def models(draw):
    step_q8 = draw(st.one_of(st.integers(256, 4096), st.integers(256, 1 << 24), st.just(1 << 24)))
    rounding_q8 = draw(st.one_of(st.just(step_q8 // 2), st.integers(0, step_q8 - 1)))
    rng = random.Random(draw(st.integers(0, 10**6)))
    return predictive_model(
        rng, draw(st.integers(0, 6)), step_q8, rounding_q8, draw(st.integers(1, 8)), draw(st.integers(1, 9))
    )


@given(models(), samples)
@settings(max_examples=120, deadline=None)
def test_equal_to_reference(model, run):
    case = {**model, "codes": [code for code, _ in run], "present": [here for _, here in run]}
    assert kernel_driver.predictive_encode(case) == reference_driver.predictive_encode(case)


@given(models(), st.binary(max_size=60), st.lists(st.booleans(), min_size=1, max_size=20))
@settings(max_examples=120, deadline=None)
def test_any_payload_parses_as_in_the_reference(model, payload, present):
    expected = reference_driver.predictive_parse(model, payload, present)
    assert kernel_driver.predictive_parse(model, payload, present) == expected


def near_lossless_model(error: int) -> dict:
    step_q8 = 256 * (2 * error + 1)
    return predictive_model(random.Random(error), 6, step_q8, step_q8 // 2, 2, 4)


@pytest.mark.parametrize("error", [0, 1, 2, 7, 100, 5000, 32767])
def test_maximum_error_holds_for_every_source(error):
    """Odd steps: |x - xr| <= e, for steady, jumping, saturating and random sources alike."""
    rng = np.random.default_rng(error)
    rows = [rng.integers(-32768, 32768, 64) for _ in range(20)]
    rows += [rng.choice([-32768, 32767, 0], 64) for _ in range(20)]
    rows += [np.full(64, value) for value in (-32768, -32767, -1, 0, 32766, 32767)]
    rows += [np.cumsum(rng.integers(-9, 10, 64)) for _ in range(20)]
    block = np.array(rows).astype(np.int16)
    model = predictor.flatten_predictive(kernel_driver.node_model(near_lossless_model(error), 64), 0)
    out, sizes = np.zeros((len(block), 400), dtype=np.uint8), np.zeros(len(block), dtype=np.int32)
    recon, counts = np.zeros_like(block), np.full(len(block), 64, dtype=np.int32)
    assert predictor.encode_packets(block, np.ones(block.shape, np.bool_), counts, model, out, sizes, recon) == 0
    assert np.abs(block.astype(np.int64) - recon).max() <= error


def test_maximum_error_over_all_predictions_and_sources_near_the_ends():
    """The closed loop only ever sees (pred, x): every pair within 300 of an end, in the reference's arithmetic."""
    ends = np.concatenate((np.arange(-32768, -32468), np.arange(32468, 32768)))
    for error in (0, 1, 3, 50, 32767):
        step_q8 = 256 * (2 * error + 1)
        d = ends[:, None] - ends[None, :]
        magnitude = (np.abs(d) * 256 + step_q8 // 2) // step_q8
        recon = np.clip(ends[None, :] + np.sign(d) * ((magnitude * step_q8 + 128) >> 8), -32768, 32767)
        assert np.abs(ends[:, None] - recon).max() <= error


def test_a_full_buffer_or_a_wrong_count_is_a_status():
    case = near_lossless_model(0)
    model = predictor.flatten_predictive(kernel_driver.node_model(case, 4), 0)
    block, present = np.array([[32767, -32768, 32767, -32768]], dtype=np.int16), np.ones((1, 4), dtype=np.bool_)
    guarded, sizes = np.full((1, 40), 0xA5, dtype=np.uint8), np.zeros(1, dtype=np.int32)
    counts = np.array([4], dtype=np.int32)
    assert predictor.encode_packets(block, present, counts, model, guarded[:, :3], sizes, np.zeros_like(block)) == 1
    assert sizes[0] == STATUS_NO_SPACE and (guarded[:, 3:] == 0xA5).all()
    levels, preds, recon = np.zeros((3, 1, 4), dtype=np.int32)
    status = np.zeros(1, dtype=np.int32)
    offsets, counts = np.array([0, 3], dtype=np.int64), np.array([5], dtype=np.int32)
    predictor.decode_packets(guarded[0], offsets, present, counts, model, levels, preds, recon, status)
    assert status[0] == STATUS_COUNT


@given(st.integers(256, 1 << 24), st.integers(0, 65535), st.floats(0, 1, exclude_max=True))
@settings(max_examples=400, deadline=None)
def test_division_without_divide_starts_at_most_eight_short(step_q8, magnitude, part):
    """SPEC 4.1, machines without divide."""
    recip, recip_shift = reciprocal(step_q8)
    v = magnitude * 256 + int(part * step_q8)
    q = ((v >> 9) * recip) >> recip_shift
    assert (v >> 9) * recip < 2**31
    assert 0 <= v // step_q8 - q <= 8
