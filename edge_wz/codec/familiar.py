"""Do samples look like those that a bundle was made from? Another unit, another sensor or another gain shows in range and changes.

A bundle's provenance says what its recording was like (`traits`); `Familiar` collects the first samples that come and says once, in one
line, when they are far off. Bundles without traits are never doubted. Slow drift is not looked for here: the limits are wide.
"""

from __future__ import annotations

import numpy as np

from edge_wz.model import Model

TRAITS = "trained_on"  # in `Model.provenance`
ENOUGH = 512  # samples to judge by
FEWEST = 64  # at the end of a stream
FAR_CHANGE = 20.0  # times the changes from sample to sample
INSIDE = 0.5  # share of the samples that has to lie near the range trained on


def traits(values: np.ndarray) -> dict[str, float]:
    """Range and mean change of a recording, sensor units; {} where there is nothing to tell."""
    there = values[np.isfinite(values)]
    changes = np.abs(np.diff(values))
    changes = changes[np.isfinite(changes)]
    if not there.size or not changes.size:
        return {}
    return {"low": float(there.min()), "high": float(there.max()), "change": float(changes.mean())}


def stranger(model: Model, values: np.ndarray) -> str | None:
    """One line about how `values` differ from what the model was made from; None if they do not, or nobody knows."""
    then, now = model.provenance.get(TRAITS), traits(values)
    if not isinstance(then, dict) or not {"low", "high", "change"} <= then.keys() or not now:
        return None
    width = max(then["high"] - then["low"], model.node.scale)
    there = values[np.isfinite(values)]
    inside = np.mean((there >= then["low"] - width) & (there <= then["high"] + width))
    ratio = now["change"] / max(then["change"], 1e-300)
    if inside >= INSIDE and 1 / FAR_CHANGE <= ratio <= FAR_CHANGE:
        return None
    if inside >= INSIDE and now["low"] == now["high"]:
        return None  # a still sensor, within its range
    return (
        f"samples from {now['low']:.4g} to {now['high']:.4g} that change by {now['change']:.2g} each; the model was made from "
        f"{then['low']:.4g} to {then['high']:.4g} and {then['change']:.2g}: another unit or sensor?"
    )


class Familiar:
    """Looks at the first samples of one stream."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._kept: list[np.ndarray] = []
        self._count = 0
        self._told = False

    def look(self, values: np.ndarray, last: bool = False) -> str | None:
        """The line, at most once; `last`: no more will come."""
        if self._told:
            return None
        if values.size:
            self._kept.append(np.array(values, dtype=np.float64))
            self._count += values.size
        if self._count < (FEWEST if last else ENOUGH):
            return None
        self._told = True
        found = stranger(self._model, np.concatenate(self._kept))
        self._kept = []
        return found
