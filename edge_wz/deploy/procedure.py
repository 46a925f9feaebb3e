"""One node's deploy, step by step: look, reckon, upload, try, prove, confirm; or back to the model it had.

Nothing is lost by stopping anywhere: an upload goes on where it broke off, a model on trial goes away by itself unless it is
confirmed, and a node that runs this very model on trial (the host died) is taken up at the proof.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge_wz.deploy import costs, proof
from edge_wz.deploy.device import Device, Info, State
from edge_wz.deploy.link import Link
from edge_wz.deploy.smp import RefusedRequest
from edge_wz.deploy.wire import Wire
from edge_wz.errors import DeployError, EdgeWzError, InputError, LinkError
from edge_wz.formats import image as images
from edge_wz.model import Model

UPLOAD_TRIES = 8
REOPEN_S = 20.0
REOPEN_EVERY_S = 0.5
PROOF_MARGIN_S = 10.0
PROOF_SLACK = 1.25  # clocks of cheap nodes
TRIAL_MARGIN_S = 30
CORRUPT = 9


@dataclass(frozen=True)
class Order:
    """What a node shall run. `node_id` None: the id it has; `renumber`: it may have another one. `name`: for the table."""

    model: Model
    name: str = ""
    node_id: int | None = None
    renumber: bool = True
    shared_link: bool = False
    period_us: int | None = None  # None: the model's


@dataclass(frozen=True)
class Options:
    """`packets` to check as proof; `wait_s` for them, None: as long as they take; `attach_s` until the first answer."""

    packets: int = 2
    wait_s: float | None = None
    attach_s: float = 5.0
    dry_run: bool = False
    force: bool = False


@dataclass
class Result:
    """One row of the table. `outcome`: deployed | up to date | would fit | refused | reverted | failed."""

    name: str
    node_id: int | None = None
    board: str = ""
    runtime: str = ""
    before: str = ""
    after: str = ""
    outcome: str = "failed"
    detail: str = ""
    image_bytes: int = 0
    uploaded_bytes: int = 0
    breaks: int = 0
    packets: int = 0
    samples: int = 0
    lost_packets: int | None = None
    elapsed_s: float = 0.0
    exit_code: int = 0
    costs: list[costs.Row] = field(default_factory=list)


class Show(Protocol):
    """What the user sees meanwhile."""

    def costs(self, result: Result) -> None: ...

    def step(self, label: str, total: float) -> AbstractContextManager[Callable[[float], None]]:
        """A progress bar: called with how far it is."""


Opener = Callable[[], Link]


def deploy(opener: Opener, order: Order, options: Options, show: Show) -> Result:
    """Never raises for what a node or a link does: that is in the result."""
    result = Result(order.name)
    begun_s = time.monotonic()
    try:
        with _attached(opener, options) as session:
            _deploy(session, order, options, show, result)
    except EdgeWzError as error:
        result.detail, result.exit_code = str(error), error.exit_code
    result.elapsed_s = round(time.monotonic() - begun_s, 3)
    return result


class Session:
    """A node under management, whose link may break and come back."""

    def __init__(self, opener: Opener, options: Options) -> None:
        self._opener = opener
        self._options = options
        self._open(opener())

    def _open(self, link: Link) -> None:
        self.link = link
        self.wire = Wire(link)
        self.device = Device(self.wire)

    def attach(self) -> None:
        self.device.attach(self._options.attach_s)

    def reopen(self) -> None:
        """The link again, and the node; LinkError when one of them does not come back."""
        self.close()
        until_s = time.monotonic() + REOPEN_S
        while True:
            try:
                self._open(self._opener())
                return self.attach()
            except LinkError:
                self.close()
                if time.monotonic() > until_s:
                    raise
                time.sleep(REOPEN_EVERY_S)

    def close(self) -> None:
        self.device.close()
        self.link.close()


@contextlib.contextmanager
def _attached(opener: Opener, options: Options, resume: bool = True) -> Iterator[Session]:
    session = Session(opener, options)
    try:
        session.attach()
    except EdgeWzError:
        session.close()
        raise
    try:
        yield session
    finally:
        with contextlib.suppress(EdgeWzError):
            if resume:
                session.device.resume()
        session.close()


def _deploy(session: Session, order: Order, options: Options, show: Show, result: Result) -> None:
    info, state = session.device.info(), session.device.state()
    result.board, result.runtime, result.before = info.board, info.runtime, state.model_id
    result.after = state.model_id
    result.node_id = _node_id(order, state)
    image = _image(order, options, result.node_id)
    result.image_bytes = len(image)
    _reckon(order, image, info, show, result)
    wanted = order.model.model_id.hex()
    runs = state.model_id == wanted and state.node_id == result.node_id
    if runs and state.trial_s is None and not options.force:
        result.outcome, result.detail = "up to date", "runs this model already"
    elif any(row.problem for row in result.costs) and not (options.force and _only_ram(result.costs)):
        result.outcome, result.exit_code = "refused", DeployError.exit_code
        result.detail = "; ".join(row.problem for row in result.costs if row.problem)
    elif options.dry_run:
        result.outcome, result.detail = "would fit", "nothing was sent (--dry-run)"
    else:
        _replace(session, order, options, show, result, image, state)


def _node_id(order: Order, state: State) -> int:
    if order.node_id is not None:
        if state.node_id not in (None, order.node_id) and not order.renumber:
            raise DeployError(f"node {state.node_id} answers on the link of node {order.node_id}: connected to the wrong one?")
        return order.node_id
    if state.node_id is None:
        raise InputError("the node has no id yet: give one with --node")
    return state.node_id


def _image(order: Order, options: Options, node_id: int) -> bytes:
    trial_s = round(_wait_s(order, options) + TRIAL_MARGIN_S)
    if trial_s > images.MAX_TRIAL_S:
        raise InputError(
            f"{options.packets} packets of {order.model.name or 'this model'} take {trial_s / 3600:.0f} hours, a trial lasts at most"
            " 18: ask for fewer with --packets (0: the hello alone)"
        )
    return images.pack(images.Image(order.model.node, node_id, order.shared_link, _period_us(order), trial_s))


def _period_us(order: Order) -> int:
    return round(order.model.period_s * 1e6) if order.period_us is None else order.period_us


def _wait_s(order: Order, options: Options) -> float:
    """The hello may come behind a packet that is under way."""
    if options.wait_s is not None:
        return options.wait_s
    packet_s = order.model.node.packet_samples * _period_us(order) / 1e6
    return PROOF_SLACK * (options.packets + 1) * packet_s + PROOF_MARGIN_S


def _reckon(order: Order, image: bytes, info: Info, show: Show, result: Result) -> None:
    result.costs = costs.rows(order.model.node, image, info)
    show.costs(result)


def _only_ram(rows: list[costs.Row]) -> bool:
    """RAM is reckoned here and judged by the node; to insist harms nothing."""
    return all(row.what.startswith("RAM") for row in rows if row.problem)


def _replace(
    session: Session, order: Order, options: Options, show: Show, result: Result, image: bytes, state: State
) -> None:
    witness = proof.Witness(order.model.node, result.node_id or 0, order.shared_link)
    before = _counters(session)
    if state.trial_s is not None and state.model_id != order.model.model_id.hex():
        if not options.force:
            raise DeployError(f"model {state.model_id} is on trial for another {state.trial_s} s: wait, or --force to end it")
        session.device.revert()
    if state.trial_s is None or state.model_id != order.model.model_id.hex():
        _upload(session, image, show, result)
        if images.image_hash(image) not in list(session.device.images()):
            raise DeployError("the uploaded image is not in a slot: the node restarted meanwhile?")
        _try(session, order, image)
    try:
        _prove(session, witness, order, options, show, result)
    except BaseException:
        _go_back(session, result)
        raise
    _finish(session, order, result, before)


def _upload(session: Session, image: bytes, show: Show, result: Result) -> None:
    """Go on at the node's offset after a break."""
    with show.step("upload", len(image)) as told:
        for attempt in range(1, UPLOAD_TRIES + 1):
            try:
                session.device.upload(image, told)
                result.uploaded_bytes = len(image)
                return
            except RefusedRequest as error:
                raise DeployError(f"{_refusal(session, image, error)}; the node keeps its model") from None
            except LinkError:
                if attempt == UPLOAD_TRIES:
                    raise
                result.breaks += 1
                session.reopen()


def _try(session: Session, order: Order, image: bytes) -> None:
    """An answer may be lost and the request come twice: then the node refuses the second, as its trial is under way."""
    try:
        session.device.test(images.image_hash(image))
    except RefusedRequest:
        state = session.device.state()
        if state.trial_s is None or state.model_id != order.model.model_id.hex():
            raise


def _refusal(session: Session, image: bytes, error: RefusedRequest) -> str:
    """Why the node does not take an image that it has: it says so when it is told to run it."""
    if error.rc != CORRUPT:
        return str(error)
    try:
        session.device.test(images.image_hash(image))
    except RefusedRequest as refused:
        older = ": its firmware is older than this model" if refused.reason.endswith("version") else ""
        return f"the node refuses the image: {refused.reason or 'no reason given'}{older}"
    except LinkError:
        pass
    return str(error)


def _prove(
    session: Session, witness: proof.Witness, order: Order, options: Options, show: Show, result: Result
) -> None:
    session.device.resume()
    with show.step("proof", options.packets) as told:
        given = proof.watch(session.wire, witness, options.packets, _wait_s(order, options), told)
    result.packets, result.samples = given.packets, given.samples
    session.attach()
    if not given.given:
        raise DeployError(given.failure)
    state = session.device.state()
    if state.model_id != order.model.model_id.hex():
        raise DeployError(f"the node runs {state.model_id or 'no model'} again: it restarted, or the trial was ended")


def _go_back(session: Session, result: Result) -> None:
    """As far as the node can be reached: without, it goes back by itself when the trial ends."""
    result.outcome = "reverted"
    try:
        session.attach()
        if session.device.state().trial_s is not None:
            session.device.revert()
        result.after = session.device.state().model_id
    except EdgeWzError:
        result.outcome, result.after = "failed", "the old one when the trial ends"


def _finish(session: Session, order: Order, result: Result, before: dict[str, int]) -> None:
    session.device.confirm()
    state = session.device.state()
    result.after = state.model_id
    if state.trial_s is not None or state.model_id != order.model.model_id.hex():
        raise DeployError(f"confirmed, but the node says {state}")
    result.outcome = "deployed"
    lost = _counters(session).get("lost_packets", 0) - before.get("lost_packets", 0)
    result.lost_packets = lost if lost >= 0 else None  # it restarted
    result.detail = f"{result.packets} packets with {result.samples} samples checked on trial"


def _counters(session: Session) -> dict[str, int]:
    return session.device.counters()


def look(opener: Opener, attach_s: float, ask: Callable[[Device], Any], resume: bool = True) -> Any:
    """Attach, ask, let go."""
    with _attached(opener, Options(attach_s=attach_s), resume) as session:
        return ask(session.device)
