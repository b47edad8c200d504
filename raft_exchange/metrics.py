"""Every Prometheus collector of a node; the only file that knows the client library.

Rules: every name begins with `raft_exchange_`, has one unit and a help text; label sets are closed
lists, there from the start at zero so that `rate` sees the first event; no id, account, path or
free text is ever a label. Nothing is global: a node makes one `Metrics`, a test makes its own.

Figures that others already count (the exchange's) are read when scraped and cost nothing before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
UNKNOWN_ROUTE: Final = "unknown"
METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
OTHER_METHOD: Final = "other"
STATUS_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
_DURATION_BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class ExchangeFigures(NamedTuple):
    """What the exchange counts: `orders` by (side, type), `refusals` by code."""

    sequence: int
    time_us: int
    markets: int
    accounts: int
    live_orders: int
    trades: int
    orders: Mapping[tuple[str, str], int]
    refusals: Mapping[str, int]


class Metrics:
    """The collectors of one node, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests_in_flight = Gauge(
            "raft_exchange_http_requests_in_flight",
            "HTTP requests being answered",
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

    def watch_exchange(self, read: Callable[[], ExchangeFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(_ExchangeCollector(read))

    def render(self) -> bytes:
        """Return everything in the Prometheus text format, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class _ExchangeCollector(Collector):
    def __init__(self, read: Callable[[], ExchangeFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        figures = self._read()
        for name, text, value in (
            ("applied_sequence", "Sequence number of the last command applied", figures.sequence),
            ("logged_timestamp_seconds", "The logged clock", figures.time_us / 1e6),
            ("markets", "Markets open", figures.markets),
            ("accounts", "Accounts open", figures.accounts),
            ("live_orders", "Orders resting in all books", figures.live_orders),
        ):
            yield GaugeMetricFamily(f"raft_exchange_{name}", text, value=value)
        yield CounterMetricFamily("raft_exchange_trades", "Trades executed", value=figures.trades)
        orders = CounterMetricFamily(
            "raft_exchange_orders_accepted", "Orders accepted", labels=("side", "type")
        )
        for (side, type_), count in figures.orders.items():
            orders.add_metric((side, type_), count)
        yield orders
        refusals = CounterMetricFamily(
            "raft_exchange_commands_refused", "Commands refused by a rule", labels=("reason",)
        )
        for reason, count in figures.refusals.items():
            refusals.add_metric((reason,), count)
        yield refusals
