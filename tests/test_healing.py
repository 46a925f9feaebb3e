"""A Kalman decoder that follows a wrong candidate is brought back by the level check, and says so."""

import numpy as np
import pytest

from edge_wz.codec import nested, schemes
from edge_wz.codec.indices import StreamIndices, flatten
from edge_wz.codec.reconstruction import SUSPECT, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats import blob
from edge_wz.kernels.nested_quantizer import STATE_SLOTS
from edge_wz.model import Model, StateSpace

PACKET, PACKETS = 32, 60
STEP, MODULUS = 16, 8


def walk_model(check_bits: int) -> Model:
    """A slow walk of its own around a common one that the neighbour sees: own past outweighs the neighbour."""
    node = blob.make_nested(PACKET, 64, check_bits, 1.0, 0.0, [(MODULUS, 19, 1 << 18, [(1 << 19) // STEP])])
    A = np.diag([0.9999, 0.9999])
    C = np.array([[1.0, 1.0], [1.0, 0.0]])
    Q = np.diag([25.0, 1.0])
    R = np.diag([4.0, 4.0])
    return Model(node, "kalman", side=("y",), state_space=StateSpace(A, C, Q, np.zeros((2, 2)), R, np.zeros(2)))


def run(seed: int):
    rng = np.random.default_rng(seed)
    samples = PACKET * PACKETS
    common, own = np.cumsum(rng.normal(0, 5, samples)), np.cumsum(rng.normal(0, 1, samples))
    # a jump that the model does not foresee: one modulus and a bit
    own[20 * PACKET + 5 :] += STEP * MODULUS + 30
    x = np.rint(common + own + rng.normal(0, 2, samples)).clip(-32000, 32000).astype(np.int16)
    return x, common + rng.normal(0, 2, samples)


def stream(model: Model, x: np.ndarray) -> StreamIndices:
    codes = x.reshape(PACKETS, PACKET)
    present, counts = np.ones(codes.shape, dtype=bool), np.full(PACKETS, PACKET, dtype=np.int32)
    payloads, _ = nested.encode(model.node, 0, codes, present, counts, np.zeros(STATE_SLOTS, dtype=np.int32))
    rates = np.zeros(PACKETS, dtype=np.int32)
    return flatten(schemes.parse(model.node, payloads, rates, counts, None))


def decode(model: Model, indices: StreamIndices, y: np.ndarray):
    decoder = Decoder(model)
    return decoder.reconstruct(decoder.initial_state(), indices, SideInformation.of(y))[0]


def wrong(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.abs(values - x) > STEP * MODULUS / 2


@pytest.mark.parametrize("seed", range(4))
def test_follows_again_after_a_jump(seed):
    x, y = run(seed)
    checked, blind = walk_model(8), walk_model(0)
    late = slice(24 * PACKET, None)
    assert wrong(x, decode(blind, stream(blind, x), y).values)[late].mean() > 0.5
    result = decode(checked, stream(checked, x), y)
    assert wrong(x, result.values)[late].mean() < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_never_wrong_without_saying_so(seed):
    """An 8-bit check misses one wrong packet in 256; here there are few enough that none may slip through."""
    x, y = run(seed)
    model = walk_model(8)
    result = decode(model, stream(model, x), y)
    assert not np.any(wrong(x, result.values) & ((result.flags & SUSPECT) == 0))


def test_changes_nothing_while_checks_pass():
    x, y = run(0)
    part = slice(0, 16 * PACKET)
    checked, blind = walk_model(8), walk_model(0)
    a, b = (decode(model, stream(model, x), y) for model in (checked, blind))
    np.testing.assert_array_equal(a.values[part], b.values[part])


@pytest.mark.parametrize("cut_at", [1, 20, 21, 33])
def test_splits_at_packets_bit_for_bit(cut_at):
    x, y = run(1)
    model = walk_model(8)
    whole, decoder = stream(model, x), Decoder(model)
    result = decode(model, whole, y)
    state, parts = decoder.initial_state(), []
    for span, packets in ((slice(0, cut_at * PACKET), slice(0, cut_at)), (slice(cut_at * PACKET, None), slice(cut_at, None))):
        part = StreamIndices(
            whole.values[span], whole.rate_points[span], whole.packet_starts[packets] - span.start, whole.checks[packets]
        )
        out, state = decoder.reconstruct(state, part, SideInformation.of(y[span]))
        parts.append(out)
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), result.values)
    np.testing.assert_array_equal(np.concatenate([part.flags for part in parts]), result.flags)
