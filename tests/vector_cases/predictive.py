"""Scheme `predictive`, SPEC 4."""

import random
from collections.abc import Iterator

from tests.reference import predictive, range_coder
from tests.vector_cases.samples import Case, columns, jumps, sample_runs


def predictive_model(
    rng: random.Random, order: int, step_q8: int, rounding_q8: int, positions: int, contexts: int
) -> Case:
    """A random model of SPEC 4 as the JSON fields of a case."""
    cdf_bits = rng.choice([10, 12, 15])
    thresholds = sorted(rng.sample(range(1, 60), contexts - 1))
    rows = [[rng.randrange(-400, 400), *(rng.randrange(-5000, 5000) for _ in range(p))] for p in range(order + 1)]
    top = (65535 * 256 + rounding_q8) // step_q8
    tables = []
    for _ in range(positions + contexts):
        direct = rng.choice([0, 1, 3, 20, 100])
        symbols = 2 * direct + max(0, top - direct - 1).bit_length() + 2
        inner = sorted(rng.sample(range(1, 2**cdf_bits), symbols - 1))
        tables.append({"direct": direct, "cdf": [0, *inner, 2**cdf_bits]})
    return {
        "predictors": rows, "thresholds": thresholds, "position_tables": positions, "contexts": contexts,
        "cdf_bits": cdf_bits, "step_q8": step_q8, "rounding_q8": rounding_q8, "tables": tables,
    }  # fmt: skip


def reference_model(case: Case) -> predictive.Predictive:
    tables = [predictive.Table(table["direct"], table["cdf"]) for table in case["tables"]]
    return predictive.Predictive(
        case["predictors"], case["thresholds"], case["position_tables"], case["cdf_bits"], case["step_q8"],
        case["rounding_q8"], tables,
    )  # fmt: skip


def predictive_cases(rng: random.Random) -> Iterator[Case]:
    settings = [
        (0, 256, 128, 1, 1), (1, 256, 0, 1, 1), (2, 768, 384, 2, 3), (3, 1000, 333, 1, 5), (6, 2304, 1152, 8, 9),
        (6, 100_000, 50_000, 4, 2), (2, 1 << 24, 1 << 23, 1, 1), (4, 257, 256, 1, 9),
    ]  # fmt: skip
    for setting in settings:
        fields = predictive_model(rng, *setting)
        model = reference_model(fields)
        for samples in [*sample_runs(rng), jumps(rng)]:
            payload, levels, preds, recon = predictive.encode(model, samples)
            decoded = {"levels": levels, "preds": preds, "recon": recon}
            yield {**fields, **columns(samples), **decoded, "payload": payload.hex()}


def malformed_predictive_cases(rng: random.Random) -> Iterator[Case]:
    fields = predictive_model(rng, 3, 512, 256, 2, 3)
    model = reference_model(fields)
    payloads = [b"", b"\xff" * 4, b"\xff" * 40, b"\xff\xff\xff\xfe", bytes(90)]
    for payload in [*payloads, *(rng.randbytes(n) for n in (1, 4, 9, 99))]:
        case = {**fields, "count": 12, "payload": payload.hex()}
        try:
            levels, preds, recon = predictive.decode(model, payload, [True] * 12)
        except range_coder.Malformed:
            yield {**case, "valid": 0}
        else:
            yield {**case, "valid": 1, "levels": levels, "preds": preds, "recon": recon}
