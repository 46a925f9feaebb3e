"""Count what an emulated core executes, exactly and without Python: a native callback of unicorn adds up each basic block.

Unlike a hook in Python (three million instructions a second), it costs little beside the emulation itself. Blocks come as address and
size; their instructions are told apart by the first halfword of each, 2 or 4 bytes in Thumb as in compressed RISC-V.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import carray, cfunc, types

BASE, HALFWORDS, HEAD = 0, 1, 2  # of the table: where the code begins, its length; then sizes in halfwords, then counts


@cfunc(types.void(types.voidptr, types.uint64, types.uint32, types.voidptr), cache=True)
def _on_block(engine, address, size, user):  # type: ignore[no-untyped-def]
    head = carray(user, (HEAD,), np.int64)
    halfwords = head[HALFWORDS]
    table = carray(user, (HEAD + 2 * halfwords,), np.int64)
    at = (np.int64(address) - table[BASE]) >> 1
    end = at + (np.int64(size) >> 1)
    if at < 0 or end > halfwords:
        return
    while at < end:
        table[HEAD + halfwords + at] += 1
        at += table[HEAD + at]


class Counter:
    """Executions of every instruction of `code`, which lies at `base` of the unicorn engine `uc`."""

    def __init__(self, uc: Any, code: bytes, base: int, symbols: Mapping[str, int], riscv: bool) -> None:
        halves = np.frombuffer(code + bytes(len(code) & 1), "<u2")
        self._table = np.zeros(HEAD + 2 * len(halves), np.int64)
        self._table[:HEAD] = base, len(halves)
        wide = halves & 3 == 3 if riscv else halves >> 11 >= 0x1D
        self._table[HEAD : HEAD + len(halves)] = np.where(wide, 2, 1)
        self.counts = self._table[HEAD + len(halves) :]
        starts = sorted((at, name) for name, at in symbols.items())
        self._names = ["?", *(name for _, name in starts)]
        places = [at for at, _ in starts]
        self._owner = np.array([bisect_right(places, base + 2 * half) for half in range(len(halves))])
        self._hook(uc)

    def _hook(self, uc: Any) -> None:
        """Past the binding, which takes callbacks in Python only."""
        import unicorn
        from unicorn.unicorn_py3.unicorn import uc_hook_h, uclib

        handle = uc_hook_h()
        status = uclib.uc_hook_add(
            uc._uch, ctypes.byref(handle), unicorn.UC_HOOK_BLOCK, ctypes.c_void_p(_on_block.address),
            ctypes.c_void_p(self._table.ctypes.data), ctypes.c_uint64(1), ctypes.c_uint64(0),
        )  # fmt: skip
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)

    def by_function(self) -> dict[str, int]:
        sums = np.bincount(self._owner, self.counts, len(self._names)).astype(np.int64)
        found: dict[str, int] = {}
        for name, count in zip(self._names, sums.tolist(), strict=True):
            if count:
                found[name] = found.get(name, 0) + count
        return found

    def total(self, functions: np.ndarray | None = None) -> int:
        """Of all instructions, or of those that `functions` (from `owned_by`) marks."""
        return int(self.counts.sum() if functions is None else self.counts[functions].sum())

    def owned_by(self, prefixes: tuple[str, ...]) -> np.ndarray:
        """Which halfwords belong to functions whose names begin so."""
        return np.array([name.startswith(prefixes) for name in self._names])[self._owner]

    def forget(self) -> None:
        self.counts[:] = 0
