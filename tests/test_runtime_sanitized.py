"""The host library with ASan and UBSan through the shared vectors; memory that a model does not own is poisoned to the byte."""

import pytest

from tests import runtime_machines

pytestmark = pytest.mark.c


def test_vectors_with_sanitizers():
    assert runtime_machines.sanitized("tests/test_runtime_vectors.py", "-k", "host") >= 18
