"""Which packet is this? The contexts of SPEC 2.3 that a node's packets are tried in, and the bookkeeping of counters.

A `NodeContext` is what one hello fixed. `Contexts` holds the current and the previous one and the counter expected
next; `match` names the counter of a packet or says that it checks nowhere. Samples and time are not its business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from edge_wz.formats.layout import INDEX_MASK, NEAR_WINDOW, PREVIOUS_PACKETS
from edge_wz.formats.packet import Context, Hello, check_data

NO_HEADER = -1  # equals no masked header word
HEADER_MASK = 0xF1FF  # version, type, sequence, extension: all but the rate point
FIRST_HEADER = 0x4000  # of a data packet with sequence 0
LAST_HEADER = FIRST_HEADER | 0xFF << 1
HELD_KEPT = 4
LOOK_BACK_TURNS = 3  # of the sequence, when packets of before a hello are tried again


class Waiting(NamedTuple):
    """A packet that is kept for later. `offset`: where its header begins; `shared`: of the link it came on."""

    raw: bytes
    offset: int
    shared: bool
    counter: int = -1  # held: the counter it would have

    @property
    def sequence(self) -> int:
        return (self.raw[self.offset] & 1) << 7 | self.raw[self.offset + 1] >> 1


@dataclass(frozen=True, slots=True, eq=False)
class NodeContext:
    """`base_index`: SPEC 2.3. `first_counter`: of the hello that brought this context."""

    node_id: int
    model_id: bytes
    boot_epoch: int
    base_index: int
    packet_samples: int
    first_counter: int
    _addressed: Context = field(init=False)
    _shared: Context = field(init=False)

    def __post_init__(self) -> None:
        common = (self.model_id, self.boot_epoch, self.base_index)
        object.__setattr__(self, "_addressed", Context(self.node_id, *common))
        object.__setattr__(self, "_shared", Context(0, *common))

    @classmethod
    def of(cls, hello: Hello, packet_samples: int) -> NodeContext:
        base_index = (hello.sample_index - hello.packet_counter * packet_samples) & INDEX_MASK
        return cls(hello.node_id, hello.model_id, hello.boot_epoch, base_index, packet_samples, hello.packet_counter)

    def covers(self, other: NodeContext) -> bool:
        """Whether packets check in both."""
        return (self.model_id, self.boot_epoch, self.base_index) == (other.model_id, other.boot_epoch, other.base_index)

    def seed(self, counter: int, shared: bool) -> int:
        return (self._shared if shared else self._addressed).seed(counter)

    def checks(self, packet: Waiting, counter: int) -> bool:
        return counter >= 0 and check_data(packet.raw, self.seed(counter, packet.shared))

    def first_index(self, counter: int) -> int:
        return (self.base_index + counter * self.packet_samples) & INDEX_MASK


class Match(NamedTuple):
    context: NodeContext
    counter: int
    packet: Waiting


class Contexts:
    """`expected`: the counter of the next packet, all windows are around it."""

    def __init__(self) -> None:
        self.current: NodeContext | None = None
        self.previous: NodeContext | None = None
        self.previous_expected = 0
        self.previous_left = 0
        self.expected = 0
        self.held: list[Waiting] = []
        self.held_discarded = 0

    @property
    def header(self) -> int:
        """The masked header word of the packet expected next, for the pipeline's quick test; or `NO_HEADER`."""
        if self.current is None or self.held:
            return NO_HEADER
        return FIRST_HEADER | (self.expected & 0xFF) << 1

    def enter(self, context: NodeContext | None, expected: int) -> None:
        """A hello changed the context; None: to a model that is not here."""
        if self.current is not None:
            self.previous, self.previous_expected = self.current, self.expected
            self.previous_left = PREVIOUS_PACKETS
        self.current, self.expected = context, expected

    def match(self, packet: Waiting) -> list[Match] | None:
        """The packets that are accepted now: this one and a held one it confirms; [] if it is held; None: nowhere."""
        if self.current is None:
            return self._match_previous(packet)
        counter = near(self.expected, packet.sequence)
        if self.current.checks(packet, counter):
            self.held_discarded += len(self.held)
            self.held = []
            self.expected = max(self.expected, counter + 1)
            return [Match(self.current, counter, packet)]
        return self._match_previous(packet) or self._match_gap(self.current, packet)

    def _match_previous(self, packet: Waiting) -> list[Match] | None:
        if self.previous is None or not self.previous_left:
            return None
        self.previous_left -= 1
        counter = near(self.previous_expected, packet.sequence)
        if not self.previous.checks(packet, counter):
            return None
        self.previous_expected = max(self.previous_expected, counter + 1)
        return [Match(self.previous, counter, packet)]

    def _match_gap(self, context: NodeContext, packet: Waiting) -> list[Match] | None:
        for held in self.held:
            counter = after(held.counter + 1, packet.sequence)
            if counter <= held.counter + NEAR_WINDOW and context.checks(packet, counter):
                self.held.remove(held)
                self.held_discarded += len(self.held)
                self.held = []
                self.expected = counter + 1
                return [Match(context, held.counter, held), Match(context, counter, packet)]
        gap = after(self.expected + NEAR_WINDOW, packet.sequence)
        for counter in (gap, gap + 256):
            if context.checks(packet, counter):
                self._hold(packet._replace(counter=counter))
                return []
        return None

    def _hold(self, packet: Waiting) -> None:
        """The same packet twice confirms nothing."""
        others = [held for held in self.held if held.counter != packet.counter]
        self.held_discarded += len(self.held) - len(others) + max(0, len(others) + 1 - HELD_KEPT)
        self.held = [*others, packet][-HELD_KEPT:]

    def match_base(self, packet: Waiting) -> Match | None:
        """Of a refinement: near the counter expected next, here or in the context before. It changes nothing."""
        pairs = ((self.current, self.expected), (self.previous if self.previous_left else None, self.previous_expected))
        for context, expected in pairs:
            counter = near(expected, packet.sequence)
            if context is not None and context.checks(packet, counter):
                return Match(context, counter, packet)
        return None

    def match_earlier(self, packets: list[Waiting]) -> tuple[list[Match], list[Waiting]]:
        """Packets that came before the hello that explains them: (accepted, still unexplained).

        Those within 16 of the hello's counter check as always. Farther back a packet needs another one within 16
        that checks too.
        """
        found, rest = [], []
        for packet in packets:
            match = self._match_back(packet)
            if match is None:
                rest.append(packet)
            else:
                found.append(match)
        counters = sorted({match.counter for match in found})
        sure = {counter for counter in counters if near(self.expected, counter & 0xFF) == counter}
        for one, other in zip(counters, counters[1:], strict=False):
            if other - one <= NEAR_WINDOW:
                sure |= {one, other}
        accepted = [match for match in found if match.counter in sure]
        rest += [match.packet for match in found if match.counter not in sure]
        self.expected = max([self.expected, *(match.counter + 1 for match in accepted)])
        return sorted(accepted, key=lambda match: match.counter), rest

    def _match_back(self, packet: Waiting) -> Match | None:
        if self.current is None:
            return None
        newest = self.expected + NEAR_WINDOW - 1
        newest -= (newest - packet.sequence) & 0xFF
        for turn in range(LOOK_BACK_TURNS):
            if self.current.checks(packet, newest - 256 * turn):
                return Match(self.current, newest - 256 * turn, packet)
        return None


def near(expected: int, sequence: int) -> int:
    """The counter in `expected - 16 .. expected + 15` with this sequence, or -1."""
    ahead = (sequence - expected + NEAR_WINDOW) & 0xFF
    return max(expected - NEAR_WINDOW + ahead, -1) if ahead < 2 * NEAR_WINDOW else -1


def after(start: int, sequence: int) -> int:
    """The smallest counter at or after `start` with this sequence."""
    return start + ((sequence - start) & 0xFF)
