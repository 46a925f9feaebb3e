"""SPEC 1.2 in Python integers. The bytes written are one number, so a carry is an addition; slow and plain."""


class Malformed(ValueError):
    """A payload that SPEC calls malformed."""


class Encoder:
    def __init__(self) -> None:
        self.low = 0
        self.range = 2**32 - 1
        self.written = 0
        self.count = 0

    def _append(self, byte: int) -> None:
        self.written = self.written * 256 + byte
        self.count += 1

    def encode(self, start: int, size: int, total_bits: int) -> None:
        assert start >= 0 and size >= 1 and start + size <= 2**total_bits and total_bits <= 16
        r = self.range >> total_bits
        self.low += r * start
        self.range = self.range - r * start if start + size == 2**total_bits else r * size
        if self.low >= 2**32:
            self.low -= 2**32
            self.written += 1
        while self.range < 2**24:
            self._append(self.low >> 24)
            self.low = (self.low * 256) % 2**32
            self.range *= 256

    def encode_bits(self, value: int, n: int) -> None:
        if n > 8:
            self.encode_bits(value >> 8, n - 8)
            value, n = value % 256, 8
        if n > 0:
            self.encode(value, 1, n)

    def finish(self) -> bytes:
        for k in range(5):
            m = 2 ** (32 - 8 * k) - 1
            v = (self.low + m) - ((self.low + m) % (m + 1))
            if v < self.low + self.range:
                break
        if v >= 2**32:
            v -= 2**32
            self.written += 1
        for i in range(k):
            self._append((v >> (24 - 8 * i)) % 256)
        return self.written.to_bytes(self.count, "big").rstrip(b"\0")


class Decoder:
    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.position = 4
        self.code = int.from_bytes(payload[:4].ljust(4, b"\0"), "big")
        self.range = 2**32 - 1
        if self.code >= self.range:
            raise Malformed("code")

    def target(self, total_bits: int) -> int:
        return min(self.code // (self.range >> total_bits), 2**total_bits - 1)

    def take(self, start: int, size: int, total_bits: int) -> None:
        r = self.range >> total_bits
        self.code -= r * start
        self.range = self.range - r * start if start + size == 2**total_bits else r * size
        while self.range < 2**24:
            byte = self.payload[self.position] if self.position < len(self.payload) else 0
            self.position += 1
            self.code = self.code * 256 + byte
            self.range *= 256

    def symbol(self, cdf: list[int], total_bits: int) -> int:
        target = self.target(total_bits)
        found = next(s for s in range(len(cdf) - 1) if cdf[s] <= target < cdf[s + 1])
        self.take(cdf[found], cdf[found + 1] - cdf[found], total_bits)
        return found

    def bits(self, n: int) -> int:
        high = 0
        if n > 8:
            high = self.bits(n - 8)
            n = 8
        if n == 0:
            return 0
        value = self.target(n)
        self.take(value, 1, n)
        return high * 2**n + value

    def finish(self) -> None:
        if self.position < len(self.payload):
            raise Malformed("trailing")
