"""Decode a capture as fast as it goes, with its recorded times: bit for bit what live operation gives.

Unlike `daemon` it has no links and no spool: the capture is what the position counts in, so an interrupted replay goes
on where it stopped when it is started again with the same store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_wz.errors import ConfigError, FormatError
from edge_wz.gateway.config import DaemonConfig, with_link_numbers
from edge_wz.gateway.consumer import Consumer, data_records
from edge_wz.gateway.sinks.sqlite import Store
from edge_wz.gateway.spool import find_segments, read_records
from edge_wz.gateway.stats import PipelineStats


def replayed_capture(config: DaemonConfig) -> Path | None:
    """The capture that the fleet file's links name, None for live links."""
    captures = {source.endpoint.path for source in config.sources if source.endpoint.kind == "replay"}
    if len(captures) > 1:
        raise ConfigError(f"{config.path}: link: replay links of one fleet share one capture, here are {len(captures)}")
    return Path(captures.pop()) if captures else None


class Replay:
    """Run by iterating `run`; `close` after the last step or earlier."""

    def __init__(self, config: DaemonConfig, capture: Path) -> None:
        self._segments = find_segments(capture)
        if not self._segments:
            raise FormatError(f"{capture}: no capture segments in this folder")
        self.total_bytes = self._segments[-1].start + self._segments[-1].path.stat().st_size
        self._store = Store(config.store, f"the capture {capture.resolve()}")
        self._config = with_link_numbers(config, self._store.link_numbers())
        self._consumer = Consumer(self._config, self._store, before_commit=lambda: None)

    @property
    def stats(self) -> PipelineStats:
        return self._consumer.stats

    @property
    def replaced(self) -> Mapping[int, int]:
        """Samples of each node in whose place others came, since the start."""
        return self._consumer.replaced

    def run(self) -> Iterator[int]:
        """Decode and commit slice by slice; yields the position reached. At the end everything that waited is told."""
        consumer = self._consumer
        records = data_records(read_records(self._segments, consumer.position), self._config.fleet.links, strict=True)
        while consumer.feed(records):
            consumer.commit()
            yield consumer.position
        consumer.finish()
        consumer.commit()
        yield consumer.position

    def close(self) -> None:
        try:
            self._consumer.close()
        finally:
            self._store.close()
