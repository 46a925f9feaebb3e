"""The rivals of `training.baselines` set up against one node: who needs a design of our own is given one here.

`dpcm_range` is scheme `predictive` reconstructed at mid-cell, its order and tables fitted at each step tried. `modulo`
is scheme `nested` without filter and check at k whole bits, its step tuned on the fitting data, decoded by `kalman`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache

import numpy as np

from edge_wz.codec import metrics
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.errors import DesignError
from edge_wz.model import Model
from training import baselines, design
from training.baselines import Rival, Signal
from training.data import Recording, choose_scale
from training.transmission import transmit

MAX_BITS = 12
STEP_FACTORS = (0.7, 1.0, 1.5, 2.2, 3.3)  # of the designed step: real tails are heavier than a design believes
TUNING_SAMPLES = 200_000


def finest_step(recording: Recording, name: str) -> float:
    """One LSB of the column's codes, sensor units: no integer codec resolves more."""
    return choose_scale(recording.column(name))[0]


def design_predictive(fit: Recording, name: str, step: float, packet_samples: int) -> Model:
    """A reference node without side information, reconstructed at mid-cell."""
    return design.design(fit, name, (), "predictive", step=step, decoder="midpoint", packet_samples=packet_samples)


@dataclass(frozen=True, eq=False)
class Arena:
    """One node, the recording it is tested on, what its gateway knows, and the rmse (sensor units) to meet."""

    model: Model
    fit: Recording
    recording: Recording
    side: SideInformation
    target_rmse: float

    @property
    def packet_samples(self) -> int:
        return self.model.node.packet_samples

    def signal(self, recording: Recording) -> Signal:
        return baselines.signal(self.model.node, recording.column(self.model.source), self.packet_samples)

    @property
    def test(self) -> Signal:
        return self.signal(self.recording)

    def measure(self, name: str) -> Rival:
        """The rival at the target rmse; `Rival.rmse` in LSB of the node."""
        target = self.target_rmse / self.model.node.scale
        if name == "dpcm_range":
            return self._dpcm_range(target)
        if name == "modulo":
            return baselines.modulo(self._modulo_points(target), target)
        coder = {"hold": baselines.hold, "dpcm_rice": baselines.dpcm_rice}[name]
        return coder(self.signal(self.fit), self.test, target)

    def _dpcm_range(self, target: float) -> Rival:
        lowest = finest_step(self.fit, self.model.source) / self.model.node.scale

        @cache
        def trial(step: float) -> Rival:
            rival = design_predictive(self.fit, self.model.source, step * self.model.node.scale, self.packet_samples)
            return self._run(rival, self.recording, SideInformation.none(self.recording.samples), step)

        return baselines.solve_step(trial, target, lowest=lowest)

    def _modulo_points(self, target: float) -> list[Rival]:
        points: list[Rival] = []
        for bits in range(1, MAX_BITS + 1):
            points.append(self._modulo(bits))
            if points[-1].rmse <= target or (len(points) > 2 and points[-1].rmse > 0.98 * points[-2].rmse):
                break
        return points

    def _modulo(self, bits: int) -> Rival:
        """The best step for k bits, judged on the fitting data."""
        plain = design.design(
            self.fit, self.model.source, self.model.side, "nested", rate=bits, decoder="kalman",
            packet_samples=self.packet_samples,
        )
        tuning = self.fit.part(0, min(self.fit.samples, TUNING_SAMPLES))
        side = SideInformation.of(tuning.matrix(self.model.side))

        def on_fit(factor: float) -> float:
            return self._run(_with_step(plain, factor), tuning, side, factor).rmse

        best = min(STEP_FACTORS, key=on_fit)
        return self._run(_with_step(plain, best), self.recording, self.side, best)

    def _run(self, model: Model, recording: Recording, side: SideInformation, step: float) -> Rival:
        values = recording.column(self.model.source)
        own = baselines.signal(model.node, values, self.packet_samples)
        sent = transmit(model.node, own.codes, own.present)
        decoder = Decoder(model)
        heard = side if decoder.neighbours else SideInformation.none(recording.samples)
        result, _ = decoder.reconstruct(decoder.initial_state(), sent.indices, heard)
        return Rival(sent.payload_bits, metrics.rmse(values, result.values) / self.model.node.scale, step)


def _with_step(model: Model, factor: float) -> Model:
    """The same plain modulo with its step scaled."""
    if factor == 1.0:
        return model
    from edge_wz.formats import blob

    node = model.node
    points = []
    for point in node.rate_points:
        tap = int(np.rint(int(point.taps[0]) / factor))
        if tap < 1:
            raise DesignError("modulo: the step is wider than the node's arithmetic allows")
        points.append((point.modulus, point.shift, point.rounding, [tap]))
    remade = blob.make_nested(
        node.packet_samples, node.hello_every, node.level_check_bits, node.scale, node.offset, points
    )
    return dataclasses.replace(model, node=remade)
