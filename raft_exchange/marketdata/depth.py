"""The book of one market as its events tell it: price levels, each a queue of orders.

Rules:
- Only events change a depth. It never matches, and so it never decides: an order rests, trades as
  a maker, shrinks in place, or leaves.
- A level is an insertion-ordered dict `order_id -> remaining lots`: insertion order is queue order,
  because an order joins at the back and only ever keeps its place or leaves.
- A level's `lots` is the sum of its orders' remaining lots, and a level without orders is gone.
- Every resting order has lots left, except inside one command: a filled maker waits at zero for
  the `OrderEnded` that follows its trade.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sortedcontainers import SortedDict

from raft_exchange.matching.messages import Side


class Level:
    """All orders at one price, oldest first."""

    __slots__ = ("lots", "orders")

    def __init__(self) -> None:
        self.lots = 0
        self.orders: dict[int, int] = {}


class Depth:
    """Both sides of one market's book."""

    def __init__(self) -> None:
        self._levels: dict[Side, SortedDict] = {Side.BUY: SortedDict(), Side.SELL: SortedDict()}
        self._orders = dict.fromkeys(Side, 0)

    def rest(self, order_id: int, side: Side, price_ticks: int, lots: int) -> None:
        """Put an order at the back of its level. O(log levels)."""
        levels = self._levels[side]
        level = levels.get(price_ticks)
        if level is None:
            level = levels[price_ticks] = Level()
        assert order_id not in level.orders, order_id
        level.orders[order_id] = lots
        level.lots += lots
        self._orders[side] += 1

    def reduce(self, order_id: int, side: Side, price_ticks: int, lots: int) -> None:
        """Take `lots` from an order that keeps its place. O(1)."""
        level = self._levels[side][price_ticks]
        remaining = level.orders[order_id] - lots
        assert remaining >= 0, (order_id, remaining)
        level.orders[order_id] = remaining
        level.lots -= lots

    def remove(self, order_id: int, side: Side, price_ticks: int) -> bool:
        """Take an order out; return whether it rested there. O(log levels)."""
        levels = self._levels[side]
        level = levels.get(price_ticks)
        lots = None if level is None else level.orders.pop(order_id, None)
        if level is None or lots is None:
            return False
        level.lots -= lots
        self._orders[side] -= 1
        if not level.orders:
            del levels[price_ticks]
        return True

    def level(self, side: Side, price_ticks: int) -> tuple[int, int]:
        """Return the lots and the number of orders at one price; zeros where there are none."""
        level = self._levels[side].get(price_ticks)
        return (0, 0) if level is None else (level.lots, len(level.orders))

    def level_count(self, side: Side) -> int:
        """Return how many prices of one side have orders. O(1)."""
        return len(self._levels[side])

    def order_count(self, side: Side) -> int:
        """Return how many orders rest on one side. O(1)."""
        return self._orders[side]

    def holds(self, order_id: int, side: Side, price_ticks: int) -> bool:
        """Say whether the order rests at that price. O(1)."""
        level = self._levels[side].get(price_ticks)
        return level is not None and order_id in level.orders

    def prices(self, side: Side) -> Iterator[int]:
        """Return the prices of one side in ticks, best first."""
        levels = self._levels[side]
        return iter(levels) if side is Side.SELL else reversed(levels)

    def best(self, side: Side) -> int | None:
        """Return the best price of one side in ticks. O(log levels)."""
        return next(self.prices(side), None)

    def bests(self) -> tuple[int | None, int | None]:
        """Return the best prices to buy and to sell, in ticks."""
        return self.best(Side.BUY), self.best(Side.SELL)

    def levels(self, side: Side, count: int) -> list[tuple[int, int, int]]:
        """Return up to `count` levels, best first, as (price_ticks, lots, orders)."""
        levels = self._levels[side]
        found = []
        for price_ticks in islice(self.prices(side), count):
            level = levels[price_ticks]
            found.append((price_ticks, level.lots, len(level.orders)))
        return found

    def walk(self, side: Side) -> Iterator[tuple[int, int, int]]:
        """Yield orders in the order they trade, as (price_ticks, lots, order_id), till a change."""
        levels = self._levels[side]
        for price_ticks in self.prices(side):
            for order_id, lots in levels[price_ticks].orders.items():
                yield price_ticks, lots, order_id

    def queue(self, side: Side, count: int) -> list[tuple[int, int, int]]:
        """Return up to `count` orders in the order they trade, as (price_ticks, lots, order_id)."""
        return list(islice(self.walk(side), count))

    def check(self) -> None:
        """Assert every invariant. O(orders): tests call it after each step."""
        for side, levels in self._levels.items():
            assert self._orders[side] == sum(len(level.orders) for level in levels.values())
            for price_ticks, level in levels.items():
                assert level.orders, f"level {price_ticks} has orders"
                assert level.lots == sum(level.orders.values()), f"level {price_ticks} adds up"
                assert min(level.orders.values()) > 0, f"level {price_ticks} holds no filled one"
        bids, asks = self.levels(Side.BUY, 1), self.levels(Side.SELL, 1)
        assert not bids or not asks or bids[0][0] < asks[0][0], "the book is never crossed"
