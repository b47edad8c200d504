"""The dashboard DHT."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Panel, each, quantiles, rates, totals

DHT: Final = Board(
    "raft-exchange-dht",
    "Raft Exchange / DHT",
    "How the nodes find each other.",
    (
        Panel(
            "Contacts",
            "Grapes that have answered: good ones lately",
            "none",
            each("dht_contacts", legend="{{instance}} {{state}}"),
        ),
        Panel(
            "Nodes seen",
            "That lately proved to be there",
            "none",
            each("discovery_nodes_seen", legend="{{instance}}"),
        ),
        Panel(
            "Addresses",
            "Remembered, most of them hearsay",
            "none",
            each("discovery_addresses", legend="{{instance}}"),
        ),
        Panel(
            "Announcements",
            "By outcome",
            "ops",
            rates("discovery_announcements_total", "outcome", "{{outcome}}"),
        ),
        Panel("Announcing", "How long it took", "s", quantiles("discovery_announce_duration")),
        Panel(
            "Look-ups",
            "By outcome",
            "ops",
            rates("discovery_lookups_total", "outcome", "{{outcome}}"),
        ),
        Panel("Looking up", "How long it took", "s", quantiles("discovery_lookup_duration")),
        Panel(
            "Answers",
            "Of addresses asked who is there",
            "ops",
            rates("discovery_answers_total", "outcome", "{{outcome}}"),
        ),
        Panel(
            "Datagrams",
            "By direction",
            "pps",
            rates("dht_datagrams_total", "direction", "{{direction}}"),
        ),
        Panel(
            "Queries of others", "By type", "ops", rates("dht_queries_total", "type", "{{type}}")
        ),
        Panel(
            "Stored",
            "Announcements and items kept, for whomever",
            "none",
            each("dht_peers_stored", "dht_items_stored"),
        ),
        Panel(
            "Queries waiting",
            "For an answer",
            "none",
            each("dht_queries_waiting", legend="{{instance}}"),
        ),
        Panel(
            "Trouble",
            "Queries nobody answered, sources that send too many datagrams, writes without a token",
            "ops",
            totals(
                ("dht_timeouts_total", "{{instance}} timeouts"),
                ("dht_throttled_total", "{{instance}} throttled"),
                ("dht_tokens_refused_total", "{{instance}} tokens refused"),
            ),
        ),
    ),
)
