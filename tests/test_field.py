"""Fields against theory: (auto, cross) covariances within five standard errors; streams do not depend on the chunk."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wz.errors import InputError
from edge_wz.model import StateSpace
from firmware_sim import field

SAMPLES = 400_000


def stationary_covariance(model: StateSpace) -> np.ndarray:
    """E s s', by summing the impulse response."""
    state = np.zeros_like(model.Q)
    term = model.Q.copy()
    while np.abs(term).max() > 1e-13:
        state += term
        term = model.A @ term @ model.A.T
    return state


def lagged_covariance(model: StateSpace, lag: int) -> np.ndarray:
    """(1+m, 1+m): E o[n+lag] o[n]' of the state-space model."""
    cov = model.C @ np.linalg.matrix_power(model.A, lag) @ stationary_covariance(model) @ model.C.T
    return cov + model.R if lag == 0 else cov


def sample_covariance(samples: np.ndarray, lag: int) -> np.ndarray:
    later, earlier = samples[lag:], samples[: len(samples) - lag]
    return later.T @ earlier / len(later)


def standard_error(model: StateSpace, n: int) -> float:
    """Of any sample covariance: Bartlett's formula, bounded by the largest variance over all lags."""
    lags = [np.abs(lagged_covariance(model, lag)).max() for lag in range(100)]
    return float(np.sqrt(2 * (lags[0] ** 2 + 2 * np.sum(np.square(lags[1:]))) / n))


@pytest.mark.parametrize("name", ["fig5", "fig6", "fig7"])
def test_pair_has_the_covariances_of_its_state_space(name: str) -> None:
    source = field.pair_source(name)
    columns = source.generate(SAMPLES, seed=1)
    samples = np.stack([columns["x"], columns["y"]], axis=1)
    model = source.state_space()
    tolerance = 5 * standard_error(model, SAMPLES)
    for lag in (0, 1, 2, 5, 20):
        np.testing.assert_allclose(sample_covariance(samples, lag), lagged_covariance(model, lag), atol=tolerance)


def test_pairs_have_the_stated_variances() -> None:
    assert field.fig5().field.variances() == pytest.approx([1.01, 1.01])
    assert field.fig6().field.variances()[0] == pytest.approx(0.74 / (1 - 0.51**2) + 0.01)
    assert field.fig7().field.variances()[0] == pytest.approx(1.564, abs=5e-4)


def test_fig5_has_one_common_state() -> None:
    model = field.fig5().state_space()
    assert model.A.shape == (1, 1) and model.Q[0, 0] == pytest.approx(0.51)
    assert field.fig6().state_space().A.shape == (4, 4)


def test_field_is_spatially_correlated_as_asked() -> None:
    positions = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    built = field.gauss_markov_field(
        positions, [0.5, 0.3], correlation_range=2.0, sigma=3.0, noise_sigma=0.5, mean=20.0
    )
    samples = built.generate(SAMPLES, seed=2)
    model = built.state_space("n1", ["n2", "n3"])
    tolerance = 5 * standard_error(model, SAMPLES)
    expected = 9.0 * np.exp(-np.linalg.norm(positions[:, None] - positions, axis=2) / 2.0) + 0.25 * np.eye(3)
    np.testing.assert_allclose(lagged_covariance(model, 0), expected, rtol=1e-9)
    for lag in (0, 1, 7):
        cov = sample_covariance(samples - 20.0, lag)
        np.testing.assert_allclose(cov, lagged_covariance(model, lag), atol=tolerance)
    assert model.mean == pytest.approx([20.0] * 3)


def test_the_start_is_stationary() -> None:
    built = field.gauss_markov_field(field.grid_positions(2), [0.9, 0.0, 0.05], correlation_range=1.0, noise_sigma=0.0)
    starts = np.array([built.generate(3, seed=seed) for seed in range(1000)])
    np.testing.assert_allclose(starts.var(axis=0), 1.0, atol=5 * np.sqrt(2 / 1000))
    mixed = field.fig7().field
    starts = np.array([mixed.generate(2, seed=seed) for seed in range(1000)])
    expected = np.tile(mixed.variances(), (2, 1))
    np.testing.assert_allclose(starts.var(axis=0), expected, rtol=5 * np.sqrt(2 / 1000))


@pytest.mark.parametrize("chunk", [1, 7, 1000, 4096, 5000, 20_000])
def test_chunks_do_not_change_the_stream(chunk: int) -> None:
    built = field.gauss_markov_field(field.grid_positions(5), [0.5, 0.2], correlation_range=2.0)
    n = 500 if chunk == 1 else 10_000
    chunks = list(built.stream(n, seed=3, chunk=chunk))
    assert max(len(part) for part in chunks) <= chunk
    np.testing.assert_array_equal(np.concatenate(chunks), built.generate(n, seed=3))


def test_a_shorter_stream_is_a_prefix_and_a_seed_is_a_stream() -> None:
    built = field.fig6().field
    np.testing.assert_array_equal(built.generate(9000, seed=4)[:10], built.generate(10, seed=4))
    assert not np.array_equal(built.generate(10, seed=4), built.generate(10, seed=5))


def test_bad_fields_are_refused() -> None:
    with pytest.raises(InputError, match="not stable"):
        field.gauss_markov_field(field.grid_positions(2), [0.7, 0.4], correlation_range=1.0)
    with pytest.raises(InputError, match="no source 'fig8'"):
        field.pair_source("fig8")
    with pytest.raises(InputError, match="no node 'z'"):
        field.fig5().field.state_space("z", [])
