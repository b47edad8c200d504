"""The dashboard Overview."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Panel, Query, one, quantiles, rates

OVERVIEW: Final = Board(
    "raft-exchange-overview",
    "Raft Exchange / Overview",
    "Whether the cluster trades, how much and how fast: one screen.",
    (
        Panel("Nodes up", "Scraped with success", "none", one("sum(up{$S})"), "stat"),
        Panel(
            "Leader",
            "Nodes that lead: 1, or 0 during an election",
            "none",
            one('sum(raft_exchange_raft_role{$S,role="leader"})', "leaders"),
            "stat",
        ),
        Panel(
            "Quorum margin",
            "How many more nodes may be lost",
            "none",
            one("sum(up{$S}) - floor(count(up{$S}) / 2) - 1", "margin"),
            "stat",
        ),
        Panel(
            "Divergence",
            "Members seen to differ since the nodes started; must be 0",
            "none",
            one("sum(increase(raft_exchange_state_divergence_total{$S}[$__range])) or vector(0)"),
            "stat",
            1,
        ),
        Panel(
            "Books crossed",
            "Markets whose best bid is not below the best ask; must be 0",
            "none",
            one("sum(raft_exchange_market_crossed{$S}) or vector(0)", "crossed"),
            "stat",
            1,
        ),
        Panel(
            "Assets unbalanced",
            "Balances that are not what came in less what left; must be 0",
            "none",
            one("max(raft_exchange_unbalanced_assets{$S}) or vector(0)", "unbalanced"),
            "stat",
            1,
        ),
        Panel(
            "Alerts firing",
            "Of this cluster",
            "none",
            one(
                'sum(ALERTS{alertstate="firing",alertname=~"RaftExchange.+",cluster=~"$cluster"})'
                " or vector(0)",
                "firing",
            ),
            "stat",
            1,
        ),
        Panel(
            "Orders and trades",
            "Counted by every node alike: the greatest is shown",
            "ops",
            (
                Query(
                    "max(sum by (instance) "
                    "(rate(raft_exchange_orders_accepted_total{$S}[$__rate_interval])))",
                    "orders/s",
                ),
                Query("max(rate(raft_exchange_trades_total{$S}[$__rate_interval]))", "trades/s"),
            ),
        ),
        Panel(
            "Acknowledgement",
            "From the queue to the committed outcome",
            "s",
            quantiles("order_ack_duration"),
        ),
        Panel(
            "Requests by outcome",
            "What became of the requests that the nodes took",
            "ops",
            rates("requests_total", "outcome", "{{outcome}}"),
        ),
        Panel(
            "HTTP error ratio",
            "Answers of class 5xx among all",
            "percentunit",
            one(
                'sum(rate(raft_exchange_http_requests_total{$S,code="5xx"}[$__rate_interval]))'
                " / sum(rate(raft_exchange_http_requests_total{$S}[$__rate_interval]))",
                "5xx",
            ),
            "timeseries",
            0.0144,
        ),
    ),
)
