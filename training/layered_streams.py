"""What a layered stream is worth at every depth, and under a policy: encoder, packets, losses of both kinds, parser, decoder.

`training.transmission` sends what the rate point says; here a policy decides, refinement packets get lost with a probability of their own, and what
arrives is put together as the gateway does in the end, after all revisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_wz.codec import layered, metrics, schemes
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.encoder import EncoderCounters
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layer_policy import Command, LayerPolicy
from edge_wz.codec.layered_decoder import Runs
from edge_wz.codec.layered_encoder import LayeredNodeEncoder
from edge_wz.codec.reconstruction import Decoder, Reconstruction
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import EdgeWzError
from edge_wz.formats import packet
from edge_wz.formats.layout import TYPE_DATA, TYPE_HELLO
from edge_wz.model import Model, NodeModel

NODE_ID = 1


@dataclass(frozen=True, eq=False)
class Stream:
    """`indices`: with all the layers that came. `depths`: of each slot, 0 where its packet was lost or the sample absent."""

    indices: StreamIndices
    depths: np.ndarray
    counters: EncoderCounters

    @property
    def overhead_bits(self) -> int:
        return self.counters.air_bits - self.counters.payload_bits


def send(
    node: NodeModel, codes: np.ndarray, present: np.ndarray, policy: LayerPolicy, *, loss: float = 0.0, refinement_loss: float = 0.0, seed: int = 0
) -> Stream:
    """Codes int16[T] through packets; data packets are lost with probability `loss`, refinements with `refinement_loss`."""
    encoder = LayeredNodeEncoder(node, NODE_ID, policy=policy, period_us=1_000_000)
    raws = encoder.encode(codes, present) + encoder.flush()
    rng = np.random.default_rng(seed)
    values = np.full(len(codes), NO_LEVEL, np.int32)
    rate_points, starts, at, base = np.zeros(len(codes), np.int32), [], 0, None
    for raw in raws:
        kind = packet.peek(raw).type
        if kind == TYPE_HELLO:
            continue
        if kind == TYPE_DATA:
            base = packet.parse_data(raw, 0, node.packet_samples, layered=True)
            slots = node.packet_samples if base.count is None else base.count  # type: ignore[union-attr]
            span = slice(at, at + slots)
            starts.append(at)
            at += slots
            lost = rng.random() < loss
            if not lost:
                values[span], rate_points[span] = _parsed(node, base), base.rate_point  # type: ignore[union-attr]
        elif rng.random() >= refinement_loss and not lost:
            values[span] = _refined(node, raw, values[span])
    indices = StreamIndices(values, rate_points, np.array(starts, np.int64), np.full(len(starts), -1, np.int32))
    depths = np.where(values == NO_LEVEL, 0, layered.flat_point(node, 0).tree.depths(values))
    return Stream(indices, depths, encoder.counters)


def _parsed(node: NodeModel, data: Any) -> np.ndarray:
    slots = packet.present_slots(data, node.packet_samples)
    present = np.zeros((1, node.packet_samples), np.bool_)
    present[0, : len(slots)] = slots
    found = schemes.parse(node, [data.payload], [data.rate_point], [len(slots)], present, [data.layers or 0])
    if found.status[0] < 0:
        raise EdgeWzError("the encoder sent a payload that its parser refuses")
    return found.values[0, : len(slots)]


def _refined(node: NodeModel, raw: bytes, values: np.ndarray) -> np.ndarray:
    found = packet.parse_refinement(raw, 0, node.packet_samples)
    if isinstance(found, packet.PacketStatus):
        raise EdgeWzError(f"the encoder sent a refinement that its receiver refuses: {found}")
    slots = packet.present_slots(found.base, node.packet_samples)
    point = found.base.rate_point
    more, layers, status = layered.parse_refinement(node, point, found.base.payload, slots, found.first, found.layers)
    if status < 0:
        raise EdgeWzError("the encoder sent a refinement that its parser refuses")
    return layered.flat_point(node, point).tree.join(values, more, found.first, layers)


def decode(model: Model, stream: Stream, side: SideInformation, decoder: str | None = None) -> Reconstruction:
    engine = Decoder(model, decoder)
    heard = side if engine.neighbours else SideInformation.none(stream.indices.values.size)
    return engine.reconstruct(engine.initial_state(), stream.indices, heard)[0]


def prefix_rows(
    model: Model, decoder: str, values: np.ndarray, codes: np.ndarray, present: np.ndarray, side: SideInformation
) -> list[dict[str, float]]:
    """Bits and fidelity of every prefix of layers, sent alone and without loss. `unresolved`: samples with fewer layers than came, as a check of
    their block failed."""
    rows = []
    for layers in range(1, model.node.rate_points[0].layers + 1):
        stream = send(model.node, codes, present, Command(layers, layers))
        result = decode(model, stream, side, decoder)
        decoded = np.where(present, result.values, np.nan)
        samples = max(1, int(present.sum()))
        rows.append({
            "payload_bits_per_sample": stream.counters.payload_bits / samples,
            "packet_bits_per_sample": stream.counters.air_bits / samples,
            "sqnr_db": metrics.sqnr_db(values, decoded), "rmse": metrics.rmse(values, decoded),
            "mean_sigma": float(np.sqrt(np.mean(np.square(result.sigmas[present])))),
            "wrong_runs": float(np.mean(true_runs(model.node, stream.indices, codes)[present] != result.levels[present])),
            "unresolved": float(np.mean((resolved_layers(model.node, stream.indices, result.levels) < stream.depths)[present])),
        })
    return rows


def true_runs(node: NodeModel, indices: StreamIndices, codes: np.ndarray) -> np.ndarray:
    """The runs (as `codec.layered_decoder` counts them) in which the source lay, with the layers that came; NO_LEVEL where nothing did."""
    lows, _, starts, offsets = Runs(node).arrays
    found = np.full(len(codes), NO_LEVEL, np.int64)
    every = np.ones((1, len(codes)), np.bool_)
    for rate_point in np.unique(indices.rate_points).tolist():
        tree = layered.flat_point(node, rate_point).tree
        messages = layered.messages(node, rate_point, codes[None, :], every)[0]
        depths = np.where(indices.rate_points == rate_point, tree.depths(indices.values), 0)
        for row in range(sum(tree.sizes[1:])):
            depth = int(tree.depths(np.array([row]))[0])
            held = (depths == depth) & (messages // (tree.sizes[-1] // tree.sizes[depth]) + tree.bases[depth] == row)
            at = offsets[rate_point] + row
            own = np.searchsorted(lows[starts[at] : starts[at + 1]], codes[held], side="right") - 1
            found[held] = own + starts[at] - starts[offsets[rate_point]]
    return found


def resolved_layers(node: NodeModel, indices: StreamIndices, levels: np.ndarray) -> np.ndarray:
    """Layers that the decoder had of each sample, from the runs that it found; 0 for none."""
    _, _, starts, offsets = Runs(node).arrays
    first = offsets[indices.rate_points]
    rows = np.searchsorted(starts, levels + starts[first], side="right") - 1 - first
    tree = layered.flat_point(node, 0).tree
    return np.where(levels == NO_LEVEL, 0, tree.depths(rows))
