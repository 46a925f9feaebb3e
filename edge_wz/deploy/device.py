"""What a node can be asked (SPEC 12.3), as values: attach, look, upload, try, confirm, resume.

Blocking, one request at a time. A node leaves management by itself 10 s after the last request, so whoever attaches may also
just go away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_wz.deploy import smp
from edge_wz.deploy.wire import Wire
from edge_wz.errors import LinkError
from edge_wz.formats.layout import SCHEME_CODES

PROTOCOL = 1
ECHO_S = 0.6  # one try
ERASE_S = 40.0
ANSWER_S = 5.0
COUNTERS = (
    "samples", "absent", "saturated", "data_packets", "hello_packets", "lost_packets", "requests", "bad_lines", "images_refused",
    "flash_errors", "trials_reverted",
)  # fmt: skip
EVENTS = {
    1: "restart", 2: "no valid image", 3: "model on trial", 4: "model confirmed", 5: "trial ended by time", 6: "trial reverted",
    7: "image refused", 8: "packets lost", 9: "flash failed", 10: "upload begun",
}  # fmt: skip


@dataclass(frozen=True)
class Info:
    """What the firmware is. `schemes`: names; `slot_bytes`, `buffer_bytes`: what an image and a packet may take."""

    board: str
    runtime: str
    schemes: tuple[str, ...]
    slot_bytes: int
    buffer_bytes: int


@dataclass(frozen=True)
class State:
    """What runs. Model ids are hexadecimal, "" for none; `trial_s`: seconds left, None when the model is confirmed."""

    node_id: int | None
    model_id: str
    other_id: str
    boot_epoch: int | None
    trial_s: int | None


class Device:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._client = smp.Client(wire)

    def close(self) -> None:
        self._client.close()

    def attach(self, timeout_s: float) -> None:
        """Ask until it answers. The message of the LinkError says what was heard instead."""
        until_s = time.monotonic() + timeout_s
        while True:
            try:
                self._client.request(smp.EchoWrite(d="wz"), "echo", ECHO_S)
                break
            except smp.RefusedRequest:
                break  # it answers
            except LinkError:
                if time.monotonic() >= until_s:
                    raise LinkError(f"{self.wire.link.name}: no answer in {timeout_s:g} s; {self.wire.what_was_heard()}") from None
        self._client.learn_buffer(ANSWER_S)

    def info(self) -> Info:
        try:
            answer = self._client.request(smp.InfoRead(), "info")
        except smp.RefusedRequest as error:
            if error.rc != 8:
                raise
            raise LinkError(f"{self.wire.link.name}: answers, but is no edge_wz node (management group 64 is not there)") from None
        if answer.protocol > PROTOCOL:
            raise LinkError(f"{self.wire.link.name}: speaks protocol {answer.protocol}, this program {PROTOCOL}: update edge-wz")
        names = tuple(name for name, code in SCHEME_CODES.items() if answer.schemes >> code & 1)
        return Info(answer.board, answer.runtime, names, answer.slot, answer.buffer)

    def state(self) -> State:
        answer = self._client.request(smp.StateRead(), "state")
        return State(answer.node, (answer.model or b"").hex(), (answer.other or b"").hex(), answer.epoch, answer.trial)

    def counters(self) -> dict[str, int]:
        """By name; those of a later firmware have no name here and are left out."""
        return dict(zip(COUNTERS, self._client.request(smp.CountersRead(), "counters").c, strict=False))

    def log(self) -> list[tuple[int, str]]:
        """(seconds since the restart, what happened), oldest first."""
        return [(second, EVENTS.get(code, f"event {code}")) for code, second in self._client.request(smp.LogRead(), "log").log]

    def upload(self, image: bytes, told: Callable[[int], None]) -> None:
        for offset in self._client.upload(image, ERASE_S, ANSWER_S):
            told(offset)

    def images(self) -> Iterator[bytes]:
        """Hashes of the valid images in the slots."""
        return (image.hash or b"" for image in self._client.request(smp.ImageStatesRead(), "images").images)

    def test(self, image_hash: bytes) -> None:
        """Run that image at once, on trial."""
        self._client.request(smp.ImageStatesWrite(hash=image_hash), "test", ERASE_S)

    def confirm(self) -> None:
        self._client.request(smp.ImageStatesWrite(confirm=True), "confirm", ERASE_S)

    def revert(self) -> None:
        self._client.request(smp.RevertWrite(), "revert", ERASE_S)

    def resume(self) -> None:
        """Back to sending packets."""
        self._client.request(smp.ResumeWrite(), "resume")

    def reset(self) -> None:
        self._client.request(smp.ResetWrite(), "reset")
