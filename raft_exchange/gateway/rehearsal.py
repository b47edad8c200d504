"""Dry runs: what the exchange would say of a command by its own words and the market's rules.

Nothing is submitted and the book is not looked at, so a command that passes may still be refused
for what it meets (`would_take`, `unfillable`, a label in use, too many orders).
"""

from __future__ import annotations

import msgspec

from raft_exchange.gateway.fields import Json
from raft_exchange.gateway.refusals import refusal
from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.filters import refuse_amend_shape, refuse_place_shape, refuse_terms
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AmendOrder,
    CommandRefused,
    MarketRules,
    MarketStatus,
    Order,
    OrderStatus,
    OrderType,
    PlaceOrder,
    RejectCode,
    SelfTradePrevention,
)


def rehearse_place(command: PlaceOrder, marketdata: MarketData, *, sent: Json) -> Order:
    """Return the order as it would be accepted; its id and sequence are 0.

    Raises:
        Problem: the exchange would refuse it.
    """
    market = marketdata.markets[command.market]
    refused = refuse_place_shape(command, marketdata.time_us) or _refuse_by_market(
        market,
        command.type,
        price_ticks=command.price_ticks,
        quantity_lots=command.quantity_lots,
    )
    if refused is not None:
        raise refusal(refused, sent=sent, rules=market.rules)
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
        _mode(command, market.rules),
        OrderStatus.OPEN,
        marketdata.time_us,
        marketdata.time_us,
        0,
    )


def rehearse_amend(
    command: AmendOrder, order: Order, marketdata: MarketData, *, sent: Json
) -> Order:
    """Return `order` as it would be amended.

    Raises:
        Problem: the exchange would refuse it.
    """
    market = marketdata.markets[order.market]
    price = order.price_ticks if command.price_ticks is None else command.price_ticks
    total = order.quantity_lots if command.quantity_lots is None else command.quantity_lots
    refused = refuse_amend_shape(command.price_ticks, command.quantity_lots)
    if refused is None and order.status >= OrderStatus.FILLED:
        refused = CommandRefused(RejectCode.NOT_OPEN, "order_id")
    if refused is None and total > order.filled_lots:
        refused = _refuse_by_market(market, order.type, price_ticks=price, quantity_lots=total)
    if refused is not None:
        raise refusal(refused, sent=sent, rules=market.rules)
    if total <= order.filled_lots:
        return msgspec.structs.replace(order, status=OrderStatus.CANCELED)
    return msgspec.structs.replace(order, price_ticks=price, quantity_lots=total)


def _refuse_by_market(
    market: Market, type_: OrderType, *, price_ticks: int, quantity_lots: int
) -> CommandRefused | None:
    if market.status is not MarketStatus.TRADING:
        return CommandRefused(RejectCode.MARKET_HALTED, "market")
    return refuse_terms(market.rules, type_, price_ticks=price_ticks, quantity_lots=quantity_lots)


def _mode(command: PlaceOrder, rules: MarketRules) -> SelfTradePrevention:
    if command.self_trade_prevention is not None:
        return command.self_trade_prevention
    if command.account == ANONYMOUS:
        return SelfTradePrevention.NONE
    return rules.self_trade_prevention
