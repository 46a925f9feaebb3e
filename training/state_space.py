"""A joint state space of a source and its neighbours, identified from a recording whose statistics nobody knows.

Subspace identification by canonical variates: regress the future on a long past, keep the directions of the past that
predict it best as the state, and regress next state and observation on the state. Noise covariances are those of the
residuals, so they are positive by construction. Of several orders the smallest is kept that predicts a held-out stretch
as well as the best does. Unlike EM it needs no start and no iterations, and it takes coloured and common noise as
they come.

Gaps: windows with a missing sample are left out; where that leaves too few, up to BRIDGE samples are bridged linearly.
Reference: Larimore, "Canonical variate analysis in identification, filtering, and adaptive control" (1990);
Van Overschee, De Moor, "Subspace identification", ch. 4 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from edge_wz.codec.state_space import stationary_covariance
from edge_wz.errors import DesignError
from edge_wz.model import StateSpace, frozen

ORDERS = (1, 2, 3, 4, 5, 6, 8, 10)
MAX_LAGS = 30
MIN_LAGS = 4
MAX_REGRESSORS = 160  # lags x signals: more cost time and shrink nothing
BRIDGE = 3  # samples
ENOUGH_ROWS = 500  # complete windows; with fewer, short gaps are bridged at the cost of too smooth a model
ROWS_PER_REGRESSOR = 5
MAX_POLE = 0.9999  # slower modes are drift; a filter that believed in them for ever would lose the level
HELD_OUT = 0.25
TOLERANCE_DB = 0.03  # of prediction: what a smaller state may cost
RIDGE = 1e-8  # of the average variance
STEADY_SAMPLES = 2000
VARIANCE_FLOOR = 1e-12


@dataclass(frozen=True, eq=False)
class Identified:
    """A state space and what it was chosen by. `prediction_db`: order -> held-out prediction gain in dB over the
    variance."""

    space: StateSpace
    order: int
    lags: int
    rows: int
    prediction_db: dict[int, float]


def identify(
    source: np.ndarray, side: np.ndarray, noise_variance: float = 0.0, orders: tuple[int, ...] = ORDERS
) -> Identified:
    """`source`: float64[T], any unit, NaN = missing; `side`: float64[T, m]. `noise_variance`: of the source's
    quantisation."""
    values = np.column_stack([source, side])
    mean, spread = _moments(values)
    normal = (values - mean) / spread
    cut = int(len(normal) * (1 - HELD_OUT))
    if len(_complete(normal[:cut], 2 * MIN_LAGS + 1)) < ENOUGH_ROWS:
        normal = _bridge(normal)
    lags, rows = _lags_for(normal[:cut])
    fits = _fit_orders(normal[:cut], lags, orders)
    noise = noise_variance / spread[0] ** 2
    scores = {order: _score(fit, normal[cut:], noise) for order, fit in fits.items()}
    order = choose_order(scores)
    whole = _fit_orders(normal, lags, (order,))
    best = whole.get(order, fits[order])
    gains = {k: -10 * np.log10(max(score, 1e-30)) for k, score in scores.items()}
    return Identified(_in_units(best, mean, spread), order, lags, rows, gains)


def choose_order(scores: dict[int, float]) -> int:
    """The smallest order whose score (a variance) is within TOLERANCE_DB of the best."""
    best = min(scores.values())
    return min(order for order, score in scores.items() if score <= best * 10 ** (TOLERANCE_DB / 10))


def prediction_variance(space: StateSpace, noise_variance: float) -> float:
    """Variance of the source given the neighbours now and everything before, with its own past known up to
    `noise_variance`."""
    steady = np.full((STEADY_SAMPLES, len(space.mean)), 0.0) + space.mean
    _, variances = source_surprises(space, steady, noise_variance)
    return float(variances[-1])


def source_surprises(space: StateSpace, values: np.ndarray, noise_variance: float) -> tuple[np.ndarray, np.ndarray]:
    """What is left of the source for a decoder that knows its past up to `noise_variance`, and the neighbours.

    `values`: float64[T, 1+m] in the units of `space`. Returns (surprises, NaN where missing; their expected variances).
    """
    F, G = np.vstack([space.A, space.C]), np.block([[space.Q, space.S], [space.S.T, space.R]])
    state, cov = np.zeros(len(space.A)), stationary_covariance(space.A, space.Q)
    surprises, variances = np.empty(len(values)), np.empty(len(values))
    rows = np.ascontiguousarray(values, dtype=np.float64)
    _surprises(state, cov, F, G, np.array(space.mean), rows, noise_variance, surprises, variances)
    return surprises, variances


@njit(cache=True)
def _surprises(state, cov, F, G, mean, values, noise_variance, surprises, variances):  # type: ignore[no-untyped-def]
    """A Kalman filter that conditions on the neighbours first, writes what is left of the source, then on the
    source."""
    size, d = F.shape
    z, joint, work = np.empty(size), np.empty((size, size)), np.empty((size, d))
    for n in range(len(values)):
        for i in range(size):
            z[i] = mean[i - d] if i >= d else 0.0
            for k in range(d):
                z[i] += F[i, k] * state[k]
                total = 0.0
                for j in range(d):
                    total += F[i, j] * cov[j, k]
                work[i, k] = total
        for i in range(size):
            for j in range(i + 1):
                total = G[i, j]
                for k in range(d):
                    total += work[i, k] * F[j, k]
                joint[i, j] = total
        for j in range(size - 1, d - 1, -1):
            noise = VARIANCE_FLOOR
            if j == d:
                surprises[n] = values[n, 0] - z[d]
                variances[n] = joint[d, d]
                noise += noise_variance
            value = values[n, j - d]
            if value == value:
                surprise, variance = value - z[j], joint[j, j] + noise
                for a in range(j):
                    gain = joint[j, a] / variance
                    z[a] += gain * surprise
                    for b in range(a + 1):
                        joint[a, b] -= gain * joint[j, b]
        for i in range(d):
            state[i] = z[i]
            for k in range(i + 1):
                cov[i, k] = joint[i, k]
                cov[k, i] = joint[i, k]


def scaled(space: StateSpace, factors: np.ndarray, shifts: np.ndarray) -> StateSpace:
    """The same model for observations o' = (o - shifts) / factors, per observation."""
    inverse = 1.0 / factors
    return StateSpace(
        A=space.A,
        C=frozen(space.C * inverse[:, None], np.float64),
        Q=space.Q,
        S=frozen(space.S * inverse, np.float64),
        R=frozen(space.R * np.outer(inverse, inverse), np.float64),
        mean=frozen((space.mean - shifts) * inverse, np.float64),
    )


def source_in_codes(space: StateSpace, scale: float, offset: float) -> StateSpace:
    """A state space in sensor units with its source in codes instead, as `Model` wants it."""
    factors, shifts = np.ones(len(space.mean)), np.zeros(len(space.mean))
    factors[0], shifts[0] = scale, offset
    return scaled(space, factors, shifts)


def faded(space: StateSpace, memory: float, inflation: float) -> StateSpace:
    """The same signals, trusted less: correlation at lag k times `memory`^k, unforeseen noise times `inflation`.

    Both keep the model positive: the first is a product of two covariance functions and leaves every variance as it is.
    """
    stationary = stationary_covariance(space.A, space.Q)
    Q = (1 - memory * memory) * stationary + memory * memory * space.Q
    return replace(
        space,
        A=frozen(memory * space.A, np.float64),
        Q=frozen(inflation * Q, np.float64),
        S=frozen(inflation * memory * space.S, np.float64),
        R=frozen(inflation * space.R, np.float64),
    )


def simulate(space: StateSpace, samples: int, seed: int) -> np.ndarray:
    """float64[T, 1+m]: a stationary Gaussian stream of the model."""
    rng = np.random.default_rng(seed)
    d = len(space.A)
    start = _root(stationary_covariance(space.A, space.Q)) @ rng.standard_normal(d)
    noise = rng.standard_normal((samples, d + len(space.mean)))
    noise = noise @ _root(np.block([[space.Q, space.S], [space.S.T, space.R]])).T
    states = np.empty((samples, d))
    _run_states(np.array(space.A), start, noise, states)
    return np.asarray(space.mean + states @ space.C.T + noise[:, d:])


@njit(cache=True)
def _run_states(A, state, noise, states):  # type: ignore[no-untyped-def]
    d = len(A)
    following = np.empty(d)
    for n in range(len(states)):
        states[n] = state
        for i in range(d):
            following[i] = noise[n, i]
            for k in range(d):
                following[i] += A[i, k] * state[k]
        state[:] = following


def _root(cov: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(cov)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    return mean, np.where(spread > 0, spread, 1.0)


def _bridge(values: np.ndarray) -> np.ndarray:
    """Runs of at most BRIDGE missing samples, filled linearly."""
    filled = values.copy()
    for column in filled.T:
        missing = np.isnan(column)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start <= BRIDGE and start > 0 and stop < len(column):
                column[start:stop] = np.linspace(column[start - 1], column[stop], stop - start + 2)[1:-1]
    return filled


def _complete(values: np.ndarray, width: int) -> np.ndarray:
    """Starts of windows of `width` samples in which nothing is missing."""
    whole = ~np.isnan(values).any(axis=1)
    count = np.concatenate([[0], np.cumsum(whole)])
    return np.flatnonzero(count[width:] - count[:-width] == width)


def _lags_for(values: np.ndarray) -> tuple[int, int]:
    """As many lags as the samples (and their gaps) carry."""
    signals = values.shape[1]
    lags = min(MAX_LAGS, max(MIN_LAGS, MAX_REGRESSORS // signals))
    while lags >= 1:
        rows = len(_complete(values, 2 * lags + 1)) if len(values) > 2 * lags + 1 else 0
        if rows >= ROWS_PER_REGRESSOR * lags * signals:
            return lags, rows
        lags = lags - 1 if lags <= 8 else int(lags * 0.75)
    needed = ROWS_PER_REGRESSOR * signals + 3
    raise DesignError(
        f"too few samples to learn from: {needed} rows without gaps in source and neighbours are needed, "
        f"{int((~np.isnan(values).any(axis=1)).sum())} of {len(values)} are complete"
    )


def _fit_orders(values: np.ndarray, lags: int, orders: tuple[int, ...]) -> dict[int, StateSpace]:
    """Canonical variates of windows [lags past | now .. now + lags], one state space per order."""
    signals = values.shape[1]
    starts = _complete(values, 2 * lags + 1)
    gram, rows = _gram(values, starts, 2 * lags + 1)
    past = np.arange(lags * signals)
    future = lags * signals + past
    P = gram[np.ix_(past, past)] + RIDGE * rows * np.eye(len(past))
    cross = gram[np.ix_(future, past)]
    whiten_past = _inverse_root(P)
    whiten_future = _inverse_root(gram[np.ix_(future, future)] + RIDGE * rows * np.eye(len(future)))
    _, _, directions = np.linalg.svd(whiten_future @ cross @ whiten_past)
    variates = directions @ whiten_past * np.sqrt(rows)  # state = variates[:d] @ past
    usable = [order for order in orders if order <= min(len(past), 4 * lags)]
    return {order: _regress(gram / rows, variates[:order], lags, signals) for order in usable}


def _gram(values: np.ndarray, starts: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """Sum of outer products of the windows, oldest sample first."""
    size = width * values.shape[1]
    gram = np.zeros((size, size))
    flat = np.lib.stride_tricks.sliding_window_view(values, width, axis=0)  # (T, signals, width)
    for first in range(0, len(starts), 8192):
        windows = flat[starts[first : first + 8192]].transpose(0, 2, 1).reshape(-1, size)
        gram += windows.T @ windows
    return gram, len(starts)


def _inverse_root(cov: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(cov)
    floor = max(float(values[-1]), 1e-300) * 1e-12
    return np.asarray((vectors / np.sqrt(np.maximum(values, floor))) @ vectors.T)


def _regress(gram: np.ndarray, variates: np.ndarray, lags: int, signals: int) -> StateSpace:
    """Next state and observation on the state; `gram` is the mean outer product of windows."""
    d, width = len(variates), gram.shape[0]
    now, following = np.zeros((d, width)), np.zeros((d, width))
    now[:, : lags * signals] = variates
    following[:, signals : (lags + 1) * signals] = variates
    observed = np.eye(width)[lags * signals : (lags + 1) * signals]
    targets = np.vstack([following, observed])
    state_cov = now @ gram @ now.T
    F = np.linalg.solve(state_cov + RIDGE * np.eye(d), now @ gram @ targets.T).T
    F[:d] = _stable(F[:d])
    residual = targets - F @ now
    G = residual @ gram @ residual.T
    G = 0.5 * (G + G.T) + RIDGE * np.eye(d + signals)
    parts = (F[:d], F[d:], G[:d, :d], G[:d, d:], G[d:, d:], np.zeros(signals))
    return StateSpace(*(frozen(part, np.float64) for part in parts))


def _stable(A: np.ndarray) -> np.ndarray:
    """Poles outside MAX_POLE are pulled onto it."""
    radius = float(np.abs(np.linalg.eigvals(A)).max())
    if radius <= MAX_POLE:
        return A
    values, vectors = np.linalg.eig(A)
    pulled = values * np.minimum(1.0, MAX_POLE / np.maximum(np.abs(values), 1e-12))
    stable = np.real(vectors @ np.diag(pulled) @ np.linalg.inv(vectors))
    return stable if np.all(np.isfinite(stable)) and np.linalg.cond(vectors) < 1e8 else A * (MAX_POLE / radius)


def _score(space: StateSpace, values: np.ndarray, noise: float) -> float:
    """Held-out variance of the source given what the decoder knows; a model that explodes scores infinity."""
    surprises, _ = source_surprises(space, values, noise)
    kept = surprises[~np.isnan(surprises)]
    score = float(np.mean(kept * kept)) if len(kept) else np.inf
    return score if np.isfinite(score) else np.inf


def _in_units(space: StateSpace, mean: np.ndarray, spread: np.ndarray) -> StateSpace:
    return scaled(replace(space, mean=frozen(np.zeros(len(mean)), np.float64)), 1.0 / spread, -mean / spread)
