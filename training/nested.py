"""Learn the filters, the step and the modulo range of `nested` by stochastic gradients (torch).

    u = a * x     u~ = u + noise     v = sum_j b_j * y_j     u^ = u~ - range * l     x^ = c * u^

`l` is the soft index of the candidate nearest to `v`, relative to the right one. Source: Domanovitz, Severo, Khisti, Yu,
"Data-driven optimization for zero-delay lossy source coding with side-information", section 3.

Two recipes:

* `paper`: as printed. Gaussian noise of variance Delta^2/3 2^(-2R), the arctan modulo (eq. 6), softmin over 2 ceil(K/2) + 1 candidates
  (eq. 5) at temperature 1/beta in absolute units, K = 7, beta = 20, Adam 0.01.
* `default`: the same chain, scale-invariant. Uniform noise of variance Delta^2/12 (what a uniform quantiser makes), a[0] = 1 (a, b, c share a
  redundant gain), candidates relative to the right one with beta in units of the range, range starting from the conditional spread, several
  restarts, early stopping on held-out rows.

Both end in `polish`: range and c once more, on the real quantiser over at least 100 k samples, because rare overloads decide the
distortion and no minibatch sees enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_wz.errors import DesignError
from training.nested_hard import NestedFilters, hard_mse, polish, side_weights, spread

TAPS = 5
SEQUENCE = 1000  # samples per training sequence
BATCH = 20


@dataclass(frozen=True)
class Recipe:
    name: str
    learning_rate: float = 0.01
    steps: int = 1500
    beta: float = 20.0
    candidates: int = 7
    restarts: int = 3
    patience: int = 8  # evaluations without gain on held-out rows
    evaluate_every: int = 50


DEFAULT = Recipe("default")
PAPER = Recipe("paper", restarts=1)
RECIPES = {"default": DEFAULT, "paper": PAPER}


@dataclass(frozen=True)
class Fit:
    """What one training run ended with. `history`: (step, held-out SQNR in dB) of the hard scheme."""

    filters: NestedFilters
    seed: int
    sqnr_db: float
    history: tuple[tuple[int, float], ...] = field(default_factory=tuple)


def fit(
    x: np.ndarray,
    y: np.ndarray,
    modulus: int,
    *,
    taps: int = TAPS,
    side_taps: int = TAPS,
    recipe: Recipe = DEFAULT,
    seed: int = 0,
    dropout: float = 0.0,
    report: Callable[[int, float], None] | None = None,
) -> Fit:
    """Fit one seed. `x`: (T,), `y`: (m, T), no gaps, any units; `taps` of a and c, `side_taps` of b. Raises DesignError on divergence after all restarts."""
    rows = x.shape[0]
    if rows < 20 * SEQUENCE:
        raise DesignError(f"training needs at least {20 * SEQUENCE} samples without gaps, the recording has {rows}")
    cut = rows - max(rows // 5, 10 * SEQUENCE)
    train, held = slice(0, cut), slice(cut, rows)
    best: Fit | None = None
    for restart in range(recipe.restarts):
        run = _Run(x, y, train, held, modulus, taps, side_taps, recipe, seed * 1009 + restart, dropout, report)
        candidate = run.train()
        if candidate is not None and (best is None or candidate.sqnr_db > best.sqnr_db):
            best = candidate
    if best is None:
        raise DesignError(f"training diverged in all {recipe.restarts} restarts of seed {seed} (loss is not a number)")
    filters = polish(best.filters, x, y)
    mse = hard_mse(filters, x[held], y[:, held])
    return Fit(filters, seed, 10 * math.log10(float(np.var(x[held])) / mse), best.history)


class _Run:
    """One restart: normalised data, parameters, the surrogate, early stopping."""

    def __init__(
        self, x: np.ndarray, y: np.ndarray, train: slice, held: slice, modulus: int, taps: int, side_taps: int,
        recipe: Recipe, seed: int, dropout: float, report: Callable[[int, float], None] | None,
    ) -> None:
        import torch

        self.torch = torch
        self.recipe, self.modulus, self.dropout, self.report, self.seed = recipe, modulus, dropout, report, seed
        self.side_taps = side_taps
        self.generator = torch.Generator().manual_seed(seed)
        self.mean_x, self.scale_x = float(x[train].mean()), float(x[train].std())
        self.mean_y, self.scale_y = y[:, train].mean(axis=1), y[:, train].std(axis=1)
        if self.scale_x == 0 or np.any(self.scale_y == 0):
            raise DesignError("a constant column cannot be trained on")
        self.x = torch.tensor((x[train] - self.mean_x) / self.scale_x, dtype=torch.float32)
        self.y = torch.tensor((y[:, train] - self.mean_y[:, None]) / self.scale_y[:, None], dtype=torch.float32)
        self.held = x[held], y[:, held]
        start = math.log(self._initial_range())
        delta = torch.zeros(taps)
        delta[0] = 1.0
        self.a_tail = torch.zeros(taps - 1, requires_grad=True)
        self.a_gain = torch.ones(1, requires_grad=recipe.name == "paper")
        self.b = self._initial_side_filter(side_taps).requires_grad_()
        self.c = delta.clone().requires_grad_()
        self.log_range = torch.tensor(start, requires_grad=True)
        self.parameters = [self.a_tail, self.b, self.c, self.log_range]
        if recipe.name == "paper":
            self.parameters.append(self.a_gain)

    def _initial_range(self) -> float:
        draw = float(self.torch.rand(1, generator=self.generator))
        if self.recipe.name == "paper":
            return 0.5 + 5.5 * draw
        # between 4 and 9 conditional standard deviations: the optimum for 1 to 5 bits lies inside
        return (4.0 + 5.0 * draw) * spread(
            self.x.numpy().astype(np.float64), self.y.numpy().astype(np.float64), self.side_taps
        )

    def _initial_side_filter(self, side_taps: int) -> Any:
        """The paper starts from a delta; least squares starts at the optimum for an ideal quantiser."""
        neighbours = self.y.shape[0]
        if self.recipe.name == "paper":
            start = self.torch.zeros(neighbours, side_taps)
            start[:, 0] = 1.0 / neighbours
            return start
        weights = side_weights(self.x.numpy().astype(np.float64), self.y.numpy().astype(np.float64), side_taps)
        return self.torch.tensor(weights, dtype=self.torch.float32)

    def train(self) -> Fit | None:
        torch, recipe = self.torch, self.recipe
        optimiser = torch.optim.Adam(self.parameters, lr=recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps, recipe.learning_rate / 20)
        best, stale, history = None, 0, []
        for step in range(1, recipe.steps + 1):
            loss = self._loss(step / recipe.steps)
            if not bool(torch.isfinite(loss)):
                return best
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            optimiser.step()
            if recipe.name != "paper":
                schedule.step()
            if step % recipe.evaluate_every and step != recipe.steps:
                continue
            sqnr = self._held_out_sqnr()
            history.append((step, sqnr))
            if self.report is not None:
                self.report(step, sqnr)
            if best is None or sqnr > best.sqnr_db + 0.01:
                best, stale = Fit(self._filters(), self.seed, sqnr, tuple(history)), 0
            else:
                stale += 1
                if stale >= recipe.patience:
                    break
        return best

    def _batch(self) -> tuple[Any, Any]:
        torch = self.torch
        last = self.x.shape[0] - SEQUENCE
        starts = torch.randint(0, last + 1, (BATCH,), generator=self.generator)
        index = starts[:, None] + torch.arange(SEQUENCE)[None, :]
        x, y = self.x[index], self.y[:, index].permute(1, 0, 2)
        if self.dropout > 0 and y.shape[1] > 1:
            keep = torch.rand(y.shape[0], y.shape[1], 1, generator=self.generator) >= self.dropout
            y = y * keep / keep.float().mean(dim=1, keepdim=True).clamp(min=1.0 / y.shape[1])
        return x, y

    def _loss(self, progress: float) -> Any:
        torch = self.torch
        x, y = self._batch()
        a = torch.cat([self.a_gain, self.a_tail])
        u = self._filter(x[:, None], a[None, None])[:, 0]
        v = self._filter(y, self.b[None])[:, 0]
        span = self.log_range.exp()
        if self.recipe.name == "paper":
            estimate = self._soft_paper(u, v, span)
        else:
            estimate = self._soft_default(u, v, span, progress)
        reconstruction = self._filter(estimate[:, None], self.c[None, None])[:, 0]
        skip = self.b.shape[1]
        return ((x - reconstruction)[:, skip:] ** 2).mean()

    def _filter(self, signal: Any, taps: Any) -> Any:
        padded = self.torch.nn.functional.pad(signal, (taps.shape[-1] - 1, 0))
        return self.torch.nn.functional.conv1d(padded, taps.flip(-1))

    def _soft_default(self, u: Any, v: Any, span: Any, progress: float) -> Any:
        torch = self.torch
        noisy = u + (torch.rand(u.shape, generator=self.generator) - 0.5) * (span / self.modulus)
        half = (self.recipe.candidates + 1) // 2
        index = torch.arange(-half, half + 1, dtype=u.dtype)
        # candidate j lies j ranges below the right one; beta grows so that the soft rule ends hard
        distance = ((noisy - v) / span)[..., None] - index
        weight = torch.softmax(-self.recipe.beta * (1 + 3 * progress) * distance**2, dim=-1)
        return noisy - span * (weight * index).sum(-1)

    def _soft_paper(self, u: Any, v: Any, span: Any) -> Any:
        torch = self.torch
        rate = math.log2(self.modulus)
        deviation = (span / self.modulus) / math.sqrt(3.0) * 2.0**-rate
        noisy = u + deviation * torch.randn(u.shape, generator=self.generator)
        folded = span / math.pi * torch.atan(torch.tan(math.pi * (noisy / span - 0.5))) + span / 2
        half = math.ceil(self.recipe.candidates / 2)
        index = torch.arange(-half, half + 1, dtype=u.dtype)
        distance = folded[..., None] + index * span - v[..., None]
        weight = torch.softmax(-self.recipe.beta * distance**2, dim=-1)
        return folded + span * (weight * index).sum(-1)

    def _filters(self) -> NestedFilters:
        """Back to the units of the recording, with a[0] = 1."""
        gain = float(self.a_gain.detach())
        a = np.concatenate([[1.0], self.a_tail.detach().numpy().astype(np.float64) / gain])
        b = self.b.detach().numpy().astype(np.float64) * (self.scale_x / gain) / self.scale_y[:, None]
        c = self.c.detach().numpy().astype(np.float64) * gain
        span = abs(float(self.log_range.detach().exp()) * self.scale_x / gain)
        return NestedFilters(a, b, c, span, self.modulus, self.mean_x, np.array(self.mean_y))

    def _held_out_sqnr(self) -> float:
        x, y = self.held
        return 10 * math.log10(float(np.var(x)) / hard_mse(self._filters(), x, y))
