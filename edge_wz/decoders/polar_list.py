"""Successive-cancellation list decoding of polar-coded bit planes: which bits lie behind the transformed bits that were sent.

One call decodes the planes of one block, first plane first, with one list carried through all of them. What is known of a sample is a table,
so any density can feed it: `trees[i, 2^c + w]` is the log likelihood ratio ln P(0)/P(1) of sample i's bit in plane c given its bits in the planes
below, w = sum of bit[k] 2^k over k < c (entry 0 is not read; `llr_tree` makes a row from the masses of the 2^C values). A plane's sent bits are moved
into the signs of its ratios (`coset_shift`), so that the code proper always has zeros where it is known; samples past `count` are zero bits
of certain ratio (shortening). The walk through the code is a program made once per set of sent positions (`program`), in which subtrees that
are all known or all unknown are single steps, and all paths take each step together: then the arrays of a step are dead for all
paths at once, and a path is a column of row numbers, copied in place of its contents.

Path metrics are -ln P(path | side information), but for the rational function that stands in for ln(1 + exp(-x)); with `size` 1 this is plain
successive
cancellation, and no metric is kept.

References: Tal and Vardy, "List decoding of polar codes" (2015); Balatsoukas-Stimming, Parizi, Burg, "LLR-based successive cancellation list
decoding" (2015), (10)-(12); Hashemi, Condo, Gross, "Fast and flexible successive-cancellation list decoders" (2017), III for unknown subtrees.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FORK, FORK_RIGHT, FORK_SHIFTED, REMAINDER, KNOWN, UNKNOWN, JOIN, JOIN_SHIFTED = range(8)
LEFT, RIGHT = 0, 1
CERTAIN = np.float32(60.0)  # ratio of a bit that is known
_C0, _C1, _C2 = np.float32(1.44269504), np.float32(1.04068449), np.float32(0.490524054)
_C3, _C4, _C5, _C6 = np.float32(0.166164516), np.float32(0.0422432475), np.float32(0.00290334), np.float32(0.004353)
_FAR = np.float32(24.0)
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
_LANES = 16
MOST_FLIPS = 31  # in an unknown subtree: the bits of a mask


def program(known: np.ndarray) -> np.ndarray:
    """Steps int32[K, 3] (operation, level, side) of the walk for bool[n] known, n = 2^m."""
    steps: list[tuple[int, int, int]] = []

    def visit(first: int, level: int, side: int) -> None:
        part = known[first : first + (1 << level)]
        if part.all() or not part.any():
            steps.append((KNOWN if part[0] else UNKNOWN, level, side))
            return
        half = 1 << (level - 1)
        if part[:half].all():
            steps.append((REMAINDER, level, LEFT))
            steps.append((FORK_SHIFTED, level, RIGHT))
            visit(first + half, level - 1, RIGHT)
            steps.append((JOIN_SHIFTED, level, side))
            return
        steps.append((FORK, level, LEFT))
        visit(first, level - 1, LEFT)
        steps.append((FORK_RIGHT, level, RIGHT))
        visit(first + half, level - 1, RIGHT)
        steps.append((JOIN, level, side))

    visit(0, len(known).bit_length() - 1, LEFT)
    return np.array(steps, dtype=np.int32).reshape(-1, 3)


@njit(cache=True, error_model="numpy")
def transform(bits):
    """The polar transform in place, bits uint8[2^m]; its own inverse."""
    half = 1
    while half < bits.shape[0]:
        for first in range(0, bits.shape[0], 2 * half):
            a, b = bits[first : first + half], bits[first + half : first + 2 * half]
            for i in range(half):
                a[i] ^= b[i]
        half *= 2


@njit(cache=True, error_model="numpy")
def llr_tree(masses, out):
    """A row of `trees` from the masses float64[2^C] of the values of the bits of one sample, lowest bit = first plane; masses is destroyed."""
    size = masses.shape[0]
    while size > 1:
        half = size >> 1
        for w in range(half):
            zero, one = masses[w], masses[w + half]
            if zero > 0.0 and one > 0.0:
                out[half + w] = min(max(np.log(zero / one), -CERTAIN), CERTAIN)
            else:
                out[half + w] = CERTAIN if zero > 0.0 else (-CERTAIN if one > 0.0 else 0.0)
            masses[w] = zero + one
        size = half


@njit(cache=True, error_model="numpy")
def _steep(x):
    """1 / ln(1 + exp(-x)) for x >= 0; its first five coefficients are those of the series, so that weak ratios combine exactly."""
    x = min(x, _FAR)
    return _C0 + x * (_C1 + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))


@njit(cache=True, error_model="numpy")
def _soft(x):
    """ln(1 + exp(-x)) for x >= 0, to 0.0005."""
    return _ONE / _steep(x)


@njit(cache=True, error_model="numpy")
def _check(a, b):
    """Ratio of the sum of two bits, 2 atanh(tanh(a/2) tanh(b/2))."""
    near, far = _steep(abs(a - b)), _steep(abs(a + b))
    if (a < _ZERO) == (b < _ZERO):
        return min(abs(a), abs(b)) + (near - far) / (near * far)
    return (near - far) / (near * far) - min(abs(a), abs(b))


@njit(cache=True, error_model="numpy")
def _fork(ratios, size, out):
    for i in range(size):
        out[i] = _check(ratios[i], ratios[i + size])


@njit(cache=True, error_model="numpy")
def _fork_right(ratios, bits, size, out):
    for i in range(size):
        a, b = ratios[i], ratios[i + size]
        out[i] = b - a if bits[i] else b + a


@njit(cache=True, error_model="numpy")
def _fork_shifted(ratios, size, out):
    for i in range(size):
        out[i] = ratios[i] + ratios[i + size]


@njit(cache=True, error_model="numpy")
def known_before(ratios):
    """In place: from the ratios of a vector of zero bits to those of its transform, each given all positions before it (float32[2^m])."""
    half = ratios.shape[0] >> 1
    while half > 0:
        for first in range(0, ratios.shape[0], 2 * half):
            for i in range(first, first + half):
                a, b = ratios[i], ratios[i + half]
                ratios[i] = _check(a, b)
                ratios[i + half] = a + b
        half >>= 1


@njit(cache=True, error_model="numpy")
def _cost_known(ratios, size, lanes):
    """-ln P(all bits zero)."""
    if size < _LANES:
        total = 0.0
        for i in range(size):
            total += max(_ZERO, -ratios[i]) + _soft(abs(ratios[i]))
        return total
    for j in range(_LANES):
        lanes[j] = _ZERO
    for first in range(0, size, _LANES):
        part = ratios[first : first + _LANES]
        for j in range(_LANES):
            lanes[j] += max(_ZERO, -part[j]) + _soft(abs(part[j]))
    total = 0.0
    for j in range(_LANES):
        total += lanes[j]
    return total


@njit(cache=True, error_model="numpy")
def _cost_remainder(ratios, size, lanes):
    """The same for the sums of the two halves of 2 * size ratios."""
    if size < _LANES:
        total = 0.0
        for i in range(size):
            r = _check(ratios[i], ratios[i + size])
            total += max(_ZERO, -r) + _soft(abs(r))
        return total
    for j in range(_LANES):
        lanes[j] = _ZERO
    for first in range(0, size, _LANES):
        a, b = ratios[first : first + _LANES], ratios[size + first : size + first + _LANES]
        for j in range(_LANES):
            r = _check(a[j], b[j])
            lanes[j] += max(_ZERO, -r) + _soft(abs(r))
    total = 0.0
    for j in range(_LANES):
        total += lanes[j]
    return total


@njit(cache=True, error_model="numpy")
def _least_sure(ratios, size, most, order):
    """Positions of the `most` smallest |ratio|, rising; returns how many."""
    found = 0
    worst = _ZERO
    for i in range(size):
        value = abs(ratios[i])
        if found == most:
            if value >= worst:
                continue
            found -= 1
        j = found
        while j > 0 and abs(ratios[order[j - 1]]) > value:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
        found += 1
        worst = abs(ratios[order[found - 1]])
    return found


@njit(cache=True, error_model="numpy")
def _split(paths, size, metrics, costs, rows, flips, bit, ranked, spare):
    """Each of `paths` may take the branch of metric + cost besides its own; the best `size` stay. Returns how many there are then.

    `rows` (slots, size): what a path is; a newcomer takes the column of its origin, in the place of one that went.
    """
    best = metrics[0] + costs[0]
    for path in range(1, paths):
        best = min(best, metrics[path] + costs[path])
    if paths == size:
        worst = metrics[0]
        for path in range(1, paths):
            worst = max(worst, metrics[path])
        if best >= worst:
            return paths
    total = 2 * paths
    for path in range(paths):
        ranked[path], ranked[paths + path] = metrics[path], metrics[path] + costs[path]
    bar = np.inf
    if total > size:
        for i in range(1, total):
            value = ranked[i]
            j = i
            while j > 0 and ranked[j - 1] > value:
                ranked[j] = ranked[j - 1]
                j -= 1
            ranked[j] = value
        bar = ranked[size - 1]
    free, room = 0, size - paths
    for path in range(paths):
        if metrics[path] > bar:
            spare[free] = path
            free += 1
    places = free + room
    taken = 0
    before = paths
    for path in range(before):
        if metrics[path] <= bar and metrics[path] + costs[path] <= bar and taken < places:
            if taken < free:
                to = spare[taken]
            else:
                to = paths
                paths += 1
            taken += 1
            for k in range(rows.shape[0]):
                rows[k, to] = rows[k, path]
            metrics[to] = metrics[path] + costs[path]
            costs[to] = np.inf
            flips[to] = flips[path] | bit
    return paths


@njit(cache=True, error_model="numpy")
def _unknown(level, paths, size, ratios, row_of, rows, metrics, bits, work):
    """A subtree of which nothing is known: hard decisions, and for a list the likeliest flips of the least sure bits."""
    costs, flips, order, ranked, spare, sums, seen, _ = work
    length = 1 << level
    if size > 1:
        most = min(size - 1, length, MOST_FLIPS)
        seen[:] = 0
        for path in range(paths):
            own = row_of[path]
            flips[path] = 0
            if seen[own] == 0:
                part = ratios[own, length : 2 * length]
                _least_sure(part, length, most, order[own])
                total = 0.0
                for i in range(length):
                    total += _soft(abs(part[i]))
                sums[own] = total
                seen[own] = 1
            metrics[path] += sums[own]
        for j in range(most):
            for path in range(paths):
                own = row_of[path]
                costs[path] = abs(ratios[own, length + order[own, j]])
            paths = _split(paths, size, metrics, costs, rows, flips, 1 << j, ranked, spare)
    for path in range(paths):
        own = row_of[path]
        source, out = ratios[own, length : 2 * length], bits[path, length : 2 * length]
        for i in range(length):
            out[i] = source[i] < _ZERO
        if size > 1:
            mask, j = flips[path], 0
            while mask:
                if mask & 1:
                    out[order[own, j]] ^= 1
                mask >>= 1
                j += 1
    return paths


@njit(cache=True, error_model="numpy")
def _distinct(row_of, paths, path):
    """The first path that shares the row of a path."""
    own = row_of[path]
    for k in range(path):
        if row_of[k] == own:
            return k
    return path


@njit(cache=True, error_model="numpy")
def _walk(steps, first, last, paths, size, ratios, left, right, rows, metrics, work):
    """One plane: from the ratios of its top level to its bits in `left`, same level. Returns the number of paths.

    rows: row numbers of each path, of `ratios` by level (rows 0 .. 15) and of `left` by level (16 .. 31).
    """
    lanes, sums = work[7], work[5]
    for k in range(first, last):
        operation, level, side = steps[k, 0], steps[k, 1], steps[k, 2]
        half = 1 << level >> 1
        above, here = rows[level], rows[level - 1]
        if operation == FORK:
            for path in range(paths):
                same = _distinct(above, paths, path) if size > 1 else path
                if same == path:
                    _fork(ratios[above[path], 2 * half : 4 * half], half, ratios[path, half : 2 * half])
            for path in range(paths):
                here[path] = _distinct(above, paths, path)
        elif operation == REMAINDER:
            if size > 1:
                for path in range(paths):
                    same = _distinct(above, paths, path)
                    if same == path:
                        sums[path] = _cost_remainder(ratios[above[path], 2 * half : 4 * half], half, lanes)
                    metrics[path] += sums[same]
        elif operation == FORK_RIGHT:
            for path in range(paths):
                _fork_right(
                    ratios[above[path], 2 * half : 4 * half], left[rows[16 + level - 1, path], half : 2 * half], half,
                    ratios[path, half : 2 * half],
                )  # fmt: skip
            for path in range(paths):
                here[path] = path
        elif operation == FORK_SHIFTED:
            for path in range(paths):
                if _distinct(above, paths, path) == path:
                    _fork_shifted(ratios[above[path], 2 * half : 4 * half], half, ratios[path, half : 2 * half])
            for path in range(paths):
                here[path] = _distinct(above, paths, path)
        elif operation == KNOWN:
            full = 2 * half if level > 0 else 1
            out = left if side == LEFT else right
            for path in range(paths):
                out[path, full : 2 * full] = 0
                if size > 1:
                    same = _distinct(above, paths, path)
                    if same == path:
                        sums[path] = _cost_known(ratios[above[path], full : 2 * full], full, lanes)
                    metrics[path] += sums[same]
            if side == LEFT:
                for path in range(paths):
                    rows[16 + level, path] = path
        elif operation == UNKNOWN:
            paths = _unknown(level, paths, size, ratios, above, rows, metrics, left if side == LEFT else right, work)
            if side == LEFT:
                for path in range(paths):
                    rows[16 + level, path] = path
        else:
            out = left if side == LEFT else right
            for path in range(paths):
                a, b = out[path, 2 * half : 3 * half], out[path, 3 * half : 4 * half]
                second = right[path, half : 2 * half]
                if operation == JOIN:
                    first_half = left[rows[16 + level - 1, path], half : 2 * half]
                    for i in range(half):
                        a[i] = first_half[i] ^ second[i]
                else:
                    for i in range(half):
                        a[i] = second[i]
                for i in range(half):
                    b[i] = second[i]
            if side == LEFT:
                for path in range(paths):
                    rows[16 + level, path] = path
    return paths


@njit(cache=True, error_model="numpy")
def _enter(trees, count, plane, paths, low, low_rows, shift, ratios, rows, level):
    """Top-level ratios of each path, given its lower planes."""
    n = 1 << level
    for path in range(paths):
        out = ratios[path, n : 2 * n]
        own = low[low_rows[path]]
        for i in range(count):
            value = trees[i, (1 << plane) + own[i]]
            out[i] = -value if shift[i] else value
        for i in range(count, n):
            out[i] = CERTAIN
        rows[level, path] = path


@njit(cache=True, error_model="numpy")
def decode(trees, count, level, steps, edges, shifts, size, space, values, metrics):
    """Up to `size` paths, in no order; returns how many. values uint8[size, n]: bit c of values[path, i] is sample i's bit in plane c.

    trees float32[count, 2^C]; steps of plane c: edges[c] .. edges[c+1]; shifts uint8[C, n] of `coset_shift`; space: `workspace`.
    """
    ratios, left, right, rows, other, work = space
    planes, n = edges.shape[0] - 1, 1 << level
    paths = 1
    metrics[0] = 0.0
    rows[:] = 0
    values[0, :n] = 0
    for c in range(planes):
        for path in range(paths):
            rows[32, path] = path
        _enter(trees, count, c, paths, values, rows[32], shifts[c], ratios, rows, level)
        paths = _walk(steps, edges[c], edges[c + 1], paths, size, ratios, left, right, rows, metrics, work)
        for path in range(paths):
            found = left[rows[16 + level, path], n : 2 * n]
            before, after = values[rows[32, path]], other[path]
            for i in range(n):
                after[i] = before[i] | ((found[i] ^ shifts[c, i]) << c)
        for path in range(paths):
            values[path, :n] = other[path, :n]
    return paths


def workspace(size: int, level: int) -> tuple[np.ndarray, ...]:
    """For lists up to `size` (at most 32) and blocks up to 2^level."""
    n = 1 << level
    work = (
        np.empty(size), np.empty(size, np.int64), np.empty((size, size), np.int64), np.empty(2 * size), np.empty(size, np.int64),
        np.empty(size), np.empty(size, np.int64), np.empty(_LANES, np.float32),
    )
    return (
        np.empty((size, 2 * n), np.float32), np.empty((size, 2 * n), np.uint8), np.empty((size, 2 * n), np.uint8),
        np.zeros((33, size), np.int64), np.empty((size, n), np.uint8), work,
    )
