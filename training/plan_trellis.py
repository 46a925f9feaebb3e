"""Would `trellis` be cheaper for this node? As in `plan_nested`: a bound first, designs only where the bound leaves room.

A rate is whole bits and the step is what the wanted rmse allows, so the question is whether the few whole bits that resolve such cells cost less
than the entropy-coded ones of `predictive`. Designed with neighbours as the gateway decodes them, measured on the validation rows, failed packets
included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_wz.errors import DesignError
from edge_wz.model import Model
from training import design
from training.data import Recording
from training.plan_nested import CAUSAL, LEVEL_CHECK_BITS, NestedTrial, run_nested
from training.plan_study import Columns, Met, Study, conditional_variance, with_side

LEAST_SAMPLES = 16  # of a packet: in shorter ones tail-biting codes lose to `nested`
OPEN_CELLS = 1.12  # posterior means lie closer to the source than mid-cells do: the first step tried, over that of mid-cells
DESIGNS = 4
GIVE_UP = 1.5  # times the rmse: wrong levels, which no other step of these bits would mend


def least_bits(study: Study, rmse: float, side: tuple[str, ...], columns: Columns) -> float:
    """Whole bits from the entropy of the levels given own past and neighbours, were they Gaussian, and the level check; payload bits per sample."""
    stream = with_side(study.sent(study.first_q8, 0.5).stream, side, columns).rows(slice(0, study.cut))
    sigma = math.sqrt(conditional_variance(stream, CAUSAL))
    step = max(1.0, OPEN_CELLS * math.sqrt(12.0) * rmse)
    return max(1, math.ceil(math.log2(math.sqrt(2 * math.pi * math.e) * sigma / step))) + LEVEL_CHECK_BITS / study.packet_samples


def try_trellis(study: Study, recording: Recording, rmse: float, met: Met, side: tuple[str, ...], columns: Columns) -> NestedTrial:
    """`met`: what it has to beat at `rmse` (LSB); `recording`: the rows of the study."""
    if study.packet_samples < LEAST_SAMPLES:
        return NestedTrial(f"packets of {study.packet_samples} samples are too short")
    ours = float(met.bits.sum()) / study.validated
    try:
        least = least_bits(study, rmse, side, columns)
        if least >= ours:
            return NestedTrial(f"needs at least {least:.2f} bits")
        return _measured(study, as_heard(recording, side, columns), rmse, ours, side, columns)
    except (DesignError, np.linalg.LinAlgError) as error:
        return NestedTrial(f"not designed: {error}")


def _measured(study: Study, recording: Recording, rmse: float, ours: float, side: tuple[str, ...], columns: Columns) -> NestedTrial:
    """Steps from the widest that could do on, until one meets the rmse or costs too much."""
    scale, size, reason = study.material.scale, study.packet_samples, ""
    step = OPEN_CELLS * math.sqrt(12.0) * rmse * scale
    for _ in range(DESIGNS):
        model = trellis_model(recording.part(0, study.cut), study.name, side, step, size)
        rate = math.log2(2 * model.node.rate_points[0].modulus)
        if rate + LEVEL_CHECK_BITS / size >= ours:
            return NestedTrial(f"needs {rate + LEVEL_CHECK_BITS / size:.2f} bits")
        decoded, packet_bits = run_nested(model, study.material.values, side, columns)
        errors = (decoded - study.material.values)[study.cut :]
        found = float(np.sqrt(np.nanmean(errors * errors))) / scale
        sent = packet_bits[study.cut // size :]
        reason = f"measured {float(sent.sum()) / study.validated:.2f} bits at rmse {found * scale:.3g}"
        if found <= rmse:
            return NestedTrial(reason, step, found, sent, decoded, rate)
        if found > GIVE_UP * rmse:
            break
        step *= 0.98 * rmse / found
    return NestedTrial(reason)


def as_heard(recording: Recording, side: Sequence[str], columns: Columns) -> Recording:
    """The recording with neighbours as they are decoded."""
    return replace(recording, columns={**recording.columns, **{name: columns[name] for name in side}})


def trellis_model(recording: Recording, name: str, side: tuple[str, ...], step: float, packet_samples: int) -> Model:
    return design.design(recording, name, side, "trellis", step=step, packet_samples=packet_samples, level_check_bits=LEVEL_CHECK_BITS)
