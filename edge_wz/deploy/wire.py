"""What comes over a link to a node, sorted: answers of its management, packets of its data mode, and the rest.

Unlike the gateway's framing, which must account for every byte, this looks for an answer anywhere, since it may begin to
listen in the middle of anything (SPEC 12.1). The newest bytes are kept to say what was heard when no answer comes.
"""

from __future__ import annotations

import binascii
from collections import deque

from edge_wz.deploy.link import Link
from edge_wz.formats import packet
from edge_wz.formats.console import LINE_START, LONGEST_LINE, first_line
from edge_wz.formats.framing import FrameDecoder
from edge_wz.formats.packet import Hello

HEARD_BYTES = 1 << 16
SHOWN_BYTES = 24
TEXT = frozenset(b"\t\r\n" + bytes(range(32, 127)))


class Wire:
    """`poll` reads; then `answers` and `packets` hold what came, oldest first. `heard_bytes` counts all of it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.answers: deque[bytes] = deque()
        self.packets: deque[bytes] = deque(maxlen=1024)
        self.heard_bytes = 0
        self.sent_bytes = 0
        self._frames = FrameDecoder()
        self._lines = b""
        self._newest = b""

    def poll(self, wait_s: float) -> bool:
        """Read once. Whether anything came."""
        data = self.link.read(wait_s)
        self.heard_bytes += len(data)
        self._newest = (self._newest + data)[-HEARD_BYTES:]
        self.packets.extend(self._frames.feed_packets(data)[0])
        answers, self._lines = take_answers(self._lines + data)
        self.answers.extend(answers)
        return bool(data)

    def write(self, data: bytes) -> None:
        self.link.write(data)
        self.sent_bytes += len(data)

    def what_was_heard(self) -> str:
        """One clause for a message about a node that does not answer."""
        newest = self._newest
        if not newest:
            return "nothing was heard"
        frames = FrameDecoder().feed_packets(newest)[0]
        hellos = [found for raw in frames if isinstance(found := _hello(raw), Hello)]
        if hellos:
            hello = hellos[-1]
            return (f"heard packets of node {hello.node_id}, model {hello.model_id.hex()}: a node whose firmware takes no"
                    " models, or that does not hear us (check its receive line)")
        if _is_looped(newest):
            return "heard our own requests: transmit and receive are connected to each other"
        shown = newest[-SHOWN_BYTES:]
        if all(byte in TEXT for byte in newest[-200:]):
            return f"heard text: {newest.strip()[-60:].decode('ascii')!r}: another program or device"
        if frames and sum(map(len, frames)) * 2 > len(newest):
            return f"heard {len(frames)} frames without a hello yet: a node that sends, and does not hear us"
        return f"heard {self.heard_bytes} bytes that are neither frames nor answers, last {shown.hex(' ')}: wrong baud rate?"


def take_answers(data: bytes) -> tuple[list[bytes], bytes]:
    """The messages of whole lines in `data`, wherever they begin; and the end of it, in which one may be coming."""
    messages = []
    at = data.find(LINE_START)
    while at >= 0:
        end = first_line(data[at : at + LONGEST_LINE])
        if end:
            messages.append(binascii.a2b_base64(data[at + len(LINE_START) : at + end])[2:-2])
            data = data[at + end :]
        at = data.find(LINE_START, 0 if end else at + 1)
    return messages, data[-LONGEST_LINE:]


def _hello(raw: bytes) -> Hello | None:
    """A hello of an addressed link, else of a shared one."""
    found = packet.parse_hello(raw)
    if not isinstance(found, Hello):
        found = packet.parse_hello(raw, packet.split_node_id(raw)[1])
    return found if isinstance(found, Hello) else None


def _is_looped(newest: bytes) -> bool:
    """Whether what came back is a request, of which no node sends any."""
    return any(message[:1] and message[0] & 7 in (0, 2) for message in take_answers(newest)[0])
