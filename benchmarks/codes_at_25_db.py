"""Bits per sample on fig5 at 25 dB, headers and checksums counted: codes of this package beside the four rivals of `evaluate`.

    python -m benchmarks.codes_at_25_db [--samples N] [--json FILE]

Rates of a trellis are whole bits, so each row says what it reaches; rivals are brought to 25.0 dB by their step, in the same packets.
A packet adds 32 bits of header and checksum, and a hello now and then. The limit knows no bound on delay or complexity, and no headers.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.codec.side_information import SideInformation
from edge_wz.model import Model
from firmware_sim.field import fig5
from training import baselines, design, limits
from training.data import Recording, from_columns
from training.design_trellis import states_for
from training.evaluate import evaluate_bundle
from training.report import table
from training.rivals import Arena

TARGET_DB = 25.0
RIVAL_PACKET = 64
GRID = (1 / 2048, 0.0)
DESIGN_SAMPLES = 400_000
TRAIN_SEED, TEST_SEED = 5, 78
OURS = (
    *(("trellis", 2, packet_samples, states_for(packet_samples)) for packet_samples in (32, 64, 128, 256, 512, 1024, 4096)),
    ("trellis", 2, 64, 256), ("nested", math.log2(5), 64, None), ("nested", math.log2(6), 64, None),
)  # fmt: skip
COLUMNS = ("coder", "packet_samples", "sqnr_db", "payload_bits", "bits_on_air")
Row = dict[str, Any]


def made(scheme: str, rate: float, packet_samples: int, states: int | None) -> Model:
    return design.from_state_space(
        fig5().state_space(), scheme, rate=rate, packet_samples=packet_samples, states=states, grid=GRID, samples=DESIGN_SAMPLES, side=("y",)
    )


def ours(test: Recording) -> list[Row]:
    rows = []
    for scheme, rate, packet_samples, states in OURS:
        found = evaluate_bundle(made(scheme, rate, packet_samples, states), test, with_baselines=())["nodes"][0]
        name = f"{scheme}, {states} states" if states else f"{scheme}, {round(2**rate)} bins"
        rows.append(row(name, packet_samples, found["sqnr_db"], found["payload_bits_per_sample"], found["packet_bits_per_sample"]))
        print(rows[-1], flush=True)
    return rows


def theirs(test: Recording, train: Recording, packet_samples: int, overhead: float) -> list[Row]:
    model = made("nested", 2, packet_samples, None)
    side = SideInformation.of(test.matrix(("y",)))
    truth = test.column("x")
    arena = Arena(model, train, test, side, float(np.std(truth)) * 10 ** (-TARGET_DB / 20))
    rows = []
    for name in baselines.NAMES:
        point = arena.measure(name)
        payload = float(point.bits.sum()) / test.samples
        sqnr = 20 * math.log10(float(np.std(truth)) / (point.rmse * model.node.scale))
        rows.append(row(name, packet_samples, sqnr, payload, payload + overhead))
    return rows


def row(coder: str, packet_samples: int | str, sqnr_db: float, payload: float, on_air: float) -> Row:
    return dict(zip(COLUMNS, (coder, packet_samples, round(sqnr_db, 2), round(payload, 3), round(on_air, 3)), strict=True))


def limit_bits() -> float:
    spectrum, variance = limits.conditional_spectrum(fig5().state_space()), limits.source_variance(fig5().state_space())
    return float(limits.rate(spectrum, variance * 10 ** (-TARGET_DB / 10)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1 << 20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    train, test = (from_columns(fig5().generate(n, seed), 1.0, "fig5") for n, seed in ((200_000, TRAIN_SEED), (options.samples, TEST_SEED)))
    rows = ours(test)
    overhead = next(one["bits_on_air"] - one["payload_bits"] for one in rows if one["packet_samples"] == RIVAL_PACKET)
    rows += theirs(test.part(0, min(options.samples, 300_000)), train, RIVAL_PACKET, overhead)
    rows.append(row("Wyner-Ziv limit", "-", TARGET_DB, limit_bits(), math.nan))
    print(table(COLUMNS, [[one[name] for name in COLUMNS] for one in rows]))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
