"""Would `nested` be cheaper for this node? A bound first, a measurement only where the bound leaves room.

`nested` sends log2 of its modulus for every sample, quiet or not, and the modulus must cover the prediction errors that
the gateway makes with own past and neighbours. Even Gaussian errors need 2 * 3.9 standard deviations for one wrong cell
in 10 000; real ones have heavier tails. Where that bound already exceeds what `predictive` was measured to cost, nothing
is tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError
from edge_wz.model import Model
from training import design
from training.data import Recording
from training.plan_study import Columns, Met, Study, conditional_variance, with_side
from training.transmission import transmit

CAUSAL = (5, 0)  # own samples before and after that the decoder of a zero-delay scheme sees
COVERED_SIGMAS = 3.9
LEVEL_CHECK_BITS = 8


@dataclass(frozen=True, eq=False)
class NestedTrial:
    """`bits` per packet at `rmse` (LSB) if it was measured; `reason` says in words what was found."""

    reason: str
    step: float = 0.0  # sensor units
    rmse: float = 0.0
    bits: np.ndarray | None = None
    values: np.ndarray = field(default_factory=lambda: np.empty(0))  # decoded, sensor units
    rate: float = 0.0  # that a block code was designed for; of `layered` how many layers are sent


def least_bits(study: Study, rmse: float, step_q8: int, side: tuple[str, ...], columns: Columns) -> float:
    """Below this `nested` cannot be, were the errors Gaussian; payload bits per sample."""
    sent = study.sent(step_q8, 0.5)
    stream = with_side(sent.stream, side, columns).rows(slice(0, study.cut))
    sigma = np.sqrt(conditional_variance(stream, CAUSAL))
    step = max(1.0, np.sqrt(12.0) * rmse)
    bits = max(1.0, np.log2(2 * COVERED_SIGMAS * sigma / step))
    return float(bits) + LEVEL_CHECK_BITS / study.packet_samples


def try_nested(
    study: Study, recording: Recording, rmse: float, met: Met, max_error: float | None,
    side: tuple[str, ...], columns: Columns,
) -> NestedTrial:
    """`met`: what it has to beat; `recording`: the rows of the study."""
    ours = float(met.bits.sum()) / study.validated
    try:
        least = least_bits(study, rmse, study.first_q8, side, columns)
    except DesignError:
        return NestedTrial("too few samples to bound it")
    if least >= ours:
        return NestedTrial(f"needs at least {least:.2f} bits")
    step = np.sqrt(12.0) * rmse * study.material.scale
    try:
        return _measured(study, recording, max(step, study.material.scale), max_error, side, columns)
    except (DesignError, np.linalg.LinAlgError) as error:
        return NestedTrial(f"not designed: {error}")


def _measured(
    study: Study, recording: Recording, step: float, max_error: float | None, side: tuple[str, ...], columns: Columns
) -> NestedTrial:
    model = nested_model(recording.part(0, study.cut), study.name, side, step, max_error, study.packet_samples)
    decoded, packet_bits = run_nested(model, study.material.values, side, columns)
    errors = (decoded - study.material.values)[study.cut :]
    rmse = float(np.sqrt(np.nanmean(errors * errors)))
    bits = packet_bits[study.cut // study.packet_samples :]
    reason = f"measured {float(bits.sum()) / study.validated:.2f} bits at rmse {rmse:.3g}"
    return NestedTrial(reason, step, rmse / study.material.scale, bits, decoded)


def nested_model(
    recording: Recording, name: str, side: tuple[str, ...], step: float, max_error: float | None, packet_samples: int
) -> Model:
    """By the step, or by the promise if there is one."""
    return design.design(
        recording, name, side, "nested", step=step if max_error is None else None, max_error=max_error,
        packet_samples=packet_samples, level_check_bits=LEVEL_CHECK_BITS,
    )  # fmt: skip


def run_nested(model: Model, values: np.ndarray, side: tuple[str, ...], columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """(decoded values in sensor units, NaN where nothing was sent; payload bits of each packet)."""
    present = np.isfinite(values)
    codes, _ = model.node.to_codes(np.where(present, values, model.node.offset))
    sent = transmit(model.node, codes, present)
    engine = Decoder(model)
    heard = SideInformation.none(len(codes))
    if engine.neighbours:
        heard = SideInformation.of(np.column_stack([columns[name] for name in side]))
    result, _ = engine.reconstruct(engine.initial_state(), sent.indices, heard)
    return np.where(present, result.values, np.nan), sent.payload_bits
