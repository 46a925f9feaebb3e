"""Exact design of a `layered` interval table: Lloyd's alternation on a grid, for sources with side information at the decoder only.

Three steps are repeated until nothing moves: the posterior-mean decoders of every prefix of layers, the priors of every
layer (marginal, or conditional on the side information: what ideal Slepian-Wolf coding would pay), and the message of every
cell of the source. Each is the optimum given the other two, so the Lagrangian never rises. The start is nested modulo or
any table, a compiled network's included (`training.layered`); unlike a network this needs no samples and no luck.
Last, intervals too narrow to be worth a threshold are dropped.

The Lagrangian is that of Joukovsky, De Weerd, Deligiannis, "Learned layered coding for successive refinement in the
Wyner-Ziv problem", equations (10) and (11), with rates in bits and a hard encoder. Lloyd's alternation with side
information: Fleming, Zhao, Effros, "Network vector quantization" (2004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from edge_wz.errors import DesignError
from edge_wz.model import LayeredRatePoint, frozen

MODES = ("marginal", "conditional")
PERIODS = (5.5, 6.125, 7.0, 7.5, 8.0)  # of the starts, in standard deviations of the correlation noise
MAX_ITERATIONS = 300
STILL = 1e-7  # relative fall of the Lagrangian that counts as none
SLIVER = 0.1  # of the correlation noise's deviation: narrower intervals are dropped
CELLS_PER_SIGMA = 24
COLUMNS_PER_SIGMA = 6
REACH = 4.8  # standard deviations of the source that the grid covers; what lies outside saturates
CDF_BITS = 12
WEIGHT = 10.0  # lambda times the variance of the correlation noise: keeps every layer alive
WORTH_CODING = 0.005  # a layer whose entropy is nearer to its bits than this share is sent raw
CELLS = 32768  # of a grid at most
BAND_ROWS = 1024
NEGLIGIBLE = 1e-9  # of a cell's largest weight: side information this unlikely is left out
TINY = 1e-300
FLOOR = 1e-12

Density = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Joint:
    """A joint law on a grid. Row i: source codes [edges[i], edges[i+1]); column j: one state of the side information.

    `given`: sparse float64[I, J], p(column | cell), rows sum to 1; `weights`: p(cell, column) transposed, [J, I]. `cells`: float64[I],
    p(cell). `sigma`: of the correlation noise, codes.
    """

    edges: np.ndarray
    cells: np.ndarray
    given: sparse.csr_array
    weights: sparse.csr_array
    sigma: float

    @property
    def centres(self) -> np.ndarray:
        return np.asarray((self.edges[:-1] + self.edges[1:] - 1) / 2)


@dataclass(frozen=True, eq=False)
class Design:
    """A table and what it is worth under the law it was designed for. `rates`, `distortions`: per layer, cumulative, bits and codes^2."""

    point: LayeredRatePoint
    messages: np.ndarray  # of every cell of the grid
    lagrangian: float
    rates: tuple[float, ...]
    distortions: tuple[float, ...]
    iterations: int
    start: str = ""


@dataclass(frozen=True)
class Task:
    """`weights`: lambda of each layer, bits per code^2; `mode`: marginal or conditional."""

    alphabets: tuple[int, ...]
    mode: str
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise DesignError(f"mode is one of {', '.join(MODES)}, not '{self.mode}'")
        if not self.alphabets or any(not 2 <= size <= 64 for size in self.alphabets) or self.messages > 256:
            raise DesignError(f"layers {self.alphabets}: each has 2 to 64 symbols, and all together at most 256 messages")
        if len(self.weights) != len(self.alphabets) or min(self.weights) <= 0:
            raise DesignError(f"{len(self.alphabets)} layers need as many positive weights, not {self.weights}")

    @property
    def messages(self) -> int:
        return int(np.prod(self.alphabets))


# --- laws ---------------------------------------------------------------------------------------------------------


def gaussian_joint(sigma_side: float, sigma_noise: float, mean: float = 0.0, cells_per_sigma: int = CELLS_PER_SIGMA) -> Joint:
    """X = Y + N, both Gaussian, in codes."""
    half = REACH * float(np.hypot(sigma_side, sigma_noise))
    side = np.arange(-half, half, sigma_noise / COLUMNS_PER_SIGMA)
    edges = grid(mean - half, mean + half, sigma_noise, cells_per_sigma)
    weights = np.exp(-0.5 * np.square(side / sigma_side))
    return additive_joint(edges, mean + side, weights, lambda gap: np.exp(-0.5 * np.square(gap / sigma_noise)), sigma_noise)


def grid(low: float, high: float, sigma: float, cells_per_sigma: int = CELLS_PER_SIGMA) -> np.ndarray:
    """Edges of equal cells between two codes, at most CELLS of them, inside what int16 thresholds can say."""
    if sigma < 0.5:
        raise DesignError(f"a correlation noise of {sigma:.3g} codes is finer than the codes themselves: choose a finer scale")
    low, high = max(low, -32767.0), min(high, 32767.0)
    width = max(1, round(sigma / cells_per_sigma), int(np.ceil((high - low) / CELLS)))
    edges = np.arange(int(np.floor(low)), int(np.ceil(high)) + width, width)
    return edges[edges <= 32767]


def additive_joint(edges: np.ndarray, side: np.ndarray, weights: np.ndarray, density: Density, sigma: float) -> Joint:
    """X = Y + N with Y at `side` (rising) with `weights`, and N of unnormalised `density(noise in codes)`."""
    centres = (edges[:-1] + edges[1:] - 1) / 2
    rows = []
    for first in range(0, len(centres), BAND_ROWS):  # by bands: a whole matrix need not fit
        block = density(centres[first : first + BAND_ROWS, None] - side[None, :]) * weights[None, :] + TINY
        block[block < NEGLIGIBLE * block.max(axis=1, keepdims=True)] = 0.0
        rows.append(sparse.csr_array(block))
    return law(edges, sparse.csr_array(sparse.vstack(rows)), sigma)


def law(edges: np.ndarray, joint: sparse.csr_array, sigma: float) -> Joint:
    """`joint`: unnormalised p(cell, column); no row without mass. Columns without any are left out."""
    joint = sparse.csr_array(joint[:, np.flatnonzero(joint.sum(axis=0))])
    cells = np.asarray(joint.sum(axis=1)).ravel()
    given = sparse.csr_array(sparse.diags_array(1 / cells) @ joint)
    return Joint(edges, cells / cells.sum(), given, sparse.csr_array((joint / cells.sum()).T), sigma)


def task(joint: Joint, alphabets: Sequence[int], mode: str = "marginal", weight: float = WEIGHT) -> Task:
    """The same lambda for every layer, `weight` in units of the noise variance."""
    return Task(tuple(alphabets), mode, (weight / joint.sigma**2,) * len(alphabets))


# --- the alternation ----------------------------------------------------------------------------------------------


def design(joint: Joint, task: Task, periods: Sequence[float] = PERIODS, start: LayeredRatePoint | None = None) -> Design:
    """The best table of several starts: nested modulo of some periods, and `start` if there is one."""
    starts = [(f"nested modulo, period {period:g} sigma", nested_messages(joint, task, period)) for period in periods]
    if start is not None:
        starts.insert(0, ("given table", messages_of(start, joint)))
    found = [replace(polish(joint, task, messages), start=name) for name, messages in starts]
    return min(found, key=lambda one: one.lagrangian)


def polish(joint: Joint, task: Task, messages: np.ndarray) -> Design:
    """Alternate until the Lagrangian stands still, then drop slivers."""
    best, iterations = np.inf, 0
    while iterations < MAX_ITERATIONS:
        costs = _costs(joint, task, messages)
        lagrangian = float(joint.cells @ costs[np.arange(len(messages)), messages])
        if lagrangian > best * (1 - STILL):
            break
        best, iterations = lagrangian, iterations + 1
        messages = np.argmin(costs, axis=1)
    messages = drop_slivers(joint, task, messages)
    return described(joint, task, messages, iterations)


def described(joint: Joint, task: Task, messages: np.ndarray, iterations: int = 0) -> Design:
    rates, distortions = measure(joint, task, messages)
    lagrangian = rates[-1] + sum(weight * value for weight, value in zip(task.weights, distortions, strict=True))
    return Design(table_of(joint, task, messages), messages, lagrangian, rates, distortions, iterations)


def nested_messages(joint: Joint, task: Task, period: float, phase: float = 0.0) -> np.ndarray:
    """Level modulo the number of messages; `period` in standard deviations of the noise, `phase` in steps."""
    step = period * joint.sigma / task.messages
    middle = (joint.edges[0] + joint.edges[-1]) / 2
    return np.asarray(np.floor((joint.centres - middle) / step + phase).astype(np.int64) % task.messages)


def measure(joint: Joint, task: Task, messages: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Cumulative rates (bits) and distortions (codes^2) of every prefix, with exact decoders and priors."""
    rates, distortions, total = [], [], 0.0
    for prefix, rate_costs, errors in _layer_costs(joint, task, messages):
        own = (np.arange(len(messages)), prefix)
        total += float(joint.cells @ rate_costs[own])
        rates.append(total)
        distortions.append(float(joint.cells @ errors[own]))
    return tuple(rates), tuple(distortions)


def _costs(joint: Joint, task: Task, messages: np.ndarray) -> np.ndarray:
    """float64[I, messages]: what sending each message for each cell would cost, all layers together."""
    total = np.zeros((len(messages), task.messages))
    for (_, rate_costs, errors), weight in zip(_layer_costs(joint, task, messages), task.weights, strict=True):
        total += np.repeat(rate_costs + weight * errors, task.messages // rate_costs.shape[1], axis=1)
    return total


def _layer_costs(joint: Joint, task: Task, messages: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each layer: the prefix of each cell, and of each cell and each prefix the bits of its last symbol and the expected squared error."""
    centres = joint.centres
    before = side = np.asarray(joint.weights.sum(axis=1)).reshape(-1, 1)
    blind = (joint.weights @ centres).reshape(-1, 1) / side
    size = 1
    for layer, alphabet in enumerate(task.alphabets):
        size *= alphabet
        prefix = messages // int(np.prod(task.alphabets[layer + 1 :], dtype=np.int64))
        chosen = (prefix[:, None] == np.arange(size)).astype(np.float64)
        mass = joint.weights @ chosen
        means = np.where(mass > FLOOR * side, (joint.weights @ (chosen * centres[:, None])) / np.maximum(mass, TINY), blind)
        errors = centres[:, None] ** 2 - 2 * centres[:, None] * (joint.given @ means) + joint.given @ means**2
        yield prefix, _rate_costs(joint, task.mode, mass, np.repeat(before, alphabet, axis=1)), errors
        before = mass


def _rate_costs(joint: Joint, mode: str, mass: np.ndarray, before: np.ndarray) -> np.ndarray:
    if mode == "marginal":
        share = np.maximum(mass.sum(axis=0), FLOOR) / np.maximum(before.sum(axis=0), FLOOR)
        return np.broadcast_to(-np.log2(share), (len(joint.cells), len(share)))
    share = np.clip(np.maximum(mass, TINY) / np.maximum(before, TINY), FLOOR, 1.0)
    return np.asarray(joint.given @ -np.log2(share))


def drop_slivers(joint: Joint, task: Task, messages: np.ndarray) -> np.ndarray:
    """Give every run of cells narrower than SLIVER to the cheaper of its neighbours, narrowest first."""
    messages = messages.copy()
    costs = _costs(joint, task, messages) * joint.cells[:, None]
    while True:
        starts = np.concatenate([[0], np.flatnonzero(np.diff(messages)) + 1, [len(messages)]])
        widths = joint.edges[starts[1:]] - joint.edges[starts[:-1]]
        narrow = int(np.argmin(widths))
        if len(widths) == 1 or widths[narrow] >= SLIVER * joint.sigma:
            return messages
        run = slice(starts[narrow], starts[narrow + 1])
        beside = [messages[k] for k in (run.start - 1, run.stop) if 0 <= k < len(messages)]
        messages[run] = min(beside, key=lambda message: costs[run, message].sum())


# --- tables -------------------------------------------------------------------------------------------------------


def table_of(joint: Joint, task: Task, messages: np.ndarray) -> LayeredRatePoint:
    """The interval table of a grid, with the priors of its law."""
    starts = np.flatnonzero(np.diff(messages)) + 1
    digits = np.stack(np.unravel_index(messages, task.alphabets), axis=1)
    mass = np.bincount(messages, joint.cells, task.messages)
    runs = np.concatenate([[0], starts])
    return LayeredRatePoint(
        frozen(joint.edges[starts], np.int32), frozen(digits[runs], np.uint8), task.alphabets, priors(mass, task.alphabets)
    )


def messages_of(point: LayeredRatePoint, joint: Joint) -> np.ndarray:
    """The message (mixed radix, first layer most significant) of every cell of the grid."""
    intervals = np.searchsorted(point.thresholds, joint.centres, side="right")
    return np.asarray(np.ravel_multi_index(tuple(point.messages[intervals].T.astype(np.int64)), point.alphabets))


def priors(mass: np.ndarray, alphabets: tuple[int, ...], bits: int = CDF_BITS) -> tuple[np.ndarray, ...]:
    """Integer tables of q(m_k | m_1..m_k-1) from the mass of every message; no rows where raw bits cost about as much."""
    tables = []
    for layer, alphabet in enumerate(alphabets):
        joint = mass.reshape(int(np.prod(alphabets[:layer], dtype=np.int64)), alphabet, -1).sum(axis=2)
        rows = joint.sum(axis=1)
        share = joint / np.maximum(rows, TINY)[:, None]
        entropy = -(joint * np.log2(np.maximum(share, TINY))).sum() / mass.sum()
        raw = np.log2(alphabet)
        worth = raw != int(raw) or entropy < raw * (1 - WORTH_CODING)
        coded = np.stack([integer_cdf(row, bits) for row in joint]) if worth else np.zeros((0, alphabet + 1))
        tables.append(frozen(coded, np.int32))
    return tuple(tables)


def integer_cdf(mass: np.ndarray, bits: int = CDF_BITS) -> np.ndarray:
    """Cumulative table of total 2^bits with every symbol at least 1, nearest to `mass` in bits spent (largest remainders)."""
    total = 1 << bits
    share = np.full(len(mass), 1 / len(mass)) if mass.sum() <= 0 else mass / mass.sum()
    exact = share * (total - len(mass))
    counts = np.floor(exact).astype(np.int64) + 1
    left = total - int(counts.sum())
    counts[np.argsort(-(exact - np.floor(exact)), kind="stable")[:left]] += 1
    return np.concatenate([[0], np.cumsum(counts)])
