"""Dry runs: what the exchange would say of a command by its own words and the market's rules.

Nothing is submitted and the book is not looked at, so a command that passes may still be refused
for what it meets (`would_take`, `unfillable`, a label in use, too many orders).
"""

from __future__ import annotations

import msgspec

from raft_exchange.decoding.fields import Json
from raft_exchange.gateway.refusals import refusal
from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.filters import (
    Standing,
    Terms,
    amended,
    refuse_amended,
    refuse_new_terms,
)
from raft_exchange.matching.messages import (
    ANONYMOUS,
    FINAL_STATUSES,
    STOP_TYPES,
    AmendOrder,
    CommandRefused,
    MarketRules,
    MarketStatus,
    Order,
    OrderStatus,
    PlaceOco,
    PlaceOrder,
    RejectCode,
    SelfTradePrevention,
)
from raft_exchange.matching.shapes import (
    LIMIT_LEG,
    STOP_LEG,
    refuse_amend_shape,
    refuse_pair,
    refuse_place_shape,
)


def rehearse_place(command: PlaceOrder, marketdata: MarketData, *, sent: Json) -> Order:
    """Return the order as it would be accepted; its id and sequence are 0.

    Raises:
        Problem: the exchange would refuse it.
    """
    rules = marketdata.markets[command.market].rules
    if (refused := _refuse_new(command, marketdata)) is not None:
        raise refusal(refused, sent=sent, rules=rules)
    return _new_order(command, rules, time_us=marketdata.time_us)


def rehearse_oco(command: PlaceOco, marketdata: MarketData, *, sent: Json) -> tuple[Order, Order]:
    """Return the limit order and the stop as they would be accepted.

    Raises:
        Problem: the exchange would refuse them.
    """
    rules = marketdata.markets[command.limit.market].rules
    refused = refuse_pair(command)
    for leg, order in ((LIMIT_LEG, command.limit), (STOP_LEG, command.stop)):
        if refused is None and (found := _refuse_new(order, marketdata)) is not None:
            refused = CommandRefused(found.code, leg + found.field)
    if refused is not None:
        raise refusal(refused, sent=sent, rules=rules)
    limit, stop = (
        _new_order(order, rules, time_us=marketdata.time_us)
        for order in (command.limit, command.stop)
    )
    return limit, stop


def _refuse_new(command: PlaceOrder, marketdata: MarketData) -> CommandRefused | None:
    market = marketdata.markets[command.market]
    refused = refuse_place_shape(command, marketdata.time_us)
    if refused is None and market.status is not MarketStatus.TRADING:
        refused = CommandRefused(RejectCode.MARKET_HALTED, "market")
    return refused or refuse_new_terms(
        market.rules, command, last_price_ticks=_last_price_ticks(market)
    )


def _last_price_ticks(market: Market) -> int:
    trades = market.trades.newest(1)
    return trades[0].executed.price_ticks if trades else 0


def _new_order(command: PlaceOrder, rules: MarketRules, *, time_us: int) -> Order:
    return Order(
        0,
        command.client_order_id,
        command.account,
        command.market,
        command.side,
        command.type,
        command.time_in_force,
        command.price_ticks,
        command.quantity_lots,
        0,
        "0",
        command.expires_at_us,
        command.post_only,
        _mode(command, rules),
        OrderStatus.PENDING if command.type in STOP_TYPES else OrderStatus.OPEN,
        time_us,
        time_us,
        0,
        command.stop_price_ticks,
        command.display_lots,
        0,
        command.quote_value,
    )


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
    if refused is None and market.status is not MarketStatus.TRADING:
        refused = CommandRefused(RejectCode.MARKET_HALTED, "market")
    if refused is None:
        is_pending = order.status is OrderStatus.PENDING
        standing = Standing(old, order.filled_lots, order.display_lots, is_pending)
        last_price_ticks = _last_price_ticks(market)
        refused = refuse_amended(market.rules, standing, new, last_price_ticks=last_price_ticks)
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


def _mode(command: PlaceOrder, rules: MarketRules) -> SelfTradePrevention:
    if command.self_trade_prevention is not None:
        return command.self_trade_prevention
    if command.account == ANONYMOUS:
        return SelfTradePrevention.NONE
    return rules.self_trade_prevention
