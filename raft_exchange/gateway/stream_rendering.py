"""From changes to messages: each is made and encoded once, whoever reads it.

A run of changes becomes at most one message of each channel: levels with their present size, the
trades, candles and balances as they stand, each state of an order. The messages do not depend on
the node, nor on where a run begins: two runs that meet at a sequence chain there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from raft_exchange.decoding.decimals import format_lots, format_ticks
from raft_exchange.decoding.times import format_time_us
from raft_exchange.gateway.account_views import balances_view, fill_view
from raft_exchange.gateway.channels import CANDLES, Channel
from raft_exchange.gateway.markets import book_checksum
from raft_exchange.gateway.prices import candle_view, ticker_view
from raft_exchange.gateway.rendering import order_view, trade_view
from raft_exchange.gateway.stream_messages import (
    BalancesMessage,
    BookMessage,
    CandlesMessage,
    FillsMessage,
    Level,
    Message,
    OrdersMessage,
    TickerMessage,
    TradesMessage,
)
from raft_exchange.marketdata.changes import (
    BalancesChanged,
    BookChanged,
    Change,
    FillsMade,
    OrdersChanged,
    Part,
    Topic,
    TradesMade,
    fills_of,
    topic_of,
)
from raft_exchange.marketdata.trades import Trade
from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.messages import (
    FINAL_STATUSES,
    MarketRules,
    Order,
    OrderStatus,
    Side,
    TradeExecuted,
)

SNAPSHOT_LEVELS_MAX: Final = 5_000  # a side
SNAPSHOT_TRADES: Final = 50
SNAPSHOT_CANDLES: Final = 300
SNAPSHOT_ORDERS_MAX: Final = 1_000
SNAPSHOT_FILLS: Final = 50  # trades; one with oneself is two fills
SNAPSHOT_REUSE_CHANGES_MAX: Final = 500
"""A book's snapshot is sent again, with a delta behind it, until this much has changed."""

LIVE: Final = frozenset(OrderStatus) - FINAL_STATUSES
_TOPICS: Final[Mapping[str, type[Part]]] = {
    "book": BookChanged,
    "trades": TradesMade,
    CANDLES: TradesMade,
    "orders": OrdersChanged,
    "fills": FillsMade,
    "balances": BalancesChanged,
}


class Encoded(NamedTuple):
    """A message as bytes, and the kind of its channel."""

    kind: str
    data: bytes


Fills = Mapping[str, list[TradeExecuted]]
"""The trades of one change, by account."""


class _Run:
    """What a run of changes did to one topic."""

    def __init__(self, previous: int) -> None:
        self.previous = previous
        self.sequence = 0
        self.time_us = 0
        self.levels: dict[tuple[Side, int], None] = {}
        self.trades: list[Trade] = []
        self.orders: list[Order] = []
        self.assets: dict[str, None] = {}

    def add(self, part: Part, change: Change, fills: Fills) -> None:
        self.sequence, self.time_us = change.sequence, change.time_us
        match part:
            case BookChanged():
                self.levels |= dict.fromkeys(part.levels)
            case TradesMade():
                self.trades += _logged(part.trades, change)
            case OrdersChanged():
                self.orders += part.orders
            case FillsMade():
                self.trades += _logged(fills[part.account], change)
            case BalancesChanged():
                self.assets |= dict.fromkeys(part.assets)


def _logged(trades: Iterable[TradeExecuted], change: Change) -> Iterable[Trade]:
    return (Trade(executed, change.time_us, change.sequence) for executed in trades)


def encode(kind: str, message: Message) -> Encoded:
    """Return a message's bytes: JSON without line breaks."""
    return Encoded(kind, msgspec.json.encode(message))


def touched_markets(changes: Iterable[Change]) -> set[str]:
    """Return the markets whose book changed or that traded."""
    return {
        part.market
        for change in changes
        for part in change.parts
        if isinstance(part, BookChanged | TradesMade)
    }


class StreamRendering:
    """Makes the messages of channels from the projection as it stands."""

    def __init__(self, marketdata: MarketData) -> None:
        self._marketdata = marketdata
        self._books: dict[str, tuple[int, Encoded]] = {}

    def start(self, channel: Channel) -> list[Encoded]:
        """Return the messages that tell a new reader where a channel stands."""
        if channel.kind == "book":
            return self._book_start(channel)
        if channel.kind == "ticker":
            return [self.ticker(channel)]
        if channel.kind == "trades":
            return [self._trades_start(channel)]
        if channel.kind == CANDLES:
            return [self._candles(channel, "snapshot", None, since=None)]
        if channel.kind == "fills":
            return [self._fills_start(channel)]
        if channel.kind == "balances":
            return [self._balances_start(channel)]
        return [self._orders_start(channel)]

    def updates(
        self, channels: Collection[Channel], changes: Sequence[Change], *, since: int
    ) -> dict[Channel, Encoded]:
        """Return the message of each channel that changed; `changes` is everything after `since`.

        Tickers are left out: whether one changed is its reader's memory, not the history's.
        """
        if not changes:
            return {}
        runs = _runs(channels, changes)
        messages = {}
        for channel in channels:
            if channel.kind == "ticker":
                continue
            run = runs.get((_TOPICS[channel.kind], channel.name))
            if run is not None:
                messages[channel] = self._update(channel, run, since=since)
        return messages

    def ticker(self, channel: Channel) -> Encoded:
        """Return the ticker as it stands."""
        view = ticker_view(self._marketdata, self._marketdata.markets[channel.name])
        return encode("ticker", TickerMessage("ticker", channel.label, view.sequence, view))

    def _update(self, channel: Channel, run: _Run, *, since: int) -> Encoded:
        if channel.kind == "book":
            return self._book_delta(channel, run)
        if channel.kind == "trades":
            rules = self._marketdata.markets[channel.name].rules
            views = [trade_view(trade, rules) for trade in run.trades]
            message = TradesMessage(
                "trade", channel.label, channel.name, run.sequence, run.previous, views
            )
            return encode("trades", message)
        if channel.kind == CANDLES:
            return self._candles(channel, "candle", run.previous, since=since)
        if channel.kind == "fills":
            return self._fills(channel, "fill", run.sequence, run.previous, run.trades)
        if channel.kind == "balances":
            return self._balances(channel, run)
        assert channel.kind == "orders"
        return self._orders(channel, "order", run.sequence, run.previous, run.orders)

    # Books ----------------------------------------------------------------------------------------

    def _book_start(self, channel: Channel) -> list[Encoded]:
        held = self._books.get(channel.name)
        if held is not None:
            position, snapshot = held
            changes = self._marketdata.history.since(position)
            if changes is not None and len(changes) <= SNAPSHOT_REUSE_CHANGES_MAX:
                return [snapshot, *self.updates([channel], changes, since=position).values()]
        snapshot = self._book_snapshot(channel)
        self._books[channel.name] = self._marketdata.sequence, snapshot
        return [snapshot]

    def _book_snapshot(self, channel: Channel) -> Encoded:
        marketdata, market = self._marketdata, self._marketdata.markets[channel.name]
        sides = [market.depth.levels(side, SNAPSHOT_LEVELS_MAX + 1) for side in Side]
        rows = [
            [_level(market.rules, *level) for level in side[:SNAPSHOT_LEVELS_MAX]] for side in sides
        ]
        message = BookMessage(
            "snapshot",
            channel.label,
            channel.name,
            marketdata.recorder.books.get(channel.name, 0),
            None,
            format_time_us(marketdata.time_us),
            rows[Side.BUY],
            rows[Side.SELL],
            book_checksum(market),
            any(len(side) > SNAPSHOT_LEVELS_MAX for side in sides),
        )
        return encode("book", message)

    def _book_delta(self, channel: Channel, run: _Run) -> Encoded:
        market = self._marketdata.markets[channel.name]
        message = BookMessage(
            "delta",
            channel.label,
            channel.name,
            run.sequence,
            run.previous,
            format_time_us(run.time_us),
            _changed_levels(market, run, Side.BUY),
            _changed_levels(market, run, Side.SELL),
            book_checksum(market),
            False,
        )
        return encode("book", message)

    # Trades, candles, orders ----------------------------------------------------------------------

    def _trades_start(self, channel: Channel) -> Encoded:
        market = self._marketdata.markets[channel.name]
        views = [trade_view(trade, market.rules) for trade in market.trades.newest(SNAPSHOT_TRADES)]
        sequence = self._marketdata.recorder.trades.get(channel.name, 0)
        message = TradesMessage(
            "snapshot", channel.label, channel.name, sequence, None, views[::-1]
        )
        return encode("trades", message)

    def _candles(
        self, channel: Channel, type_: str, previous: int | None, *, since: int | None
    ) -> Encoded:
        market = self._marketdata.markets[channel.name]
        if since is None:
            candles = market.candles.newest(channel.interval, SNAPSHOT_CANDLES)
        else:
            candles = market.candles.since(channel.interval, since)
        message = CandlesMessage(
            "snapshot" if type_ == "snapshot" else "candle",
            channel.label,
            channel.name,
            channel.interval,
            self._marketdata.recorder.trades.get(channel.name, 0),
            previous,
            [candle_view(candle, market.rules) for candle in candles],
        )
        return encode(CANDLES, message)

    def _orders_start(self, channel: Channel) -> Encoded:
        orders, cursor = self._marketdata.orders.page(
            channel.name, limit=SNAPSHOT_ORDERS_MAX, statuses=LIVE
        )
        sequence = self._marketdata.recorder.orders.get(channel.name, 0)
        return self._orders(
            channel, "snapshot", sequence, None, orders, truncated=cursor is not None
        )

    def _orders(
        self,
        channel: Channel,
        type_: str,
        sequence: int,
        previous: int | None,
        orders: Sequence[Order],
        *,
        truncated: bool = False,
    ) -> Encoded:
        markets = self._marketdata.markets
        message = OrdersMessage(
            "snapshot" if type_ == "snapshot" else "order",
            channel.label,
            channel.name,
            sequence,
            previous,
            [order_view(order, markets[order.market].rules) for order in orders],
            truncated,
        )
        return encode(channel.kind, message)

    # Fills, balances ------------------------------------------------------------------------------

    def _fills_start(self, channel: Channel) -> Encoded:
        page, _ = self._marketdata.fills.page(
            channel.name, limit=SNAPSHOT_FILLS, before=None, market=None
        )
        sequence = self._marketdata.recorder.fills.get(channel.name, 0)
        trades = [numbered.trade for numbered in reversed(page)]
        return self._fills(channel, "snapshot", sequence, None, trades)

    def _fills(
        self,
        channel: Channel,
        type_: str,
        sequence: int,
        previous: int | None,
        trades: Iterable[Trade],
    ) -> Encoded:
        markets, account = self._marketdata.markets, channel.name
        message = FillsMessage(
            "snapshot" if type_ == "snapshot" else "fill",
            channel.label,
            account,
            sequence,
            previous,
            [
                view
                for trade in trades
                for view in fill_view(trade, markets[trade.executed.market].rules, account)
            ],
        )
        return encode(channel.kind, message)

    def _balances_start(self, channel: Channel) -> Encoded:
        marketdata, account = self._marketdata, channel.name
        sequence = marketdata.recorder.balances.get(account, 0)
        views = balances_view(marketdata.balances.of(account))
        message = BalancesMessage("snapshot", channel.label, account, sequence, None, views)
        return encode(channel.kind, message)

    def _balances(self, channel: Channel, run: _Run) -> Encoded:
        balances, account = self._marketdata.balances, channel.name
        views = balances_view(
            (asset, balances.holding(account, asset)) for asset in sorted(run.assets)
        )
        message = BalancesMessage(
            "balance", channel.label, account, run.sequence, run.previous, views
        )
        return encode(channel.kind, message)


def _runs(channels: Iterable[Channel], changes: Iterable[Change]) -> Mapping[Topic, _Run]:
    wanted = {
        (_TOPICS[channel.kind], channel.name) for channel in channels if channel.kind in _TOPICS
    }
    wants_fills = any(kind is FillsMade for kind, _ in wanted)
    runs: dict[Topic, _Run] = {}
    for change in changes:
        fills = fills_of(change) if wants_fills else {}
        for part in change.parts:
            topic = topic_of(part)
            if topic not in wanted:
                continue
            run = runs.get(topic)
            if run is None:
                run = runs[topic] = _Run(part.previous)
            run.add(part, change, fills)
    return runs


def _changed_levels(market: Market, run: _Run, side: Side) -> list[Level]:
    prices = sorted((ticks for s, ticks in run.levels if s is side), reverse=side is Side.BUY)
    return [_level(market.rules, ticks, *market.depth.level(side, ticks)) for ticks in prices]


def _level(rules: MarketRules, ticks: int, lots: int, orders: int) -> Level:
    return (
        format_ticks(ticks, rules.tick_size_e18),
        format_lots(lots, rules.lot_size_e18),
        orders,
    )
