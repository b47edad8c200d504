"""What changed, sequence by sequence: a bounded history, from which streams are resumed anywhere.

Rules:
- A `Change` names what one command touched; it exists only where something public or somebody's
  own changed. Everything newer than `floor` is held, everything else is forgotten.
- A part belongs to one topic: the book or the trades of a market; the orders, fills or balances of
  an account.
  `previous` is the sequence of the change before it in the same topic (0: none), so that a reader
  of one topic proves with two integers that it missed nothing, whichever node it asks.
- Levels and balances are only named: whoever resumes wants their present size, which the book and
  `Balances` have. Fills are the account's among the trades of the same change.
- Bounded in changes and in bytes, by weights that do not depend on the node: the history is part
  of the snapshot, and equal on all nodes at equal sequences.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from raft_exchange.matching.messages import Order, Side, TradeExecuted

CHANGES_MAX: Final = 20_000
CHANGES_BYTES_MAX: Final = 16 * 1024 * 1024

# Upper bounds of the msgpack of one item, and of a change without its items.
CHANGE_BYTES: Final = 32
PART_BYTES: Final = 64
LEVEL_BYTES: Final = 16
TRADE_BYTES: Final = 352
ORDER_BYTES: Final = 384
ASSET_BYTES: Final = 40


class BookChanged(msgspec.Struct, frozen=True, array_like=True, tag="book", gc=False):
    """These levels, as (side, price_ticks), have another size or are gone."""

    market: str
    previous: int
    levels: list[tuple[Side, int]]


class TradesMade(msgspec.Struct, frozen=True, array_like=True, tag="trades", gc=False):
    """These trades happened, in this order."""

    market: str
    previous: int
    trades: list[TradeExecuted]


class OrdersChanged(msgspec.Struct, frozen=True, array_like=True, tag="orders", gc=False):
    """These orders of an account look so from now on."""

    account: str
    previous: int
    orders: list[Order]


class FillsMade(msgspec.Struct, frozen=True, array_like=True, tag="fills", gc=False):
    """An account was a side of trades; `fills_of` finds them in the same change."""

    account: str
    previous: int


class BalancesChanged(msgspec.Struct, frozen=True, array_like=True, tag="balances", gc=False):
    """An account has another balance of these assets."""

    account: str
    previous: int
    assets: list[str]


Part = BookChanged | TradesMade | OrdersChanged | FillsMade | BalancesChanged
Topic = tuple[type[Part], str]
"""A kind of part, and the market or account it is about."""


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Everything that the command at `sequence` changed."""

    sequence: int
    time_us: int
    parts: list[Part]


def topic_of(part: Part) -> Topic:
    """Return the topic that a part belongs to."""
    if isinstance(part, BookChanged | TradesMade):
        return type(part), part.market
    return type(part), part.account


def fills_of(change: Change) -> dict[str, list[TradeExecuted]]:
    """Return the trades of a change by account, as they happened. O(trades)."""
    fills: dict[str, list[TradeExecuted]] = {}
    for part in change.parts:
        if isinstance(part, TradesMade):
            for trade in part.trades:
                for account in {trade.maker_account, trade.taker_account}:
                    fills.setdefault(account, []).append(trade)
    return fills


class History:
    """The last changes, oldest first."""

    def __init__(
        self, *, changes_max: int = CHANGES_MAX, bytes_max: int = CHANGES_BYTES_MAX
    ) -> None:
        self._changes_max = changes_max
        self._bytes_max = bytes_max
        self._ring: deque[Change] = deque()
        self._weights: deque[int] = deque()  # of each change of the ring: an old one is not read
        self.floor = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._ring)

    def append(self, change: Change) -> None:
        """Remember the newest change; forget the oldest ones as far as the bounds ask."""
        assert change.sequence > self.floor
        assert not self._ring or change.sequence > self._ring[-1].sequence
        weight = weight_bytes(change)
        self._ring.append(change)
        self._weights.append(weight)
        self.bytes += weight
        while len(self._ring) > self._changes_max or self.bytes > self._bytes_max:
            self.floor = self._ring.popleft().sequence
            self.bytes -= self._weights.popleft()

    def since(self, sequence: int) -> list[Change] | None:
        """Return every change after `sequence`, oldest first; None where some are forgotten.

        O(changes returned).
        """
        if sequence < self.floor:
            return None
        newer = []
        for change in reversed(self._ring):
            if change.sequence <= sequence:
                break
            newer.append(change)
        newer.reverse()
        return newer

    def oldest_first(self) -> list[Change]:
        """Return every remembered change. O(n)."""
        return list(self._ring)

    def restore(self, floor: int, changes: Iterable[Change]) -> None:
        """Fill an empty history at once."""
        assert not self._ring
        self.floor = floor
        for change in changes:
            self.append(change)

    def check(self) -> None:
        """Assert every invariant. O(n): tests call it after each step."""
        assert list(self._weights) == [weight_bytes(change) for change in self._ring]
        assert self.bytes == sum(self._weights) <= self._bytes_max
        assert len(self._ring) <= self._changes_max
        sequences = [self.floor, *(change.sequence for change in self._ring)]
        assert sequences == sorted(set(sequences))


def weight_bytes(change: Change) -> int:
    """Return how many bytes a change counts for: never fewer than its msgpack has."""
    weight = CHANGE_BYTES + PART_BYTES * len(change.parts)
    for part in change.parts:
        if type(part) is BookChanged:
            weight += LEVEL_BYTES * len(part.levels)
        elif type(part) is OrdersChanged:
            weight += ORDER_BYTES * len(part.orders)
        elif type(part) is TradesMade:
            weight += TRADE_BYTES * len(part.trades)
        elif type(part) is BalancesChanged:
            weight += ASSET_BYTES * len(part.assets)
    return weight


class Recorder:
    """Collects what one command touches, and makes its `Change`.

    It remembers where each topic changed last: `books` and `trades` by market, `orders`, `fills`
    and `balances` by account.
    """

    def __init__(self) -> None:
        self.books: dict[str, int] = {}
        self.trades: dict[str, int] = {}
        self.orders: dict[str, int] = {}
        self.fills: dict[str, int] = {}
        self.balances: dict[str, int] = {}
        self._levels: dict[str, dict[tuple[Side, int], None]] = {}
        self._trades: dict[str, list[TradeExecuted]] = {}
        self._orders: dict[str, dict[int, Order]] = {}
        self._fills: dict[str, None] = {}
        self._balances: dict[str, dict[str, None]] = {}

    def touch(self, market: str, side: Side, price_ticks: int) -> None:
        """Note that a level has changed."""
        levels = self._levels.get(market)
        if levels is None:
            levels = self._levels[market] = {}
        levels[side, price_ticks] = None

    def trade(self, trade: TradeExecuted) -> None:
        """Note a trade."""
        trades = self._trades.get(trade.market)
        if trades is None:
            trades = self._trades[trade.market] = []
        trades.append(trade)
        self._fills[trade.taker_account] = self._fills[trade.maker_account] = None

    def order(self, order: Order) -> None:
        """Note how an order looks now; within one command the last view counts."""
        views = self._orders.get(order.account)
        if views is None:
            views = self._orders[order.account] = {}
        views[order.order_id] = order

    def balance(self, account: str, asset: str) -> None:
        """Note that a balance has changed."""
        self._balances.setdefault(account, {})[asset] = None

    def take(self, sequence: int, time_us: int) -> Change | None:
        """Return what was noted since the last call, if anything, as the change at `sequence`."""
        parts: list[Part] = []
        if self._levels:
            for market, levels in self._levels.items():
                parts.append(BookChanged(market, self.books.get(market, 0), list(levels)))
                self.books[market] = sequence
            self._levels = {}
        if self._trades:
            for market, trades in self._trades.items():
                parts.append(TradesMade(market, self.trades.get(market, 0), trades))
                self.trades[market] = sequence
            self._trades = {}
        if self._orders:
            for account, views in self._orders.items():
                parts.append(
                    OrdersChanged(account, self.orders.get(account, 0), list(views.values()))
                )
                self.orders[account] = sequence
            self._orders = {}
        if self._fills or self._balances:
            parts += self._take_money(sequence)
        return Change(sequence, time_us, parts) if parts else None

    def _take_money(self, sequence: int) -> list[Part]:
        parts: list[Part] = []
        if self._fills:
            for account in self._fills:
                parts.append(FillsMade(account, self.fills.get(account, 0)))
                self.fills[account] = sequence
            self._fills = {}
        if self._balances:
            for account, assets in self._balances.items():
                previous = self.balances.get(account, 0)
                parts.append(BalancesChanged(account, previous, list(assets)))
                self.balances[account] = sequence
            self._balances = {}
        return parts
