"""Successive-cancellation list decoding of polar-coded bit planes: which bits lie behind the transformed bits that were sent.

One call decodes the planes of one block, first plane first, with one list carried through all of them. What is known of a sample is a table,
so any density can feed it: `trees[2^c + w, i]` is the log likelihood ratio ln P(0)/P(1) of sample i's bit in plane c given its bits in the planes
below, w = sum of bit[k] 2^k over k < c (row 0 is not read; `polar_ratios.llr_trees` makes them from the masses of the 2^C values). A plane's sent
bits are moved into the signs of its ratios (a coset shift), so that the code proper always has zeros where it is known; samples past `count` are
zero bits of certain ratio (shortening). All paths take each step of the walk (`polar_program`) together: then the arrays of a step are dead for all
paths at once, and a path is a column of row numbers, copied in place of its contents.

Path metrics are -ln P(path | side information), but for the rational function that stands in for ln(1 + exp(-x)); with `size` 1 this is plain
successive cancellation, and no metric is kept.

References: Tal and Vardy, "List decoding of polar codes" (2015); Balatsoukas-Stimming, Parizi, Burg, "LLR-based successive cancellation list
decoding" (2015), (10)-(12); Hashemi, Condo, Gross, "Fast and flexible successive-cancellation list decoders" (2017), III.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from edge_wz.decoders.polar_program import (
    FORK,
    FORK_RIGHT,
    FORK_SHIFTED,
    JOIN_SHIFTED,
    KNOWN,
    LEFT,
    PARITY,
    REMAINDER,
    REPEATED,
    UNKNOWN,
)
from edge_wz.decoders.polar_ratios import (
    CERTAIN,
    ZERO,
    cost_known,
    cost_remainder,
    cost_unknown,
    decide,
    fill,
    fork,
    fork_right,
    fork_shifted,
    join,
    least_sure,
    total,
)

MOST_FLIPS = 31  # in an unknown subtree: the bits of a mask
UNLIMITED = np.float32(np.inf)
# Rows of the table of integers by path: the row of ratios by level, of bits by level, the path of the plane before, and work space
ROWS_OF_BITS, PATH_BEFORE, OWNER, FLIPS, SPARE, FOUND, ROWS = 16, 32, 33, 34, 35, 36, 37
# and of the table of numbers, the last two as one
COSTS, SUMS, TOTALS, RANKED, NUMBERS = 0, 1, 2, 3, 5


@njit(cache=True, error_model="numpy")
def _find_owners(level, paths, rows):
    """rows[OWNER, row]: the first of the paths that share a row of ratios of this level."""
    for l in range(paths - 1, -1, -1):
        rows[OWNER, rows[level, l]] = l


@njit(cache=True, error_model="numpy")
def _sort_least(ratios, source, size, most, bar, order, row):
    """Positions of the smallest |ratio|, rising, at most so many and none from `bar` on, into a row of `order`; their number."""
    found, worst = 0, bar
    for i in range(size):
        value = abs(ratios[source + i])
        if value >= worst:
            continue
        j = min(found, most - 1)
        while j > 0 and abs(ratios[source + order[row, j - 1]]) > value:
            order[row, j] = order[row, j - 1]
            j -= 1
        order[row, j] = i
        found = min(found + 1, most)
        if found == most:
            worst = abs(ratios[source + order[row, most - 1]])
    return found


@njit(cache=True, error_model="numpy")
def _split(paths, size, metrics, rows, numbers, flip):
    """Each of `paths` may take the branch of metric + cost besides its own; the best `size` stay. Returns how many there are then.

    A newcomer takes the column of its origin, in the place of one that went.
    """
    best, worst = metrics[0] + numbers[COSTS, 0], metrics[0]
    for path in range(1, paths):
        best = min(best, metrics[path] + numbers[COSTS, path])
        worst = max(worst, metrics[path])
    if paths == size and best >= worst:
        return paths
    bar = np.inf
    if 2 * paths > size:
        bar = _bar(paths, size, metrics, numbers)
    free, room = 0, size - paths
    for path in range(paths):
        if metrics[path] > bar:
            rows[SPARE, free] = path
            free += 1
    places, taken, before = free + room, 0, paths
    for path in range(before):
        if metrics[path] <= bar and metrics[path] + numbers[COSTS, path] <= bar and taken < places:
            if taken < free:
                to = rows[SPARE, taken]
            else:
                to = paths
                paths += 1
            taken += 1
            for k in range(PATH_BEFORE + 1):
                rows[k, to] = rows[k, path]
            rows[FLIPS, to] = rows[FLIPS, path] ^ flip
            metrics[to] = metrics[path] + numbers[COSTS, path]
            numbers[COSTS, to] = np.inf
    return paths


@njit(cache=True, error_model="numpy")
def _bar(paths, size, metrics, numbers):
    """The metric of rank `size` among those of the paths and of their branches."""
    ranked = numbers[RANKED:].reshape(-1)
    for path in range(paths):
        ranked[path], ranked[paths + path] = metrics[path], metrics[path] + numbers[COSTS, path]
    for i in range(1, 2 * paths):
        value = ranked[i]
        j = i
        while j > 0 and ranked[j - 1] > value:
            ranked[j] = ranked[j - 1]
            j -= 1
        ranked[j] = value
    return ranked[size - 1]


@njit(cache=True, error_model="numpy")
def _decide_all(level, parity, paths, size, ratios, width, base, rows, metrics, bits, numbers, order, scratch):
    """Hard decisions of a subtree of which nothing is known, and its least sure bits; how many of these could enter the list at most.

    No bit can whose ratio is larger than what parts the best path from the worst of a full list."""
    length, most, least = np.uint64(1) << np.uint64(level), 0, ZERO
    limit = min(size - 1 + parity, 1 << level, MOST_FLIPS)
    bar = np.float32(np.max(metrics[:paths]) - np.min(metrics[:paths])) if paths == size else UNLIMITED
    _find_owners(level, paths, rows)
    for l in range(paths):
        own = rows[level, l]
        source = np.uint64(own) * width + length
        if rows[OWNER, own] == l:
            if parity:
                order[own, 0] = least_sure(ratios, source, length)
                least = abs(ratios[source + order[own, 0]])
            rows[FOUND, own] = max(_sort_least(ratios, source, length, limit, bar + least + least, order, own), parity)
            numbers[SUMS, own] = cost_unknown(ratios, source, length, scratch)
        most = max(most, rows[FOUND, own])
    for l in range(paths):
        own = rows[level, l]
        odd = decide(ratios, np.uint64(own) * width + length, bits, base + np.uint64(l) * width + length, length)
        metrics[l] += numbers[SUMS, own]
        rows[FLIPS, l] = 0
        if parity and odd:
            metrics[l] += abs(ratios[np.uint64(own) * width + length + order[own, 0]])
            rows[FLIPS, l] = 1
    return most


@njit(cache=True, error_model="numpy")
def _unknown(level, parity, paths, size, ratios, width, base, rows, metrics, bits, numbers, order, scratch):
    """A subtree of which nothing is known, or (`parity` 1) that its bits sum to zero: hard decisions, and the likeliest flips of the least sure.

    With parity the least sure bit makes up for an odd sum, at first and after each flip of another one, whose cost then has its own in it."""
    length = np.uint64(1) << np.uint64(level)
    most = _decide_all(level, parity, paths, size, ratios, width, base, rows, metrics, bits, numbers, order, scratch)
    changed = False
    for j in range(parity, most):
        best = np.inf
        for l in range(paths):
            own = rows[level, l]
            source = np.uint64(own) * width + length
            numbers[COSTS, l] = np.inf
            if j < rows[FOUND, own]:
                least = abs(ratios[source + order[own, 0]]) if parity else ZERO
                cost = abs(ratios[source + order[own, j]])
                best = min(best, metrics[l] + cost - least)
                numbers[COSTS, l] = cost - least if rows[FLIPS, l] & 1 else cost + least
        if paths == size and best >= np.max(metrics[:paths]):  # nor could any later flip enter: they cost more
            break
        paths = _split(paths, size, metrics, rows, numbers, (1 << j) | parity)
        changed = True
    for l in range(paths):
        own, out = rows[level, l], base + np.uint64(l) * width + length
        if changed:
            decide(ratios, np.uint64(own) * width + length, bits, out, length)
        mask, j = rows[FLIPS, l], 0
        while mask:
            if mask & 1:
                bits[out + order[own, j]] ^= np.uint8(1)
            mask >>= 1
            j += 1
    return paths


@njit(cache=True, error_model="numpy")
def _repeated(level, paths, size, ratios, width, base, rows, metrics, bits, numbers, scratch):
    """A subtree whose bits are all equal: one decision."""
    length = np.uint64(1) << np.uint64(level)
    _find_owners(level, paths, rows)
    for l in range(paths):
        own = rows[level, l]
        if rows[OWNER, own] == l:
            source = np.uint64(own) * width + length
            numbers[TOTALS, own] = total(ratios, source, length)
            numbers[SUMS, own] = cost_known(ratios, source, length, scratch) + min(numbers[TOTALS, own], 0.0)
        metrics[l] += numbers[SUMS, own]
        numbers[COSTS, l], rows[FLIPS, l] = abs(numbers[TOTALS, own]), numbers[TOTALS, own] < 0.0
    paths = _split(paths, size, metrics, rows, numbers, 1)
    for l in range(paths):
        fill(bits, base + np.uint64(l) * width + length, length, rows[FLIPS, l])
    return paths


@njit(cache=True, error_model="numpy")
def _charge(operation, level, paths, ratios, width, rows, metrics, numbers, scratch):
    """The share of the metrics of a subtree of zero bits, or of the left half of one."""
    full = np.uint64(1) << np.uint64(level)
    _find_owners(level, paths, rows)
    for l in range(paths):
        own = rows[level, l]
        if rows[OWNER, own] == l:
            source = np.uint64(own) * width + full
            if operation == KNOWN:
                numbers[SUMS, own] = cost_known(ratios, source, full, scratch)
            else:
                numbers[SUMS, own] = cost_remainder(ratios, source, full >> np.uint64(1), scratch)
        metrics[l] += numbers[SUMS, own]


@njit(cache=True, error_model="numpy")
def _fork_all(operation, level, paths, ratios, bits, width, rows):
    """The ratios of one half, once for all paths that share those of the whole."""
    full = np.uint64(1) << np.uint64(level)
    half = full >> np.uint64(1)
    if operation == FORK_RIGHT:
        for l in range(paths):
            known = np.uint64(rows[ROWS_OF_BITS + level - 1, l]) * width + half
            fork_right(ratios, np.uint64(rows[level, l]) * width + full, bits, known, np.uint64(l) * width + half, half)
            rows[level - 1, l] = l
        return
    _find_owners(level, paths, rows)
    for l in range(paths):
        owner = rows[OWNER, rows[level, l]]
        rows[level - 1, l] = owner
        if owner == l:
            source, out = np.uint64(rows[level, l]) * width + full, np.uint64(l) * width + half
            if operation == FORK:
                fork(ratios, source, out, half)
            else:
                fork_shifted(ratios, source, out, half)


@njit(cache=True, error_model="numpy")
def _walk(steps, first, last, paths, size, ratios, bits, width, rows, metrics, numbers, order, scratch):
    """One plane: from the ratios of its top level to its bits, left side, same level. Returns the number of paths.

    Row l of `ratios` and of the left side of `bits` begins at l * width, of its right side `size` rows further, level k of a row 2^k further.
    """
    for k in range(first, last):
        operation, level, side = steps[k, 0], steps[k, 1], steps[k, 2]
        base = np.uint64(side * size) * width
        full = np.uint64(1) << np.uint64(level)
        if operation <= FORK_SHIFTED:
            _fork_all(operation, level, paths, ratios, bits, width, rows)
        elif operation == REMAINDER:
            _charge(operation, level, paths, ratios, width, rows, metrics, numbers, scratch)
        elif operation in (UNKNOWN, PARITY):
            parity = 1 if operation == PARITY else 0
            paths = _unknown(level, parity, paths, size, ratios, width, base, rows, metrics, bits, numbers, order, scratch)
        elif operation == REPEATED:
            paths = _repeated(level, paths, size, ratios, width, base, rows, metrics, bits, numbers, scratch)
        elif operation == KNOWN:
            _charge(operation, level, paths, ratios, width, rows, metrics, numbers, scratch)
            for l in range(paths):
                fill(bits, base + np.uint64(l) * width + full, full, 0)
        else:
            half = full >> np.uint64(1)
            for l in range(paths):
                known, row = np.uint64(rows[ROWS_OF_BITS + level - 1, l]) * width + half, np.uint64(l) * width
                second = np.uint64(size) * width + row + half
                join(bits, base + row + full, known, second, half, operation == JOIN_SHIFTED)
        if side == LEFT and operation >= KNOWN:
            for l in range(paths):
                rows[ROWS_OF_BITS + level, l] = l
    return paths


@njit(cache=True, error_model="numpy")
def _walk_alone(steps, first, last, ratios, bits, width):
    """`_walk` of a single path: no metrics, no rows."""
    for k in range(first, last):
        operation = steps[k, 0]
        full = np.uint64(1) << np.uint64(steps[k, 1])
        half, out = full >> np.uint64(1), np.uint64(steps[k, 2]) * width + full
        if operation == FORK:
            fork(ratios, full, half, half)
        elif operation == FORK_RIGHT:
            fork_right(ratios, full, bits, half, half, half)
        elif operation == FORK_SHIFTED:
            fork_shifted(ratios, full, half, half)
        elif operation == UNKNOWN:
            decide(ratios, full, bits, out, full)
        elif operation == PARITY:
            if decide(ratios, full, bits, out, full):
                bits[out + least_sure(ratios, full, full)] ^= np.uint8(1)
        elif operation == REPEATED:
            fill(bits, out, full, total(ratios, full, full) < ZERO)
        elif operation == KNOWN:
            fill(bits, out, full, 0)
        elif operation != REMAINDER:
            join(bits, out, half, width + half, half, operation == JOIN_SHIFTED)


@njit(cache=True, error_model="numpy")
def _enter(trees, count, plane, paths, values, shift, ratios, width, rows, level):
    """Top-level ratios of each path, given its lower planes."""
    n = np.uint64(1) << np.uint64(level)
    for l in range(paths):
        at = np.uint64(l) * width + n
        for i in range(count):
            value = trees[(1 << plane) + values[l, i], i]
            ratios[at + np.uint64(i)] = -value if shift[i] else value
        for i in range(np.uint64(count), n):
            ratios[at + i] = CERTAIN
        rows[level, l] = rows[PATH_BEFORE, l] = l


@njit(cache=True, error_model="numpy")
def decode(trees, count, level, steps, edges, shifts, size, space, values, metrics):
    """Up to `size` paths, in no order; returns how many. values uint8[size, n]: bit c of values[l, i] is sample i's bit in plane c.

    trees float32[2^C, count]; steps of plane c: edges[c] .. edges[c+1]; shifts uint8[C, n], see above; space: `workspace`.
    """
    ratios, bits, rows, numbers, order, scratch, other = space
    planes, n = edges.shape[0] - 1, 1 << level
    width = np.uint64(2 * n)
    paths = 1
    metrics[0] = 0.0
    rows[:] = 0
    values[0, :n] = 0
    for c in range(planes):
        _enter(trees, count, c, paths, values, shifts[c], ratios, width, rows, level)
        if size == 1:
            _walk_alone(steps, edges[c], edges[c + 1], ratios, bits, width)
        else:
            paths = _walk(steps, edges[c], edges[c + 1], paths, size, ratios, bits, width, rows, metrics, numbers, order, scratch)
        for l in range(paths):
            at = rows[ROWS_OF_BITS + level, l] * 2 * n + n
            found, before, after, shift = bits[at : at + n], values[rows[PATH_BEFORE, l]], other[l], shifts[c]
            for i in range(n):
                after[i] = before[i] | ((found[i] ^ shift[i]) << c)
        for l in range(paths):
            values[l, :n] = other[l, :n]
    return paths


def workspace(size: int, level: int) -> tuple[Any, ...]:
    """For lists up to `size` and blocks up to 2^level."""
    n = 1 << level
    return (
        np.empty(size * 2 * n, np.float32), np.empty(2 * size * 2 * n, np.uint8), np.zeros((ROWS, size), np.int64), np.empty((NUMBERS, size)),
        np.empty((size, min(size, MOST_FLIPS)), np.uint64), np.empty(n + 3, np.float32), np.empty((size, n), np.uint8),
    )  # fmt: skip
