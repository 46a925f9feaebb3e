"""What the pipeline tells: frozen values, batches over many packets, never one event per sample.

Sinks read them, nobody answers. Times are integer microseconds; `time_us` is the time on the pipeline's clock at which
the event became known, *event time* of a sample is `first_time_us + i * period_us`. Arrays are shared, not copied: do
not write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class SamplesDecoded(NamedTuple):
    """New samples of one node, in order, each slot once. `flags`: `codec.reconstruction`; absent values are NaN.

    `provisional`: decoded at the deadline without a late neighbour. `revision` is 0.
    """

    node_id: int
    boot_epoch: int
    first_index: int
    first_time_us: int
    period_us: int
    values: np.ndarray
    sigmas: np.ndarray
    flags: np.ndarray
    provisional: bool
    revision: int
    time_us: int


class SamplesRevised(NamedTuple):
    """Samples told before, decoded again with what came late. A higher `revision` of the node replaces a lower one."""

    node_id: int
    boot_epoch: int
    first_index: int
    first_time_us: int
    period_us: int
    values: np.ndarray
    sigmas: np.ndarray
    flags: np.ndarray
    provisional: bool
    revision: int
    time_us: int


@dataclass(frozen=True, slots=True)
class PacketLost:
    """`packets` packets from `counter` on did not come in time; their `count` slots are concealed.

    `skipped`: the gap is too long to conceal slot by slot; its slots are counted and not told as samples.
    """

    node_id: int
    boot_epoch: int
    counter: int
    packets: int
    first_index: int
    count: int
    skipped: bool
    time_us: int


@dataclass(frozen=True, slots=True)
class FrameDiscarded:
    """Bytes on a link that are no frame. `status`: value of `formats.framing.FrameStatus`."""

    link: int
    status: str
    wire_bytes: int
    time_us: int


@dataclass(frozen=True, slots=True)
class PacketRefused:
    """A frame that is no packet of the fleet. `node_id` -1: unknown. `status`: why."""

    link: int
    node_id: int
    status: str
    packet_bytes: int
    time_us: int


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """The first hello of a node."""

    node_id: int
    boot_epoch: int
    model_id: bytes
    time_us: int


@dataclass(frozen=True, slots=True)
class NodeReset:
    """A hello with another boot epoch."""

    node_id: int
    boot_epoch: int
    previous_epoch: int
    time_us: int


@dataclass(frozen=True, slots=True)
class ModelSwitched:
    node_id: int
    boot_epoch: int
    model_id: bytes
    previous_id: bytes
    time_us: int


@dataclass(frozen=True, slots=True)
class UnknownModel:
    """A hello names a model nobody gave us: the node's packets wait in quarantine for `Pipeline.add_model`."""

    node_id: int
    boot_epoch: int
    model_id: bytes
    time_us: int


Event = (
    SamplesDecoded
    | SamplesRevised
    | PacketLost
    | FrameDiscarded
    | PacketRefused
    | NodeSeen
    | NodeReset
    | ModelSwitched
    | UnknownModel
)
