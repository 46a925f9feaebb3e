"""From indices and side information to samples, each with its own sigma and flags. Parsing is over when this begins.

A `Decoder` is a model and the name of a decoder. It holds no stream: state goes in and comes out as one flat float64
array, so streams can be cut between any two packets, saved, and continued, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_wz.codec import (
    healing,
    layered_decoder,
    layered_learned,
    layered_smoothed,
    nested_decoders,
    predictive_decoders,
    refined_decoder,
    syndrome_decoder,
)
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.side_information import SideInformation
from edge_wz.decoders.cells import ABSENT, CONCEALED, RESOLVED, SUSPECT, to_units
from edge_wz.errors import InputError
from edge_wz.kernels.nested_quantizer import check_levels
from edge_wz.model import Model

WARM_BLOCK = 64  # samples that any block decoder takes for a block
COMPILES = "preparing decoders; the first start after an installation compiles them, which can take a minute or two"
_INDEX, _SENSOR = np.dtype(np.int32), np.dtype(np.float64)

__all__ = ["ABSENT", "CONCEALED", "DECODERS", "RESOLVED", "SUSPECT", "Decoder", "Reconstruction"]

DECODERS: dict[str, dict[str, Callable[[Model], Any]]] = {
    "nested": {
        "nearest": nested_decoders.Nearest,
        "posterior": nested_decoders.Posterior,
        "kalman": healing.kalman,
    },
    "predictive": {
        "midpoint": predictive_decoders.Midpoint,
        "kalman": predictive_decoders.Refined,
        "refine": refined_decoder.Refine,
    },
    "trellis": {"trellis": healing.trellis},
    "syndrome": {"syndrome": syndrome_decoder.Syndrome},
    "layered": {"posterior": layered_decoder.Posterior, "kalman": layered_smoothed.kalman, "learned": layered_learned.Learned},
}


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One row per sample. Flags: RESOLVED from received bits, CONCEALED without any, SUSPECT if its level may be wrong.

    SUSPECT is set where the best candidate has less than `cells.SURE` of the posterior weight (posterior, kalman), and
    on all resolved samples of a packet whose level check differs. ABSENT is for the caller to set.
    """

    values: np.ndarray  # float64[T], sensor units
    sigmas: np.ndarray  # float64[T], sensor units
    flags: np.ndarray  # uint8[T]
    levels: np.ndarray  # int32[T], resolved; NO_LEVEL where none


def _is_plain(array: np.ndarray, dtype: Any) -> bool:
    return array.dtype == dtype and array.flags.carray


def _plain(array: np.ndarray, dtype: Any) -> np.ndarray:
    """A writable C array: kernels are compiled anew for other layouts, and then may round differently."""
    return array if _is_plain(array, dtype) else np.array(array, dtype=dtype, order="C")


def _plain_indices(indices: StreamIndices) -> StreamIndices:
    streams = (indices.values, indices.rate_points, indices.preds, indices.recon)
    if all([_is_plain(stream, _INDEX) for stream in streams]):
        return indices
    values, rate_points, preds, recon = (_plain(stream, _INDEX) for stream in streams)
    return StreamIndices(values, rate_points, indices.packet_starts, indices.checks, preds, recon)


def _plain_side(side: SideInformation) -> SideInformation:
    if _is_plain(side.values, _SENSOR) and _is_plain(side.sigmas, _SENSOR):
        return side
    return SideInformation(_plain(side.values, _SENSOR), _plain(side.sigmas, _SENSOR))


class Decoder:
    """`decoder`: a name of `DECODERS`, or the model's own choice."""

    def __init__(self, model: Model, decoder: str | None = None) -> None:
        known, self.name = DECODERS[model.node.scheme], decoder or model.decoder
        if self.name not in known:
            raise InputError(f"decoder {self.name}: scheme {model.node.scheme} has {', '.join(known)}")
        self.model = model
        self._engine = known[self.name](model)
        self.neighbours: int = self._engine.neighbours

    def initial_state(self) -> np.ndarray:
        """State before the first sample of a stream: flat float64, copyable."""
        return self._engine.initial_state()

    def reconstruct(
        self, state: np.ndarray, indices: StreamIndices, side: SideInformation
    ) -> tuple[Reconstruction, np.ndarray]:
        """Samples of `indices`, and the state after them; `state` itself is not changed."""
        expected = (indices.values.size, self.neighbours)
        if side.values.shape != expected and self.neighbours:
            raise InputError(f"side information of shape {side.values.shape}, {expected} expected")
        indices = _plain_indices(indices)
        out, after = self._engine.run(_plain(state, _SENSOR), indices, _plain_side(side))
        if self.model.node.level_check_bits:
            self._mark_failed_checks(indices, out.levels, out.flags)
        to_units(out.values, out.sigmas, self.model.node.scale, self.model.node.offset)
        return Reconstruction(out.values, out.sigmas, out.flags, out.levels), after

    def warm_up(self) -> None:
        """Compile all that `reconstruct` needs, or load it, so that the first packet need not wait for that."""
        node = self.model.node
        samples = min(WARM_BLOCK, node.packet_samples) if node.block_check_bits else 4
        values = np.zeros(samples, np.int32)
        values[-1] = NO_LEVEL
        zeros, starts = np.zeros(samples, np.int32), np.zeros(1, np.int64)
        indices = StreamIndices(values, zeros, starts, np.zeros(1, np.int32), zeros, zeros)
        for missing in (np.nan, 0.0):
            side = SideInformation(np.full((samples, self.neighbours), missing), np.zeros((samples, self.neighbours)))
            self.reconstruct(self.initial_state(), indices, side)

    def _mark_failed_checks(self, indices: StreamIndices, levels: np.ndarray, flags: np.ndarray) -> None:
        turns = nested_decoders.packet_turns(self.model, levels, indices.rate_points)
        present = indices.values != NO_LEVEL
        ends = np.append(indices.packet_starts[1:], levels.size)
        for packet in np.flatnonzero(indices.checks >= 0):
            span = slice(indices.packet_starts[packet], ends[packet])
            if check_levels(turns[span], present[span], self.model.node.level_check_bits) != indices.checks[packet]:
                flags[span][present[span]] |= SUSPECT
