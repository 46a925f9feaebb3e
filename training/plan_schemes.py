"""What the schemes beside `predictive` would cost a node, each by its own module; those a plan may not use say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.data import Recording
from training.plan_layered import try_layered
from training.plan_nested import NestedTrial, try_nested
from training.plan_study import Columns, Met, Study
from training.plan_syndrome import try_syndrome
from training.plan_trellis import try_trellis

if TYPE_CHECKING:
    from training.plan import Options

BOUNDED = "nested"  # the scheme beside `predictive` that can promise a largest error


def try_all(
    options: Options, study: Study, recording: Recording, rmse: float, met: Met, side: tuple[str, ...], columns: Columns
) -> dict[str, NestedTrial]:
    """By scheme. `met`: what is to be beaten at `rmse` (LSB); `recording`: the rows of the study."""
    promised = options.value if options.kind == "max_error" else None
    trials = {
        "nested": lambda: try_nested(study, recording, rmse, met, promised, side, columns),
        "trellis": lambda: try_trellis(study, recording, rmse, met, side, columns),
        "syndrome": lambda: try_syndrome(study, recording, rmse, met, side, columns),
        "layered": lambda: try_layered(study, recording, rmse, options.layers, side, columns),
    }
    found = {}
    for scheme, trial in trials.items():
        if scheme == "layered" and not options.layers:
            found[scheme] = NestedTrial("")
        elif scheme not in options.schemes:
            found[scheme] = NestedTrial("" if scheme == "layered" else "not asked for")
        elif promised is not None and scheme != BOUNDED:
            found[scheme] = NestedTrial("promises no largest error")
        else:
            found[scheme] = trial()
    return found
