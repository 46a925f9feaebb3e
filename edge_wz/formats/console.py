"""Lines of SMP over a serial console (SPEC 12.2), as far as a receiver of frames must know them: which bytes are one.

What a message says is the business of `deploy`; requests are packed and answers parsed there by the library smpclient.
Reference: MCUmgr, "SMP over serial console", Zephyr documentation.
"""

from __future__ import annotations

import binascii
import re

LINE_START = b"\x06\x09"
LINE_END = b"\n"
LONGEST_LINE = 128
BASE64 = re.compile(rb"\x06\x09(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\n")


def first_line(data: bytes) -> int:
    """Bytes of the message on one line, with the right length and check, that `data` begins with; 0: it does not."""
    if not data.startswith(LINE_START):
        return 0
    end = data.find(LINE_END, 0, LONGEST_LINE) + 1
    if BASE64.fullmatch(data, 0, end) is None:
        return 0
    message = binascii.a2b_base64(data[len(LINE_START) : end])
    intact = int.from_bytes(message[:2], "big") == len(message) - 2 and binascii.crc_hqx(message[2:], 0) == 0
    return end if intact else 0


def bad_line(data: bytes) -> int:
    """Bytes up to the end of a line or as many as a line may have; 0: its end may still come."""
    end = data.find(LINE_END, 0, LONGEST_LINE) + 1
    return end or (LONGEST_LINE if len(data) >= LONGEST_LINE else 0)
