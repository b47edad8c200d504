"""Order and trade events for Grenache subscribers: one text frame of JSON for each.

Published on a port of its own under `EVENTS_CHANNEL`; a stock `PeerSub` receives it. Nothing is
repeated for who was away, so every message says where it stands:

- `sequence` and `index` are its position, equal on every node; `count` is how many messages the
  sequence has.
- `previous_sequence` is that of the message before, null on the first one since this node started
  or took a snapshot. A reader that sees another one than it got last has missed something, and
  asks for the book.

Whose an order is, and how its owner calls it, is not told.
"""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from grape.pubsub import Publisher
from raft_exchange.decoding.times import format_time_us
from raft_exchange.gateway.rendering import View, order_view, trade_view
from raft_exchange.marketdata.trades import Trade
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.messages import (
    Event,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderReduced,
    OrderRested,
    TradeExecuted,
)
from raft_exchange.sequencer.applied import Applied, Result

EVENTS_CHANNEL: Final = "raft_exchange:events"
OrderEvent = OrderAccepted | OrderRested | OrderReduced | OrderAmended | OrderEnded
ORDER_EVENTS: Final[dict[type[Event], str]] = {
    OrderAccepted: "accepted",
    OrderRested: "rested",
    OrderReduced: "reduced",
    OrderAmended: "amended",
    OrderEnded: "ended",
}
PUBLIC_FIELDS: Final = (
    *("order_id", "market", "side", "type", "price", "quantity", "filled_quantity"),
    *("remaining_quantity", "status"),
)


def is_public(event: Event) -> bool:
    """Say whether anybody may see an event: not what a stop or an iceberg keeps to itself.

    Of these the trades are public, and what the book shows.
    """
    if isinstance(event, OrderEvent):
        return not event.order.stop_price_ticks and not event.order.display_lots
    return type(event) is TradeExecuted


class EventFeed:
    """Publishes what is applied, while anybody listens."""

    def __init__(self, marketdata: MarketData) -> None:
        self.publisher = Publisher()
        self._marketdata = marketdata
        self._previous: int | None = None

    def applied(self, applied: Applied) -> None:
        """Publish one entry's events, which are folded."""
        if not self.publisher.subscriber_count:
            self._pass_over(applied)
            return
        for result in applied.results:
            if not result.replayed_sequence:
                self._publish(result, applied.time_us)

    def restored(self) -> None:
        """Say that a snapshot replaced the state: what happened in between is not published."""
        self._previous = None

    def _pass_over(self, applied: Applied) -> None:
        """Note the last sequence that would have been published. O(results from there on)."""
        for result in reversed(applied.results):
            if not result.replayed_sequence and any(map(is_public, result.events)):
                self._previous = result.sequence
                return

    def _publish(self, result: Result, time_us: int) -> None:
        events = [event for event in result.events if is_public(event)]
        if not events:
            return
        for index, event in enumerate(events):
            head: View = {
                "type": "",
                "sequence": result.sequence,
                "index": index,
                "count": len(events),
                "previous_sequence": self._previous if index == 0 else result.sequence,
                "time": format_time_us(time_us),
            }
            view = head | self._view(event, result.sequence, time_us)
            self.publisher.publish(msgspec.json.encode(view).decode())
        self._previous = result.sequence

    def _view(self, event: Event, sequence: int, time_us: int) -> View:
        markets = self._marketdata.markets
        if isinstance(event, TradeExecuted):
            trade = Trade(event, time_us, sequence)
            return {"type": "trade", "trade": trade_view(trade, markets[event.market].rules)}
        assert isinstance(event, OrderEvent), event
        order = order_view(event.order, markets[event.order.market].rules)
        public = {name: order[name] for name in PUBLIC_FIELDS}
        return {"type": "order", "event": ORDER_EVENTS[type(event)], "order": public}


def make_events_app(feed: EventFeed) -> web.Application:
    """Return the application of the pub/sub port: every path is the channel."""

    async def subscribe(request: web.Request) -> web.StreamResponse:
        # No stock subscriber sends an Origin; a web page has streams of its own.
        if "Origin" in request.headers:
            return web.Response(status=403, text="not for web pages: use /v1/ws")
        return await feed.publisher.handle(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", subscribe)
    app.on_shutdown.append(feed.publisher.close)
    return app
