"""Bit planes of layered messages: which bits they are, and that their ratios are the posterior's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_wz.errors import DesignError
from tests.layered_models import modulo_table
from training import layered_pairs, layered_planes
from training.layered_planes import Planes

PAIRS = layered_pairs.gaussian(0.1)


def test_the_first_plane_is_the_high_bit_of_the_coarsest_layer():
    planes = Planes.of(modulo_table(9000, (2, 4), 20_000))
    assert planes.count == 3 and planes.ends == (1, 3)
    assert planes.values.tolist() == [0b000, 0b100, 0b010, 0b110, 0b001, 0b101, 0b011, 0b111]


def test_only_whole_bits_have_planes():
    table = modulo_table(9000, (2, 2), 20_000)
    with pytest.raises(DesignError, match="powers of two"):
        Planes.of(replace(table, alphabets=(3, 2)))


def test_ratios_are_those_of_the_posterior():
    """Among samples whose ratio says p, a share of p has the bit 0; and ideal bits are what `layered_measure` counts."""
    planes = Planes.of(modulo_table(9000, (2, 2), 20_000))
    values, trees = layered_planes.draw(planes, PAIRS, 100, np.random.default_rng(1))
    flat, rows = values.reshape(-1), trees.reshape(-1, 4)
    for plane in range(2):
        ratios = rows[np.arange(len(rows)), (1 << plane) + (flat & ((1 << plane) - 1))]
        said, zero = 1 / (1 + np.exp(-ratios)), (flat >> plane) & 1 == 0
        for low in np.arange(0, 1, 0.1):
            among = (said >= low) & (said < low + 0.1)
            assert abs(np.mean(zero[among]) - np.mean(said[among])) < 5 * np.sqrt(0.25 / among.sum())
        bits = -np.mean(np.log2(np.where(zero, said, 1 - said)))
        assert layered_planes.ideal_bits(values, trees, plane) == pytest.approx(bits, abs=1e-4)
