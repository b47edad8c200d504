"""What a scrape returns: whole, in pieces that hold up nobody, each row there from the start."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from raft_exchange.metrics import BOUNDS, Metrics
from raft_exchange.metrics.exposition import LINES_PER_PIECE, pieces
from tests.support.coroutines import in_loop
from tests.support.gateway import gateway

HEAD_LINES = 2
ROWS_OF_A_ROUTE = 17


def test_the_pieces_are_what_the_library_writes_at_once() -> None:
    registry = CollectorRegistry()
    for number in range(3):
        gauge = Gauge(f"g{number}", "A gauge.", ("one",), registry=registry)
        for label in range(LINES_PER_PIECE * number + 7):
            gauge.labels(f'{label} "x" \\ \n').set(label)
    Gauge("empty", "A gauge without rows.", ("one",), registry=registry)
    Counter("c", "A counter.", registry=registry).inc()
    assert b"".join(pieces(registry)) == generate_latest(registry)


@in_loop
async def test_a_scrape_of_many_markets_has_short_pieces_and_each_row_once() -> None:
    async with gateway() as g:
        for number in range(30):
            g.core.open_market(f"M{number}-USD")
        written = list(g.metrics.pieces())
        lines = [piece.count(b"\n") for piece in written]
        assert max(lines) <= max(LINES_PER_PIECE, 6 * ROWS_OF_A_ROUTE) + HEAD_LINES
        text = b"".join(written).decode()
        rows = [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]
        assert len(rows) == len(set(rows))
        heads = [line for line in text.splitlines() if line.startswith("# TYPE ")]
        assert len(heads) == len(set(heads))
        assert len(rows) > 1_000
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert all(family.documentation for family in families.values())
        shown = {s.labels["market"] for s in families["raft_exchange_market_levels"].samples}
        assert len(shown) == 20, "markets with rows of their own are bounded"


def test_every_bound_is_there_before_anybody_reads_it() -> None:
    metrics = Metrics()
    assert _uses(metrics) == dict.fromkeys(BOUNDS, 0.0)
    metrics.watch_bounds(lambda: {"orders": 0.5})
    metrics.watch_bounds(lambda: {"markets": 1.0})
    assert _uses(metrics) == dict.fromkeys(BOUNDS, 0.0) | {"orders": 0.5, "markets": 1.0}


def test_a_bound_that_nobody_named_is_a_bug() -> None:
    metrics = Metrics()
    metrics.watch_bounds(lambda: {"patience": 0.5})
    with pytest.raises(AssertionError, match="patience"):
        metrics.render()


@in_loop
async def test_a_books_orders_and_a_markets_trades_are_counted() -> None:
    async with gateway() as g:
        await g.place("sell")
        await g.place("sell")
        await g.place("buy")
        text = g.metrics.render().decode()
        for line in (
            'raft_exchange_market_orders{market="BTC-USD",side="sell"} 1.0',
            'raft_exchange_market_orders{market="BTC-USD",side="buy"} 0.0',
            'raft_exchange_market_levels{market="BTC-USD",side="sell"} 1.0',
            'raft_exchange_market_trades_total{market="BTC-USD"} 1.0',
            'raft_exchange_market_crossed{market="BTC-USD"} 0.0',
        ):
            assert line in text, line
        assert _uses(g.metrics)["finished_orders"] == 2 / 50_000


def _uses(metrics: Metrics) -> dict[str, float]:
    text = metrics.render().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["raft_exchange_bound_use_ratio"].samples
    assert all(sample.labels["when_full"] == BOUNDS[sample.labels["bound"]] for sample in samples)
    return {sample.labels["bound"]: sample.value for sample in samples}
