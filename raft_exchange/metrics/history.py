"""Rows of the history file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raft_exchange.metrics.figures import HistoryFigures


class HistoryCollector(Collector):
    """Reads the figures at each scrape."""

    def __init__(self, read: Callable[[], HistoryFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give the rows, as of now."""
        figures = self._read()
        for name, text, value in (
            ("rows_waiting", "Rows that wait to be written", figures.rows_waiting),
            ("covered_from_sequence", "Where the history file begins", figures.covered_from),
            ("covered_to_sequence", "Where the history file ends", figures.covered_to),
            (
                "behind_sequences",
                "Sequences applied that the history file does not cover yet, holes included",
                figures.behind_sequences,
            ),
            ("shipped_to_sequence", "Where the database ends", figures.shipped_to),
        ):
            yield GaugeMetricFamily(f"raft_exchange_history_{name}", text, value=value)
        for name, text, value in (
            ("rows_written", "Rows written to the history file", figures.rows_written),
            ("rows_dropped", "Rows not written in time", figures.rows_dropped),
            ("failures", "Failed writes of the history file", figures.failures),
            ("pages_from_peers", "Pages that mended a hole", figures.pages_from_peers),
            ("shipping_failures", "Failed attempts at the database", figures.shipping_failures),
        ):
            yield CounterMetricFamily(f"raft_exchange_history_{name}", text, value=value)
