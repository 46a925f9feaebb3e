"""Models, samples, gaps and rate switches anywhere in their ranges: the C runtime of this machine sends what numba sends.

The reference joins in on short runs. A million samples of each scheme on every core: `benchmarks/runtime_parity.py`.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import random_runs, runtime_machines
from tests.random_models import MAKERS

schemes = pytest.mark.parametrize("scheme", list(MAKERS))


@runtime_machines.host
@schemes
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False), samples=st.integers(1, 300))
def test_c_sends_what_numba_sends(scheme, rng, samples):
    run = random_runs.random_run(scheme, rng, samples)
    assert random_runs.runtime(runtime_machines.make("host"), run) == random_runs.numba(run)


@schemes
def test_the_reference_sends_what_numba_sends(scheme):
    for number in range(3):
        run = random_runs.random_run(scheme, random.Random(f"{scheme} {number}"), 200)
        assert random_runs.reference(run).frames == random_runs.numba(run).frames
