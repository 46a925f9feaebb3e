"""Whoever waits for decoders to be compiled is told, on standard error; nobody else is."""

from __future__ import annotations

import time

import pytest

from edge_wz.cli import preparing
from edge_wz.codec import reconstruction
from edge_wz.errors import InputError
from tests.pipeline_fleet import predictive_model


@pytest.mark.parametrize("slow", [False, True])
def test_only_what_is_slow_is_told(monkeypatch, capsys, slow):
    monkeypatch.setattr(preparing, "PATIENCE_S", 0.05)
    warmed = []

    def warm_up(decoder):
        warmed.append(decoder.name)
        time.sleep(0.5 * slow)

    monkeypatch.setattr(reconstruction.Decoder, "warm_up", warm_up)
    preparing.prepare([predictive_model()] * 2, ["midpoint"])
    time.sleep(0.1)
    out, err = capsys.readouterr()
    assert warmed == ["midpoint"] and not out
    assert err == (reconstruction.COMPILES + "\n") * slow


def test_what_fails_is_not_told(monkeypatch, capsys):
    monkeypatch.setattr(preparing, "PATIENCE_S", 0.05)
    with pytest.raises(InputError):
        preparing.prepare([predictive_model()], ["trellis"])
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
