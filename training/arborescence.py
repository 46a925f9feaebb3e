"""Who uses whom: the cheapest tree of neighbours below a root that stands for "uses nobody", and its depth cut to a bound.

`cheapest` is the algorithm of Chu, Liu and Edmonds: everybody takes the cheapest parent; a cycle is contracted to one
vertex, whose entries cost what they add to the cycle, and solved again. The cheapest tree of bounded depth is a hard
problem; `bounded` repairs the cheapest one instead: each step moves the shallowest vertex that lies too deep, with all
below it, to a parent that is high enough. That vertex and its descendants rise, nobody sinks, so it ends with every
depth in bounds.
Reference: J. Edmonds, "Optimum branchings", 1967.
"""

from __future__ import annotations

import numpy as np

ROOT = 0


def cheapest(costs: np.ndarray) -> np.ndarray:
    """parent[v] for v >= 1, parent[0] = 0. costs[u, v]: of u as the parent of v, inf where it cannot be; 0 is the root."""
    size = len(costs)
    prices = np.array(costs, dtype=np.float64)
    np.fill_diagonal(prices, np.inf)
    prices[:, ROOT] = np.inf
    parent = prices.argmin(axis=0)
    parent[ROOT] = ROOT
    cycle = _cycle(parent)
    if not cycle:
        return parent
    inside = np.zeros(size, bool)
    inside[cycle] = True
    outside = np.flatnonzero(~inside)
    entries = prices[:, cycle] - prices[parent[cycle], cycle]  # what it costs more to enter the cycle at this vertex
    small = np.full((len(outside) + 1, len(outside) + 1), np.inf)
    small[:-1, :-1] = prices[np.ix_(outside, outside)]
    small[:-1, -1] = entries[outside].min(axis=1)
    small[-1, :-1] = prices[cycle][:, outside].min(axis=0)
    return _expanded(cheapest(small), parent, prices, entries, cycle, outside)


def _expanded(
    small: np.ndarray, parent: np.ndarray, prices: np.ndarray, entries: np.ndarray, cycle: list[int], outside: np.ndarray
) -> np.ndarray:
    """The tree of the contracted graph with its last vertex unfolded into the cycle."""
    out = parent.copy()
    for at, vertex in enumerate(outside.tolist()):
        if vertex == ROOT:
            continue
        within = small[at] == len(outside)
        out[vertex] = cycle[int(prices[cycle, vertex].argmin())] if within else outside[small[at]]
    above = int(outside[small[len(outside)]])
    out[cycle[int(entries[above].argmin())]] = above
    return out


def _cycle(parent: np.ndarray) -> list[int]:
    """The vertices of one cycle, none if the parents make a tree."""
    seen = np.zeros(len(parent), np.int64)  # the walk that came by
    for start in range(1, len(parent)):
        vertex = start
        while vertex != ROOT and not seen[vertex]:
            seen[vertex] = start
            vertex = int(parent[vertex])
        if vertex != ROOT and seen[vertex] == start:
            first, found = vertex, [vertex]
            while (vertex := int(parent[vertex])) != first:
                found.append(vertex)
            return found
    return []


def depths(parent: np.ndarray) -> np.ndarray:
    """Of each vertex: 0 for the root, 1 for who uses nobody, ..."""
    out = np.zeros(len(parent), np.int64)
    for vertex in range(1, len(parent)):
        above = vertex
        while above != ROOT:
            out[vertex] += 1
            above = int(parent[above])
    return out


def bounded(costs: np.ndarray, parent: np.ndarray, max_depth: int) -> np.ndarray:
    """The tree with no vertex below `max_depth` (at least 1; the root's own children have depth 1)."""
    out = np.array(parent)
    while (depth := depths(out)).max() > max_depth:
        low = np.flatnonzero(depth == max_depth + 1)
        high = np.flatnonzero(depth < max_depth)
        extra = costs[np.ix_(high, low)] - costs[out[low], low]
        row, column = np.unravel_index(int(extra.argmin()), extra.shape)
        out[low[column]] = high[row]
    return out


def total(costs: np.ndarray, parent: np.ndarray) -> float:
    return float(sum(costs[parent[vertex], vertex] for vertex in range(1, len(parent))))
