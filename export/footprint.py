"""What the node runtime costs, counted: flash, RAM and stack in bytes, instructions per sample, per scheme and core.

Instructions are counted in an emulated core (basic blocks, so exactly and repeatably) from sample to finished COBS frame, periodic hellos included,
over packets of 64 samples. Cycles are not counted: no emulator here knows them. `python -m export.footprint --record` writes
edge_wz/deploy/footprint.json, which a test holds the code to and deploy shows before it sends.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import edge_wz.deploy
from edge_wz.formats import blob
from edge_wz.formats.sections import predictive
from edge_wz.model import LayeredRatePoint, NodeModel
from export import c_build, harness
from export.harness import Commands, Core

RECORD = Path(edge_wz.deploy.__file__).parent / "footprint.json"  # where deploy, which has no compiler, reads it
CORES = ("m0", "m3", "rv32")
SLOTS, HELLO_EVERY, PACKETS = 64, 128, 128
# By what a file is for: on the way of each sample; between packets and runs; at boot, when a blob is checked.
SESSION = ("control", "hello")
CHECK = ("blob", "scheme", "nested_section", "predictive_section")
HARNESS_PREFIXES = ("harness_", "wz_harness_")


@dataclass(frozen=True)
class Cost:
    """Bytes, and instructions per sample: `block` with wz_encode_block, `single` with wz_encode_sample."""

    path_text: int
    session_text: int
    check_text: int
    state: int
    buffer: int
    stack: int
    block: float
    single: float
    bits_per_sample: float


@dataclass(frozen=True)
class Setting:
    """A model, and what is compiled for it."""

    node: NodeModel
    defines: Mapping[str, int]


def _only(scheme: str, **defines: int) -> dict[str, int]:
    names = ("NESTED", "PREDICTIVE", "TRELLIS", "SYNDROME", "LAYERED")
    return {**{f"WZ_WITH_{name}": int(name == scheme) for name in names}, "WZ_WITH_CODED_BINS": 0, "WZ_WITH_LEVEL_CHECK": 0, **defines}


def _nested(modulus: int, taps: tuple[int, ...] = (1024,), check: int = 0) -> NodeModel:
    return blob.make_nested(SLOTS, HELLO_EVERY, check, 1.0, 0.0, [(modulus, 13, 4096, taps)])


def _cdf(direct: int, classes: int, spread: float) -> list[int]:
    """A two-sided geometric table of 2^12."""
    weights = [np.exp(-abs(level) / spread) for level in range(-direct, direct + 1)] + [0.01] * (classes + 1)
    inner = np.cumsum(weights)[:-1] / np.sum(weights) * (4096 - len(weights))
    return [0, *(int(value) + i + 1 for i, value in enumerate(inner)), 4096]


def _predictive() -> NodeModel:
    """Second order, one table for the first sample, three contexts; steps of 600 LSB."""
    step_q8 = 600 * 256
    tables = [(6, _cdf(6, predictive.escape_classes(step_q8, step_q8 // 2, 6), spread)) for spread in (4.0, 0.7, 1.2, 2.0)]
    rows = [[0], [0, 3800], [0, 4600, -800]]
    return blob.make_predictive(SLOTS, HELLO_EVERY, 1.0, 0.0, 2, rows, (2, 5), 1, 3, 12, [(step_q8, step_q8 // 2, tables)])


def _syndrome() -> NodeModel:
    sent = np.arange(SLOTS) % 2 == 0
    return blob.make_syndrome(SLOTS, HELLO_EVERY, 1.0, 0.0, 8, [(2, 13, 4096, (1024,), np.array([sent, np.roll(sent, 1)]))])


def _layered() -> NodeModel:
    """Two raw layers of one bit each, 24 intervals."""
    thresholds = np.linspace(-6000, 6000, 23).astype(np.int32)
    messages = np.array([[i & 1, i >> 1 & 1] for i in range(24)], np.uint8)
    point = LayeredRatePoint(thresholds, messages, (2, 2), (np.zeros((0, 3), np.int32),) * 2)
    return blob.make_layered(SLOTS, HELLO_EVERY, 1.0, 0.0, [point])


def settings() -> dict[str, Setting]:
    """What is measured, by name."""
    one = _only("NESTED", WZ_TAPS=1)
    found = {f"nested {bits} bit": Setting(_nested(1 << bits), one) for bits in (1, 2, 3, 4, 6, 8, 12)}
    found |= {
        "nested 2 bit, 5 taps": Setting(_nested(4, (1024, -300, 200, -100, 50)), _only("NESTED", WZ_TAPS=5)),
        "nested 2 bit, level check": Setting(_nested(4, check=8), _only("NESTED", WZ_TAPS=1, WZ_WITH_LEVEL_CHECK=1)),
        "nested 5 bins": Setting(_nested(5), _only("NESTED", WZ_TAPS=1, WZ_WITH_CODED_BINS=1)),
        "predictive": Setting(_predictive(), _only("PREDICTIVE", WZ_TAPS=1)),
        "trellis 2 bit": Setting(
            blob.make_trellis(SLOTS, HELLO_EVERY, 0, 1.0, 0.0, (3, 0o13, 0o4), [(2, 13, 4096, (1024,))]), _only("TRELLIS", WZ_TAPS=1)
        ),
        "syndrome 2 bit": Setting(_syndrome(), _only("SYNDROME", WZ_TAPS=1)),
        "layered 2 bit": Setting(_layered(), _only("LAYERED", WZ_TAPS=1)),
        "everything": Setting(_nested(4), {}),
    }
    return found


def source() -> np.ndarray:
    """A correlated Gaussian source of PACKETS whole packets, always the same."""
    noise = np.random.default_rng(6).normal(0, 1500, PACKETS * SLOTS)
    for i in range(1, len(noise)):
        noise[i] += 0.9 * noise[i - 1]
    return np.clip(np.rint(noise), -32768, 32767).astype(np.int16)


def measure(setting: Setting, target: str) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        image = c_build.image(Path(folder), target, setting.defines)
        texts = _texts(Path(folder), target, setting.defines)
        state = _state_bytes(Path(folder), target, setting.defines)
    codes = source()
    counted, sent = {}, 0
    for block in (True, False):
        core = Core(image, count=True)
        _open(core, setting.node)
        core.counter.forget()
        frames = harness.run(core, Commands().samples(codes, block)).frames
        counted[block] = _runtime_instructions(core) / len(codes)
        sent = sum(8 * len(frame) for frame in frames)
    core = Core(image)
    _open(core, setting.node)
    buffer = harness.run(core, Commands().add(harness.Op.BUFFER, 0)).answers[0][1]
    return Cost(*texts, state, buffer, _stack(image, setting.node), round(counted[True], 2), round(counted[False], 2), round(sent / len(codes), 3))


def _open(core: Core, node: NodeModel) -> None:
    status = harness.load(core, node)
    if status != 0:
        raise c_build.BuildError(f"the runtime refuses the model: {status}")
    harness.run(core, Commands().start(1, 1000))


def _runtime_instructions(core: Core) -> int:
    return sum(count for name, count in core.counter.by_function().items() if not name.startswith(HARNESS_PREFIXES))


def _stack(image: c_build.Image, node: NodeModel) -> int:
    """The deepest of start, samples, blocks, gaps and the end of a run, from the entry into the runtime."""
    deepest = 0
    for entry, commands in (
        ("wz_start", Commands().start(1, 1000)),
        ("wz_encode_sample", Commands().samples(source()[: 2 * SLOTS], block=False)),
        ("wz_encode_block", Commands().samples(source()[: 2 * SLOTS])),
        ("wz_encode_absent", Commands().add(harness.Op.ABSENT, SLOTS)),
        ("wz_flush", Commands().samples(source()[:5]).add(harness.Op.FLUSH)),
    ):
        core = Core(image)
        _open(core, node)
        deepest = max(deepest, core.stack_below(entry, commands.finished()))
    return deepest


def _texts(folder: Path, target: str, defines: Mapping[str, int]) -> tuple[int, int, int]:
    """(path, session, check) bytes of code and constant tables."""
    path = session = check = 0
    for compiled in c_build.objects(folder, target, defines):
        size = _text_bytes(compiled, target)
        session += size * (compiled.stem in SESSION)
        check += size * (compiled.stem in CHECK)
        path += size * (compiled.stem not in (*SESSION, *CHECK))
    return path, session, check


def _text_bytes(compiled: Path, target: str) -> int:
    listing = c_build.run_tool([c_build.TARGETS[target].tool("size"), "-A", str(compiled)])
    rows = [line.split() for line in listing.splitlines()]
    return sum(int(row[1]) for row in rows if len(row) == 3 and row[0].startswith((".text", ".rodata", ".srodata")))


def _state_bytes(folder: Path, target: str, defines: Mapping[str, int]) -> int:
    """sizeof(wz_encoder_t), as the compiler says it."""
    probe = folder / "probe.c"
    probe.write_text('#include "wz.h"\nchar probe[sizeof(wz_encoder_t)];\n')
    out = folder / "probe.o"
    c_build.compile_one(probe, out, target, defines)
    nm = c_build.run_tool([c_build.TARGETS[target].tool("nm"), "-S", str(out)])
    return int(nm.split()[1], 16)


def measure_all(targets: tuple[str, ...] = CORES) -> dict[str, dict[str, Cost]]:
    return {target: {name: measure(setting, target) for name, setting in settings().items()} for target in targets}


def table(costs: Mapping[str, Mapping[str, Cost]]) -> str:
    """For people."""
    names = ("path_text", "session_text", "check_text", "state", "buffer", "stack", "block", "single", "bits_per_sample")
    lines = ["target  " + "model".ljust(26) + "  ".join(name.rjust(len(name)) for name in names)]
    for target, rows in costs.items():
        for model, cost in rows.items():
            values = asdict(cost)
            lines.append(target.ljust(8) + model.ljust(26) + "  ".join(str(values[name]).rjust(len(name)) for name in names))
    return "\n".join(lines)


def main() -> None:
    costs = measure_all()
    print(table(costs))
    if "--record" in sys.argv[1:]:
        record = {target: {model: asdict(cost) for model, cost in rows.items()} for target, rows in costs.items()}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
