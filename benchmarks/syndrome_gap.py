"""Gap of `syndrome` to the Wyner-Ziv limit on known statistics, its failures, its speed, and what losses do, through the integer codec and packets.

    python -m benchmarks.syndrome_gap [--quick] [--cases fig5:1024:2,...] [--blocks 1000] [--loss 256] [--check 1024:60000] [--air] [--json FILE]

A case is FIGURE:BLOCK:RATE; it is run on at least `--blocks` blocks and 2^20 samples, designed on others; `--quick` is two cases on a tenth. The file
keeps what it holds of other cases and of other parts. R is payload bits per sample as sent, block check included. Intervals are of 95 %: of the gap
by 50 stretches, of shares by Clopper and Pearson. Speeds are of processor time on one core, the best of several runs. `--check`: shuffled and
dithered blocks (`training.syndrome_trials`), how many wrong ones pass, and how many wrong paths are held against a check at all: each passes with
2^-16. `--loss`: 10 % of the packets, alone and in bursts, beside `nested` and `predictive`.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from benchmarks.gap import decibels, gap_columns
from benchmarks.timing import best_s
from edge_wz.cli.progress import progress
from edge_wz.codec.blocks import NO_LEVEL
from edge_wz.codec.encoder import NodeEncoder
from edge_wz.codec.reconstruction import SUSPECT, Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.codec.syndrome_decoder import code_of
from edge_wz.model import Model
from firmware_sim.field import PairSource, pair_source
from training import design
from training import syndrome_trials as trials
from training.data import from_columns
from training.evaluate import evaluate_bundle, reconstruct
from training.material import from_arrays
from training.report import table
from training.state_space import source_in_codes
from training.transmission import Received, transmit, true_levels

GRID = (1 / 2048, 0.0)
CASES = ",".join(f"{figure}:{block}:{rate}" for figure in ("fig5", "fig6", "fig7") for block in (256, 1024, 4096) for rate in (2, 4))
QUICK_CASES, QUICK = "fig5:256:2,fig5:1024:2", 0.1
DESIGN_SAMPLES = 1_000_000  # a block fails by the noise in it: trials need many packets to draw on
LEAST_SAMPLES = 1 << 20
TEST_SEED = 77
SPEED_SAMPLES = 1 << 17
CHECK_BLOCKS = 2000  # between two looks at the clock
BURST = 5  # packets
AIR_DB = 25.0
AIR_SAMPLES = 1 << 18
COLUMNS = ("figure", "block", "bits", "step", "sqnr_db", "gap_db", "interval_db", "failed", "failed_at_most", "undetected", "blocks", "decoder_per_s",
           "encoder_per_s")  # fmt: skip
Row = dict[str, Any]


def designed(source: PairSource, scheme: str, packet_samples: int, share: float = 1.0, **asked: Any) -> Model:
    """`share`: of the samples that a design deserves."""
    return design.from_state_space(
        source.state_space(), scheme, packet_samples=packet_samples, grid=GRID, samples=int(share * DESIGN_SAMPLES), side=("y",), **asked
    )


def at_most(count: int, total: int) -> float:
    """Upper end of a two-sided 95 % interval of a share; the one-sided one where nothing was seen."""
    return 1.0 if count == total else float(beta.ppf(0.975 if count else 0.95, count + 1, total - count))


def gap_row(name: str, block: int, rate: float, blocks: int, share: float = 1.0) -> Row:
    source = pair_source(name)
    model = designed(source, "syndrome", block, share, rate=rate)
    return {"figure": name, "rate": rate, **measured(source, model, max(int(share * blocks), -(-int(share * LEAST_SAMPLES) // block)))}


def measured(source: PairSource, model: Model, blocks: int) -> Row:
    block = model.node.packet_samples
    samples = block * blocks
    stream = source.generate(samples, TEST_SEED)
    codes, _ = model.node.to_codes(stream["x"])
    received = transmit(model.node, codes, np.ones(samples, np.bool_))
    side, engine = SideInformation.of(stream["y"][:, None]), Decoder(model)
    result = reconstruct(engine, received.indices, side)
    errors = np.square(result.values - stream["x"])
    bits = float(received.payload_bits.sum()) / samples
    power = float(np.var(stream["x"]))
    wrong = (result.levels != true_levels(model.node, codes, np.ones(samples, np.bool_))).reshape(-1, block).any(axis=1)
    failed = (result.flags & SUSPECT != 0).reshape(-1, block).any(axis=1)
    good = ~np.repeat(failed, block)
    speed = slice(0, SPEED_SAMPLES // block * block)
    short = transmit(model.node, codes[speed], np.ones(speed.stop, np.bool_)).indices
    return {
        "scheme": "syndrome", "packet_samples": block, "block": block, "bits": bits, "samples": samples,
        "step": model.node.rate_points[0].step * model.node.scale, **gap_columns(source, power, errors, bits),
        "gap_without_failures_db": gap_columns(source, power, errors[good], bits)["gap_db"],
        "failed": float(failed.mean()), "failed_at_most": at_most(int(failed.sum()), len(failed)), "undetected": int((wrong & ~failed).sum()),
        "blocks": len(failed), "expected_over_mse": float(np.mean(np.square(result.sigmas[good])) / errors[good].mean()),
        "decoder_per_s": speed.stop / best_s(lambda: reconstruct(engine, short, side[speed]), 3),
        "encoder_per_s": speed.stop / best_s(lambda: NodeEncoder(model.node, 1, period_us=1).encode(codes[speed])),
        "delay": block, "check_bits": model.node.block_check_bits, "low_bits": int(model.node.rate_points[0].modulus).bit_length() - 1,
        "plane_rates": [round(float(sent.mean()), 3) for sent in model.node.rate_points[0].sent],
    }  # fmt: skip


def check_row(block: int, blocks: int) -> Row:
    """How many wrong blocks pass, fig5 at 2 bits."""
    source = pair_source("fig5")
    model = designed(source, "syndrome", block, rate=2.0)
    assert model.block is not None
    stream = source.generate(DESIGN_SAMPLES * 2, TEST_SEED + 1)
    material = from_arrays(stream["x"], stream["y"][:, None], GRID)
    space = source_in_codes(source.state_space(), material.scale, material.offset)
    pool = replace(trials.gather(material, space, block, 2.0, TEST_SEED), density=model.block.density)
    point, planes = model.node.rate_points[0], int(model.block.planes[0])
    sent = np.array(point.sent, np.bool_)
    walk = code_of(sent, block, planes)
    low_bits = int(point.modulus).bit_length() - 1
    tries: list[int] = []
    failed = undetected = 0
    with progress("check", blocks) as advance:
        for first in range(0, blocks, CHECK_BLOCKS):
            found = trials.attempt(
                replace(pool, seed=TEST_SEED + 10 + first), point.step, low_bits, planes, sent, walk, model.node.block_check_bits, CHECK_BLOCKS
            )
            failed, undetected = failed + found.failed, undetected + found.undetected
            tries.append(found.wrong_tries)
            advance(CHECK_BLOCKS)
    total, each = CHECK_BLOCKS * len(tries), np.array(tries) / CHECK_BLOCKS
    most = float(each.mean() + 1.96 * each.std(ddof=1) / math.sqrt(len(each)))
    return {
        "block": block, "blocks": total, "failed": failed / total, "failed_at_most": at_most(failed, total), "undetected": undetected,
        "undetected_at_most": at_most(undetected, total), "wrong_tries_per_block": float(each.mean()),
        "expected_undetected": float(each.mean()) / 2**model.node.block_check_bits, "expected_at_most": most / 2**model.node.block_check_bits,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ losses


def with_losses(received: Received, lost: np.ndarray, counts: np.ndarray) -> Received:
    """The same packets without those of `lost` bool[P]."""
    gone, indices = np.repeat(lost, counts), received.indices
    values = np.where(gone, NO_LEVEL, indices.values).astype(np.int32)
    checks = np.where(lost, -1, indices.checks).astype(np.int32)
    preds, recon = (np.where(gone, 0, column).astype(np.int32) if column.size else column for column in (indices.preds, indices.recon))
    return replace(received, indices=replace(indices, values=values, checks=checks, preds=preds, recon=recon), received=~gone)


def losses(packets: int, bursts: bool, seed: int) -> np.ndarray:
    """A tenth of the packets, one by one or BURST in a row."""
    rng = np.random.default_rng(seed)
    if not bursts:
        return rng.random(packets) < 0.1
    return np.repeat(rng.random(-(-packets // BURST)) < 0.1, BURST)[:packets]


def loss_rows(block: int, blocks: int) -> list[Row]:
    """Errors of the packets that arrived, those that follow a loss apart, and of those that did not; fig5, about 2 bits and 32 samples a packet."""
    source, found = pair_source("fig5"), []
    for scheme, size, asked in (("syndrome", block, {"rate": 2.0}), ("nested", 32, {"rate": 2.0}), ("predictive", 32, {"step": 0.9})):
        model = designed(source, scheme, size, **asked)
        packets = max(blocks, (1 << 17) // size)
        stream = source.generate(size * packets, TEST_SEED)
        codes, _ = model.node.to_codes(stream["x"])
        clean = transmit(model.node, codes, np.ones(len(codes), np.bool_))
        engine, counts = Decoder(model), np.full(packets, size)
        side = SideInformation.of(stream["y"][:, None]) if engine.neighbours else SideInformation.none(len(codes))
        whole = reconstruct(engine, clean.indices, side)
        for bursts in (False, True):
            lost = losses(packets, bursts, TEST_SEED)
            result = reconstruct(engine, with_losses(clean, lost, counts).indices, side)
            mse = np.square(result.values - stream["x"]).reshape(packets, size).mean(axis=1)
            before = np.square(whole.values - stream["x"]).reshape(packets, size).mean(axis=1)
            after = ~lost & np.roll(lost, 1)
            parts = {"all": lost | ~lost, "arrived": ~lost & ~after, "after_loss": after, "lost": lost}
            power = float(np.var(stream["x"]))
            found.append({
                "scheme": scheme, "block": size, "bits": float(clean.payload_bits.sum()) / len(codes), "bursts": bursts,
                "lost": float(lost.mean()), "packets": packets,
                **{f"{part}_db": decibels(power, mse[chosen]) for part, chosen in parts.items()},
                **{f"{part}_clean_db": decibels(power, before[chosen]) for part, chosen in parts.items()},
                "wrong_more": float(np.mean((result.levels != whole.levels).reshape(packets, size).any(axis=1)[~lost])),
            })  # fmt: skip
    return found


# ----------------------------------------------------------------------------------------- headers and checks counted


def air_rows() -> list[Row]:
    """Bits per sample on air at 25 dB on fig5, beside the baselines of `evaluate` at the same rmse."""
    source, found = pair_source("fig5"), []
    recording = from_columns({name: np.asarray(values) for name, values in source.generate(AIR_SAMPLES, TEST_SEED).items()}, 1.0, "fig5")
    for block in (64, 128, 256, 512, 1024, 4096):
        model = rate_for(source, block)
        report = evaluate_bundle(model, recording, with_baselines=() if block > 64 else ("hold", "dpcm_rice", "dpcm_range", "modulo"))
        node = report["nodes"][0]
        found.append({"block": block, **{key: node[key] for key in ("payload_bits_per_sample", "packet_bits_per_sample", "sqnr_db")}})
        found += [{"block": block, "baseline": name, **one} for name, one in node["baselines"].items()]
    return found


def rate_for(source: PairSource, block: int) -> Model:
    """The least rate in whole bytes per packet that reaches AIR_DB on the design's own samples; the design costs minutes, so three points do."""
    rate, model = 2.0, designed(source, "syndrome", block, rate=2.0)
    for _ in range(2):
        missing = AIR_DB - float(model.measured["training"][0]["sqnr_db"])
        step = math.ceil(missing / (20 * math.log10(2)) * block / 8 - 0.25) * 8 / block
        if not step:
            break
        rate += step
        model = designed(source, "syndrome", block, rate=rate)
    return model


def show(rows: list[Row], columns: tuple[str, ...]) -> None:
    print(table(columns, [[text(row.get(name, "")) for name in columns] for row in rows]), flush=True)


def text(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", metavar="FIGURE:BLOCK:RATE,...", help="none: an empty string")
    parser.add_argument("--blocks", type=int, default=1000)
    parser.add_argument("--loss", type=int, metavar="BLOCK")
    parser.add_argument("--check", metavar="BLOCK:BLOCKS")
    parser.add_argument("--air", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    share = QUICK if options.quick else 1.0
    asked = options.cases if options.cases is not None else QUICK_CASES if options.quick else CASES
    cases = [case.split(":") for case in asked.split(",") if case]
    with progress("gap", len(cases)) as advance:
        for name, block, rate in cases:
            row = gap_row(name, int(block), float(rate), options.blocks, share)
            save(options.json, "gaps", [row])
            show([row], COLUMNS)
            advance(1)
    if options.check:
        block, blocks = options.check.split(":")
        report(options.json, "check", [check_row(int(block), int(blocks))])
    if options.loss:
        report(options.json, "loss", loss_rows(options.loss, options.blocks))
    if options.air:
        report(options.json, "air", air_rows())


def report(path: Path | None, part: str, rows: list[Row]) -> None:
    save(path, part, rows)
    show(rows, tuple(dict.fromkeys(name for row in rows for name in row)))


def save(path: Path | None, part: str, rows: list[Row]) -> None:
    """Into the file: gaps beside those of other cases, other parts in place of what it holds."""
    if not path:
        return
    held = json.loads(path.read_text()) if path.exists() else {}
    if part == "gaps":
        found = {(row["figure"], row["block"], row["rate"]): row for row in [*held.get(part, []), *rows]}
        rows = [found[key] for key in sorted(found)]
    path.write_text(json.dumps({**held, part: rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
