"""The arithmetic of the node in unbounded Python integers, sample by sample, as SPEC 3.1, 3.3 and 4.1 put it.

Slow and independent of the kernels on purpose: `export.verify` holds them against it wherever the package is installed.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_wz.model import NodeModel


def sat16(value: int) -> int:
    return min(max(value, -32768), 32767)


def shift_round(value: int, shift: int) -> int:
    return (value + (1 << shift >> 1)) >> shift


def nested_levels(node: NodeModel, codes: Sequence[int], rate_point: int = 0) -> list[int]:
    """Levels from boot on."""
    point = node.rate_points[rate_point]
    taps = [int(tap) for tap in point.taps]
    rounding, shift = int(point.rounding), int(point.shift)
    window = [0] * len(taps)
    levels = []
    for code in codes:
        window = [code, *window[:-1]]
        acc = rounding + sum(tap * value for tap, value in zip(taps, window, strict=True))
        if not -(1 << 31) <= acc < 1 << 31:
            raise OverflowError("an accumulator leaves 32 bits, which the loader should have refused")
        levels.append(sat16(acc >> shift))
    return levels


def nested_bins(node: NodeModel, levels: Sequence[int], rate_point: int = 0) -> list[int]:
    modulus = int(node.rate_points[rate_point].modulus)
    return [(level + 32768) % modulus for level in levels]


def predictive_levels(node: NodeModel, codes: Sequence[int], rate_point: int = 0) -> tuple[list[int], list[int]]:
    """(levels, reconstructions); the state starts anew in every packet."""
    levels: list[int] = []
    rebuilt: list[int] = []
    for start in range(0, len(codes), node.packet_samples):
        packet_levels, packet_rebuilt = _predictive_packet(node, codes[start : start + node.packet_samples], rate_point)
        levels += packet_levels
        rebuilt += packet_rebuilt
    return levels, rebuilt


def _predictive_packet(node: NodeModel, codes: Sequence[int], rate_point: int) -> tuple[list[int], list[int]]:
    point = node.rate_points[rate_point]
    step, rounding = int(point.step_q8), int(point.rounding_q8)
    levels: list[int] = []
    rebuilt: list[int] = []
    for code in codes:
        depth = min(len(rebuilt), node.order)
        bias, *coefs = (int(value) for value in node.predictors[depth])
        acc = bias + sum(coefs[i] * rebuilt[-1 - i] for i in range(depth))
        prediction = sat16(shift_round(acc, 12))
        difference = code - prediction
        magnitude = (abs(difference) * 256 + rounding) // step
        sign = 1 if difference >= 0 else -1
        levels.append(sign * magnitude)
        rebuilt.append(sat16(prediction + sign * ((magnitude * step + 128) >> 8)))
    return levels, rebuilt
