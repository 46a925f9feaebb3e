"""CRC-8 over the turns of a packet (SPEC 3.2): it tells a wrongly resolved bin; corrupt bytes are for the CRC-16."""

import numpy as np
from numba import njit

CHECK_INIT = 0xFF
CHECK_POLYNOMIAL = 0x2F


def _crc8_table():
    table = np.zeros(256, dtype=np.uint8)
    for value in range(256):
        c = value
        for _ in range(8):
            c = ((c << 1) ^ CHECK_POLYNOMIAL) & 0xFF if c & 0x80 else c << 1
        table[value] = c
    return table


CRC8_TABLE = _crc8_table()


@njit(cache=True)
def check_step(c, turn):
    """The check after one more present sample."""
    return np.int64(CRC8_TABLE[(c ^ turn) & 0xFF])


@njit(cache=True)
def check_fold(c, bits):
    """The `bits` (0, 4 or 8) that are sent of the check `c`; -1 for none."""
    if bits == 8:
        return c
    if bits == 4:
        return (c >> 4) ^ (c & 15)
    return -1
