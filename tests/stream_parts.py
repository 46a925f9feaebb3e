"""Parts of a stream of indices, packet by packet."""

from __future__ import annotations

from edge_wz.codec.indices import StreamIndices


def packets_of(stream: StreamIndices, first: int, last: int) -> tuple[StreamIndices, slice]:
    """Packets first .. last, and the samples that they hold."""
    edges = [*stream.packet_starts.tolist(), stream.values.size]
    span = slice(edges[first], edges[last])
    return StreamIndices(
        stream.values[span], stream.rate_points[span], stream.packet_starts[first:last] - span.start, stream.checks[first:last]
    ), span
