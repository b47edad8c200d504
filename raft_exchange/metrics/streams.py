"""Rows of the streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raft_exchange.metrics.figures import StreamFigures


class StreamCollector(Collector):
    """Reads the figures at each scrape."""

    def __init__(self, read: Callable[[], StreamFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give the rows, as of now."""
        figures = self._read()
        subscribers = GaugeMetricFamily(
            "raft_exchange_stream_subscribers", "Readers of streams", labels=("transport",)
        )
        for name, count in figures.subscribers.items():
            subscribers.add_metric((name,), count)
        yield subscribers
        for name, text, value in (
            ("stream_channels", "Channels that have readers", figures.channels),
            ("stream_queued_bytes", "What readers have not taken yet", figures.queued_bytes),
            ("stream_queue_longest_bytes", "The longest queue", figures.queue_bytes_longest),
            ("stream_history_changes", "Changes kept for resuming", figures.history_changes),
            ("stream_history_bytes", "What they count for", figures.history_bytes),
        ):
            yield GaugeMetricFamily(f"raft_exchange_{name}", text, value=value)
        yield CounterMetricFamily(
            "raft_exchange_stream_readers_cut_off",
            "Readers that were too slow",
            value=figures.cut_off,
        )
