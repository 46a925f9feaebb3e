"""A small fleet for tests of the pipeline: encoders, a script of deliveries, and the samples that came out of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.formats import blob
from edge_wz.formats.framing import encode_frame
from edge_wz.formats.sections.predictive import escape_classes
from edge_wz.gateway.events import Event, SamplesDecoded, SamplesRevised
from edge_wz.gateway.fleet import Fleet, LinkSpec, NodeSpec
from edge_wz.gateway.pipeline import Pipeline
from edge_wz.model import Model
from tests.fleet_models import nested_model, state_space

SECOND = 1_000_000
PERIOD = SECOND
SAMPLES = 16  # of a packet


def predictive_model(source: str = "y", samples: int = SAMPLES, *side: str, decoder: str = "midpoint") -> Model:
    classes = escape_classes(1024, 512, 2)
    cdf = np.linspace(0, 1 << 12, 2 * 2 + classes + 3).astype(int).tolist()
    points = [(1024, 512, [(2, cdf)] * 2)]
    node = blob.make_predictive(samples, 20, 0.01, 0.0, 1, [[0], [0, 4096]], [], 1, 1, 12, points)
    space = state_space(1.0, (0.1,) * len(side)) if decoder == "kalman" else None
    return Model(node=node, decoder=decoder, source=source, side=side, unit="V", state_space=space, name="reference")


def make_fleet(
    nodes: dict[int, tuple[Model, tuple[int, ...]]], *, links: tuple[LinkSpec, ...] | None = None, **waits: int
) -> Fleet:
    """`nodes`: id -> (model, neighbours); one shared link unless others are given."""
    specs = tuple(NodeSpec(node_id, f"n{node_id}", model, side) for node_id, (model, side) in nodes.items())
    chosen = {"reorder_wait_us": 40 * SECOND, "side_wait_us": 60 * SECOND, "revise_window_us": 600 * SECOND} | waits
    return Fleet(specs, links or (LinkSpec(0, "air"),), **chosen)


def chain(decoder: str = "midpoint") -> Fleet:
    """A reference node, one nested node beside it, and one beside both."""
    return make_fleet({
        1: (predictive_model(decoder=decoder), ()),
        2: (nested_model("y", modulus=16), (1,)),
        3: (nested_model("y", "x", modulus=8, source="z"), (1, 2)),
    })


def field_codes(nodes: int, samples: int, seed: int = 1) -> np.ndarray:
    """int16[nodes, samples]: one slow source, seen by each node with a little noise."""
    rng = np.random.default_rng(seed)
    source = np.empty(samples)
    value = 0.0
    for at, step in enumerate(rng.normal(size=samples) * np.sqrt(1 - 0.95**2)):
        value = source[at] = 0.95 * value + step
    seen = source + rng.normal(size=(nodes, samples)) * 0.05
    return np.rint(seen * 100).astype(np.int16)


@dataclass(frozen=True)
class Delivery:
    time_us: int
    node_id: int
    raw: bytes


def deliveries(fleet: Fleet, codes: np.ndarray, *, start_ms: int = 1000, boot_epoch: int = 0) -> list[Delivery]:
    """All packets of a fleet on a shared link, each at the time its last sample was taken."""
    out = []
    for spec, row in zip(fleet.nodes, codes, strict=True):
        encoder = NodeEncoder(
            spec.model.node, spec.node_id, period_us=PERIOD, start_ms=start_ms, boot_epoch=boot_epoch, shared_link=True
        )
        full = spec.model.node.packet_samples
        for at in range(0, len(row), full):
            time_us = start_ms * 1000 + min(at + full, len(row)) * PERIOD + 1000 * spec.node_id
            out += [Delivery(time_us, spec.node_id, raw) for raw in encoder.encode(row[at : at + full])]
        out += [Delivery(start_ms * 1000 + len(row) * PERIOD + 500_000, spec.node_id, raw) for raw in encoder.flush()]
    return sorted(out, key=lambda delivery: delivery.time_us)


def run(pipeline: Pipeline, script: list[Delivery], finish: bool = True) -> list[Event]:
    events: list[Event] = []
    for delivery in script:
        events += pipeline.feed(0, encode_frame(delivery.raw), delivery.time_us)
    if finish:
        events += pipeline.finish(script[-1].time_us)
    return events


@dataclass
class Told:
    """What a sink holds in the end: per (node, boot epoch) the samples by index, revisions applied."""

    values: dict[tuple[int, int], dict[int, tuple[float, float, int, bool]]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: list[Event]) -> Told:
        told = cls()
        for event in events:
            if isinstance(event, SamplesDecoded | SamplesRevised):
                told._put(event)
        return told

    def _put(self, event: SamplesDecoded | SamplesRevised) -> None:
        rows = self.values.setdefault((event.node_id, event.boot_epoch), {})
        for i, cells in enumerate(zip(event.values, event.sigmas, event.flags, strict=True)):
            index = event.first_index + i
            assert (index in rows) == isinstance(event, SamplesRevised), (event.node_id, index)
            rows[index] = (float(cells[0]), float(cells[1]), int(cells[2]), event.provisional)

    def column(self, node_id: int, boot_epoch: int = 0) -> np.ndarray:
        rows = self.values[node_id, boot_epoch]
        return np.array([rows[index][0] for index in sorted(rows)])

    def flags(self, node_id: int, boot_epoch: int = 0) -> np.ndarray:
        rows = self.values[node_id, boot_epoch]
        return np.array([rows[index][2] for index in sorted(rows)], dtype=np.uint8)

    def same(self, other: Told) -> bool:
        return repr(sorted(self.values.items())) == repr(sorted(other.values.items()))


def balanced(pipeline: Pipeline) -> bool:
    """The books of law five."""
    stats = pipeline.stats
    links = all(
        link.fed_bytes
        == link.good_bytes + link.bad_bytes + link.discarded_bytes + link.console_bytes + link.pending_bytes
        for link in stats.links.values()
    )
    return links and all(
        node.samples_expected == node.samples_decoded + node.samples_concealed for node in stats.nodes.values()
    )
