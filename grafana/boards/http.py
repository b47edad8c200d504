"""The dashboard HTTP."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Panel, each, one, quantiles, rates

HTTP: Final = Board(
    "raft-exchange-http",
    "Raft Exchange / HTTP",
    "Rate, errors and duration by route.",
    (
        Panel(
            "Requests",
            "By route",
            "reqps",
            rates("http_requests_total", "route, method", "{{method}} {{route}}"),
        ),
        Panel(
            "Answers",
            "By class of status",
            "reqps",
            rates("http_requests_total", "code", "{{code}}"),
        ),
        Panel(
            "Errors",
            "4xx and 5xx, by route",
            "reqps",
            one(
                "sum by (route, code) (rate("
                'raft_exchange_http_requests_total{$S,code=~"4xx|5xx"}[$__rate_interval])) > 0',
                "{{code}} {{route}}",
            ),
        ),
        Panel("Duration", "Of all requests", "s", quantiles("http_request_duration"), warn_at=0.5),
        Panel(
            "Duration by route",
            "p99",
            "s",
            one(
                "histogram_quantile(0.99, sum by (route, le) "
                "(rate(raft_exchange_http_request_duration_seconds_bucket{$S}[$__rate_interval])))",
                "{{route}}",
            ),
        ),
        Panel(
            "In flight",
            "Being answered",
            "none",
            each("http_requests_in_flight", legend="{{instance}}"),
        ),
        Panel(
            "Rate-limited",
            "Writes refused because their sender was too fast",
            "ops",
            rates("rate_limited_total", "lane", "{{lane}}"),
            warn_at=10,
        ),
        Panel(
            "Connections refused",
            "There were too many",
            "ops",
            rates("http_connections_refused_total", "instance", "{{instance}}"),
        ),
    ),
)
