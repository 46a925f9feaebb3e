"""From capture records to committed samples: feeds the pipeline and commits what came out with how far it read.

The same code runs live, after a restart and in a replay: the pipeline sees records with their recorded times only.
Synchronous, used by one thread at a time; `daemon` decides when.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields

import numpy as np

from edge_wz.codec.familiar import Familiar
from edge_wz.codec.reconstruction import COMPILES, CONCEALED
from edge_wz.errors import ConfigError
from edge_wz.formats.capture import DataRecord, LinkRecord
from edge_wz.gateway import events
from edge_wz.gateway.config import DaemonConfig
from edge_wz.gateway.fleet import LinkSpec
from edge_wz.gateway.pipeline import Pipeline
from edge_wz.gateway.sinks import Samples
from edge_wz.gateway.sinks.jsonl import JsonLines
from edge_wz.gateway.sinks.sqlite import Commit, Store
from edge_wz.gateway.stats import LinkStats, NodeStats, PipelineStats

_LOGGER = logging.getLogger(__name__)
SLICE_S = 0.25
SLICE_SAMPLES = 200_000
STATISTICS_EVERY_S = 1.0


class Consumer:
    """`position`: behind the last record fed. `before_commit` brings the records themselves to the disk first."""

    def __init__(self, config: DaemonConfig, store: Store, before_commit: Callable[[], None]) -> None:
        self._config = config
        self._store = store
        self._before_commit = before_commit
        self._pipeline = Pipeline(config.fleet, config.models)
        _LOGGER.info(COMPILES)
        self._pipeline.warm_up()
        self._pipeline.restore(store.snapshot())
        lengths = store.sink_lengths()
        self._sinks = [JsonLines(sink.path, lengths.get(str(sink.path))) for sink in config.sinks]
        self._pending: list[Samples] = []
        self._pending_samples = 0
        self.replaced: Counter[int] = Counter()  # samples, by node, since this start
        self._told_models: set[tuple[int, bytes]] = set()
        self._familiar = {node.node_id: Familiar(node.model) for node in config.fleet.nodes}
        self._statistics_at_s = float("-inf")
        self.position = store.position
        self.time_us = store.time_us
        self._commit_all()  # the store knows the sinks' lengths and the links' numbers before anything depends on them

    @property
    def stats(self) -> PipelineStats:
        return self._pipeline.stats

    @property
    def running_models(self) -> dict[int, bytes]:
        return self._pipeline.running_models

    def feed(self, records: Iterator[DataRecord]) -> bool:
        """Feed one slice of these, at most about a commit's worth. False when they are exhausted."""
        until_s = time.monotonic() + SLICE_S
        for record in records:
            self._take(self._pipeline.feed(record.link, record.data, record.time_us))
            self.position, self.time_us = record.position, record.time_us
            if self._pending_samples >= SLICE_SAMPLES or time.monotonic() >= until_s:
                return True
        return False

    def tick(self, now_us: int) -> None:
        """All records before `now_us` were fed."""
        self._take(self._pipeline.tick(now_us))
        self.time_us = max(self.time_us, now_us)

    def finish(self) -> None:
        """End of input: what still waits is concealed or decoded without."""
        self._take(self._pipeline.finish(self.time_us))

    def commit(self) -> None:
        """Nothing to write, nothing done: time that passed is no reason to wake the disk."""
        if self._pending or self.position != self._store.position:
            self._commit_all()

    def close(self) -> None:
        """Commit with final statistics."""
        self._statistics_at_s = float("-inf")
        self._commit_all()
        self.abandon()

    def abandon(self) -> None:
        """Close the files and leave what is not committed to the next start."""
        for sink in self._sinks:
            sink.close()

    def _commit_all(self) -> None:
        self._before_commit()
        for sink in self._sinks:
            sink.write(self._pending)
        statistics = time.monotonic() - self._statistics_at_s >= STATISTICS_EVERY_S
        replaced = self._store.commit(Commit(
            position=self.position,
            time_us=self.time_us,
            samples=self._pending,
            snapshot=self._pipeline.snapshot(dirty_only=True),
            nodes=self._node_rows() if statistics else (),
            links=self._link_rows() if statistics else (),
            sinks={str(sink.path): sink.length for sink in self._sinks},
        ))
        for node_id, samples in replaced.items():
            self.replaced[node_id] += samples
            _LOGGER.warning("%s: %d samples came again with other values (restarted without a new boot epoch?); the "
                            "earlier ones are in the table replaced", self._name(node_id), samples)
        if statistics:
            self._statistics_at_s = time.monotonic()
        self._pending, self._pending_samples = [], 0

    def _take(self, told: Iterable[events.Event]) -> None:
        for event in told:
            if isinstance(event, events.SamplesDecoded | events.SamplesRevised):
                self._pending.append(event)
                self._pending_samples += len(event.values)
                self._look(event)
            else:
                self._log(event)

    def _look(self, event: events.SamplesDecoded | events.SamplesRevised) -> None:
        """Says once when a node sends what its bundle was not made for."""
        if isinstance(event, events.SamplesDecoded) and event.node_id in self._familiar:
            resolved = np.where(event.flags & CONCEALED, np.nan, event.values)
            found = self._familiar[event.node_id].look(resolved)
            if found is not None:
                _LOGGER.warning("%s: %s", self._name(event.node_id), found)

    def _log(self, event: events.Event) -> None:
        if isinstance(event, events.UnknownModel):
            if (event.node_id, event.model_id) not in self._told_models:
                self._told_models.add((event.node_id, event.model_id))
                _LOGGER.warning("%s: unknown model %s; its packets wait, name the bundle in a [[model]]",
                                self._name(event.node_id), event.model_id.hex())
        elif isinstance(event, events.NodeReset):
            _LOGGER.info("%s: restarted, boot epoch %d", self._name(event.node_id), event.boot_epoch)
        elif isinstance(event, events.NodeSeen):
            _LOGGER.info("%s: first heard, boot epoch %d", self._name(event.node_id), event.boot_epoch)
        elif isinstance(event, events.ModelSwitched):
            _LOGGER.info("%s: switched to model %s", self._name(event.node_id), event.model_id.hex())
        else:
            _LOGGER.debug("%s", event)

    def _name(self, node_id: int) -> str:
        return next((node.name for node in self._config.fleet.nodes if node.node_id == node_id), f"node {node_id}")

    def _node_rows(self) -> list[tuple[int, str, str, str, str]]:
        stats = self._pipeline.stats.nodes
        return [
            (node.node_id, node.name, node.unit or node.model.unit, node.model.model_id.hex(),
             _as_json(stats[node.node_id]) if node.node_id in stats else "{}")
            for node in self._config.fleet.nodes
        ]

    def _link_rows(self) -> list[tuple[int, str, str]]:
        stats = self._pipeline.stats.links
        return [
            (link.link, link.name, _as_json(stats[link.link]) if link.link in stats else "{}")
            for link in self._config.fleet.links
        ]


def _as_json(stats: LinkStats | NodeStats) -> str:
    """Not `asdict`, which copies deeply and costs more than decoding."""
    return json.dumps({field.name: getattr(stats, field.name) for field in fields(stats)})


def data_records(records: Iterable[LinkRecord | DataRecord], links: Sequence[LinkSpec], *,
                 strict: bool) -> Iterator[DataRecord]:
    """Data records with the fleet's link numbers in place of the capture's.

    A link of the capture is the fleet's link of that name, else one of the same kind (shared, or addressing the same
    node) that no other has taken. None left: ConfigError if `strict`, else its bytes are skipped with a warning.
    """
    numbers: dict[int, int | None] = {}
    taken: dict[str, int | None] = {}
    for record in records:
        if isinstance(record, LinkRecord):
            if record.name not in taken:
                taken[record.name] = _match(record, links, taken)
                if taken[record.name] is None:
                    _refuse(record, strict)
            numbers[record.link] = taken[record.name]
            continue
        link = numbers[record.link]
        if link is not None:
            yield record if link == record.link else DataRecord(link, record.data, record.time_us, record.position)


def _match(record: LinkRecord, links: Sequence[LinkSpec], taken: dict[str, int | None]) -> int | None:
    free = [link for link in links if link.link not in taken.values()]
    same_name = [link.link for link in free if link.name == record.name]
    same_kind = [link.link for link in free if (None if link.shared else link.node_id) == record.node_id]
    return next(iter(same_name + same_kind), None)


def _refuse(record: LinkRecord, strict: bool) -> None:
    kind = "shared" if record.node_id is None else f"of node {record.node_id}"
    text = f"the capture has a link {record.name!r} ({kind}) for which the fleet file has no [[link]]"
    if strict:
        raise ConfigError(text)
    _LOGGER.warning("%s; its bytes are skipped", text)
