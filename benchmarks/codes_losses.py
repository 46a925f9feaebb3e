"""What lost packets cost beyond themselves: `trellis` beside `nested` and `predictive`, 10 % lost at random and in bursts, known statistics.

    python -m benchmarks.codes_losses [--samples N] [--figures fig5,fig7] [--json FILE]

All at about the same fidelity without losses, packets of 64. `heard x` is the mean square error on samples whose packets did arrive, over that
without losses: 1 where damage is confined; `first x` the same on the packet after a gap, `wrong` the share of samples heard whose level changed.
`all dB` counts concealed samples too. Bursts are five packets long on average.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.model import Model
from firmware_sim.field import PairSource, pair_source
from training import design
from training.limits import source_variance
from training.report import table
from training.transmission import transmit

PACKET = 64
LOSS = 0.1
BURST_PACKETS = 5.0
GRID = (1 / 2048, 0.0)
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("trellis", {"rate": 2, "states": 64}), ("nested", {"rate": float(np.log2(5))}), ("predictive", {}),
)  # fmt: skip
COLUMNS = ("figure", "scheme", "bits", "losses", "no loss dB", "heard x", "first x", "wrong", "all dB")


def arrivals(packets: int, bursty: bool, seed: int) -> np.ndarray:
    """bool[packets]; the first one arrives. Bursts: a chain of two states."""
    rng = np.random.default_rng(seed)
    if not bursty:
        heard = rng.random(packets) >= LOSS
    else:
        end = 1.0 / BURST_PACKETS
        begin = end * LOSS / (1.0 - LOSS)
        heard, up = np.ones(packets, np.bool_), True
        for at, draw in enumerate(rng.random(packets)):
            up = draw >= begin if up else draw < end
            heard[at] = up
    heard[0] = True
    return heard


def without(indices: StreamIndices, lost: np.ndarray) -> StreamIndices:
    """`lost`: bool per sample, whole packets."""
    starts = lost[indices.packet_starts]
    predicted = indices.preds.size > 0
    return replace(
        indices, values=np.where(lost, NO_LEVEL, indices.values), checks=np.where(starts, -1, indices.checks),
        preds=np.where(lost, 0, indices.preds) if predicted else indices.preds,
        recon=np.where(lost, 0, indices.recon) if predicted else indices.recon,
    )


def measured(source: PairSource, model: Model, samples: int) -> list[list[Any]]:
    stream = source.generate(samples, 91)
    truth, power = stream["x"], float(np.var(stream["x"]))
    received = transmit(model.node, model.node.to_codes(truth)[0], np.ones(samples, np.bool_))
    engine, side = Decoder(model), SideInformation.of(stream["y"][:, None])
    clean, _ = engine.reconstruct(engine.initial_state(), received.indices, side)
    bits, found = round(float(received.payload_bits.sum()) / samples, 3), []
    for name, bursty in (("random", False), ("bursts", True)):
        heard = arrivals(-(-samples // PACKET), bursty, 7)
        after = np.repeat(heard & ~np.roll(heard, 1), PACKET)[:samples]
        lost = ~np.repeat(heard, PACKET)[:samples]
        result, _ = engine.reconstruct(engine.initial_state(), without(received.indices, lost), side)
        squares = [np.square(one.values - truth) for one in (clean, result)]
        shown = [float(squares[1][where].mean() / squares[0][where].mean()) for where in (~lost, after)]
        wrong = float(np.mean((clean.levels != result.levels)[~lost]))
        decibel = [round(float(10 * np.log10(power / part.mean())), 2) for part in squares]
        found.append([bits, name, decibel[0], round(shown[0], 4), round(shown[1], 4), f"{wrong:.1e}", decibel[1]])
    return found


def rows(figure: str, samples: int) -> list[list[Any]]:
    source, found, fidelity = pair_source(figure), [], 0.0
    for scheme, asked in CASES:
        if scheme == "predictive":
            asked = {"step": float(np.sqrt(12.0 * fidelity))}
        options: dict[str, Any] = {"packet_samples": PACKET, "grid": GRID, "samples": 100_000, "side": ("y",), **asked}
        model = design.from_state_space(source.state_space(), scheme, **options)
        lines = measured(source, model, samples)
        if scheme == "trellis":
            fidelity = source_variance(source.state_space()) * 10 ** (-lines[0][2] / 10)
        found += [[figure, scheme, *line] for line in lines]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1 << 17)
    parser.add_argument("--figures", default="fig5,fig7")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = [line for figure in options.figures.split(",") for line in rows(figure, options.samples)]
    print(table(COLUMNS, found))
    if options.json:
        options.json.write_text(json.dumps([dict(zip(COLUMNS, line, strict=True)) for line in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
