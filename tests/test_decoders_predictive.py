"""The cells of `predictive` against the encoder's rule in plain integers."""

import numpy as np
import pytest

from edge_wz.decoders import hold


@pytest.mark.parametrize(("step", "rounding"), [(256, 128), (5 * 256, 640), (1000, 333), (1000, 500)])
def test_cells_hold_exactly_the_codes_of_a_level(step, rounding):
    """From level to cell and back: first and last code have this level, the codes beside them do not."""
    codes = np.arange(-60, 60)
    differences = codes - 7
    levels = (np.sign(differences) * ((np.abs(differences) * 256 + rounding) // step)).astype(np.int32)
    lows, highs = np.empty(levels.size), np.empty(levels.size)
    hold.predictive_cells(
        levels, np.full(levels.size, 7, np.int32), np.zeros(levels.size, np.int32),
        np.array([step]), np.array([rounding]), lows, highs,
    )  # fmt: skip
    for level in np.unique(levels)[1:-1]:
        inside = codes[levels == level]
        assert np.all(lows[levels == level] == inside[0] - 0.5) and np.all(highs[levels == level] == inside[-1] + 0.5)
