"""Would `syndrome` be cheaper for this node? As in `plan_nested`: a bound first, designs only where the bound leaves room.

A block is resolved from the past before it and from neighbours, not from its own other samples, so its rate is that of levels given those alone:
where a source is smooth and its neighbours are not close, `predictive` is out of reach and nothing is tried. What is tried is measured on the
validation rows in whole packets, failures included.
"""

from __future__ import annotations

import math

import numpy as np

from edge_wz.errors import DesignError
from training import design
from training.data import Recording
from training.plan_nested import NestedTrial, run_nested
from training.plan_study import Columns, Met, Study, conditional_variance, with_side

LEAST_SAMPLES = 64  # of a packet: shorter blocks lose to `trellis` in any case
NEIGHBOURS_ONLY = (0, 0)  # own samples before and after
EXCESS = 0.1  # bits per sample that no block code of up to 4096 samples has saved
DESIGNS = 3


def least_bits(study: Study, rmse: float, side: tuple[str, ...], columns: Columns) -> float:
    """Entropy of the levels given neighbours, were they Gaussian, and what a code adds; payload bits per sample."""
    stream = with_side(study.sent(study.first_q8, 0.5).stream, side, columns).rows(slice(0, study.cut))
    sigma = math.sqrt(conditional_variance(stream, NEIGHBOURS_ONLY))
    step = max(1.0, math.sqrt(12.0) * rmse)
    check_bits = design.syndrome.check_bits_for(study.packet_samples)
    return max(0.0, math.log2(math.sqrt(2 * math.pi * math.e) * sigma / step)) + EXCESS + check_bits / study.packet_samples


def try_syndrome(study: Study, recording: Recording, rmse: float, met: Met, side: tuple[str, ...], columns: Columns) -> NestedTrial:
    """`met`: what it has to beat at `rmse` (LSB); `recording`: the rows of the study."""
    size = study.packet_samples
    if size < LEAST_SAMPLES:
        return NestedTrial(f"blocks of {size} samples are too short")
    if not side:
        return NestedTrial("no neighbour")
    ours = float(met.bits.sum()) / study.validated
    try:
        least = least_bits(study, rmse, side, columns)
        if least >= ours:
            return NestedTrial(f"needs at least {least:.2f} bits")
        return _measured(study, recording, rmse, (least, ours), side, columns)
    except (DesignError, np.linalg.LinAlgError) as error:
        return NestedTrial(f"not designed: {error}")


def _measured(
    study: Study, recording: Recording, rmse: float, bits: tuple[float, float], side: tuple[str, ...], columns: Columns
) -> NestedTrial:
    """Rates from the least on, until one meets the rmse or costs too much."""
    (least, ours), size = bits, study.packet_samples
    rate, reason = math.ceil(least * size / 8) * 8 / size, ""
    for _ in range(DESIGNS):
        if rate >= ours:
            return NestedTrial(reason or f"needs at least {rate:.2f} bits")
        model = design.design(recording.part(0, study.cut), study.name, side, "syndrome", rate=rate, packet_samples=size)
        decoded, packet_bits = run_nested(model, study.material.values, side, columns)
        errors = (decoded - study.material.values)[study.cut :]
        found = float(np.sqrt(np.nanmean(errors * errors))) / study.material.scale
        sent = packet_bits[study.cut // size :]
        reason = f"measured {float(sent.sum()) / study.validated:.2f} bits at rmse {found * study.material.scale:.3g}"
        if found <= rmse:
            step = float(model.node.rate_points[0].step) * study.material.scale
            return NestedTrial(reason, step, found, sent, decoded, rate)
        rate += max(math.ceil(math.log2(found / rmse) * size / 8), 1) * 8 / size
    return NestedTrial(reason)
