"""What a trellis across packets could save nodes that send few samples at a time: bits on air per sample, as sent, beside `nested` as good.

    python -m benchmarks.codes_single_samples [--samples N]

The streaming variant (SPEC 9.4) would send the payload of the tail-biting one without its losses in short packets, so two bits per sample stand
for it. `saved` is its share of all bits on air at best, hellos left out. Payloads are whole bytes, as packets are.
"""

from __future__ import annotations

import argparse

import numpy as np

from edge_wz.formats import blob
from edge_wz.model import NodeModel
from training.design_nested import nested_point
from training.design_trellis import code_of
from training.report import table
from training.transmission import transmit

SIZES = (1, 2, 3, 4, 6, 8, 16, 32, 64)
STEP_LSB = 400.0
BINS = 6  # of `nested` on fig5 at 25.95 dB, where two bits of the trellis have 25.5 dB in packets of 64
COLUMNS = ("packet_samples", "nested", "trellis", "saved")


def on_air(node: NodeModel, codes: np.ndarray) -> float:
    return float(transmit(node, codes, np.ones(len(codes), np.bool_)).packet_bits.sum()) / len(codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=9216)
    samples = parser.parse_args().samples
    codes = np.random.default_rng(1).normal(0, 2000, samples).astype(np.int16)
    rows = []
    for size in SIZES:
        nested = on_air(blob.make_nested(size, 128, 0, 1.0, 0.0, [nested_point(STEP_LSB, BINS)]), codes)
        trellis = on_air(blob.make_trellis(size, 128, 0, 1.0, 0.0, code_of(8), [nested_point(STEP_LSB, 2)]), codes)
        rows.append([size, round(nested, 3), round(trellis, 3), f"{1 - trellis / nested:.1%}"])
    print(table(COLUMNS, rows))


if __name__ == "__main__":
    main()
