"""The collectors of one node: HTTP is counted here, the rest is read from its parts."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from raft_exchange.metrics.discovery import DhtCollector, DiscoveryCollector
from raft_exchange.metrics.exchange import ExchangeCollector
from raft_exchange.metrics.figures import (
    DhtFigures,
    DiscoveryFigures,
    ExchangeFigures,
    HistoryFigures,
    NodeFigures,
    StreamFigures,
)
from raft_exchange.metrics.history import HistoryCollector
from raft_exchange.metrics.node import NodeCollector
from raft_exchange.metrics.streams import StreamCollector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
UNKNOWN_ROUTE: Final = "unknown"
METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
OTHER_METHOD: Final = "other"
STATUS_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
_DURATION_BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class Metrics:
    """The collectors of one node, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        build = Info("raft_exchange_build", "What runs here", registry=self.registry)
        build.info(
            {
                "version": importlib.metadata.version("raft-exchange"),
                "python": platform.python_version(),
            }
        )
        self.requests_in_flight = Gauge(
            "raft_exchange_http_requests_in_flight",
            "HTTP requests being answered",
            registry=self.registry,
        )
        self.connections_refused = Counter(
            "raft_exchange_http_connections_refused_total",
            "HTTP connections closed at once, because there were too many",
            registry=self.registry,
        )
        self._requests = Counter(
            "raft_exchange_http_requests_total",
            "HTTP requests answered, by route template, method and class of status",
            ("route", "method", "code"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "raft_exchange_http_request_duration_seconds",
            "Time from the first byte of a request's head to its answer",
            ("route", "method"),
            buckets=_DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self._routes: dict[tuple[str, str], tuple[dict[int, Counter], Histogram]] = {}
        for method in (*METHODS, OTHER_METHOD):
            self.declare_route(UNKNOWN_ROUTE, [method])

    def declare_route(self, route: str, methods: Iterable[str]) -> None:
        """Make the rows of a route template, at zero."""
        for method in methods:
            counters = {
                int(code[0]): self._requests.labels(route, method, code) for code in STATUS_CLASSES
            }
            self._routes[route, method] = counters, self._durations.labels(route, method)

    def observe_request(self, route: str, method: str, *, status: int, duration_s: float) -> None:
        """Count one answered request; a route or method never declared counts as unknown."""
        rows = self._routes.get((route, method))
        if rows is None:
            known = method if method in METHODS else OTHER_METHOD
            rows = self._routes[UNKNOWN_ROUTE, known]
        counters, histogram = rows
        counters[status // 100].inc()
        histogram.observe(duration_s)

    def watch_history(self, read: Callable[[], HistoryFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(HistoryCollector(read))

    def watch_exchange(self, read: Callable[[], ExchangeFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(ExchangeCollector(read))

    def watch_node(self, read: Callable[[], NodeFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(NodeCollector(read))

    def watch_discovery(self, read: Callable[[], DiscoveryFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(DiscoveryCollector(read))

    def watch_dht(self, read: Callable[[], DhtFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(DhtCollector(read))

    def watch_streams(self, read: Callable[[], StreamFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(StreamCollector(read))

    def render(self) -> bytes:
        """Return everything in the Prometheus text format, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)
