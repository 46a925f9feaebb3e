"""Requests to a node and their answers (SPEC 12.3), by the library smpclient over a `Wire`.

smpclient opens serial ports by itself, without a lock and without a look at what else is on the wire; so it gets a transport of
ours instead. A request is repeated with the same sequence number until it is answered: lines may be damaged, and answers that
come twice or too late are dropped by their number.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import ConfigDict

from edge_wz.deploy.wire import Wire
from edge_wz.errors import LinkError

try:
    from smp import error as smp_error
    from smp import header as smp_header
    from smp import message as smp_message
    from smp import packet as smp_packet
    from smpclient import SMPClient
    from smpclient.exceptions import SMPClientException
    from smpclient.generics import success
    from smpclient.requests.image_management import ImageStatesRead, ImageStatesWrite
    from smpclient.requests.os_management import EchoWrite, MCUMgrParametersRead, ResetWrite
except ImportError:
    raise LinkError("deploy needs smpclient: pip install edge-wz[deploy]") from None

logging.getLogger("smpclient").setLevel(logging.CRITICAL)  # what it tells of each repeated request is told by our errors, once
GROUP = 64
REPEAT_S = 0.5
POLL_S = 0.02
FIRST_BUFFER = 96  # bytes of a request before the node has said how many it takes
SEQUENCE_AT = 6
ERRORS = {
    1: "flash failed", 2: "too large", 3: "invalid request", 5: "no such image", 6: "not in this state", 8: "no such command",
    9: "corrupt",
}  # fmt: skip


class RefusedRequest(LinkError):
    """The node answered with an error. `rc`: SPEC 12.2; `reason`: in its words."""

    def __init__(self, what: str, rc: int, reason: str) -> None:
        super().__init__(f"{what}: the node refuses: {ERRORS.get(rc, f'error {rc}')}" + (f" ({reason})" if reason else ""))
        self.rc = rc
        self.reason = reason


class WireTransport:
    """smpclient's transport over a wire. Reading waits in small steps, so that smpclient's own time limits work."""

    _smp_server_transport_buffer_size: int | None = None

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._sequence = -1

    async def connect(self, address: str, timeout_s: float) -> None:
        """The wire is open."""

    async def disconnect(self) -> None:
        """Closed by who opened it."""

    async def send(self, data: bytes) -> None:
        self._sequence = data[SEQUENCE_AT]
        for line in smp_packet.encode(data):
            self._wire.write(line)

    async def receive(self) -> bytes:
        while True:
            if (answer := self._answer()) is not None:
                return answer
            self._wire.poll(POLL_S)
            await asyncio.sleep(0)

    async def send_and_receive(self, data: bytes) -> bytes:
        while True:
            await self.send(data)
            until_s = time.monotonic() + REPEAT_S
            while time.monotonic() < until_s:
                if (answer := self._answer()) is not None:
                    return answer
                self._wire.poll(POLL_S)
                await asyncio.sleep(0)

    def _answer(self) -> bytes | None:
        """The answer to the last request, if it has come; older ones are dropped."""
        while self._wire.answers:
            answer = self._wire.answers.popleft()
            if len(answer) > SEQUENCE_AT and answer[0] & 7 in (1, 3) and answer[SEQUENCE_AT] == self._sequence:
                return answer
        return None

    def initialize(self, smp_server_transport_buffer_size: int) -> None:
        self._smp_server_transport_buffer_size = smp_server_transport_buffer_size

    @property
    def mtu(self) -> int:
        return self._smp_server_transport_buffer_size or FIRST_BUFFER

    @property
    def max_unencoded_size(self) -> int:
        return self.mtu - 4  # length and check lie in the same buffer


class Client:
    """`request` and `upload`, blocking. Whatever smpclient raises comes out as LinkError."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._transport = WireTransport(wire)
        self._client = SMPClient(self._transport, wire.link.name)
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()

    def request(self, request: Any, what: str, timeout_s: float = 5.0) -> Any:
        """The answer. RefusedRequest if it is an error, LinkError if none comes."""
        try:
            answer = self._runner.run(self._client.request(request, timeout_s))
        except TimeoutError:
            raise LinkError(f"{self._wire.link.name}: no answer to {what}; {self._wire.what_was_heard()}") from None
        except SMPClientException as error:
            raise LinkError(f"{self._wire.link.name}: not understood, the answer to {what}: {_first_line(error)}") from None
        if not success(answer):
            raise _refused(what, answer)
        return answer

    def learn_buffer(self, timeout_s: float) -> None:
        answer = self.request(MCUMgrParametersRead(), "parameters", timeout_s)
        self._transport.initialize(answer.buf_size)

    def upload(self, image: bytes, erase_s: float, timeout_s: float) -> Iterator[int]:
        """The offsets that the node wants next; it goes on where an upload of the same image broke off."""
        pieces = self._client.upload(image, first_timeout_s=erase_s, subsequent_timeout_s=timeout_s)
        while True:
            try:
                offset = self._runner.run(_next(pieces))
            except TimeoutError:
                raise LinkError(f"{self._wire.link.name}: no answer during the upload; {self._wire.what_was_heard()}") from None
            except SMPClientException as error:
                raise _upload_error(error) from None
            if offset is None:
                return
            yield offset


async def _next(pieces: Any) -> int | None:
    return await anext(pieces, None)


def _refused(what: str, answer: Any) -> RefusedRequest:
    code = getattr(answer, "rc", None)
    if code is None:
        code = answer.err.rc
    return RefusedRequest(what, int(code), str(getattr(answer, "rsn", None) or ""))


def _upload_error(error: SMPClientException) -> LinkError:
    if error.args and getattr(error.args[0], "RESPONSE_TYPE", None) is not None and not success(error.args[0]):
        return _refused("upload", error.args[0])
    if "mismatched SHA256" in str(error):
        return RefusedRequest("upload", 9, "what arrived is no image that this firmware can run")
    return LinkError(f"upload: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


# ------------------------------------------------------------------------------------------- group 64


class _ErrorV1(smp_error.ErrorV1):
    _GROUP_ID: ClassVar[int] = GROUP


class _ErrorV2(smp_error.ErrorV2):
    _GROUP_ID: ClassVar[int] = GROUP


class _ReadAnswer(smp_message.ReadResponse):
    model_config = ConfigDict(extra="allow", frozen=True)  # a later firmware may say more
    _GROUP_ID = GROUP


class InfoAnswer(_ReadAnswer):
    _COMMAND_ID = 0
    protocol: int
    board: str
    runtime: str
    schemes: int
    slot: int
    buffer: int


class StateAnswer(_ReadAnswer):
    _COMMAND_ID = 1
    node: int | None = None
    model: bytes | None = None
    epoch: int | None = None
    other: bytes | None = None
    trial: int | None = None


class CountersAnswer(_ReadAnswer):
    _COMMAND_ID = 2
    c: list[int]


class LogAnswer(_ReadAnswer):
    _COMMAND_ID = 3
    log: list[list[int]]


class EmptyAnswer(smp_message.WriteResponse):
    model_config = ConfigDict(extra="allow", frozen=True)
    _GROUP_ID = GROUP
    _COMMAND_ID = 4


class _Request:
    _GROUP_ID: ClassVar[int] = GROUP
    _ErrorV1 = _ErrorV1
    _ErrorV2 = _ErrorV2


class InfoRead(_Request, smp_message.ReadRequest):
    _COMMAND_ID = 0
    _Response = InfoAnswer


class StateRead(_Request, smp_message.ReadRequest):
    _COMMAND_ID = 1
    _Response = StateAnswer


class CountersRead(_Request, smp_message.ReadRequest):
    _COMMAND_ID = 2
    _Response = CountersAnswer


class LogRead(_Request, smp_message.ReadRequest):
    _COMMAND_ID = 3
    _Response = LogAnswer


class ResumeWrite(_Request, smp_message.WriteRequest):
    _COMMAND_ID = 4
    _Response = EmptyAnswer


class RevertWrite(_Request, smp_message.WriteRequest):
    _COMMAND_ID = 5
    _Response = EmptyAnswer


__all__ = [
    "Client", "CountersRead", "EchoWrite", "ImageStatesRead", "ImageStatesWrite", "InfoRead", "LogRead", "RefusedRequest", "ResetWrite",
    "ResumeWrite", "RevertWrite", "StateRead", "smp_header",
]  # fmt: skip
