"""The last trades by who made them: what each account asks for as its own fills.

A ring over all accounts, so that its size is bounded whatever they do; numbered from 1 as trades
come, the same on every node, so that a cursor of one node is good on another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from raft_exchange.marketdata.trades import Trade

FILLS_MAX: Final = 50_000


class NumberedTrade(NamedTuple):
    """A trade and its place among all trades of the exchange."""

    number: int
    trade: Trade


class Fills:
    """The last `trades_max` trades of the exchange, found by account."""

    def __init__(self, *, trades_max: int = FILLS_MAX) -> None:
        self._trades_max = trades_max
        self._trades: dict[int, Trade] = {}
        self._by_account: dict[str, deque[int]] = {}
        self.count = 0

    def __len__(self) -> int:
        return len(self._trades)

    def append(self, trade: Trade) -> None:
        """Remember a trade, the newest; the oldest makes room. O(1)."""
        if len(self._trades) >= self._trades_max:
            self._forget_oldest()
        self.count += 1
        self._trades[self.count] = trade
        for account in _accounts(trade):
            numbers = self._by_account.get(account)
            if numbers is None:
                numbers = self._by_account[account] = deque()
            numbers.append(self.count)

    def _forget_oldest(self) -> None:
        # By its number: to find the first of a dict takes longer with every one taken before it.
        oldest = self.count - len(self._trades) + 1
        for account in _accounts(self._trades.pop(oldest)):
            numbers = self._by_account[account]
            assert numbers[0] == oldest
            numbers.popleft()
            if not numbers:
                del self._by_account[account]

    def page(
        self, account: str, *, limit: int, before: int | None, market: str | None
    ) -> tuple[list[NumberedTrade], int | None]:
        """Return up to `limit` trades of an account, newest first, and where the next page begins.

        O(trades of the account).
        """
        found: list[NumberedTrade] = []
        for number in reversed(self._by_account.get(account, ())):
            trade = self._trades[number]
            if before is not None and number >= before:
                continue
            if market is not None and trade.executed.market != market:
                continue
            if len(found) == limit:
                return found, found[-1].number
            found.append(NumberedTrade(number, trade))
        return found, None

    def oldest_first(self) -> list[Trade]:
        """Return every remembered trade, oldest first. O(trades)."""
        return list(self._trades.values())

    def restore(self, trades: Iterable[Trade], *, count: int) -> None:
        """Become the ring of `trades`, oldest first, the last of which has the number `count`."""
        held = list(trades)
        self._trades.clear()
        self._by_account.clear()
        self.count = count - len(held)
        for trade in held:
            self.append(trade)

    def check(self) -> None:
        """Assert every invariant. O(n log n)."""
        assert len(self._trades) <= self._trades_max
        assert list(self._trades) == list(range(self.count - len(self) + 1, self.count + 1))
        listed: dict[int, set[str]] = {}
        for account, numbers in self._by_account.items():
            assert list(numbers) == sorted(set(numbers))
            for number in numbers:
                listed.setdefault(number, set()).add(account)
        assert listed == {n: _accounts(trade) for n, trade in self._trades.items()}


def _accounts(trade: Trade) -> set[str]:
    executed = trade.executed
    return {executed.maker_account, executed.taker_account}
