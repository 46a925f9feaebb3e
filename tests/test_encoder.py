"""A node's packets: they parse back to what the reference says; hellos, short packets and counters come when due."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wz.codec import indices, schemes
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.indices import Indices
from edge_wz.errors import InputError
from edge_wz.formats import blob, packet
from edge_wz.kernels.nested_quantizer import NO_LEVEL
from edge_wz.model import NodeModel
from tests import reference_driver
from tests.kernel_driver import node_model
from tests.reference import nested as reference
from tests.vector_cases.predictive import predictive_model

N = 16
POINTS = [(4, 12, 2048, [300, -40]), (5, 12, 2048, [300, -40]), (2, 9, 0, [7, 1])]
NESTED = blob.make_nested(N, 5, 4, 0.01, 20.0, POINTS)


@dataclass
class Received:
    """A receiver that loses nothing: it checks every packet in the context of the last hello."""

    model: NodeModel
    shared: bool = False

    def __post_init__(self) -> None:
        self.hellos: list[packet.Hello] = []
        self.kinds = ""
        self.packets: list[packet.DataPacket] = []
        self.first_indices: list[int] = []
        self.counter = 0
        self.context: packet.Context | None = None

    def feed(self, packets: list[bytes]) -> "Received":
        for raw in packets:
            node_id, offset = packet.split_node_id(raw) if self.shared else (7, 0)
            assert node_id == 7
            if packet.peek(raw, offset).type == 1:
                self._hello(packet.parse_hello(raw, offset))
            else:
                self._data(raw, offset)
        return self

    def _hello(self, hello: packet.Hello | packet.PacketStatus) -> None:
        assert isinstance(hello, packet.Hello)
        self.kinds += "h"
        self.hellos.append(hello)
        self.counter = hello.packet_counter
        self.context = packet.Context.of(hello, self.model.packet_samples, self.shared)

    def _data(self, raw: bytes, offset: int) -> None:
        assert self.context is not None and packet.check_data(raw, self.context.seed(self.counter))
        fields = packet.parse_data(raw, offset, self.model.packet_samples)
        assert isinstance(fields, packet.DataPacket) and fields.sequence == self.counter & 0xFF
        self.kinds += "s" if fields.count is not None else "d"
        self.packets.append(fields)
        self.first_indices.append(self.context.first_index(self.counter, self.model.packet_samples))
        self.counter += 1

    def parse(self) -> Indices:
        slots = self.model.packet_samples
        present = np.zeros((len(self.packets), slots), dtype=np.bool_)
        for row, fields in zip(present, self.packets, strict=True):
            here = packet.present_slots(fields, slots)
            row[: len(here)] = here
        return schemes.parse(
            self.model, [fields.payload for fields in self.packets], [fields.rate_point for fields in self.packets],
            [slots if fields.count is None else fields.count for fields in self.packets], present,
        )  # fmt: skip


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 4000, n).clip(-32768, 32767).astype(np.int16)


def encoder(model: NodeModel = NESTED, **options: int) -> NodeEncoder:
    return NodeEncoder(model, 7, period_us=1000, **options)


def reference_bins(codes: np.ndarray, present: np.ndarray, rate_point: int) -> list[int]:
    point = NESTED.rate_points[rate_point]
    samples = [int(code) if here else None for code, here in zip(codes, present, strict=True)]
    bins, _, _ = reference.quantize(samples, point.taps.tolist(), point.shift, point.rounding, point.modulus)
    return [NO_LEVEL if v is None else v for v in bins]


@given(st.integers(1, 90), st.integers(0, 2), st.booleans(), st.integers(0, 10**6), st.data())
@settings(max_examples=60, deadline=None)
def test_any_split_of_the_samples_gives_the_same_packets_and_bins(count, rate_point, shared, seed, data):
    codes, present = noise(count, seed), np.random.default_rng(seed).random(count) > 0.1
    whole = encoder(shared_link=shared, rate_point=rate_point)
    packets = whole.encode(codes, present) + whole.flush()
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    parts = encoder(shared_link=shared, rate_point=rate_point)
    split = [raw for part in np.split(np.arange(count), cuts) for raw in parts.encode(codes[part], present[part])]
    assert split + parts.flush() == packets and parts.counters == whole.counters
    stream = indices.flatten(Received(NESTED, shared).feed(packets).parse())
    assert stream.values.tolist() == reference_bins(codes, present, rate_point)


def test_level_checks_and_statuses_come_through():
    node = encoder(rate_point=1)
    found = Received(NESTED).feed(node.encode(noise(4 * N))).parse()
    assert (found.status == 0).all() and ((found.checks >= 0) & (found.checks < 16)).all()
    point = NESTED.rate_points[1]
    bins, turns, _ = reference.quantize(noise(4 * N).tolist(), point.taps.tolist(), point.shift, point.rounding, 5)
    for row in range(4):
        part = slice(row * N, (row + 1) * N)
        payload = reference.pack(bins[part], turns[part], 5, 4)
        assert reference.unpack(payload, [True] * N, 5, 4)[1] == found.checks[row]


def test_hellos_come_at_boot_every_so_many_packets_and_at_the_end():
    node = encoder()
    received = Received(NESTED).feed(node.encode(noise(12 * N)))
    assert received.kinds == "hdddddhdddddhdd"
    assert received.feed(node.flush()).kinds.endswith("ddh")
    assert [hello.packet_counter for hello in received.hellos] == [0, 5, 10, 12]
    assert [hello.sample_index for hello in received.hellos] == [0, 5 * N, 10 * N, 12 * N]
    assert node.flush() == []


def test_a_run_without_samples_is_one_hello():
    assert Received(NESTED).feed(encoder().flush()).kinds == "h"


def test_a_short_packet_is_followed_by_a_hello_that_moves_the_base():
    node = encoder()
    received = Received(NESTED).feed(node.encode(noise(N + 3)) + node.flush() + node.encode(noise(N)))
    assert received.kinds == "hdshd"
    assert received.packets[1].count == 3
    assert received.first_indices == [0, N, N + 3]


def test_absent_samples_travel_as_a_bitmap_only_where_there_are_any():
    present = np.ones(3 * N, dtype=np.bool_)
    present[[N, N + 3]] = False
    received = Received(NESTED).feed(encoder().encode(noise(3 * N), present))
    assert [fields.absent for fields in received.packets] == [None, b"\x90\x00", None]


def test_a_packet_without_any_sample_still_counts():
    for model in (NESTED, predictive()):
        node = encoder(model)
        received = Received(model).feed(node.encode(np.zeros(N, np.int16), np.zeros(N, np.bool_)) + node.flush())
        assert received.kinds == "hdh" and node.counters.absent == N
        assert not received.parse().present.any() and (received.parse().status == 0).all()


def test_a_rate_point_takes_effect_at_the_next_packet():
    node = encoder()
    codes, present = noise(4 * N), np.ones(4 * N, dtype=np.bool_)
    packets = node.encode(codes[: N + 4])
    node.rate_point = 2
    received = Received(NESTED).feed(packets + node.encode(codes[N + 4 :]))
    assert [fields.rate_point for fields in received.packets] == [0, 0, 2, 2]
    values = indices.flatten(received.parse()).values.tolist()
    assert values == reference_bins(codes, present, 0)[: 2 * N] + reference_bins(codes, present, 2)[2 * N :]


@pytest.mark.parametrize("start", [250, 2**24 - 3, 2**32 - 3])
def test_sequence_and_counter_wrap(start):
    node = encoder(packet_counter=start, sample_index=1000)
    received = Received(NESTED).feed(node.encode(noise(12 * N)) + node.flush())
    assert received.first_indices == [1000 + N * i for i in range(12)]
    assert node.packet_counter == (start + 12) % 2**32


def test_a_model_switch_flushes_and_announces():
    node = encoder(rate_point=2)
    first = Received(NESTED).feed(node.encode(noise(N + 5)))
    packets = node.switch_model(predictive())
    assert first.feed(packets[:-1]).kinds == "hdsh"
    second = Received(predictive()).feed(packets[-1:] + node.encode(noise(N)))
    assert second.kinds == "hd" and second.first_indices == [N + 5]
    assert second.hellos[0].model_id == predictive().model_id and second.hellos[0].rate_point == 0


def test_counters_add_up_to_the_bits_sent():
    node = encoder(shared_link=True)
    packets = node.encode(noise(100)) + node.flush()
    counters = node.counters
    assert counters.packet_bits + counters.hello_bits == 8 * sum(map(len, packets))
    assert (counters.samples, counters.absent, counters.data_packets) == (100, 0, 7)
    assert counters.data_packets + counters.hello_packets == len(packets)
    received = Received(NESTED, shared=True).feed(packets)
    assert counters.payload_bits == 8 * sum(len(fields.payload) for fields in received.packets)


PREDICTIVE_CASE = predictive_model(random.Random(5), 2, 768, 384, 2, 3)


def predictive() -> NodeModel:
    return node_model(PREDICTIVE_CASE, N)


def test_predictive_packets_parse_to_the_reference_and_stand_alone():
    codes, node = noise(3 * N + 7), encoder(predictive())
    received = Received(predictive()).feed(node.encode(codes) + node.flush())
    found = received.parse()
    for row in range(4):
        part = codes[row * N : (row + 1) * N].tolist()
        case = {**PREDICTIVE_CASE, "codes": part, "present": [1] * len(part)}
        expected = reference_driver.predictive_encode(case)
        assert received.packets[row].payload.hex() == expected["payload"]
        for name, column in (("levels", found.values), ("preds", found.preds), ("recon", found.recon)):
            assert column[row, : len(part)].tolist() == expected[name]
    assert np.abs(indices.flatten(found).recon - codes).max() <= 1


def test_bad_payloads_have_a_status_and_harm_no_neighbour():
    received = Received(NESTED).feed(encoder().encode(noise(3 * N)))
    payloads = [fields.payload for fields in received.packets]
    payloads[1] += b"\0"
    found = schemes.parse(NESTED, payloads, [0] * 3, [N] * 3)
    assert (found.status == 0).tolist() == [True, False, True]
    assert (found.values[1] == NO_LEVEL).all() and (found.values[[0, 2]] != NO_LEVEL).all()


def test_no_packets_parse_to_empty_columns():
    for model in (NESTED, predictive()):
        assert schemes.parse(model, [], [], []).values.shape == (0, N)


@pytest.mark.parametrize("bad", [[0.5], [[1]], [40000]])
def test_what_is_not_codes_is_refused(bad):
    with pytest.raises(InputError):
        encoder().encode(np.array(bad))


def test_arguments_out_of_bounds_are_refused():
    with pytest.raises(InputError):
        encoder(rate_point=3)
    with pytest.raises(InputError):
        NodeEncoder(NESTED, 40000, period_us=1)
    with pytest.raises(InputError):
        NodeEncoder(NESTED, 1, period_us=0)
    with pytest.raises(InputError):
        encoder().encode(np.zeros(3, np.int16), [True])
