"""One market's resting orders, by price and then by time.

Theory of operation:

- Each side keeps its price levels in a sorted list of *keys*: the price for sells, the negated
  price for buys, so that on both sides the smaller key is the better price and one piece of code
  serves both. The best level is kept at hand.
- A level is a doubly linked list of its orders, oldest first. Joining, leaving and taking the
  first are O(1) whatever happened before; a dict in insertion order would do it too, but finding
  its first entry slows down with every removed one before it.
- `priority` is drawn from the book's own counter when an order joins and is what a snapshot keeps
  of the queue: neither order ids nor times say who is first once orders have been amended.
- An iceberg stands in its level with what it shows. When that is used up it goes to the back of
  the level with its next tranche, and a new priority; it is never topped up before.
- The book is never crossed, no level is empty, no order in it is filled (`check`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from sortedcontainers import SortedList

from raft_exchange.matching.limits import ORDERS_PER_MARKET_MAX, PRICE_TICKS_MAX
from raft_exchange.matching.messages import OrderType, Side
from raft_exchange.matching.orders import LiveOrder

_BUY: Final = Side.BUY


class Level(msgspec.Struct, eq=False):
    """The queue at one price; never empty while it is in a book."""

    key: int
    first: LiveOrder
    last: LiveOrder


class BookSide:
    """All buys or all sells of one market. `best` is the level of the best price, if any."""

    __slots__ = ("_keys", "_levels", "_sign", "best", "count")

    def __init__(self, side: Side) -> None:
        self._sign = -1 if side is Side.BUY else 1
        self._keys = SortedList()
        self._levels: dict[int, Level] = {}
        self.best: Level | None = None
        self.count = 0

    def append(self, order: LiveOrder) -> None:
        """Put `order` at the back of its level. O(1), O(log levels) at a new price."""
        key = order.price_ticks * self._sign
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = Level(key, order, order)
            self._keys.add(key)
            if self.best is None or key < self.best.key:
                self.best = level
        else:
            order.ahead = level.last
            level.last.behind = order
            level.last = order
        self.count += 1

    def remove(self, order: LiveOrder) -> None:
        """Take `order` out, wherever it stands. O(1), O(log levels) for the last of a level."""
        key = order.price_ticks * self._sign
        level = self._levels[key]
        ahead, behind = order.ahead, order.behind
        if ahead is not None:
            ahead.behind = behind
        elif behind is not None:
            level.first = behind
        else:
            self._remove_level(level)
        if behind is not None:
            behind.ahead = ahead
        elif ahead is not None:
            level.last = ahead
        order.ahead = order.behind = None
        self.count -= 1

    def _remove_level(self, level: Level) -> None:
        del self._levels[level.key]
        self._keys.remove(level.key)
        if level is self.best:
            self.best = self._levels[self._keys[0]] if self._keys else None

    def key_limit(self, price_ticks: int) -> int:
        """Return the last key at which a taker of the other side trades up or down to a price."""
        return price_ticks * self._sign

    def reached_by(self, price_ticks: int) -> bool:
        """Say whether an order of the other side at `price_ticks` would take."""
        return self.best is not None and self.best.key <= price_ticks * self._sign

    def orders(self, key_limit: int = PRICE_TICKS_MAX) -> Iterator[LiveOrder]:
        """Yield the orders up to `key_limit`, the next to trade first.

        Lazy: the book must not change meanwhile.
        """
        for key in self._keys:
            if key > key_limit:
                return
            order: LiveOrder | None = self._levels[key].first
            while order is not None:
                yield order
                order = order.behind

    def check(self) -> None:
        """Assert every invariant of the side. O(n)."""
        assert list(self._keys) == sorted(self._levels)
        assert self.best is (self._levels[self._keys[0]] if self._keys else None)
        for key, level in self._levels.items():
            assert level.key == key
            assert level.first.ahead is None
            assert level.last.behind is None
        count = 0
        for order in self.orders():
            count += 1
            level = self._levels[order.price_ticks * self._sign]
            if order.behind is None:
                assert level.last is order
            else:
                assert order.behind.ahead is order
                assert order.behind.price_ticks == order.price_ticks
                assert order.priority < order.behind.priority, "a level is in order of priority"
        assert count == self.count


class Book:
    """One market, price-time priority, and its two counters.

    `priority` is the last place in the queue that was given out, `trade_id` the last trade's, and
    `last_price_ticks` its price, 0 before the first.
    """

    __slots__ = ("buys", "last_price_ticks", "market", "priority", "sells", "trade_id")

    def __init__(self, market: str) -> None:
        self.market = market
        self.buys = BookSide(Side.BUY)
        self.sells = BookSide(Side.SELL)
        self.priority = 0
        self.trade_id = 0
        self.last_price_ticks = 0

    def own(self, side: Side) -> BookSide:
        """Return the side on which an order of `side` rests."""
        return self.buys if side is _BUY else self.sells

    def opposite(self, side: Side) -> BookSide:
        """Return the side which an order of `side` takes from."""
        return self.sells if side is _BUY else self.buys

    def count(self) -> int:
        """Return how many orders rest."""
        return self.buys.count + self.sells.count

    def append(self, order: LiveOrder) -> None:
        """Let `order` rest behind all others at its price. O(log levels)."""
        self.priority = order.priority = self.priority + 1
        if order.display_lots:
            order.shown_lots = min(order.display_lots, order.quantity_lots - order.filled_lots)
        (self.buys if order.side is _BUY else self.sells).append(order)

    def draw_priority(self) -> int:
        """Return the next place in the queue, behind all that were given out."""
        self.priority += 1
        return self.priority

    def restore(self, order: LiveOrder) -> None:
        """Let `order` rest with the priority it has; called in ascending priority."""
        self.own(order.side).append(order)

    def remove(self, order: LiveOrder) -> None:
        """Take a resting `order` out. O(log levels)."""
        self.own(order.side).remove(order)

    def check(self) -> None:
        """Assert every invariant of the book. O(n)."""
        for side in (Side.BUY, Side.SELL):
            self.own(side).check()
            for order in self.own(side).orders():
                assert order.side is side
                assert order.market == self.market
                assert order.type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
                assert (order.type is OrderType.STOP_LIMIT) is (order.stop_price_ticks > 0)
                assert not order.is_pending
                assert 0 < order.price_ticks <= PRICE_TICKS_MAX
                assert 0 <= order.filled_lots < order.quantity_lots
                assert 0 < order.priority <= self.priority
                _check_shown(order)
        if self.buys.best is not None and self.sells.best is not None:
            assert -self.buys.best.key < self.sells.best.key, "the book is never crossed"
        places = {order.priority for side in (self.buys, self.sells) for order in side.orders()}
        assert len(places) == self.count(), "a place in the queue is one order's"
        assert self.count() <= ORDERS_PER_MARKET_MAX
        assert self.trade_id >= 0
        assert 0 <= self.last_price_ticks <= PRICE_TICKS_MAX
        assert not self.last_price_ticks or self.trade_id, "the last price is a trade's"


def _check_shown(order: LiveOrder) -> None:
    if order.display_lots:
        lots = min(order.display_lots, order.quantity_lots - order.filled_lots)
        assert 0 < order.shown_lots <= lots, "a tranche is shown, and no more than one"
    else:
        assert order.shown_lots == 0
