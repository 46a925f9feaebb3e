"""What one packet costs outside the codec: framing, header, check, fields.

    python benchmarks/packets.py

CPU microseconds per packet of 17 bytes (32 samples at 3 bits, shared link), best of several rounds, and packets/s of
the whole path from link bytes to payload, alone on one core.
"""

from __future__ import annotations

import random
import time
import timeit
from collections.abc import Callable

from edge_wz.formats import packet
from edge_wz.formats.framing import FrameDecoder, encode_frame

ROUNDS = 9
PACKETS = 2000
CONTEXT = packet.Context(0, bytes(8), 1, 0)
SEED = CONTEXT.seed(5)
VARINT = packet.pack_node_id(5)


def best_us(call: Callable[[], object], packets: int = 1) -> float:
    number = max(20, PACKETS // packets)
    seconds = min(timeit.repeat(call, number=number, repeat=ROUNDS, timer=time.process_time))
    return seconds / (number * packets) * 1e6


def receive(stream: bytes) -> int:
    """The hot path of a gateway, as the names in `formats.packet` suggest it."""
    payload_bytes = 0
    for raw in FrameDecoder().feed_packets(stream)[0]:
        _, offset = packet.split_node_id(raw)
        fields = packet.plain_header(raw, offset)
        if fields >= 0 and packet.check_data(raw, CONTEXT.seed(fields & 0xFF)):
            payload_bytes += len(packet.plain_payload(raw, offset))
    return payload_bytes


def main() -> None:
    payload = random.Random(1).randbytes(12)
    raw = packet.pack_payload(payload, 0, 5, SEED, VARINT)
    stream = encode_frame(raw) * PACKETS
    assert receive(stream) == PACKETS * len(payload)
    costs: dict[str, Callable[[], object]] = {
        "pack_payload": lambda: packet.pack_payload(payload, 0, 5, SEED, VARINT),
        "encode_frame": lambda: encode_frame(raw),
        "split_node_id": lambda: packet.split_node_id(raw),
        "plain_header": lambda: packet.plain_header(raw, 1),
        "Context.seed": lambda: CONTEXT.seed(5),
        "check_data": lambda: packet.check_data(raw, SEED),
        "plain_payload": lambda: packet.plain_payload(raw, 1),
        "peek": lambda: packet.peek(raw, 1),
        "parse_data": lambda: packet.parse_data(raw, 1, 32),
        "(an empty call)": lambda: None,
    }
    for name, call in costs.items():
        print(f"{name:<18}{best_us(call):>8.3f} us")
    print(f"{'feed':<18}{best_us(lambda: FrameDecoder().feed(stream), PACKETS):>8.3f} us")
    print(f"{'feed_packets':<18}{best_us(lambda: FrameDecoder().feed_packets(stream), PACKETS):>8.3f} us")
    whole_us = best_us(lambda: receive(stream), PACKETS)
    print(f"{'link to payload':<18}{whole_us:>8.3f} us, {1e6 / whole_us:,.0f} packets/s")


if __name__ == "__main__":
    main()
