"""Train the networks of `layered`: the published recipe, and one that gets there.

Loss of layer k: bits of its symbol under the prior, minus the encoder's own uncertainty, plus lambda_k times the squared error
(equations 10 and 11 of Joukovsky, De Weerd, Deligiannis), summed over layers; symbols by Gumbel-softmax.

* `published`: Adam 1e-3, cut by 0.3 at fixed shares of the run, temperature from 1 down to 0.2, everything from scratch. It ends
  with one or two thresholds per layer: gradients see no reason to fold the source.
* `default`: features at the modulo periods; the encoder is distilled from nested modulo; decoder and prior converge behind the frozen
  encoder's hard symbols; then all learn together, the encoder slowly, at last with hard symbols straight through. A gate takes
  an encoder back whose layer loses a symbol. Afterwards compile (`export.layered_table`) and polish (`training.layered_lloyd`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edge_wz.errors import DesignError
from edge_wz.model import LayeredRatePoint
from training.layered_network import Networks, Shape, one_hot
from training.layered_pairs import Pairs

BATCH = 1000
EPOCH_STEPS = 200
PUBLISHED_EPOCHS = 180
DECAY = 0.3
MARGINAL_DECAYS = (80 / 180, 160 / 180)
CONDITIONAL_DECAYS = (40 / 180, 80 / 180, 120 / 180, 160 / 180)
GATE_SAMPLES = 20_000
DEAD_SHARE = 0.02  # of an even share: a symbol sent more rarely is dead
PATIENCE = 4  # times that the gate takes an encoder back
PERIOD = 7.0  # of the nested modulo to distil, in deviations of the noise
Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """Shares of the steps: `distil` the encoder alone, `frozen` the others alone, the rest together, its last `hard` straight through."""

    name: str
    learning_rate: float = 1e-3
    temperatures: tuple[float, float] = (1.0, 0.2)
    features: bool = False
    distil: float = 0.0
    frozen: float = 0.0
    hard: float = 0.0
    encoder_rate: float = 1.0  # times the learning rate, together
    gate: bool = False


PUBLISHED = Recipe("published")
DEFAULT = Recipe("default", 2e-3, (0.3, 0.2), True, 0.25, 0.35, 0.15, 0.2, True)
RECIPES = {recipe.name: recipe for recipe in (PUBLISHED, DEFAULT)}


@dataclass(frozen=True)
class Lesson:
    """`weights`: lambda of each layer in normal units; `steps`: batches of BATCH pairs, all phases together."""

    alphabets: tuple[int, ...]
    mode: str
    weights: tuple[float, ...]
    steps: int
    recipe: Recipe = DEFAULT
    seed: int = 0

    def shape(self, pairs: Pairs) -> Shape:
        halvings = round(math.log2(math.prod(self.alphabets)))
        periods = tuple(PERIOD * pairs.noise / 2**k for k in range(halvings)) if self.recipe.features else ()
        return Shape(self.alphabets, self.mode == "conditional", periods, pairs.reach)


@dataclass(frozen=True)
class Trained:
    """`history`: (step, loss); `dead`: a line for each layer that lost a symbol; `rescues`: times the gate took the encoder back."""

    networks: Networks
    lesson: Lesson
    history: tuple[tuple[int, float], ...]
    shares: tuple[tuple[float, ...], ...]
    dead: tuple[str, ...]
    rescues: int

    def require_alive(self) -> None:
        """DesignError that says which layer died, if one did."""
        if self.dead:
            raise DesignError(f"training collapsed: {'; '.join(self.dead)}")


@dataclass
class _Run:
    """What changes during a training."""

    networks: Networks
    rng: np.random.Generator
    noise: torch.Generator
    history: list[tuple[int, float]] = field(default_factory=list)
    alive: dict[str, Any] | None = None
    rescues: int = 0


def train(pairs: Pairs, lesson: Lesson, say: Say = lambda text: None) -> Trained:
    torch.manual_seed(lesson.seed)
    run = _Run(Networks(lesson.shape(pairs)), np.random.default_rng(lesson.seed), torch.Generator().manual_seed(lesson.seed))
    recipe = lesson.recipe
    distil, frozen = int(lesson.steps * recipe.distil), int(lesson.steps * recipe.frozen)
    if distil:
        _distil(run, pairs, lesson, distil, say)
    if frozen:
        _frozen(run, pairs, lesson, frozen, say)
    _together(run, pairs, lesson, lesson.steps - distil - frozen, say)
    shares = symbol_shares(run.networks, pairs, lesson.seed)
    return Trained(run.networks, lesson, tuple(run.history), shares, dead_layers(shares), run.rescues)


# --- phases -------------------------------------------------------------------------------------------------------


def _distil(run: _Run, pairs: Pairs, lesson: Lesson, steps: int, say: Say) -> None:
    """The encoder learns the digits of nested modulo by cross-entropy."""
    optimiser = torch.optim.Adam(run.networks.encoder.parameters(), lr=lesson.recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, lesson.recipe.learning_rate / 20)
    for step in range(steps):
        x, _, _ = _batch(run, pairs)
        wanted = torch.tensor(nested_digits(x.numpy(), pairs.noise, lesson.alphabets))
        logs = run.networks.encoder(x)
        loss = sum(functional.nll_loss(logs[k], wanted[:, k]) for k in range(len(logs)))
        _descend(run, optimiser, loss, schedule, step, "distil", say)


def _frozen(run: _Run, pairs: Pairs, lesson: Lesson, steps: int, say: Say, table: LayeredRatePoint | None = None) -> None:
    """Decoder and prior converge behind the hard symbols of the encoder, or of a table."""
    parameters = [*run.networks.decoder.parameters(), *run.networks.prior.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=lesson.recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, lesson.recipe.learning_rate / 5)
    for step in range(steps):
        x, y, sigma = _batch(run, pairs)
        hard = hard_symbols(run.networks, x) if table is None else torch.tensor(table_symbols(table, pairs, x.numpy()))
        symbols = one_hot(hard, lesson.alphabets)
        loss = _loss(run.networks, lesson, x, y, sigma, None, symbols)
        _descend(run, optimiser, loss, schedule, step, "frozen", say)


def refit(trained: Trained, pairs: Pairs, table: LayeredRatePoint, steps: int, say: Say = lambda text: None) -> None:
    """Decoder and prior learn the symbols of another table, a polished one."""
    lesson, seed = trained.lesson, trained.lesson.seed + 2
    run = _Run(trained.networks, np.random.default_rng(seed), torch.Generator().manual_seed(seed))
    _frozen(run, pairs, lesson, steps, say, table)


def _together(run: _Run, pairs: Pairs, lesson: Lesson, steps: int, say: Say) -> None:
    """All three, by Gumbel-softmax; the last share of the steps with hard symbols straight through."""
    recipe = lesson.recipe
    rest = [*run.networks.decoder.parameters(), *run.networks.prior.parameters()]
    rate = recipe.learning_rate if recipe is PUBLISHED else recipe.learning_rate / 2
    optimiser = torch.optim.Adam(
        [{"params": list(run.networks.encoder.parameters()), "lr": rate * recipe.encoder_rate}, {"params": rest, "lr": rate}]
    )
    schedule = _schedule(optimiser, lesson, steps)
    hard_from = steps - int(steps * recipe.hard)
    first, last = recipe.temperatures
    for step in range(steps):
        if recipe.gate and step % EPOCH_STEPS == 0:
            _gate(run, pairs, lesson, optimiser, say)
        temperature = first * (last / first) ** (step / max(steps - 1, 1))
        x, y, sigma = _batch(run, pairs)
        logs = run.networks.encoder(x)
        symbols = [_straight(log) if step >= hard_from else _gumbel(run, log, temperature) for log in logs]
        loss = _loss(run.networks, lesson, x, y, sigma, logs, symbols)
        _descend(run, optimiser, loss, schedule, step, "together", say)
    if recipe.gate:
        _gate(run, pairs, lesson, optimiser, say)


def _schedule(optimiser: Any, lesson: Lesson, steps: int) -> Any:
    if lesson.recipe is not PUBLISHED:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, lesson.recipe.learning_rate / 100)
    shares = CONDITIONAL_DECAYS if lesson.mode == "conditional" else MARGINAL_DECAYS
    return torch.optim.lr_scheduler.MultiStepLR(optimiser, [int(share * steps) for share in shares], DECAY)


def _descend(run: _Run, optimiser: Any, loss: Any, schedule: Any, step: int, phase: str, say: Say) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    schedule.step()
    if step % EPOCH_STEPS == 0:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DesignError(f"training diverged: the loss is not a number at step {step} of phase '{phase}'")
        run.history.append((step, value))
        say(f"{phase} {step}: {value:.4f}")


# --- losses -------------------------------------------------------------------------------------------------------


def _loss(networks: Networks, lesson: Lesson, x: Tensor, y: Tensor, sigma: Tensor, logs: list[Tensor] | None, symbols: list[Tensor]) -> Tensor:
    """Mean over the batch. `logs`: the encoder's, None while it is frozen."""
    rebuilt = networks.decoder(y, sigma, symbols)
    priors = networks.prior(y, sigma, symbols)
    total = torch.zeros(())
    for k, weight in enumerate(lesson.weights):
        bits = -(symbols[k] * priors[k]).sum(dim=1) / math.log(2)
        if logs is not None:
            bits = bits + (symbols[k] * logs[k]).sum(dim=1) / math.log(2)
        total = total + (bits + weight * (x - rebuilt[:, k]) ** 2).mean()
    return total


def _gumbel(run: _Run, log: Tensor, temperature: float) -> Tensor:
    uniform = torch.rand(log.shape, generator=run.noise).clamp(1e-9, 1 - 1e-7)
    return torch.softmax((log - torch.log(-torch.log(uniform))) / temperature, dim=1)


def _straight(log: Tensor) -> Tensor:
    """Hard symbols forward, the softmax's gradient backward."""
    soft = torch.exp(log)
    return soft + (functional.one_hot(log.argmax(dim=1), log.shape[1]) - soft).detach()


def _batch(run: _Run, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    x, y, sigma = (torch.tensor(column, dtype=torch.float32) for column in pairs.draw(run.rng, BATCH))
    return x, y, sigma


# --- the gate -----------------------------------------------------------------------------------------------------


def _gate(run: _Run, pairs: Pairs, lesson: Lesson, optimiser: Any, say: Say) -> None:
    """Keep an encoder whose symbols all live; go back to the last such one, more slowly, when a layer died."""
    died = dead_layers(symbol_shares(run.networks, pairs, lesson.seed))
    if not died:
        run.alive = copy.deepcopy(run.networks.encoder.state_dict())
        return
    run.rescues += 1
    say(f"gate: {'; '.join(died)}")
    if run.alive is None or run.rescues > PATIENCE:
        raise DesignError(f"training collapsed: {'; '.join(died)}")
    run.networks.encoder.load_state_dict(run.alive)
    optimiser.param_groups[0]["lr"] /= 2


def symbol_shares(networks: Networks, pairs: Pairs, seed: int) -> tuple[tuple[float, ...], ...]:
    """How often each layer sends each symbol."""
    x = torch.tensor(pairs.draw(np.random.default_rng(seed + 1), GATE_SAMPLES)[0], dtype=torch.float32)
    symbols = hard_symbols(networks, x).numpy()
    return tuple(
        tuple(float(share) for share in np.bincount(symbols[:, k], minlength=alphabet) / len(symbols))
        for k, alphabet in enumerate(networks.shape.alphabets)
    )


def dead_layers(shares: tuple[tuple[float, ...], ...]) -> tuple[str, ...]:
    """One line for each layer with a symbol that is never sent, or as good as never."""
    return tuple(
        f"layer {k} of {len(shares)} sends symbol {int(np.argmin(layer))} for {100 * min(layer):.2g} % of the samples"
        for k, layer in enumerate(shares)
        if min(layer) < DEAD_SHARE / len(layer)
    )


# --- symbols ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def hard_symbols(networks: Networks, x: Tensor) -> Tensor:
    """int64[N, layers]."""
    return torch.stack([log.argmax(dim=1) for log in networks.encoder(x)], dim=1)


def table_symbols(table: LayeredRatePoint, pairs: Pairs, x: np.ndarray) -> np.ndarray:
    """int64[N, layers]."""
    return table.messages[np.searchsorted(table.thresholds, pairs.to_codes(x), side="right")].astype(np.int64)


def nested_digits(x: np.ndarray, noise: float, alphabets: tuple[int, ...], period: float = PERIOD) -> np.ndarray:
    """int64[N, layers]: level modulo the number of messages, most significant digit first."""
    messages = math.prod(alphabets)
    level = np.floor(np.asarray(x, np.float64) / (period * noise / messages)).astype(np.int64) % messages
    return np.stack(np.unravel_index(level, alphabets), axis=1)
