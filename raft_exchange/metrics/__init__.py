"""Every Prometheus collector of a node; the only package that knows the client library.

Rules: every name begins with `raft_exchange_`, has one unit and a help text; label sets are closed
or bounded lists, there from the start at zero so that `rate` sees the first event; no id of an
order, account, path or free text is ever a label. Nothing is global: a node makes one `Metrics`, a
test makes its own. (`process_` and `python_` are the client library's own, of the process.)

Figures that others already count are read when scraped and cost nothing before; times are put
into `Durations`, which costs a bisection.
"""

from raft_exchange.metrics.bounds import BOUNDS
from raft_exchange.metrics.durations import APPLY_BUCKETS_S, WAIT_BUCKETS_S, Durations
from raft_exchange.metrics.figures import (
    STREAM_TRANSPORTS,
    DhtFigures,
    DiscoveryFigures,
    ExchangeFigures,
    HistoryFigures,
    MarketFigures,
    NodeFigures,
    StreamFigures,
)
from raft_exchange.metrics.http import UNKNOWN_ROUTE
from raft_exchange.metrics.registry import CONTENT_TYPE, Metrics

__all__ = [
    "APPLY_BUCKETS_S",
    "BOUNDS",
    "CONTENT_TYPE",
    "STREAM_TRANSPORTS",
    "UNKNOWN_ROUTE",
    "WAIT_BUCKETS_S",
    "DhtFigures",
    "DiscoveryFigures",
    "Durations",
    "ExchangeFigures",
    "HistoryFigures",
    "MarketFigures",
    "Metrics",
    "NodeFigures",
    "StreamFigures",
]
