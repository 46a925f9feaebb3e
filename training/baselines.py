"""The rivals every result is compared with: hold, DPCM + Rice, DPCM + range coder, plain modulo.

Each codes the same samples in the same packets, which decode alone, with the same headers, and is brought to the same
rmse by its step. Parameters are fitted on `fit`, the step alone is solved on `test`: what is compared is the rate at
equal fidelity. The first three know nothing of the neighbours and reconstruct at mid-cell. `modulo` sends the low k
bits of a uniform quantizer and decodes with our best estimate (own past and neighbours): the simple rival of
`nested`, whose own rates and distortions are joined by a straight line in log rmse, as k is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_wz.model import NodeModel
from training import baseline_kernels as kernels

NAMES = ("hold", "dpcm_rice", "dpcm_range", "modulo")
TOLERANCE = 0.01  # of the rmse: what counts as equal
CLOSE = 0.5 * TOLERANCE  # where the search stops
MAX_TRIALS = 16
THRESHOLD_RATIOS = (0.5, 1.0, 2.0)  # deadband in steps
DPCM_ORDER = 2
REFITS = 2  # prediction coefficients are refitted on the loop's own reconstructions


@dataclass(frozen=True, eq=False)
class Signal:
    """A source as a node sees it. `codes`: int16[T], `truth`: float64[T] in LSB before rounding to codes."""

    codes: np.ndarray
    present: np.ndarray
    truth: np.ndarray
    packet_samples: int

    @property
    def packets(self) -> int:
        return -(-len(self.codes) // self.packet_samples)

    @property
    def samples(self) -> int:
        return int(np.count_nonzero(self.present))

    def rmse(self, recon: np.ndarray) -> float:
        error = (recon - self.truth)[self.present]
        return float(np.sqrt(np.mean(error**2))) if error.size else 0.0


@dataclass(frozen=True, eq=False)
class Rival:
    """One operating point. `bits`: payload bits of each packet, whole bytes; `rmse` in LSB."""

    bits: np.ndarray
    rmse: float
    step: float


Trial = Callable[[float], Rival]


def signal(node: NodeModel, values: np.ndarray, packet_samples: int) -> Signal:
    """The int16 source of `values` (sensor units, NaN = absent) under the node's scale."""
    present = np.isfinite(values)
    filled = np.where(present, values, node.offset)
    codes, _ = node.to_codes(filled)
    return Signal(codes, present, (filled - node.offset) / node.scale, packet_samples)


def whole_bytes(bits: np.ndarray) -> np.ndarray:
    return (bits + 7) // 8 * 8


def solve_step(trial: Trial, target_rmse: float, first_step: float | None = None, lowest: float = 1.0) -> Rival:
    """The rival at `target_rmse`: its step by false position, or a straight line in log rmse between two trials.

    Where rmse does not rise with the step, a trial that is finer and cheaper too is taken instead.
    """
    tried: list[Rival] = []

    def remembered(step: float) -> Rival:
        tried.append(trial(step))
        return tried[-1]

    met = _meet(remembered, target_rmse, first_step, lowest)
    finer = [point for point in tried if point.rmse <= target_rmse]
    return min([met, *finer], key=lambda point: float(point.bits.sum()))


def _meet(trial: Trial, target_rmse: float, first_step: float | None, lowest: float) -> Rival:
    step = max(lowest, first_step or target_rmse * np.sqrt(12.0))
    low: Rival | None = None
    high: Rival | None = None
    for _ in range(MAX_TRIALS):
        point = trial(step)
        if point.rmse <= target_rmse:
            low = point
        else:
            high = point
        if abs(point.rmse - target_rmse) <= CLOSE * target_rmse or (point is high and step <= lowest):
            return point
        if low is not None and high is not None:
            if abs(high.step / low.step - 1) < 2e-3:
                break
            step = _inside(low, high, target_rmse)
        else:
            step = max(lowest, step * float(np.clip(target_rmse / max(point.rmse, 1e-9), 0.5, 2.0)) ** 1.1)
    if low is None or high is None:
        return low or high or trial(lowest)
    return between(low, high, target_rmse)


def _inside(low: Rival, high: Rival, target_rmse: float) -> float:
    """The next step to try: where the line in log rmse meets the target, kept away from the ends."""
    weight = np.log(target_rmse / low.rmse) / np.log(high.rmse / low.rmse) if low.rmse > 0 else 0.5
    weight = float(np.clip(weight, 0.1, 0.9))
    return float(low.step ** (1 - weight) * high.step**weight)


def between(low: Rival, high: Rival, target_rmse: float) -> Rival:
    """The nearer point if it is equal within the tolerance, else the point on the line in log rmse."""
    nearest = min((low, high), key=lambda point: abs(point.rmse - target_rmse))
    if abs(nearest.rmse - target_rmse) <= TOLERANCE * target_rmse or low.rmse <= 0:
        return nearest
    weight = np.log(target_rmse / low.rmse) / np.log(high.rmse / low.rmse)
    bits = low.bits * (1 - weight) + high.bits * weight
    return Rival(bits, target_rmse, float(low.step ** (1 - weight) * high.step**weight))


# --- hold ---------------------------------------------------------------------------------------------------------


def hold(fit: Signal, test: Signal, target_rmse: float) -> Rival:
    """Deadband: silent while the sample stays within a threshold of the last value sent."""

    def at_ratio(ratio: float, source: Signal) -> Rival:
        return solve_step(lambda step: _hold_trial(fit, source, ratio, step), target_rmse)

    def cost(ratio: float) -> tuple[bool, float]:
        point = at_ratio(ratio, fit)
        return point.rmse > (1 + TOLERANCE) * target_rmse, float(point.bits.mean())

    best = min(THRESHOLD_RATIOS, key=cost)
    return at_ratio(best, test)


def _hold_trial(fit: Signal, source: Signal, ratio: float, step: float) -> Rival:
    mean = float(np.rint(fit.truth[fit.present].mean())) if fit.samples else 0.0
    levels, recon = _hold_loop(fit, mean, ratio, step)
    first = _first_parameter(fit, levels)
    levels, recon = _hold_loop(source, mean, ratio, step)
    bits = np.zeros(source.packets, np.int64)
    kernels.deadband_packets(levels, source.present, source.packet_samples, first, bits)
    return Rival(whole_bytes(bits), source.rmse(recon), step)


def _hold_loop(source: Signal, mean: float, ratio: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    levels, recon = np.zeros(len(source.codes), np.int64), np.zeros(len(source.codes))
    kernels.deadband(source.codes, source.present, source.packet_samples, mean, ratio * step, step, levels, recon)
    return levels, recon


def _first_parameter(fit: Signal, levels: np.ndarray) -> int:
    costs = np.zeros(kernels.MAX_PARAMETER + 1, np.int64)
    kernels.first_costs(levels, fit.present, fit.packet_samples, costs)
    return int(costs.argmin())


# --- DPCM ---------------------------------------------------------------------------------------------------------


def dpcm_rice(fit: Signal, test: Signal, target_rmse: float) -> Rival:
    """Closed-loop DPCM of order 2, Rice coded with the best parameter of each packet."""
    return solve_step(lambda step: _dpcm_trial(fit, test, step), target_rmse)


def _dpcm_trial(fit: Signal, test: Signal, step: float) -> Rival:
    recon = fit.codes.astype(np.float64)
    rows = _fit_rows(fit, recon)
    for _ in range(REFITS):
        levels, recon = _dpcm_loop(fit, rows, step)
        rows = _fit_rows(fit, recon)
    first = _first_parameter(fit, _dpcm_loop(fit, rows, step)[0])
    levels, recon = _dpcm_loop(test, rows, step)
    bits = np.zeros(test.packets, np.int64)
    kernels.rice_packets(levels, test.present, test.packet_samples, first, bits)
    return Rival(whole_bytes(bits), test.rmse(recon), step)


def _dpcm_loop(source: Signal, rows: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    levels, recon = np.zeros(len(source.codes), np.int64), np.zeros(len(source.codes))
    kernels.dpcm(source.codes, source.present, source.packet_samples, rows, step, levels, recon)
    return levels, recon


def _fit_rows(fit: Signal, recon: np.ndarray) -> np.ndarray:
    """Least squares of the codes on the reconstructions before them: row p uses p of them and an intercept."""
    slots = np.arange(len(fit.codes)) % fit.packet_samples
    mean = float(np.rint(fit.codes[fit.present].mean())) if fit.samples else 0.0
    rows = np.zeros((DPCM_ORDER + 1, DPCM_ORDER + 1))
    rows[0, 0] = mean
    for p in range(1, min(DPCM_ORDER, fit.packet_samples - 1) + 1):
        where = np.flatnonzero(fit.present & (slots >= p))
        if where.size <= 4 * p:
            rows[p] = rows[p - 1]
            continue
        past = np.stack([recon[where - 1 - i] - mean for i in range(p)], axis=1)
        gram = past.T @ past + 1e-6 * where.size * np.eye(p)
        taps = np.linalg.solve(gram, past.T @ (fit.codes[where] - mean))
        rows[p, 1 : p + 1] = taps
        rows[p, 0] = mean * (1 - taps.sum())
    return rows


# --- modulo -------------------------------------------------------------------------------------------------------


def modulo(points: Sequence[Rival], target_rmse: float) -> Rival:
    """`points`: plain modulo at k = 1, 2, ... bits, each at its best step; between two k, a line in log rmse.

    Past the ends the outermost point stands, with its own rmse.
    """
    ordered = sorted(points, key=lambda point: float(point.bits.sum()))
    kept = [ordered[0]]
    kept += [point for point in ordered[1:] if point.rmse < kept[-1].rmse]
    if target_rmse >= kept[0].rmse:
        return kept[0]
    for high, low in zip(kept, kept[1:], strict=False):
        if low.rmse <= target_rmse:
            return between(low, high, target_rmse)
    return kept[-1]
