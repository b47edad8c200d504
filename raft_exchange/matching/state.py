"""What one command may read and change: clock, counters, markets, live orders.

Rules of this file:

- `State` is data, and the few things every command needs of it: find an order of an account, end
  one, stamp one. What commands mean stands in the files named for them; `machine.Exchange` calls
  them.
- There is one way out: whatever ends an order that lives goes through `end`.
"""

from __future__ import annotations

import msgspec

from raft_exchange.matching.accounts import Funds, Ledger
from raft_exchange.matching.book import Book
from raft_exchange.matching.filters import is_immediate, is_label, is_name, refuse_rules
from raft_exchange.matching.limits import MARKETS_MAX, PRICE_TICKS_MAX, TIME_US_MAX
from raft_exchange.matching.messages import (
    ANONYMOUS,
    CommandRefused,
    EndReason,
    MarketRules,
    MarketStatus,
    OrderEnded,
    RejectCode,
    TimeInForce,
)
from raft_exchange.matching.orders import STATUS_OF_REASON, LiveOrder, LiveOrders
from raft_exchange.matching.transfers import Transfers


class Market(msgspec.Struct, eq=False):
    """One market: what it takes, whether it does so now, what rests in it, and who pays."""

    rules: MarketRules
    status: MarketStatus
    book: Book
    funds: Funds


class State:
    """Everything the machine remembers between two commands.

    Attributes:
        sequence: commands applied, the refused and the replayed ones included.
        time_us: the logged clock, microseconds since the epoch.
        order_id: the last order id given out.
        markets: by name.
        live: every account and every resting order.
        ledger: every balance.
        transfers: the last deposits and withdrawals.
        version: the active one (`versions.py`); moved by the sequencer, between two commands.
    """

    __slots__ = (
        *("ledger", "live", "markets", "order_id", "sequence", "time_us", "transfers"),
        "version",
    )

    def __init__(self) -> None:
        self.version = 1
        self.sequence = 0
        self.time_us = 0
        self.order_id = 0
        self.markets: dict[str, Market] = {}
        self.live = LiveOrders()
        self.live.open_account(ANONYMOUS)
        self.ledger = Ledger()
        self.transfers = Transfers()

    def open_market(self, rules: MarketRules, status: MarketStatus) -> Market:
        """Open a market that does not exist yet, with an empty book."""
        assert rules.market not in self.markets, rules.market
        market = Market(rules, status, Book(rules.market), Funds(rules, self.ledger))
        self.markets[rules.market] = market
        return market

    def owned(self, account: str, order_id: int) -> LiveOrder | CommandRefused:
        """Find a live order of `account`; somebody else's is as unknown as none. O(1)."""
        if account not in self.live.accounts:
            return CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")
        order = self.live.by_id.get(order_id)
        if order is not None and order.account == account:
            return order
        # Finished orders are remembered by nobody here, but their ids were given out.
        finished = order is None and 0 < order_id <= self.order_id
        code = RejectCode.NOT_OPEN if finished else RejectCode.UNKNOWN_ORDER
        return CommandRefused(code, "order_id")

    def labelled(self, account: str, client_order_id: str) -> LiveOrder | CommandRefused:
        """Find a live order of `account` by the label its owner gave it. O(1)."""
        owner = self.live.accounts.get(account)
        if owner is None:
            return CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")
        order = owner.by_client_order_id.get(client_order_id)
        return order or CommandRefused(RejectCode.UNKNOWN_ORDER, "client_order_id")

    def end(self, order: LiveOrder, reason: EndReason) -> OrderEnded:
        """Take a live order out of its book and of every index. O(log n)."""
        self.stamp(order)
        market = self.markets[order.market]
        market.book.remove(order)
        self.live.remove(order)
        market.funds.release(order)
        return OrderEnded(order.view(STATUS_OF_REASON[reason]), reason)

    def stamp(self, order: LiveOrder) -> None:
        """Note that the present command has changed `order`."""
        order.updated_at_us = self.time_us
        order.sequence = self.sequence

    def check(self) -> None:
        """Assert every invariant. O(n log n): tests and simulation call it after each step."""
        assert self.sequence >= 0
        assert 0 <= self.time_us <= TIME_US_MAX
        assert self.order_id >= 0
        assert len(self.markets) <= MARKETS_MAX
        assert ANONYMOUS in self.live.accounts
        assert all(is_name(account) for account in self.live.accounts)
        self.live.check()
        in_books: dict[int, LiveOrder] = {}
        resting = 0
        for name, market in self.markets.items():
            assert name == market.rules.market == market.book.market
            assert refuse_rules(market.rules) is None
            market.book.check()
            resting += market.book.count()
            for side in (market.book.buys, market.book.sells):
                in_books |= {order.order_id: order for order in side.orders()}
        assert in_books == self.live.by_id, "the live orders are those that rest"
        assert resting == len(in_books), "an order rests once"
        for order in in_books.values():
            self._check_order(order)
        self._check_funds()

    def _check_funds(self) -> None:
        self.transfers.check()
        accounts = self.live.accounts
        assert all(made.account in accounts for made in self.transfers.entries())
        assert all(made.sequence <= self.sequence for made in self.transfers.entries())
        assert all(account in accounts for account, _, _ in self.ledger.entries())
        holding = []
        for order in self.live.by_id.values():
            funds = self.markets[order.market].funds
            assert order.held == funds.needs(order), "a resting order holds what it needs"
            holding.append((funds.asset(order.side), order))
        self.ledger.check(holding)

    def _check_order(self, order: LiveOrder) -> None:
        assert 0 < order.order_id <= self.order_id
        assert 0 < order.sequence <= self.sequence
        assert 0 <= order.created_at_us <= order.updated_at_us <= self.time_us
        assert is_label(order.client_order_id)
        assert not is_immediate(order.time_in_force)
        if order.time_in_force is TimeInForce.GTD:
            assert order.expires_at_us > self.time_us, "what is due has expired"
        else:
            assert order.expires_at_us == 0
        assert order.filled_lots <= order.filled_value <= order.filled_lots * PRICE_TICKS_MAX
