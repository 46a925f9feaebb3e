"""`edge-wz export --c`: the node runtime with one model, as a folder that anyone can compile into firmware of their own.

The sources are those of `export/runtime`, except that wz_config.h leaves out what the model does not need. What deploys models over a wire
(`export/runtime/device`) is not in it: this model is part of the program.
"""

from __future__ import annotations

import re

from edge_wz.deploy import costs
from edge_wz.formats import image
from edge_wz.model import Model, NodeModel
from export.c_source import RUNTIME

WORDS_PER_LINE = 8
CORES = {"m0": "Cortex-M0", "m3": "Cortex-M3"}


def files(model: Model) -> dict[str, bytes]:
    """Every file of the folder by name."""
    found = {path.name: path.read_bytes() for path in [*RUNTIME.glob("*.[ch]"), *(RUNTIME / "example").iterdir()]}
    made = {"wz_config.h": config(model.node), "model.h": model_header(model), "model.c": model_source(model), "README.md": readme(model)}
    return found | {name: text.encode() for name, text in made.items()}


def config(node: NodeModel) -> str:
    """wz_config.h that compiles in what this model needs, and nothing else."""
    needed = {
        "WZ_WITH_" + node.scheme.upper(), *(["WZ_WITH_LEVEL_CHECK"] if node.level_check_bits else []),
        *(["WZ_WITH_LAYER_BLOCKS"] if node.scheme == "layered" and node.block_check_bits else []),
        *(["WZ_WITH_CODED_BINS"] if any(getattr(point, "range_coded", False) for point in node.rate_points) else []),
    }  # fmt: skip
    text = (RUNTIME / "wz_config.h").read_text()
    text = re.sub(r"#define (WZ_WITH_\w+) 1\n", lambda found: f"#define {found[1]} {int(found[1] in needed)}\n", text)
    return text.replace("#define WZ_TAPS 16\n", f"#define WZ_TAPS {max(node.taps, 1)}\n")


def model_header(model: Model) -> str:
    return (
        f"/* {_title(model)}. Written by edge-wz export --c. */\n#ifndef MODEL_H\n#define MODEL_H\n\n#include <stdint.h>\n\n"
        f"#define MODEL_BUFFER_BYTES {image.buffer_bytes(model.node)} /* what wz_buffer_bytes() asks for */\n"
        f"#define MODEL_PERIOD_US {_period_us(model)}\n\n"
        f"extern const uint32_t model_blob[{len(model.node.blob) // 4}];\nextern const uint8_t model_id[{len(model.model_id)}];\n\n#endif\n"
    )


def model_source(model: Model) -> str:
    blob = model.node.blob
    words = [f"0x{int.from_bytes(blob[at : at + 4], 'little'):08x}u," for at in range(0, len(blob), 4)]
    rows = [" ".join(words[at : at + WORDS_PER_LINE]) for at in range(0, len(words), WORDS_PER_LINE)]
    identity = ", ".join(f"0x{byte:02x}" for byte in model.model_id)
    return (
        f"/* {_title(model)}, as little-endian words. Written by edge-wz export --c. */\n#include \"model.h\"\n\n"
        f"const uint32_t model_blob[{len(words)}] = {{\n" + "".join(f"    {row}\n" for row in rows) + "};\n\n"
        f"const uint8_t model_id[{len(model.model_id)}] = {{{identity}}};\n"
    )


def _title(model: Model) -> str:
    name = re.sub(r"[^\w .-]", "_", model.name) or "unnamed"
    return f"Model {name}, scheme {model.node.scheme}, id {model.model_id.hex()}"


def _period_us(model: Model) -> int:
    return max(1, round(model.period_s * 1e6))


def readme(model: Model) -> str:
    node = model.node
    lines = [
        f"# {_title(model)}", "",
        "A node encoder in C99: no heap, no float, no division, no library. `wz.h` is its manual, `example.c` a program that uses it.", "",
        "    make && ./example < samples.i16 > frames.bin", '    make CROSS=arm-none-eabi- FLAGS="-mcpu=cortex-m0 -mthumb -ffreestanding"', "",
        "For a board, give `board_read_sample` and `board_send` (`example.c`), and node id, boot epoch and period (`node` in it).",
        "`wz_config.h` leaves out all that this model does not need; set its lines to 1, or WZ_TAPS higher, for another one.", "",
        "| needs | bytes |", "|---|---|", f"| the model in flash | {len(node.blob)} |",
        f"| buffer for the packet being filled | {image.buffer_bytes(node)} |", "",
        *_costs(node),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _costs(node: NodeModel) -> list[str]:
    """Recorded figures of the model most like this one."""
    found = [row for row in (costs.measured(node, core) for core in CORES) if row is not None]
    if not found:
        return ["What the code takes: `make size`."]
    head = [
        f"Measured with a model like it ({found[0].example}; gcc -Os), so estimates; `make size` tells the flash of yours:", "",
        "| core | flash for code | state | stack | instructions a sample |", "|---|---|---|---|---|",
    ]  # fmt: skip
    rows = [
        f"| {CORES[row.core]} | {row.text_bytes} | {row.state_bytes} | {row.stack_bytes} | {row.instructions_per_sample:.0f} |" for row in found
    ]
    return [*head, *rows]
