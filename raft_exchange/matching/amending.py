"""New terms for an order that lives: in its place where it may keep it, else out and in again."""

from __future__ import annotations

from raft_exchange.matching.entry import enter
from raft_exchange.matching.filters import refuse_amend_shape, refuse_terms
from raft_exchange.matching.messages import (
    AmendOrder,
    CommandRefused,
    EndReason,
    Event,
    MarketStatus,
    OrderAmended,
    RejectCode,
)
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.state import Market, State


def amend(state: State, command: AmendOrder) -> list[Event]:
    """Refuse new terms of a live order, or give it these."""
    refused = refuse_amend_shape(command.price_ticks, command.quantity_lots)
    if refused is not None:
        return [refused]
    order = state.owned(command.account, command.order_id)
    if isinstance(order, CommandRefused):
        return [order]
    market = state.markets[order.market]
    price = order.price_ticks if command.price_ticks is None else command.price_ticks
    total = order.quantity_lots if command.quantity_lots is None else command.quantity_lots
    if (refused := _refuse(order, market, price_ticks=price, total_lots=total)) is not None:
        return [refused]
    if total <= order.filled_lots:
        return [state.end(order, EndReason.AMENDED_DOWN)]
    amount = market.funds.needs_at(order, price_ticks=price, rest_lots=total - order.filled_lots)
    if (refused := market.funds.refuse_hold(order, amount)) is not None:
        return [refused]
    # From here on nothing can fail.
    state.stamp(order)
    market.funds.hold(order, amount)
    if price == order.price_ticks and total <= order.quantity_lots:
        order.quantity_lots = total
        return [OrderAmended(order.view(), True)]
    # It leaves and comes again like a new order: one way into the book, and out of it.
    market.book.remove(order)
    state.live.remove(order)
    order.price_ticks = price
    order.quantity_lots = total
    return enter(state, order, market, opening=OrderAmended(order.view(), False))


def _refuse(
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
