"""Rows of the rate limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class LimitsCollector(Collector):
    """Reads how often each lane refused, at each scrape."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give the rows, as of now."""
        limited = CounterMetricFamily(
            "raft_exchange_rate_limited",
            "Writes refused because their sender was too fast, by lane",
            labels=("lane",),
        )
        for lane, count in self._read().items():
            limited.add_metric((lane,), count)
        yield limited
