"""A source in no paper: a field of AR(4) nodes, three neighbours with unequal noise; learned and designed bundles against the limit.

    python -m benchmarks.own_source [--samples N] [--rates 2,3,4] [--restarts N]

Both know 200 000 samples of the field and nothing else. Also printed: what is left when a neighbour falls silent.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.model import Model
from firmware_sim.field import GaussMarkovField
from training import design, limits, nested_fit, nested_model
from training.data import from_columns
from training.evaluate import reconstruct
from training.material import from_arrays
from training.nested import Lesson
from training.report import table
from training.transmission import transmit

NEIGHBOURS = ("y1", "y2", "y3")
TRAIN_SAMPLES, SIDE_TAPS, DROPOUT = 200_000, 12, 0.05
COLUMNS = ("bits", "model", "decoder", "SQNR dB", "gap to the limit", "without y1", "training s")


def source() -> GaussMarkovField:
    """x near y1 (noisy), y2 (clean, further off), y3 (very noisy)."""
    correlation = np.array([[1, 0.97, 0.9, 0.95], [0.97, 1, 0.88, 0.93], [0.9, 0.88, 1, 0.86], [0.95, 0.93, 0.86, 1]])
    ar = np.tile([0.6, -0.2, 0.3, -0.1], (4, 1))
    return GaussMarkovField(("x", *NEIGHBOURS), ar, correlation, np.array([0.05, 0.2, 0.05, 0.5]), np.zeros(4))


def learned(stream: np.ndarray, moduli: tuple[int, ...], restarts: int) -> Model:
    material = from_arrays(stream[:, 0], stream[:, 1:])
    rows = nested_model.rows_of(material)
    lesson = Lesson(moduli, side_taps=SIDE_TAPS, dropout=DROPOUT)
    result = nested_fit.fit(rows, lesson, restarts=restarts)
    return nested_model.to_model(result.filters, rows, material.scale, material.offset, side=NEIGHBOURS)


def sqnr_db(model: Model, decoder: str, test: np.ndarray, silent: bool = False) -> float:
    codes, _ = model.node.to_codes(test[:, 0])
    received = transmit(model.node, codes, np.ones(len(codes), dtype=bool))
    side = test[:, 1:].copy()
    if silent:
        side[:, 0] = np.nan
    result = reconstruct(Decoder(model, decoder), received.indices, SideInformation.of(side))
    return float(10 * np.log10(np.var(test[:, 0]) / np.mean((test[:, 0] - result.values) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--rates", default="2,3,4")
    parser.add_argument("--restarts", type=int, default=1)
    chosen = parser.parse_args()
    field = source()
    space = field.state_space("x", NEIGHBOURS)
    stream, test = field.generate(TRAIN_SAMPLES, 1), field.generate(chosen.samples, 2)
    recording = from_columns(dict(zip(field.names, stream.T, strict=True)), 1.0, "own source")
    found = []
    for bits in map(int, chosen.rates.split(",")):
        limit = limits.wyner_ziv_sqnr_db(space, bits)
        for label, decoder in (("learned", "nearest"), ("designed", "kalman")):
            began_s = time.perf_counter()
            model = learned(stream, (1 << bits,), chosen.restarts) if label == "learned" else design.design(
                recording, "x", NEIGHBOURS, rate=bits
            )
            seconds = time.perf_counter() - began_s
            whole, less = sqnr_db(model, decoder, test), sqnr_db(model, decoder, test, silent=True)
            found.append([bits, label, decoder, whole, limit - whole, less, seconds])
    print(table(COLUMNS, found))


if __name__ == "__main__":
    main()
