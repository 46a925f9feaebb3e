"""Gap of `trellis` to the Wyner-Ziv limit on known statistics, beside `nested` with its Kalman decoder, through the integer codec and whole packets.

    python -m benchmarks.trellis_gap [--samples N] [--figures fig5,fig6,fig7] [--rates 2,4] [--cases 64x4096,8x32] [--json FILE]

A case is STATESxPACKET SAMPLES; 0x64 is `nested`; --follow decodes by the source's own past first (`decoders.survivors`). Steps are designed on
other samples than those that count. R is payload bits per sample as sent; there is no level check unless --level-check says so: a packet tells by
itself where it is unsure. The 95 % interval is by 50 stretches. Speeds are of processor time on one core, the best of several runs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gap import gap_columns
from benchmarks.timing import best_s
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.model import Model
from firmware_sim.field import PairSource, pair_source
from training import design
from training.evaluate import reconstruct
from training.report import table
from training.transmission import transmit, true_levels

GRID = (1 / 2048, 0.0)
CASES = "0x64,8x32,64x32,8x64,64x64,256x64,8x4096,64x4096,256x4096,1024x4096"
DESIGN_SAMPLES = 400_000
TEST_SEED = 77
SPEED_SAMPLES = 1 << 17
COLUMNS = ("figure", "scheme", "packet_samples", "states", "bits", "step", "sqnr_db", "gap_db", "interval_db", "wrong_levels",
           "decoder_per_s", "encoder_per_s")  # fmt: skip
Row = dict[str, Any]


def designed(source: PairSource, states: int, packet_samples: int, rate: float, level_check_bits: int = 0, follow: bool = False) -> Model:
    """`states` 0: nested."""
    return design.from_state_space(
        source.state_space(), "trellis" if states else "nested", rate=rate, packet_samples=packet_samples, states=states or None, grid=GRID,
        samples=DESIGN_SAMPLES, side=("y",), level_check_bits=level_check_bits, follow=follow,
    )  # fmt: skip


def measured(source: PairSource, model: Model, samples: int) -> Row:
    stream = source.generate(samples, TEST_SEED)
    codes, _ = model.node.to_codes(stream["x"])
    received = transmit(model.node, codes, np.ones(samples, np.bool_))
    side, engine = SideInformation.of(stream["y"][:, None]), Decoder(model)
    result = reconstruct(engine, received.indices, side)
    errors = np.square(result.values - stream["x"])
    bits = float(received.payload_bits.sum()) / samples
    return {
        "bits": bits, "step": model.node.rate_points[0].step * model.node.scale,
        **gap_columns(source, float(np.var(stream["x"])), errors, bits),
        "samples": samples, "expected_over_mse": float(np.mean(np.square(result.sigmas)) / errors.mean()),
        "wrong_levels": wrong_levels(model, codes, result.levels), "decoder_per_s": decoder_speed(engine, codes, side),
        "encoder_per_s": encoder_speed(model, codes[:SPEED_SAMPLES]),
    }  # fmt: skip


def wrong_levels(model: Model, codes: np.ndarray, levels: np.ndarray) -> float:
    return float(np.mean(levels != true_levels(model.node, codes, np.ones(len(codes), np.bool_))))


def decoder_speed(engine: Decoder, codes: np.ndarray, side: SideInformation) -> float:
    codes = codes[:SPEED_SAMPLES]
    received, part = transmit(engine.model.node, codes, np.ones(len(codes), np.bool_)), side[slice(0, len(codes))]
    return len(codes) / best_s(lambda: engine.reconstruct(engine.initial_state(), received.indices, part), 3)


def encoder_speed(model: Model, codes: np.ndarray) -> float:
    """Samples in, whole packets out."""
    return len(codes) / best_s(lambda: NodeEncoder(model.node, 1, period_us=1).encode(codes), 3)


def row_of(figure: str, rate: float, case: str, samples: int, level_check_bits: int = 0, follow: bool = False) -> Row:
    states, packet_samples = (int(part) for part in case.split("x"))
    source = pair_source(figure)
    row = measured(source, designed(source, states, packet_samples, rate, level_check_bits, follow), samples)
    name = {"figure": figure, "scheme": "trellis" if states else "nested", "packet_samples": packet_samples, "states": states, "rate": rate}
    return {**name, "level_check_bits": level_check_bits, "follow": follow, **row}


def merged(path: Path, found: list[Row]) -> list[Row]:
    """What the file holds, the rows of the same name replaced."""

    def key(row: Row) -> tuple[Any, ...]:
        return (*(row[name] for name in ("figure", "states", "packet_samples", "rate", "level_check_bits")), row.get("follow", False))

    old = json.loads(path.read_text()) if path.exists() else []
    return sorted({**{key(row): row for row in old}, **{key(row): row for row in found}}.values(), key=key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1 << 20)
    parser.add_argument("--figures", default="fig5")
    parser.add_argument("--rates", default="2,4")
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--level-check", type=int, default=0, choices=(0, 4, 8), dest="level_check_bits")
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--json", type=Path, help="rows into this file, beside those of other cases")
    options = parser.parse_args()
    found = []
    for figure in options.figures.split(","):
        for rate in options.rates.split(","):
            for case in options.cases.split(","):
                found.append(row_of(figure, float(rate), case, options.samples, options.level_check_bits, options.follow))
                print(table(COLUMNS, [[_shown(found[-1][name]) for name in COLUMNS]]), flush=True)
                if options.json:
                    options.json.write_text(json.dumps(merged(options.json, found[-1:]), indent=1) + "\n")
    print(table(COLUMNS, [[_shown(row[name]) for name in COLUMNS] for row in found]))


def _shown(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
