"""ONNX graphs of the float chain of `nested`: filters, step, modulo, reconstruction.

`encoder`: codes float32[T] -> level, bin (int64[T]).  `decoder`: bin int64[T], side float32[m, T] in sensor units ->
x_hat float32[T] in LSB (rule `nearest`). Graphs are built operator by operator, not traced, so that they are an
implementation of their own to compare torch with. They are for inspection and for float runtimes; bits are decided by
the integers of the node blob alone.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from edge_wz.errors import InputError
from edge_wz.model import Model
from export.nested_chain import Chain

OPSET = 18
IR_VERSION = 9
LEVEL_BIAS = 32768


def require_onnx() -> Any:
    """The package onnx, or one line about how to get it."""
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise InputError("ONNX graphs need the package onnx: pip install 'edge-wz[onnx]'") from None


def members(model: Model) -> dict[str, bytes]:
    """Bundle members of every rate point: encoder.onnx, decoder.onnx, then encoder-1.onnx, ..."""
    graphs = {}
    for index in range(len(model.node.rate_points)):
        chain, suffix = Chain.of(model, index), f"-{index}" if index else ""
        graphs[f"encoder{suffix}.onnx"] = encoder(chain).SerializeToString()
        graphs[f"decoder{suffix}.onnx"] = decoder(chain).SerializeToString()
    return graphs


def encoder(chain: Chain) -> Any:
    graph = Graph()
    real, whole = graph.proto.FLOAT, graph.proto.INT64
    row = graph.add("Reshape", "x", graph.shape(1, 1, -1))
    flat = graph.add("Reshape", graph.convolve(row, chain.gain[None]), graph.shape(-1))
    level = graph.add("Floor", graph.add("Add", flat, graph.real(chain.half)))
    clipped = graph.add("Clip", level, graph.real(-LEVEL_BIAS), graph.real(LEVEL_BIAS - 1))
    graph.add("Cast", clipped, output="level", to=whole)
    biased = graph.add("Add", "level", graph.whole(LEVEL_BIAS))
    graph.add("Mod", biased, graph.whole(chain.modulus), output="bin")
    return graph.model("nested_encoder", [("x", real, ["T"])], [("level", whole, ["T"]), ("bin", whole, ["T"])])


def decoder(chain: Chain) -> Any:
    graph = Graph()
    real, whole = graph.proto.FLOAT, graph.proto.INT64
    centred = graph.add("Sub", "side", graph.constant(chain.mean_y.astype(np.float32)[:, None]))
    batch = graph.add("Unsqueeze", centred, graph.shape(0))
    side = graph.add("Reshape", graph.convolve(batch, chain.b), graph.shape(-1))
    estimate = graph.add("Add", side, graph.real(chain.mean_u - chain.zero))
    position = graph.add("Div", estimate, graph.real(chain.step))
    position = graph.add("Clip", position, graph.real(chain.lowest), graph.real(chain.highest))
    # the candidate in 0..J-1: far from zero, float32 has no digits left to tell two candidates apart
    shifted = graph.add("Add", "bin", graph.whole(-LEVEL_BIAS % chain.modulus))
    base = graph.add("Cast", graph.add("Mod", shifted, graph.whole(chain.modulus)), to=real)
    modulus = graph.real(chain.modulus)
    turns = graph.add("Round", graph.add("Div", graph.add("Sub", position, base), modulus))
    level = graph.add("Add", base, graph.add("Mul", turns, modulus))
    level = graph.keep_within(level, chain.lowest, chain.highest, modulus)
    resolved = graph.add("Add", graph.add("Mul", level, graph.real(chain.step)), graph.real(chain.zero - chain.mean_u))
    row = graph.add("Reshape", resolved, graph.shape(1, 1, -1))
    filtered = graph.add("Reshape", graph.convolve(row, chain.c[None]), graph.shape(-1))
    graph.add("Add", filtered, graph.real(chain.mean_x), output="x_hat")
    inputs = [("bin", whole, ["T"]), ("side", real, [chain.b.shape[0], "T"])]
    return graph.model("nested_decoder", inputs, [("x_hat", real, ["T"])])


class Graph:
    """Collects nodes and constants; every `add` returns the name of its output."""

    def __init__(self) -> None:
        self.onnx = require_onnx()
        importlib.import_module("onnx.helper")
        self.proto = self.onnx.TensorProto
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def real(self, value: float) -> str:
        return self.constant(np.float32(value))

    def whole(self, value: int) -> str:
        return self.constant(np.int64(value))

    def shape(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def convolve(self, signal: str, taps: np.ndarray) -> str:
        """Causal FIR of a (1, channels, T) signal, summed over channels; taps: (channels, L), newest first."""
        kernel = np.ascontiguousarray(np.asarray(taps)[None, :, ::-1], dtype=np.float32)
        return self.add("Conv", signal, self.constant(kernel), pads=[kernel.shape[-1] - 1, 0])

    def keep_within(self, level: str, lowest: int, highest: int, modulus: str) -> str:
        """One modulus down above `highest`, one up below `lowest`: the decoder's rule at the ends of the range."""
        above = self.add("Greater", level, self.real(highest))
        level = self.add("Where", above, self.add("Sub", level, modulus), level)
        below = self.add("Less", level, self.real(lowest))
        return self.add("Where", below, self.add("Add", level, modulus), level)

    def model(self, name: str, inputs: list[tuple[str, int, list[Any]]], outputs: list[tuple[str, int, list[Any]]]) -> Any:
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, name, [helper.make_tensor_value_info(*item) for item in inputs],
            [helper.make_tensor_value_info(*item) for item in outputs], self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        self.onnx.checker.check_model(model)
        return model
