"""`edge-wz train --scheme layered --method gradient`: a network learns the layers of a recording; its table ships if it beats the designed one.

    analytic design -> what its gateway believes before each message -> networks (`training.layered`) -> gate -> table, polished table
    -> the best of these and the designed one, by the error at all depths on the last quarter of the recording

Beside the table goes the learned decoder as an ONNX graph, refitted to the table that was chosen, and both decoders' distortions on that
quarter, mean of all depths: the better is the bundle's default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from edge_wz.errors import InputError
from edge_wz.formats.sections.layered import encoder_bytes
from edge_wz.model import LayeredRatePoint, Model
from export import layered_decoder
from training import design, layered, layered_blocks, layered_compile, layered_gate
from training.data import Recording
from training.design_layered import LayeredParts, build, cost, errors_of, fidelity, finished, polished, with_priors
from training.layered_blocks import beliefs
from training.layered_lloyd import WEIGHT
from training.layered_pairs import Pairs, recorded
from training.material import Material, gather

STEPS = 4000
REFIT_SHARE = 0.35  # of the steps, for the decoder of a table that is not the network's own
VALIDATION = 4  # the last one of so many parts
VERDICT_SAMPLES = 50_000
WORTH = 0.995  # of the error: below, a learned table is taken
RECIPES = {"default": layered.DEFAULT, "paper": layered.PUBLISHED}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    layers: tuple[int, ...]
    mode: str = "marginal"
    packet_samples: int = 32
    recipe: str = "default"
    seed: int = 0
    steps: int = STEPS


def train(recording: Recording, source: str, side: tuple[str, ...], options: Options, say: Say = lambda text: None) -> Model:
    """DesignError if the training collapsed, saying which layer."""
    if not side:
        raise InputError("layers are learned given side information: name a neighbour with --side")
    torch.set_num_threads(1)
    model = design.design(
        recording, source, side, "layered", layers=options.layers, mode=options.mode, decoder="posterior", packet_samples=options.packet_samples
    )
    material = gather(recording, source, side)
    cut = len(material.codes) - len(material.codes) // VALIDATION
    pairs = recorded(source, *beliefs(model, material, slice(0, cut)))
    lesson = layered.Lesson(
        options.layers, options.mode, (WEIGHT / pairs.noise**2,) * len(options.layers), options.steps, RECIPES[options.recipe], options.seed
    )
    trained = layered.train(pairs, lesson, say)
    trained.require_alive()
    point = layered_compile.compiled(trained, pairs)
    costs = layered_gate.compare(point, pairs, options.mode, lesson.weights)
    costs.require_sound()
    kind, chosen, gains = _best(model, material, cut, point, options)
    if kind != "network":
        layered.refit(trained, pairs, chosen, int(options.steps * REFIT_SHARE), say)
    _, verdict = layered_compile.evaluate(trained.networks, chosen, _validation(pairs, model, material, cut), VERDICT_SAMPLES)
    about = {
        **model.provenance, "method": "gradient", "recipe": options.recipe, "steps": options.steps, "seed": options.seed, "table": kind,
        "intervals": len(chosen.messages), "table_bytes": encoder_bytes(chosen), "gain_db": gains, "rescues": trained.rescues,
        "validation_db": {"posterior": _rounded(verdict.posterior_db), "learned": _rounded(verdict.learned_db)},
        "better_on_validation": verdict.default,
    }  # fmt: skip
    if kind != "designed":
        parts = _parts(model, options)
        found = fidelity(errors_of(build(parts, material, chosen), material), material)
        bare, coding = finished(parts, material, chosen)
        about |= coding
        model = replace(bare, name=model.name, source=model.source, unit=model.unit, period_s=model.period_s, measured=found)
    graph = _graph(trained, pairs, say)
    decoder = verdict.default if graph else model.decoder
    return replace(model, side=side, provenance=about, learned=graph, decoder=decoder)


def _validation(pairs: Pairs, model: Model, material: Material, cut: int) -> Pairs:
    """The last rows in the units of the first."""
    codes, predicted, sigmas = beliefs(model, material, slice(cut, None))
    there = ~np.isnan(codes)
    rows = pairs.to_normal(codes[there]), pairs.to_normal(predicted[there]), sigmas[there] * pairs.lsb

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = rng.integers(len(rows[0]), size=n)
        return rows[0][chosen], rows[1][chosen], rows[2][chosen]

    return replace(pairs, draw=draw)


def _parts(model: Model, options: Options) -> LayeredParts:
    assert model.state_space is not None and model.side_filter is not None
    framing = model.node.packet_samples, model.node.hello_every
    return LayeredParts(model.state_space, model.side_filter, "posterior", *framing, options.layers, options.mode)


def _best(
    model: Model, material: Material, cut: int, point: LayeredRatePoint, options: Options
) -> tuple[str, LayeredRatePoint, dict[str, float]]:
    """(which, table, dB by which each is ahead of the designed one) on the last rows, mean of all depths."""
    parts, tail, first = _parts(model, options), material.part(cut, len(material.codes)), material.part(0, cut)
    tables = {"designed": layered_blocks.raw(model.node.rate_points[0]), "network": point}
    errors = errors_of(build(parts, tail, point), tail)
    better = polished(parts, first, point, errors)
    if better is not None:
        tables["network, polished"] = better.point
    codes = first.codes[first.present]
    tables = {name: with_priors(table, codes) for name, table in tables.items()}
    found = {name: cost(errors_of(build(parts, tail, table), tail)) for name, table in tables.items()}
    gains = {name: round(float(10 / np.log(10) * (found["designed"] - value)), 3) for name, value in found.items()}
    best = min(found, key=lambda name: found[name])
    if found[best] >= found["designed"] + np.log(WORTH):
        best = "designed"
    return best, tables[best], gains


def _graph(trained: layered.Trained, pairs: Pairs, say: Say) -> bytes:
    """The learned decoder as a graph; none, and a word about it, without the package onnx."""
    decoder = layered_compile.decoder_of(trained.networks, pairs)
    try:
        return bytes(layered_decoder.to_onnx(decoder).SerializeToString())
    except InputError as error:
        say(f"no learned decoder in the bundle: {error}")
        return b""


def _rounded(levels: tuple[float, ...]) -> list[float]:
    return [round(level, 3) for level in levels]

