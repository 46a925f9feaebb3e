"""When the level check says that a packet was resolved wrongly: look for the resolution that it confirms.

A node that sends bins never says where it is, so a Kalman decoder that once follows a wrong candidate can go on, one whole
modulus away, and find nothing wrong in any bin. The level check is what contradicts it. After a failed check the packet is decoded
again under a few hypotheses: the belief was whole moduli off before the packet, or went off at one of its least certain samples, or is
worth nothing and the neighbours should decide. The first that passes the check is taken, marked SUSPECT (with h hypotheses tried, a wrong one
passes with probability h / 2^bits), and the stream goes on from it. If none passes, the packet stays SUSPECT; the next one is
tried again, and there the belief is off by whole moduli at worst, since its bins tell all but that. Packets of `trellis` are decoded as a whole:
of them only the belief before them is doubted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.nested_decoders import Kalman, packet_turns
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.trellis_decoder import COSETS, Trellis
from edge_wz.decoders.cells import SUSPECT
from edge_wz.kernels.nested_quantizer import check_levels
from edge_wz.model import Model

TURNS = (1, -1, 2, -2, 3, -3)  # moduli that the belief may be off before the packet
WEAK_SAMPLES = 3  # where it may have gone off inside it
WEAK_TURNS = (1, -1)


def kalman(model: Model) -> Kalman | HealedKalman:
    """The Kalman decoder of a model: healed if it has a level check to heal by."""
    return HealedKalman(model) if model.node.level_check_bits else Kalman(model)


def trellis(model: Model) -> Trellis | HealedTrellis:
    """The same for `trellis`."""
    return HealedTrellis(model) if model.node.level_check_bits else Trellis(model)


class HealedKalman:
    """`Kalman` for models with a level check; the same state, the same result as long as every check passes."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.kalman = self._engine(model)
        self.neighbours = self.kalman.neighbours
        space = model.state_space
        assert space is not None  # Kalman has checked
        self._source_row = np.asarray(space.C[0], dtype=np.float64)
        self._periods = [point.step * point.modulus * self._moduli(model) for point in model.node.rate_points]

    def _engine(self, model: Model) -> Kalman | Trellis:
        return Kalman(model)

    def _moduli(self, model: Model) -> int:
        """Levels that the bits of a whole packet cannot tell from each other are so many moduli apart."""
        return 1

    def initial_state(self) -> np.ndarray:
        return self.kalman.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        out, after = self.kalman.run(state, indices, side)
        spans = packet_spans(indices)
        first_bad = next((p for p, span in enumerate(spans) if not self._passes(indices, p, span, out.levels[span])), None)
        if first_bad is None:
            return out, after
        # the packets before it stand; from here on one packet at a time, with the state between them at hand
        if first_bad:
            start = spans[first_bad].start
            _, state = self.kalman.run(state, cut(indices, slice(0, start)), side[0:start])
        for packet in range(first_bad, len(spans)):
            span = spans[packet]
            part, state = self._heal(state, cut(indices, span), side[span])
            out.values[span], out.sigmas[span] = part.values, part.sigmas
            out.flags[span], out.levels[span] = part.flags, part.levels
        return out, state

    def _passes(self, indices: StreamIndices, packet: int, span: slice, levels: np.ndarray) -> bool:
        wanted = int(indices.checks[packet])
        if wanted < 0:
            return True
        turns = packet_turns(self.model, levels, indices.rate_points[span])
        present = indices.values[span] != NO_LEVEL
        return bool(check_levels(turns, present, self.model.node.level_check_bits) == wanted)

    def _heal(self, state: np.ndarray, one: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        """One packet."""
        whole = slice(0, one.values.size)
        plain, after = self.kalman.run(state, one, side)
        if self._passes(one, 0, whole, plain.levels):
            return plain, after
        for at, displaced in self._hypotheses(state, one, side, plain):
            tail, end = self.kalman.run(displaced, cut(one, slice(at, whole.stop)), side[at : whole.stop])
            trial = join(plain, tail, at)
            if self._passes(one, 0, whole, trial.levels):
                trial.flags[one.values != NO_LEVEL] |= SUSPECT
                return trial, end
        return plain, self._beyond(state, one, side, after)

    def _beyond(self, state: np.ndarray, one: StreamIndices, side: SideInformation, after: np.ndarray) -> np.ndarray:
        """The belief behind a packet that no hypothesis explains: its bins tell all but whole moduli."""
        return after

    def _hypotheses(
        self, state: np.ndarray, one: StreamIndices, side: SideInformation, plain: Decoded
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(sample, belief before it): what else may have happened, the likelier first."""
        period = self._periods[int(one.rate_points[0])]
        yield from ((0, self._displaced(state, turns * period)) for turns in TURNS[:2])
        if self.neighbours:
            yield 0, self.initial_state()
        weak = np.argsort(-np.where(plain.flags & SUSPECT, np.inf, plain.sigmas), kind="stable")[:WEAK_SAMPLES]
        for sample in sorted(int(n) for n in weak if n):
            _, before = self.kalman.run(state, cut(one, slice(0, sample)), side[0:sample])
            yield from ((sample, self._displaced(before, turns * period)) for turns in WEAK_TURNS)
        yield from ((0, self._displaced(state, turns * period)) for turns in TURNS[2:])

    def _displaced(self, state: np.ndarray, shift: float) -> np.ndarray:
        """The belief moved so that the source moves by `shift`, along the direction that its covariance finds easiest."""
        d = self._source_row.size
        covariance = state[d:].reshape(d, d)
        direction = covariance @ self._source_row
        variance = float(self._source_row @ direction)
        if variance <= 0:
            direction, variance = self._source_row, float(self._source_row @ self._source_row)
        moved = state.copy()
        moved[:d] += direction * (shift / variance)
        return moved


class HealedTrellis(HealedKalman):
    """The same for a code over whole packets: they cannot be cut, so it is the belief before the packet that was off."""

    def _engine(self, model: Model) -> Kalman | Trellis:
        return Trellis(model)

    def _moduli(self, model: Model) -> int:
        """Half a period everywhere is a word of the code if h1 has an even number of bits."""
        return COSETS if model.node.h1.bit_count() & 1 else COSETS // 2

    def _hypotheses(
        self, state: np.ndarray, one: StreamIndices, side: SideInformation, plain: Decoded
    ) -> Iterator[tuple[int, np.ndarray]]:
        period = self._periods[int(one.rate_points[0])]
        yield from ((0, self._displaced(state, turns * period)) for turns in TURNS[:2])
        yield 0, self.initial_state()
        yield from ((0, self._displaced(state, turns * period)) for turns in TURNS[2:])

    def _beyond(self, state: np.ndarray, one: StreamIndices, side: SideInformation, after: np.ndarray) -> np.ndarray:
        """Of a packet that was followed, as if it had been lost: led by its own wrong past it says nothing, and who knows so finds the next one."""
        if self.model.propagation is None or not self.model.propagation.survivors:
            return after
        lost = replace(one, values=np.full_like(one.values, NO_LEVEL), checks=np.full_like(one.checks, -1))
        return self.kalman.run(state, lost, side)[1]


def packet_spans(indices: StreamIndices) -> list[slice]:
    starts = [int(start) for start in indices.packet_starts]
    ends = [*starts[1:], indices.values.size] if starts else []
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def cut(indices: StreamIndices, span: slice) -> StreamIndices:
    """The packets that begin in `span`; its first sample counts as a start, so that a packet may be cut."""
    inside = (indices.packet_starts >= span.start) & (indices.packet_starts < span.stop)
    starts, checks = indices.packet_starts[inside] - span.start, indices.checks[inside]
    if not starts.size or starts[0]:
        starts, checks = np.concatenate([[0], starts]), np.concatenate([np.array([-1], checks.dtype), checks])
    return StreamIndices(
        np.ascontiguousarray(indices.values[span]), np.ascontiguousarray(indices.rate_points[span]), starts, checks
    )


def join(head: Decoded, tail: Decoded, at: int) -> Decoded:
    """`head` up to sample `at`, then `tail`."""
    return Decoded(
        *(
            np.concatenate([getattr(head, name)[:at], getattr(tail, name)])
            for name in ("values", "sigmas", "flags", "levels")
        )
    )
