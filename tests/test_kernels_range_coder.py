"""The range coder: numba against the reference, round trips, the shortest finish, the size against constriction."""

import itertools

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wz.kernels import range_coder as kernel
from edge_wz.kernels.status import STATUS_CODE, STATUS_NO_SPACE, STATUS_OK, STATUS_TRAILING
from tests import kernel_driver, reference_driver
from tests.reference import range_coder as reference


@st.composite
def symbol_steps(draw):
    bits = draw(st.integers(0, 16))
    start = draw(st.integers(0, 2**bits - 1))
    return [start, draw(st.integers(1, 2**bits - start)), bits]


@st.composite
def plain_steps(draw):
    bits = draw(st.integers(0, 16))
    return [draw(st.integers(0, 2**bits - 1)), bits]


edges = st.sampled_from([[0, 1, 16], [65535, 1, 16], [0, 65535, 16], [1, 65535, 16], [32767, 2, 16], [0, 1, 0]])
step_lists = st.lists(st.one_of(edges, symbol_steps(), plain_steps()), max_size=60)


@given(step_lists)
@settings(max_examples=300, deadline=None)
def test_round_trip_and_equal_to_reference(steps):
    case = {"steps": steps, "payload": reference_driver.range_encode({"steps": steps})}
    assert kernel_driver.range_encode(case) == case["payload"]
    assert kernel_driver.range_decode(case) == reference_driver.range_decode(case)
    for step, found in zip(steps, kernel_driver.range_decode(case), strict=True):
        assert found == step[0] if len(step) == 2 else step[0] <= found < step[0] + step[1]


def decodes_to(payload: bytes, steps: list[list[int]]) -> bool:
    """Whether these bytes say these symbols."""
    try:
        found = reference_driver.range_decode({"steps": steps, "payload": payload.hex()})
    except reference.Malformed:
        return False
    return all(step[0] <= value < step[0] + step[1] for step, value in zip(steps, found, strict=True))


@given(st.lists(st.one_of(edges, symbol_steps()), max_size=4))
@settings(max_examples=100, deadline=None)
def test_no_shorter_payload_says_the_same(steps):
    payload = bytes.fromhex(kernel_driver.range_encode({"steps": steps}))
    assert decodes_to(payload, steps)
    for length in range(min(len(payload), 2)):
        for shorter in itertools.product(range(256), repeat=length):
            assert not decodes_to(bytes(shorter), steps)
    if len(payload) > 2:  # too many to try: only the neighbours of the truncated payload lie near the interval
        head = int.from_bytes(payload[:-1], "big")
        for value in (head, head + 1, head - 1):
            if 0 <= value < 256 ** (len(payload) - 1):
                assert not decodes_to(value.to_bytes(len(payload) - 1, "big"), steps)


def random_table(rng: np.random.Generator, symbols: int, total_bits: int) -> np.ndarray:
    inner = np.sort(rng.choice(np.arange(1, 1 << total_bits), symbols - 1, replace=False))
    return np.concatenate(([0], inner, [1 << total_bits])).astype(np.int32)


def encode_rows(symbols: np.ndarray, cdf: np.ndarray, total_bits: int, room: int) -> tuple[np.ndarray, np.ndarray]:
    out = np.zeros((len(symbols), room), dtype=np.uint8)
    sizes = np.zeros(len(symbols), dtype=np.int32)
    kernel.encode_batch(symbols, cdf, total_bits, out, sizes)
    return out, sizes


@pytest.mark.parametrize("symbols, total_bits", [(2, 8), (3, 14), (40, 12), (200, 8), (256, 8), (4000, 15), (5, 16)])
def test_batches_round_trip(symbols, total_bits):
    rng = np.random.default_rng(symbols)
    cdf = random_table(rng, symbols, total_bits)
    values = rng.integers(0, symbols, (50, 37)).astype(np.int32)
    out, sizes = encode_rows(values, cdf, total_bits, 120)
    data = np.concatenate([row[:size] for row, size in zip(out, sizes, strict=True)])
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    found, status = np.full_like(values, -1), np.full(50, 9, dtype=np.int32)
    table = np.concatenate((kernel.make_lookup(cdf, total_bits), cdf))
    kernel.decode_batch(data, offsets, table, total_bits, found, status)
    assert (status == STATUS_OK).all() and np.array_equal(found, values)


def test_too_small_a_buffer_is_told_and_not_overrun():
    cdf = np.array([0, 1, 1 << 16], dtype=np.int32)
    values = np.array([[0] * 7 + [1]], dtype=np.int32)
    _, sizes = encode_rows(values, cdf, 16, 40)
    for room in range(sizes[0]):
        guarded = np.full((1, 40), 0xA5, dtype=np.uint8)
        found = np.zeros(1, dtype=np.int32)
        kernel.encode_batch(values, cdf, 16, guarded[:, :room], found)
        assert found[0] == STATUS_NO_SPACE or not sizes[0] > room
        assert (guarded[:, room:] == 0xA5).all()


@given(st.binary(max_size=40), st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_any_bytes_decode_or_are_refused_as_in_the_reference(payload, count):
    cdf = np.array([0, 1, 100, 4000, 4096], dtype=np.int32)
    table = np.concatenate((kernel.make_lookup(cdf, 12), cdf))
    data = np.frombuffer(b"\xa5" * 3 + payload + b"\xa5" * 3, dtype=np.uint8)
    found, status = np.zeros((1, count), dtype=np.int32), np.zeros(1, dtype=np.int32)
    kernel.decode_batch(data, np.array([3, 3 + len(payload)], dtype=np.int64), table, 12, found, status)
    try:
        coder = reference.Decoder(payload)
        expected = [coder.symbol(cdf.tolist(), 12) for _ in range(count)]
        coder.finish()
    except reference.Malformed as error:
        assert status[0] == {"code": STATUS_CODE, "trailing": STATUS_TRAILING}[str(error)]
    else:
        assert status[0] == STATUS_OK and found[0].tolist() == expected


@pytest.mark.parametrize("sigma", [0.5, 2.0, 8.0])
def test_size_against_constriction(sigma):
    """On one long run both lose nothing but the end, where we spend at most what its 32-bit words do."""
    rng = np.random.default_rng(7)
    weights = np.exp(-0.5 * (np.arange(41) - 20.0) ** 2 / sigma**2)
    sizes = np.maximum(1, np.round(weights / weights.sum() * 4000)).astype(np.int64)
    sizes[20] += 4096 - sizes.sum()
    cdf = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    values = rng.choice(41, (1, 50_000), p=sizes / 4096).astype(np.int32)
    _, ours = encode_rows(values, cdf, 12, 100_000)
    oracle = constriction.stream.queue.RangeEncoder()
    oracle.encode(values[0], constriction.stream.model.Categorical(sizes / 4096, perfect=True))
    entropy_bytes = -np.log2(sizes / 4096)[values[0]].sum() / 8
    assert entropy_bytes < ours[0] + 1
    assert ours[0] <= 1.0005 * 4 * len(oracle.get_compressed())
    assert ours[0] <= 1.0005 * entropy_bytes + 1
