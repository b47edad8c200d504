"""Rows of the exchange and its markets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raft_exchange.metrics.figures import ExchangeFigures, MarketFigures

_BY_MARKET: Final = ("market",)
_BY_SIDE: Final = ("market", "side")


class ExchangeCollector(Collector):
    """Reads the figures at each scrape."""

    def __init__(self, read: Callable[[], ExchangeFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give the rows, as of now."""
        figures = self._read()
        for name, text, value in (
            ("applied_sequence", "Sequence number of the last command applied", figures.sequence),
            ("logged_timestamp_seconds", "The logged clock", figures.time_us / 1e6),
            ("markets", "Markets open", figures.markets),
            ("accounts", "Accounts open", figures.accounts),
            ("live_orders", "Orders resting in all books", figures.live_orders),
        ):
            yield GaugeMetricFamily(f"raft_exchange_{name}", text, value=value)
        yield CounterMetricFamily("raft_exchange_trades", "Trades executed", value=figures.trades)
        orders = CounterMetricFamily(
            "raft_exchange_orders_accepted", "Orders accepted", labels=("side", "type")
        )
        for (side, type_), count in figures.orders.items():
            orders.add_metric((side, type_), count)
        yield orders
        refusals = CounterMetricFamily(
            "raft_exchange_commands_refused", "Commands refused by a rule", labels=("reason",)
        )
        for reason, count in figures.refusals.items():
            refusals.add_metric((reason,), count)
        yield refusals
        yield from _markets(figures.shown)


def _markets(shown: Sequence[MarketFigures]) -> Iterator[Metric]:
    """Give a row for each shown market; prices and sums are for display, never for accounts."""
    bests, crossed, levels, orders, depth = (
        GaugeMetricFamily(f"raft_exchange_market_{name}", text, labels=labels)
        for name, text, labels in (
            ("best_price", "Best price in quote units; none for an empty side", _BY_SIDE),
            ("crossed", "1 while the best bid is not below the best ask: a bug", _BY_MARKET),
            ("levels", "Price levels of a side", _BY_SIDE),
            ("orders", "Orders resting on a side", _BY_SIDE),
            ("depth_quantity", "What the best 50 levels hold, in base units", _BY_SIDE),
        )
    )
    quantity, notional, trades, spread = (
        GaugeMetricFamily(f"raft_exchange_market_{name}", text, labels=_BY_MARKET)
        for name, text in (
            ("day_quantity", "Traded in the last 24 hours, in base units"),
            ("day_notional", "Traded in the last 24 hours, in quote units"),
            ("day_trades", "Trades of the last 24 hours"),
            ("spread", "Best ask less best bid, in quote units"),
        )
    )
    trades_ever = CounterMetricFamily(
        "raft_exchange_market_trades", "Trades executed in a market", labels=_BY_MARKET
    )
    for market in shown:
        bid, ask = market.best_bid, market.best_ask
        for side, price in (("buy", bid), ("sell", ask)):
            if price is not None:
                bests.add_metric((market.name, side), price)
            levels.add_metric((market.name, side), market.levels[side])
            orders.add_metric((market.name, side), market.orders[side])
            depth.add_metric((market.name, side), market.depth[side])
        trades_ever.add_metric((market.name,), market.trades)
        is_crossed = bid is not None and ask is not None and bid >= ask
        crossed.add_metric((market.name,), float(is_crossed))
        if bid is not None and ask is not None:
            spread.add_metric((market.name,), ask - bid)
        quantity.add_metric((market.name,), market.day_quantity)
        notional.add_metric((market.name,), market.day_notional)
        trades.add_metric((market.name,), market.day_trades)
    yield from (bests, spread, crossed, levels, orders, depth, quantity, notional, trades)
    yield trades_ever
