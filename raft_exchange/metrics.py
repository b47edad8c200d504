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


STREAM_TRANSPORTS: Final = ("sse", "websocket", "seed_events")


class StreamFigures(NamedTuple):
    """What the hub of the streams counts: `subscribers` by transport."""

    subscribers: Mapping[str, int]
    channels: int
    cut_off: int
    queued_bytes: int
    queue_bytes_longest: int
    history_changes: int
    history_bytes: int


class NodeFigures(NamedTuple):
    """What the node counts: by peer for `peers` and `match_lag`, by direction for the wire.

    `snapshots` counts by what became of them: written, installed, failed.
    """

    role: str
    has_leader: bool
    term: int
    leader_changes: int
    log_first_index: int
    log_last_index: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    snapshots: Mapping[str, int]
    read_only: bool
    disk_free_bytes: int
    disk_reserve_bytes: int
    peers: Mapping[str, bool]
    match_lag: Mapping[str, int]
    archive_failures: int
    archived_index: int
    divergences: int
    serves_state: bool
    commands_queued: int
    batches_in_flight: int
    ticks: int
    loop_lag_s: float
    connections_refused: int
    frames: Mapping[str, int]
    bytes: Mapping[str, int]


class DiscoveryFigures(NamedTuple):
    """What discovery counts: `answers` and `announcements` by what became of them."""

    nodes_seen: int
    addresses: int
    answers: Mapping[str, int]
    announcements: Mapping[str, int]


class HistoryFigures(NamedTuple):
    """What the history file counts; `behind_sequences` are applied but not covered by it."""

    rows_written: int
    rows_dropped: int
    rows_waiting: int
    failures: int
    covered_from: int
    covered_to: int
    behind_sequences: int
    pages_from_peers: int
    shipped_to: int
    shipping_failures: int


class Metrics:
    """The collectors of one node, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
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
        self.registry.register(_HistoryCollector(read))

    def watch_exchange(self, read: Callable[[], ExchangeFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(_ExchangeCollector(read))

    def watch_node(self, read: Callable[[], NodeFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(_NodeCollector(read))

    def watch_discovery(self, read: Callable[[], DiscoveryFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(_DiscoveryCollector(read))

    def watch_streams(self, read: Callable[[], StreamFigures]) -> None:
        """Export what `read` returns at each scrape."""
        self.registry.register(_StreamCollector(read))

    def render(self) -> bytes:
        """Return everything in the Prometheus text format, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class _HistoryCollector(Collector):
    def __init__(self, read: Callable[[], HistoryFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
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


class _DiscoveryCollector(Collector):
    def __init__(self, read: Callable[[], DiscoveryFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        figures = self._read()
        for name, text, value in (
            ("nodes_seen", "Other nodes that lately proved to be there", figures.nodes_seen),
            ("addresses", "Addresses remembered, most of them hearsay", figures.addresses),
        ):
            yield GaugeMetricFamily(f"raft_exchange_discovery_{name}", text, value=value)
        for name, text, values in (
            ("answers", "Addresses asked who is there", figures.answers),
            ("announcements", "Announcements in the DHT", figures.announcements),
        ):
            family = CounterMetricFamily(
                f"raft_exchange_discovery_{name}", f"{text}, by outcome", labels=("outcome",)
            )
            for outcome, count in values.items():
                family.add_metric((outcome,), count)
            yield family


class _StreamCollector(Collector):
    def __init__(self, read: Callable[[], StreamFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
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


ROLES: Final = ("leader", "follower", "candidate")


class _NodeCollector(Collector):
    def __init__(self, read: Callable[[], NodeFigures]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return []  # the node is not complete yet when this is registered

    def collect(self) -> Iterator[Metric]:
        figures = self._read()
        for name, text, value in (
            ("raft_has_leader", "1 while this node knows a leader", figures.has_leader),
            ("raft_term", "Current Raft term", figures.term),
            ("raft_log_first_index", "Index of the first entry held", figures.log_first_index),
            ("raft_log_last_index", "Index of the last entry held", figures.log_last_index),
            ("raft_commit_index", "Greatest index known to be committed", figures.commit_index),
            ("raft_applied_index", "Index of the last applied entry", figures.applied_index),
            ("archived_index", "Last entry archived since the start", figures.archived_index),
            ("serves_state", "0 while this node's state may differ", figures.serves_state),
            ("snapshot_index", "Last entry in the newest snapshot", figures.snapshot_index),
            ("read_only", "1 while the disk's reserve is touched", figures.read_only),
            ("disk_free_bytes", "Free space for the data folder", figures.disk_free_bytes),
            ("disk_reserve_bytes", "Kept free of new orders", figures.disk_reserve_bytes),
            ("commands_queued", "Commands that wait for a batch", figures.commands_queued),
            ("batches_in_flight", "Batches on their way", figures.batches_in_flight),
            ("loop_lag_seconds", "How late the loop ran its last timer", figures.loop_lag_s),
        ):
            yield GaugeMetricFamily(f"raft_exchange_{name}", text, value=float(value))
        for name, text, value in (
            ("raft_leader_changes", "Leaders seen, none included", figures.leader_changes),
            ("archive_failures", "Pieces the archive did not take", figures.archive_failures),
            ("state_divergence", "Members seen to differ, this included", figures.divergences),
            ("raft_ticks", "Ticks of the Raft group", figures.ticks),
            ("raft_connections_refused", "Failed handshakes", figures.connections_refused),
        ):
            yield CounterMetricFamily(f"raft_exchange_{name}", text, value=value)
        yield from self._labelled(figures)

    def _labelled(self, figures: NodeFigures) -> Iterator[Metric]:
        role = GaugeMetricFamily("raft_exchange_raft_role", "1 for its role", labels=("role",))
        for name in ROLES:
            role.add_metric((name,), float(name == figures.role))
        yield role
        connected = GaugeMetricFamily(
            "raft_exchange_raft_peer_connected", "1 while a member is connected", labels=("peer",)
        )
        lag = GaugeMetricFamily(
            "raft_exchange_raft_match_lag_entries",
            "Entries a member lacks, on the leader",
            labels=("peer",),
        )
        for peer, is_connected in figures.peers.items():
            connected.add_metric((peer,), float(is_connected))
            lag.add_metric((peer,), figures.match_lag[peer])
        yield connected
        yield lag
        snapshots = CounterMetricFamily(
            "raft_exchange_snapshots", "Snapshots, by what became of them", labels=("outcome",)
        )
        for outcome, value in figures.snapshots.items():
            snapshots.add_metric((outcome,), value)
        yield snapshots
        for name, text, values in (
            ("frames", "Raft frames", figures.frames),
            ("bytes", "Bytes of Raft frames", figures.bytes),
        ):
            family = CounterMetricFamily(f"raft_exchange_raft_{name}", text, labels=("direction",))
            for direction, value in values.items():
                family.add_metric((direction,), value)
            yield family
