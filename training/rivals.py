"""The rivals of `training.baselines` set up against one node: who needs a design of our own is given one here.

`dpcm_range` is scheme `predictive` reconstructed at mid-cell, its order and tables fitted at each step tried. `modulo`
is scheme `nested` without filter and check at k whole bits, its step tuned on the fitting data, decoded by `kalman`
with the node's own state space.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache

import numpy as np

from edge_wz.codec import metrics
from edge_wz.codec.reconstruction import Decoder
from edge_wz.codec.side_information import SideInformation
from edge_wz.formats import blob
from edge_wz.model import Model, StateSpace
from training import baselines
from training import design_nested as nested
from training import design_predictive as predictive
from training.baselines import Rival, Signal
from training.data import Recording, choose_scale
from training.material import gather
from training.transmission import transmit

MAX_BITS = 12
GRID = 1.35  # of the steps that `modulo` tries
MAX_WALK = 6
RANGE_SIGMAS = 6.0  # modulo range at the first step tried, in changes of the source
TUNING_SAMPLES = 100_000
HELLO_EVERY = 128
ZERO = np.zeros((1, 1))
UNUSED = StateSpace(A=ZERO, C=ZERO, Q=ZERO, S=ZERO, R=ZERO, mean=np.zeros(1))


def finest_step(recording: Recording, name: str) -> float:
    """One LSB of the column's codes, sensor units: no integer codec resolves more."""
    return choose_scale(recording.column(name))[0]


def design_predictive(fit: Recording, name: str, step: float, packet_samples: int) -> Model:
    """A reference node without side information, reconstructed at mid-cell: no state space needs to be identified."""
    material = gather(fit, name, ())
    return predictive.design_predictive(material, UNUSED, "step", (step,), "midpoint", packet_samples, HELLO_EVERY)


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
        step = RANGE_SIGMAS * self._spread() / 2
        for bits in range(1, MAX_BITS + 1):
            step = self._best_step(bits, step)
            points.append(self._run(self._plain(bits, step), self.recording, self.side, step))
            if points[-1].rmse <= target:
                break
            step = max(1.0, step / 2)
        return points

    def _spread(self) -> float:
        """Scale of the source's changes on the fitting data, LSB."""
        changes = np.diff(self.fit.column(self.model.source))
        return max(1.0, float(np.nanstd(changes)) / self.model.node.scale)

    def _best_step(self, bits: int, start: float) -> float:
        """The step of least rmse on the fitting data: a walk on a geometric grid."""
        tuning = self.fit.part(0, min(self.fit.samples, TUNING_SAMPLES))
        side = SideInformation.of(tuning.matrix(self.model.side))

        @cache
        def cost(power: int) -> float:
            step = max(1.0, start * GRID**power)
            return self._run(self._plain(bits, step), tuning, side, step).rmse

        best = 0
        for direction in (1, -1):
            for _ in range(MAX_WALK):
                if cost(best + direction) >= cost(best):
                    break
                best += direction
        return max(1.0, start * GRID**best)

    def _plain(self, bits: int, step: float) -> Model:
        """The node's own state space behind a plain modulo quantizer."""
        node = self.model.node
        point = nested.nested_point(step, 1 << bits)
        made = blob.make_nested(node.packet_samples, node.hello_every, 0, node.scale, node.offset, [point])
        return dataclasses.replace(self.model, node=made, decoder="kalman", max_error=None, side_filter=None)

    def _run(self, model: Model, recording: Recording, side: SideInformation, step: float) -> Rival:
        values = recording.column(self.model.source)
        own = baselines.signal(model.node, values, self.packet_samples)
        sent = transmit(model.node, own.codes, own.present)
        decoder = Decoder(model)
        heard = side if decoder.neighbours else SideInformation.none(recording.samples)
        result, _ = decoder.reconstruct(decoder.initial_state(), sent.indices, heard)
        return Rival(sent.payload_bits, metrics.rmse(values, result.values) / self.model.node.scale, step)

