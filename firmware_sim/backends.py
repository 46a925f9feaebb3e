"""What encodes at a simulated node: the gateway's own encoder, or the C runtime in one of three places.

    numba                 the encoder of this package
    c                     the C runtime as a library of this machine
    thumb, thumb:m3       the C runtime compiled for a Cortex-M0 or M3, in unicorn: instructions counted, packet by packet
    qemu, qemu:microbit   whole firmware in QEMU on a pseudo terminal, model deployed over the wire, samples played into its ADC

All are given the same samples and send the same packets; where they differ is a bug (docs/SPEC.md). Nodes run one after another, each from
its own start: a fleet costs the memory of one. Firmware has no clock and counts its own boots, so `qemu` needs no start time and epoch 0.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from cobs import cobs

from edge_wz.codec import layer_policy
from edge_wz.codec.encoder import EncoderCounters, NodeEncoder
from edge_wz.codec.layered_encoder import LayeredNodeEncoder
from edge_wz.errors import InputError, LinkError
from edge_wz.formats import packet
from edge_wz.formats.framing import encode_frame
from edge_wz.formats.layout import TYPE_HELLO
from edge_wz.model import NodeModel
from export import c_build, harness
from export.c_build import BuildError
from export.footprint import HARNESS_PREFIXES
from export.harness import HARNESS_BYTES, LINK_ADDRESSED, LINK_SHARED, Commands, Machine, Op
from firmware_sim.fleet import Backend, Encoded, Member, RunSpec

CALL_SAMPLES = 1 << 16  # per call, so that a bar can move
NAMES = ("numba", "c", "thumb", "thumb:m3", "qemu", "qemu:microbit")
CHOICE = re.compile(r"(?:(\d+)(?:-(\d+))?=)?(\S+)")
Advance = Callable[[int], None]


class Numba:
    """`NodeEncoder`."""

    name, core = "numba", ""

    def encode(self, member: Member, run: RunSpec, codes: np.ndarray, present: np.ndarray, advance: Advance) -> Encoded:
        encoder = _encoder(member, run)
        packets: list[bytes] = []
        for first in range(0, len(codes), CALL_SAMPLES):
            part = slice(first, first + CALL_SAMPLES)
            packets += encoder.encode(codes[part], present[part])
            advance(len(codes[part]))
        packets += encoder.flush()
        return Encoded(packets, [encode_frame(raw) for raw in packets], encoder.counters)


def _encoder(member: Member, run: RunSpec) -> NodeEncoder:
    node = member.model.node
    options: dict[str, Any] = {
        "period_us": member.period_us, "boot_epoch": run.boot_epoch, "start_ms": run.start_ms,
        "shared_link": run.shared_link, "rate_point": run.rate_point,
    }  # fmt: skip
    if not _chooses_layers(member, run):
        return NodeEncoder(node, member.node_id, **options)
    policy = layer_policy.policy_of(run.layers, node.scale, member.model.period_s)
    return LayeredNodeEncoder(node, member.node_id, policy=policy, **options)


def _chooses_layers(member: Member, run: RunSpec) -> bool:
    return bool(run.layers) and member.model.node.scheme == "layered"


class _Runtime:
    """The C runtime behind `export.harness`."""

    def __init__(self, name: str, machine: Machine, call_packets: int, block: bool) -> None:
        self.name = name
        self.core = ""
        self._machine = machine
        self._call_packets = call_packets
        self._block = block

    def encode(self, member: Member, run: RunSpec, codes: np.ndarray, present: np.ndarray, advance: Advance) -> Encoded:
        node = member.model.node
        if _chooses_layers(member, run):
            raise InputError(f"node {member.name}: the C runtime sends the layers of its rate point; --layers is for the backend numba")
        self._machine.write(0, bytes(HARNESS_BYTES))
        status = harness.load(self._machine, node)
        if status != 0:
            raise BuildError(f"node {member.name}: the C runtime refuses the model (status {status})")
        self._begin()
        frames = list(self._run(_start(member, run)))
        instructions = []
        step = self._call_packets * node.packet_samples
        for first in range(0, len(codes), step):
            part = slice(first, first + step)
            frames += self._run(Commands().mixed(codes[part], present[part], self._block))
            instructions.append(self._spent())
            advance(len(codes[part]))
        output = harness.run(self._machine, Commands().add(Op.FLUSH).add(Op.COUNTERS))
        frames += output.frames
        instructions.append(self._spent())
        counters, packets = _counted(frames, member, run, present, output.values(Op.COUNTERS)[0])
        return Encoded(packets, frames, counters, np.array(instructions) if self.core else None)

    def _run(self, commands: Commands) -> list[bytes]:
        return harness.run(self._machine, commands).frames

    def _begin(self) -> None: ...

    def _spent(self) -> int:
        return 0


class Library(_Runtime):
    """On this machine, many packets a call."""

    def __init__(self, folder: Path) -> None:
        super().__init__("c", harness.Library(c_build.library(folder)), 256, block=True)


class Thumb(_Runtime):
    """In unicorn, a packet a call, sample by sample as firmware does it. Counted from the boot hello on, the check of the blob left out."""

    def __init__(self, folder: Path, core: str) -> None:
        self._core = harness.Core(c_build.image(folder, core), count=True)
        super().__init__("thumb", self._core, 1, block=False)
        self.core = core
        self._runtime = ~self._core.counter.owned_by(HARNESS_PREFIXES)
        self._before = 0

    def _begin(self) -> None:
        self._core.counter.forget()
        self._before = 0

    def _spent(self) -> int:
        """Since the last call."""
        total = self._core.counter.total(self._runtime)
        spent, self._before = total - self._before, total
        return spent


def _start(member: Member, run: RunSpec) -> Commands:
    link = LINK_SHARED if run.shared_link else LINK_ADDRESSED
    commands = Commands().add(Op.TAKING, 0)  # the hello waits until it can tell the rate point
    commands.start(member.node_id, member.period_us, run.boot_epoch, run.start_ms, link)
    return commands.add(Op.RATE, run.rate_point).add(Op.TAKING, 1)


class Firmware:
    """A board of `firmware_sim.qemu`, started anew for each node."""

    core = ""

    def __init__(self, folder: Path, board: str) -> None:
        import edge_wz.deploy.smp  # noqa: F401 (says what is missing before anything is simulated)
        from firmware_sim import firmware, qemu

        qemu.find()
        self.name = "qemu"
        self._folder = folder
        self._board = firmware.BY_NAME[board]
        self._program = firmware.build(self._board, folder)

    def encode(self, member: Member, run: RunSpec, codes: np.ndarray, present: np.ndarray, advance: Advance) -> Encoded:
        from firmware_sim.emulator import play

        if run.rate_point or run.boot_epoch:
            raise InputError("--backend qemu: firmware begins at rate point 0 and boot epoch 0")
        frames, saturated = play(self._board, self._program, self._folder, member, run.shared_link, codes, present, advance)
        counters, packets = _counted(frames, member, run, present, saturated)
        if counters.samples != len(codes):
            raise LinkError(f"node {member.name}: {counters.samples} of {len(codes)} samples came out of the emulated chip")
        return Encoded(packets, frames, counters)


def _counted(
    frames: Sequence[bytes], member: Member, run: RunSpec, present: np.ndarray, saturated: int
) -> tuple[EncoderCounters, list[bytes]]:
    """What `NodeEncoder` would have counted, and the packets without their framing."""
    node = member.model.node
    packets = [cobs.decode(frame[:-1]) for frame in frames]
    offset = len(packet.pack_node_id(member.node_id)) if run.shared_link else 0
    hellos = [raw for raw in packets if packet.peek(raw, offset).type == TYPE_HELLO]
    data = [_data(raw, offset, node) for raw in packets if packet.peek(raw, offset).type != TYPE_HELLO]
    hello_bits = 8 * sum(map(len, hellos))
    return EncoderCounters(
        samples=sum(node.packet_samples if one.count is None else one.count for one in data),
        absent=int(np.count_nonzero(~present)), saturated=saturated, data_packets=len(data), hello_packets=len(hellos),
        payload_bits=8 * sum(len(one.payload) for one in data), packet_bits=8 * sum(map(len, packets)) - hello_bits,
        hello_bits=hello_bits,
    ), packets  # fmt: skip


def _data(raw: bytes, offset: int, node: NodeModel) -> packet.DataPacket:
    found = packet.parse_data(raw, offset, node.packet_samples, node.scheme == "layered")
    if not isinstance(found, packet.DataPacket):
        raise BuildError(f"the C runtime sent a packet that is none: {found.value}")
    return found


class Backends:
    """Of a run: which node has which, each made once. Closing it removes what was compiled."""

    def __init__(self, choices: Sequence[str]) -> None:
        self._ranges = [_choice(text) for text in choices]
        self._made: dict[str, Backend] = {"numba": Numba()}
        self._stack = ExitStack()

    def prepare(self, node_ids: Sequence[int]) -> Mapping[int, Backend]:
        """By node id. What is missing (a compiler, an emulator) is said here, before anything is simulated."""
        return {node_id: self._make(self._name(node_id)) for node_id in node_ids}

    def _name(self, node_id: int) -> str:
        names = [name for first, last, name in self._ranges if first <= node_id <= last]
        return names[-1] if names else "numba"

    def _make(self, name: str) -> Backend:
        if name not in self._made:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="edge_wz_")))
            self._made[name] = _MAKERS[name](folder)
        return self._made[name]

    def __enter__(self) -> Backends:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()


_MAKERS: dict[str, Callable[[Path], Backend]] = {
    "c": Library,
    "thumb": lambda folder: Thumb(folder, "m0"),
    "thumb:m3": lambda folder: Thumb(folder, "m3"),
    "qemu": lambda folder: Firmware(folder, "mps2-an385"),
    "qemu:microbit": lambda folder: Firmware(folder, "microbit"),
}


def _choice(text: str) -> tuple[int, int, str]:
    """NAME for all nodes, ID=NAME or FIRST-LAST=NAME for some."""
    found = CHOICE.fullmatch(text)
    if found is None or found[3] not in NAMES:
        raise InputError(f"--backend {text!r}: is none of {', '.join(NAMES)}, for some nodes as 3=NAME or 1-10=NAME")
    if found[1] is None:
        return 0, 1 << 15, found[3]
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise InputError(f"--backend {text!r}: node {last} comes before node {first}")
    return first, last, found[3]
