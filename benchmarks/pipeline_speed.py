"""Packets per second from link bytes to events, on one core, and memory per node, against framing and checksums alone.

200 nodes of scheme `nested`, J = 4, decoder `nearest`, 32 samples per packet, one shared link fed in chunks of 64 KB. Half
of the nodes use one neighbour each. Measured twice: nodes of a kind share a bundle, which lets one decoder call serve all of
them, and every node with its own. The baseline of the same run is what any gateway must do: COBS and one CRC per packet.
Times are of the processor, not of the wall; memory is what a fleet that was heard adds, by `tracemalloc`.

    python -m benchmarks.pipeline_speed [--nodes 200] [--packets 1000] [--json] [--profile own]
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import time
import tracemalloc

import numpy as np

from edge_wz.codec.encoder import NodeEncoder
from edge_wz.formats import blob
from edge_wz.formats.framing import FrameDecoder, encode_frame
from edge_wz.formats.packet import check_data
from edge_wz.gateway.fleet import Fleet, LinkSpec, NodeSpec
from edge_wz.gateway.pipeline import Pipeline
from edge_wz.model import Model, SideFilter

CHUNK_BYTES = 65536
PACKET_SAMPLES = 32
BUNDLES = ("shared", "own")
SECOND = 1_000_000


def nearest_model(source: str, side: tuple[str, ...]) -> Model:
    """A step of 4 LSB, 4 bins and a source of sigma 2 LSB, so that it is resolved with side information and without."""
    node = blob.make_nested(PACKET_SAMPLES, 128, 0, 1.0, 0.0, [(4, 2, 2, [1])])
    size = 1 + len(side)
    covariance = np.full((size, size), 3.8)
    covariance[np.diag_indices(size)] = [4.0] + [7.0] * len(side)
    moments = SideFilter(1, np.zeros(size), covariance, np.ones(1))
    return Model(node, "nearest", source, side, side_filter=moments)


def make_fleet(nodes: int, bundles: str) -> Fleet:
    """Even ones stand alone; odd ones look at the one before."""
    alone, beside = nearest_model("x", ()), nearest_model("x", ("y",))
    specs = []
    for n in range(nodes):
        model = beside if n % 2 else alone
        if bundles == "own":
            model = nearest_model("x", model.side)
        specs.append(NodeSpec(n, f"n{n}", model, (n - 1,) if n % 2 else ()))
    return Fleet(tuple(specs), (LinkSpec(0, "air"),))


def make_stream(fleet: Fleet, packets: int) -> bytes:
    """All nodes in turn, packet by packet."""
    rng = np.random.default_rng(1)
    rows = []
    for spec in fleet.nodes:
        codes = np.clip(rng.normal(0, 2, packets * PACKET_SAMPLES), -7, 7).astype(np.int16)
        encoder = NodeEncoder(spec.model.node, spec.node_id, period_us=SECOND, start_ms=1000, shared_link=True)
        rows.append([encode_frame(raw) for raw in encoder.encode(codes)])
    return b"".join(raw for turn in zip(*rows, strict=True) for raw in turn)


def through_pipeline(fleet: Fleet, stream: bytes) -> tuple[float, Pipeline]:
    pipeline = Pipeline(fleet)
    began = time.process_time()
    for at in range(0, len(stream), CHUNK_BYTES):
        pipeline.feed(0, stream[at : at + CHUNK_BYTES], at)
    return time.process_time() - began, pipeline


def through_framing(stream: bytes) -> float:
    decoder = FrameDecoder()
    began = time.process_time()
    for at in range(0, len(stream), CHUNK_BYTES):
        for frame in decoder.feed(stream[at : at + CHUNK_BYTES]):
            check_data(frame.payload, 1)
    return time.process_time() - began


def bytes_per_node(fleet: Fleet, stream: bytes) -> tuple[float, float]:
    """(kept, at the peak): what a pipeline that decoded `stream` holds, beyond the fleet itself."""
    gc.collect()
    tracemalloc.start()
    pipeline = through_pipeline(fleet, stream)[1]
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del pipeline
    return kept / len(fleet.nodes), peak / len(fleet.nodes)


def measure(options: argparse.Namespace) -> dict[str, float]:
    result: dict[str, float] = {"nodes": options.nodes, "packet_samples": PACKET_SAMPLES}
    for bundles in BUNDLES:
        fleet = make_fleet(options.nodes, bundles)
        stream = make_stream(fleet, options.packets)
        through_pipeline(fleet, stream[: 2 * CHUNK_BYTES])  # compiles
        runs = [through_pipeline(fleet, stream) for _ in range(options.repeats)]
        took, pipeline = min(runs, key=lambda pair: pair[0])
        stats = pipeline.stats.nodes.values()
        packets = sum(node.data_packets + node.hello_packets for node in stats)
        result["packets"], result["samples"] = packets, sum(node.samples_decoded for node in stats)
        result[f"packets_per_s_{bundles}"] = packets / took
        kept, peak = bytes_per_node(fleet, stream[: 4 * CHUNK_BYTES])
        result[f"kb_per_node_{bundles}"], result[f"peak_kb_per_node_{bundles}"] = kept / 1024, peak / 1024
    floor = min(through_framing(stream) for _ in range(options.repeats))
    result["packets_per_s_framing"] = packets / floor
    for bundles in BUNDLES:
        result[f"time_over_framing_{bundles}"] = result["packets_per_s_framing"] / result[f"packets_per_s_{bundles}"]
    return result


def profile(fleet: Fleet, stream: bytes) -> None:
    with cProfile.Profile() as profiler:
        through_pipeline(fleet, stream)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--packets", type=int, default=1000, help="of each node")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", choices=BUNDLES)
    options = parser.parse_args()
    if options.profile:
        fleet = make_fleet(options.nodes, options.profile)
        profile(fleet, make_stream(fleet, options.packets))
        return
    result = measure(options)
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['packets']} packets of {PACKET_SAMPLES} samples, {options.nodes} nodes")
    print(f"baseline: framing and checks alone {result['packets_per_s_framing']:10.0f} packets/s")
    for bundles in BUNDLES:
        print(
            f"pipeline, bundles {bundles:<6} {result[f'packets_per_s_{bundles}']:10.0f} packets/s, "
            f"{result[f'time_over_framing_{bundles}']:.2f} x the time of the baseline; 1000 nodes keep "
            f"{result[f'kb_per_node_{bundles}'] * 1.024:.0f} MB, peak {result[f'peak_kb_per_node_{bundles}'] * 1.024:.0f} MB"
        )


if __name__ == "__main__":
    main()
