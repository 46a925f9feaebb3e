"""Successive-cancellation list decoding of polar-coded bit planes: which bits lie behind the transformed bits that were sent.

One call decodes the planes of one block, first plane first, with one list carried through all of them. What is known of a sample is a table,
so any density can feed it: `trees[2^c + w, i]` is the log likelihood ratio ln P(0)/P(1) of sample i's bit in plane c given its bits in the planes
below, w = sum of bit[k] 2^k over k < c (row 0 is not read; `llr_trees` makes them from the masses of the 2^C values). A plane's sent bits are moved
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

from typing import Any

import numpy as np
from numba import njit

from edge_wz.decoders import single

FORK, FORK_RIGHT, FORK_SHIFTED, REMAINDER, KNOWN, UNKNOWN, JOIN, JOIN_SHIFTED = range(8)  # those from KNOWN on end with bits
LEFT, RIGHT = 0, 1
CERTAIN = np.float32(60.0)  # ratio of a bit that is known
_C0, _C1, _C2 = np.float32(1.44269504), np.float32(1.04068449), np.float32(0.490524054)
_C3, _C4, _C5, _C6 = np.float32(0.166164516), np.float32(0.0422432475), np.float32(0.00290334), np.float32(0.004353)
_FAR = np.float32(24.0)
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
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
def llr_trees(trees, count):
    """In place: from the masses of the 2^C values of the bits of each sample, lowest bit = first plane, to `trees`.

    Where both are zero, the ratio does not matter."""
    size = trees.shape[0]
    while size > 1:
        half = size >> 1
        for w in range(half):
            zeros, ones = trees[w], trees[w + half]
            for i in range(count):
                zero, one = zeros[i], ones[i]
                ones[i] = min(max(single.ln(zero / one), -CERTAIN), CERTAIN)
                zeros[i] = zero + one
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
def _fork(ratios, source, out, size):
    """The ratios of the sums of the two halves; all numbers unsigned, as signed ones would be tested for each access."""
    for i in range(size):
        ratios[out + i] = _check(ratios[source + i], ratios[source + size + i])


@njit(cache=True, error_model="numpy")
def _fork_right(ratios, source, bits, at, out, size):
    """The ratios of the second half once the sums are known."""
    for i in range(size):
        a, b = ratios[source + i], ratios[source + size + i]
        ratios[out + i] = b - a if bits[at + i] else b + a


@njit(cache=True, error_model="numpy")
def _fork_shifted(ratios, source, out, size):
    """The same for sums that are zero."""
    for i in range(size):
        ratios[out + i] = ratios[source + i] + ratios[source + size + i]


@njit(cache=True, error_model="numpy")
def cost(ratio):
    """-ln P(0)."""
    return max(_ZERO, -ratio) + _soft(abs(ratio))


@njit(cache=True, error_model="numpy")
def _cost_known(ratios, source, size, scratch):
    """-ln P(all bits zero)."""
    for i in range(size):
        scratch[i] = cost(ratios[source + i])
    return _sum(scratch, size)


@njit(cache=True, error_model="numpy")
def _cost_remainder(ratios, source, size, scratch):
    """The same for the sums of the two halves of 2 * size ratios."""
    for i in range(size):
        scratch[i] = cost(_check(ratios[source + i], ratios[source + size + i]))
    return _sum(scratch, size)


@njit(cache=True, error_model="numpy")
def _cost_unknown(ratios, source, size, scratch):
    """-ln P(hard decisions)."""
    for i in range(size):
        scratch[i] = _soft(abs(ratios[source + i]))
    return _sum(scratch, size)


@njit(cache=True, error_model="numpy")
def _sum(scratch, size):
    """In four strands, as one would wait for each addition; `scratch` has room for three more."""
    for i in range(size, size + np.uint64(3)):
        scratch[i] = _ZERO
    a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
    for i in range(np.uint64(0), size, np.uint64(4)):
        a += scratch[i]
        b += scratch[i + np.uint64(1)]
        c += scratch[i + np.uint64(2)]
        d += scratch[i + np.uint64(3)]
    return (a + b) + (c + d)


@njit(cache=True, error_model="numpy")
def _least_sure(ratios, source, size, most, order):
    """Positions of the `most` smallest |ratio|, rising."""
    found, worst = 0, _ZERO
    for i in range(size):
        value = abs(ratios[source + i])
        if found == most:
            if value >= worst:
                continue
            found -= 1
        j = found
        while j > 0 and abs(ratios[source + order[j - 1]]) > value:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
        found += 1
        worst = abs(ratios[source + order[found - 1]])


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
def _unknown(level, paths, size, ratios, width, row_of, rows, metrics, bits, work):
    """A subtree of which nothing is known: hard decisions, and for a list the likeliest flips of the least sure bits."""
    costs, flips, order, ranked, spare, sums, owners, scratch = work
    length = np.uint64(1) << np.uint64(level)
    if size > 1:
        most = min(size - 1, 1 << level, MOST_FLIPS)
        _owners(row_of, paths, owners)
        for l in range(paths):
            own = row_of[l]
            flips[l] = 0
            if owners[own] == l:
                source = np.uint64(own) * width + length
                _least_sure(ratios, source, length, most, order[own])
                sums[own] = _cost_unknown(ratios, source, length, scratch)
            metrics[l] += sums[own]
        for j in range(most):
            if j > 0 and paths == size and not _worth_it(paths, metrics, ratios, width, length, row_of, order, j):
                break
            for l in range(paths):
                own = row_of[l]
                costs[l] = abs(ratios[np.uint64(own) * width + length + order[own, j]])
            paths = _split(paths, size, metrics, costs, rows, flips, 1 << j, ranked, spare)
    for l in range(paths):
        own = row_of[l]
        source, out = np.uint64(own) * width + length, np.uint64(l) * width + length
        for i in range(length):
            bits[out + i] = ratios[source + i] < _ZERO
        if size > 1:
            mask, j = flips[l], 0
            while mask:
                if mask & 1:
                    bits[out + order[own, j]] ^= np.uint8(1)
                mask >>= 1
                j += 1
    return paths


@njit(cache=True, error_model="numpy")
def _worth_it(paths, metrics, ratios, width, length, row_of, order, j):
    """Whether any flip of the bit of rank j could still enter a full list; later bits cost more, so none could then."""
    worst, best = metrics[0], np.inf
    for l in range(paths):
        own = row_of[l]
        worst = max(worst, metrics[l])
        best = min(best, metrics[l] + abs(ratios[np.uint64(own) * width + length + order[own, j]]))
    return best < worst


@njit(cache=True, error_model="numpy")
def _owners(row_of, paths, owners):
    """owners[row]: the first path of those that share it."""
    for l in range(paths - 1, -1, -1):
        owners[row_of[l]] = l


@njit(cache=True, error_model="numpy")
def _walk(steps, first, last, paths, size, ratios, left, right, width, rows, metrics, work):
    """One plane: from the ratios of its top level to its bits in `left`, same level. Returns the number of paths.

    Row l of `ratios`, `left`, `right` begins at l * width, level k of it 2^k further. rows: the row of each path, of `ratios` by level (rows 0 .. 15)
    and of `left` by level (16 .. 31).
    """
    sums, owners, scratch = work[5], work[6], work[7]
    for k in range(first, last):
        operation, level, side = steps[k, 0], steps[k, 1], steps[k, 2]
        full = np.uint64(1) << np.uint64(level)
        half = full >> np.uint64(1)
        above = rows[level]
        if operation in (FORK, FORK_SHIFTED):
            here = rows[level - 1]
            _owners(above, paths, owners)
            for l in range(paths):
                owner = owners[above[l]]
                here[l] = owner
                if owner == l:
                    source, out = np.uint64(above[l]) * width + full, np.uint64(l) * width + half
                    if operation == FORK:
                        _fork(ratios, source, out, half)
                    else:
                        _fork_shifted(ratios, source, out, half)
        elif operation == FORK_RIGHT:
            here, bits_of = rows[level - 1], rows[16 + level - 1]
            for l in range(paths):
                source, at = np.uint64(above[l]) * width + full, np.uint64(bits_of[l]) * width + half
                _fork_right(ratios, source, left, at, np.uint64(l) * width + half, half)
                here[l] = l
        elif operation == REMAINDER:
            if size > 1:
                _owners(above, paths, owners)
                for l in range(paths):
                    own = above[l]
                    if owners[own] == l:
                        sums[own] = _cost_remainder(ratios, np.uint64(own) * width + full, half, scratch)
                    metrics[l] += sums[own]
        elif operation == UNKNOWN:
            paths = _unknown(level, paths, size, ratios, width, above, rows, metrics, left if side == LEFT else right, work)
        elif operation == KNOWN:
            out = left if side == LEFT else right
            if size > 1:
                _owners(above, paths, owners)
            for l in range(paths):
                own = above[l]
                at = np.uint64(l) * width + full
                for i in range(full):
                    out[at + i] = 0
                if size > 1:
                    if owners[own] == l:
                        sums[own] = _cost_known(ratios, np.uint64(own) * width + full, full, scratch)
                    metrics[l] += sums[own]
        else:
            out, bits_of = left if side == LEFT else right, rows[16 + level - 1]
            for l in range(paths):
                at, second = np.uint64(l) * width + full, np.uint64(l) * width + half
                if operation == JOIN:
                    known = np.uint64(bits_of[l]) * width + half
                    for i in range(half):
                        out[at + i] = left[known + i] ^ right[second + i]
                else:
                    for i in range(half):
                        out[at + i] = right[second + i]
                for i in range(half):
                    out[at + half + i] = right[second + i]
        if side == LEFT and operation >= KNOWN:
            bits_of = rows[16 + level]
            for l in range(paths):
                bits_of[l] = l
    return paths


@njit(cache=True, error_model="numpy")
def _join(out, at, left, known, right, second, half, shifted):
    """The bits of a subtree from those of its halves."""
    if shifted:
        for i in range(half):
            out[at + i] = right[second + i]
    else:
        for i in range(half):
            out[at + i] = left[known + i] ^ right[second + i]
    for i in range(half):
        out[at + half + i] = right[second + i]


@njit(cache=True, error_model="numpy")
def _walk_alone(steps, first, last, ratios, left, right):
    """`_walk` of a single path: no metrics, no rows."""
    for k in range(first, last):
        operation, side = steps[k, 0], steps[k, 2]
        full = np.uint64(1) << np.uint64(steps[k, 1])
        half = full >> np.uint64(1)
        if operation == FORK:
            _fork(ratios, full, half, half)
        elif operation == FORK_RIGHT:
            _fork_right(ratios, full, left, half, half, half)
        elif operation == FORK_SHIFTED:
            _fork_shifted(ratios, full, half, half)
        elif operation == UNKNOWN:
            out = left if side == LEFT else right
            for i in range(full, full + full):
                out[i] = ratios[i] < _ZERO
        elif operation == KNOWN:
            out = left if side == LEFT else right
            for i in range(full, full + full):
                out[i] = 0
        elif operation != REMAINDER:
            _join(left if side == LEFT else right, full, left, half, right, half, half, operation == JOIN_SHIFTED)


@njit(cache=True, error_model="numpy")
def _enter(trees, count, plane, paths, low, low_rows, shift, ratios, width, rows, level):
    """Top-level ratios of each path, given its lower planes."""
    n = np.uint64(1) << np.uint64(level)
    for l in range(paths):
        at = np.uint64(l) * width + n
        own = low[low_rows[l]]
        for i in range(count):
            value = trees[(1 << plane) + own[i], i]
            ratios[at + np.uint64(i)] = -value if shift[i] else value
        for i in range(np.uint64(count), n):
            ratios[at + i] = CERTAIN
        rows[level, l] = l


@njit(cache=True, error_model="numpy")
def decode(trees, count, level, steps, edges, shifts, size, space, values, metrics):
    """Up to `size` paths, in no order; returns how many. values uint8[size, n]: bit c of values[l, i] is sample i's bit in plane c.

    trees float32[2^C, count]; steps of plane c: edges[c] .. edges[c+1]; shifts uint8[C, n], see above; space: `workspace`.
    """
    ratios, left, right, rows, other, work = space
    planes, n = edges.shape[0] - 1, 1 << level
    width = np.uint64(2 * n)
    paths = 1
    metrics[0] = 0.0
    rows[:] = 0
    values[0, :n] = 0
    for c in range(planes):
        for l in range(paths):
            rows[32, l] = l
        _enter(trees, count, c, paths, values, rows[32], shifts[c], ratios, width, rows, level)
        if size == 1:
            _walk_alone(steps, edges[c], edges[c + 1], ratios, left, right)
        else:
            paths = _walk(steps, edges[c], edges[c + 1], paths, size, ratios, left, right, width, rows, metrics, work)
        for l in range(paths):
            at = rows[16 + level, l] * 2 * n + n
            found, before, after, shift = left[at : at + n], values[rows[32, l]], other[l], shifts[c]
            for i in range(n):
                after[i] = before[i] | ((found[i] ^ shift[i]) << c)
        for l in range(paths):
            values[l, :n] = other[l, :n]
    return paths


def workspace(size: int, level: int) -> tuple[Any, ...]:
    """For lists up to `size` and blocks up to 2^level."""
    n = 1 << level
    work = (
        np.empty(size), np.empty(size, np.int64), np.empty((size, min(size, MOST_FLIPS)), np.uint64), np.empty(2 * size),
        np.empty(size, np.int64), np.empty(size), np.empty(size, np.int64), np.empty(n + 3, np.float32),
    )  # fmt: skip
    return (
        np.empty(size * 2 * n, np.float32), np.empty(size * 2 * n, np.uint8), np.empty(size * 2 * n, np.uint8),
        np.zeros((33, size), np.int64), np.empty((size, n), np.uint8), work,
    )  # fmt: skip
