"""Everything in the Prometheus text format, a few lines at a time.

The client library writes a whole registry in one go, which holds up a node's loop for tens of
milliseconds. Here it writes pieces of a metric, and the loop turns between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

LINES_PER_PIECE: Final = 100


class _Piece(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def pieces(registry: CollectorRegistry) -> Iterator[bytes]:
    """Give what `generate_latest` gives, in pieces of about so many lines.

    A collector is asked when its turn comes, so figures of different ones may be moments apart. It
    may give a metric in parts, one after the other.
    """
    previous = ""
    for metric in registry.collect():
        samples = metric.samples
        for start in range(0, max(1, len(samples)), LINES_PER_PIECE):
            metric.samples = samples[start : start + LINES_PER_PIECE]
            text = generate_latest(_Piece(metric))
            yield text if metric.name != previous else _without_head(text)
            previous = metric.name


def _without_head(text: bytes) -> bytes:
    """Take the lines HELP and TYPE off: a metric has them once."""
    return text.split(b"\n", 2)[2]
