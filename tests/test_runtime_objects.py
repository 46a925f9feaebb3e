"""What is in the compiled runtime: nothing that it calls is missing (so no libc, no libgcc), nothing writable, no division, no float."""

import re
from pathlib import Path

import pytest

from export import c_build, c_source
from tests.runtime_machines import CORES, MARKS

SCHEMES = ("NESTED", "PREDICTIVE", "TRELLIS", "SYNDROME", "LAYERED")
MEMORY = {"memcpy", "memset"}  # what a compiler may always call, for structs
PORT = {"wz_port_read", "wz_port_write", "wz_port_flash", "wz_port_reset"}  # docs/PORTING.md
WRITABLE = (".data", ".bss", ".sdata", ".sbss", ".tdata", ".tbss", ".noinit")
# udiv, sdiv, div, divu, rem, remu; anything of a floating point unit
FORBIDDEN = re.compile(r"^([us]div|divu?|remu?|v(add|sub|mul|div|cvt|mov|ldr|str).*|f(add|sub|mul|div|cvt|mv|l[wd]|s[wd])\b.*)")
cores = pytest.mark.parametrize("core", [pytest.param(name, marks=[m for m in MARKS[name] if m.name != "emulator"]) for name in CORES])


def listing(tool: str, core: str, *arguments: str) -> list[str]:
    return c_build.run_tool([c_build.TARGETS[core].tool(tool), *arguments]).splitlines()


def undefined(core: str, compiled: Path) -> set[str]:
    return {line.split()[-1] for line in listing("nm", core, "-u", str(compiled))}


def writable_bytes(core: str, compiled: Path) -> int:
    rows = [line.split() for line in listing("size", core, "-A", str(compiled))]
    return sum(int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(WRITABLE))


@cores
def test_the_runtime_needs_nothing_and_keeps_nothing(core, tmp_path):
    compiled = c_build.combined(tmp_path, core)
    assert undefined(core, compiled) == set()
    assert writable_bytes(core, compiled) == 0
    words = [line.split("\t")[2].split()[0] for line in listing("objdump", core, "-d", str(compiled)) if line.count("\t") >= 2]
    assert len(words) > 2000
    assert [word for word in words if FORBIDDEN.match(word)] == []


@pytest.mark.arm
@pytest.mark.parametrize("only", SCHEMES)
def test_a_build_of_one_scheme_needs_nothing(only, tmp_path):
    defines = {f"WZ_WITH_{name}": int(name == only) for name in SCHEMES} | {"WZ_WITH_LEVEL_CHECK": 0, "WZ_WITH_CODED_BINS": 0, "WZ_TAPS": 1}
    compiled = c_build.combined(tmp_path, "m0", defines)
    assert undefined("m0", compiled) == set() and writable_bytes("m0", compiled) == 0


@pytest.mark.arm
def test_the_device_needs_only_its_port_and_memory(tmp_path):
    device = sorted((c_source.RUNTIME / "device").glob("*.c"))
    compiled = c_build.combined(tmp_path, "m0", more=device)
    assert undefined("m0", compiled) - MEMORY == PORT
    assert writable_bytes("m0", compiled) == 0


@pytest.mark.arm
def test_what_is_forbidden_would_be_found(tmp_path):
    source = tmp_path / "bad.c"
    source.write_text("#include <stdint.h>\nuint32_t count; uint32_t wz_bad(uint32_t a, uint32_t b) { count += 1; return a / b; }\n")
    out = tmp_path / "bad.o"
    c_build.compile_one(source, out, "m0")
    assert undefined("m0", out) == {"__aeabi_uidiv"} and writable_bytes("m0", out) == 4
    c_build.compile_one(source, out, "m3")
    assert any(FORBIDDEN.match(line.split("\t")[2]) for line in listing("objdump", "m3", "-d", str(out)) if line.count("\t") >= 2)
