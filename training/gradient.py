"""`edge-wz train --method gradient`: recording -> learned `nested` bundle, ready for `serve`.

The side information is what the gateway will have: neighbours as recorded, or with `side_step` as the gateway decodes
them from their own `predictive` streams. Unlike `training.design` this needs torch, gives the node a filter, and is
judged by the rule `nearest`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_wz.codec.familiar import TRAITS, traits
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import InputError
from edge_wz.model import Model
from training import nested_fit, nested_model, rivals
from training.data import Recording
from training.design_nested import check_rate
from training.evaluate import Source, reconstruct
from training.material import gather
from training.nested import RECIPES, TAPS, Lesson
from training.transmission import transmit

SIDE_TAPS = 12
DROPOUT = 0.05
MAX_RATE_POINTS = 8

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """Those of the command that concern learning; None: the recipe's own, or all processors."""

    rates: tuple[float, ...]
    recipe: str = "default"
    restarts: int | None = None
    seed: int = 0
    taps: int = TAPS
    side_taps: int | None = None
    dropout: float = DROPOUT
    side_step: float | None = None
    jobs: int | None = None
    device: str = "auto"
    fresh: bool = False
    packet_samples: int = 32
    level_check_bits: int = 0
    hello_every: int = 128

    @property
    def lesson(self) -> Lesson:
        recipe = RECIPES[self.recipe]
        side_taps = self.side_taps or (TAPS if self.recipe == "paper" else SIDE_TAPS)
        moduli = tuple(sorted(check_rate(rate) for rate in self.rates))
        if len(moduli) > MAX_RATE_POINTS or len(set(moduli)) != len(moduli):
            raise InputError(f"a bundle has 1 to {MAX_RATE_POINTS} different rate points, not {len(moduli)}")
        return Lesson(moduli, self.taps, side_taps, recipe, self.dropout, chosen_device(self.device))


def chosen_device(asked: str) -> str:
    """cpu, or cuda where there is one and it is asked for or left open."""
    if importlib.util.find_spec("torch") is None:
        raise InputError("--method gradient needs torch: pip install 'edge-wz[train]'")
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def train(
    recording: Recording,
    source: str,
    side: Sequence[str],
    out: str,
    options: Options,
    *,
    say: Say = lambda text: None,
    watch: nested_fit.Report | None = None,
) -> Model:
    """Learn a model; the states of an unfinished run lie beside `out`, and the caller drops them with `finish` once the
    bundle is written.
    """
    if not side:
        raise InputError("--method gradient learns how to use side information: name at least one neighbour with --side")
    lesson = options.lesson
    gather(recording, source, side)  # what is wrong with the columns as recorded is said first
    heard = as_decoded(recording, side, options) if options.side_step else recording
    material = gather(heard, source, side)
    rows = nested_model.rows_of(material)
    folder = nested_fit.state_folder(out)
    if folder.exists() and not options.fresh:
        say(f"continuing the training in {folder}")
    with _hint(folder, say):
        result = nested_fit.fit(
            rows, lesson, seed=options.seed, restarts=options.restarts, jobs=options.jobs or processors(),
            folder=folder, fresh=options.fresh, report=watch,
        )
    for note in result.notes:
        say(note)
    model = nested_model.to_model(
        result.filters, rows, material.scale, material.offset, packet_samples=options.packet_samples,
        hello_every=options.hello_every, level_check_bits=options.level_check_bits, side=side,
    )
    return replace(
        model, source=source, side=tuple(side), period_s=recording.period_s or 1.0,
        provenance={**_provenance(recording, options, lesson, rows.samples, result), TRAITS: traits(material.values)},
        measured={
            "training": nested_model.figures(model, material), "held_out_sqnr_db": [round(v, 3) for v in result.sqnr_db],
            "samples_for_ten_wrong_candidates": list(result.tail_samples),
        },
    )  # fmt: skip


def finish(out: str) -> None:
    """Forget the states of a run whose bundle is on disk."""
    nested_fit.forget(nested_fit.state_folder(out))


def graphs(model: Model, say: Say = lambda text: None) -> dict[str, bytes]:
    """ONNX members of the bundle; none, and a word about it, without the package onnx."""
    from export import onnx_graph

    try:
        return onnx_graph.members(model)
    except InputError as error:
        say(str(error))
        return {}


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_decoded(recording: Recording, side: Sequence[str], options: Options) -> Recording:
    """The recording with its neighbours as a gateway decodes them from `predictive` streams of `side_step`."""
    assert options.side_step is not None
    columns = dict(recording.columns)
    for name in side:
        step = max(options.side_step, rivals.finest_step(recording, name))
        reference = rivals.design_predictive(recording, name, step, options.packet_samples)
        sampled = Source.of(reference, recording, name)
        sent = transmit(reference.node, sampled.codes, sampled.present)
        silent = SideInformation.none(recording.samples)
        decoded = reconstruct(Decoder(reference, "midpoint"), sent.indices, silent).values
        columns[name] = np.where(sampled.present, decoded, np.nan)
    return replace(recording, columns=columns)


@contextlib.contextmanager
def _hint(folder: Path, say: Say) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted; the same command continues from {folder}")
        raise


def _provenance(
    recording: Recording, options: Options, lesson: Lesson, samples: int, result: nested_fit.Result
) -> dict[str, object]:
    return {
        "method": "gradient", "recipe": options.recipe, "recording": recording.path, "samples": samples, "asked": {"rate": list(options.rates)},
        "seed": options.seed, "kept_seed": result.seed, "restart_sqnr_db": [round(score, 3) for score in result.scores],
        "taps": lesson.taps, "side_taps": lesson.side_taps, "dropout": lesson.dropout, "side_step": options.side_step,
        "device": lesson.device,
    }  # fmt: skip
