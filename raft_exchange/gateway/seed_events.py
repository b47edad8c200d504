"""`GET /events` in the words of the seed project: every event carries the whole book.

Unnamed `data:` lines without ids: first `snapshot`, then `order_added`, `order_removed` and
`trade`. The shape is the seed's; the cost is not:

- Events are made every `FLUSH_S` for all readers together, as long as there are any; the book
  behind the events of one flush is the same and rendered once, each resting order once for as long
  as it stands unchanged.
- A reader is written to as fast as it reads: who is busy reading gets what it missed afterwards,
  and who missed more than `MISSED_EVENTS_MAX`, a new `snapshot` instead. A reader that takes
  nothing for long is cut off by the system, as on every route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.gateway.context import CONTEXT, Context
from raft_exchange.gateway.guard import internal_error, open_stream
from raft_exchange.gateway.reads import market_named
from raft_exchange.gateway.rendering import View
from raft_exchange.gateway.request_log import names_of
from raft_exchange.gateway.seed_shapes import (
    STATE_TRADES,
    resting_orders,
    seed_order,
    seed_trade,
    snapshot_summary,
)
from raft_exchange.gateway.stream import event_stream
from raft_exchange.gateway.streams import STREAMS, Streams
from raft_exchange.gateway.subscribers import Subscriber
from raft_exchange.marketdata.changes import Change, OrdersChanged, TradesMade
from raft_exchange.marketdata.trades import Trade
from raft_exchange.marketdata.view import Market
from raft_exchange.matching.messages import (
    FINAL_STATUSES,
    MarketRules,
    Order,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)

FLUSH_S: Final = 0.05
MISSED_EVENTS_MAX: Final = 256
HELD_ORDERS_MAX: Final = 20_000
"""Orders whose rendering is kept: beyond it all are rendered anew."""


class Book:
    """The parts of one market's messages that all events of a moment share."""

    def __init__(self, context: Context, market: Market) -> None:
        self._context = context
        self._market = market
        self._held: dict[int, tuple[Order, msgspec.Raw]] = {}
        self._sequence = -1
        self._trades_sequence = -1
        self._snapshot = b""
        self._trades: list[View] = []

    def snapshot(self) -> bytes:
        """Return the JSON of the book as it stands; made once for each sequence."""
        marketdata = self._context.marketdata
        if self._sequence != marketdata.sequence:
            self._sequence = marketdata.sequence
            orders = [self._side(side) for side in Side]
            view = snapshot_summary(self._context, self._market, *orders)
            market = self._market
            trades = [seed_trade(t, market.rules) for t in market.trades.newest(STATE_TRADES)]
            self._trades = trades[::-1]
            node = self._context.settings.node
            view |= {"peerId": node, "sequence": marketdata.sequence, "trades": self._trades}
            self._snapshot = msgspec.json.encode(view)
        return self._snapshot

    def event(self, type_: str, payload: View) -> bytes:
        """Return one event, with the book and the trades as they stand."""
        snapshot = self.snapshot()
        head = msgspec.json.encode({"type": type_, "payload": payload})
        trades = msgspec.json.encode(self._trades)
        return b'data: %b,"snapshot":%b,"trades":%b}\n\n' % (head[:-1], snapshot, trades)

    def opening(self) -> bytes:
        """Return the event that a reader begins with."""
        return b'data: {"type":"snapshot","payload":%b}\n\n' % self.snapshot()

    def _side(self, side: Side) -> list[msgspec.Raw]:
        return [self._order(order) for order in resting_orders(self._context, self._market, side)]

    def _order(self, order: Order) -> msgspec.Raw:
        held = self._held.get(order.order_id)
        if held is not None and held[0] is order:
            return held[1]
        if len(self._held) >= HELD_ORDERS_MAX:
            self._held.clear()
        raw = msgspec.Raw(msgspec.json.encode(seed_order(order, self._market.rules)))
        self._held[order.order_id] = order, raw
        return raw


_RESTING: Final = frozenset(OrderStatus) - FINAL_STATUSES - {OrderStatus.PENDING}


class SeedEvents:
    """Makes events for all readers together, a flush at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._book: Book | None = None
        self._flush: asyncio.Future[tuple[int, int, list[bytes]]] | None = None
        self._position = 0

    def begin(self, market: Market) -> tuple[int, bytes]:
        """Return where a new reader stands, and its first event."""
        if self._book is None:
            self._book = Book(self._context, market)
        return self._context.marketdata.sequence, self._book.opening()

    async def next(self, market: Market, position: int) -> tuple[int, list[bytes]]:
        """Wait for the next flush; return where a reader at `position` stands then, its events."""
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.create_future()
            self._position = position
            loop.call_later(FLUSH_S, self._flush_due, market)
        since, until, events = await asyncio.shield(self._flush)
        return (until, events) if since == position else self._events(market, position)

    def _flush_due(self, market: Market) -> None:
        flush, self._flush = self._flush, None
        assert flush is not None
        try:
            until, events = self._events(market, self._position)
        except Exception as error:
            flush.set_exception(error)
        else:
            flush.set_result((self._position, until, events))

    def _events(self, market: Market, position: int) -> tuple[int, list[bytes]]:
        marketdata, book = self._context.marketdata, self._book
        assert book is not None, "a reader began"
        if position == marketdata.sequence:
            return position, []
        changes = marketdata.history.since(position)
        told = None if changes is None else told_of(market.rules, changes)
        if told is None or len(told) > MISSED_EVENTS_MAX:
            return marketdata.sequence, [book.opening()]
        return marketdata.sequence, [book.event(type_, payload) for type_, payload in told]


def told_of(rules: MarketRules, changes: Sequence[Change]) -> list[tuple[str, View]]:
    """Return the seed's events for changes, as (type, payload).

    For each command: the makers that are filled and what else left the book, then its trades,
    then what joined the book. A maker filled in part only shows in its trade.
    """
    told: list[tuple[str, View]] = []
    for change in changes:
        trades = [
            Trade(executed, change.time_us, change.sequence)
            for part in change.parts
            if isinstance(part, TradesMade) and part.market == rules.market
            for executed in part.trades
        ]
        orders = [
            order
            for part in change.parts
            if isinstance(part, OrdersChanged)
            for order in part.orders
            if order.market == rules.market
        ]
        makers = {trade.executed.maker_order_id for trade in trades}
        for order in orders:
            if order.status in FINAL_STATUSES and _has_rested(order, makers, change):
                told.append(("order_removed", seed_order(order, rules)))
        told += (("trade", seed_trade(trade, rules)) for trade in trades)
        for order in orders:
            if order.status in _RESTING and order.order_id not in makers:
                told.append(("order_added", seed_order(order, rules)))
    return told


def _has_rested(order: Order, makers: set[int], change: Change) -> bool:
    """Say whether a final order had been in the book: not so if it ended as it came."""
    if order.order_id in makers:
        return True
    may_rest = order.time_in_force in (TimeInForce.GTC, TimeInForce.GTD)
    is_new = order.created_at_us == change.time_us and order.status is OrderStatus.FILLED
    return order.type is OrderType.LIMIT and may_rest and not is_new


SEED_EVENTS: Final = web.AppKey("seed_events", SeedEvents)


async def get_events(request: web.Request) -> web.StreamResponse:
    """Stream the default market in the seed's words, until either side ends it."""
    context, streams = request.app[CONTEXT], request.app[STREAMS]
    market = await market_named(context, context.settings.default_market)
    streams.admit()
    response = event_stream(request)
    await open_stream(request, response)
    if request.method != "HEAD" and request.transport is not None:
        reader = Subscriber(request.transport, lambda messages, position: b"", "seed_events")
        streams.add(reader)
        writing = asyncio.create_task(
            _write_events(request.app[SEED_EVENTS], market, response, streams, reader)
        )
        try:
            await asyncio.wait((writing, reader.ended), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        except ConnectionError:
            pass  # the reader has gone
        except Exception as error:
            internal_error(error, request.path, names_of(request))
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            streams.drop(reader)
    return response


async def _write_events(
    events: SeedEvents,
    market: Market,
    response: web.StreamResponse,
    streams: Streams,
    reader: Subscriber,
) -> None:
    position, opening = events.begin(market)
    await response.write(opening)
    while not reader.is_gone:
        position, found = await events.next(market, position)
        for event in found:
            await response.write(event)
