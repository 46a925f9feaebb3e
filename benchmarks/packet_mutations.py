"""What gets past the checksum of a data packet: mutate packets, offer them to every context a gateway would try.

    python benchmarks/packet_mutations.py [--count 1000000] [--seed 1]

A receiver as in SPEC 2.3, written from that page, expects one counter and has four contexts. Every kind of damage gets
the same share of the packets. Prints, per kind and context, how many were offered, how many passed, and how many 2^-16
predicts.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

from edge_wz.formats import packet

PACKET_SAMPLES = 32
EXPECTED = 70_000
CONTEXTS = ("near", "previous", "gap", "gap+256")
MODEL_IDS = (bytes(range(8)), bytes(range(8, 16)))


def flip(raw: bytes, bits: int, rng: random.Random) -> bytes:
    word = int.from_bytes(raw, "big")
    for position in rng.sample(range(8 * len(raw)), bits):
        word ^= 1 << position
    return word.to_bytes(len(raw), "big")


def burst(raw: bytes, rng: random.Random) -> bytes:
    """Up to 16 bits in a row, the first one flipped for certain."""
    pattern = rng.getrandbits(16) | 1
    shifted = pattern << rng.randrange(8 * len(raw) - 15)
    return (int.from_bytes(raw, "big") ^ shifted).to_bytes(len(raw), "big")


def garbage(raw: bytes, rng: random.Random) -> bytes:
    """Random bytes behind a header that stays, so that every context is really tried."""
    return raw[:2] + rng.randbytes(len(raw) - 2)


def noise(raw: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(len(raw))


def cut(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw))]


def grown(raw: bytes, rng: random.Random) -> bytes:
    return raw + (rng.randbytes(rng.randrange(1, 9)) if rng.getrandbits(1) else bytes(rng.randrange(1, 9)))


def two_joined(raw: bytes, rng: random.Random) -> bytes:
    """The front of one packet and the back of another, as when a delimiter is lost."""
    at = rng.randrange(1, len(raw) - 1)
    return raw[:at] + rng.randbytes(4) + raw[-at:]


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "1 bit": lambda raw, rng: flip(raw, 1, rng), "2 bits": lambda raw, rng: flip(raw, 2, rng),
    "3 bits": lambda raw, rng: flip(raw, 3, rng), "burst <= 16": burst, "4..12 bits":
    lambda raw, rng: flip(raw, rng.randrange(4, 13), rng), "random behind header": garbage, "random": noise,
    "cut": cut, "grown": grown, "two joined": two_joined,
}
GUARANTEED = ("1 bit", "2 bits", "3 bits", "burst <= 16")


def contexts(raw: bytes, now: packet.Context, before: packet.Context) -> Iterator[tuple[str, int]]:
    """(name, seed) of every context that SPEC 2.3 tries for the sequence of this packet."""
    header = packet.peek(raw)
    if packet.refusal(raw, 0, header) is not None or header.type != 0:
        return
    ahead = (header.sequence - EXPECTED + 16) % 256
    if ahead < 32:
        near = EXPECTED - 16 + ahead
        yield "near", now.seed(near)
        yield "previous", before.seed(near)
    gap = EXPECTED + 16 + (header.sequence - EXPECTED - 16) % 256
    yield "gap", now.seed(gap)
    yield "gap+256", now.seed(gap + 256)


def run(count: int, seed: int) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """(offered, passed) by (mutation, context). Packets that the mutation left as they were are not counted."""
    rng = random.Random(seed)
    now, before = (packet.Context(7, model_id, epoch, 5 * epoch) for epoch, model_id in enumerate(MODEL_IDS))
    offered: Counter[tuple[str, str]] = Counter()
    passed: Counter[tuple[str, str]] = Counter()
    names = list(MUTATIONS)
    for i in range(count):
        name = names[i % len(names)]
        counter = EXPECTED - 16 + rng.randrange(32)
        raw = packet.pack_payload(rng.randbytes(rng.randrange(8, 17)), i & 7, counter, now.seed(counter))
        mutated = MUTATIONS[name](raw, rng)
        if mutated == raw:
            continue
        offered[name, "packets"] += 1
        for context, context_seed in contexts(mutated, now, before):
            offered[name, context] += 1
            passed[name, context] += packet.check_data(mutated, context_seed)
    return offered, passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    offered, passed = run(options.count, options.seed)
    print(f"{options.count} packets, seed {options.seed}, {time.perf_counter() - began:.1f} s")
    print(f"{'mutation':<22}{'packets':>9}" + "".join(f"{name:>20}" for name in CONTEXTS) + "   passed/offered (2^-16)")
    for name in MUTATIONS:
        cells = [
            f"{passed[name, c]}/{offered[name, c]} ({offered[name, c] / 65536:.2f})".rjust(20) for c in CONTEXTS
        ]
        print(f"{name:<22}{offered[name, 'packets']:>9}" + "".join(cells))
    tries = sum(n for (name, c), n in offered.items() if c in CONTEXTS and name not in GUARANTEED)
    hits = sum(n for (name, _), n in passed.items() if name not in GUARANTEED)
    near = sum(passed[name, "near"] for name in GUARANTEED)
    print(f"up to 3 bits and bursts, near context: {near} passed; all others: {hits} of {tries} tries, "
          f"2^-16 predicts {tries / 65536:.1f}")


if __name__ == "__main__":
    main()
