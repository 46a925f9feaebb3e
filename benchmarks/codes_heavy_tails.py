"""What a density of two Gaussians saves in `trellis`: fig5 with heavy-tailed noise, and with a neighbour that goes wrong now and then.

    python -m benchmarks.codes_heavy_tails [--samples N] [--states 64] [--packet-samples 64]

Each decoder has the steps designed for it, on other samples than those that count; the state space is that of fig5, whose variances all have.
SQNR with a 95 % interval by 50 stretches.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from scipy.signal import lfilter

from benchmarks.gap import STRETCHES, decibels
from benchmarks.trellis_gap import GRID, SPEED_SAMPLES, decoder_speed
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.model import StateSpace
from firmware_sim.field import pair_source
from training import design_trellis
from training.design_nested import nested_point
from training.material import Material, from_arrays
from training.report import table
from training.state_space import source_in_codes

DESIGN_SAMPLES, DESIGN_SEED, TEST_SEED = 200_000, 5, 77
LOUD, LOUDER = 0.1, 10.0  # share of the samples with so many times the variance of the others
WRONG, WRONG_SIGMA = 0.01, 1.0  # share of a neighbour's samples that are off, and by how much
COLUMNS = ("noise", "bits", "density", "step", "SQNR dB", "+-", "wrong levels", "decoder M/s")


def stream(noise: str, samples: int, seed: int) -> Material:
    """fig5 in sensor units; `noise`: gaussian | heavy | neighbour."""
    rng = np.random.default_rng(seed)
    truth = pair_source("fig5").generate(samples, seed)
    x, y = truth["x"], truth["y"]
    if noise == "heavy":
        clean = _clean(samples, rng)
        x, y = (clean + _heavy(samples, rng) for _ in range(2))
    elif noise == "neighbour":
        y = np.where(rng.random(samples) < WRONG, y + rng.normal(0, WRONG_SIGMA, samples), y)
    return from_arrays(x, y[:, None], GRID)


def _clean(samples: int, rng: np.random.Generator) -> np.ndarray:
    drive = rng.normal(0, np.sqrt(1 - 0.49), samples)
    return np.asarray(lfilter([1.0], [1.0, -0.7], drive, zi=[0.7 * rng.normal()])[0])


def _heavy(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Variance 0.01 as in fig5."""
    quiet = 0.01 / (1 - LOUD + LOUD * LOUDER)
    return rng.normal(0, np.sqrt(np.where(rng.random(samples) < LOUD, LOUDER * quiet, quiet)))


def rows(noise: str, rate: int, states: int, packet_samples: int, samples: int) -> list[list[object]]:
    material = stream(noise, DESIGN_SAMPLES, DESIGN_SEED)
    test = stream(noise, samples, TEST_SEED)
    space: StateSpace = source_in_codes(pair_source("fig5").state_space(), material.scale, material.offset)
    parts = design_trellis.TrellisParts(space, design_trellis.code_of(states), packet_samples, 0, 100)
    q = design_trellis.check_rate(rate)
    plain, steps = design_trellis.tuned(parts, material, [q])
    found = [(plain, steps[0])]
    density = design_trellis.found_density(parts, material, q)
    if len(density) > 1:
        mixed, others = design_trellis.tuned(replace(parts, density=density), material, [q])
        found.append((mixed, others[0]))
    return [_row(noise, rate, one, step, test) for one, step in found]


def _row(noise: str, rate: int, parts: design_trellis.TrellisParts, step: float, test: Material) -> list[object]:
    model = design_trellis.build(parts, test, [nested_point(step, 2 ** (rate - 1))])
    figures = design_trellis.measure(model, test)
    errors = np.square(figures.reconstruction.values - test.values)
    means = np.array([part.mean() for part in np.array_split(errors, STRETCHES)])
    interval = 1.96 * float(means.std(ddof=1) / means.mean()) / STRETCHES**0.5 * 10 / np.log(10)
    side = SideInformation.of(test.side[:SPEED_SAMPLES])
    speed = decoder_speed(Decoder(model), test.codes[:SPEED_SAMPLES], side)
    shown = " + ".join(f"{weight:.3f} x {factor:.2f}" for weight, factor in parts.density)
    return [
        noise, rate, shown, f"{step * test.scale:.4f}", f"{decibels(float(np.var(test.values)), errors):.2f}", f"{interval:.2f}",
        f"{figures.wrong_cells:.1e}", f"{speed / 1e6:.2f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1 << 19)
    parser.add_argument("--noise", default="gaussian,heavy,neighbour")
    parser.add_argument("--rates", default="2,4")
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--packet-samples", type=int, default=64)
    options = parser.parse_args()
    found = []
    for noise in options.noise.split(","):
        for rate in options.rates.split(","):
            found += rows(noise, int(rate), options.states, options.packet_samples, options.samples)
            print(table(COLUMNS, found[-2:]), flush=True)
    print(table(COLUMNS, found))


if __name__ == "__main__":
    main()
