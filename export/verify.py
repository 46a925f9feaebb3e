"""Parity of the implementations of one bundle, on random and on extreme inputs.

    integers   numba through packets and parser | plain Python integers: equal, or the bundle is not to be trusted
    floats     ONNX | torch, of `export.nested_chain`: within TOLERANCE of the signal's scale, and their bins those of
    the integers

Floats may fall on the other side of a cell's edge; inputs within TOLERANCE of one are excluded, and counted. What is
not installed (torch, onnxruntime) is left out and named.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np

from edge_wz.codec import schemes
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.indices import StreamIndices, flatten
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import InputError
from edge_wz.formats import packet
from edge_wz.formats.layout import TYPE_HELLO
from edge_wz.model import Model
from export import onnx_graph, plain, torch_chain
from export.nested_chain import Chain

TOLERANCE = 1e-5
EXTREME_SIDE = 10.0  # standard deviations
Row = dict[str, Any]


def verify(model: Model, samples: int = 20_000, seed: int = 0) -> list[Row]:
    """One row per comparison: part, rate point, inputs, the two sides, samples, excluded, mismatches, largest
    difference over scale.
    """
    rows: list[Row] = []
    rng = np.random.default_rng(seed)
    for rate_point in range(len(model.node.rate_points)):
        for inputs, codes in _sources(model, samples, rng):
            rows += _integers(model, rate_point, inputs, codes)
            if model.node.scheme == "nested" and model.side_filter is not None:
                rows += _floats(model, rate_point, inputs, codes, rng)
    return rows


def passed(rows: list[Row]) -> bool:
    return all(not row["mismatches"] for row in rows)


def missing_packages() -> list[str]:
    """What would be compared too, were it installed."""
    return [name for name in ("torch", "onnx", "onnxruntime") if importlib.util.find_spec(name) is None]


def _sources(model: Model, samples: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Codes like the source's, and codes at the ends of int16."""
    point = model.node.rate_points[0]
    taps = getattr(point, "taps", None)
    step = point.step if taps is None else (1 << point.shift) / float(np.abs(taps.astype(np.int64)).sum())
    spread = 4 * step * getattr(point, "modulus", 8)
    slow = np.cumsum(rng.standard_normal(samples)) * spread / 40
    random = np.remainder(slow + spread * rng.standard_normal(samples) + 32768, 65536) - 32768
    yield "random", np.clip(np.rint(random), -32768, 32767).astype(np.int16)
    pieces = [
        np.resize(np.array([-32768, 32767], np.int16), samples // 4),
        np.full(samples // 8, 32767, np.int16), np.full(samples // 8, -32768, np.int16),
        rng.choice(np.array([-32768, -32767, -1, 0, 1, 32766, 32767], np.int16), samples // 4),
        rng.integers(-32768, 32768, samples // 4).astype(np.int16),
    ]  # fmt: skip
    yield "extreme", np.concatenate(pieces)


# --- integers -----------------------------------------------------------------------------------------------------


def _integers(model: Model, rate_point: int, inputs: str, codes: np.ndarray) -> list[Row]:
    received = through_packets(model, codes, rate_point)
    listed = codes.tolist()
    if model.node.scheme != "predictive":
        part = "bins" if model.node.scheme == "nested" else "indices"
        return [_exact(part, rate_point, inputs, received.values, plain.indices(model.node, listed, rate_point))]
    levels, rebuilt = plain.predictive_levels(model.node, listed, rate_point)
    return [
        _exact("levels", rate_point, inputs, received.values, levels),
        _exact("reconstructions", rate_point, inputs, received.recon, rebuilt),
    ]


def through_packets(model: Model, codes: np.ndarray, rate_point: int) -> StreamIndices:
    """What the gateway's parser reads from the node's packets."""
    node = model.node
    encoder = NodeEncoder(node, 1, period_us=1, rate_point=rate_point)
    opened = []
    for raw in encoder.encode(codes) + encoder.flush():
        if packet.peek(raw, 0)[1] != TYPE_HELLO:
            one = packet.parse_data(raw, 0, node.packet_samples)
            assert isinstance(one, packet.DataPacket)
            opened.append(one)
    counts = np.array([node.packet_samples if one.count is None else one.count for one in opened], np.int32)
    points = np.array([one.rate_point for one in opened], np.int32)
    return flatten(schemes.parse(node, [one.payload for one in opened], points, counts, None))


def _exact(part: str, rate_point: int, inputs: str, found: np.ndarray, expected: Any) -> Row:
    wrong = int(np.count_nonzero(np.asarray(expected) != found))
    return _row(part, rate_point, inputs, "numba", "plain integers", len(found), 0, wrong, float(wrong))


def _row(
    part: str, rate_point: int, inputs: str, first: str, second: str, samples: int, excluded: int, mismatches: int, worst: float
) -> Row:
    return {
        "part": part, "rate_point": rate_point, "inputs": inputs, "first": first, "second": second, "samples": samples,
        "excluded": excluded, "mismatches": mismatches, "largest": worst,
    }


# --- floats -------------------------------------------------------------------------------------------------------


def _floats(model: Model, rate_point: int, inputs: str, codes: np.ndarray, rng: np.random.Generator) -> list[Row]:
    chain = Chain.of(model, rate_point)
    integer_bins = through_packets(model, codes, rate_point).values
    near = near_edge(model, rate_point, codes)
    rows = []
    encoders = _encoders(chain, codes)
    for name, bins in encoders.items():
        wrong = int(np.count_nonzero((bins != integer_bins) & ~near))
        rows.append(_row("encoder", rate_point, inputs, name, "numba", len(codes), int(near.sum()), wrong, float(wrong)))
    side = _side(chain, model, inputs, len(codes), rng)
    found = _decoders(chain, integer_bins, side)
    found["numba"] = _decoded(model, rate_point, integer_bins, side)
    tie = near_tie(chain, integer_bins, side)
    order = [name for name in ("onnx", "torch", "numba") if name in found]
    for first, second in zip(order, order[1:], strict=False):
        rows.append(_compared("decoder", rate_point, inputs, first, second, found, tie))
    return rows


def _compared(
    part: str, rate_point: int, inputs: str, first: str, second: str, found: dict[str, np.ndarray], tie: np.ndarray
) -> Row:
    scale = max(float(np.std(found[second])), 1.0)
    difference = np.abs(found[first] - found[second])[~tie] / scale
    wrong = int(np.count_nonzero(difference > TOLERANCE))
    return _row(part, rate_point, inputs, first, second, len(tie), int(tie.sum()), wrong, float(difference.max(initial=0.0)))


def near_edge(model: Model, rate_point: int, codes: np.ndarray) -> np.ndarray:
    """bool[T]: the filtered source lies within TOLERANCE of the signal's scale of an edge between two cells."""
    point = model.node.rate_points[rate_point]
    acc = np.convolve(codes.astype(np.int64), point.taps.astype(np.int64))[: len(codes)] + point.rounding
    part = (acc & ((1 << point.shift) - 1)) / (1 << point.shift)
    scale = float(np.sqrt(np.mean(codes.astype(np.float64) ** 2))) / point.step
    return np.asarray(np.minimum(part, 1 - part) < TOLERANCE * scale)


def near_tie(chain: Chain, bins: np.ndarray, side: np.ndarray) -> np.ndarray:
    """bool[T]: two candidates are equally near within TOLERANCE, or were within the reach of c, or the windows are not
    filled yet.
    """
    estimate = sum(
        (np.convolve(row - centre, taps)[: len(bins)] for row, centre, taps in zip(side, chain.mean_y, chain.b, strict=True)),
        start=np.full(len(bins), chain.mean_u - chain.zero),
    )
    position = np.clip(estimate / chain.step, chain.lowest, chain.highest)
    turns = (position - (bins - 32768) % chain.modulus) / chain.modulus
    scale = max(float(np.std(estimate)), 1.0) / (chain.step * chain.modulus)
    tie = np.abs(turns - np.floor(turns) - 0.5) < TOLERANCE * max(scale, 1.0)
    reached = np.convolve(tie, np.ones(len(chain.c)))[: len(bins)] > 0
    reached[: chain.lags] = True
    return np.asarray(reached)


def _side(chain: Chain, model: Model, inputs: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """(m, T) in sensor units: white around the neighbours' means, or far outside."""
    assert model.side_filter is not None
    variances = np.diag(model.side_filter.cov)[1 :: model.side_filter.taps]
    factor = 1.0 if inputs == "random" else EXTREME_SIDE
    noise = rng.standard_normal((len(chain.mean_y), samples))
    return np.asarray(chain.mean_y[:, None] + factor * np.sqrt(variances)[:, None] * noise)


def _decoded(model: Model, rate_point: int, bins: np.ndarray, side: np.ndarray) -> np.ndarray:
    """x_hat of the gateway's decoder, LSB."""
    indices = StreamIndices(
        bins, np.full(len(bins), rate_point, np.int32), np.zeros(1, np.int64), np.full(1, -1, np.int32)
    )
    decoder = Decoder(model, "nearest")
    result, _ = decoder.reconstruct(decoder.initial_state(), indices, SideInformation.of(side.T))
    return np.asarray((result.values - model.node.offset) / model.node.scale)


def _encoders(chain: Chain, codes: np.ndarray) -> dict[str, np.ndarray]:
    found = {}
    with_torch, session = _torch(), _session(chain, "encoder")
    if session is not None:
        found["onnx"] = session.run(["bin"], {"x": codes.astype(np.float32)})[0]
    if with_torch:
        found["torch"] = torch_chain.encode(chain, codes.astype(np.float64))[1]
    return found


def _decoders(chain: Chain, bins: np.ndarray, side: np.ndarray) -> dict[str, np.ndarray]:
    found = {}
    with_torch, session = _torch(), _session(chain, "decoder")
    if session is not None:
        inputs = {"bin": bins.astype(np.int64), "side": side.astype(np.float32)}
        found["onnx"] = session.run(["x_hat"], inputs)[0].astype(np.float64)
    if with_torch:
        found["torch"] = torch_chain.decode(chain, bins.astype(np.int64), side).astype(np.float64)
    return found


def _torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _session(chain: Chain, which: str) -> Any:
    """An onnxruntime session, one thread; None without the packages."""
    try:
        graph = getattr(onnx_graph, which)(chain)
        runtime = importlib.import_module("onnxruntime")
    except (ImportError, InputError):
        return None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
