"""`learned`: the decoder of `layered` that a network makes, run from the bundle's ONNX graph; the interface is that of `nested_decoders`.

Beliefs, blocks, flags, runs and sigmas are those of `posterior`; the values of resolved samples are the network's. Nothing that parses depends on it,
so a gateway without onnxruntime can decode the same stream by `posterior`. The graph always sees batches of one size, padded, so that a sample's
value does not depend on which others are decoded with it.

Inputs and output of the graph: `export.layered_decoder`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from edge_wz.codec.decoded import Decoded
from edge_wz.codec.indices import StreamIndices
from edge_wz.codec.layered import Tree
from edge_wz.codec.layered_decoder import Posterior
from edge_wz.codec.side_information import SideInformation
from edge_wz.decoders.cells import CONCEALED
from edge_wz.errors import FormatError, InputError
from edge_wz.model import Model

BATCH = 256


def session_of(graph: bytes) -> Any:
    """An onnxruntime session of one thread."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        raise InputError("decoder learned needs the package onnxruntime: pip install 'edge-wz[onnx]', or take posterior") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class for what it finds wrong with a graph
        raise FormatError(f"decoder learned: the graph cannot be run: {' '.join(str(error).split())[:120]}") from None


def symbols_of(tree: Tree, alphabets: tuple[int, ...], prefixes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64[N, layers], 0 for layers that are not there; layers of each)."""
    depths = tree.depths(prefixes)
    message = (prefixes - tree.bases[depths]) * (tree.sizes[-1] // np.array(tree.sizes)[depths])
    return np.stack(np.unravel_index(message, alphabets), axis=1).astype(np.int64), depths


class Learned:
    """State: that of `posterior`."""

    def __init__(self, model: Model) -> None:
        if not model.learned:
            raise InputError("decoder learned: the bundle holds no learned decoder")
        self._posterior = Posterior(model)
        self._session = session_of(model.learned)
        self._points = [(Tree(point.alphabets), point.alphabets) for point in model.node.rate_points]
        self.neighbours = self._posterior.neighbours

    def initial_state(self) -> np.ndarray:
        return self._posterior.initial_state()

    def run(self, state: np.ndarray, indices: StreamIndices, side: SideInformation) -> tuple[Decoded, np.ndarray]:
        out, after, prefixes, means, variances = self._posterior.run_open(state, indices, side)
        sigmas = np.broadcast_to(np.sqrt(variances), means.shape)
        resolved = out.flags & CONCEALED == 0
        for number, (tree, alphabets) in enumerate(self._points):
            here = np.flatnonzero(resolved & (indices.rate_points == number))
            if here.size:
                symbols, depths = symbols_of(tree, alphabets, prefixes[here])
                out.values[here] = self._values(means[here], sigmas[here], symbols)[np.arange(here.size), depths - 1]
        return out, after

    def _values(self, means: np.ndarray, sigmas: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """float32[N, layers]."""
        found = np.empty(symbols.shape, np.float32)
        for first in range(0, len(means), BATCH):
            span = slice(first, first + BATCH)
            columns = {"y": means[span].astype(np.float32), "sigma": sigmas[span].astype(np.float32), "symbols": symbols[span]}
            count = len(columns["y"])
            padded = {name: np.concatenate([part, np.ones((BATCH - count, *part.shape[1:]), part.dtype)]) for name, part in columns.items()}
            found[span] = self._session.run(["x_hat"], padded)[0][:count]
        return found
