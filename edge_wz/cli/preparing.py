"""Decoders before they are used: whoever waits for numba to compile them is told what for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_wz.model import Model

PATIENCE_S = 3.0  # longer than it takes to load what was compiled before


def prepare(models: Iterable[Model], decoders: Sequence[str] = ()) -> None:
    """`decoders`: names, of each model its own unless given."""
    from edge_wz.codec.reconstruction import COMPILES, Decoder  # heavy, and commands are looked up without it

    with hint(COMPILES):
        for model in dict.fromkeys(models):
            for name in decoders or (model.decoder,):
                Decoder(model, name).warm_up()


@contextmanager
def hint(text: str) -> Iterator[None]:
    """A line on standard error where this takes longer than PATIENCE_S."""
    timer = Timer(PATIENCE_S, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
