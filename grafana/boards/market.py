"""The dashboard Market."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Panel, each, one, quantiles, rates, totals

_M: Final = '{$S,market=~"$market"}'

MARKET: Final = Board(
    "raft-exchange-market",
    "Raft Exchange / Market",
    "Orders, trades and books. Books are the same on every node: the greatest is shown.",
    (
        Panel(
            "Orders by type",
            "Accepted",
            "ops",
            one(
                "max by (side, type) "
                "(rate(raft_exchange_orders_accepted_total{$S}[$__rate_interval]))",
                "{{side}} {{type}}",
            ),
        ),
        Panel(
            "Refused by reason",
            "By a rule of the exchange",
            "ops",
            one(
                "max by (reason) "
                "(rate(raft_exchange_commands_refused_total{$S}[$__rate_interval]))",
                "{{reason}}",
            ),
        ),
        Panel(
            "Trades by node",
            "As each node applied them",
            "ops",
            rates("trades_total", "instance", "{{instance}}"),
        ),
        Panel(
            "Best prices",
            "In quote units",
            "none",
            one(
                f"max by (market, side) (raft_exchange_market_best_price{_M})",
                "{{market}} {{side}}",
            ),
        ),
        Panel(
            "Spread",
            "In quote units",
            "none",
            one(f"max by (market) (raft_exchange_market_spread{_M})", "{{market}}"),
        ),
        Panel(
            "Depth",
            "In base units, of the best 50 levels",
            "none",
            one(
                f"max by (market, side) (raft_exchange_market_depth_quantity{_M})",
                "{{market}} {{side}}",
            ),
        ),
        Panel(
            "Levels",
            "Prices with orders",
            "none",
            one(f"max by (market, side) (raft_exchange_market_levels{_M})", "{{market}} {{side}}"),
        ),
        Panel(
            "Orders in the book",
            "By side",
            "none",
            one(f"max by (market, side) (raft_exchange_market_orders{_M})", "{{market}} {{side}}"),
        ),
        Panel(
            "Trades by market",
            "As executed",
            "ops",
            one(
                f"max by (market) (rate(raft_exchange_market_trades_total{_M}[$__rate_interval]))",
                "{{market}}",
            ),
        ),
        Panel(
            "Traded in a day",
            "In quote units, the last 24 hours",
            "none",
            one(f"max by (market) (raft_exchange_market_day_notional{_M})", "{{market}}"),
        ),
        Panel(
            "Quantity in a day",
            "In base units, the last 24 hours",
            "none",
            one(f"max by (market) (raft_exchange_market_day_quantity{_M})", "{{market}}"),
        ),
        Panel(
            "Trades in a day",
            "The last 24 hours",
            "none",
            one(f"max by (market) (raft_exchange_market_day_trades{_M})", "{{market}}"),
        ),
        Panel("Orders resting", "In all books", "none", each("live_orders", legend="{{instance}}")),
        Panel("Markets and accounts", "Open", "none", each("markets", "accounts")),
        Panel("Match", "What the machine took for an entry", "s", quantiles("match_duration")),
        Panel(
            "Match, all of it",
            "Entries by what the machine took",
            "s",
            one(
                "sum by (le) "
                "(increase(raft_exchange_match_duration_seconds_bucket{$S}[$__rate_interval]))",
                "{{le}}",
            ),
            "heatmap",
        ),
        Panel(
            "Sequence",
            "Last command applied",
            "none",
            each("applied_sequence", legend="{{instance}}"),
        ),
        Panel(
            "Readers",
            "Of streams",
            "none",
            each("stream_subscribers", legend="{{instance}} {{transport}}"),
        ),
        Panel("Channels", "With readers", "none", each("stream_channels", legend="{{instance}}")),
        Panel(
            "Queued for readers",
            "In all, and for the slowest",
            "bytes",
            each("stream_queued_bytes", "stream_queue_longest_bytes"),
        ),
        Panel(
            "Readers cut off",
            "Too slow",
            "ops",
            rates("stream_readers_cut_off_total", "instance", "{{instance}}"),
        ),
        Panel(
            "Kept for resuming",
            "Changes",
            "none",
            each("stream_history_changes", legend="{{instance}}"),
        ),
        Panel(
            "Size kept for resuming",
            "Bytes",
            "bytes",
            each("stream_history_bytes", legend="{{instance}}"),
        ),
        Panel(
            "History behind",
            "Sequences that the file does not cover, rows that wait",
            "none",
            each("history_behind_sequences", "history_rows_waiting"),
            "timeseries",
            100000,
        ),
        Panel(
            "History covers",
            "From, to, and what is shipped to the database",
            "none",
            each(
                "history_covered_from_sequence",
                "history_covered_to_sequence",
                "history_shipped_to_sequence",
            ),
        ),
        Panel(
            "History written",
            "Rows, and pages that peers gave",
            "ops",
            totals(
                ("history_rows_written_total", "{{instance}} rows"),
                ("history_pages_from_peers_total", "{{instance}} pages"),
            ),
        ),
        Panel(
            "History failing",
            "Rows dropped, failed writes, failed shipping",
            "ops",
            totals(
                ("history_rows_dropped_total", "{{instance}} dropped"),
                ("history_failures_total", "{{instance}} writes"),
                ("history_shipping_failures_total", "{{instance}} shipping"),
            ),
        ),
    ),
    has_market=True,
)
