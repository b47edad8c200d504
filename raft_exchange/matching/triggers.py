"""The stops of one market: who waits for which price, and who is elected by a trade.

Theory of operation:

- A buy stop is elected by a trade at its stop price or above, a sell stop at it or below. Each
  side keeps its stops sorted by a *key*, the stop price for buys and its negative for sells: so on
  both sides a stop is elected when its key is at or below how far the trades have *reached*.
- Trades of one aggressor elect together: those passed furthest first, then by age. Age is the
  `priority` number that the stop drew from its market when it began to wait, as in the book.
- A stop that waits is in no level and is never a maker. Elected, it leaves here for good.
- A tally by owner bounds how many of a market's places one account can take.
"""

from __future__ import annotations

from collections.abc import Iterator

from sortedcontainers import SortedList

from raft_exchange.matching.limits import PRICE_TICKS_MAX, STOPS_PER_MARKET_MAX
from raft_exchange.matching.messages import STOP_TYPES, OrderType, Side
from raft_exchange.matching.orders import LiveOrder


class Tally:
    """How many of something there are in a market, and how many of them are one account's."""

    __slots__ = ("_by_account", "total")

    def __init__(self) -> None:
        self._by_account: dict[str, int] = {}
        self.total = 0

    def of(self, account: str) -> int:
        """Return the count of `account`. O(1)."""
        return self._by_account.get(account, 0)

    def add(self, account: str) -> None:
        """Count one more."""
        self.total += 1
        self._by_account[account] = self.of(account) + 1

    def remove(self, account: str) -> None:
        """Count one less."""
        self.total -= 1
        left = self._by_account.pop(account) - 1
        if left:
            self._by_account[account] = left

    def check(self, accounts: dict[str, int]) -> None:
        """Assert that these are the counts. O(accounts)."""
        assert self._by_account == accounts
        assert self.total == sum(accounts.values())


class Stops:
    """The stops that wait in one market."""

    __slots__ = ("_by_priority", "_keys", "tally")

    def __init__(self) -> None:
        self._keys = {side: SortedList() for side in Side}  # of (key, priority)
        self._by_priority: dict[int, LiveOrder] = {}
        self.tally = Tally()

    def add(self, stop: LiveOrder) -> None:
        """Let `stop` wait with the priority it has. O(log n)."""
        self._by_priority[stop.priority] = stop
        self._keys[stop.side].add((_key(stop), stop.priority))
        self.tally.add(stop.account)

    def remove(self, stop: LiveOrder) -> None:
        """Take a waiting `stop` out. O(log n)."""
        self._keys[stop.side].remove((_key(stop), stop.priority))
        del self._by_priority[stop.priority]
        self.tally.remove(stop.account)

    def elected(self, lowest_ticks: int, highest_ticks: int) -> list[LiveOrder]:
        """Return the stops that trades between these prices elect, in the order they enter.

        They still wait here; the caller takes them out. O(k log k) for k of them.
        """
        found: list[tuple[int, int]] = []  # how far it was passed, negated, and its age
        for side, reached in ((Side.BUY, highest_ticks), (Side.SELL, -lowest_ticks)):
            for key, priority in self._keys[side].irange(maximum=(reached + 1,)):
                found.append((key - reached, priority))
        found.sort()
        return [self._by_priority[priority] for _, priority in found]

    def by_age(self) -> Iterator[LiveOrder]:
        """Yield every waiting stop, oldest first. O(n log n)."""
        return (self._by_priority[priority] for priority in sorted(self._by_priority))

    def check(self) -> None:
        """Assert every invariant. O(n log n)."""
        for side in Side:
            stops = [stop for stop in self._by_priority.values() if stop.side is side]
            assert list(self._keys[side]) == sorted((_key(stop), stop.priority) for stop in stops)
        accounts: dict[str, int] = {}
        for priority, stop in self._by_priority.items():
            assert stop.priority == priority
            assert stop.is_pending
            assert stop.type in STOP_TYPES
            assert 0 < stop.stop_price_ticks <= PRICE_TICKS_MAX
            assert stop.filled_lots == 0 < stop.quantity_lots
            assert (stop.price_ticks > 0) is (stop.type is OrderType.STOP_LIMIT)
            accounts[stop.account] = accounts.get(stop.account, 0) + 1
        self.tally.check(accounts)
        assert self.tally.total <= STOPS_PER_MARKET_MAX


def _key(stop: LiveOrder) -> int:
    return stop.stop_price_ticks if stop.side is Side.BUY else -stop.stop_price_ticks
