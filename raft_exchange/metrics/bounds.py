"""How much of each bound of a node is used: 1 is full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

REFUSES: Final = "refuses"
"""What comes when it is full is refused, or cut off: somebody notices."""
FORGETS: Final = "forgets"
"""The oldest makes room. Some of these are full most of the time."""
WAITS: Final = "waits"
"""What comes waits for room: full is a node at work."""

BOUNDS: Final[Mapping[str, str]] = {
    # Of the exchange, alike on every node.
    "markets": REFUSES,
    "accounts": REFUSES,
    "keys": REFUSES,
    "orders": REFUSES,
    "market_orders": REFUSES,
    "market_stops": REFUSES,
    "market_icebergs": REFUSES,
    "idempotency_keys": FORGETS,
    "idempotency_bytes": FORGETS,
    "nonces": REFUSES,
    "transfers": FORGETS,
    "sessions": FORGETS,
    # Of what a node shows of it.
    "finished_orders": FORGETS,
    "fills": FORGETS,
    "stream_changes": FORGETS,
    "stream_changes_bytes": FORGETS,
    # Of a node's requests and readers.
    "commands_queued": REFUSES,
    "batches_in_flight": WAITS,
    "sequence_waiters": REFUSES,
    "rate_limit_holders": FORGETS,
    "http_connections": REFUSES,
    "operations_connections": REFUSES,
    "grenache_connections": REFUSES,
    "pubsub_connections": REFUSES,
    "stream_subscribers": REFUSES,
    "stream_queue_bytes": REFUSES,
    "stream_queues_bytes": REFUSES,
    # Of its log and its history.
    "members": REFUSES,
    "member_changes": REFUSES,
    "proposals": REFUSES,
    "peer_bytes_in_flight": WAITS,
    "snapshot_bytes": REFUSES,
    "handshake_addresses": FORGETS,
    "history_rows": FORGETS,
    "history_questions": REFUSES,
    # Of how it finds others.
    "discovery_strangers": FORGETS,
    "discovery_trusted": FORGETS,
    "discovery_questions": WAITS,
    "dht_queries": REFUSES,
    "dht_operations": REFUSES,
    "dht_peers": FORGETS,
    "dht_peers_bytes": FORGETS,
    "dht_items": FORGETS,
    "dht_items_bytes": FORGETS,
    "dht_sources": FORGETS,
    "dht_api_connections": REFUSES,
}
"""Every bound that is shown, and what happens when it is full. Where a bound holds for each market,
reader or peer, the fullest is shown. Bounds of one message, body or page are not: what breaks them
is refused by name, and they never fill; nor is what is empty again when a tick ends."""


class BoundsCollector(Collector):
    """Reads the shares at each scrape."""

    def __init__(self) -> None:
        self._readers: list[Callable[[], Mapping[str, float]]] = []

    def watch(self, read: Callable[[], Mapping[str, float]]) -> None:
        """Ask `read` as well: what it names is its alone, and in `BOUNDS`."""
        self._readers.append(read)

    def collect(self) -> Iterator[Metric]:
        """Give the rows, as of now; 0 for a part that the node does not run."""
        shares = dict.fromkeys(BOUNDS, 0.0)
        for read in self._readers:
            found = read()
            assert found.keys() <= BOUNDS.keys(), found.keys() - BOUNDS.keys()
            shares.update(found)
        use = GaugeMetricFamily(
            "raft_exchange_bound_use_ratio",
            "How much of a bound is used, 1 being full, and what happens then",
            labels=("bound", "when_full"),
        )
        for name, share in shares.items():
            use.add_metric((name, BOUNDS[name]), share)
        yield use
