"""Packets per second from link bytes to events, on one core, against framing and checksums alone.

200 nodes of scheme `nested`, J = 4, decoder `nearest`, 32 samples per packet, one shared link fed in chunks of
64 KB. Half of the nodes use one neighbour each. The baseline in the same run is what any gateway must do: COBS and
one CRC
per packet. Times are of the processor, not of the wall.

    python -m benchmarks.pipeline_speed [--nodes 200] [--packets 2000] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import time

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
SECOND = 1_000_000


def nearest_model(source: str, side: tuple[str, ...]) -> Model:
    """A step of 4 LSB, 4 bins and a source of sigma 2 LSB, so that it is resolved with side information and without."""
    node = blob.make_nested(PACKET_SAMPLES, 128, 0, 1.0, 0.0, [(4, 2, 2, [1])])
    size = 1 + len(side)
    covariance = np.full((size, size), 3.8)
    covariance[np.diag_indices(size)] = [4.0] + [7.0] * len(side)
    moments = SideFilter(1, np.zeros(size), covariance, np.ones(1))
    return Model(node, "nearest", source, side, side_filter=moments)


def make_fleet(nodes: int) -> Fleet:
    """Even ones stand alone; odd ones look at the one before."""
    specs = [
        NodeSpec(n, f"n{n}", nearest_model("x", ("y",) if n % 2 else ()), (n - 1,) if n % 2 else ())
        for n in range(nodes)
    ]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--packets", type=int, default=1000, help="of each node")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    fleet = make_fleet(options.nodes)
    stream = make_stream(fleet, options.packets)
    through_pipeline(fleet, stream[: 2 * CHUNK_BYTES])  # compiles
    if options.profile:
        with cProfile.Profile() as profile:
            through_pipeline(fleet, stream)
        profile.create_stats()
        import pstats

        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    took, pipeline = min((through_pipeline(fleet, stream) for _ in range(options.repeats)), key=lambda pair: pair[0])
    floor = min(through_framing(stream) for _ in range(options.repeats))
    packets = sum(node.data_packets for node in pipeline.stats.nodes.values())
    decoded = sum(node.samples_decoded for node in pipeline.stats.nodes.values())
    print(f"{packets} packets of {PACKET_SAMPLES} samples, {options.nodes} nodes, {len(stream) / 1e6:.1f} MB")
    print(f"framing and checks alone  {packets / floor:10.0f} packets/s")
    print(f"pipeline                  {packets / took:10.0f} packets/s  {decoded / took / 1e6:6.1f} M samples/s")
    print(f"ratio                     {took / floor:10.2f} x the time of the baseline")


if __name__ == "__main__":
    main()
