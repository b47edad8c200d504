"""Rows of the DHT and of what discovery does with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from raft_exchange.metrics.figures import DhtFigures, DiscoveryFigures


class DiscoveryCollector(Collector):
    """Reads the figures at each scrape."""

    def __init__(self, read: Callable[[], DiscoveryFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give the rows, as of now."""
        figures = self._read()
        for name, text, value in (
            ("nodes_seen", "Other nodes that lately proved to be there", figures.nodes_seen),
            ("addresses", "Addresses remembered, most of them hearsay", figures.addresses),
        ):
            yield GaugeMetricFamily(f"raft_exchange_discovery_{name}", text, value=value)
        for name, text, values in (
            ("answers", "Addresses asked who is there", figures.answers),
            ("announcements", "Announcements in the DHT", figures.announcements),
            ("lookups", "Look-ups of the cluster's nodes in the DHT", figures.lookups),
        ):
            family = CounterMetricFamily(
                f"raft_exchange_discovery_{name}", f"{text}, by outcome", labels=("outcome",)
            )
            for outcome, count in values.items():
                family.add_metric((outcome,), count)
            yield family
        for name, took in figures.durations.items():
            yield HistogramMetricFamily(
                f"raft_exchange_discovery_{name}_duration_seconds",
                f"How long one {name} took in the DHT",
                buckets=took.buckets(),
                sum_value=took.sum_s,
            )


class DhtCollector(Collector):
    """Reads the figures at each scrape."""

    def __init__(self, read: Callable[[], DhtFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give the rows, as of now."""
        figures = self._read()
        contacts = GaugeMetricFamily(
            "raft_exchange_dht_contacts",
            "Grapes known, each of which has answered: good ones lately",
            labels=("state",),
        )
        for state, count in figures.contacts.items():
            contacts.add_metric((state,), count)
        yield contacts
        for name, text, value in (
            ("queries_waiting", "Queries without an answer yet", figures.queries_waiting),
            ("peers_stored", "Announcements kept for others and ourselves", figures.peers_stored),
            ("items_stored", "Items kept for others and ourselves", figures.items_stored),
        ):
            yield GaugeMetricFamily(f"raft_exchange_dht_{name}", text, value=value)
        queries = CounterMetricFamily(
            "raft_exchange_dht_queries", "Queries of others, by type", labels=("type",)
        )
        for type_, count in figures.queries.items():
            queries.add_metric((type_,), count)
        yield queries
        datagrams = CounterMetricFamily(
            "raft_exchange_dht_datagrams", "Datagrams of the DHT", labels=("direction",)
        )
        for direction, count in figures.datagrams.items():
            datagrams.add_metric((direction,), count)
        yield datagrams
        for name, text, value in (
            ("throttled", "Datagrams not read: their source sent too many", figures.throttled),
            ("timeouts", "Queries that nobody answered in time", figures.timeouts),
            ("tokens_refused", "Writes of others without a good token", figures.tokens_refused),
        ):
            yield CounterMetricFamily(f"raft_exchange_dht_{name}", text, value=value)
