"""The HTTP interface of the seed project "P2P Order Book", on the default market.

Shapes and words are that project's, so that its page and its users' programs keep working; answers
only add names (`order_id`, `order`, `orderId`). What differs is what was wrong: books are sorted,
a cancel reaches every node, a malformed number is refused, an id means the same order everywhere.
Everybody is `anonymous` here. Numbers are JSON numbers, written from exact decimals.
"""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.gateway.bodies import body_bytes
from raft_exchange.gateway.context import CONTEXT, Context
from raft_exchange.gateway.decimals import NotANumber, OffGrid, parse_steps
from raft_exchange.gateway.errors import RETRY_AFTER_S, Problem
from raft_exchange.gateway.fields import Json, decode_object
from raft_exchange.gateway.reads import market_named, read_headers
from raft_exchange.gateway.refusals import DETAILS
from raft_exchange.gateway.rendering import View, answer, format_lots, format_ticks, order_view
from raft_exchange.gateway.schema import price_range, quantity_range
from raft_exchange.gateway.submission import Envelope, envelope_of, submit, write_headers
from raft_exchange.marketdata.trades import Trade
from raft_exchange.marketdata.view import Market
from raft_exchange.matching.limits import INT64_MAX, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from raft_exchange.matching.messages import (
    ANONYMOUS,
    CancelOrder,
    CommandRefused,
    MarketRules,
    Order,
    OrderAccepted,
    OrderEnded,
    OrderRested,
    OrderStatus,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradeExecuted,
)
from raft_exchange.sequencer.outcome import Committed

STATE_ORDERS_MAX: Final = 1_000  # a side
STATE_TRADES: Final = 20
SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL}
TYPES: Final = {"limit": OrderType.LIMIT, "market": OrderType.MARKET}
STATUSES: Final = {
    OrderStatus.OPEN: "open",
    OrderStatus.PARTIALLY_FILLED: "partially_filled",
    OrderStatus.FILLED: "filled",
    OrderStatus.CANCELED: "cancelled",
    OrderStatus.EXPIRED: "expired",
}
"""The seed's words; it had none for an order that ended with something left."""


class BadOrder(Exception):
    """An order this surface refuses; the text is the answer's `error`."""


async def get_state(request: web.Request) -> web.Response:
    """Answer with the book, best first, and the last trades, oldest first."""
    context = request.app[CONTEXT]
    market = await market_named(context, context.settings.default_market)
    bids, asks = _orders(context, market, Side.BUY), _orders(context, market, Side.SELL)
    rules, marketdata = market.rules, context.marketdata
    best = [market.depth.levels(side, 1) for side in (Side.BUY, Side.SELL)]
    spread = (
        _number(format_ticks(best[1][0][0] - best[0][0][0], rules.tick_size_e18))
        if all(best)
        else None
    )
    body: View = {
        "peerId": context.settings.node,
        "pair": rules.market,
        "timestamp": marketdata.time_us // 1000,
        "sequence": marketdata.sequence,
        "bids": bids,
        "asks": asks,
        "bestBid": bids[0] if bids else None,
        "bestAsk": asks[0] if asks else None,
        "spread": spread,
        "trades": [_trade(trade, rules) for trade in reversed(market.trades.newest(STATE_TRADES))],
    }
    return answer(body, headers=read_headers(context))


async def post_order(request: web.Request) -> web.Response:
    """Place an order. 200 with its trades, or 400 `{ok: false, error}`."""
    context = request.app[CONTEXT]
    try:
        envelope = _anonymous(request)
        market = await market_named(context, context.settings.default_market)
        body = decode_object(await body_bytes(request))
        result = await submit(context, envelope, _place_command(body, market.rules))
        refused = result.events[0]
        if isinstance(refused, CommandRefused):
            raise BadOrder(DETAILS[refused.code])
    except BadOrder as error:
        return answer({"ok": False, "error": str(error)}, status=400)
    except Problem as problem:
        return _failed(problem, {"ok": False})
    return answer(_placed(result, market.rules), headers=write_headers(result))


async def delete_order(request: web.Request) -> web.Response:
    """Cancel an order, on every node. Always 200 where the cluster could decide."""
    context = request.app[CONTEXT]
    text = request.match_info["order_id"]
    known = text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) <= INT64_MAX
    nothing: View = {"ok": False, "cancelled": None}
    if not known:
        return answer(nothing)
    try:
        result = await submit(context, _anonymous(request), CancelOrder(ANONYMOUS, int(text), ""))
    except Problem as problem:
        return _failed(problem, nothing)
    event = result.events[0]
    if not isinstance(event, OrderEnded):
        return answer(nothing, headers=write_headers(result))
    rules = context.marketdata.markets[event.order.market].rules
    body: View = {"ok": True, "cancelled": _order(event.order, rules)}
    return answer(body, headers=write_headers(result))


def _anonymous(request: web.Request) -> Envelope:
    return envelope_of(request)._replace(account=ANONYMOUS)


def _failed(problem: Problem, body: View) -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else None
    view = body | {"error": problem.detail, "code": problem.code.value}
    return answer(view, status=problem.status, headers=headers)


def _place_command(body: Json, rules: MarketRules) -> PlaceOrder:
    """Return the command for an order in the seed's words; names it did not know are ignored."""
    side, type_ = body.get("side"), body.get("type") or "limit"
    if not isinstance(side, str) or side not in SIDES:
        raise BadOrder("Order side must be one of: buy, sell")
    if not isinstance(type_, str) or type_ not in TYPES:
        raise BadOrder("Order type must be one of: limit, market")
    is_limit = TYPES[type_] is OrderType.LIMIT
    price_ticks = 0
    if is_limit:
        price_ticks = _steps(
            body.get("price"), rules.tick_size_e18, fault="Limit order must have a positive price"
        )
        if price_ticks > PRICE_TICKS_MAX:
            raise BadOrder(f"Order price must be {price_range(rules)}")
    quantity_lots = _steps(
        body.get("quantity"), rules.lot_size_e18, fault="Order quantity must be positive"
    )
    if quantity_lots > QUANTITY_LOTS_MAX:
        raise BadOrder(f"Order quantity must be {quantity_range(rules)}")
    return PlaceOrder(
        ANONYMOUS,
        rules.market,
        SIDES[side],
        TYPES[type_],
        TimeInForce.GTC if is_limit else TimeInForce.IOC,
        price_ticks,
        quantity_lots,
        0,
        False,
        SelfTradePrevention.NONE,
        "",
    )


def _steps(value: object, step_e18: int, *, fault: str) -> int:
    try:
        steps = parse_steps(value, step_e18) if isinstance(value, str) else 0
    except NotANumber:
        steps = 0
    except OffGrid:
        step = format_ticks(1, step_e18)
        raise BadOrder(f"{fault}, a multiple of {step}") from None
    if steps <= 0:
        raise BadOrder(fault)
    return steps


def _placed(result: Committed, rules: MarketRules) -> View:
    first = result.events[0]
    assert isinstance(first, OrderAccepted), first
    order = first.order
    remainder: Order | None = None
    trades: list[View] = []
    for event in result.events[1:]:
        if isinstance(event, TradeExecuted):
            trades.append(_trade(Trade(event, result.time_us, result.sequence), rules))
        elif isinstance(event, OrderRested):
            order = remainder = event.order
        elif isinstance(event, OrderEnded) and event.order.order_id == order.order_id:
            order = event.order
    status = STATUSES[order.status]
    if order.status is OrderStatus.EXPIRED and order.filled_lots:
        status = "partially_filled"
    return {
        "ok": True,
        "trades": trades,
        "remainder": None if remainder is None else _order(remainder, rules),
        "status": status,
        "orderId": str(order.order_id),
        "order": order_view(order, rules),
        "sequence": result.sequence,
    }


def _orders(context: Context, market: Market, side: Side) -> list[View]:
    views = []
    for _, _, order_id in market.depth.queue(side, STATE_ORDERS_MAX):
        order = context.marketdata.orders.live(order_id)
        assert order is not None, order_id
        views.append(_order(order, market.rules))
    return views


def _order(order: Order, rules: MarketRules) -> View:
    remaining = order.quantity_lots - order.filled_lots
    price = format_ticks(order.price_ticks, rules.tick_size_e18)
    return {
        "id": str(order.order_id),
        "order_id": str(order.order_id),
        "side": order.side.name.lower(),
        "type": order.type.name.lower(),
        "price": _number(price) if order.price_ticks else None,
        "quantity": _number(format_lots(remaining, rules.lot_size_e18)),
        "peerId": order.account,
        "timestamp": order.created_at_us // 1000,
        "status": STATUSES[order.status],
    }


def _trade(trade: Trade, rules: MarketRules) -> View:
    executed = trade.executed
    taker = (str(executed.taker_order_id), executed.taker_account)
    maker = (str(executed.maker_order_id), executed.maker_account)
    buyer, seller = (taker, maker) if executed.taker_side is Side.BUY else (maker, taker)
    return {
        "id": str(executed.trade_id),
        "pair": executed.market,
        "price": _number(format_ticks(executed.price_ticks, rules.tick_size_e18)),
        "quantity": _number(format_lots(executed.quantity_lots, rules.lot_size_e18)),
        "buyOrderId": buyer[0],
        "sellOrderId": seller[0],
        "buyPeerId": buyer[1],
        "sellPeerId": seller[1],
        "timestamp": trade.time_us // 1000,
    }


def _number(decimal: str) -> msgspec.Raw:
    return msgspec.Raw(decimal.encode("ascii"))
