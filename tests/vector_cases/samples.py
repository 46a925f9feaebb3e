"""What cases of several schemes share."""

import random
from typing import Any

EXTREMES = [-32768, -32767, -1, 0, 1, 2, 32766, 32767]
Case = dict[str, Any]


def sample_runs(rng: random.Random) -> list[list[int | None]]:
    noisy: list[int | None] = [round(rng.gauss(0, 3000)) for _ in range(70)]
    holes = [None if rng.random() < 0.3 else value for value in noisy]
    return [[*EXTREMES, -16384, 16383], noisy, holes, [None] * 9 + [5]]


def columns(samples: list[int | None]) -> Case:
    return {"codes": [0 if v is None else v for v in samples], "present": [int(v is not None) for v in samples]}


def jumps(rng: random.Random) -> list[int | None]:
    return [rng.choice([-32768, 32767, 0, 5]) for _ in range(30)]
