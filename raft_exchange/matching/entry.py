"""How an order comes in: the guards, then its way through the book, then its rest or end.

Every guard comes before the first write. The order of the guards is behaviour that old logs rely
on: see DESIGN.md.
"""

from __future__ import annotations

from raft_exchange.matching.filters import is_immediate, refuse_place_shape, refuse_terms
from raft_exchange.matching.limits import (
    ORDERS_MAX,
    ORDERS_PER_ACCOUNT_MARKET_MAX,
    ORDERS_PER_MARKET_MAX,
)
from raft_exchange.matching.matcher import Match, refuse_entry, value_to_buy
from raft_exchange.matching.messages import (
    ANONYMOUS,
    CommandRefused,
    EndReason,
    Event,
    MarketRules,
    MarketStatus,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderRested,
    OrderType,
    PlaceOrder,
    RejectCode,
    SelfTradePrevention,
    Side,
)
from raft_exchange.matching.orders import STATUS_OF_REASON, LiveOrder
from raft_exchange.matching.state import Market, State


def place(state: State, command: PlaceOrder) -> list[Event]:
    """Refuse a new order, or accept it and let it trade, rest or end."""
    refused = refuse_place_shape(command, state.time_us) or _refuse_place(state, command)
    if refused is not None:
        return [refused]
    market = state.markets[command.market]
    order = _new_order(state, command, market.rules)
    if (refused := refuse_entry(order, market.book)) is not None:
        return [refused]
    amount = entry_hold(order, market)
    if (refused := market.funds.refuse_hold(order, amount)) is not None:
        return [refused]
    # From here on nothing can fail.
    state.order_id = order.order_id
    market.funds.hold(order, amount)
    return enter(state, order, market, opening=OrderAccepted(order.view()))


def entry_hold(order: LiveOrder, market: Market) -> int:
    """Return what `order` has to hold when it enters the book as it is now, in 10^-36.

    O(1), but O(makers walked) for a market buy: its price is what the book would cost.
    """
    funds = market.funds
    if funds.is_on and order.type is OrderType.MARKET and order.side is Side.BUY:
        return funds.price_of(order, value_to_buy(order, market.book))
    return funds.needs(order)


def _refuse_place(state: State, command: PlaceOrder) -> CommandRefused | None:
    account = state.live.accounts.get(command.account)
    if account is None:
        return CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")
    market = state.markets.get(command.market)
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
    return None if is_immediate(command.time_in_force) else _refuse_crowd(state, command, market)


def _refuse_crowd(state: State, command: PlaceOrder, market: Market) -> CommandRefused | None:
    # Asked before matching: an order that might rest is refused even if it would trade away.
    if state.live.count(command.account, command.market) >= ORDERS_PER_ACCOUNT_MARKET_MAX:
        return CommandRefused(RejectCode.TOO_MANY_ORDERS, "")
    if market.book.count() >= ORDERS_PER_MARKET_MAX or len(state.live.by_id) >= ORDERS_MAX:
        return CommandRefused(RejectCode.LIMIT_REACHED, "")
    return None


def _new_order(state: State, command: PlaceOrder, rules: MarketRules) -> LiveOrder:
    mode = command.self_trade_prevention
    if mode is None:
        anonymous = command.account == ANONYMOUS
        mode = SelfTradePrevention.NONE if anonymous else rules.self_trade_prevention
    return LiveOrder(
        state.order_id + 1,
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
        state.time_us,
        state.time_us,
        state.sequence,
        maker_fee_e8=rules.maker_fee_e8,
        taker_fee_e8=rules.taker_fee_e8,
    )


def enter(
    state: State, order: LiveOrder, market: Market, *, opening: OrderAccepted | OrderAmended
) -> list[Event]:
    """Match an order that is in no book and no index, then let the rest of it rest or end.

    It holds what it needs already.
    """
    events: list[Event] = [opening]
    book, funds = market.book, market.funds
    reason = Match(order, book, funds=funds, live=state.live, events=events).run()
    if reason is None and is_immediate(order.time_in_force):
        reason = EndReason.REMAINDER_EXPIRED
    if reason is not None:
        funds.release(order)
        events.append(OrderEnded(order.view(STATUS_OF_REASON[reason]), reason))
        return events
    book.append(order)
    state.live.add(order)
    untouched = len(events) == 1  # met nobody: it rests exactly as it was shown
    events.append(OrderRested(opening.order if untouched else order.view()))
    return events
