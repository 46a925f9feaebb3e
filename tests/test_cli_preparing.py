"""Whoever waits for decoders to be compiled is told, on standard error; nobody else is."""

from __future__ import annotations

import threading
import time

import pytest

from edge_wz.cli import preparing
from edge_wz.codec import reconstruction
from edge_wz.errors import InputError
from tests.pipeline_fleet import predictive_model


def still_waiting() -> list[threading.Timer]:
    """Hints that are yet to come."""
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and not thread.finished.is_set()]


@pytest.mark.parametrize("slow", [False, True])
def test_only_what_is_slow_is_told(monkeypatch, capsys, slow):
    monkeypatch.setattr(preparing, "PATIENCE_S", 0.05 if slow else 60.0)
    warmed = []

    def warm_up(decoder):
        warmed.append(decoder.name)
        time.sleep(0.5 * slow)

    monkeypatch.setattr(reconstruction.Decoder, "warm_up", warm_up)
    preparing.prepare([predictive_model()] * 2, ["midpoint"])
    assert not still_waiting()
    out, err = capsys.readouterr()
    assert warmed == ["midpoint"] and not out
    assert err == (reconstruction.COMPILES + "\n") * slow


def test_what_fails_is_not_told(monkeypatch, capsys):
    monkeypatch.setattr(preparing, "PATIENCE_S", 60.0)
    with pytest.raises(InputError):
        preparing.prepare([predictive_model()], ["trellis"])
    assert not still_waiting() and capsys.readouterr().err == ""
