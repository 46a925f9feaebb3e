"""The daemon: links -> spool -> pipeline -> store, until it is told to stop.

    event loop   transports -> Arrivals: stamp, append to the spool, keep the newest in memory; Control: lend a link
    one thread   Consumer: feed, tick, commit (sync the spool, write the sinks, one SQLite transaction)

The spool is the queue: when decoding falls behind, memory is dropped and the consumer reads its way up from the disk;
when it falls behind by more than the spool may hold, the links are paused. A stop reads what has arrived, decodes it
within `DRAIN_S` (`finish`: however long it takes), commits and closes; samples that still wait for a packet or a
neighbour keep waiting in the snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edge_wz.errors import LinkError, StorageError
from edge_wz.formats.capture import DataRecord
from edge_wz.gateway.config import DaemonConfig, LinkSource, with_link_numbers
from edge_wz.gateway.consumer import Consumer, data_records
from edge_wz.gateway.control import Control, paths_of
from edge_wz.gateway.service_manager import tell
from edge_wz.gateway.sinks.sqlite import Store
from edge_wz.gateway.spool import Spool, read_records
from edge_wz.gateway.stats import PipelineStats
from edge_wz.gateway.transports import Intake, Readers, Transport
from edge_wz.gateway.transports.serial_port import SerialPort
from edge_wz.gateway.transports.tcp import TcpClient, TcpListener

_LOGGER = logging.getLogger(__name__)
MEMORY_BYTES = 8 << 20
DRAIN_S = 10.0
RESUME_AT = 0.9  # of the spool limit
FRAME_END = b"\0"
TRANSPORTS: dict[str, Callable[[LinkSource, Intake, Readers], Transport]] = {
    "serial": SerialPort, "tcp": TcpClient, "tcp-listen": TcpListener,
}


@dataclass(frozen=True)
class Options:
    """`finish`: at the end decode or conceal what waits. `wait_links`: a port that is not there yet may come."""

    capture_only: bool = False
    finish: bool = False
    wait_links: bool = False
    status_every_s: float = 0.0


class LiveClock:
    """Microseconds that never fall nor jump: the system's time at the start, from there the monotonic clock."""

    def __init__(self, at_least_us: int) -> None:
        self._offset_us = max(time.time_ns() // 1000, at_least_us) - time.monotonic_ns() // 1000

    def now_us(self) -> int:
        return self._offset_us + time.monotonic_ns() // 1000


class Arrivals:
    """Link bytes on their way in. `take` hands over what arrived, or says that it must be read from the spool."""

    def __init__(self, spool: Spool, clock: LiveClock, keep: bool) -> None:
        self._spool = spool
        self._clock = clock
        self._keep = keep
        self._records: list[DataRecord] = []
        self._bytes = 0
        self._spilled = True  # what an earlier run left is on the disk only
        self._listeners: dict[int, Callable[[bytes], None]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def received(self, link: int, data: bytes) -> None:
        if self.failed.done():
            return
        try:
            record = self._spool.append(link, data, self._clock.now_us())
        except StorageError as error:
            self.failed.set_exception(error)
            return
        if self._keep and not self._spilled:
            self._records.append(record)
            self._bytes += len(data)
            self._spilled = self._bytes > MEMORY_BYTES
        if link in self._listeners:
            self._listeners[link](data)

    def listen(self, link: int, listener: Callable[[bytes], None] | None) -> None:
        """Hand on what arrives on a link, once it is in the spool."""
        if listener is None:
            self._listeners.pop(link, None)
        else:
            self._listeners[link] = listener

    def interrupted(self, link: int) -> None:
        """Ends the frame that was perhaps cut; after a restart nobody knows how the last run ended."""
        self.received(link, FRAME_END)

    def take(self) -> tuple[list[DataRecord] | None, int, int]:
        """(records or None: read the spool, up to this position, time that no later record precedes)."""
        records = None if self._spilled else self._records
        self._records, self._bytes, self._spilled = [], 0, False
        return records, self._spool.position, self._clock.now_us()


class Daemon:
    """Live operation. `run` returns after a stop and raises what made it impossible to go on."""

    def __init__(self, config: DaemonConfig, options: Options) -> None:
        self._store = Store(config.store, "live links")
        self._options = options
        self.config = with_link_numbers(config, self._store.link_numbers())
        self._spool = Spool(config.spool, self.config.fleet.links, segment_bytes=config.segment_bytes,
                            limit_bytes=config.spool_limit_bytes)
        self._spool.start(self._store.position)
        self._consumer = None if options.capture_only else Consumer(self.config, self._store, self._spool.sync)
        self._behind: Iterator[DataRecord] = iter(())
        self._behind_until = 0
        self._warned_full = False
        self._stop = asyncio.Event()

    @property
    def stats(self) -> PipelineStats | None:
        return None if self._consumer is None else self._consumer.stats

    @property
    def replaced(self) -> Mapping[int, int]:
        """Samples of each node in whose place others came (`sinks.samples_table`), since the start."""
        return {} if self._consumer is None else self._consumer.replaced

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        self._arrivals = Arrivals(self._spool, LiveClock(max(self._store.time_us, self._spool.last_us)),
                                  keep=self._consumer is not None)
        self._readers = Readers(loop)
        transports = [TRANSPORTS[source.endpoint.kind](source, self._arrivals, self._readers)
                      for source in self.config.sources]
        try:
            await self._serve(transports)
        except BaseException:
            self._close_files(commit=False)
            raise
        self._close_files(commit=True)

    async def _serve(self, transports: list[Transport]) -> None:
        tasks: list[asyncio.Future[None]] = []
        control = Control(self.config.control, paths_of(self.config.sources, transports), self._arrivals.listen,
                          self._about_models)
        try:
            await control.start()
            for transport in transports:
                await self._start(transport)
            tasks = [asyncio.ensure_future(transport.run()) for transport in transports]
            tasks.append(asyncio.ensure_future(self._report()))
            tell("READY=1")
            await self._work(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await control.close()
            for transport in transports:
                transport.close()
        _raise_first([self._arrivals.failed, *tasks])
        await self._drain()

    async def _start(self, transport: Transport) -> None:
        try:
            await transport.start()
        except LinkError as error:
            if not self._options.wait_links:
                raise
            _LOGGER.warning("%s; trying again", error)

    async def _work(self, tasks: list[asyncio.Future[None]]) -> None:
        """Step until told to stop or until a part fails. Caught up, steps are `commit_every_s` apart."""
        while not self._stop.is_set():
            _raise_first([self._arrivals.failed, *tasks])
            if not await self._step():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), self.config.commit_every_s)

    async def _step(self) -> bool:
        """Decode a slice of what has arrived. True when there is more."""
        tell("WATCHDOG=1")
        if self._consumer is None:
            await asyncio.to_thread(self._spool.sync)
            self._warn_full()
            return False
        more = await self._decode(self._consumer)
        await asyncio.to_thread(self._spool.retain, self._store.position)
        self._throttle()
        return more

    async def _decode(self, consumer: Consumer) -> bool:
        now_us = None
        if consumer.position >= self._behind_until:
            records, self._behind_until, now_us = self._arrivals.take()
            self._behind = self._from_spool(consumer.position) if records is None else iter(records)
        return await asyncio.to_thread(self._consume, consumer, now_us)

    def _consume(self, consumer: Consumer, now_us: int | None) -> bool:
        more = consumer.feed(self._behind)
        if not more:
            consumer.position = self._behind_until  # link records at the end are no data
            if now_us is not None:
                consumer.tick(now_us)
        consumer.commit()
        return more

    def _from_spool(self, position: int) -> Iterator[DataRecord]:
        until = self._behind_until
        records = read_records(self._spool.segments(position), position)
        for record in data_records(records, self.config.fleet.links, strict=False):
            if record.position > until:
                return
            yield record
            if record.position == until:
                return

    async def _drain(self) -> None:
        """Decode what was taken in; a long backlog is left to the next start unless `finish` asks for all of it."""
        until_s = time.monotonic() + DRAIN_S
        while await self._step() or (self._consumer is not None and self._consumer.position < self._spool.position):
            if time.monotonic() > until_s and not self._options.finish:
                _LOGGER.warning("stopped with %d bytes of the spool undecoded; the next start continues there",
                                self._spool.position - self._store.position)
                return
        if self._options.finish and self._consumer is not None:
            await asyncio.to_thread(self._consumer.finish)

    def _throttle(self) -> None:
        backlog = self._spool.backlog(self._store.position)
        if backlog > 1:
            if not self._readers.paused:
                _LOGGER.warning("spool limit reached with bytes that are not decoded yet; links are paused")
            self._readers.pause()
        elif backlog < RESUME_AT:
            self._readers.resume()

    def _warn_full(self) -> None:
        if not self._warned_full and self._spool.backlog(self._store.position) > 1:
            self._warned_full = True
            _LOGGER.warning("the spool is over its limit; nothing is deleted before it is decoded")

    def _told_to_stop(self) -> None:
        _LOGGER.info("stopping")
        tell("STOPPING=1")
        self._stop.set()

    async def _report(self) -> None:
        while self._options.status_every_s > 0:
            await asyncio.sleep(self._options.status_every_s)
            behind = self._spool.position - self._store.position
            if self.stats is None:
                _LOGGER.info("%d bytes captured", behind)
            else:
                _LOGGER.info("%s, %d bytes behind", _status(self.stats), behind)
        await asyncio.Event().wait()

    def _about_models(self) -> dict[str, object]:
        running = {} if self._consumer is None else self._consumer.running_models
        return {"models": sorted(model_id.hex() for model_id in self.config.models),
                "running": {str(node_id): model_id.hex() for node_id, model_id in running.items()}}

    def _close_files(self, commit: bool) -> None:
        try:
            if self._consumer is not None:
                if commit:
                    self._consumer.close()
                else:
                    self._consumer.abandon()
        finally:
            self._spool.close()
            self._store.close()


def _status(stats: PipelineStats) -> str:
    nodes = stats.nodes.values()
    return (f"{sum(node.data_packets for node in nodes)} packets, samples: "
            f"{sum(node.samples_decoded for node in nodes)} decoded, "
            f"{sum(node.samples_concealed for node in nodes)} concealed")


def _raise_first(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if future.done() and not future.cancelled() and (error := future.exception()) is not None:
            raise error
