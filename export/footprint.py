"""What the node runtime costs, counted: flash, RAM and stack in bytes, instructions per sample, per scheme and core.

Instructions are counted in an emulated core (basic blocks, so exactly and repeatably) from sample to finished COBS frame, periodic hellos included,
over packets of 64 samples. Cycles are not counted: no emulator here knows them. `python -m export.footprint --record` writes
edge_wz/deploy/footprint.json, which a test holds the code to and deploy shows before it sends; without it the figures are compared with that
record (exit code 1: they differ by more than 2 %, in either direction, so that it stays true). docs/FOOTPRINT.md explains the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np

import edge_wz.deploy
from edge_wz.formats import blob
from edge_wz.formats.sections import predictive
from edge_wz.model import LayeredRatePoint, NodeModel
from export import c_build, harness, instruction_kinds
from export.harness import Commands, Core

RECORD = Path(edge_wz.deploy.__file__).parent / "footprint.json"  # where deploy, which has no compiler, reads it
CORES = ("m0", "m3", "rv32")
SLOTS, HELLO_EVERY, PACKETS = 64, 128, 128
# By what a file is for: on the way of each sample; between packets and runs; at boot, when a blob is checked.
SESSION = ("control", "hello")
CHECK = ("blob", "scheme", "nested_section", "predictive_section")
HARNESS_PREFIXES = ("harness_", "wz_harness_")
TOLERANCE = 0.02  # of counts and texts against the record
EXACT = ("state", "buffer", "stack")


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


Costs = Mapping[str, Mapping[str, Cost]]  # by core and model


@dataclass(frozen=True)
class Budget:
    """What the runtime may cost on Cortex-M0, whole path from sample to frame."""

    what: str
    limit: float
    of: Callable[[Mapping[str, Cost]], float]


_SINGLES = ("nested 2 bit", "nested 2 bit, 5 taps", "predictive", "trellis 2 bit")  # one scheme compiled, no coded bins
BUDGETS = (
    Budget("nested 2 bit: instructions a sample", 60, lambda m0: m0["nested 2 bit"].block),
    Budget("nested 2 bit, 5 taps: instructions a sample", 90, lambda m0: m0["nested 2 bit, 5 taps"].block),
    Budget("nested 2 bit: bytes of text", 1024, lambda m0: m0["nested 2 bit"].path_text),
    Budget("predictive: instructions a sample", 140, lambda m0: m0["predictive"].block),
    Budget("predictive: bytes of text", 1638, lambda m0: m0["predictive"].path_text),
    Budget("trellis 2 bit beyond nested 2 bit: instructions a sample", 30, lambda m0: m0["trellis 2 bit"].block - m0["nested 2 bit"].block),
    Budget("nested, predictive, trellis: bytes of stack", 160, lambda m0: max(m0[name].stack for name in _SINGLES)),
    Budget("nested, predictive, trellis: bytes of state", 64, lambda m0: max(m0[name].state for name in _SINGLES)),
)


@dataclass(frozen=True)
class Setting:
    """A model, and what is compiled for it."""

    node: NodeModel
    defines: Mapping[str, int]


def _only(scheme: str, **defines: int) -> dict[str, int]:
    names = ("NESTED", "PREDICTIVE", "TRELLIS", "SYNDROME", "LAYERED")
    parts = dict.fromkeys(("WZ_WITH_LAYER_BLOCKS", "WZ_WITH_CODED_BINS", "WZ_WITH_LEVEL_CHECK"), 0)
    return {**{f"WZ_WITH_{name}": int(name == scheme) for name in names}, **parts, **defines}


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


def _half_sent() -> np.ndarray:
    sent = np.arange(SLOTS) % 2 == 0
    return np.array([sent, np.roll(sent, 1)])


def _syndrome() -> NodeModel:
    return blob.make_syndrome(SLOTS, HELLO_EVERY, 1.0, 0.0, 8, [(2, 13, 4096, (1024,), _half_sent())])


def _layered(check: int = 0) -> NodeModel:
    """Two raw layers of one bit each, 24 intervals; with a check blocks of two planes, half the positions of each."""
    thresholds = np.linspace(-6000, 6000, 23).astype(np.int32)
    messages = np.array([[i & 1, i >> 1 & 1] for i in range(24)], np.uint8)
    point = LayeredRatePoint(thresholds, messages, (2, 2), (np.zeros((0, 3), np.int32),) * 2)
    point = replace(point, positions=_half_sent()) if check else point
    return blob.make_layered(SLOTS, HELLO_EVERY, 1.0, 0.0, [point], check)


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
        "layered 2 bit, blocks": Setting(_layered(8), _only("LAYERED", WZ_TAPS=1, WZ_WITH_LAYER_BLOCKS=1)),
        "everything": Setting(_nested(4), {}),
    }
    return found


def source() -> np.ndarray:
    """A correlated Gaussian source of PACKETS whole packets, always the same."""
    noise = np.random.default_rng(6).normal(0, 1500, PACKETS * SLOTS)
    for i in range(1, len(noise)):
        noise[i] += 0.9 * noise[i - 1]
    return np.clip(np.rint(noise), -32768, 32767).astype(np.int16)


@dataclass(frozen=True)
class Build:
    """What was compiled for a setting. Texts: bytes of code and constant tables, by `SESSION` and `CHECK`."""

    image: c_build.Image
    path_text: int
    session_text: int
    check_text: int
    state: int


@cache
def _build(target: str, defines: tuple[tuple[str, int], ...]) -> Build:
    chosen = dict(defines)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiled = c_build.objects(folder, target, chosen)
        texts = _texts(compiled, target)
        return Build(c_build.image(folder, target, chosen, compiled), *texts, _state_bytes(folder, target, chosen))


def _run(setting: Setting, target: str, block: bool) -> tuple[Core, float]:
    """(a core that has counted the whole source, bits per sample)."""
    core = Core(_build(target, tuple(setting.defines.items())).image, count=True)
    _open(core, setting.node)
    core.counter.forget()
    frames = harness.run(core, Commands().samples(source(), block)).frames
    return core, sum(8 * len(frame) for frame in frames) / (PACKETS * SLOTS)


def _by_function(core: Core) -> dict[str, float]:
    """Instructions per sample of each function of the runtime."""
    found = core.counter.by_function().items()
    return {name: count / (PACKETS * SLOTS) for name, count in found if not name.startswith(HARNESS_PREFIXES)}


def measure(setting: Setting, target: str) -> Cost:
    build = _build(target, tuple(setting.defines.items()))
    block, bits = _run(setting, target, True)
    single, _ = _run(setting, target, False)
    core = Core(build.image)
    _open(core, setting.node)
    buffer = harness.run(core, Commands().add(harness.Op.BUFFER, 0)).answers[0][1]
    return Cost(
        build.path_text, build.session_text, build.check_text, build.state, buffer, _stack(build.image, setting.node),
        round(sum(_by_function(block).values()), 2), round(sum(_by_function(single).values()), 2), round(bits, 3),
    )  # fmt: skip


def _open(core: Core, node: NodeModel) -> None:
    status = harness.load(core, node)
    if status != 0:
        raise c_build.BuildError(f"the runtime refuses the model: {status}")
    harness.run(core, Commands().start(1, 1000))


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


def _texts(compiled: list[Path], target: str) -> tuple[int, int, int]:
    """(path, session, check) bytes."""
    listing = c_build.run_tool([c_build.TARGETS[target].tool("size"), "-A", *map(str, compiled)])
    path = session = check = 0
    stem = ""
    for row in (line.split() for line in listing.splitlines()):
        if len(row) >= 2 and row[1] == ":":
            stem = Path(row[0]).stem
        elif len(row) == 3 and row[0].startswith((".text", ".rodata", ".srodata")):
            session += int(row[1]) * (stem in SESSION)
            check += int(row[1]) * (stem in CHECK)
            path += int(row[1]) * (stem not in (*SESSION, *CHECK))
    return path, session, check


def _state_bytes(folder: Path, target: str, defines: Mapping[str, int]) -> int:
    """sizeof(wz_encoder_t), as the compiler says it."""
    probe = folder / "probe.c"
    probe.write_text('#include "wz.h"\nchar probe[sizeof(wz_encoder_t)];\n')
    out = folder / "probe.o"
    c_build.compile_one(probe, out, target, defines)
    nm = c_build.run_tool([c_build.TARGETS[target].tool("nm"), "-S", str(out)])
    return int(nm.split()[1], 16)


def measure_all(targets: Iterable[str] = CORES) -> Costs:
    return {target: {name: measure(setting, target) for name, setting in settings().items()} for target in targets}


def recorded() -> Costs:
    rows = json.loads(RECORD.read_text(encoding="utf-8"))
    return {target: {name: Cost(**row) for name, row in models.items()} for target, models in rows.items()}


def table(costs: Costs) -> str:
    """For people."""
    names = [field.name for field in fields(Cost)]
    lines = ["core    " + "model".ljust(26) + "  ".join(name.rjust(len(name)) for name in names)]
    for target, rows in costs.items():
        for model, cost in rows.items():
            values = asdict(cost)
            lines.append(target.ljust(8) + model.ljust(26) + "  ".join(str(values[name]).rjust(len(name)) for name in names))
    return "\n".join(lines)


def breakdown(model: str, target: str) -> str:
    """Where the instructions of a sample go, by function and, on Thumb cores, by kind, for people."""
    setting = settings()[model]
    cores = [_run(setting, target, block)[0] for block in (True, False)]
    functions = [_by_function(core) for core in cores]
    lines = [f"{model} on {target}, per sample".ljust(44) + "     block    single", *_lines(functions)]
    if target != "rv32":
        image = _build(target, tuple(setting.defines.items())).image
        kinds = [instruction_kinds.executed(image, core.counter, HARNESS_PREFIXES) for core in cores]
        lines += ["", *_lines([{name: count / (PACKETS * SLOTS) for name, count in found.items()} for found in kinds])]
    return "\n".join(lines)


def _lines(columns: list[dict[str, float]]) -> list[str]:
    names = sorted(set().union(*columns), key=lambda name: -columns[0].get(name, 0.0))
    return ["  " + name.ljust(42) + "".join(f"{column.get(name, 0.0):10.2f}" for column in columns) for name in names]


def deviations(found: Costs, record: Costs) -> list[str]:
    """Where figures are not those of the record: counts and texts by more than `TOLERANCE`, either way, and RAM and stack at all."""
    lines = []
    for target, rows in found.items():
        for model, cost in rows.items():
            before = record.get(target, {}).get(model)
            if before is None:
                lines.append(f"{target} {model}: not in the record")
                continue
            for name, value in asdict(cost).items():
                old = getattr(before, name)
                allowed = 0.0 if name in EXACT else TOLERANCE * old
                if abs(value - old) > allowed:
                    lines.append(f"{target} {model}: {name} {value}, recorded {old}")
    return lines


def budget_lines(costs: Costs) -> list[str]:
    """One line for each budget."""
    lines = []
    for budget in BUDGETS:
        value = budget.of(costs["m0"])
        verdict = "met" if value <= budget.limit else "MISSED"
        lines.append(f"{budget.what.ljust(66)} {value:8.1f}  <= {budget.limit:<6g} {verdict}")
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m export.footprint", description="Count what the C runtime costs; compare with the record.")
    parser.add_argument("--core", action="append", choices=CORES, help="only this one (may be repeated)")
    parser.add_argument("--json", action="store_true", help="figures as JSON, in the form of the record")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name}, which a test and deploy read")
    parser.add_argument("--functions", metavar="MODEL", help="instead: instructions of one model, function by function")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    cores = tuple(arguments.core or CORES)
    if arguments.functions:
        print("\n".join(breakdown(arguments.functions, core) for core in cores))
        return 0
    costs = measure_all(cores)
    text = json.dumps({target: {model: asdict(cost) for model, cost in rows.items()} for target, rows in costs.items()}, indent=1)
    print(text if arguments.json else table(costs))
    if arguments.record:
        if cores != CORES:
            raise SystemExit("a record has every core: leave --core out")
        RECORD.write_text(text + "\n", encoding="utf-8")
    off = deviations(costs, recorded())
    if not arguments.json:
        print("\n".join(["", *(budget_lines(costs) if "m0" in costs else []), *off]))
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
