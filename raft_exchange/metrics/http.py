"""Rows of HTTP: rate, errors and duration by route template, method and class of status.

They are most of what a scrape returns, so they are few: a route has rows for the method that it is
for, and what else is asked of it (HEAD, OPTIONS) counts as `UNKNOWN_ROUTE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from raft_exchange.metrics.durations import Durations

UNKNOWN_ROUTE: Final = "unknown"
METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
OTHER_METHOD: Final = "other"
ROWS_AT_ONCE: Final = 6
STATUS_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
REQUEST_BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class _Row:
    __slots__ = ("counts", "took")

    def __init__(self) -> None:
        self.counts = [0] * len(STATUS_CLASSES)
        self.took = Durations(REQUEST_BUCKETS_S)


class HttpCollector(Collector):
    """Counts requests; gives the rows at each scrape."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}
        for method in (*METHODS, OTHER_METHOD):
            self.declare(UNKNOWN_ROUTE, method)

    def declare(self, route: str, method: str) -> None:
        """Make the rows of a route template, at zero; those that are there stay."""
        self._rows.setdefault((route, method), _Row())

    def observe(self, route: str, method: str, *, status: int, duration_s: float) -> None:
        """Count one answered request; a route or method never declared counts as unknown."""
        row = self._rows.get((route, method))
        if row is None:
            row = self._rows[UNKNOWN_ROUTE, method if method in METHODS else OTHER_METHOD]
        row.counts[max(2, status // 100) - 2] += 1
        row.took.observe(duration_s)

    def collect(self) -> Iterator[Metric]:
        """Give the rows, a few at a time: families of one name that follow each other are one."""
        rows = list(self._rows.items())
        for start in range(0, len(rows), ROWS_AT_ONCE):
            yield _requests(rows[start : start + ROWS_AT_ONCE])
        for start in range(0, len(rows), ROWS_AT_ONCE):
            yield _durations(rows[start : start + ROWS_AT_ONCE])


def _requests(rows: Iterable[tuple[tuple[str, str], _Row]]) -> Metric:
    family = CounterMetricFamily(
        "raft_exchange_http_requests",
        "HTTP requests answered, by route template, method and class of status",
        labels=("route", "method", "code"),
    )
    for labels, row in rows:
        for code, count in zip(STATUS_CLASSES, row.counts, strict=True):
            family.add_metric((*labels, code), count)
    return family


def _durations(rows: Iterable[tuple[tuple[str, str], _Row]]) -> Metric:
    family = HistogramMetricFamily(
        "raft_exchange_http_request_duration_seconds",
        "Time from the first byte of a request's head to its answer",
        labels=("route", "method"),
    )
    for labels, row in rows:
        family.add_metric(labels, row.took.buckets(), row.took.sum_s)
    return family
