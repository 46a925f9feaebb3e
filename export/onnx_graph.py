"""ONNX graphs of the float chain of `nested`: filters, step, modulo, reconstruction, as learned and before `integerize`.

`nested_encoder`: codes float32[T] -> level, bin (int64[T]).  `nested_decoder`: bin int64[T], side float32[m, T] -> x_hat float32[T] (rule `nearest`).
Graphs are built operator by operator, not traced, so that they are an implementation of their own to compare torch with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
LEVEL_BIAS = 32768


def nested_encoder(taps: np.ndarray, step: float, modulus: int) -> onnx.ModelProto:
    """taps: (L,) with taps[0] = 1; step in LSB."""
    graph = _Graph()
    row = graph.add("Reshape", "x", graph.constant("row", np.array([1, 1, -1], np.int64)))
    scaled = graph.convolve(row, (np.asarray(taps) / step)[None])
    flat = graph.add("Reshape", scaled, graph.constant("flat", np.array([-1], np.int64)))
    level = graph.add("Floor", graph.add("Add", flat, graph.constant("half", np.float32(0.5))))
    clipped = graph.add(
        "Clip", level, graph.constant("lowest", np.float32(-32768)), graph.constant("highest", np.float32(32767))
    )
    graph.add("Cast", clipped, output="level", to=TensorProto.INT64)
    biased = graph.add("Add", "level", graph.constant("bias", np.int64(LEVEL_BIAS)))
    graph.add("Mod", biased, graph.constant("modulus", np.int64(modulus)), output="bin")
    return graph.model(
        "nested_encoder", [("x", TensorProto.FLOAT, ["T"])],
        [("level", TensorProto.INT64, ["T"]), ("bin", TensorProto.INT64, ["T"])],
    )


def nested_decoder(
    side_taps: np.ndarray, output_taps: np.ndarray, step: float, modulus: int, mean_u: float, mean_x: float,
    mean_y: np.ndarray,
) -> onnx.ModelProto:
    """side_taps: (m, L), output_taps: (Lc,), means of the filtered source, the source and the neighbours."""
    graph = _Graph()
    neighbours, span = side_taps.shape[0], step * modulus
    centred = graph.add("Sub", "side", graph.constant("mean_y", mean_y.astype(np.float32)[:, None]))
    batch = graph.add("Unsqueeze", centred, graph.constant("first", np.array([0], np.int64)))
    flat_shape = graph.constant("flat", np.array([-1], np.int64))
    side = graph.add("Reshape", graph.convolve(batch, side_taps), flat_shape)
    estimate = graph.add("Add", side, graph.constant("mean_u", np.float32(mean_u)))
    residue = graph.add("Mod", graph.add("Sub", "bin", graph.constant("bias", np.int64(LEVEL_BIAS % modulus))),
                        graph.constant("modulus", np.int64(modulus)))
    fine = graph.add("Mul", graph.add("Cast", residue, to=TensorProto.FLOAT), graph.constant("step", np.float32(step)))
    turns = graph.add("Div", graph.add("Sub", estimate, fine), graph.constant("span", np.float32(span)))
    resolved = graph.add("Add", fine, graph.add("Mul", graph.add("Round", turns), graph.constant("span2", np.float32(span))))
    deviation = graph.add("Sub", resolved, graph.constant("mean_u2", np.float32(mean_u)))
    row = graph.add("Reshape", deviation, graph.constant("row", np.array([1, 1, -1], np.int64)))
    filtered = graph.add("Reshape", graph.convolve(row, np.asarray(output_taps)[None]), flat_shape)
    graph.add("Add", filtered, graph.constant("mean_x", np.float32(mean_x)), output="x_hat")
    return graph.model(
        "nested_decoder", [("bin", TensorProto.INT64, ["T"]), ("side", TensorProto.FLOAT, [neighbours, "T"])],
        [("x_hat", TensorProto.FLOAT, ["T"])],
    )


class _Graph:
    """Collects nodes and constants; every `add` returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def convolve(self, signal: str, taps: np.ndarray) -> str:
        """Causal FIR of a (1, channels, T) signal, summed over channels; taps: (channels, L), newest first."""
        kernel = np.ascontiguousarray(np.asarray(taps)[None, :, ::-1], dtype=np.float32)
        name = self.constant(f"taps_{len(self.nodes)}", kernel)
        return self.add("Conv", signal, name, pads=[kernel.shape[-1] - 1, 0])

    def model(self, name: str, inputs: list[tuple[str, int, list[Any]]], outputs: list[tuple[str, int, list[Any]]]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, name, [helper.make_tensor_value_info(*item) for item in inputs],
            [helper.make_tensor_value_info(*item) for item in outputs], self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(model)
        return model
