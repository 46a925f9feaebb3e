"""A first reading of a packet of `trellis` for sources that their own past tells best: one Kalman filter per state of the code.

`decoders.trellis` starts from what is known without the packet's own samples. Where that is next to nothing (a slow source sampled fast), no
coset stands out and propagation stays where it began. Here the samples are read in order, and each path of the code carries the source as it
would be by that path, so that sample n is foretold from the packet's samples before it: per-survivor processing. Covariances depend on what is
observed, not on its values: one recursion serves all paths, and a step of a filter is one affine map for all. The levels of the best path are
where propagation starts, no more.

Tail-biting: the state before the packet is the one behind it, and until the first samples are read nothing tells it. All begin alike. Where the best
path does not end as it began, or fits badly, each state is tried for the first samples, and the best of them for the whole packet. Paths that are
far behind the best are dropped, so that a walk mostly carries a few.

References: Raheli, Polydoros, Tzou, "Per-survivor processing" (1995); Shao, Lin, Fossorier, "Two decoding algorithms for tailbiting codes" (2003).
"""

import numpy as np
from numba import njit

from edge_wz.decoders.cells import NO_LEVEL, ROUNDING, SCALE, TAP
from edge_wz.decoders.smoother import predict

MOST_SURPRISE = 12.0  # of a sample, in nats; large ones count for less than a Gaussian's, as tails are heavier
MISFIT = 1.0  # nats per sample of a path that is looked at again; right ones have half a nat
BEHIND = 20.0  # nats behind the best path at which one is dropped
SCREENED = 20  # samples beyond a memory that tell where a path began
TRIED = 8  # beginnings tried on the whole packet
ANY_SIZE = ((), ())  # what `smoother.dims_of` has for sizes that are read from the arrays
METRIC, SURPRISE, SOURCE, KEPT = range(4)  # rows of `rows`, one column per path


def work_space(longest: int, d: int, m: int, memory: int) -> tuple[np.ndarray, ...]:
    """For packets of up to `longest` samples."""
    states, size = 1 << memory, d + 1 + m
    return (
        np.empty((d, states)), np.empty((d, states)), np.empty((size, d + 1)), np.empty((size, size)), np.empty((size, d)), np.empty(size),
        np.empty((longest, d + 1, d + 1)), np.empty((longest, d)), np.empty(longest), np.empty((4, states)), np.empty(states),
        np.empty((4, states), np.int32), np.empty((longest, states), np.int32), np.empty((longest, states), np.int32),
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _map_of_sample(zeros, F, G, mean, P, side, side_sigmas, joint_map, joint, work, z):
    """`joint_map`: the joint vector as an affine function of the state, the neighbours now being known; `joint`: its covariance."""
    d = F.shape[1]
    predict(ANY_SIZE, F, G, mean, zeros, P, z, joint, work)
    joint_map[:, :d] = F
    joint_map[:, d] = z
    for k in range(side.shape[0] - 1, -1, -1):
        j = d + 1 + k
        variance = joint[j, j] + side_sigmas[k] * side_sigmas[k]
        if not (np.isfinite(side[k]) and np.isfinite(variance)):
            continue
        weight = 1.0 / max(variance, 1e-12)
        for a in range(j):
            gain = joint[a, j] * weight
            for c in range(d + 1):
                joint_map[a, c] -= gain * joint_map[j, c]
            joint_map[a, d] += gain * side[k]
            for b in range(a, j):
                joint[a, b] -= gain * joint[b, j]


@njit(cache=True, error_model="numpy")
def _prepare(state, F, G, mean, side, side_sigmas, indices, noise, space):
    """What all paths share: of each sample the map of state and source, the gains of the state, and the variance of the surprise."""
    joint_map, joint, work, z, maps, gains, variances = space[2:9]
    d = F.shape[1]
    P, zeros = state[d:].copy().reshape((d, d)), np.zeros(d)
    for n in range(indices.shape[0]):
        _map_of_sample(zeros, F, G, mean, P, side[n], side_sigmas[n], joint_map, joint, work, z)
        maps[n] = joint_map[: d + 1]
        variances[n] = joint[d, d] + noise
        here = indices[n] != NO_LEVEL
        for a in range(d):
            gains[n, a] = joint[a, d] / variances[n] if here else 0.0
        for a in range(d):
            for b in range(a, d):
                P[a, b] = P[b, a] = joint[a, b] - gains[n, a] * joint[b, d]


@njit(cache=True, error_model="numpy")
def _extend(paths, rows, numbers, variance, low, syndrome, quarter, point, taps, came_from, levels):
    """The better of the two ways into each state, of `paths` paths; how many there are then. Row METRIC: before, then behind."""
    step, slope, shift = point[SCALE] / point[TAP], point[TAP] / point[SCALE], point[ROUNDING] / point[SCALE]
    h0, h1 = taps
    half, weight = 2.0 * quarter, 0.5 / variance
    before, metrics, surprises, source = rows[KEPT], rows[METRIC], rows[SURPRISE], rows[SOURCE]
    states, earlier, path_of = numbers[0], numbers[1], numbers[2]
    before[:paths], earlier[:paths] = metrics[:paths], states[:paths]
    path_of[:] = -1
    found, best = 0, np.inf
    for path in range(paths):
        r = earlier[path]
        z0 = syndrome ^ (r & 1)
        at = source[path] * slope + shift - 0.5
        base = low + quarter * z0 - 32768.0
        turn = np.rint((at - base) / half)
        other = turn + 1.0 if at > base + half * turn else turn - 1.0
        after = r ^ h0 if z0 else r
        for _ in range(2):
            level = base + half * turn
            surprise = (level - at) * step
            squares = surprise * surprise * weight
            metric = before[path] + squares / (1.0 + squares / MOST_SURPRISE)
            into = (after ^ h1 if np.int64(turn) & 1 else after) >> 1
            turn = other
            if metric > best + BEHIND:
                continue
            slot = path_of[into]
            if slot < 0:
                slot, path_of[into], states[found], metrics[found] = found, found, into, np.inf
                found += 1
            if metric < metrics[slot]:
                metrics[slot], surprises[slot], came_from[slot], levels[slot] = metric, surprise, path, np.int32(level)
            best = min(best, metric)
    kept = 0
    for slot in range(found):
        if metrics[slot] <= best + BEHIND:
            metrics[kept], surprises[kept], came_from[kept], levels[kept] = metrics[slot], surprises[slot], came_from[slot], levels[slot]
            states[kept] = states[slot]
            kept += 1
    return kept


@njit(cache=True, error_model="numpy")
def _advance(paths, means, moved, sample_map, gains, surprises, came_from):
    """States of the source of all paths one sample on."""
    d = means.shape[0]
    for i in range(d):
        for path in range(paths):
            moved[i, path] = means[i, came_from[path]]
    for i in range(d):
        row, constant, gain = means[i], sample_map[i, d], gains[i]
        for path in range(paths):
            row[path] = constant + gain * surprises[path]
        for k in range(d):
            factor, other = sample_map[i, k], moved[k]
            for path in range(paths):
                row[path] += factor * other[path]


@njit(cache=True, error_model="numpy")
def _walk(begin, state, indices, quarter, point, taps, space):
    """From state `begin` of the code, -1 for all, through `indices`: how many paths, their metrics and states in `space`; and present samples."""
    means, moved, maps, gains, variances, rows = space[0], space[1], space[6], space[7], space[8], space[9]
    numbers, came_from, levels = space[11], space[12], space[13]
    d, source, same = means.shape[0], rows[SOURCE], numbers[3]
    paths = numbers.shape[1] if begin < 0 else 1
    for path in range(numbers.shape[1]):
        same[path] = numbers[0, path] = path
    if begin >= 0:
        numbers[0, 0] = begin
    rows[METRIC, :paths] = 0.0
    for i in range(d):
        means[i, :paths] = state[i]
    count = 0
    for n in range(indices.shape[0]):
        if indices[n] == NO_LEVEL:
            rows[SURPRISE, :paths] = 0.0
            _advance(paths, means, moved, maps[n], gains[n], rows[SURPRISE], same)
            continue
        source[:paths] = maps[n, d, d]
        for k in range(d):
            for path in range(paths):
                source[path] += maps[n, d, k] * means[k, path]
        low, syndrome = float(indices[n] >> 1), indices[n] & 1
        paths = _extend(paths, rows, numbers, variances[n], low, syndrome, quarter, point, taps, came_from[count], levels[count])
        _advance(paths, means, moved, maps[n], gains[n], rows[SURPRISE], came_from[count])
        count += 1
    return paths, count


@njit(cache=True, error_model="numpy")
def _trace(came_from, found, count, path, levels):
    """Levels of a path; where it began."""
    for i in range(count - 1, -1, -1):
        levels[i] = found[i, path]
        path = came_from[i, path]
    return path


@njit(cache=True, error_model="numpy")
def first_levels(state, F, G, mean, side, side_sigmas, indices, point, modulus, memory, taps, space, levels):
    """Levels of the packet's best path, in the order of its present samples, of which there are at least as many as bits of memory. modulus: 4q;
    taps: (h0, h1)."""
    metrics, scores, states, came_from, found = space[9][METRIC], space[10], space[11][0], space[12], space[13]
    step, quarter = point[SCALE] / point[TAP], np.floor(0.25 * modulus)
    _prepare(state, F, G, mean, side, side_sigmas, indices, step * step / 12.0, space)
    paths, count = _walk(-1, state, indices, quarter, point, taps, space)
    first = np.argmin(metrics[:paths])
    best, end = metrics[first], states[first]
    if _trace(came_from, found, count, first, levels) == end and best < MISFIT * count:
        return
    for begin in range(1 << memory):
        paths, _ = _walk(begin, state, indices[: memory + SCREENED], quarter, point, taps, space)
        scores[begin] = metrics[:paths].min()
    best = np.inf
    for _ in range(TRIED):
        likely = np.argmin(scores)
        scores[likely] = np.inf
        paths, _ = _walk(likely, state, indices, quarter, point, taps, space)
        for path in range(paths):
            if states[path] == likely and metrics[path] < best:
                best = metrics[path]
                _trace(came_from, found, count, path, levels)
