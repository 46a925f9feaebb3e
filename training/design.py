"""Design a model bundle from a recording by estimated moments and searches over a few numbers; no gradients, no torch.

    codes and scale -> state space and side filter -> step and modulus (nested) or predictor and tables (predictive)
    -> Model

`from_state_space` is the same for statistics that are known. Every choice is made on the recording given: hand over the
training part only. Each model says in `provenance` what it was made from and in `measured` what it did there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_wz.codec.familiar import TRAITS, traits
from edge_wz.codec.reconstruction import DECODERS
from edge_wz.errors import InputError
from edge_wz.model import Model, StateSpace
from training import design_nested as nested
from training import design_predictive as predictive
from training import design_refined as refined
from training import design_syndrome as syndrome
from training import design_trellis as trellis
from training.data import Recording
from training.design_layered import design_layered, parse_layers
from training.layered_lloyd import MODES
from training.material import Material, from_arrays, gather, measure
from training.state_space import identify, simulate, source_in_codes

AUTO = "auto"  # the decoder of `predictive` is chosen by what it saves
WRONG_CELL_TARGET = 1e-4
SIDE_TAPS = 5
SIMULATED_SAMPLES = 400_000
SIMULATION_SEED = 20211


@dataclass(frozen=True)
class Targets:
    """What the user asked for: exactly one of the three, one entry per rate point. Sensor units; rate in bits per
    sample."""

    kind: str
    values: tuple[float, ...]

    @staticmethod
    def of(**given: float | Sequence[float] | None) -> Targets:
        asked = {kind: value for kind, value in given.items() if value is not None}
        if len(asked) != 1:
            raise InputError(f"give exactly one of rate, max_error and step, not {' and '.join(asked) or 'none'}")
        kind, value = next(iter(asked.items()))
        values = (float(value),) if isinstance(value, int | float) else tuple(float(v) for v in value)
        if not 1 <= len(values) <= 8 or not all(np.isfinite(v) and v > 0 for v in values):
            raise InputError(f"{kind}: 1 to 8 positive numbers expected, not {value}")
        if kind == "max_error" and len(values) > 1:
            raise InputError("max_error is one promise for all rate points: give one number")
        return Targets(kind, values)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a design is asked for besides its statistics: one of rate, max_error and step (`Targets`), and how to meet it.

    `decoder` auto (predictive): refinement at the gateway where it pays. `side_as`: whether refinement expects neighbours decoded, or
    true. `states`: of a trellis; `follow`: decode it by the source's own past even where it tells little.
    `layers`: alphabets of `layered`, coarse first, which say the rate; `mode`: what its rates are counted by."""

    rate: float | Sequence[float] | None = None
    max_error: float | None = None
    step: float | Sequence[float] | None = None
    decoder: str | None = None
    packet_samples: int = 32
    level_check_bits: int = 0
    hello_every: int = 128
    states: int | None = None
    follow: bool = False
    layers: Sequence[int] | None = None
    mode: str | None = None
    side_taps: int = SIDE_TAPS
    side_as: str = "decoded"

    @property
    def targets(self) -> Targets:
        if self.layers is not None:
            if any(value is not None for value in (self.rate, self.max_error, self.step)):
                raise InputError("scheme layered: its layers say the rate, give no rate, max_error or step")
            return Targets("rate", (float(np.log2(np.prod(parse_layers(self.layers)))),))
        return Targets.of(rate=self.rate, max_error=self.max_error, step=self.step)

    def check(self, scheme: str) -> None:
        if self.side_as not in refined.SIDES:
            raise InputError(f"side_as must be {' or '.join(refined.SIDES)}, not '{self.side_as}'")
        if (self.layers is None) == (scheme == "layered") or (self.mode is not None and scheme != "layered"):
            raise InputError("layers and mode belong to scheme layered, which needs layers, like 2,2,2")
        if self.mode not in (None, *MODES):
            raise InputError(f"mode must be {' or '.join(MODES)}, not '{self.mode}'")
        _check_decoder(scheme, self.decoder)


def design(
    recording: Recording,
    source: str,
    side: Sequence[str] = (),
    scheme: str = "nested",
    *,
    unit: str = "",
    name: str = "",
    **asked: Any,
) -> Model:
    """A model of `source` with the neighbours `side`; `asked`: fields of `Options`. Raises RecordingError, DesignError or InputError, one
    line each."""
    options = Options(**asked)
    options.check(scheme)
    targets = options.targets
    material = gather(recording, source, side)
    noise = _coding_noise(targets, material)
    found = identify(material.in_codes, material.side, noise)
    model = _design(material, found.space, scheme, options)
    provenance = {
        "method": "analytic",
        "recording": recording.path,
        "samples": int(material.present.sum()),
        "asked": _asked(targets),
        "state_order": found.order,
        "lags": found.lags,
        TRAITS: traits(material.values),
        **model.provenance,
    }
    return replace(
        model,
        source=source,
        side=tuple(side),
        unit=unit,
        name=name or source,
        provenance=provenance,
        period_s=recording.period_s or 1.0,
    )


def from_state_space(
    space: StateSpace,
    scheme: str = "nested",
    *,
    grid: tuple[float, float] | None = None,
    samples: int = SIMULATED_SAMPLES,
    source: str = "x",
    side: Sequence[str] | None = None,
    period_s: float = 1.0,
    unit: str = "",
    name: str = "",
    **asked: Any,
) -> Model:
    """A model for known statistics, all in sensor units; `asked` as for `design`, with true neighbours unless it says otherwise. The search
    runs on a simulated stream; `grid`: scale and offset of codes."""
    options = Options(**{"side_as": "true", **asked})
    options.check(scheme)
    targets = options.targets
    stream = simulate(space, samples, SIMULATION_SEED)
    material = from_arrays(stream[:, 0], stream[:, 1:], grid)
    coded = source_in_codes(space, material.scale, material.offset)
    model = _design(material, coded, scheme, options, known=True)
    names = tuple(side) if side is not None else tuple(f"y{k}" for k in range(len(space.mean) - 1))
    provenance = {"method": "known statistics", "simulated": samples, "asked": _asked(targets), TRAITS: traits(material.values), **model.provenance}
    return replace(
        model, source=source, side=names, unit=unit, name=name or source, period_s=period_s, provenance=provenance
    )


def _check_decoder(scheme: str, decoder: str | None) -> None:
    if scheme not in DECODERS:
        raise InputError(f"scheme '{scheme}' is none of {', '.join(DECODERS)}")
    if decoder is None or (decoder == AUTO and scheme == "predictive"):
        return
    if decoder not in DECODERS[scheme]:
        raise InputError(f"decoder '{decoder}': scheme {scheme} has {', '.join(DECODERS[scheme])}")


def _asked(targets: Targets) -> dict[str, Any]:
    return {targets.kind: list(targets.values)}


def _coding_noise(targets: Targets, material: Material) -> float:
    """LSB^2: roughly how well the decoder will know the source's own past, which is what an identification has to
    serve."""
    if targets.kind == "rate":
        differences = np.diff(material.in_codes)
        spread = float(np.nanvar(differences))
        return max(spread * 4.0 ** -max(targets.values), 1.0 / 12)
    width = max(targets.values) / material.scale * (2 if targets.kind == "max_error" else 1)
    return max(width * width, 1.0) / 12


def _design(material: Material, space: StateSpace, scheme: str, options: Options, known: bool = False) -> Model:
    targets = options.targets
    if scheme == "trellis":
        if targets.kind == "max_error":
            raise InputError("scheme trellis is designed for a rate or a step, not for a max_error")
        framing = (options.packet_samples, options.level_check_bits, options.hello_every)
        return trellis.design_trellis(material, space, (targets.kind, targets.values), options.states, framing, options.follow)
    if options.states is not None or options.follow:
        raise InputError(f"scheme {scheme} has no states, and nothing to follow")
    if options.layers is not None:
        if options.level_check_bits:
            raise InputError("scheme layered has no level check")
        framing_only = options.packet_samples, options.hello_every
        mode = options.mode or MODES[0]
        decoder = options.decoder or "kalman"
        return design_layered(material, space, options.layers, mode, decoder, framing_only, options.side_taps, known)
    if scheme == "nested":
        return _design_nested(material, space, options, known)
    if scheme == "syndrome":
        return _design_syndrome(material, space, options)
    if options.level_check_bits:
        raise InputError("predictive has no level check: its levels are never in doubt")
    if options.decoder in ("refine", AUTO):
        request = refined.Request(
            targets.kind, targets.values, options.decoder, options.side_as, options.packet_samples, options.hello_every
        )
        return refined.design_refined(material, space, request)
    return predictive.design_predictive(
        material, space, targets.kind, targets.values, options.decoder, options.packet_samples, options.hello_every
    )


def _design_syndrome(material: Material, space: StateSpace, options: Options) -> Model:
    targets = options.targets
    if targets.kind != "rate":
        raise InputError(f"scheme syndrome is designed for a rate, not for a {targets.kind}")
    if options.level_check_bits:
        raise InputError("syndrome has no level check: its blocks have a check of their own")
    return syndrome.design_syndrome(material, space, targets.values, (options.packet_samples, options.hello_every))


def _design_nested(material: Material, space: StateSpace, options: Options, known: bool) -> Model:
    targets = options.targets
    side_filter = nested.fit_side_filter(material, options.side_taps)
    parts = nested.NestedParts(
        space, side_filter, options.decoder or "kalman", options.packet_samples, options.level_check_bits, options.hello_every
    )
    chances: list[float] = []
    if targets.kind == "rate":
        moduli = [nested.check_rate(value) for value in targets.values]
        if not known:  # an estimate may deserve less trust than it claims, the truth does not
            parts = nested.trusted(parts, material, sorted(moduli)[len(moduli) // 2])
        points = [nested.tuned_point(parts, material, modulus) for modulus in moduli]
    elif targets.kind == "step":
        points = []
        for value in sorted(targets.values):  # the finest first: its state space serves the others
            width = max(value / material.scale, 1.0)
            parts, modulus, chance = nested.covering(parts, material, width, WRONG_CELL_TARGET)
            points.append(nested.nested_point(width, modulus))
            chances.append(chance)
    else:
        cell = widest_cell(targets.values[0], material)
        parts = replace(parts, max_error=(cell - 1) / 2 * material.scale)
        parts, modulus, chance = nested.covering(parts, material, cell, WRONG_CELL_TARGET)
        points, chances = [nested.bounded_point(cell, modulus)], [chance]
    model = nested.with_output_filter(nested.build(parts, material, points), material)
    if parts.max_error is not None:
        nested.check_width(model, widest_cell(targets.values[0], material))
    return replace(model, measured=_nested_figures(model, material, chances))


def widest_cell(max_error: float, material: Material) -> int:
    """Codes per cell such that its middle is nowhere further than `max_error` from the sensor's value."""
    allowed = (max_error - material.rounding) / material.scale
    if allowed < 0:
        raise InputError(
            f"max_error {max_error:g} is below half a code ({material.rounding:g}): its range fits no finer ones"
        )
    return int(np.floor(2 * allowed + 1e-6)) + 1


def _nested_figures(model: Model, material: Material, chances: list[float]) -> dict[str, Any]:
    """On the recording of the design itself: evaluate on another one before believing them."""
    rows = []
    for index, point in enumerate(model.node.rate_points):
        figures = measure(model, material, index)
        row: dict[str, Any] = {
            "bits": float(np.log2(point.modulus)),
            "modulus": point.modulus,
            "step": point.step * material.scale,
            "sqnr_db": round(figures.sqnr_db, 3),
            "rmse": float(np.sqrt(figures.mse)),
            "wrong_cells": figures.wrong_cells,
        }
        if chances:
            row["wrong_cell_probability"] = max(chances[index], figures.wrong_cells)
        rows.append(row)
    return {"training": rows}


__all__ = ["Targets", "design", "from_state_space"]
