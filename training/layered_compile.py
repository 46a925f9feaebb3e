"""From trained networks to what ships: the interval table, its polish, the learned decoder, and which decoder is better.

The table is read off the encoder in float64 over all codes, so that no batch size or thread decides a threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from edge_wz.model import LayeredRatePoint
from export.layered_decoder import LayeredDecoder
from export.layered_table import CODES, compile_table
from training.layered import Trained
from training.layered_lloyd import priors
from training.layered_measure import decode
from training.layered_network import SLOPE, Networks, one_hot
from training.layered_pairs import Pairs

BATCH = 8192
PRIOR_SAMPLES = 1_000_000
MARGIN_DB = 0.02  # by which the learned decoder must win on validation to be the default
CLOSED_FORM, LEARNED = "posterior", "learned"


@dataclass(frozen=True)
class Verdict:
    """Distortion of every layer in dB, closed form and learned, on the same samples, and the better."""

    samples: int
    posterior_db: tuple[float, ...]
    learned_db: tuple[float, ...]

    @property
    def default(self) -> str:
        ahead = np.mean(np.array(self.posterior_db) - np.array(self.learned_db))
        return LEARNED if ahead > MARGIN_DB else CLOSED_FORM


@torch.no_grad()
def encoder_numbers(networks: Networks, pairs: Pairs, codes: np.ndarray | None = None) -> np.ndarray:
    """Message numbers of `codes`, or of every code by code + 32768, by the network in float64."""
    encoder = networks.encoder.double()
    codes = np.arange(-32768, 32768) if codes is None else codes
    x = torch.tensor(pairs.to_normal(codes), dtype=torch.float64)
    logs = encoder(x)
    encoder.float()
    symbols = tuple(log.argmax(dim=1).numpy() for log in logs)
    return np.asarray(np.ravel_multi_index(symbols, networks.shape.alphabets))


def compiled(trained: Trained, pairs: Pairs, seed: int = 2) -> LayeredRatePoint:
    """The encoder as a table, with the priors of a million samples."""
    alphabets = trained.networks.shape.alphabets
    numbers = encoder_numbers(trained.networks, pairs)
    codes = pairs.to_codes(pairs.draw(np.random.default_rng(seed), PRIOR_SAMPLES)[0])
    mass = np.bincount(numbers[codes + CODES // 2], minlength=math.prod(alphabets)).astype(np.float64)
    return compile_table(numbers, alphabets, priors(mass, alphabets))


def decoder_of(networks: Networks, pairs: Pairs) -> LayeredDecoder:
    weights = {name: value.detach().numpy().copy() for name, value in networks.decoder.state_dict().items()}
    return LayeredDecoder(networks.shape.alphabets, networks.shape.periods, pairs.lsb, pairs.mean, SLOPE, weights)


@torch.no_grad()
def learned_values(networks: Networks, y: np.ndarray, sigma: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(reconstructions, bits of each symbol under the prior), both float64[N, layers], normal units, by torch in batches."""
    values, bits = [], []
    for first in range(0, len(y), BATCH):
        part = slice(first, first + BATCH)
        hot = one_hot(torch.tensor(symbols[part]), networks.shape.alphabets)
        side = (torch.tensor(y[part], dtype=torch.float32), torch.tensor(sigma[part], dtype=torch.float32))
        values.append(networks.decoder(*side, hot).double().numpy())
        logs = networks.prior(*side, hot)
        bits.append(torch.stack([-(h * log).sum(dim=1) for h, log in zip(hot, logs, strict=True)], dim=1).double().numpy() / math.log(2))
    return np.concatenate(values), np.concatenate(bits)


@dataclass(frozen=True)
class Unpolished:
    """The networks as they are, hard symbols: cumulative rates under the learned prior, distortions of the learned decoder."""

    samples: int
    bits: tuple[float, ...]
    distortion_db: tuple[float, ...]


def evaluate(networks: Networks, point: LayeredRatePoint, pairs: Pairs, samples: int, seed: int = 3) -> tuple[Unpolished, Verdict]:
    """The encoder through its table, then both decoders on the same samples."""
    x, y, sigma = pairs.draw(np.random.default_rng(seed), samples)
    numbers = point.numbers[np.searchsorted(point.thresholds, pairs.to_codes(x), side="right")]
    symbols = np.stack(np.unravel_index(numbers, point.alphabets), axis=1)
    learned, bits = learned_values(networks, y, sigma, symbols)
    closed = [decode(point, pairs, numbers, layer + 1, y, sigma) for layer in range(point.layers)]
    learned_db = _db(x[:, None] - learned)
    verdict = Verdict(samples, _db(x[:, None] - np.stack(closed, axis=1)), learned_db)
    return Unpolished(samples, tuple(np.cumsum(bits.mean(axis=0)).tolist()), learned_db), verdict


def _db(errors: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in 10 * np.log10(np.mean(errors * errors, axis=0)))
