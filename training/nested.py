"""Learn the filters and the modulo ranges of `nested` by stochastic gradients (torch): one restart.

    u = a * x     u~ = u + noise     v = sum_j b_j * y_j     u^ = u~ - range * l     x^ = c * u^

`l` is the soft index of the candidate nearest to `v`, relative to the right one. Source: Domanovitz, Severo, Khisti,
Yu, "Data-driven optimization for zero-delay lossy source coding with side-information", section 3.

Two recipes:

* `paper`: as printed. Gaussian noise of variance Delta^2/3 2^(-2R), the arctan modulo (eq. 6), softmin over 2 ceil(K/2)
  + 1 candidates (eq. 5) at temperature 1/beta in absolute units, K = 7, beta = 20, Adam 0.01, filters from a delta.
* `default`: the same chain, scale-invariant. Uniform noise of variance Delta^2/12 (what a uniform quantiser makes),
  a[0] = 1 (a, b, c share a redundant gain), candidates relative to the right one with beta in units of the range, b
  from least squares, ranges from the conditional spread.

Several rate points share a, b and c and have a range each. A neighbour that is dropped from a sequence is bridged as
the decoder does it: by the conditional mean of its part of v given the others. `training.nested_fit` runs the restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_wz.errors import DesignError
from training.nested_hard import NestedFilters, Rows, side_moments, side_weights, spread, sqnr_db

TAPS = 5
SEQUENCES = (1000, 500, 250, 125)  # samples per training sequence: the longest that the gaps allow
COVERED = 0.8  # share of the samples that lies in segments long enough
MARGIN_DB = 0.01


@dataclass(frozen=True)
class Recipe:
    name: str
    learning_rate: float = 0.01
    steps: int = 1000
    batch_samples: int = 10_000
    averaging: float = 0.02  # weight of the newest parameters in the average that is kept; 1: the newest alone
    beta: float = 20.0
    candidates: int = 3
    restarts: int = 3
    patience: int = 8  # evaluations without gain on held-out rows
    evaluate_every: int = 50


DEFAULT = Recipe("default")
PAPER = Recipe("paper", restarts=1, steps=1500, batch_samples=20_000, averaging=1.0, candidates=7)
RECIPES = {"default": DEFAULT, "paper": PAPER}


@dataclass(frozen=True)
class Lesson:
    """What is to be learned.

    `taps` of a and c, `side_taps` of b; `dropout`: chance that a sequence lacks a neighbour.
    """

    moduli: tuple[int, ...]
    taps: int = TAPS
    side_taps: int = TAPS
    recipe: Recipe = DEFAULT
    dropout: float = 0.0
    device: str = "cpu"


@dataclass(frozen=True)
class Fit:
    """What a restart ended with; SQNR of the hard scheme on held-out rows, per rate point."""

    filters: NestedFilters
    seed: int
    sqnr_db: tuple[float, ...]
    history: tuple[tuple[int, float], ...] = ()


Report = Callable[[int, float], None]
Checkpoint = Callable[[dict[str, Any]], None]


def sequence_length(rows: Rows, lags: int) -> int:
    """The longest of SEQUENCES that most of the recording's segments hold; DesignError if none does."""
    lengths = [length for length in SEQUENCES if length >= 4 * lags]
    for length in lengths:
        if rows.usable(length) >= COVERED * max(rows.samples, 1) and rows.samples:
            return length
    best = max(lengths, key=rows.usable, default=SEQUENCES[0])
    if not rows.usable(best):
        raise DesignError(
            f"training with these taps needs runs of {best} rows in which neither the source nor a neighbour is missing; the recording has none"
        )
    return best


class Restart:
    """One seed: parameters, the surrogate, early stopping. `state` and `restore` cut it between any two evaluations."""

    def __init__(self, train: Rows, held: Rows, lesson: Lesson, seed: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.lesson, self.recipe, self.seed = torch, lesson, lesson.recipe, seed
        self.device = torch.device(lesson.device)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.held = held
        whole = train.warm(0)
        self.mean_x, self.scale_x = float(train.x[whole].mean()), float(train.x[whole].std())
        self.mean_y, self.scale_y = train.y[:, whole].mean(axis=1), train.y[:, whole].std(axis=1)
        if self.scale_x == 0 or np.any(self.scale_y == 0):
            raise DesignError("a column is constant in the rows that training may use: there is nothing to learn from it")
        normal = Rows((train.x - self.mean_x) / self.scale_x, (train.y - self.mean_y[:, None]) / self.scale_y[:, None], train.segments)
        self.x = torch.tensor(normal.x, dtype=torch.float32, device=self.device)
        self.y = torch.tensor(normal.y, dtype=torch.float32, device=self.device)
        self.skip = max(lesson.taps, lesson.side_taps) + lesson.taps - 2
        self.length = sequence_length(train, self.skip + 1)
        self.starts = torch.tensor(_starts(train, self.length), device=self.device)
        self.bridges: dict[tuple[bool, ...], Any] = {}
        self.among = side_moments(normal, lesson.side_taps)[0] if lesson.dropout > 0 else None
        self._parameters(normal)
        self.optimiser = torch.optim.Adam(self.parameters, lr=self.recipe.learning_rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, self.recipe.steps, self.recipe.learning_rate / 20
        )
        self.step, self.stale, self.ended = 0, 0, False
        self.best: Fit | None = None
        self.history: list[tuple[int, float]] = []

    def _parameters(self, rows: Rows) -> None:
        torch, taps, paper = self.torch, self.lesson.taps, self.recipe.name == "paper"
        delta = torch.zeros(taps)
        delta[0] = 1.0
        start_b = self._initial_side_filter(rows)
        start_spans = torch.tensor([math.log(span) for span in self._initial_spans(rows)])
        self.a_tail = torch.zeros(taps - 1, device=self.device, requires_grad=True)
        self.a_gain = torch.ones(1, device=self.device, requires_grad=paper)
        self.b = start_b.to(self.device).requires_grad_()
        self.c = delta.to(self.device).requires_grad_()
        self.log_spans = start_spans.to(self.device).requires_grad_()
        self.parameters = [self.a_tail, self.b, self.c, self.log_spans] + ([self.a_gain] if paper else [])
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    def _initial_spans(self, rows: Rows) -> list[float]:
        draw = float(self.torch.rand(1, generator=self.generator, device=self.device))
        if self.recipe.name == "paper":
            return [0.5 + 5.5 * draw] * len(self.lesson.moduli)
        # between 4 and 9 conditional standard deviations: the optimum for 1 to 5 bits lies inside
        return [(4.0 + 5.0 * draw) * spread(rows, self.lesson.side_taps)] * len(self.lesson.moduli)

    def _initial_side_filter(self, rows: Rows) -> Any:
        """The paper starts from a delta; least squares starts at the optimum for an ideal quantiser."""
        neighbours = rows.y.shape[0]
        if self.recipe.name == "paper":
            start = self.torch.zeros(neighbours, self.lesson.side_taps)
            start[:, 0] = 1.0 / neighbours
            return start
        return self.torch.tensor(side_weights(rows, self.lesson.side_taps), dtype=self.torch.float32)

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self, report: Report | None = None, checkpoint: Checkpoint | None = None) -> Fit | None:
        """Train to the end. None: the loss was no number before the first evaluation."""
        while not self.ended and self.step < self.recipe.steps:
            self.step += 1
            if not self._descend():
                self.ended = True
                break
            if self.step % self.recipe.evaluate_every and self.step != self.recipe.steps:
                continue
            score = self._evaluate()
            if report is not None:
                report(self.step, score)
            if checkpoint is not None:
                checkpoint(self.state())
        self.ended = True
        if checkpoint is not None:
            checkpoint(self.state())
        return self.best

    def _descend(self) -> bool:
        loss = self._loss(self.step / self.recipe.steps)
        if not bool(self.torch.isfinite(loss)):
            return False
        self.optimiser.zero_grad()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        if self.recipe.name != "paper":
            self.schedule.step()
        self._track()
        return True

    def _track(self) -> None:
        """Single steps scatter around the optimum; their average does not."""
        weight = max(self.recipe.averaging, 1 / self.step)
        for kept, parameter in zip(self.average, self.parameters, strict=True):
            kept.add_(parameter.detach() - kept, alpha=weight)

    def _evaluate(self) -> float:
        """Mean SQNR over rate points on held-out rows; sets `best`, `stale`, `ended`."""
        filters = self._filters()
        found = sqnr_db(filters, self.held)
        score = float(np.mean(found))
        self.history.append((self.step, score))
        if self.best is None or score > float(np.mean(self.best.sqnr_db)) + MARGIN_DB:
            self.best, self.stale = Fit(filters, self.seed, tuple(found), tuple(self.history)), 0
        else:
            self.stale += 1
            self.ended = self.stale >= self.recipe.patience
        return score

    # --- the surrogate --------------------------------------------------------------------------------------------

    def _batch(self) -> tuple[Any, Any, Any]:
        """x (B, S), y (B, m, S) and b (B, m, L) of the neighbours that each sequence has."""
        torch = self.torch
        count = self.recipe.batch_samples // self.length
        picks = torch.randint(0, self.starts.shape[0], (count,), generator=self.generator, device=self.device)
        index = self.starts[picks][:, None] + torch.arange(self.length, device=self.device)[None, :]
        weights = self.b[None].expand(count, -1, -1)
        if self.lesson.dropout > 0 and self.b.shape[0] > 1:
            weights = self._dropped(count)
        return self.x[index], self.y[:, index].permute(1, 0, 2), weights

    def _dropped(self, count: int) -> Any:
        torch, neighbours = self.torch, self.b.shape[0]
        keep = torch.rand(count, neighbours, generator=self.generator, device=self.device) >= self.lesson.dropout
        keep[~keep.any(dim=1)] = True  # with no neighbour at all there is nothing to resolve bins with
        flat = self.b.reshape(-1)
        return torch.stack([(flat @ self._bridge(tuple(row))).reshape(self.b.shape) for row in keep.tolist()])

    def _bridge(self, keep: tuple[bool, ...]) -> Any:
        """(m*L, m*L) with b' = b @ bridge: the conditional mean of b's estimate given the neighbours kept."""
        if keep not in self.bridges:
            assert self.among is not None
            there = np.flatnonzero(np.repeat(keep, self.lesson.side_taps))
            bridge = np.zeros(self.among.shape)
            among = self.among[np.ix_(there, there)]
            bridge[:, there] = self.among[:, there] @ np.linalg.pinv(among, rcond=1e-12, hermitian=True)
            self.bridges[keep] = self.torch.tensor(bridge, dtype=self.torch.float32, device=self.device)
        return self.bridges[keep]

    def _loss(self, progress: float) -> Any:
        torch = self.torch
        x, y, weights = self._batch()
        u = self._filter(x[:, None], torch.cat([self.a_gain, self.a_tail])[None, None])[:, 0]
        count, neighbours, length = y.shape
        v = self._filter(y.reshape(1, count * neighbours, length), weights, groups=count)[0]
        spans = self.log_spans.exp()
        total: Any = 0.0
        for modulus, span in zip(self.lesson.moduli, spans, strict=True):
            soft = self._soft_paper(u, v, span, modulus) if self.recipe.name == "paper" else self._soft_default(u, v, span, modulus, progress)
            reconstruction = self._filter(soft[:, None], self.c[None, None])[:, 0]
            # distortion falls as the square of the modulus: without the weight the coarsest rate point would decide
            total = total + ((x - reconstruction)[:, self.skip :] ** 2).mean() * (modulus / self.lesson.moduli[0]) ** 2
        return total / len(self.lesson.moduli)

    def _filter(self, signal: Any, taps: Any, groups: int = 1) -> Any:
        padded = self.torch.nn.functional.pad(signal, (taps.shape[-1] - 1, 0))
        return self.torch.nn.functional.conv1d(padded, taps.flip(-1), groups=groups)

    def _soft_default(self, u: Any, v: Any, span: Any, modulus: int, progress: float) -> Any:
        torch = self.torch
        noisy = u + (torch.rand(u.shape, generator=self.generator, device=self.device) - 0.5) * (span / modulus)
        half = (self.recipe.candidates + 1) // 2
        index = torch.arange(-half, half + 1, dtype=u.dtype, device=self.device)
        # candidate j lies j ranges below the right one; beta grows so that the soft rule ends hard
        distance = ((noisy - v) / span)[..., None] - index
        weight = torch.softmax(-self.recipe.beta * (1 + 3 * progress) * distance**2, dim=-1)
        return noisy - span * (weight * index).sum(-1)

    def _soft_paper(self, u: Any, v: Any, span: Any, modulus: int) -> Any:
        torch = self.torch
        deviation = (span / modulus) / math.sqrt(3.0) / modulus
        noisy = u + deviation * torch.randn(u.shape, generator=self.generator, device=self.device)
        folded = span / math.pi * torch.atan(torch.tan(math.pi * (noisy / span - 0.5))) + span / 2
        half = math.ceil(self.recipe.candidates / 2)
        index = torch.arange(-half, half + 1, dtype=u.dtype, device=self.device)
        distance = folded[..., None] + index * span - v[..., None]
        weight = torch.softmax(-self.recipe.beta * distance**2, dim=-1)
        return folded + span * (weight * index).sum(-1)

    def _filters(self) -> NestedFilters:
        """The averaged parameters in the units of the recording, with a[0] = 1."""
        a_tail, b, c, log_spans, *gains = (_numbers(kept) for kept in self.average)
        gain = float(gains[0][0]) if gains else 1.0
        a = np.concatenate([[1.0], a_tail / gain])
        b = b * (self.scale_x / gain) / self.scale_y[:, None]
        spans = tuple(float(abs(span * self.scale_x / gain)) for span in np.exp(log_spans))
        return NestedFilters(a, b, c * gain, spans, self.lesson.moduli, self.mean_x, np.array(self.mean_y))

    # --- states ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that the steps to come depend on; plain tensors and numbers."""
        best = None if self.best is None else {
            "a": self.best.filters.a.tolist(), "b": self.best.filters.b.tolist(), "c": self.best.filters.c.tolist(),
            "spans": list(self.best.filters.spans), "sqnr_db": list(self.best.sqnr_db), "history": list(self.best.history),
        }  # fmt: skip
        return {
            "step": self.step, "stale": self.stale, "ended": self.ended, "history": list(self.history), "best": best,
            "parameters": [parameter.detach().clone() for parameter in self.parameters],
            "average": [kept.clone() for kept in self.average],
            "optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        with self.torch.no_grad():
            for parameter, value in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(value)
            for kept, value in zip(self.average, state["average"], strict=True):
                kept.copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"].cpu())
        self.step, self.stale, self.ended = state["step"], state["stale"], state["ended"]
        self.history = [tuple(entry) for entry in state["history"]]
        best = state["best"]
        if best is not None:
            filters = NestedFilters(
                np.array(best["a"]), np.array(best["b"]), np.array(best["c"]), tuple(best["spans"]), self.lesson.moduli,
                self.mean_x, np.array(self.mean_y),
            )
            history = tuple(tuple(entry) for entry in best["history"])
            self.best = Fit(filters, self.seed, tuple(best["sqnr_db"]), history)


def _numbers(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def _starts(rows: Rows, length: int) -> np.ndarray:
    return np.concatenate([np.arange(start, stop - length + 1) for start, stop in rows.segments])
