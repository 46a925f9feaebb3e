"""One link: framing and counters. Bytes in, whole packets out; what is no frame is counted and told."""

from __future__ import annotations

from dataclasses import replace

from edge_wz.formats.framing import FrameDecoder
from edge_wz.gateway.events import Event, FrameDiscarded
from edge_wz.gateway.fleet import LinkSpec
from edge_wz.gateway.stats import LinkStats


class LinkState:
    """Framing and counters of one link."""

    def __init__(self, spec: LinkSpec) -> None:
        self.spec = spec
        self.framing = FrameDecoder()
        self.counters = LinkStats()
        self.packet_bytes = 0  # framing `packet`: all that came
        self.touched = True

    def stats(self) -> LinkStats:
        if self.spec.framing == "packet":
            return replace(self.counters, fed_bytes=self.packet_bytes, good_bytes=self.packet_bytes)
        framing = self.framing
        return replace(
            self.counters, fed_bytes=framing.fed_bytes, good_bytes=framing.good_bytes, bad_bytes=framing.bad_bytes,
            discarded_bytes=framing.discarded_bytes, console_bytes=framing.console_bytes,
            pending_bytes=framing.pending_bytes,
        )

    def packets(self, data: bytes, now_us: int, events: list[Event]) -> list[bytes]:
        """The good packets in `data`; frames that are none are told."""
        self.touched = True
        if self.spec.framing == "packet":
            self.packet_bytes += len(data)
            return [data]
        packets, bad = self.framing.feed_packets(data)
        if bad:
            events += [FrameDiscarded(self.spec.link, frame.status.value, frame.wire_bytes, now_us) for frame in bad]
            self.count(frames_discarded=len(bad))
        self.count(frames=len(packets) + len(bad))
        return packets

    def count(self, **more: int) -> None:
        self.counters = replace(
            self.counters, **{name: getattr(self.counters, name) + number for name, number in more.items()}
        )
