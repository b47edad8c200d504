"""How an order comes in: the guards, then its way through the book, then its rest or end.

Rules of this file:

- Every guard comes before the first write. The order of the guards is behaviour that old logs
  rely on: see DESIGN.md.
- `admitted` is all guards and no write, `accept` and `enter` are all writes and no guard. So a
  command that places two orders, or one for another, asks for all before it does anything.
- Stops that the trades of an order elect enter after it, and those that their trades elect after
  them: generation by generation, inside the one command, until none is left.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from raft_exchange.matching import outlook
from raft_exchange.matching.filters import is_immediate, refuse_new_terms
from raft_exchange.matching.limits import (
    ICEBERGS_PER_ACCOUNT_MARKET_MAX,
    ICEBERGS_PER_MARKET_MAX,
    ORDERS_MAX,
    ORDERS_PER_ACCOUNT_MARKET_MAX,
    ORDERS_PER_MARKET_MAX,
    STOPS_PER_ACCOUNT_MARKET_MAX,
    STOPS_PER_MARKET_MAX,
)
from raft_exchange.matching.matcher import Match, found_by, may_meet, refuse_entry
from raft_exchange.matching.messages import (
    CommandRefused,
    EndReason,
    Event,
    MarketStatus,
    Order,
    OrderAccepted,
    OrderRested,
    PlaceOrder,
    RejectCode,
    Side,
    StopElected,
    StopPlaced,
    TradeExecuted,
)
from raft_exchange.matching.orders import Account, LiveOrder
from raft_exchange.matching.risk import has_limits, refuse_open_orders, refuse_risk, value_of
from raft_exchange.matching.shapes import refuse_place_shape
from raft_exchange.matching.state import Market, State
from raft_exchange.matching.triggers import Tally

_TRADING: Final = MarketStatus.TRADING


def place(state: State, command: PlaceOrder) -> list[Event]:
    """Refuse a new order, or accept it and let it trade, rest, wait or end."""
    order = admitted(state, command)
    if isinstance(order, CommandRefused):
        return [order]
    market = state.markets[order.market]
    amount = entry_hold(order, market) if market.funds.is_on else 0
    if amount and (refused := market.funds.refuse_hold(order, amount)) is not None:
        return [refused]
    # From here on nothing can fail.
    events: list[Event] = []
    accept(state, order, amount, events=events)
    return events


def admitted(
    state: State, command: PlaceOrder, *, leaving: LiveOrder | None = None, joining: int = 1
) -> LiveOrder | CommandRefused:
    """Return the order that `command` would place, or why not. Changes nothing.

    Args:
        state: what it is asked of.
        command: the order's terms.
        leaving: an order of the account that ends when this one is placed, and is not counted.
        joining: how many orders the command places together; this is the last of them.
    """
    refused = refuse_place_shape(command, state.time_us)
    if refused is not None:
        return refused
    account = state.live.accounts.get(command.account)
    if account is None:
        return CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")
    if account.settings.frozen:
        return CommandRefused(RejectCode.ACCOUNT_FROZEN, "account")
    market = state.markets.get(command.market)
    if market is None:
        return CommandRefused(RejectCode.UNKNOWN_MARKET, "market")
    refused = _refuse_by_market(command, account, market, leaving=leaving)
    if refused is None and (command.stop_price_ticks or not is_immediate(command.time_in_force)):
        refused = _refuse_crowd(state, command, account, market, leaving=leaving, joining=joining)
    if refused is not None:
        return refused
    order_id = state.order_id + joining
    order = outlook.new_order(command, market.rules, account.settings, order_id=order_id)
    order.created_at_us = state.time_us
    state.stamp(order)
    if order.is_pending:
        return order  # it meets the book when it is elected
    return refuse_entry(order, market, leaving=leaving) or order


def _refuse_by_market(
    command: PlaceOrder, account: Account, market: Market, *, leaving: LiveOrder | None
) -> CommandRefused | None:
    rules = market.rules
    if market.status is not _TRADING:
        return CommandRefused(RejectCode.MARKET_HALTED, "market")
    last_price_ticks = market.book.last_price_ticks
    refused = refuse_new_terms(rules, command, last_price_ticks=last_price_ticks)
    if refused is None and has_limits(account.settings, rules):
        refused = refuse_risk(
            account.settings, rules, value=value_of(command), quantity_lots=command.quantity_lots
        )
    if refused is not None:
        return refused
    namesake = account.by_client_order_id.get(command.client_order_id)
    if namesake is not None and namesake is not leaving:
        return CommandRefused(RejectCode.DUPLICATE_CLIENT_ORDER_ID, "client_order_id")
    return None


def _refuse_crowd(
    state: State,
    command: PlaceOrder,
    account: Account,
    market: Market,
    *,
    leaving: LiveOrder | None,
    joining: int,
) -> CommandRefused | None:
    # Asked before matching: an order that might rest is refused even if it would trade away. A
    # stop needs the room in which it may rest one day.
    here = leaving is not None and leaving.market == command.market
    own = len(account.by_market.get(command.market, ())) - here
    if has_limits(account.settings, market.rules):
        refused = refuse_open_orders(account.settings, market.rules, count=own + joining)
        if refused is not None:
            return refused
    if own + joining > ORDERS_PER_ACCOUNT_MARKET_MAX:
        return CommandRefused(RejectCode.TOO_MANY_ORDERS, "")
    everybody = len(state.live.by_id) - (leaving is not None)
    if market.count() - here + joining > ORDERS_PER_MARKET_MAX or everybody + joining > ORDERS_MAX:
        return CommandRefused(RejectCode.LIMIT_REACHED, "")
    if command.stop_price_ticks or command.display_lots:
        return _refuse_special(command, market, leaving=leaving if here else None)
    return None


def _refuse_special(
    command: PlaceOrder, market: Market, *, leaving: LiveOrder | None
) -> CommandRefused | None:
    """Refuse one stop or iceberg too many; `leaving` is an order of this market, if any.

    Of an OCO each leg is asked alone. One of them is a stop, but both may be icebergs: so the two
    can pass either cap of icebergs by one (`State.check`).
    """
    if command.stop_price_ticks:
        refused = _refuse_tally(
            market.stops.tally,
            command,
            minus=leaving is not None and leaving.is_pending,
            most=(STOPS_PER_ACCOUNT_MARKET_MAX, STOPS_PER_MARKET_MAX),
            field="stop_price_ticks",
        )
        if refused is not None:
            return refused
    if command.display_lots:
        return _refuse_tally(
            market.icebergs,
            command,
            minus=leaving is not None and leaving.display_lots > 0,
            most=(ICEBERGS_PER_ACCOUNT_MARKET_MAX, ICEBERGS_PER_MARKET_MAX),
            field="display_lots",
        )
    return None


def _refuse_tally(
    tally: Tally, command: PlaceOrder, *, minus: bool, most: tuple[int, int], field: str
) -> CommandRefused | None:
    if tally.of(command.account) - minus >= most[0]:
        return CommandRefused(RejectCode.TOO_MANY_ORDERS, field)
    if tally.total - minus >= most[1]:
        return CommandRefused(RejectCode.LIMIT_REACHED, field)
    return None


def entry_hold(
    order: LiveOrder,
    market: Market,
    *,
    leaving_ids: Collection[int] = (),
    freed: int = 0,
) -> int:
    """Return what `order` has to hold when it comes in as the book is now: see `outlook`."""
    found = found_by(order, market, leaving_ids=leaving_ids)
    return outlook.entry_hold(order, found, market.funds, freed=freed)


def accept(state: State, order: LiveOrder, amount: int, *, events: list[Event]) -> None:
    """Let an admitted order in, holding `amount`: a stop waits, any other enters the book."""
    if amount:
        state.markets[order.market].funds.hold(order, amount)
    state.order_id = max(state.order_id, order.order_id)
    accepted = OrderAccepted(order.view())
    events.append(accepted)
    if order.is_pending:
        wait(state, order, events=events)
    else:
        enter(state, order, events=events, shown=accepted.order)


def wait(state: State, stop: LiveOrder, *, events: list[Event]) -> None:
    """Let a stop that stands nowhere wait for its price, as the youngest."""
    state.wait(stop, state.markets[stop.market])
    events.append(StopPlaced(stop.view()))


def enter(state: State, order: LiveOrder, *, events: list[Event], shown: Order) -> None:
    """Let an order that stands nowhere trade, then rest or end; then the stops that it elects.

    `shown` is how the last of `events` shows it. O((fills + elected stops) x log n).
    """
    market = state.markets[order.market]
    mark = len(events)
    _match(state, order, market, events=events, shown=shown)
    while market.stops.tally.total:
        prices = [event.price_ticks for event in events[mark:] if type(event) is TradeExecuted]
        if not prices:
            return
        mark = len(events)
        for elected in _elect(state, market, prices, events=events):
            if _is_funded(elected.stop, market):
                _match(state, elected.stop, market, events=events, shown=elected.shown)
            else:
                state.end_entering(elected.stop, EndReason.UNFUNDED, events)


class _Elected(NamedTuple):
    stop: LiveOrder
    shown: Order


def _elect(
    state: State, market: Market, prices: list[int], *, events: list[Event]
) -> list[_Elected]:
    elected = []
    for stop in market.stops.elected(min(prices), max(prices)):
        state.leave(stop)
        state.stamp(stop)
        elected.append(_Elected(stop, stop.view()))
        events.append(StopElected(elected[-1].shown))
        state.end_other_leg(stop, events)
        market.funds.hold(stop, market.funds.needs(stop))  # the other leg held it, if not itself
    return elected


def _is_funded(stop: LiveOrder, market: Market) -> bool:
    """Say whether an elected stop has what it needs; a market buy takes its hold only now."""
    funds = market.funds
    if stop.price_ticks or stop.side is Side.SELL or not funds.is_on:
        return True
    amount = entry_hold(stop, market)
    if funds.refuse_hold(stop, amount) is not None:
        return False
    funds.hold(stop, amount)
    return True


def _match(
    state: State, order: LiveOrder, market: Market, *, events: list[Event], shown: Order
) -> None:
    before = len(events)
    reason = None
    if may_meet(order, market):
        reason = Match(order, market, state=state, events=events).run()
    if reason is None and (is_immediate(order.time_in_force) or not order.price_ticks):
        reason = EndReason.REMAINDER_EXPIRED
    if reason is not None:
        state.end_entering(order, reason, events)
        return
    state.rest(order, market)
    if len(events) > before or order.display_lots:  # else it rests exactly as it was shown
        shown = order.view()
    events.append(OrderRested(shown))
