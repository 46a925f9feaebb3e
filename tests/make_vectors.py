"""Writes tests/vectors: cases for every implementation of SPEC 1 to 4 and 9 to 11, integers and hex only, one JSON object per line.

    python -m tests.make_vectors

Cases come from `tests.vector_cases`, by scheme, and there from `tests.reference` alone, never from the code under test. MANIFEST.json holds the
number of cases and the SHA-256 of each file. Changed vectors are a change of the format: see SPEC, then CHANGELOG, "Bitstream".
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.vector_cases import layered, layered_blocks, nested, nodes, predictive, syndrome, trellis, words
from tests.vector_cases.samples import Case

VECTORS = Path(__file__).parent / "vectors"
MAKERS: dict[str, Callable[[random.Random], Iterator[Case]]] = {
    "arithmetic": words.arithmetic_cases,
    "level_check": words.level_check_cases,
    "range_coder": words.range_coder_cases,
    "nested": nested.nested_cases,
    "nested_payloads": nested.malformed_nested_cases,
    "trellis": trellis.trellis_cases,
    "trellis_codes": trellis.trellis_code_cases,
    "syndrome": syndrome.syndrome_cases,
    "syndrome_payloads": syndrome.malformed_syndrome_cases,
    "layered": layered.layered_cases,
    "layered_payloads": layered.malformed_layered_cases,
    "layered_blocks": layered_blocks.layered_block_cases,
    "layered_block_payloads": layered_blocks.malformed_layered_block_cases,
    "predictive": predictive.predictive_cases,
    "predictive_payloads": predictive.malformed_predictive_cases,
    "node": nodes.node_cases,
    "syndrome_node": nodes.syndrome_node_cases,
    "layered_node": nodes.layered_node_cases,
    "layered_block_node": nodes.layered_block_node_cases,
}


def render(name: str) -> bytes:
    """The bytes of one file; the seed is the name, so files do not depend on each other."""
    cases = MAKERS[name](random.Random(name))
    return b"".join(json.dumps(case, separators=(",", ":")).encode() + b"\n" for case in cases)


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    manifest = {}
    for name in MAKERS:
        data = render(name)
        (VECTORS / f"{name}.jsonl").write_bytes(data)
        manifest[f"{name}.jsonl"] = {"cases": data.count(b"\n"), "sha256": hashlib.sha256(data).hexdigest()}
    (VECTORS / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
