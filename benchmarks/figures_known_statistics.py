"""fig5, fig6, fig7 at 1 to 4 bits through integer codec and packets, every decoder on one stream.

    python -m benchmarks.figures_known_statistics [--samples N] [--figures fig5] [--bits 1,2]

Beside each SQNR: the value of a float simulation of the same class of code (`kalman`: posterior mean over all past;
`nearest`: the zero-delay scheme of the literature, with learned filters) and the Wyner-Ziv limit. `known` models have
the source's true state space, `designed` ones were designed from a recording of 200 000 samples.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from firmware_sim.field import pair_source
from training import design
from training.data import from_columns
from training.evaluate import evaluate_bundle
from training.report import table

SAMPLES = {1: 2_000_000, 2: 2_000_000, 3: 2_000_000, 4: 10_000_000}  # rare errors dominate at 4 bits
DESIGN_SAMPLES = 200_000
DESIGN_SEED, TEST_SEED = 101, 202
KALMAN_DB = {
    "fig5": (19.15, 23.18, 28.10, 33.29), "fig6": (18.57, 22.77, 27.70, 32.89), "fig7": (20.86, 24.98, 29.89, 34.96),
}
NEAREST_DB = {
    "fig5": (16.45, 22.08, 27.58, 33.04), "fig6": (15.75, 21.41, 26.97, 32.16), "fig7": (16.09, 21.55, 26.93, 32.44),
}
LIMIT_DB = {"fig5": 17.09, "fig6": 16.71, "fig7": 18.86}
DB_PER_BIT = 6.02
DECODERS = ("nearest", "posterior", "kalman")
COLUMNS = ("figure", "bits", "model", "decoder", "samples", "payload b/sa", "SQNR dB", "reference", "difference",
           "limit", "bin errors")


def models(figure: str, bits: int, decoder: str):  # type: ignore[no-untyped-def]
    """(label, model): known statistics, and designed from a recording, tuned for `decoder`."""
    source = pair_source(figure)
    training = source.generate(DESIGN_SAMPLES, DESIGN_SEED)
    yield "known", design.from_state_space(source.state_space(), rate=bits, decoder=decoder, side=["y"])
    yield "designed", design.design(from_columns(training, 1.0, figure), "x", ["y"], rate=bits, decoder=decoder)


def rows(figure: str, bits: int, samples: int) -> list[list[object]]:
    """All decoders on the stream of the model tuned for `kalman`; on fig5 `nearest` also on that of its own."""
    test = from_columns(pair_source(figure).generate(samples, TEST_SEED), 1.0, figure)
    out = []
    tunings = [("kalman", DECODERS)] + ([("nearest", ("nearest",))] if figure == "fig5" else [])
    for tuned_for, decoders in tunings:
        for label, model in models(figure, bits, tuned_for):
            report = evaluate_bundle(model, test, decoders=decoders, with_baselines=())
            for node in report["nodes"]:
                out.append(_row(figure, bits, f"{label}, for {tuned_for}", node))
    return out


def _row(figure: str, bits: int, label: str, node: dict[str, float]) -> list[object]:
    reference = {"kalman": KALMAN_DB, "nearest": NEAREST_DB}.get(str(node["decoder"]))
    expected = reference[figure][bits - 1] if reference else float("nan")
    sqnr_db = round(node["sqnr_db"], 2)
    return [
        figure, bits, label, node["decoder"], node["samples"], node["payload_bits_per_sample"], sqnr_db, expected,
        round(sqnr_db - expected, 2), round(LIMIT_DB[figure] + DB_PER_BIT * bits, 2), node["bin_error_rate"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, help="of every stream (default: 2 million, 10 million at 4 bits)")
    parser.add_argument("--figures", default="fig5,fig6,fig7")
    parser.add_argument("--bits", default="1,2,3,4")
    chosen = parser.parse_args()
    found: list[list[object]] = []
    for figure in chosen.figures.split(","):
        for bits in map(int, chosen.bits.split(",")):
            began_s = time.perf_counter()
            part = rows(figure, bits, chosen.samples or SAMPLES[bits])
            print(f"\n{figure}, {bits} bits, {time.perf_counter() - began_s:.0f} s")
            print(table(COLUMNS, part), flush=True)
            found += part
    worst = {
        label: max(abs(float(row[8])) for row in found if row[3] == "kalman" and str(row[2]).startswith(label))
        for label in ("known", "designed")
    }
    print("kalman, largest distance from the reference, dB:", ", ".join(f"{k} {v:.2f}" for k, v in worst.items()))
    assert np.isfinite(list(worst.values())).all()


if __name__ == "__main__":
    main()
