"""`posterior`: the mean of the source given its bin and this moment's side information.

Unlike `decoders.kalman` it keeps no belief of its own from sample to sample: what it knows beforehand is the linear
prediction from the window of side information (`decoders.side_window`). Unlike `decoders.nearest` it weighs all
candidates instead of taking one.
"""

import math

from numba import njit

from edge_wz.decoders.cells import (
    CONCEALED,
    NO_LEVEL,
    RESOLVED,
    ROUNDING,
    SCALE,
    SURE,
    SUSPECT,
    TAP,
    cut_to_bin,
    keep_within,
    level_cell,
)


@njit(cache=True)
def posterior(
    bins, rate_points, points, source_mean, predicted, variances, max_error, values, sigmas, flags, levels,
):  # fmt: skip
    """Fill `values`, `sigmas` (LSB), `flags`, `levels` from the Gaussian beliefs.

    `predicted`: deviations from `source_mean`; `variances`: one for each sample, or one for all.
    """
    for n in range(bins.size):
        mean, variance = source_mean + predicted[n], max(variances[n if variances.size > 1 else 0], 1e-9)
        levels[n] = NO_LEVEL
        if bins[n] == NO_LEVEL:
            flags[n] = CONCEALED
        else:
            point = points[rate_points[n]]
            mean, variance, level, weight = cut_to_bin(mean, variance, bins[n], point)
            levels[n] = level
            flags[n] = RESOLVED if weight >= SURE else RESOLVED | SUSPECT
            if level == NO_LEVEL:
                flags[n] = CONCEALED | SUSPECT
            elif max_error >= 0.0:
                low, high = level_cell(level, point[SCALE], point[ROUNDING], point[TAP])
                mean = keep_within(mean, low, high, max_error)
        values[n] = mean
        sigmas[n] = math.sqrt(variance)
