"""The host library with ASan and UBSan through the shared vectors and random runs; memory that a model does not own is poisoned to the byte."""

import pytest

from tests import runtime_machines
from tests.random_models import MAKERS

pytestmark = pytest.mark.c


def test_vectors_and_random_runs_with_sanitizers():
    files = "tests/test_runtime_vectors.py", "tests/test_runtime_random.py"
    assert runtime_machines.sanitized(*files, "-k", "host or c_sends") >= 18 + len(MAKERS)
