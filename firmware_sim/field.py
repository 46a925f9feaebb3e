"""Sources: what a field of sensors measures, with the state-space model that generates it.

A `GaussMarkovField` is one autoregression per node, driven by noise that is white in time and correlated between
nodes, plus white measurement noise. The three pairs of the zero-delay Wyner-Ziv literature (`fig5`, `fig6`, `fig7`)
are fields of two nodes with one common driving noise. Unlike a recording, a field knows its own statistics, so
`state_space` hands them to a decoder.

Streams come in blocks of a fixed inner size, so that the result depends neither on the chunk size nor on the length.
Reference: Brockwell, Davis, "Time Series: Theory and Methods", chapters 3 and 12.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge_wz.errors import InputError
from edge_wz.model import StateSpace, frozen

BLOCK_SAMPLES = 1024  # of one inner block: products of other shapes may round differently


@dataclass(frozen=True, eq=False)
class GaussMarkovField:
    """T_i[n] = sum_k ar[i, k] T_i[n-1-k] + W_i[n], Cov W = driving_cov; a sample is mean + T + noise_sigma N(0, 1).

    ar: (nodes, order); driving_cov: (nodes, nodes), may be singular; mean, noise_sigma: (nodes,), all in sensor units.
    """

    names: tuple[str, ...]
    ar: np.ndarray
    driving_cov: np.ndarray
    noise_sigma: np.ndarray
    mean: np.ndarray
    unit: str = ""

    def __post_init__(self) -> None:
        nodes = len(self.names)
        shapes = (self.ar.shape[:1], self.driving_cov.shape, self.noise_sigma.shape, self.mean.shape)
        if nodes < 1 or self.ar.ndim != 2 or shapes != ((nodes,), (nodes, nodes), (nodes,), (nodes,)):
            raise InputError(f"field of {nodes} nodes: ar, driving_cov, noise_sigma or mean has another size")
        for name, coefficients in zip(self.names, self.ar, strict=True):
            radius = np.abs(np.linalg.eigvals(companion(coefficients))).max()
            if not radius < 1:
                raise InputError(f"field: the autoregression of {name} is not stable (pole of magnitude {radius:.4g})")
        if np.linalg.eigvalsh(self.driving_cov).min() < -1e-9 * np.trace(self.driving_cov):
            raise InputError("field: the spatial covariance is not positive semidefinite")

    @property
    def nodes(self) -> int:
        return len(self.names)

    @property
    def order(self) -> int:
        return int(self.ar.shape[1])

    def generate(self, n: int, seed: int) -> np.ndarray:
        """float64[n, nodes]: the first `n` samples of the stream of `seed`."""
        out = np.empty((n, self.nodes))
        first = 0
        for block in self.stream(n, seed, BLOCK_SAMPLES):
            out[first : first + len(block)] = block
            first += len(block)
        return out

    def stream(self, n: int, seed: int, chunk: int = BLOCK_SAMPLES) -> Iterator[np.ndarray]:
        """The same samples as `generate`, float64[<= chunk, nodes] at a time, in memory that does not grow with `n`."""
        waiting = np.empty((0, self.nodes))
        blocks = self._blocks(seed)
        left = n
        while left > 0:
            take = min(chunk, left)
            parts = [waiting]
            have = len(waiting)
            while have < take:
                parts.append(next(blocks))
                have += len(parts[-1])
            joined = np.concatenate(parts) if len(parts) > 1 else waiting
            yield joined[:take]
            waiting = joined[take:]
            left -= take

    def _blocks(self, seed: int) -> Iterator[np.ndarray]:
        """Endless blocks of BLOCK_SAMPLES samples."""
        start_rng, driving_rng, noise_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
        colour = root(self.driving_cov).T
        groups = self._groups()
        past = self._stationary_past(start_rng)
        states = [filter_state(self.ar[group[0]], past[group]) for group in groups]
        while True:
            driving = driving_rng.standard_normal((BLOCK_SAMPLES, self.nodes)) @ colour
            states = [self._filter(driving, group, state) for group, state in zip(groups, states, strict=True)]
            driving += noise_rng.standard_normal(driving.shape) * self.noise_sigma
            yield driving + self.mean

    def _filter(self, driving: np.ndarray, group: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Run the nodes of one group in place; their next state."""
        from scipy.signal import lfilter

        denominator = np.concatenate([[1.0], -self.ar[group[0]]])
        filtered, state = lfilter([1.0], denominator, driving[:, group], axis=0, zi=state)
        driving[:, group] = filtered
        return np.asarray(state)

    def _groups(self) -> list[np.ndarray]:
        """Nodes by autoregression: each group is filtered in one call."""
        _, group_of = np.unique(self.ar, axis=0, return_inverse=True)
        group_of = np.ravel(group_of)
        return [np.flatnonzero(group_of == group) for group in range(group_of.max() + 1)]

    def _stationary_past(self, rng: np.random.Generator) -> np.ndarray:
        """(nodes, order): T before the first sample, newest first, drawn from the stationary distribution."""
        if len(self._groups()) == 1:  # separable: Cov = driving_cov (x) that of one autoregression
            time_root = root(cross_covariance(self.ar[0], self.ar[0]))
            return np.asarray(root(self.driving_cov) @ rng.standard_normal((self.nodes, self.order)) @ time_root.T)
        draw = root(self.covariance()) @ rng.standard_normal(self.nodes * self.order)
        return np.asarray(draw.reshape(self.nodes, self.order))

    def covariance(self) -> np.ndarray:
        """(nodes * order)^2: stationary covariance of all T_i[n], T_i[n-1], ... (node by node, newest first)."""
        groups = self._groups()
        out = np.zeros((self.nodes, self.order, self.nodes, self.order))
        for first in groups:
            for second in groups:
                lags = cross_covariance(self.ar[first[0]], self.ar[second[0]])
                driving = self.driving_cov[np.ix_(first, second)]
                place = np.ix_(first, np.arange(self.order), second, np.arange(self.order))
                out[place] = np.einsum("ij,kl->ikjl", driving, lags)
        return out.reshape(self.nodes * self.order, -1)

    def variances(self) -> np.ndarray:
        """(nodes,): stationary variance of the samples, measurement noise included."""
        return np.asarray(np.diag(self.covariance())[:: self.order] + self.noise_sigma**2)

    def state_space(self, source: str, side: Sequence[str]) -> StateSpace:
        """The true model of node `source` with neighbours `side`, all in sensor units."""
        observed = [self._index(name) for name in (source, *side)]
        hidden, state_of = self._distinct(observed)
        order = self.order
        transition = np.zeros((len(hidden) * order, len(hidden) * order))
        for k, node in enumerate(hidden):
            transition[k * order : (k + 1) * order, k * order : (k + 1) * order] = companion(self.ar[node])
        driving = np.zeros_like(transition)
        driving[::order, ::order] = self.driving_cov[np.ix_(hidden, hidden)]
        output = np.zeros((len(observed), len(transition)))
        output[np.arange(len(observed)), np.array(state_of) * order] = 1.0
        return StateSpace(
            A=frozen(transition, np.float64),
            C=frozen(output, np.float64),
            Q=frozen(driving, np.float64),
            S=frozen(np.zeros((len(transition), len(observed))), np.float64),
            R=frozen(np.diag(self.noise_sigma[observed] ** 2), np.float64),
            mean=frozen(self.mean[observed], np.float64),
        )

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"field: no node {name!r} (there are {', '.join(self.names)})")
        return self.names.index(name)

    def _distinct(self, observed: list[int]) -> tuple[list[int], list[int]]:
        """(nodes with different T, for each observed node the position of its T among them): a minimal state."""
        hidden: list[int] = []
        state_of = []
        for node in observed:
            same = [k for k, other in enumerate(hidden) if self._same_signal(node, other)]
            if not same:
                hidden.append(node)
            state_of.append(same[0] if same else len(hidden) - 1)
        return hidden, state_of

    def _same_signal(self, first: int, second: int) -> bool:
        return bool(
            np.array_equal(self.ar[first], self.ar[second])
            and np.array_equal(self.driving_cov[first], self.driving_cov[second])
            and self.driving_cov[first, first] == self.driving_cov[first, second]
        )


@dataclass(frozen=True, eq=False)
class PairSource:
    """A field of two nodes `x` (the source) and `y` (the side information)."""

    name: str
    field: GaussMarkovField

    def generate(self, n: int, seed: int) -> dict[str, np.ndarray]:
        """{"x", "y"}: float64[n] each."""
        samples = self.field.generate(n, seed)
        return {"x": np.ascontiguousarray(samples[:, 0]), "y": np.ascontiguousarray(samples[:, 1])}

    def state_space(self) -> StateSpace:
        return self.field.state_space("x", ["y"])


def companion(coefficients: np.ndarray) -> np.ndarray:
    """(order, order): transition matrix of one autoregression."""
    order = len(coefficients)
    out = np.eye(order, k=-1)
    out[0] = coefficients
    return out


def cross_covariance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(order, order): X = A1 X A2' + e0 e0', two autoregressions driven by the same unit noise."""
    order = len(first)
    unit = np.zeros(order * order)
    unit[0] = 1.0
    product = np.kron(companion(first), companion(second))
    return np.linalg.solve(np.eye(order * order) - product, unit).reshape(order, order)


def root(cov: np.ndarray) -> np.ndarray:
    """G with G G' = cov, for a covariance that may be singular."""
    values, vectors = np.linalg.eigh(cov)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def filter_state(coefficients: np.ndarray, past: np.ndarray) -> np.ndarray:
    """(order, nodes): state of `lfilter` that continues `past` (nodes, order), newest first."""
    order = len(coefficients)
    state = np.zeros((order, len(past)))
    for slot in range(order):
        state[slot] = past[:, : order - slot] @ coefficients[slot:]
    return state


def grid_positions(nodes: int, spacing: float = 1.0) -> np.ndarray:
    """(nodes, 2): a square grid, row by row."""
    side = int(np.ceil(np.sqrt(nodes)))
    return spacing * np.stack([np.arange(nodes) % side, np.arange(nodes) // side], axis=1).astype(np.float64)


def gauss_markov_field(
    positions: np.ndarray,
    ar: Sequence[float],
    *,
    correlation_range: float,
    sigma: float = 1.0,
    noise_sigma: float = 0.1,
    mean: float = 0.0,
    names: Sequence[str] | None = None,
    unit: str = "",
) -> GaussMarkovField:
    """Nodes at `positions` (nodes, dims); driving noise falls off as exp(-distance / correlation_range).

    `sigma`: stationary standard deviation of each node without its measurement noise.
    """
    nodes = len(positions)
    coefficients = np.asarray(ar, dtype=np.float64)
    if coefficients.size == 0 or not correlation_range > 0:
        raise InputError("field: needs at least one AR coefficient and a correlation range above 0")
    distance = np.linalg.norm(positions[:, None, :] - positions[None, :, :], axis=2)
    gain = cross_covariance(coefficients, coefficients)[0, 0]
    return GaussMarkovField(
        names=tuple(names) if names is not None else tuple(f"n{k + 1}" for k in range(nodes)),
        ar=frozen(np.tile(coefficients, (nodes, 1)), np.float64),
        driving_cov=frozen(np.exp(-distance / correlation_range) * sigma**2 / gain, np.float64),
        noise_sigma=frozen(np.full(nodes, noise_sigma), np.float64),
        mean=frozen(np.full(nodes, mean), np.float64),
        unit=unit,
    )


def _pair(name: str, x_ar: Sequence[float], y_ar: Sequence[float], driving_variance: float) -> PairSource:
    order = max(len(x_ar), len(y_ar))
    ar = np.zeros((2, order))
    ar[0, : len(x_ar)] = x_ar
    ar[1, : len(y_ar)] = y_ar
    noise, mean = frozen([0.1, 0.1], np.float64), frozen([0, 0], np.float64)
    cov = frozen(np.full((2, 2), driving_variance), np.float64)
    return PairSource(name, GaussMarkovField(("x", "y"), frozen(ar, np.float64), cov, noise, mean))


def fig5() -> PairSource:
    """x and y: one AR(1) 0.7 of variance 1 with separate measurement noises of 0.1."""
    return _pair("fig5", [0.7], [0.7], 1 - 0.49)


def fig6() -> PairSource:
    """x: AR(1) 0.51, y: AR(2) (0.05, 0.5), one driving noise of variance 0.74."""
    return _pair("fig6", [0.51], [0.05, 0.5], 0.74)


def fig7() -> PairSource:
    """x: AR(3) (0.05, 0.5, 0.25), y: AR(2) (0.3, 0.6), one driving noise of variance 0.8485."""
    return _pair("fig7", [0.05, 0.5, 0.25], [0.3, 0.6], 0.8485)


SOURCES = {"fig5": fig5, "fig6": fig6, "fig7": fig7}


def pair_source(name: str) -> PairSource:
    if name not in SOURCES:
        raise InputError(f"no source {name!r} (there are {', '.join(SOURCES)})")
    return SOURCES[name]()
