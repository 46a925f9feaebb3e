"""The learned decoder of `layered` apart from torch: its weights, the same arithmetic in numpy, and the ONNX graph.

Inputs: y float32[N] and sigma float32[N], the gateway's belief in codes; symbols int64[N, layers], of which column k counts from
layer k on, so that any numbers may stand for layers that are missing. Output: x_hat float32[N, layers] in codes, column k after
k + 1 layers. The recurrent cells are written in plain operators (recurrent operators export wrongly and silently in places).
Reference: `training.layered_network`, which this must agree with; tests compare all three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.onnx_graph import Graph

LEAST_SIGMA = 1e-6  # normal units


@dataclass(frozen=True, eq=False)
class LayeredDecoder:
    """`weights`: float32 by name as in the network ("stack.enter.weight", ..., "head.bias"). Normal = (code - mean) * lsb."""

    alphabets: tuple[int, ...]
    periods: tuple[float, ...]
    lsb: float
    mean: float
    slope: float
    weights: Mapping[str, np.ndarray]

    def decode(self, y: np.ndarray, sigma: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """float64[N, layers], codes."""
        normal = (np.asarray(y, np.float64) - self.mean) * self.lsb
        spread = np.maximum(np.asarray(sigma, np.float64) * self.lsb, LEAST_SIGMA)
        side = self._side(normal, spread)
        low = high = None
        found = []
        for layer, alphabet in enumerate(self.alphabets):
            hot = (symbols[:, layer, None] == np.arange(max(self.alphabets))) & (np.arange(max(self.alphabets)) < alphabet)
            low = self._cell(np.column_stack([side, hot]), low, "enter", "keep")
            high = self._cell(low, high, "rise", "hold")
            found.append((high @ self.weights["head.weight"].T + self.weights["head.bias"])[:, 0])
        out = np.stack(found, axis=1)
        rebuilt = normal[:, None] + spread[:, None] * out if self.periods else out
        return np.asarray(rebuilt / self.lsb + self.mean)

    def _side(self, normal: np.ndarray, spread: np.ndarray) -> np.ndarray:
        if not self.periods:
            return normal[:, None]
        phases = [normal * (2 * math.pi / period) for period in self.periods]
        return np.column_stack([normal, np.log(spread), *(wave(phase) for phase in phases for wave in (np.sin, np.cos))])

    def _cell(self, inputs: np.ndarray, state: np.ndarray | None, through: str, kept: str) -> np.ndarray:
        total = inputs @ self.weights[f"stack.{through}.weight"].T + self.weights[f"stack.{through}.bias"]
        if state is not None:
            total = total + state @ self.weights[f"stack.{kept}.weight"].T
        return np.asarray(np.where(total > 0, total, self.slope * total))


def to_onnx(decoder: LayeredDecoder) -> Any:
    """The ModelProto."""
    graph = Graph()
    real, whole = graph.proto.FLOAT, graph.proto.INT64
    normal = graph.add("Mul", graph.add("Sub", "y", graph.real(decoder.mean)), graph.real(decoder.lsb))
    spread = graph.add("Max", graph.add("Mul", "sigma", graph.real(decoder.lsb)), graph.real(LEAST_SIGMA))
    normal, spread = (graph.add("Unsqueeze", name, graph.shape(1)) for name in (normal, spread))
    side = _side(graph, decoder, normal, spread)
    columns = graph.constant(np.arange(max(decoder.alphabets), dtype=np.int64)[None, :])
    low = high = ""
    found = []
    for layer, alphabet in enumerate(decoder.alphabets):
        symbol = graph.add("Gather", "symbols", graph.shape(layer), axis=1)
        hot = graph.add("Cast", graph.add("Equal", symbol, columns), to=real)
        mask = (np.arange(max(decoder.alphabets)) < alphabet).astype(np.float32)[None, :]
        hot = graph.add("Mul", hot, graph.constant(mask))
        low = _cell(graph, decoder, graph.add("Concat", side, hot, axis=1), low, "enter", "keep")
        high = _cell(graph, decoder, low, high, "rise", "hold")
        found.append(_linear(graph, decoder, high, "head"))
    out = graph.add("Concat", *found, axis=1)
    if decoder.periods:
        out = graph.add("Add", normal, graph.add("Mul", spread, out))
    graph.add("Add", graph.add("Div", out, graph.real(decoder.lsb)), graph.real(decoder.mean), output="x_hat")
    layers = len(decoder.alphabets)
    inputs: list[tuple[str, int, list[Any]]] = [("y", real, ["N"]), ("sigma", real, ["N"]), ("symbols", whole, ["N", layers])]
    return graph.model("layered_decoder", inputs, [("x_hat", real, ["N", layers])])


def _side(graph: Graph, decoder: LayeredDecoder, normal: str, spread: str) -> str:
    if not decoder.periods:
        return normal
    columns = [normal, graph.add("Log", spread)]
    for period in decoder.periods:
        phase = graph.add("Mul", normal, graph.real(2 * math.pi / period))
        columns += [graph.add("Sin", phase), graph.add("Cos", phase)]
    return graph.add("Concat", *columns, axis=1)


def _cell(graph: Graph, decoder: LayeredDecoder, inputs: str, state: str, through: str, kept: str) -> str:
    total = _linear(graph, decoder, inputs, f"stack.{through}")
    if state:
        total = graph.add("Add", total, graph.add("MatMul", state, _matrix(graph, decoder, f"stack.{kept}")))
    return graph.add("LeakyRelu", total, alpha=decoder.slope)


def _linear(graph: Graph, decoder: LayeredDecoder, inputs: str, name: str) -> str:
    product = graph.add("MatMul", inputs, _matrix(graph, decoder, name))
    return graph.add("Add", product, graph.constant(decoder.weights[f"{name}.bias"].astype(np.float32)))


def _matrix(graph: Graph, decoder: LayeredDecoder, name: str) -> str:
    return graph.constant(np.ascontiguousarray(decoder.weights[f"{name}.weight"].T.astype(np.float32)))
