"""The networks of `layered`: stacked recurrent encoder, decoder and prior whose step k belongs to layer k (torch).

As published: every network has two recurrent layers of 100 LeakyReLU units. The encoder sees the source at every step and one
linear map, shared by all steps, gives the logits of layer k. The decoder sees the side information and the symbol of layer k. The
prior sees the symbol before (and, conditional, the side information) and has a linear map of its own per layer. Symbols enter
priors without gradient. With one layer this is the monolithic model of Ozyilkan, Balle, Erkip (2023).
`periods` adds what the published networks lack: sine and cosine of source and side information at the modulo periods, the
noise's deviation as an input, and a reconstruction relative to the side information.

Source: Joukovsky, De Weerd, Deligiannis, "Learned layered coding for successive refinement in the Wyner-Ziv problem", section 3.2.
What it leaves open is chosen here: initial states are zero, the decoder's linear map is shared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 100
SLOPE = 0.01  # of LeakyReLU below zero


@dataclass(frozen=True)
class Shape:
    """`periods`: of the features, in units of the normal source, longest first; none: the published networks."""

    alphabets: tuple[int, ...]
    conditional: bool
    periods: tuple[float, ...] = ()
    limit: float = 6.0  # sources beyond are taken as this: outside the trained range the encoder saturates

    @property
    def widest(self) -> int:
        return max(self.alphabets)

    @property
    def side_inputs(self) -> int:
        return 2 + 2 * len(self.periods) if self.periods else 1


class Stack(nn.Module):
    """Two recurrent layers in plain operators, so that every export says exactly this."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, HIDDEN)
        self.keep = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.rise = nn.Linear(HIDDEN, HIDDEN)
        self.hold = nn.Linear(HIDDEN, HIDDEN, bias=False)

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        low, high = self.enter(inputs), None
        if state is not None:
            low = low + self.keep(state[0])
        low = functional.leaky_relu(low, SLOPE)
        high = self.rise(low)
        if state is not None:
            high = high + self.hold(state[1])
        return low, functional.leaky_relu(high, SLOPE)


def waves(values: Tensor, periods: tuple[float, ...]) -> list[Tensor]:
    """Sine and cosine columns of a column."""
    phases = [values * (2 * math.pi / period) for period in periods]
    return [wave for phase in phases for wave in (torch.sin(phase), torch.cos(phase))]


class Encoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.stack = Stack(1 + 2 * len(shape.periods))
        self.head = nn.Linear(HIDDEN, shape.widest)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [N] normal units -> log-probabilities [N, M_k] of each layer."""
        column = x[:, None].clamp(-self.shape.limit, self.shape.limit)
        inputs = torch.cat([column, *waves(column, self.shape.periods)], dim=1)
        state, found = None, []
        for alphabet in self.shape.alphabets:
            state = self.stack(inputs, state)
            found.append(functional.log_softmax(self.head(state[1])[:, :alphabet], dim=1))
        return found


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.stack = Stack(shape.side_inputs + shape.widest)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, y: Tensor, sigma: Tensor, symbols: list[Tensor]) -> Tensor:
        """y, sigma: [N]; symbols: [N, M_k] of each layer, one-hot or softly so -> reconstructions [N, layers]."""
        side = side_columns(self.shape, y, sigma)
        state, found = None, []
        for symbol in symbols:
            padded = functional.pad(symbol, (0, self.shape.widest - symbol.shape[1]))
            state = self.stack(torch.cat([side, padded], dim=1), state)
            found.append(self.head(state[1])[:, 0])
        out = torch.stack(found, dim=1)
        return y[:, None] + sigma[:, None] * out if self.shape.periods else out


class Prior(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.stack = Stack((shape.side_inputs if shape.conditional else 0) + shape.widest)
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, alphabet) for alphabet in shape.alphabets)

    def forward(self, y: Tensor, sigma: Tensor, symbols: list[Tensor]) -> list[Tensor]:
        """Log-probabilities [N, M_k] of each layer's symbol, from the symbols before it."""
        side = [side_columns(self.shape, y, sigma)] if self.shape.conditional else []
        before, state, found = torch.zeros(len(y), self.shape.widest, dtype=y.dtype), None, []
        for head, symbol in zip(self.heads, symbols, strict=True):
            state = self.stack(torch.cat([*side, before], dim=1), state)
            found.append(functional.log_softmax(head(state[1]), dim=1))
            before = functional.pad(symbol.detach(), (0, self.shape.widest - symbol.shape[1]))
        return found


def side_columns(shape: Shape, y: Tensor, sigma: Tensor) -> Tensor:
    column = y[:, None]
    if not shape.periods:
        return column
    return torch.cat([column, torch.log(sigma)[:, None], *waves(column, shape.periods)], dim=1)


class Networks(nn.Module):
    """The three of one model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder, self.decoder, self.prior = Encoder(shape), Decoder(shape), Prior(shape)


def one_hot(symbols: Tensor, alphabets: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """symbols: int64[N, layers]."""
    return [functional.one_hot(symbols[:, k], alphabet).to(dtype) for k, alphabet in enumerate(alphabets)]
