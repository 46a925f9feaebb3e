"""Gap of `trellis` to the Wyner-Ziv limit on fig5, beside `nested` with its Kalman decoder, through the integer codec and whole packets.

    python -m benchmarks.trellis_gap [--samples N] [--rates 2,4] [--out DIR]

Steps are designed on other samples than those that count. R is payload bits per sample, as sent. The 95 % interval is by blocks of
packets. Speeds are of processor time on one core. Writes trellis_gap.json, and trellis_gap.png where matplotlib is there.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.model import Model
from firmware_sim import field
from training import design
from training.transmission import transmit

LIMIT_DB = 17.09  # SQNR of fig5's conditional variance, rate 0
BIT_DB = 20 * math.log10(2)
GRID = (1 / 2048, 0.0)
CASES = (("trellis", 32, 8), ("trellis", 32, 64), ("trellis", 64, 8), ("trellis", 64, 64), ("trellis", 64, 256),
         ("trellis", 4096, 8), ("trellis", 4096, 64), ("trellis", 4096, 256))  # fmt: skip
DESIGN_SAMPLES = 100_000
BLOCKS = 50
Row = dict[str, Any]


def made(scheme: str, packet_samples: int, states: int | None, rate: float) -> Model:
    return design.from_state_space(
        field.fig5().state_space(), scheme, rate=rate, packet_samples=packet_samples, states=states, grid=GRID,
        samples=DESIGN_SAMPLES, side=("y",),
    )  # fmt: skip


def measured(model: Model, samples: int, seed: int) -> Row:
    stream = field.fig5().generate(samples, seed)
    codes, _ = model.node.to_codes(stream["x"])
    received = transmit(model.node, codes, np.ones(samples, np.bool_))
    side, engine = SideInformation.of(stream["y"][:, None]), Decoder(model)
    engine.warm_up()
    start = time.process_time()
    result, _ = engine.reconstruct(engine.initial_state(), received.indices, side)
    seconds = time.process_time() - start
    errors = np.square(result.values - stream["x"])
    bits = float(received.payload_bits.sum()) / samples
    blocks = np.array([block.mean() for block in np.array_split(errors, BLOCKS)])
    interval = 1.96 * float(blocks.std(ddof=1)) / math.sqrt(BLOCKS) / float(blocks.mean()) * 10 / math.log(10)
    sqnr = 10 * math.log10(float(np.var(stream["x"])) / float(errors.mean()))
    return {
        "bits": bits, "step": model.node.rate_points[0].step * model.node.scale, "sqnr_db": sqnr,
        "gap_db": LIMIT_DB + BIT_DB * bits - sqnr, "interval_db": interval, "samples": samples,
        "expected_over_mse": float(np.mean(np.square(result.sigmas)) / errors.mean()),
        "decoder_samples_per_s": samples / seconds, "encoder_samples_per_s": encoder_speed(model, codes),
    }  # fmt: skip


def encoder_speed(model: Model, codes: np.ndarray) -> float:
    """Samples in, whole packets out."""
    NodeEncoder(model.node, 1, period_us=1).encode(codes)
    start = time.process_time()
    NodeEncoder(model.node, 1, period_us=1).encode(codes)
    return len(codes) / (time.process_time() - start)


def rows(samples: int, rates: list[float]) -> list[Row]:
    found = []
    for rate in rates:
        for scheme, packet_samples, states in (("nested", 64, None), *CASES):
            row = measured(made(scheme, packet_samples, states, rate), samples, 77)
            found.append({"scheme": scheme, "packet_samples": packet_samples, "states": states, "rate": rate, **row})
            print(
                f"{scheme:8} N {packet_samples:5} states {states or '-':>4} R {row['bits']:.3f}  gap {row['gap_db']:.2f} "
                f"+- {row['interval_db']:.2f} dB  step {row['step']:.4f}  decoder {row['decoder_samples_per_s'] / 1e6:.2f} M/s "
                f"encoder {row['encoder_samples_per_s'] / 1e6:.1f} M/s", flush=True,
            )  # fmt: skip
    return found


def draw(found: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name in dict.fromkeys((row["scheme"], row["packet_samples"], row["states"]) for row in found):
        line = [row for row in found if (row["scheme"], row["packet_samples"], row["states"]) == name]
        label = f"{name[0]}, N = {name[1]}" + (f", {name[2]} states" if name[2] else "")
        axes.plot([row["bits"] for row in line], [row["gap_db"] for row in line], "o-", label=label)
    axes.set(xlabel="payload bits per sample", ylabel="gap to the Wyner-Ziv limit, dB", ylim=(0, None))
    axes.legend(fontsize=7, ncol=2)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1 << 20)
    parser.add_argument("--rates", default="2,4")
    parser.add_argument("--out", type=Path, default=Path("."))
    options = parser.parse_args()
    found = rows(options.samples, [float(rate) for rate in options.rates.split(",")])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "trellis_gap.json").write_text(json.dumps(found, indent=1) + "\n")
    try:
        draw(found, options.out / "trellis_gap.png")
    except ImportError:
        print("no picture: matplotlib is not installed")


if __name__ == "__main__":
    main()
