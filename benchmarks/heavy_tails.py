"""Would heavy-tailed innovations pay in the decoders of `nested`? `python -m benchmarks.heavy_tails [DATA_DIR]`

For every recording: what the Kalman filter of the first half cannot foresee in the second (own past known up to the step, neighbours true), as
a Gaussian, a Student t and a Gaussian-Laplace mixture describe it, fitted to the first half; and the posterior-mean decoder with each of
them in its place. All three get the same past, one without errors: so the table shows the most that a density can gain, and a
recursive decoder would gain less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.recordings import CASES, Case, parser
from training.design_nested import NestedParts, fit_side_filter, innovations
from training.material import Material, gather
from training.report import table
from training.state_space import identify

RATES = (2, 3, 4)
CELLS = 6  # candidates on each side
GRID = np.concatenate([-np.geomspace(400, 1e-3, 4000), [0.0], np.geomspace(1e-3, 400, 4000)])  # in standard deviations
SPANS = np.geomspace(4.0, 60.0, 22)  # modulo ranges tried, in standard deviations
SHOWN = ("ptb_20", "pm25_16", "m35_.1", "m47_.1")
COLUMNS = ("recording", "density", "bits/sample saved", "R=2 dB", "R=3 dB", "R=4 dB")


@dataclass(frozen=True, eq=False)
class Density:
    """On GRID: log density, distribution, and the integral of z times the density."""

    name: str
    log: np.ndarray
    mass: np.ndarray
    moment: np.ndarray

    @staticmethod
    def of(name: str, density: np.ndarray) -> Density:
        steps, middles = np.diff(GRID), 0.5 * (GRID[1:] + GRID[:-1])
        share = 0.5 * (density[1:] + density[:-1]) * steps
        total = share.sum()
        log = np.log(np.maximum(density / total, 1e-300))
        return Density(name, log, np.append(0, np.cumsum(share)) / total, np.append(0, np.cumsum(share * middles)) / total)

    def bits(self, z: np.ndarray) -> float:
        """Ideal code length of a sample, up to what the step adds to all."""
        return -float(np.mean(np.interp(z, GRID, self.log))) / np.log(2)

    def mse(self, z: np.ndarray, span: float, bins: int) -> float:
        """Of the posterior mean, cells laid on multiples of the step around a prediction that falls anywhere."""
        step = span / bins
        phase = np.random.default_rng(0).uniform(0, span, z.size)
        centre = np.rint((z + phase) / step) * step - phase
        mass, moment = np.zeros(z.size), np.zeros(z.size)
        nearest = centre - span * np.rint(centre / span)
        for k in range(-CELLS, CELLS + 1):
            low, high = nearest + k * span - step / 2, nearest + k * span + step / 2
            mass += np.interp(high, GRID, self.mass) - np.interp(low, GRID, self.mass)
            moment += np.interp(high, GRID, self.moment) - np.interp(low, GRID, self.moment)
        return float(np.mean((np.where(mass > 1e-14, moment / np.maximum(mass, 1e-300), nearest) - z) ** 2))


def densities(z: np.ndarray) -> list[Density]:
    """Of most likelihood on `z`."""
    gauss = Density.of("Gaussian", stats.norm.pdf(GRID, scale=np.std(z)))
    scale = float(np.median(np.abs(z))) / 0.67
    students = [stats.t.pdf(GRID, nu, scale=s * scale) for nu in (2.2, 3, 4, 6, 10, 30) for s in (0.6, 0.75, 0.9, 1.1)]
    mixtures = [
        (1 - share) * stats.norm.pdf(GRID, scale=s * scale) + share * stats.laplace.pdf(GRID, scale=wide * s * scale)
        for share in (0.02, 0.1, 0.3, 0.6, 1.0) for s in (0.5, 0.75, 1.0) for wide in (0.7, 1.5, 3.0, 8.0)
    ]  # fmt: skip
    best = [gauss]
    for name, trials in (("Student t", students), ("Gaussian + Laplace", mixtures)):
        best.append(min((Density.of(name, trial) for trial in trials), key=lambda one: one.bits(z)))
    return best


def surprises(fit: Material, test: Material, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised by what the filter expects: (first half, second half)."""
    noise = float(np.nanvar(np.diff(fit.in_codes))) * 4.0**-rate
    found = identify(fit.in_codes, fit.side, noise)
    parts = NestedParts(found.space, fit_side_filter(fit, 5), "kalman", 64, 0, 128)
    first, second = (innovations(parts, half, noise) for half in (fit, test))
    return first[0] / np.sqrt(first[1]), second[0] / np.sqrt(second[1])


def rows(case: Case, folder: Path) -> Iterator[list[object]]:
    halves = case.halves(folder)
    fit, test = (gather(half, case.source, case.side) for half in halves)
    gains: dict[str, list[float]] = {}
    reference: dict[int, float] = {}
    for rate in RATES:
        first, second = surprises(fit, test, rate)
        for density in densities(first):
            span = min(SPANS, key=lambda span: density.mse(first, float(span), 1 << rate))
            mse = density.mse(second, float(span), 1 << rate)
            reference.setdefault(rate, mse)
            gains.setdefault(density.name, []).append(10 * np.log10(reference[rate] / mse))
            if rate == RATES[1]:
                gains[density.name].insert(0, densities(first)[0].bits(second) - density.bits(second))
    for name, (saved, *decibels) in gains.items():
        yield [case.label.partition(", step")[0], name, saved, *decibels]


def main() -> None:
    chosen = parser(__doc__, SHOWN).parse_args()
    print(table(COLUMNS, [row for name in chosen.cases.split(",") for row in rows(CASES[name], chosen.data)]))


if __name__ == "__main__":
    main()
