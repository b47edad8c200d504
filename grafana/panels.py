"""The rows of the one table of what the dashboards show: `boards/` fills it.

`$S` in a query stands for the matchers of the variables; a threshold is that of the alert of the
same figure, in `rules.yaml`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SELECTOR: Final = 'cluster=~"$cluster",job=~"$job",instance=~"$instance"'


class Query(NamedTuple):
    """One line, or one family of lines, of a panel."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel; `unit` is Grafana's id of it, `warn_at` where it turns red."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    warn_at: float | None = None


class Board(NamedTuple):
    """One dashboard."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    has_market: bool = False


def rates(metric: str, by: str, legend: str) -> tuple[Query, ...]:
    """Rates of a counter, by labels."""
    return (Query(f"sum by ({by}) (rate(raft_exchange_{metric}{{$S}}[$__rate_interval]))", legend),)


def totals(*pairs: tuple[str, str]) -> tuple[Query, ...]:
    """Rates of several counters, by node."""
    return tuple(rates(metric, "instance", legend)[0] for metric, legend in pairs)


def quantiles(metric: str) -> tuple[Query, ...]:
    """Median and p99 of a histogram."""
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by (le) "
            f"(rate(raft_exchange_{metric}_seconds_bucket{{$S}}[$__rate_interval])))",
            f"p{100 * q:g}",
        )
        for q in (0.5, 0.99)
    )


def each(*metrics: str, legend: str = "") -> tuple[Query, ...]:
    """Gauges as they are."""
    return tuple(
        Query(f"raft_exchange_{metric}{{$S}}", legend or "{{instance}} " + metric)
        for metric in metrics
    )


def one(expr: str, legend: str = "now") -> tuple[Query, ...]:
    """A single query."""
    return (Query(expr, legend),)
