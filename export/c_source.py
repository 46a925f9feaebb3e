"""The generated parts of the node runtime: `wz_layout.h` from `formats.layout`, and a blob as a C array.

Constants exist once, in Python; the header is written by `python -m export.c_source` and a test checks that it is current.
"""

from __future__ import annotations

from pathlib import Path

from edge_wz.formats import layout
from edge_wz.kernels import level_check, range_coder, status

RUNTIME = Path(__file__).parent / "runtime"
LAYOUT_HEADER = RUNTIME / "wz_layout.h"
BYTES_PER_LINE = 16
# What a node needs; bundles and captures are the gateway's.
USED = (
    "PACKET_VERSION", "TYPE_DATA", "TYPE_HELLO", "MAX_NODE_ID", "HELLO_BYTES", "EXT_SHORT", "EXT_ABSENT", "BLOB_VERSION", "BLOB_HEADER_BYTES",
    "MAX_RATE_POINTS", "MAX_PACKET_SAMPLES", "MAX_TAPS", "MAX_SHIFT", "MAX_MODULUS", "MAX_CODED_MODULUS", "FLAT_CDF_BITS", "MAX_ORDER",
    "MAX_POSITION_TABLES", "MAX_CONTEXTS", "MAX_DIRECT", "COEF_BITS", "MIN_STEP_Q8", "MAX_STEP_Q8", "MODEL_ID_BYTES", "MIN_MEMORY",
    "MAX_MEMORY", "MAX_CHAIN_MEMORY", "MAX_TRELLIS_MODULUS", "MAX_LOW_BITS", "MAX_CODED_PLANES", "MAX_LAYERS", "MAX_ALPHABET", "MAX_MESSAGES",
    "MAX_THRESHOLDS", "MIN_LAYERED_CDF_BITS", "MAX_LAYERED_CDF_BITS", "MIN_LAYER_BLOCK",
)  # fmt: skip


def layout_header() -> str:
    """wz_layout.h."""
    lines = [_define(name, getattr(layout, name)) for name in USED]
    lines += [_define("SCHEME_" + name.upper(), code) for name, code in layout.SCHEME_CODES.items()]
    lines += [_define(name, value) for name, value in vars(status).items() if name.startswith("STATUS_")]
    lines += [_define("BLOB_MAGIC", int.from_bytes(layout.BLOB_MAGIC, "little")), _define("RENORM_LIMIT", range_coder.RENORM_LIMIT)]
    lines += [_define(name, getattr(level_check, name)) for name in ("CHECK_INIT", "CHECK_POLYNOMIAL")]
    return (
        "/* Written by export/c_source.py from edge_wz/formats/layout.py: change it there. */\n"
        "#ifndef WZ_LAYOUT_H\n#define WZ_LAYOUT_H\n\n" + "".join(lines) + "\n#endif\n"
    )


def _define(name: str, value: int) -> str:
    number = f"({value})" if value < 0 else f"0x{value:X}u" if value > 0x7FFF else str(value)
    return f"#define WZ_{name} {number}\n"


if __name__ == "__main__":
    LAYOUT_HEADER.write_text(layout_header())
