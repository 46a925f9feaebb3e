"""`edge-wz export --c`: the folder compiles for this machine and for a core, and its example sends what the gateway's encoder sends."""

import json
import random
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.formats import bundle, framing, image
from edge_wz.model import Model
from export import c_folder, c_source, harness
from export.cli import export
from export.harness import Commands, Op
from tests import random_models, runtime_machines

DECODERS = {"nested": "posterior", "predictive": "midpoint", "trellis": "trellis", "syndrome": "syndrome", "layered": "posterior"}
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror")


def some_model(scheme: str) -> Model:
    return Model(node=random_models.random_model(scheme, random.Random(f"{scheme} 2")), decoder=DECODERS[scheme], name="röhre */ 7")


def written(folder, model: Model) -> None:
    for name, data in c_folder.files(model).items():
        (folder / name).write_bytes(data)


@pytest.mark.c
@pytest.mark.parametrize("scheme", list(random_models.MAKERS))
def test_the_example_sends_what_numba_sends(scheme, tmp_path):
    model = some_model(scheme)
    written(tmp_path, model)
    subprocess.run(["gcc", *STRICT, "-O1", "-o", "example", *sorted(path.name for path in tmp_path.glob("*.c"))], cwd=tmp_path, check=True)
    codes = np.random.default_rng(1).integers(-32768, 32768, 500).astype("<i2")
    sent = subprocess.run([tmp_path / "example"], input=codes.tobytes(), capture_output=True, check=True).stdout
    encoder = NodeEncoder(model.node, 1, period_us=1_000_000)
    assert sent == b"".join(map(framing.encode_frame, encoder.encode(codes) + encoder.flush()))


@pytest.mark.c
@pytest.mark.arm
def test_make_builds_it_here_and_for_a_core(tmp_path):
    written(tmp_path, some_model("predictive"))
    here = subprocess.run(["make"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "warning" not in here.stderr and (tmp_path / "example").exists() and "(TOTALS)" in here.stdout
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    flags = "-mcpu=cortex-m0 -mthumb -ffreestanding"
    core = subprocess.run(["make", "CROSS=arm-none-eabi-", f"FLAGS={flags}"], cwd=tmp_path, capture_output=True, text=True, check=True)
    total = next(line.split() for line in core.stdout.splitlines() if "(TOTALS)" in line)
    assert 1500 < int(total[0]) < 20000 and total[1:3] == ["0", "0"]  # text; data, bss
    assert (tmp_path / "example.o").exists() and not (tmp_path / "example").exists()


def test_only_what_the_model_needs_is_compiled_in():
    found = {scheme: c_folder.config(some_model(scheme).node) for scheme in random_models.MAKERS}
    for scheme, text in found.items():
        assert {other for other in found if f"#define WZ_WITH_{other.upper()} 1\n" in text} == {scheme}
    assert "#define WZ_TAPS 1\n" in found["layered"]


@runtime_machines.host
@pytest.mark.parametrize("scheme", list(random_models.MAKERS))
def test_the_buffer_is_what_the_runtime_asks_for(scheme):
    machine = runtime_machines.make("host")
    for number in range(30):
        node = random_models.random_model(scheme, random.Random(f"{scheme} {number}"))
        assert harness.load(machine, node) == 0
        assert harness.run(machine, Commands().add(Op.BUFFER, 0)).values(Op.BUFFER) == [image.buffer_bytes(node)]


def test_command(tmp_path):
    model = some_model("layered")
    bundle.save(tmp_path / "m.ewz", model)
    arguments = [str(tmp_path / "m.ewz"), "--c", str(tmp_path / "out"), "--json"]
    report = json.loads(CliRunner().invoke(export, arguments, catch_exceptions=False).output)
    assert {str(path) for path in (tmp_path / "out").iterdir()} == set(report["written"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {path.name for path in c_source.RUNTIME.glob("*.[ch]")} | {"example.c", "Makefile", "README.md", "model.c", "model.h"}
    assert f"| {len(model.node.blob)} |" in (tmp_path / "out" / "README.md").read_text()
