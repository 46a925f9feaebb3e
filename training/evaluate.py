"""What a bundle or a fleet is worth on a recording: bits on air and fidelity, beside the rivals at equal fidelity.

Always the integer encoder, whole packets and the gateway's decoder, never a float shortcut. Bits are per present sample
of the source; a lost packet has been paid for. Rivals are compared with what the decoder reaches without losses.
Neighbours count up to the sample being decoded, or as far as a decoder's packet window lets a live gateway look.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_wz.codec import metrics
from edge_wz.codec.familiar import stranger
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import ABSENT, CONCEALED, RESOLVED, SUSPECT, Decoder, Reconstruction
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import InputError
from edge_wz.formats import blob
from edge_wz.model import Model, NodeModel
from training import baselines, layered_streams, rivals
from training.data import Recording
from training.transmission import Received, transmit, true_levels

SIDES = ("true", "decoded")
FLAG_NAMES = {"resolved": RESOLVED, "concealed": CONCEALED, "suspect": SUSPECT, "absent": ABSENT}
CHUNK_SAMPLES = 1 << 20
RIVAL_SAMPLES = 1_000_000  # rivals are measured on at most so many samples: their rates are means

Report = dict[str, Any]
Advance = Callable[[float], None]


def no_progress(steps: float) -> None:
    """Nobody watches."""


@dataclass(frozen=True, eq=False)
class Source:
    """A column as its node samples it."""

    values: np.ndarray  # float64[T], sensor units, NaN = absent
    codes: np.ndarray  # int16[T]
    present: np.ndarray  # bool[T]

    @staticmethod
    def of(model: Model, recording: Recording, column: str) -> Source:
        values = recording.source(column)
        present = np.isfinite(values)
        codes, _ = model.node.to_codes(np.where(present, values, model.node.offset))
        return Source(values, codes, present)

    @property
    def samples(self) -> int:
        return int(np.count_nonzero(self.present))


def period_us(recording: Recording, model: Model) -> int:
    return max(1, round(1e6 * (recording.period_s or model.period_s)))


# --- decoding -----------------------------------------------------------------------------------------------------


def reconstruct(
    decoder: Decoder, indices: StreamIndices, side: SideInformation, advance: Advance = no_progress
) -> Reconstruction:
    """The whole stream, a million samples at a time, cut between packets."""
    state = decoder.initial_state()
    starts = indices.packet_starts
    parts = []
    for first, last in _cuts(starts, indices.values.size):
        span = slice(int(starts[first]), int(starts[last]) if last < len(starts) else indices.values.size)
        part, state = decoder.reconstruct(state, _cut(indices, first, last, span), side[span])
        parts.append(part)
        advance(span.stop - span.start)
    return parts[0] if len(parts) == 1 else _joined(parts)


def _cuts(starts: np.ndarray, samples: int) -> list[tuple[int, int]]:
    """Runs of packets [first, last) of about CHUNK_SAMPLES."""
    edges = np.unique(np.searchsorted(starts, np.arange(0, samples, CHUNK_SAMPLES)))
    edges = edges[edges < len(starts)]
    return list(zip(edges.tolist(), [*edges[1:].tolist(), len(starts)], strict=True))


def _cut(indices: StreamIndices, first: int, last: int, span: slice) -> StreamIndices:
    predictive = indices.preds.size > 0
    return StreamIndices(
        indices.values[span],
        indices.rate_points[span],
        indices.packet_starts[first:last] - span.start,
        indices.checks[first:last],
        indices.preds[span] if predictive else indices.preds,
        indices.recon[span] if predictive else indices.recon,
    )


def _joined(parts: Sequence[Reconstruction]) -> Reconstruction:
    columns = zip(*((part.values, part.sigmas, part.flags, part.levels) for part in parts), strict=True)
    return Reconstruction(*(np.concatenate(column) for column in columns))


def mark_absent(source: Source, received: Received, result: Reconstruction) -> Reconstruction:
    """Slots that the node declared absent get the flag and no value, as at the gateway."""
    declared = received.received & ~source.present
    if not declared.any():
        return result
    values, sigmas, flags = result.values.copy(), result.sigmas.copy(), result.flags.copy()
    values[declared] = sigmas[declared] = np.nan
    flags[declared] = ABSENT
    return Reconstruction(values, sigmas, flags, result.levels)


# --- one bundle ---------------------------------------------------------------------------------------------------


def evaluate_bundle(
    model: Model,
    recording: Recording,
    *,
    packet_samples: int | None = None,
    loss: float = 0.0,
    seed: int = 0,
    side: str = "true",
    decoders: Sequence[str] | None = None,
    link: str = "addressed",
    fit_recording: Recording | None = None,
    with_baselines: Sequence[str] = baselines.NAMES,
    advance: Advance = no_progress,
) -> Report:
    """One node on its recording: `nodes` has a report for each decoder, all on the same packets.

    `fit_recording`: what the rivals' parameters are fitted on; None: the first half of `recording`, in their favour.
    """
    model = with_packet_samples(model, packet_samples)
    fit = fit_recording if fit_recording is not None else recording.split()[0]
    source = Source.of(model, recording, model.source)
    neighbours = side_information(model, recording, fit, side, loss, seed)
    sent = transmit(
        model.node, source.codes, source.present, period_us=period_us(recording, model), loss=loss, seed=seed, link=link
    )
    nodes = []
    for name in decoders or (model.decoder,):
        decoder = Decoder(model, name)
        heard = neighbours if decoder.neighbours else SideInformation.none(recording.samples)
        result = mark_absent(source, sent, reconstruct(decoder, sent.indices, heard, advance))
        report = node_report(model, name, source, sent, result)
        if model.node.scheme == "layered":
            report["layers"] = layered_streams.prefix_rows(model, name, source.values, source.codes, source.present, heard)
        if with_baselines:
            clean = result if not loss else _without_loss(decoder, source, heard)
            report["baselines"] = rival_reports(model, recording, fit, source, clean, neighbours, sent, with_baselines)
        nodes.append(report)
    return {
        "recording": recording.path, "rows": recording.samples, "loss": loss, "side": side, "seed": seed, "link": link,
        "packet_samples": model.node.packet_samples, "nodes": nodes, "warnings": warnings_of(model, source),
    }


def warnings_of(model: Model, source: Source) -> list[str]:
    """What a user should know before believing the figures."""
    found = stranger(model, source.values)
    return [] if found is None else [f"{model.name or model.source}: {found}"]


def with_packet_samples(model: Model, packet_samples: int | None) -> Model:
    """The model with another packet length; its tables stay."""
    if packet_samples is None or packet_samples == model.node.packet_samples:
        return model
    node = dataclasses.replace(model.node, packet_samples=packet_samples, blob=b"", model_id=b"")
    return dataclasses.replace(model, node=blob.parse(blob.pack(node)))


def side_information(
    model: Model, recording: Recording, fit: Recording, side: str, loss: float, seed: int
) -> SideInformation:
    """The neighbours' columns as recorded, or each coded by `predictive` to its own like fidelity and decoded."""
    if side not in SIDES:
        raise InputError(f"side must be {' or '.join(SIDES)}, not '{side}'")
    if side == "true" or not model.side:
        return SideInformation.of(recording.matrix(model.side))
    coded = [_coded_neighbour(model, name, recording, fit, loss, seed + 1 + at) for at, name in enumerate(model.side)]
    return SideInformation(np.column_stack([c.values for c in coded]), np.column_stack([c.sigmas for c in coded]))


def _coded_neighbour(
    model: Model, name: str, recording: Recording, fit: Recording, loss: float, seed: int
) -> Reconstruction:
    step = max(neighbour_step(model), rivals.finest_step(fit, name))
    reference = rivals.design_predictive(fit, name, step, model.node.packet_samples)
    source = Source.of(reference, recording, name)
    sent = transmit(reference.node, source.codes, source.present, loss=loss, seed=seed)
    decoder = Decoder(reference, "midpoint")
    silent = SideInformation.none(recording.samples)
    return mark_absent(source, sent, reconstruct(decoder, sent.indices, silent))


def neighbour_step(model: Model) -> float:
    """Step of the node itself, sensor units: its neighbours are coded as finely as it is."""
    return float(model.node.rate_points[0].step) * model.node.scale


def _without_loss(decoder: Decoder, source: Source, side: SideInformation) -> Reconstruction:
    sent = transmit(decoder.model.node, source.codes, source.present)
    return mark_absent(source, sent, reconstruct(decoder, sent.indices, side))


# --- reports ------------------------------------------------------------------------------------------------------


def node_report(model: Model, decoder: str, source: Source, sent: Received, result: Reconstruction) -> Report:
    truth = source.values
    per_sample = 1.0 / max(1, source.samples)
    return {
        "name": model.name or model.source,
        "scheme": model.node.scheme,
        "decoder": decoder,
        "payload_bits_per_sample": float(sent.payload_bits.sum()) * per_sample,
        "packet_bits_per_sample": float(sent.payload_bits.sum() + sent.overhead_bits) * per_sample,
        "sqnr_db": metrics.sqnr_db(truth, result.values),
        "rmse": metrics.rmse(truth, result.values),
        "max_abs_error": metrics.max_abs_error(truth, result.values),
        "bin_error_rate": bin_error_rate(model.node, source, sent, result.levels),
        "concealed": int(np.count_nonzero((result.flags & CONCEALED != 0) & source.present)),
        "samples": source.samples,
        "flags": {name: int(np.count_nonzero(result.flags & bit)) for name, bit in FLAG_NAMES.items()},
        "baselines": {},
    }


def bin_error_rate(node: NodeModel, source: Source, sent: Received, levels: np.ndarray) -> float:
    """Share of the received samples whose level was resolved wrongly; 0 where parsing already tells it."""
    scored = source.present & sent.received
    if node.scheme not in ("nested", "trellis", "syndrome") or not scored.any():
        return 0.0
    return float(np.mean(true_levels(node, source.codes, source.present)[scored] != levels[scored]))


def rival_reports(
    model: Model,
    recording: Recording,
    fit: Recording,
    source: Source,
    clean: Reconstruction,
    side: SideInformation,
    sent: Received,
    names: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Each rival at the rmse of `clean`, in the same packets with the same headers."""
    rows = min(recording.samples, RIVAL_SAMPLES)
    target = metrics.rmse(source.values[:rows], clean.values[:rows])
    arena = rivals.Arena(model, fit, recording.part(0, rows), side[slice(0, rows)], target)
    overhead = sent.overhead_bits / max(1, source.samples)
    reports = {}
    for name in names:
        point = arena.measure(name)
        payload = float(point.bits.sum()) / max(1, arena.test.samples)
        reports[name] = {
            "payload_bits_per_sample": payload,
            "packet_bits_per_sample": payload + overhead,
            "rmse": point.rmse * model.node.scale,
        }
    return reports


# --- confidence ---------------------------------------------------------------------------------------------------


def bootstrap_ratio(
    ours: np.ndarray, theirs: np.ndarray, *, block_packets: int = 8, draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """sum(ours) / sum(theirs) and its 95 % interval, from bits of the same packets, resampled in blocks."""
    blocks = max(1, len(ours) // block_packets)
    edges = np.linspace(0, len(ours), blocks + 1).astype(np.int64)[:-1]
    pairs = np.stack([np.add.reduceat(np.asarray(bits, np.float64), edges) for bits in (ours, theirs)])
    picks = np.random.default_rng(seed).integers(0, blocks, (draws, blocks))
    ratios = pairs[0][picks].sum(axis=1) / pairs[1][picks].sum(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(np.sum(ours) / np.sum(theirs)), float(low), float(high)
