"""Samples per second and core of the integer kernels: `nested` encoding and unpacking, and the range coder.

    python -m benchmarks.kernel_speed [--packets 4000] [--json]

Baselines of the same run: for `nested`, numpy rounding and masking the same codes (and then packing nothing at all); for
the range coder, `constriction` on one long stream with the same table, which is spared the cost of 32-symbol packets.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.timing import best_s, show
from edge_wz.codec import nested
from edge_wz.formats import blob
from edge_wz.kernels import range_coder
from edge_wz.kernels.nested_quantizer import STATE_SLOTS

PACKET = 32
CDF_BITS = 12
SYMBOLS = 41
HEADER = ("kernel", "case", "M samples/s", "x baseline", "baseline")


def nested_rows(packets: int) -> list[list[object]]:
    codes = np.random.default_rng(1).normal(0, 2000, (packets, PACKET)).astype(np.int16)
    present, counts = np.ones(codes.shape, np.bool_), np.full(packets, PACKET, np.int32)

    def round_and_mask() -> np.ndarray:
        return ((codes.astype(np.int32) + 64) >> 7) & 7

    floor_s, rows = best_s(round_and_mask), []
    for name, modulus, taps in (("J = 4", 4, [1]), ("J = 16", 16, [1]), ("J = 5", 5, [1]), ("J = 4, 5 taps", 4, [9, -3, 1, 1, 1])):
        node = blob.make_nested(PACKET, 100, 0, 1.0, 0.0, [(modulus, 7, 64, taps)])
        state = np.zeros(STATE_SLOTS, np.int32)
        payloads, _ = nested.encode(node, 0, codes, present, counts, state)
        data = np.frombuffer(b"".join(payloads), np.uint8)
        offsets = np.concatenate([[0], np.cumsum([len(payload) for payload in payloads])]).astype(np.int64)
        encode_s = best_s(lambda node=node, state=state: nested.encode(node, 0, codes, present, counts, state))
        unpack_s = best_s(lambda node=node, data=data, at=offsets: nested.parse(node, 0, data, at, counts, present))
        for kernel, took_s in (("nested encode", encode_s), ("nested unpack", unpack_s)):
            rows.append([kernel, name, round(codes.size / took_s / 1e6, 1), round(floor_s / took_s, 3), "numpy round and mask"])
    return rows


def frequencies(sigma: float) -> np.ndarray:
    """A discrete Gaussian of total 2^CDF_BITS, every symbol at least 1."""
    x = np.arange(SYMBOLS) - SYMBOLS // 2
    shares = np.exp(-0.5 * (x / sigma) ** 2)
    counts = np.maximum(1, np.round(shares / shares.sum() * (1 << CDF_BITS))).astype(int)
    counts[SYMBOLS // 2] += (1 << CDF_BITS) - counts.sum()
    return counts


def range_rows(packets: int) -> list[list[object]]:
    import constriction

    rows: list[list[object]] = []
    for sigma in (0.6, 2.0, 6.0):
        counts = frequencies(sigma)
        cdf = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        symbols = np.random.default_rng(1).choice(SYMBOLS, (packets, PACKET), p=counts / counts.sum()).astype(np.int32)
        out, sizes = np.zeros((packets, 2 * PACKET + 8), np.uint8), np.zeros(packets, np.int32)
        encode_s = best_s(lambda s=symbols, c=cdf, o=out, z=sizes: range_coder.encode_batch(s, c, CDF_BITS, o, z))
        data = np.concatenate([line[:size] for line, size in zip(out, sizes, strict=True)])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        lookup = np.concatenate([range_coder.make_lookup(cdf, CDF_BITS), cdf]).astype(np.int32)
        found, status = np.empty_like(symbols), np.empty(packets, np.int32)
        decode_s = best_s(lambda d=data, o=offsets, t=lookup, f=found, s=status: range_coder.decode_batch(d, o, t, CDF_BITS, f, s))
        assert np.array_equal(found, symbols) and not status.any()
        model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=False)
        flat = symbols.ravel()

        def encode(flat=flat, model=model) -> np.ndarray:  # type: ignore[no-untyped-def]
            coder = constriction.stream.queue.RangeEncoder()
            coder.encode(flat, model)
            return coder.get_compressed()

        words = encode()
        their_encode_s = best_s(encode)
        their_decode_s = best_s(lambda w=words, m=model, n=flat.size: constriction.stream.queue.RangeDecoder(w).decode(m, n))
        for kernel, took_s, theirs_s in (("range encode", encode_s, their_encode_s), ("range decode", decode_s, their_decode_s)):
            rows.append([kernel, f"sigma {sigma}", round(flat.size / took_s / 1e6, 1), round(theirs_s / took_s, 3), "constriction"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packets", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    show(HEADER, nested_rows(chosen.packets) + range_rows(chosen.packets), chosen.json)


if __name__ == "__main__":
    main()
