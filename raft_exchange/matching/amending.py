"""New terms for an order that lives: in its place where it may keep it, else out and in again."""

from __future__ import annotations

from raft_exchange.matching.entry import enter, wait
from raft_exchange.matching.filters import (
    Standing,
    Terms,
    amended,
    refuse_amended,
)
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
from raft_exchange.matching.risk import refuse_risk
from raft_exchange.matching.shapes import refuse_amend_shape
from raft_exchange.matching.state import State


def amend(state: State, command: AmendOrder) -> list[Event]:
    """Refuse new terms of a live order, or give it these."""
    refused = refuse_amend_shape(command)
    if refused is not None:
        return [refused]
    order = state.owned(command.account, command.order_id)
    if isinstance(order, CommandRefused):
        return [order]
    market = state.markets[order.market]
    old = Terms(order.side, order.price_ticks, order.stop_price_ticks, order.quantity_lots)
    new = amended(old, command)
    if (refused := _refuse(state, order, old=old, new=new)) is not None:
        return [refused]
    amount = _total_hold(state, order, new)
    if (refused := market.funds.refuse_hold(order, amount)) is not None:
        return [refused]
    # From here on nothing can fail.
    events: list[Event] = []
    if new.quantity_lots <= order.filled_lots:
        state.end(order, EndReason.AMENDED_DOWN, events)
    elif new.quantity_lots <= old.quantity_lots and new[:3] == old[:3]:
        _shrink(state, order, new, events=events)
    else:
        _move(state, order, new, events=events)
    return events


def _refuse(state: State, order: LiveOrder, *, old: Terms, new: Terms) -> CommandRefused | None:
    market = state.markets[order.market]
    if market.status is not MarketStatus.TRADING:
        return CommandRefused(RejectCode.MARKET_HALTED, "market")
    standing = Standing(old, order.filled_lots, order.display_lots, order.is_pending)
    last_price_ticks = market.book.last_price_ticks
    refused = refuse_amended(market.rules, standing, new, last_price_ticks=last_price_ticks)
    if refused is not None or new == old or new.quantity_lots <= order.filled_lots:
        return refused
    value, account = new.price_ticks * new.quantity_lots, state.live.accounts[order.account]
    refused = refuse_risk(
        account.settings, market.rules, value=value, quantity_lots=new.quantity_lots
    )
    if refused is not None:
        return refused
    if order.post_only and market.book.opposite(order.side).reached_by(new.price_ticks):
        return CommandRefused(RejectCode.WOULD_TAKE, "price_ticks")
    return None


def _total_hold(state: State, order: LiveOrder, new: Terms) -> int:
    """Return what `order` would hold under new terms, and its other leg beyond what it does now."""
    rest_lots = max(new.quantity_lots - order.filled_lots, 0)
    funds = state.markets[order.market].funds
    amount = funds.needs_at(order, price_ticks=new.price_ticks, rest_lots=rest_lots)
    other = state.live.by_id.get(order.oco_order_id) if order.oco_order_id else None
    return amount if other is None else max(amount, funds.needs(other)) - other.held


def _shrink(state: State, order: LiveOrder, new: Terms, *, events: list[Event]) -> None:
    order.quantity_lots = new.quantity_lots
    if order.shown_lots:
        order.shown_lots = min(order.shown_lots, new.quantity_lots - order.filled_lots)
    state.rehold(order)
    state.stamp(order)
    events.append(OrderAmended(order.view(), True))


def _move(state: State, order: LiveOrder, new: Terms, *, events: list[Event]) -> None:
    # It leaves and comes again like a new order: one way into the book, and out of it.
    is_stop = order.is_pending
    state.leave(order)
    state.stamp(order)
    _, order.price_ticks, order.stop_price_ticks, order.quantity_lots = new
    order.is_pending = is_stop
    state.rehold(order)
    moved = OrderAmended(order.view(), False)
    events.append(moved)
    if is_stop:
        wait(state, order, events=events)
    else:
        enter(state, order, events=events, shown=moved.order)
