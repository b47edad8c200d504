"""JSON out: orders, trades, markets as a client sees them; decimals as canonical strings.

The answer to a write is made from the events of its own command and the market's sizes, which
never change: a repeat under the same idempotency key renders to the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypedDict

import msgspec
from aiohttp import web

from raft_exchange.decoding.decimals import (
    E18,
    MILLION,
    divide_half_even,
    format_e18,
    format_e36,
    format_lots,
    format_ticks,
)
from raft_exchange.decoding.errors import PROBLEM_TYPE, RETRY_AFTER_S, Problem
from raft_exchange.decoding.times import format_time_us
from raft_exchange.marketdata.trades import Trade
from raft_exchange.matching.messages import (
    MarketRules,
    MarketStatus,
    Order,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

JSON_TYPE: Final = "application/json"

_SIDE: Final = [side.name.lower() for side in Side]
_TYPE: Final = [type_.name.lower() for type_ in OrderType]
_TIME_IN_FORCE: Final = [time.name.lower() for time in TimeInForce]
_SELF_TRADE_PREVENTION: Final = [mode.name.lower() for mode in SelfTradePrevention]
_STATUS: Final = [status.name.lower() for status in OrderStatus]
_MARKET_STATUS: Final = [status.name.lower() for status in MarketStatus]

View = dict[str, object]


class OrderView(TypedDict):
    """An order as JSON shows it."""

    order_id: str
    client_order_id: str | None
    account: str
    market: str
    side: str
    type: str
    time_in_force: str
    price: str | None
    stop_price: str | None
    quantity: str
    quote_quantity: str | None
    filled_quantity: str
    remaining_quantity: str
    average_price: str | None
    display_quantity: str | None
    oco_order_id: str | None
    expires_at: str | None
    post_only: bool
    self_trade_prevention: str
    status: str
    created_at: str
    updated_at: str
    sequence: int


class TradeView(TypedDict):
    """A trade as JSON shows it."""

    trade_id: str
    market: str
    price: str
    quantity: str
    maker_order_id: str
    taker_order_id: str
    taker_side: str
    time: str
    sequence: int


class MarketView(TypedDict):
    """A market as JSON shows it; `price_band` is null where there is none."""

    market: str
    base: str
    quote: str
    tick_size: str
    lot_size: str
    min_price: str
    max_price: str
    min_quantity: str
    max_quantity: str
    min_notional: str
    self_trade_prevention: str
    price_band: str | None
    accounts: str
    signed_orders: str
    maker_fee: str
    taker_fee: str
    max_open_orders: int | None
    max_notional: str | None
    order_types: list[str]
    status: str


def average_price(order: Order, tick_size_e18: int) -> str | None:
    """Return the mean price of the fills, half-even at 18 places; None where there are none."""
    if not order.filled_lots:
        return None
    value = int(order.filled_value) * tick_size_e18
    return format_e18(divide_half_even(value, order.filled_lots))


def order_view(order: Order, rules: MarketRules) -> OrderView:
    """Return an order as JSON shows it. `price` is null for an order without one."""
    tick, lot = rules.tick_size_e18, rules.lot_size_e18
    # Most orders are shown right after they came: nothing is filled, and nothing has changed since.
    quantity = remaining = format_e18(order.quantity_lots * lot)
    if order.filled_lots:
        remaining = format_e18((order.quantity_lots - order.filled_lots) * lot)
    created_at = updated_at = format_time_us(order.created_at_us)
    if order.updated_at_us != order.created_at_us:
        updated_at = format_time_us(order.updated_at_us)
    return {
        "order_id": str(order.order_id),
        "client_order_id": order.client_order_id or None,
        "account": order.account,
        "market": order.market,
        "side": _SIDE[order.side],
        "type": _TYPE[order.type],
        "time_in_force": _TIME_IN_FORCE[order.time_in_force],
        "price": format_e18(order.price_ticks * tick) if order.price_ticks else None,
        "stop_price": format_e18(order.stop_price_ticks * tick) if order.stop_price_ticks else None,
        "quantity": quantity,
        "filled_quantity": format_e18(order.filled_lots * lot),
        "remaining_quantity": remaining,
        "average_price": average_price(order, tick),
        "display_quantity": format_e18(order.display_lots * lot) if order.display_lots else None,
        "quote_quantity": format_e36(int(order.quote_value) * tick * lot)
        if order.quote_value
        else None,
        "oco_order_id": str(order.oco_order_id) if order.oco_order_id else None,
        "expires_at": format_time_us(order.expires_at_us) if order.expires_at_us else None,
        "post_only": order.post_only,
        "self_trade_prevention": _SELF_TRADE_PREVENTION[order.self_trade_prevention],
        "status": _STATUS[order.status],
        "created_at": created_at,
        "updated_at": updated_at,
        "sequence": order.sequence,
    }


def trade_view(trade: Trade, rules: MarketRules) -> TradeView:
    """Return a trade as JSON shows it."""
    executed = trade.executed
    return {
        "trade_id": str(executed.trade_id),
        "market": executed.market,
        "price": format_e18(executed.price_ticks * rules.tick_size_e18),
        "quantity": format_e18(executed.quantity_lots * rules.lot_size_e18),
        "maker_order_id": str(executed.maker_order_id),
        "taker_order_id": str(executed.taker_order_id),
        "taker_side": _SIDE[executed.taker_side],
        "time": format_time_us(trade.time_us),
        "sequence": trade.sequence,
    }


def market_view(rules: MarketRules, status: MarketStatus) -> MarketView:
    """Return a market as JSON shows it."""
    tick, lot = rules.tick_size_e18, rules.lot_size_e18
    return {
        "market": rules.market,
        "base": rules.base,
        "quote": rules.quote,
        "tick_size": format_e18(tick),
        "lot_size": format_e18(lot),
        "min_price": format_ticks(rules.price_ticks_min, tick),
        "max_price": format_ticks(rules.price_ticks_max, tick),
        "min_quantity": format_lots(rules.quantity_lots_min, lot),
        "max_quantity": format_lots(rules.quantity_lots_max, lot),
        "min_notional": format_e36(rules.notional_min * tick * lot),
        "self_trade_prevention": _SELF_TRADE_PREVENTION[rules.self_trade_prevention],
        "price_band": format_e18(rules.price_band_ppm * E18 // MILLION)
        if rules.price_band_ppm
        else None,
        "accounts": "on" if rules.settles else "off",
        "signed_orders": "on" if rules.signed_orders else "off",
        "maker_fee": format_e18(rules.maker_fee_e8 * 10**10),
        "taker_fee": format_e18(rules.taker_fee_e8 * 10**10),
        "max_open_orders": rules.open_orders_max or None,
        "max_notional": format_e36(rules.notional_max * tick * lot) if rules.notional_max else None,
        "order_types": _TYPE,
        "status": _MARKET_STATUS[status],
    }


def answer(
    body: Mapping[str, object], *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a JSON answer."""
    real_headers = {"Content-Type": JSON_TYPE}
    if headers is not None:
        real_headers |= headers
    return web.Response(body=msgspec.json.encode(body), status=status, headers=real_headers)


def problem_answer(problem: Problem, request_id: str) -> web.Response:
    """Return the answer that tells of a problem."""
    headers = {"Content-Type": PROBLEM_TYPE, **problem.headers}
    if problem.status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if problem.sequence is not None:
        headers["X-Sequence"] = str(problem.sequence)
    if problem.replayed:
        headers["Idempotent-Replay"] = "true"
    body = msgspec.json.encode(problem.view(request_id))
    return web.Response(body=body, status=problem.status, headers=headers)
