"""The collectors of one node: HTTP is counted here, the rest is read from its parts."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from raft_exchange.metrics.bounds import BoundsCollector
from raft_exchange.metrics.discovery import DhtCollector, DiscoveryCollector
from raft_exchange.metrics.exchange import ExchangeCollector
from raft_exchange.metrics.exposition import pieces
from raft_exchange.metrics.figures import (
    DhtFigures,
    DiscoveryFigures,
    ExchangeFigures,
    HistoryFigures,
    NodeFigures,
    StreamFigures,
)
from raft_exchange.metrics.history import HistoryCollector
from raft_exchange.metrics.http import HttpCollector
from raft_exchange.metrics.limits import LimitsCollector
from raft_exchange.metrics.node import NodeCollector
from raft_exchange.metrics.streams import StreamCollector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


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
        self._http = HttpCollector()
        self.registry.register(self._http)
        self._bounds = BoundsCollector()
        self.registry.register(self._bounds)

    def declare_route(self, route: str, method: str) -> None:
        """Make the rows of a route template, at zero."""
        self._http.declare(route, method)

    def observe_request(self, route: str, method: str, *, status: int, duration_s: float) -> None:
        """Count one answered request; a route or method never declared counts as unknown."""
        self._http.observe(route, method, status=status, duration_s=duration_s)

    def watch_bounds(self, read: Callable[[], Mapping[str, float]]) -> None:
        """Export the shares of bounds that `read` returns at each scrape, by names of `BOUNDS`."""
        self._bounds.watch(read)

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

    def watch_limits(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Export what `read` returns at each scrape: how often each lane refused."""
        self.registry.register(LimitsCollector(read))

    def watch_streams(self, read: Callable[[], StreamFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(StreamCollector(read))

    def pieces(self) -> Iterator[bytes]:
        """Give everything in the Prometheus text format, of type `CONTENT_TYPE`, bit by bit."""
        return pieces(self.registry)

    def render(self) -> bytes:
        """Return everything at once: tens of milliseconds, for whoever has no loop to keep."""
        return b"".join(self.pieces())
