"""The host library with ASan and UBSan on shared vectors, random runs and damaged blobs; what a model does not own is poisoned to the byte."""

import pytest

from tests import runtime_machines
from tests.random_models import MAKERS

pytestmark = pytest.mark.c


def test_vectors_random_runs_and_blobs_with_sanitizers():
    files = "tests/test_runtime_vectors.py", "tests/test_runtime_random.py", "tests/test_runtime_blobs.py"
    assert runtime_machines.sanitized_tests(*files, "-k", "host or c_sends or mutated") >= 18 + 2 * len(MAKERS)
