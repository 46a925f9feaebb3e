"""The chain of `export.nested_chain` in torch: the twin that ONNX graphs and the integer codec are compared with.

Same rules, float32 or float64.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from edge_wz.errors import InputError
from export.nested_chain import Chain

LEVEL_BIAS = 32768


def require_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise InputError("this needs torch: pip install 'edge-wz[train]'") from None


def encode(chain: Chain, x: np.ndarray, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """(levels, bins) int64[T] of codes."""
    torch = require_torch()
    kind = getattr(torch, dtype)
    signal = torch.tensor(x, dtype=kind)[None, None]
    level = torch.floor(_causal(torch, signal, chain.gain[None], kind) + chain.half).clamp(-LEVEL_BIAS, LEVEL_BIAS - 1)
    level = level.to(torch.int64)
    return level.numpy(), torch.remainder(level + LEVEL_BIAS, chain.modulus).numpy()


def decode(chain: Chain, bins: np.ndarray, side: np.ndarray, dtype: str = "float32") -> np.ndarray:
    """float[T], LSB. side: (m, T), sensor units."""
    torch = require_torch()
    kind = getattr(torch, dtype)
    centred = torch.tensor(side, dtype=kind) - torch.tensor(chain.mean_y, dtype=kind)[:, None]
    estimate = _causal(torch, centred[None], chain.b, kind) + (chain.mean_u - chain.zero)
    position = (estimate / chain.step).clamp(chain.lowest, chain.highest)
    base = torch.tensor((bins - LEVEL_BIAS) % chain.modulus, dtype=kind)
    level = base + chain.modulus * torch.round((position - base) / chain.modulus)
    level = torch.where(level > chain.highest, level - chain.modulus, level)
    level = torch.where(level < chain.lowest, level + chain.modulus, level)
    resolved = level * chain.step + (chain.zero - chain.mean_u)
    filtered = _causal(torch, resolved[None, None], chain.c[None], kind) + chain.mean_x
    return np.asarray(filtered.numpy())


def _causal(torch: Any, signal: Any, taps: np.ndarray, kind: Any) -> Any:
    """(1, channels, T) filtered by (channels, L), newest first, summed over channels: (T,)."""
    kernel = torch.tensor(np.ascontiguousarray(taps[:, ::-1]), dtype=kind)[None]
    padded = torch.nn.functional.pad(signal, (kernel.shape[-1] - 1, 0))
    return torch.nn.functional.conv1d(padded, kernel)[0, 0]
