"""The channel: deterministic, counted, and as lossy as asked (within five standard errors)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edge_wz.errors import InputError
from firmware_sim.channel import Channel, ChannelCounters, ChannelSpec, flip_bits, merge

PACKETS = [(1000 * k, k.to_bytes(4, "big") + bytes(12)) for k in range(40_000)]


def standard_error(spec: ChannelSpec) -> float:
    """Standard error of the loss fraction; a chain's losses are correlated over bursts."""
    factor = 2 * spec.burst if spec.burst > 1 else 1
    return float(np.sqrt(factor * spec.loss * (1 - spec.loss) / len(PACKETS)))


def test_a_clean_channel_changes_nothing() -> None:
    deliveries, counters = Channel(ChannelSpec(), 1, 7).transmit(PACKETS)
    assert [(d.time_us, d.data) for d in deliveries] == PACKETS
    assert {d.node_id for d in deliveries} == {7}
    assert counters == ChannelCounters(offered=len(PACKETS), delivered=len(PACKETS))


LOSSY = [ChannelSpec(loss=0.05), ChannelSpec(loss=0.05, burst=4), ChannelSpec(loss=0.3, burst=10)]


@pytest.mark.parametrize("spec", LOSSY)
def test_loss_is_as_frequent_and_as_bursty_as_asked(spec: ChannelSpec) -> None:
    deliveries, counters = Channel(spec, 2, 1).transmit(PACKETS)
    assert counters.lost / len(PACKETS) == pytest.approx(spec.loss, abs=5 * standard_error(spec))
    assert len(deliveries) == counters.delivered == len(PACKETS) - counters.lost
    lost = np.ones(len(PACKETS), dtype=bool)
    lost[[d.sent for d in deliveries]] = False
    runs = np.count_nonzero(lost[1:] & ~lost[:-1]) + lost[0]
    expected = spec.burst if spec.burst > 1 else 1 / (1 - spec.loss)
    assert lost.sum() / runs == pytest.approx(expected, rel=5 / np.sqrt(runs))


def test_everything_it_does_is_counted() -> None:
    spec = ChannelSpec(loss=0.05, duplicate=0.02, reorder=0.03, flip=1e-4, jitter_us=300, latency_us=50)
    deliveries, counters = Channel(spec, 3, 1).transmit(PACKETS)
    assert counters.delivered == len(deliveries) == counters.offered - counters.lost + counters.duplicated
    copies = Counter(d.sent for d in deliveries)
    assert sum(1 for count in copies.values() if count == 2) == counters.duplicated
    hit = [d for d in deliveries if d.data != PACKETS[d.sent][1]]
    assert len(hit) == counters.flipped
    flipped_bits = sum(
        (int.from_bytes(d.data, "big") ^ int.from_bytes(PACKETS[d.sent][1], "big")).bit_count() for d in hit
    )
    assert flipped_bits == counters.flipped_bits
    assert flipped_bits == pytest.approx(128e-4 * len(deliveries), rel=0.25)
    assert all(d.time_us >= PACKETS[d.sent][0] + 50 for d in deliveries)
    held = sum(d.time_us > PACKETS[d.sent][0] + 350 for d in deliveries)
    assert held == counters.reordered == pytest.approx(0.03 * len(deliveries), rel=0.25)


def test_arrivals_never_fall_and_reordering_is_bounded() -> None:
    deliveries, counters = Channel(ChannelSpec(reorder=0.1), 4, 1).transmit(PACKETS)
    times = [d.time_us for d in deliveries]
    assert times == sorted(times) and counters.reordered > 0
    sent = np.array([d.sent for d in deliveries])
    assert 0 < np.max(np.maximum.accumulate(sent) - sent) <= 3


def test_the_same_seed_gives_the_same_deliveries() -> None:
    spec = ChannelSpec(loss=0.1, burst=3, duplicate=0.1, reorder=0.1, flip=1e-3, jitter_us=5000)
    first, second = (Channel(spec, 5, 9).transmit(PACKETS[:2000]) for _ in range(2))
    assert first == second
    assert Channel(spec, 6, 9).transmit(PACKETS[:2000])[0] != first[0]
    assert Channel(spec, 5, 8).transmit(PACKETS[:2000])[1] != first[1]


def test_merge_keeps_the_order_of_streams_at_equal_times() -> None:
    streams = [Channel(ChannelSpec(), 1, node).transmit(PACKETS[:3])[0] for node in (4, 2)]
    assert [(d.time_us, d.node_id) for d in merge(streams)] == [(t, n) for t in (0, 1000, 2000) for n in (4, 2)]


def test_flips_bits_from_the_front() -> None:
    assert flip_bits(b"\x00\x00", [0, 15]) == b"\x80\x01"


def test_everything_and_nothing() -> None:
    assert Channel(ChannelSpec(loss=1.0, burst=5), 1, 1).transmit(PACKETS[:50])[0] == []
    assert Channel(ChannelSpec(loss=0.5, duplicate=1.0), 1, 1).transmit([]) == ([], ChannelCounters())


@pytest.mark.parametrize("spec", [{"loss": 1.5}, {"flip": -0.1}, {"jitter_us": -1}, {"loss": 0.9, "burst": 2}])
def test_impossible_channels_are_refused(spec: dict[str, float]) -> None:
    with pytest.raises(InputError, match="channel: "):
        ChannelSpec(**spec)  # type: ignore[arg-type]
