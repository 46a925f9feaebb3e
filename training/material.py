"""What a design works on: the source as codes, the neighbours, and the figures of a model measured on them.

The measuring here is the loop of a search: the integer quantiser and the real `Decoder`, but no packets. What a bundle
achieves on the air, bytes and losses included, is `training.evaluate`'s to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import Decoder, Reconstruction
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError
from edge_wz.kernels import nested_quantizer
from edge_wz.kernels.nested_quantizer import NO_LEVEL
from edge_wz.model import Model, NestedRatePoint
from training.data import Recording, choose_scale

MIN_SAMPLES = 200
STATE_SLOTS = 16  # of the quantiser: L-1 samples of history and the count of saturated ones
COPY_CORRELATION = 1 - 1e-12
WANDERING_BLOCK = 64  # samples
FEWEST_CROSSINGS = 3
WANDERING_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Material:
    """T samples: source in sensor units (NaN = missing) and as codes, neighbours float64[T, m]."""

    values: np.ndarray
    codes: np.ndarray  # int16[T], 0 where absent
    present: np.ndarray  # bool[T]
    side: np.ndarray
    scale: float
    offset: float
    rounding: float  # sensor units: what turning values into codes may cost, 0 if they lie on the grid

    @property
    def in_codes(self) -> np.ndarray:
        """float64[T], NaN where absent."""
        return np.where(self.present, self.codes.astype(np.float64), np.nan)

    def part(self, start: int, stop: int) -> Material:
        span = slice(start, stop)
        arrays = (self.values[span], self.codes[span], self.present[span], self.side[span])
        return Material(*arrays, self.scale, self.offset, self.rounding)


def gather(recording: Recording, source: str, side: Sequence[str]) -> Material:
    """The columns of a design, or one line about why they do not make one."""
    values = recording.source(source)
    neighbours = recording.matrix(side)
    present = ~np.isnan(values)
    if present.sum() < MIN_SAMPLES:
        raise DesignError(
            f"{recording.path}: column '{source}' has {present.sum()} samples, a design needs at least {MIN_SAMPLES}"
        )
    for name, column in zip(side, neighbours.T, strict=True):
        _check_neighbour(recording.path, source, name, values, column)
    if len(set(side)) != len(side):
        raise DesignError(f"a neighbour is named twice: {', '.join(side)}")
    return from_arrays(values, neighbours)


def from_arrays(values: np.ndarray, side: np.ndarray, grid: tuple[float, float] | None = None) -> Material:
    """`grid`: scale and offset of the codes, if not chosen from the values."""
    scale, offset = grid or choose_scale(values)
    present = ~np.isnan(values)
    exact = np.where(present, (values - offset) / scale, 0.0)
    codes = np.clip(np.rint(exact), -32768, 32767)
    on_grid = bool(np.abs(exact - codes).max() < 1e-4)
    return Material(
        values,
        codes.astype(np.int16),
        present,
        np.ascontiguousarray(side),
        scale,
        offset,
        0.0 if on_grid else scale / 2,
    )


def wanders(values: np.ndarray) -> bool:
    """Whether the level (NaN = missing) has not settled: it is most of the variance, and crossed its mean too seldom to say where it will be
    next. Half a day of a room's temperature does; what is predicted then had better be changes."""
    blocks = len(values) // WANDERING_BLOCK
    table = values[: blocks * WANDERING_BLOCK].reshape(blocks, WANDERING_BLOCK)
    levels = np.array([np.nanmean(row) for row in table if not np.isnan(row).all()])
    if levels.size < 2:
        return False
    above = levels > levels.mean()
    few = np.count_nonzero(above[1:] != above[:-1]) < FEWEST_CROSSINGS
    return bool(few and np.var(levels) > WANDERING_SHARE * np.nanvar(values))


def _check_neighbour(path: str, source: str, name: str, values: np.ndarray, column: np.ndarray) -> None:
    if name == source:
        raise DesignError(f"column '{name}' cannot be its own neighbour")
    both = ~np.isnan(values) & ~np.isnan(column)
    if both.sum() < MIN_SAMPLES:
        raise DesignError(
            f"{path}: '{source}' and its neighbour '{name}' share {both.sum()} samples, {MIN_SAMPLES} are needed"
        )
    if column[both].min() == column[both].max():
        raise DesignError(f"{path}: neighbour '{name}' is constant and tells nothing about '{source}'")
    if abs(np.corrcoef(values[both], column[both])[0, 1]) > COPY_CORRELATION:
        raise DesignError(f"{path}: neighbour '{name}' is a copy of '{source}': the same sensor under two names")


@dataclass(frozen=True, eq=False)
class Figures:
    """One rate point on one stretch; errors in sensor units."""

    mse: float
    expected_mse: float  # mean of the squares of the sigmas the decoder itself states
    sqnr_db: float
    wrong_cells: float  # fraction of the coded samples
    reconstruction: Reconstruction


def bins_of(point: NestedRatePoint, codes: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bins and true levels, NO_LEVEL where absent, by the integer kernel."""
    bins, turns = np.full(len(codes), NO_LEVEL, np.int32), np.zeros(len(codes), np.int32)
    state = np.zeros(STATE_SLOTS, np.int32)
    nested_quantizer.quantize_stream(
        codes, present, point.taps, point.shift, point.rounding, point.modulus, state, bins, turns
    )
    levels = turns * point.modulus + bins - 32768
    return bins, np.where(present, levels, NO_LEVEL)


def stream_of(bins: np.ndarray, point: int = 0) -> StreamIndices:
    """Bins as one packet without a level check."""
    whole = np.zeros(1, np.int64), np.full(1, -1, np.int32)
    return StreamIndices(bins, np.full(len(bins), point, np.int32), *whole)


def measure(model: Model, material: Material, point: int = 0, decoder: str | None = None) -> Figures:
    """Quantise and reconstruct `material` under one rate point of a `nested` model."""
    bins, levels = bins_of(model.node.rate_points[point], material.codes, material.present)
    engine = Decoder(model, decoder)
    result, _ = engine.reconstruct(engine.initial_state(), stream_of(bins, point), SideInformation.of(material.side))
    errors = (result.values - material.values)[material.present]
    mse = float(np.mean(errors * errors))
    expected = float(np.mean(np.square(result.sigmas[material.present])))
    variance = float(np.var(material.values[material.present]))
    wrong = float(np.mean((result.levels != levels)[material.present]))
    return Figures(mse, expected, 10 * np.log10(variance / max(mse, 1e-30)), wrong, result)
