"""What node and gateway agree on: a frozen `NodeModel` (the node blob, parsed) and a `Model` (that plus the gateway's tables).

A `NodeModel` fixes every bit of the stream; SPEC 3 to 5 name its fields. A `Model` adds what only the decoder reads: floats,
which decide quality and never synchronisation. Arrays are read-only. Build node models through `formats.blob` (from
bytes) or `make_node_model` (from numbers); both end in the same checks, so an invalid one cannot exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


def frozen(values: Any, dtype: Any) -> np.ndarray:
    """A read-only, contiguous copy of `values`."""
    array = np.array(values, dtype=dtype, order="C")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class NestedRatePoint:
    """Step and modulus of SPEC 3.1 (`modulus` is J; for `trellis` q of SPEC 9.1). `taps`: int32[L], newest sample first, step
    folded in."""

    modulus: int
    shift: int
    rounding: int
    taps: np.ndarray

    @property
    def step(self) -> float:
        """Width of a fine cell in source LSB, for a filter of one tap."""
        return float((1 << self.shift) / abs(int(self.taps[0])))

    @property
    def range_coded(self) -> bool:
        return self.modulus & (self.modulus - 1) != 0


@dataclass(frozen=True, eq=False)
class SyndromeRatePoint(NestedRatePoint):
    """Of SPEC 10; `modulus` is q = 2^b. `sent`: bool[C, N], the positions of each coded plane that are sent."""

    sent: np.ndarray


@dataclass(frozen=True, eq=False)
class CdfTable:
    """A table of SPEC 4.3. `cdf`: int32[2*direct + classes + 3]."""

    direct: int
    classes: int
    cdf: np.ndarray


@dataclass(frozen=True, eq=False)
class PredictiveRatePoint:
    """Step (LSB x 256) and tables of SPEC 4; `tables`: position_tables + contexts of them."""

    step_q8: int
    rounding_q8: int
    tables: tuple[CdfTable, ...]

    @property
    def step(self) -> float:
        return self.step_q8 / 256


@dataclass(frozen=True, eq=False)
class LayeredRatePoint:
    """The interval table of SPEC 11: which message each source code is sent as, coarse layer first.

    Interval i holds the codes c with thresholds[i-1] <= c < thresholds[i]; the first and the last are open, so a code outside the
    designed range saturates. `thresholds`: int32[n], strictly rising, within -32767..32767. `messages`: uint8[n+1, K], the symbol of
    layer k below `alphabets[k]`. `cdfs[k]`: int32[P, alphabets[k] + 1], one row per prefix of earlier symbols (P their number, first
    layer most significant), or of no rows: the layer's symbols go as raw bits, and its alphabet is a power of two.
    `sent`: layers in a packet that does not say otherwise, 0 for all of them; rate points may share a table and differ in it.
    `positions`: bool[C, N], of each plane what a block sends of its transform (SPEC 11.6); of no planes where packets are no blocks.
    """

    thresholds: np.ndarray
    messages: np.ndarray
    alphabets: tuple[int, ...]
    cdfs: tuple[np.ndarray, ...]
    sent: int = 0
    positions: np.ndarray = field(default_factory=lambda: frozen(np.zeros((0, 0)), np.bool_))

    @property
    def layers(self) -> int:
        return len(self.alphabets)

    @property
    def layers_sent(self) -> int:
        return self.sent or self.layers

    @property
    def step(self) -> float:
        """Width of the usual interval in source LSB."""
        return float(np.median(np.diff(self.thresholds))) if len(self.thresholds) > 1 else 65536.0

    @property
    def coded(self) -> tuple[bool, ...]:
        return tuple(len(rows) > 0 for rows in self.cdfs)

    @property
    def numbers(self) -> np.ndarray:
        """int64[n+1]: message numbers, first layer most significant."""
        numbers = np.zeros(len(self.messages), np.int64)
        for layer, alphabet in enumerate(self.alphabets):
            numbers = numbers * alphabet + self.messages[:, layer]
        return numbers


@dataclass(frozen=True, eq=False)
class NodeModel:
    """The node blob, parsed (SPEC 5). Fields after `rate_points` belong to `predictive`, the last three before the blob to `trellis`."""

    scheme: str
    packet_samples: int
    hello_every: int
    level_check_bits: int
    scale: float
    offset: float
    rate_points: tuple[Any, ...]
    order: int = 0
    predictors: tuple[np.ndarray, ...] = ()  # row p: int32[p + 1] = bias, coef[0..p-1], Q12
    thresholds: np.ndarray = field(default_factory=lambda: frozen([], np.int32))  # int32[contexts - 1]
    position_tables: int = 0
    contexts: int = 0
    cdf_bits: int = 0
    memory: int = 0  # bits of the syndrome register, SPEC 9
    h0: int = 0
    h1: int = 0
    block_check_bits: int = 0  # SPEC 10, 11.6
    blob: bytes = b""  # the one byte form
    model_id: bytes = b""  # 8 bytes, SPEC 5.4

    @property
    def taps(self) -> int:
        return len(self.rate_points[0].taps) if self.scheme in ("nested", "trellis", "syndrome") else 0

    def to_codes(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Sensor units -> (int16 codes, number that did not fit and were clipped). NaN is the caller's business."""
        codes = np.rint((values - self.offset) / self.scale)
        clipped = np.clip(codes, -32768, 32767)
        return clipped.astype(np.int16), int(np.count_nonzero(clipped != codes))

    def to_units(self, codes: np.ndarray) -> np.ndarray:
        """Codes (any real dtype) -> sensor units, float64."""
        return np.asarray(codes, dtype=np.float64) * self.scale + self.offset


@dataclass(frozen=True, eq=False)
class StateSpace:
    """A joint linear model of source and side information.

        s[n+1] = A s[n] + w[n]      o[n] = mean + C s[n] + v[n]      Cov[w; v] = [[Q, S], [S', R]]

    `o[0]` is the source in LSB (codes), `o[1:]` the neighbours in their sensor units, in the order of `Model.side`.
    A: (d, d), C: (1+m, d), Q: (d, d), S: (d, 1+m), R: (1+m, 1+m), mean: (1+m,).
    """

    A: np.ndarray
    C: np.ndarray
    Q: np.ndarray
    S: np.ndarray
    R: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True, eq=False)
class SideFilter:
    """Linear prediction of the source (`posterior`) or of the filtered source (`nearest`) from side information.

    Joint second moments, so that any neighbour may be missing: `mean`: (1 + m*taps,), `cov`: (1 + m*taps,)^2; entry 0 is the
    source in LSB (for `nearest` with an encoder filter: the filtered source, in LSB), then neighbour 0 at lags 0..taps-1, neighbour 1, ...
    `output_taps`: (Lc,), the filter c of the paper from resolved levels (in LSB, mean removed) to the reconstruction.
    """

    taps: int
    mean: np.ndarray
    cov: np.ndarray
    output_taps: np.ndarray


@dataclass(frozen=True, eq=False)
class RefinementModel:
    """For `decoders.refinement`, by rate point and pass: joint moments of source and features, and the density around their prediction.

    `mean`: (points, passes, F), `cov`: (points, passes, F, F), F = 1 + 10 + 9 * neighbours: the source, own values at -5..5 without 0,
    neighbour 0 at -4..4, ...; the node in LSB, neighbours in their sensor units. `density`: (points, passes, 5): a scale of
    base + gain * (errors nearby), or `alone` where nothing is near, all LSB; the odd degrees of freedom of Student's t; and what makes its
    variance after the cut the error really made, as a factor.
    """

    neighbours: int
    mean: np.ndarray
    cov: np.ndarray
    density: np.ndarray


GAUSSIAN = frozen([[1.0, 1.0]], np.float64)


@dataclass(frozen=True, eq=False)
class Propagation:
    """For `trellis`: how many rounds of expectation propagation its decoder makes; `survivors` 1: from the levels of `decoders.survivors` on.
    `density`: (K, 2) the source around what is foretold of it: weights, and factors of the variance."""

    rounds: int
    survivors: int = 0
    density: np.ndarray = field(default_factory=lambda: GAUSSIAN)


@dataclass(frozen=True, eq=False)
class BlockDecoding:
    """For the decoder of `syndrome`.

    `planes`: (points,) planes that it resolves together, the coded ones and those above that may still be in doubt. `path_mse`: (points,)
    LSB^2, of the best path of blocks whose check failed. `density`: (K, 2) the source around what the state space says: weights, and factors of the
    variance. `rounds` 2: smooth again with the levels once they are known.
    """

    planes: np.ndarray
    path_mse: np.ndarray
    density: np.ndarray
    rounds: int


@dataclass(frozen=True, eq=False)
class Model:
    """A bundle in memory. `decoder` is the default one: nested: nearest | posterior | kalman; predictive: midpoint | kalman | refine;
    trellis: trellis; syndrome: syndrome; layered: posterior | kalman | learned."""

    node: NodeModel
    decoder: str
    source: str = "x"
    side: tuple[str, ...] = ()
    unit: str = ""
    period_s: float = 1.0
    name: str = ""
    max_error: float | None = None  # sensor units; set: reconstructions are clipped to the chosen cell
    state_space: StateSpace | None = None
    side_filter: SideFilter | None = None
    refinement: RefinementModel | None = None
    propagation: Propagation | None = None
    block: BlockDecoding | None = None
    learned: bytes = b""  # ONNX graph, for the decoder of this name
    provenance: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def model_id(self) -> bytes:
        return self.node.model_id
