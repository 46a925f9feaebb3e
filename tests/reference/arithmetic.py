"""SPEC 1 and 1.1 in Python integers: they have no width, so nothing can overflow here or hide an overflow."""


def sat16(v: int) -> int:
    return min(max(v, -32768), 32767)


def sat32(v: int) -> int:
    return min(max(v, -(2**31)), 2**31 - 1)


def shift_round(v: int, s: int) -> int:
    return v if s == 0 else (v + 2 ** (s - 1)) >> s


def pack_bits(fields: list[tuple[int, int]]) -> bytes:
    """(value, n) fields, most significant bit first, zero fill."""
    text = "".join(format(value % 2**n, f"0{n}b") for value, n in fields if n)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def unpack_bits(data: bytes, widths: list[int]) -> list[int]:
    """The inverse; ValueError unless `data` has exactly these fields and zero fill."""
    text = "".join(format(byte, "08b") for byte in data)
    total = sum(widths)
    if len(text) != total + -total % 8 or "1" in text[total:]:
        raise ValueError("wrong length or fill")
    values, at = [], 0
    for n in widths:
        values.append(int(text[at : at + n], 2) if n else 0)
        at += n
    return values


def crc8(data: bytes) -> int:
    """Polynomial 0x2F, initial value 0xFF, bit by bit."""
    c = 0xFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = (c * 2) ^ 0x12F if c & 0x80 else c * 2
    return c


def level_check(turns: list[int], bits: int) -> int:
    """SPEC 3.2; -1 without one."""
    c = crc8(bytes(turn % 256 for turn in turns))
    return {0: -1, 4: (c >> 4) ^ (c & 15), 8: c}[bits]
