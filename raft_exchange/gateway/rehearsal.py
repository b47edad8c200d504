"""Dry runs: what the exchange would say of a command, from all that this node knows.

The guards are the exchange's own functions, in its order, over the projection: shapes, the state of
account and market, limits, labels, the book as it is now, balances. Nothing is submitted. So what
passes may still be refused when it is meant, and the other way round:

- Others trade, and operators decide, between the two; and this node may lag (`X-Age-Ms`).
- Fees that changed since an order was accepted: an amend is judged by today's.
- Signatures: where a market takes signed orders only, a dry run need not be signed.
- Limits of the whole market or exchange (how many orders, stops, icebergs there may be), of one
  account's stops and icebergs, idempotency keys and deadlines are left to the log.
- A book of more than `MAKERS_LOOKED_AT_MAX` makers within reach is not looked at to its end: what
  needs it (fill-or-kill, what a market order costs) passes then.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from raft_exchange.decoding.fields import Json
from raft_exchange.gateway.refusals import refusal
from raft_exchange.marketdata import around
from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.accounts import Funds
from raft_exchange.matching.filters import (
    Standing,
    Terms,
    amended,
    is_immediate,
    refuse_amended,
    refuse_new_terms,
)
from raft_exchange.matching.limits import ORDERS_PER_ACCOUNT_MARKET_MAX
from raft_exchange.matching.messages import (
    FINAL_STATUSES,
    AmendOrder,
    CommandRefused,
    MarketStatus,
    Order,
    OrderStatus,
    PlaceOco,
    PlaceOrder,
    RejectCode,
    ReplaceOrder,
    TimeInForce,
)
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.outlook import Offer, entry_hold, is_fillable, new_order
from raft_exchange.matching.risk import refuse_open_orders, refuse_risk, value_of
from raft_exchange.matching.shapes import (
    LIMIT_LEG,
    STOP_LEG,
    refuse_amend_shape,
    refuse_pair,
    refuse_place_shape,
)


class _Admitted(NamedTuple):
    """A new order that passed all guards but that of its owner's balance."""

    order: LiveOrder
    funds: Funds
    found: list[Offer] | None

    def needs(self, freed: int = 0) -> int:
        """Return what it has to hold; 0 where more makers stand in its way than are looked at."""
        if self.found is None:
            return 0
        return entry_hold(self.order, self.found, self.funds, freed=freed)


def rehearse_place(command: PlaceOrder, marketdata: MarketData, *, sent: Json) -> Order:
    """Return the order as it would be accepted; its id and sequence are 0.

    Raises:
        Problem: the exchange would refuse it.
    """
    admitted = _admitted(command, marketdata)
    if isinstance(admitted, _Admitted):
        order, funds, _ = admitted
        refused = funds.refuse_hold(order, admitted.needs())
        if refused is None:
            return _shown(order, marketdata)
        admitted = refused
    raise refusal(admitted, sent=sent, rules=marketdata.markets[command.market].rules)


def rehearse_replace(command: ReplaceOrder, marketdata: MarketData, *, sent: Json) -> Order:
    """Return the order that would take the place of a live one.

    Raises:
        Problem: the exchange would refuse it.
    """
    rules = marketdata.markets[command.order.market].rules
    refused = refuse_place_shape(command.order, marketdata.time_us)
    old = marketdata.orders.get(command.order_id)
    if refused is None and (old is None or old.account != command.account):
        # Of orders that ended, the exchange remembers that there were some, not whose.
        has_ended = marketdata.orders.live(command.order_id) is None
        is_known = has_ended and command.order_id <= marketdata.orders.last_id
        code = RejectCode.NOT_OPEN if is_known else RejectCode.UNKNOWN_ORDER
        refused = CommandRefused(code, "order_id")
    elif refused is None and old is not None and old.status in FINAL_STATUSES:
        refused = CommandRefused(RejectCode.NOT_OPEN, "order_id")
    if refused is not None:
        raise refusal(refused, sent=sent, rules=rules)
    assert old is not None, "it was refused"
    admitted = _admitted(command.order, marketdata, leaving=old)
    if isinstance(admitted, _Admitted):
        order, funds, _ = admitted
        freed = _freed(marketdata, old, funds.asset(order.side))
        alone = _without_legs(marketdata, admitted, old)
        needs = max(admitted.needs(freed), alone.needs(freed))
        refused = funds.refuse_hold(order, needs - freed)
        if refused is None:
            return _shown(order, marketdata)
        admitted = refused
    raise refusal(admitted, sent=sent, rules=rules)


def _without_legs(marketdata: MarketData, admitted: _Admitted, old: Order) -> _Admitted:
    """Return the order with what it finds where the other leg of `old`, if any, is gone too."""
    if not old.oco_order_id:
        return admitted
    market = marketdata.markets[admitted.order.market]
    legs = (old.order_id, old.oco_order_id)
    found = around.found_by(marketdata, market, admitted.order, leaving_ids=legs)
    return admitted._replace(found=found)


def _freed(marketdata: MarketData, old: Order, asset: str) -> int:
    funds = around.funds_of(marketdata, marketdata.markets[old.market], old.account)
    return around.held_by(marketdata, old, funds) if funds.asset(old.side) == asset else 0


def rehearse_oco(command: PlaceOco, marketdata: MarketData, *, sent: Json) -> tuple[Order, Order]:
    """Return the limit order and the stop as they would be accepted.

    Raises:
        Problem: the exchange would refuse them.
    """
    rules = marketdata.markets[command.limit.market].rules
    if (refused := refuse_pair(command)) is not None:
        raise refusal(refused, sent=sent, rules=rules)
    stop = _admitted(command.stop, marketdata)
    if isinstance(stop, CommandRefused):
        raise refusal(CommandRefused(stop.code, STOP_LEG + stop.field), sent=sent, rules=rules)
    limit = _admitted(command.limit, marketdata, joining=2)
    if isinstance(limit, _Admitted):
        refused = limit.funds.refuse_hold(limit.order, max(limit.needs(), stop.needs()))
        if refused is None:
            return _shown(limit.order, marketdata), _shown(stop.order, marketdata)
        limit = refused
    raise refusal(CommandRefused(limit.code, LIMIT_LEG + limit.field), sent=sent, rules=rules)


def _shown(order: LiveOrder, marketdata: MarketData) -> Order:
    order.created_at_us = order.updated_at_us = marketdata.time_us
    return order.view()


def _admitted(
    command: PlaceOrder, marketdata: MarketData, *, leaving: Order | None = None, joining: int = 1
) -> _Admitted | CommandRefused:
    """Return the order that `command` would place, or why not; see `matching.entry.admitted`."""
    market = marketdata.markets[command.market]
    refused = refuse_place_shape(command, marketdata.time_us) or _refuse_by_market(
        command, marketdata, market, leaving=leaving, joining=joining
    )
    if refused is not None:
        return refused
    settings = around.settings_of(marketdata, command.account)
    order = new_order(command, market.rules, settings, order_id=0)
    funds = around.funds_of(marketdata, market, command.account)
    if order.is_pending:
        return _Admitted(order, funds, [])
    leaving_ids = () if leaving is None else (leaving.order_id,)
    found = around.found_by(marketdata, market, order, leaving_ids=leaving_ids)
    return _refuse_entry(order, found) or _Admitted(order, funds, found)


def _refuse_by_market(
    command: PlaceOrder,
    marketdata: MarketData,
    market: Market,
    *,
    leaving: Order | None,
    joining: int,
) -> CommandRefused | None:
    settings, rules = around.settings_of(marketdata, command.account), market.rules
    if settings.frozen:
        return CommandRefused(RejectCode.ACCOUNT_FROZEN, "account")
    if market.status is not MarketStatus.TRADING:
        return CommandRefused(RejectCode.MARKET_HALTED, "market")
    last = around.last_price_ticks(market)
    refused = refuse_new_terms(rules, command, last_price_ticks=last) or refuse_risk(
        settings, rules, value=value_of(command), quantity_lots=command.quantity_lots
    )
    if refused is not None:
        return refused
    namesake = None
    if command.client_order_id:
        namesake = marketdata.orders.labelled(command.account, command.client_order_id)
    if namesake is not None and (leaving is None or namesake.order_id != leaving.order_id):
        return CommandRefused(RejectCode.DUPLICATE_CLIENT_ORDER_ID, "client_order_id")
    if is_immediate(command.time_in_force) and not command.stop_price_ticks:
        return None
    is_here = leaving is not None and leaving.market == command.market
    count = marketdata.orders.live_count(command.account, command.market) + joining - is_here
    refused = refuse_open_orders(settings, rules, count=count)
    if refused is None and count > ORDERS_PER_ACCOUNT_MARKET_MAX:
        return CommandRefused(RejectCode.TOO_MANY_ORDERS, "")
    return refused


def _refuse_entry(order: LiveOrder, found: list[Offer] | None) -> CommandRefused | None:
    if order.post_only and (found is None or found):
        return CommandRefused(RejectCode.WOULD_TAKE, "price_ticks")
    is_whole = order.time_in_force is TimeInForce.FOK
    if is_whole and found is not None and not is_fillable(order, found):
        return CommandRefused(RejectCode.UNFILLABLE, "quantity_lots")
    return None


def rehearse_amend(
    command: AmendOrder, order: Order, marketdata: MarketData, *, sent: Json
) -> Order:
    """Return `order` as it would be amended.

    Raises:
        Problem: the exchange would refuse it.
    """
    market = marketdata.markets[order.market]
    old = Terms(order.side, order.price_ticks, order.stop_price_ticks, order.quantity_lots)
    new = amended(old, command)
    refused = refuse_amend_shape(command)
    if refused is None and order.status in FINAL_STATUSES:
        refused = CommandRefused(RejectCode.NOT_OPEN, "order_id")
    if refused is None:
        refused = _refuse_new_terms(order, marketdata, market, old=old, new=new)
    if refused is not None:
        raise refusal(refused, sent=sent, rules=market.rules)
    if new.quantity_lots <= order.filled_lots:
        return msgspec.structs.replace(order, status=OrderStatus.CANCELED)
    return msgspec.structs.replace(
        order,
        price_ticks=new.price_ticks,
        stop_price_ticks=new.stop_price_ticks,
        quantity_lots=new.quantity_lots,
    )


def _refuse_new_terms(
    order: Order, marketdata: MarketData, market: Market, *, old: Terms, new: Terms
) -> CommandRefused | None:
    if market.status is not MarketStatus.TRADING:
        return CommandRefused(RejectCode.MARKET_HALTED, "market")
    is_pending = order.status is OrderStatus.PENDING
    as_it_is = Standing(old, order.filled_lots, order.display_lots, is_pending)
    last = around.last_price_ticks(market)
    refused = refuse_amended(market.rules, as_it_is, new, last_price_ticks=last)
    if refused is not None or new == old or new.quantity_lots <= order.filled_lots:
        return refused
    settings = around.settings_of(marketdata, order.account)
    value = new.price_ticks * new.quantity_lots
    refused = refuse_risk(settings, market.rules, value=value, quantity_lots=new.quantity_lots)
    if refused is not None:
        return refused
    live = around.standing(marketdata, order)
    live.price_ticks = new.price_ticks
    if order.post_only and around.found_by(marketdata, market, live) != []:
        return CommandRefused(RejectCode.WOULD_TAKE, "price_ticks")
    return _refuse_new_hold(order, marketdata, market, new=new)


def _refuse_new_hold(
    order: Order, marketdata: MarketData, market: Market, *, new: Terms
) -> CommandRefused | None:
    funds = around.funds_of(marketdata, market, order.account)
    live = around.standing(marketdata, order)
    live.held = around.held_by(marketdata, order, funds)
    rest_lots = new.quantity_lots - order.filled_lots
    amount = funds.needs_at(live, price_ticks=new.price_ticks, rest_lots=rest_lots)
    other = marketdata.orders.live(order.oco_order_id) if order.oco_order_id else None
    if other is not None:
        amount = max(amount, funds.needs(around.standing(marketdata, other)))
    return funds.refuse_hold(live, amount)
