"""The exchange: one command in, its events out, nothing else.

Rules of this file:

- `apply` is the only way in. State after = f(state before, command): no clock, no randomness,
  no environment, no order that comes from a hash.
- Guards first, then mutation. Whatever can be refused is refused before the first write, so a
  refused command has changed nothing and gives exactly one event, `CommandRefused`.
- `apply` is total: whatever integers and strings a command holds, it answers with events.
- Every order accepted by a command is rested or ended by the same command.
- Time is the logged clock, moved by `AdvanceTime` only and never back. An order with an expiry
  that the clock has reached is not live.

The order of the guards is behaviour that old logs rely on: see DESIGN.md.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from raft_exchange.matching.book import Book
from raft_exchange.matching.filters import (
    changed_rules,
    is_immediate,
    is_label,
    is_name,
    refuse_amend_shape,
    refuse_place_shape,
    refuse_rules,
    refuse_terms,
)
from raft_exchange.matching.limits import (
    ACCOUNTS_MAX,
    MARKETS_MAX,
    ORDERS_MAX,
    ORDERS_PER_ACCOUNT_MARKET_MAX,
    ORDERS_PER_MARKET_MAX,
    PRICE_TICKS_MAX,
    TIME_US_MAX,
)
from raft_exchange.matching.matcher import Match, refuse_entry
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AccountCreated,
    AdvanceTime,
    AllCanceled,
    AmendOrder,
    CancelAll,
    CancelOrder,
    ChangeMarket,
    Command,
    CommandRefused,
    CreateAccount,
    CreateMarket,
    EndReason,
    Event,
    MarketChanged,
    MarketRules,
    MarketStatus,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderRested,
    PlaceOrder,
    RejectCode,
    SelfTradePrevention,
    TimeAdvanced,
    TimeInForce,
)
from raft_exchange.matching.orders import STATUS_OF_REASON, LiveOrder, LiveOrders


class Market(msgspec.Struct, eq=False):
    """One market: what it takes, whether it does so now, and what rests in it."""

    rules: MarketRules
    status: MarketStatus
    book: Book


class Exchange:
    """The replicated state machine.

    Attributes:
        sequence: commands applied, the refused and the replayed ones included.
        time_us: the logged clock, microseconds since the epoch.
        order_id: the last order id given out.
        markets: by name.
        live: every account and every resting order.
        version: the active one (`versions.py`); moved by the sequencer, between two commands.
    """

    __slots__ = ("live", "markets", "order_id", "sequence", "time_us", "version")

    def __init__(self) -> None:
        self.version = 1
        self.sequence = 0
        self.time_us = 0
        self.order_id = 0
        self.markets: dict[str, Market] = {}
        self.live = LiveOrders()
        self.live.open_account(ANONYMOUS)

    def apply(self, command: Command) -> list[Event]:
        """Apply the next command of the log and return what happened, at least one event.

        O(log n) for each order that enters, trades or leaves.
        """
        self.sequence += 1
        match command:
            case PlaceOrder():
                return self._place(command)
            case CancelOrder():
                return self._cancel(command)
            case AmendOrder():
                return self._amend(command)
            case AdvanceTime():
                return self._advance_time(command)
            case CancelAll():
                return self._cancel_all(command)
            case CreateAccount():
                return self._create_account(command)
            case CreateMarket():
                return self._create_market(command)
            case ChangeMarket():
                return self._change_market(command)
            case _:
                assert_never(command)

    def count_command(self) -> None:
        """Give a command its place in the sequence and do nothing: an idempotent replay."""
        self.sequence += 1

    def next_expiry_us(self) -> int | None:
        """Return when the next live order expires, None if none does. O(1)."""
        return self.live.next_expiry_us()

    # Time, accounts, markets -----------------------------------------------------------------

    def _advance_time(self, command: AdvanceTime) -> list[Event]:
        if not 0 <= command.time_us <= TIME_US_MAX:
            return [CommandRefused(RejectCode.OUT_OF_RANGE, "time_us")]
        self.time_us = max(self.time_us, command.time_us)
        events: list[Event] = [TimeAdvanced(self.time_us)]
        events += [self._end(o, EndReason.TIME_EXPIRED) for o in self.live.due(self.time_us)]
        return events

    def _create_account(self, command: CreateAccount) -> list[Event]:
        if not is_name(command.account):
            return [CommandRefused(RejectCode.BAD_FIELD, "account")]
        if command.account in self.live.accounts:
            return [CommandRefused(RejectCode.ALREADY_EXISTS, "account")]
        if len(self.live.accounts) >= ACCOUNTS_MAX:
            return [CommandRefused(RejectCode.LIMIT_REACHED, "account")]
        self.live.open_account(command.account)
        return [AccountCreated(command.account)]

    def _create_market(self, command: CreateMarket) -> list[Event]:
        rules = command.rules
        if (refused := refuse_rules(rules)) is not None:
            return [refused]
        if rules.market in self.markets:
            return [CommandRefused(RejectCode.ALREADY_EXISTS, "market")]
        if len(self.markets) >= MARKETS_MAX:
            return [CommandRefused(RejectCode.LIMIT_REACHED, "market")]
        market = Market(rules, MarketStatus.TRADING, Book(rules.market))
        self.markets[rules.market] = market
        return [MarketChanged(rules, market.status)]

    def _change_market(self, command: ChangeMarket) -> list[Event]:
        market = self.markets.get(command.market)
        if market is None:
            return [CommandRefused(RejectCode.UNKNOWN_MARKET, "market")]
        rules = changed_rules(market.rules, command)
        if (refused := refuse_rules(rules)) is not None:
            return [refused]
        market.rules = rules
        if command.status is not None:
            market.status = command.status
        return [MarketChanged(rules, market.status)]

    # Placing ---------------------------------------------------------------------------------

    def _place(self, command: PlaceOrder) -> list[Event]:
        refused = refuse_place_shape(command, self.time_us) or self._refuse_place(command)
        if refused is not None:
            return [refused]
        market = self.markets[command.market]
        order = self._new_order(command, market.rules)
        if (refused := refuse_entry(order, market.book)) is not None:
            return [refused]
        # From here on nothing can fail.
        self.order_id = order.order_id
        return self._enter(order, market.book, opening=OrderAccepted(order.view()))

    def _refuse_place(self, command: PlaceOrder) -> CommandRefused | None:
        account = self.live.accounts.get(command.account)
        if account is None:
            return CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")
        market = self.markets.get(command.market)
        if market is None:
            return CommandRefused(RejectCode.UNKNOWN_MARKET, "market")
        if market.status is not MarketStatus.TRADING:
            return CommandRefused(RejectCode.MARKET_HALTED, "market")
        refused = refuse_terms(
            market.rules,
            command.type,
            price_ticks=command.price_ticks,
            quantity_lots=command.quantity_lots,
        )
        if refused is not None:
            return refused
        if command.client_order_id in account.by_client_order_id:
            return CommandRefused(RejectCode.DUPLICATE_CLIENT_ORDER_ID, "client_order_id")
        return None if is_immediate(command.time_in_force) else self._refuse_crowd(command, market)

    def _refuse_crowd(self, command: PlaceOrder, market: Market) -> CommandRefused | None:
        # Asked before matching: an order that might rest is refused even if it would trade away.
        if self.live.count(command.account, command.market) >= ORDERS_PER_ACCOUNT_MARKET_MAX:
            return CommandRefused(RejectCode.TOO_MANY_ORDERS, "")
        if market.book.count() >= ORDERS_PER_MARKET_MAX or len(self.live.by_id) >= ORDERS_MAX:
            return CommandRefused(RejectCode.LIMIT_REACHED, "")
        return None

    def _new_order(self, command: PlaceOrder, rules: MarketRules) -> LiveOrder:
        mode = command.self_trade_prevention
        if mode is None:
            anonymous = command.account == ANONYMOUS
            mode = SelfTradePrevention.NONE if anonymous else rules.self_trade_prevention
        return LiveOrder(
            self.order_id + 1,
            command.client_order_id,
            command.account,
            command.market,
            command.side,
            command.type,
            command.time_in_force,
            command.price_ticks,
            command.quantity_lots,
            0,
            0,
            command.expires_at_us,
            command.post_only,
            mode,
            self.time_us,
            self.time_us,
            self.sequence,
        )

    def _enter(
        self, order: LiveOrder, book: Book, *, opening: OrderAccepted | OrderAmended
    ) -> list[Event]:
        """Match an order that is in no book and no index, then let the rest of it rest or end."""
        events: list[Event] = [opening]
        reason = Match(order, book, live=self.live, events=events).run()
        if reason is None and is_immediate(order.time_in_force):
            reason = EndReason.REMAINDER_EXPIRED
        if reason is not None:
            events.append(OrderEnded(order.view(STATUS_OF_REASON[reason]), reason))
            return events
        book.append(order)
        self.live.add(order)
        untouched = len(events) == 1  # met nobody: it rests exactly as it was shown
        events.append(OrderRested(opening.order if untouched else order.view()))
        return events

    # Amending and canceling ------------------------------------------------------------------

    def _amend(self, command: AmendOrder) -> list[Event]:
        refused = refuse_amend_shape(command.price_ticks, command.quantity_lots)
        if refused is not None:
            return [refused]
        order = self._owned(command.account, command.order_id)
        if isinstance(order, CommandRefused):
            return [order]
        market = self.markets[order.market]
        price = order.price_ticks if command.price_ticks is None else command.price_ticks
        total = order.quantity_lots if command.quantity_lots is None else command.quantity_lots
        refused = _refuse_amend(order, market, price_ticks=price, total_lots=total)
        if refused is not None:
            return [refused]
        if total <= order.filled_lots:
            return [self._end(order, EndReason.AMENDED_DOWN)]
        self._stamp(order)
        if price == order.price_ticks and total <= order.quantity_lots:
            order.quantity_lots = total
            return [OrderAmended(order.view(), True)]
        # It leaves and comes again like a new order: one way into the book, and out of it.
        market.book.remove(order)
        self.live.remove(order)
        order.price_ticks = price
        order.quantity_lots = total
        return self._enter(order, market.book, opening=OrderAmended(order.view(), False))

    def _cancel(self, command: CancelOrder) -> list[Event]:
        if command.order_id != 0:
            order = self._owned(command.account, command.order_id)
        else:
            order = self._labelled(command.account, command.client_order_id)
        if isinstance(order, CommandRefused):
            return [order]
        return [self._end(order, EndReason.CANCELED_BY_OWNER)]

    def _cancel_all(self, command: CancelAll) -> list[Event]:
        if command.account not in self.live.accounts:
            return [CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")]
        if command.market is not None and command.market not in self.markets:
            return [CommandRefused(RejectCode.UNKNOWN_MARKET, "market")]
        orders = self.live.of_account(command.account, command.market, side=command.side)
        events: list[Event] = [self._end(order, EndReason.CANCELED_BY_OWNER) for order in orders]
        events.append(AllCanceled(len(orders)))
        return events

    def _owned(self, account: str, order_id: int) -> LiveOrder | CommandRefused:
        """Find a live order of `account`; somebody else's is as unknown as none."""
        if account not in self.live.accounts:
            return CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")
        order = self.live.by_id.get(order_id)
        if order is not None and order.account == account:
            return order
        # Finished orders are remembered by nobody here, but their ids were given out.
        finished = order is None and 0 < order_id <= self.order_id
        code = RejectCode.NOT_OPEN if finished else RejectCode.UNKNOWN_ORDER
        return CommandRefused(code, "order_id")

    def _labelled(self, account: str, client_order_id: str) -> LiveOrder | CommandRefused:
        owner = self.live.accounts.get(account)
        if owner is None:
            return CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")
        order = owner.by_client_order_id.get(client_order_id)
        return order or CommandRefused(RejectCode.UNKNOWN_ORDER, "client_order_id")

    def _end(self, order: LiveOrder, reason: EndReason) -> OrderEnded:
        """Take a live order out of its book and of every index."""
        self._stamp(order)
        self.markets[order.market].book.remove(order)
        self.live.remove(order)
        return OrderEnded(order.view(STATUS_OF_REASON[reason]), reason)

    def _stamp(self, order: LiveOrder) -> None:
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


def _refuse_amend(
    order: LiveOrder, market: Market, *, price_ticks: int, total_lots: int
) -> CommandRefused | None:
    """Refuse new terms of a live order; no filter stands against ending or keeping it."""
    if market.status is not MarketStatus.TRADING:
        return CommandRefused(RejectCode.MARKET_HALTED, "market")
    unchanged = price_ticks == order.price_ticks and total_lots == order.quantity_lots
    if unchanged or total_lots <= order.filled_lots:
        return None
    refused = refuse_terms(
        market.rules, order.type, price_ticks=price_ticks, quantity_lots=total_lots
    )
    if refused is not None:
        return refused
    if order.post_only and market.book.opposite(order.side).reached_by(price_ticks):
        return CommandRefused(RejectCode.WOULD_TAKE, "price_ticks")
    return None
