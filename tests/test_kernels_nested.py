"""The nested quantizer: numba against the reference on any model that a loader accepts, and any bytes for a payload."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wz.kernels import nested_quantizer as kernel
from edge_wz.kernels.nested_quantizer import NO_LEVEL, STATE_SATURATED, STATE_SLOTS
from edge_wz.kernels.status import STATUS_COUNT, STATUS_NO_SPACE, STATUS_PADDING, STATUS_TRAILING, STATUS_TRUNCATED
from tests import kernel_driver, reference_driver

codes = st.one_of(st.integers(-32768, 32767), st.sampled_from([-32768, -32767, -1, 0, 1, 32766, 32767]))
powers = st.integers(1, 15).map(lambda bits: 1 << bits)
moduli = st.one_of(st.integers(2, 4096), powers)
samples = st.lists(st.tuples(codes, st.integers(0, 9).map(lambda v: int(v > 0))), min_size=1, max_size=80)


@st.composite
def models(draw):
    """Taps and rounding at every scale, up to the int32 bound of SPEC 5.3."""
    count = draw(st.integers(1, 16))
    largest = 65535 // count
    taps = draw(st.lists(st.integers(-largest, largest), min_size=count, max_size=count))
    room = 2**31 - 1 - 32768 * sum(map(abs, taps))
    return {
        "taps": taps, "rounding": draw(st.integers(-room, room)), "shift": draw(st.integers(0, 30)),
        "modulus": draw(moduli), "check_bits": draw(st.sampled_from([0, 4, 8])),
        "packet_samples": draw(st.integers(1, 40)),
    }  # fmt: skip


@given(models(), samples)
@settings(max_examples=300, deadline=None)
def test_equal_to_reference(model, run):
    case = {**model, "codes": [code for code, _ in run], "present": [here for _, here in run]}
    assert kernel_driver.nested_encode(case) == reference_driver.nested_encode(case)


@given(models(), st.lists(codes, min_size=1, max_size=80), st.data())
@settings(max_examples=150, deadline=None)
def test_state_crosses_calls(model, run, data):
    """Any split of a stream gives the bins of the whole."""
    taps, values = np.array(model["taps"], dtype=np.int32), np.array(run, dtype=np.int16)
    cut = data.draw(st.integers(0, len(run)))
    whole = quantize([values], taps, model)
    assert np.array_equal(quantize([values[:cut], values[cut:]], taps, model), whole)


def quantize(parts: list[np.ndarray], taps: np.ndarray, model: dict) -> np.ndarray:
    """Bins, turns and the last state of consecutive parts, in one row."""
    state = np.zeros(STATE_SLOTS, dtype=np.int32)
    rows, saturated = [], 0
    for part in parts:
        bins, turns = np.zeros((2, len(part)), dtype=np.int32)
        saturated += kernel.quantize_stream(
            part, np.ones(len(part), dtype=np.bool_), taps, model["shift"], model["rounding"], model["modulus"], state,
            bins, turns,
        )  # fmt: skip
        rows.append(np.stack((bins, turns)))
    assert state[STATE_SATURATED] == saturated
    return np.concatenate((np.concatenate(rows, axis=1).ravel(), state))


@given(st.binary(max_size=24), st.lists(st.booleans(), min_size=1, max_size=20), moduli, st.sampled_from([0, 4, 8]))
@settings(max_examples=300, deadline=None)
def test_any_payload_parses_as_in_the_reference(payload, present, modulus, check_bits):
    expected = reference_driver.nested_parse(payload, present, modulus, check_bits)
    assert kernel_driver.nested_parse(payload, present, modulus, check_bits) == expected


def unpack_status(payload: bytes, count: int, modulus: int, check_bits: int) -> int:
    bins = np.zeros((1, 8), dtype=np.int32)
    check, status = np.zeros((2, 1), dtype=np.int32)
    kernel.unpack_packets(
        np.frombuffer(payload, dtype=np.uint8), np.array([0, len(payload)], dtype=np.int64),
        np.ones((1, 8), dtype=np.bool_), np.array([count], dtype=np.int32), modulus, check_bits, bins, check, status,
    )  # fmt: skip
    assert status[0] == 0 or ((bins == NO_LEVEL).all() and check[0] == -1)
    return int(status[0])


def test_statuses_say_what_is_wrong():
    assert unpack_status(b"\x12\x34", 4, 16, 0) == 0
    assert unpack_status(b"\x12", 4, 16, 0) == STATUS_TRUNCATED
    assert unpack_status(b"\x12\x34\x00", 4, 16, 0) == STATUS_TRAILING
    assert unpack_status(b"\x12\x31", 3, 16, 0) == STATUS_PADDING
    assert unpack_status(b"\x12\x30", 3, 16, 0) == 0
    assert unpack_status(b"\x12\x30", 9, 16, 0) == STATUS_COUNT
    assert unpack_status(b"", -1, 16, 0) == STATUS_COUNT


@pytest.mark.parametrize("modulus", [2, 32768, 3, 4095])
def test_too_small_a_buffer_is_told_and_not_overrun(modulus):
    bins = np.full((1, 9), modulus - 1, dtype=np.int32)
    turns, sizes = np.zeros_like(bins), np.zeros(1, dtype=np.int32)
    kernel.pack_packets(bins, turns, modulus, 8, np.zeros((1, 60), dtype=np.uint8), sizes)
    for room in range(int(sizes[0])):
        guarded, found = np.full((1, 60), 0xA5, dtype=np.uint8), np.zeros(1, dtype=np.int32)
        kernel.pack_packets(bins, turns, modulus, 8, guarded[:, :room], found)
        assert found[0] == STATUS_NO_SPACE and (guarded[:, room:] == 0xA5).all()


def test_division_by_a_reciprocal_is_exact():
    """SPEC 3.1, machines without divide: every u, every J that is no power of two."""
    u = np.arange(65536, dtype=np.uint64)
    for modulus in range(3, 4096):
        if modulus & (modulus - 1) == 0:
            continue
        products = u * np.uint64(65536 // modulus + 1)
        q = products >> np.uint64(16)
        q -= q * np.uint64(modulus) > u
        assert products[-1] < 2**32 and np.array_equal(q, u // np.uint64(modulus)), modulus
