"""Would `layered` do for this node, and how few of its layers? Only where a plan is asked for layers; what is told is measured at every depth.

The alphabets say the rate, so there is no step to search: the layers that meet the wanted rmse are what the node sends unless told otherwise, the
others are refinements. At full depth it is the same quantiser as `nested`, without a level check.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_wz.errors import DesignError
from edge_wz.formats.blob import make_layered
from edge_wz.model import Model
from training import design
from training.data import Recording
from training.plan_nested import NestedTrial, run_nested
from training.plan_study import Columns, Study


def sending(model: Model, layers: int) -> Model:
    """The model with a rate point 0 of so many layers; the other depths behind it, the deepest first."""
    node = model.node
    points = sorted(node.rate_points, key=lambda point: (point.layers_sent != layers, -point.layers_sent))
    return replace(model, node=make_layered(node.packet_samples, node.hello_every, node.scale, node.offset, points, node.block_check_bits))


def try_layered(
    study: Study, recording: Recording, rmse: float, alphabets: tuple[int, ...], side: tuple[str, ...], columns: Columns
) -> NestedTrial:
    """The fewest layers that meet `rmse` (LSB) on the validation rows; `recording`: the rows of the study."""
    if not side:
        return NestedTrial("no neighbour")
    try:
        model = design.design(recording.part(0, study.cut), study.name, side, "layered", layers=alphabets, packet_samples=study.packet_samples)
    except (DesignError, np.linalg.LinAlgError) as error:
        return NestedTrial(f"not designed: {error}")
    scale, told, met = study.material.scale, [], None
    for layers in range(1, len(alphabets) + 1):
        decoded, packet_bits = run_nested(sending(model, layers), study.material.values, side, columns)
        errors = (decoded - study.material.values)[study.cut :]
        found = float(np.sqrt(np.nanmean(errors * errors)))
        bits = packet_bits[study.cut // study.packet_samples :]
        told.append(f"{float(bits.sum()) / study.validated:.2f} bits at rmse {found:.3g}")
        if met is None and found <= rmse * scale:
            step = float(model.node.rate_points[0].step) * scale
            met = NestedTrial("", step, found / scale, bits, decoded, float(layers))
    reason = "measured, layer by layer, " + ", ".join(told)
    return NestedTrial(reason) if met is None else replace(met, reason=reason)
