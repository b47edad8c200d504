"""What one command may read and change: clock, counters, markets, live orders.

Rules of this file:

- `State` is data, and the few things every command needs of it: find an order of an account, let
  one rest or wait, let it leave, end it. What commands mean stands in the files named for them;
  `machine.Exchange` calls them.
- There is one way out: whatever ends an order that lives goes through `end`, which ends the other
  leg of an OCO with it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from raft_exchange.matching.accounts import Funds, Ledger
from raft_exchange.matching.book import Book
from raft_exchange.matching.filters import is_immediate, is_label, is_name, refuse_rules
from raft_exchange.matching.keys import Keys
from raft_exchange.matching.limits import (
    ICEBERG_TRANCHES_MAX,
    ICEBERGS_PER_MARKET_MAX,
    MARKETS_MAX,
    ORDERS_PER_MARKET_MAX,
    PRICE_TICKS_MAX,
    TIME_US_MAX,
)
from raft_exchange.matching.messages import (
    ANONYMOUS,
    CommandRefused,
    EndReason,
    Event,
    MarketRules,
    MarketStatus,
    OrderEnded,
    RejectCode,
    TimeInForce,
)
from raft_exchange.matching.nonces import Nonces
from raft_exchange.matching.orders import STATUS_OF_REASON, LiveOrder, LiveOrders
from raft_exchange.matching.transfers import Transfers
from raft_exchange.matching.triggers import Stops, Tally


class Market(msgspec.Struct, eq=False):
    """One market: what it takes, whether it does so now, what rests, what waits, and who pays.

    `icebergs` counts the live orders that show a part of themselves.
    """

    rules: MarketRules
    status: MarketStatus
    book: Book
    stops: Stops
    icebergs: Tally
    funds: Funds

    def count(self) -> int:
        """Return how many orders live in the market."""
        return self.book.count() + self.stops.tally.total


class State:
    """Everything the machine remembers between two commands.

    Attributes:
        sequence: commands applied, the refused and the replayed ones included.
        time_us: the logged clock, microseconds since the epoch.
        order_id: the last order id given out.
        markets: by name.
        live: every account and every live order.
        ledger: every balance.
        transfers: the last deposits and withdrawals.
        keys: the keys of every account.
        nonces: those of the last signatures.
        signed_markets: the names of the markets whose orders must be signed.
        version: the active one (`versions.py`); moved by the sequencer, between two commands.
    """

    __slots__ = (
        *("keys", "ledger", "live", "markets", "nonces", "order_id", "sequence"),
        *("signed_markets", "time_us", "transfers", "version"),
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
        self.keys = Keys()
        self.nonces = Nonces()
        self.signed_markets: set[str] = set()

    def open_market(self, rules: MarketRules, status: MarketStatus) -> Market:
        """Open a market that does not exist yet, with an empty book."""
        assert rules.market not in self.markets, rules.market
        funds = Funds(rules, self.ledger)
        market = Market(rules, status, Book(rules.market), Stops(), Tally(), funds)
        self.markets[rules.market] = market
        self.rule(market, rules)
        return market

    def rule(self, market: Market, rules: MarketRules) -> None:
        """Give a market its rules from now on."""
        market.rules = rules
        note = self.signed_markets.add if rules.signed_orders else self.signed_markets.discard
        note(rules.market)

    # Finding ---------------------------------------------------------------------------------

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

    # Coming and going ------------------------------------------------------------------------

    def rest(self, order: LiveOrder, market: Market) -> None:
        """Let `order` join the book, behind all others at its price. O(log n)."""
        market.book.append(order)
        self.live.add(order)
        if order.display_lots:
            market.icebergs.add(order.account)

    def wait(self, stop: LiveOrder, market: Market) -> None:
        """Let `stop` wait for its price, as the youngest. O(log n)."""
        stop.priority = market.book.draw_priority()
        stop.is_pending = True
        market.stops.add(stop)
        self.index(stop, market)

    def index(self, order: LiveOrder, market: Market) -> None:
        """Note an order that stands in the book or among the stops of `market`. O(log n)."""
        self.live.add(order)
        if order.display_lots:
            market.icebergs.add(order.account)

    def leave(self, order: LiveOrder) -> None:
        """Take a live order out of where it stands and of every index. O(log n)."""
        market = self.markets[order.market]
        if order.is_pending:
            market.stops.remove(order)
            order.is_pending = False
        else:
            market.book.remove(order)
        self.live.remove(order)
        if order.display_lots:
            market.icebergs.remove(order.account)
            order.shown_lots = 0

    def end(self, order: LiveOrder, reason: EndReason, events: list[Event]) -> None:
        """Let a live order leave for good, and the other leg of its OCO with it. O(log n)."""
        self.leave(order)
        self._tell_end(order, reason, events)
        if order.oco_order_id:
            self.end_other_leg(order, events)

    def end_all(self, orders: Iterable[LiveOrder], reason: EndReason) -> list[Event]:
        """End live orders, in this order, and return what happened. O(n log n)."""
        events: list[Event] = []
        for order in orders:
            if order.order_id in self.live.by_id:  # else its other leg took it along
                self.end(order, reason, events)
        return events

    def end_entering(self, order: LiveOrder, reason: EndReason, events: list[Event]) -> None:
        """End an order that stands nowhere, or nowhere any more."""
        self._tell_end(order, reason, events)
        if order.oco_order_id:
            self.end_other_leg(order, events)

    def end_other_leg(self, order: LiveOrder, events: list[Event]) -> None:
        """End the other leg of an OCO, if it lives; `order` itself may live on."""
        other = self.live.by_id.get(order.oco_order_id)
        if other is not None:
            self.leave(other)
            self._tell_end(other, EndReason.OTHER_LEG, events)

    def _tell_end(self, order: LiveOrder, reason: EndReason, events: list[Event]) -> None:
        self.stamp(order)
        if order.held:
            self.markets[order.market].funds.release(order)
        events.append(OrderEnded(order.view(STATUS_OF_REASON[reason]), reason))

    def rehold(self, order: LiveOrder) -> None:
        """Let `order` hold what it needs under its present terms; the owner has it.

        Two legs together hold what the larger needs: the limit order its own part, the stop what
        it needs beyond that.
        """
        funds = self.markets[order.market].funds
        other = self.live.by_id.get(order.oco_order_id) if order.oco_order_id else None
        if other is None:
            funds.hold(order, funds.needs(order))
            return
        limit, stop = (order, other) if other.is_pending else (other, order)
        funds.release(stop)
        funds.hold(limit, funds.needs(limit))
        funds.hold(stop, max(funds.needs(stop) - limit.held, 0))

    def stamp(self, order: LiveOrder) -> None:
        """Note that the present command has changed `order`."""
        order.updated_at_us = self.time_us
        order.sequence = self.sequence

    # Invariants ------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert every invariant. O(n log n): tests and simulation call it after each step."""
        assert self.sequence >= 0
        assert 0 <= self.time_us <= TIME_US_MAX
        assert self.order_id >= 0
        assert len(self.markets) <= MARKETS_MAX
        assert ANONYMOUS in self.live.accounts
        assert all(is_name(account) for account in self.live.accounts)
        self.live.check()
        assert all(at_us > self.time_us for at_us, _ in self.live.switches()), "what is due is done"
        standing: dict[int, LiveOrder] = {}
        count = 0
        for name, market in self.markets.items():
            assert name == market.rules.market == market.book.market
            orders = _orders_of(market)
            _check_market(market, orders)
            count += len(orders)
            standing |= {order.order_id: order for order in orders}
        assert standing == self.live.by_id, "the live orders are those that rest or wait"
        assert count == len(standing), "an order stands in one place"
        for order in standing.values():
            self._check_order(order)
        self._check_funds()

    def _check_funds(self) -> None:
        self.transfers.check()
        self.keys.check()
        self.nonces.check(now_us=self.time_us)
        signed = {name for name, market in self.markets.items() if market.rules.signed_orders}
        assert signed == self.signed_markets
        accounts = self.live.accounts
        assert all(account in accounts for account, _ in self.keys.entries())
        for account in accounts.values():
            assert not (account.settings.frozen and account.by_market), "a frozen one has no orders"
            markets = [limits.market for limits in account.settings.limits]
            assert markets == sorted(set(markets))
            assert all(market in self.markets for market in markets)
        assert all(made.account in accounts for made in self.transfers.entries())
        assert all(made.sequence <= self.sequence for made in self.transfers.entries())
        assert all(account in accounts for account, _, _ in self.ledger.entries())
        holding = []
        for order in self.live.by_id.values():
            funds = self.markets[order.market].funds
            needs = funds.needs(order)
            limit = self.live.by_id.get(order.oco_order_id)
            if order.is_pending and limit is not None:
                needs = max(needs - limit.held, 0)
            assert order.held == needs, "a live order holds what it needs"
            holding.append((funds.asset(order.side), order))
        self.ledger.check(holding)

    def _check_order(self, order: LiveOrder) -> None:
        assert 0 < order.order_id <= self.order_id
        assert 0 < order.sequence <= self.sequence
        assert 0 <= order.created_at_us <= order.updated_at_us <= self.time_us
        assert is_label(order.client_order_id)
        assert order.is_pending or not is_immediate(order.time_in_force)
        if order.time_in_force is TimeInForce.GTD:
            assert order.expires_at_us > self.time_us, "what is due has expired"
        else:
            assert order.expires_at_us == 0
        assert order.filled_lots <= order.filled_value <= order.filled_lots * PRICE_TICKS_MAX
        assert order.quote_value == 0, "a quote-sized order never rests"
        assert order.quantity_lots <= order.display_lots * ICEBERG_TRANCHES_MAX or (
            not order.display_lots
        )
        if order.oco_order_id and (other := self.live.by_id.get(order.oco_order_id)) is not None:
            self._check_legs(order, other)

    def _check_legs(self, one: LiveOrder, other: LiveOrder) -> None:
        assert one.order_id == other.oco_order_id, "legs know each other"
        assert (one.account, one.market, one.side) == (other.account, other.market, other.side)
        assert one.is_pending is not other.is_pending, "one leg rests and one waits"
        assert one.filled_lots == 0, "a fill of one leg ends the other"


def _orders_of(market: Market) -> list[LiveOrder]:
    book = market.book
    resting = (order for side in (book.buys, book.sells) for order in side.orders())
    return [*resting, *market.stops.by_age()]


def _check_market(market: Market, orders: list[LiveOrder]) -> None:
    assert refuse_rules(market.rules) is None
    market.book.check()
    market.stops.check()
    for stop in market.stops.by_age():
        assert stop.market == market.rules.market
        assert 0 < stop.priority <= market.book.priority
    icebergs: dict[str, int] = {}
    for order in orders:
        if order.display_lots:
            icebergs[order.account] = icebergs.get(order.account, 0) + 1
    market.icebergs.check(icebergs)
    # The guard counts each leg of an OCO alone: where there is room for one, two may come in.
    assert market.icebergs.total <= ICEBERGS_PER_MARKET_MAX + 1
    assert len({order.priority for order in orders}) == len(orders) == market.count()
    assert len(orders) <= ORDERS_PER_MARKET_MAX, "every elected stop has room to rest"
