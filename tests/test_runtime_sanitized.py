"""The host library with ASan and UBSan: vectors, control, damaged blobs, random runs; what a model does not own is poisoned to the byte."""

import pytest

from tests import runtime_machines
from tests.random_models import MAKERS

pytestmark = pytest.mark.c


def test_vectors_and_blobs_with_sanitizers():
    files = (f"tests/test_runtime_{name}.py" for name in ("vectors", "blobs", "control"))
    assert runtime_machines.sanitized_tests(*files, "-k", "host or mutated") >= 30 + len(MAKERS)
