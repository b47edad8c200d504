"""The Grenache services of the seed projects, payload by payload, on the default market.

| service | project | message |
|---|---|---|
| `exchange_orders` | Grenache P2P Exchange | `{type: order, order}`, `{type: getOrders}` |
| `p2p_exchange` | P2P Distributed Exchange | `{id, type: order, payload}`; `type: trade` |
| `orderbook_service` | P2P Order Book | `{type: NEW_ORDER, order}`, `{type: SNAPSHOT_REQUEST}` |
| `createOrderRequest` | P2P Order Matching Service | the order itself |

Everybody is `anonymous` here, and an order's own id is its `client_order_id`: by that name its
sender finds it in trades and books. (Where this node has forgotten an order that ended long ago,
its number stands there instead.) What a message says of times, statuses and owners is not believed.
"""

from __future__ import annotations

import hashlib
from typing import Final

from raft_exchange.decoding.decimals import format_lots, format_ticks
from raft_exchange.decoding.errors import ErrorCode, Problem, shown
from raft_exchange.decoding.fields import Json, Number, is_label
from raft_exchange.decoding.times import format_time_us
from raft_exchange.gateway.access import Principal
from raft_exchange.gateway.context import Context
from raft_exchange.gateway.rate_limits import Lane
from raft_exchange.gateway.reads import market_named
from raft_exchange.gateway.refusals import detail_of
from raft_exchange.gateway.rendering import View
from raft_exchange.gateway.seed_shapes import (
    BadOrder,
    Named,
    number,
    place_command,
    placed_view,
    snapshot_view,
)
from raft_exchange.gateway.submission import Envelope, submit
from raft_exchange.marketdata.view import Market
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.limits import CLIENT_ORDER_ID_BYTES_MAX
from raft_exchange.matching.messages import (
    ANONYMOUS,
    CommandRefused,
    OrderAccepted,
    RejectCode,
    Scope,
    Side,
    TradeExecuted,
)
from raft_exchange.sequencer.outcome import Committed

SERVICE_KEY_PREFIX: Final = "\x1f"
"""Stands in no key that a header can carry: a service's keys are its own."""
SERVICE_KEY_DIGITS: Final = 48
BOOK_ORDERS_MAX: Final = 1_000  # a side


async def exchange_orders(context: Context, who: Principal, payload: object) -> object:
    """Answer the service of "Grenache P2P Exchange"."""
    if not payload:
        return {"status": "invalid request"}
    message = payload if isinstance(payload, dict) else {}
    if message.get("type") not in ("order", "getOrders"):
        return {"status": "unknown request"}
    market = await _default_market(context)
    if message["type"] == "getOrders":
        return {
            "buys": _orders(context, market, Side.BUY),
            "sells": _orders(context, market, Side.SELL),
        }
    order = _object(message, "order")
    result = await _place(context, market, who, order, key=_key("exchange_orders", order))
    named, rules = _named(context), market.rules
    trades = []
    for event in result.events:
        if isinstance(event, TradeExecuted):
            taker, maker = named(event.taker_order_id), named(event.maker_order_id)
            is_buy = event.taker_side is Side.BUY
            trades.append(
                {
                    "price": number(format_ticks(event.price_ticks, rules.tick_size_e18)),
                    "quantity": number(format_lots(event.quantity_lots, rules.lot_size_e18)),
                    "buyOrderId": taker if is_buy else maker,
                    "sellOrderId": maker if is_buy else taker,
                }
            )
    return {"status": "order received", "trades": trades}


async def p2p_exchange(context: Context, who: Principal, payload: object) -> object:
    """Answer the service of "P2P Distributed Exchange".

    Trades follow from the orders here: a message that tells of one changes nothing.
    """
    message = payload if isinstance(payload, dict) else {}
    if message.get("type") == "trade":
        return {"success": True, "message": "Ignored trade message"}
    if message.get("type") != "order":
        raise BadOrder("Message type must be one of: order, trade")
    order = _object(message, "payload")
    pair = order.get("pair")
    name = pair.replace("/", "-") if isinstance(pair, str) else context.settings.default_market
    market = await market_named(context, name)
    words = {"side": order.get("side"), "price": order.get("price"), "id": order.get("id")}
    words["quantity"] = order.get("amount")
    await _place(context, market, who, words, key=_key("p2p_exchange", message))
    node = context.settings.node
    return {"success": True, "nodeId": node, "message": "Message processed"}


async def orderbook_service(context: Context, who: Principal, payload: object) -> object:
    """Answer the service of "P2P Order Book"."""
    message = payload if isinstance(payload, dict) else {}
    market = await _default_market(context)
    named = _named(context)
    if message.get("type") == "SNAPSHOT_REQUEST":
        return {"ok": True, "result": snapshot_view(context, market, named=named)}
    if message.get("type") != "NEW_ORDER":
        raise BadOrder("Message type must be one of: NEW_ORDER, SNAPSHOT_REQUEST")
    order = _object(message, "order")
    result = await _place(context, market, who, order, key=_key("orderbook_service", order))
    placed = placed_view(result, market.rules, named=named)
    return {
        "ok": True,
        "result": {name: placed[name] for name in ("trades", "remainder", "status")},
    }


async def create_order_request(context: Context, who: Principal, payload: object) -> object:
    """Answer the service of "P2P Order Matching Service". Its orders have no id yet."""
    order = payload if isinstance(payload, dict) else {}
    side = {"BUY": "buy", "SELL": "sell"}.get(str(order.get("type")))
    if side is None:
        raise BadOrder("Order type must be one of: BUY, SELL")
    market = await _market_of_asset(context, order.get("asset"))
    words = {"side": side, "price": order.get("price"), "quantity": order.get("quantity")}
    result = await _place(context, market, who, words, key="")
    accepted = result.events[0]
    assert isinstance(accepted, OrderAccepted), accepted
    order_id = accepted.order.order_id
    executed = [event for event in result.events if isinstance(event, TradeExecuted)]
    trades = [event for event in executed if event.taker_order_id == order_id]
    filled_lots = sum(trade.quantity_lots for trade in trades)
    status = "PARTIAL_MATCHED" if trades else "OPEN"
    created_on = format_time_us(accepted.order.created_at_us)[:-4] + "Z"  # milliseconds, as theirs
    rules = market.rules
    price, quantity = accepted.order.price_ticks, accepted.order.quantity_lots
    return {
        "asset": order.get("asset"),
        "price": number(format_ticks(price, rules.tick_size_e18)),
        "quantity": number(format_lots(quantity, rules.lot_size_e18)),
        "type": order.get("type"),
        "userId": _echo(order.get("userId")),
        "id": str(accepted.order.order_id),
        "createdOn": created_on,
        "updatedOn": created_on,
        "status": "MATCHED" if filled_lots == quantity else status,
        "version": 1 + len(trades),
        "matchedWith": [str(trade.maker_order_id) for trade in trades],
    }


async def _place(
    context: Context, market: Market, who: Principal, order: Json, *, key: str
) -> Committed:
    """Sequence an order in the seed's words and return what it did.

    Raises:
        BadOrder: it was refused.
        Problem: it never reached the log, or what became of it is unknown.
    """
    who.demand(Scope.TRADE)
    context.limits.charge(Lane.ORDERS, who.account, who.key_id)
    named = _label(order) if key else ""
    command = place_command(order, market.rules, account=who.account, label=named)
    result = await submit(context, Envelope(who.account, key, 0, who.key_id), command)
    refused = result.events[0]
    if isinstance(refused, CommandRefused):
        if refused.code is RejectCode.DUPLICATE_CLIENT_ORDER_ID:
            raise BadOrder("Another live order has this id")
        raise BadOrder(detail_of(refused))
    return result


def _echo(value: object) -> object:
    return number(value) if isinstance(value, Number) else shown(value)


def _label(order: Json) -> str:
    order_id = order.get("id")
    if not isinstance(order_id, str) or not order_id:
        raise BadOrder("Order must have an id")
    if not is_label(order_id, CLIENT_ORDER_ID_BYTES_MAX):
        longest = CLIENT_ORDER_ID_BYTES_MAX
        raise BadOrder(f"Order id must be 1 to {longest} printable ASCII characters")
    return str(order_id)  # a JSON number is as good


def _key(service: str, named: Json) -> str:
    """Return the idempotency key of a message or an order that names itself by `id`."""
    text = named.get("id")
    if not isinstance(text, str) or not text:
        raise BadOrder("Order must have an id")
    digest = hashlib.sha256(f"{service}\0{text}".encode())
    return SERVICE_KEY_PREFIX + digest.hexdigest()[:SERVICE_KEY_DIGITS]


def _object(message: Json, field: str) -> Json:
    value = message.get(field)
    if not isinstance(value, dict):
        raise BadOrder(f"Message must have an object `{field}`")
    return value


async def _default_market(context: Context) -> Market:
    return await market_named(context, context.settings.default_market)


async def _market_of_asset(context: Context, asset: object) -> Market:
    """Return the market named `asset`, or else the one of `asset` against the default's quote."""
    default = await _default_market(context)
    if not isinstance(asset, str) or not is_name(asset):
        raise BadOrder("Order must have an asset")
    markets = context.marketdata.markets
    if asset in markets:
        return markets[asset]
    try:
        return await market_named(context, f"{asset}-{default.rules.quote}"[:32])
    except Problem as problem:
        if problem.code is not ErrorCode.UNKNOWN_MARKET:
            raise
        raise BadOrder("Order asset has no market here") from None


def _named(context: Context) -> Named:
    orders = context.marketdata.orders

    def named(order_id: int) -> str:
        order = orders.get(order_id)
        # Labels of others than `anonymous` are their own business.
        has_label = order is not None and order.account == ANONYMOUS and order.client_order_id
        return order.client_order_id if order is not None and has_label else str(order_id)

    return named


def _orders(context: Context, market: Market, side: Side) -> list[View]:
    named, rules = _named(context), market.rules
    views: list[View] = []
    for price_ticks, lots, order_id in market.depth.queue(side, BOOK_ORDERS_MAX):
        order = context.marketdata.orders.live(order_id)
        assert order is not None, order_id
        views.append(
            {
                "id": named(order_id),
                "side": side.name.lower(),
                "price": number(format_ticks(price_ticks, rules.tick_size_e18)),
                "quantity": number(format_lots(lots, rules.lot_size_e18)),
                "timestamp": order.created_at_us // 1000,
            }
        )
    return views
