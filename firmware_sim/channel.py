"""The channel of one node: what a radio or a bad cable does to frames, seeded and counted.

Loss (independent, or in bursts of a given mean length by a Gilbert-Elliott chain whose bad state loses everything),
duplication, reordering, bit flips, latency and jitter. Each node has its own random stream, drawn from (seed, node id),
so a fleet's result depends neither on the order nor on the number of its nodes. A channel acts on bytes with times:
given frames instead of packets, flips also hit delimiters, as they do on a wire.
Reference: Gilbert, "Capacity of a burst-noise channel", 1960.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

import numpy as np

from edge_wz.errors import InputError

REORDER_DEPTH = 3  # a reordered packet arrives behind at most so many later ones


@dataclass(frozen=True)
class ChannelSpec:
    """Probabilities per packet, `flip` per bit. `burst`: mean length of a run of lost packets; up to 1: no bursts."""

    loss: float = 0.0
    burst: float = 1.0
    duplicate: float = 0.0
    reorder: float = 0.0
    flip: float = 0.0
    jitter_us: int = 0
    latency_us: int = 0

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"channel: {name} {getattr(self, name)} is not a probability")
        if self.jitter_us < 0 or self.latency_us < 0:
            raise InputError("channel: jitter and latency cannot be negative")
        if self.burst > 1 and self.loss < 1 and self.loss / (self.burst * (1 - self.loss)) > 1:
            raise InputError(f"channel: no chain loses {self.loss:g} of all packets in bursts of only {self.burst:g}")


@dataclass(frozen=True)
class ChannelCounters:
    """`delivered == offered - lost + duplicated`. `reordered`, `flipped` count deliveries."""

    offered: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    flipped: int = 0
    flipped_bits: int = 0
    delivered: int = 0

    def __add__(self, other: ChannelCounters) -> ChannelCounters:
        return ChannelCounters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Delivery:
    """Bytes that reach the gateway. `sent` counts the node's packets from 0."""

    time_us: int
    node_id: int
    sent: int
    data: bytes


class Channel:
    """The fate of the packets of one node. `transmit` may be called once per run with all of them."""

    def __init__(self, spec: ChannelSpec, seed: int, node_id: int) -> None:
        self._spec = spec
        self._node_id = node_id
        self._rng = np.random.default_rng([seed, node_id])

    def transmit(self, packets: Sequence[tuple[int, bytes]]) -> tuple[list[Delivery], ChannelCounters]:
        """(time_us, bytes) in sending order, times not falling -> deliveries in order of arrival."""
        times = np.array([time_us for time_us, _ in packets], dtype=np.int64)
        lost = self._lost(len(packets))
        copies = 1 + (self._rng.random(len(packets)) < self._spec.duplicate)
        copies[lost] = 0
        sent = np.repeat(np.arange(len(packets)), copies)
        arrivals, reordered = self._arrivals(times, sent)
        payloads, flipped, flipped_bits = self._flip([packets[int(k)][1] for k in sent])
        counters = ChannelCounters(
            offered=len(packets),
            lost=int(lost.sum()),
            duplicated=int((copies == 2).sum()),
            reordered=int(reordered.sum()),
            flipped=flipped,
            flipped_bits=flipped_bits,
            delivered=len(sent),
        )
        order = np.argsort(arrivals, kind="stable")
        deliveries = [Delivery(int(arrivals[k]), self._node_id, int(sent[k]), payloads[k]) for k in order]
        return deliveries, counters

    def _lost(self, n: int) -> np.ndarray:
        draws = self._rng.random(n)
        if self._spec.burst <= 1 or not 0 < self._spec.loss < 1:
            return np.asarray(draws < self._spec.loss)
        leave = 1 / self._spec.burst
        enter = self._spec.loss * leave / (1 - self._spec.loss)
        lost = np.zeros(n, dtype=bool)
        bad = self._rng.random() < self._spec.loss
        for k, draw in enumerate(draws):
            lost[k] = bad
            bad = draw >= leave if bad else draw < enter
        return lost

    def _arrivals(self, times: np.ndarray, sent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(arrival of each copy, whether it was held back behind later packets)."""
        spec, rng = self._spec, self._rng
        jitter = rng.integers(0, spec.jitter_us + 1, len(sent))
        reordered = rng.random(len(sent)) < spec.reorder
        behind = sent + rng.integers(1, REORDER_DEPTH + 1, len(sent))
        reordered &= behind < len(times)  # nothing comes after the last packets
        departures = times[sent]
        departures[reordered] = times[behind[reordered]] + spec.jitter_us + 1
        return departures + spec.latency_us + jitter, reordered

    def _flip(self, payloads: list[bytes]) -> tuple[list[bytes], int, int]:
        """(payloads with their flipped bits, how many were hit, bits flipped)."""
        if self._spec.flip == 0:
            return payloads, 0, 0
        counts = self._rng.binomial([8 * len(payload) for payload in payloads], self._spec.flip)
        for k in np.flatnonzero(counts):
            payloads[k] = flip_bits(payloads[k], self._rng.permutation(8 * len(payloads[k]))[: counts[k]])
        return payloads, int(np.count_nonzero(counts)), int(counts.sum())


def flip_bits(data: bytes, positions: Iterable[int]) -> bytes:
    """Bit 0 is the most significant one of the first byte."""
    out = bytearray(data)
    for position in positions:
        out[position >> 3] ^= 0x80 >> (position & 7)
    return bytes(out)


def merge(streams: Iterable[list[Delivery]]) -> list[Delivery]:
    """All nodes' deliveries in order of arrival; at equal times in the order of the streams."""
    merged = [delivery for stream in streams for delivery in stream]
    merged.sort(key=attrgetter("time_us"))
    return merged
