"""Orders, trades and books in the words of the seed project "P2P Order Book".

Its HTTP interface (`seed_surface`) and its Grenache service speak of the same things. Answers only
add names to the seed's (`order_id`, `order`, `orderId`). What differs is what was wrong: books are
sorted, a malformed number is refused, an id means the same order everywhere. Numbers are JSON
numbers, written from exact decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raft_exchange.decoding.decimals import (
    NotANumber,
    OffGrid,
    format_lots,
    format_ticks,
    parse_steps,
)
from raft_exchange.decoding.fields import Json
from raft_exchange.decoding.order_schema import price_range, quantity_range
from raft_exchange.gateway.context import Context
from raft_exchange.gateway.rendering import View, order_view
from raft_exchange.marketdata.trades import Trade
from raft_exchange.marketdata.view import Market
from raft_exchange.matching.limits import PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from raft_exchange.matching.messages import (
    ANONYMOUS,
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
    OrderStatus.REJECTED: "cancelled",
    OrderStatus.PENDING: "open",
    OrderStatus.TRIGGERED: "open",
}
"""The seed's words; it had none for an order that ended with something left."""

Named = Callable[[int], str]
"""How an order is called where only its number is known."""


class BadOrder(Exception):
    """An order this surface refuses; the text is the answer's `error`."""


def place_command(
    body: Json, rules: MarketRules, *, account: str = ANONYMOUS, label: str = ""
) -> PlaceOrder:
    """Return the command for an order in the seed's words; names it did not know are ignored.

    Raises:
        BadOrder: in the seed's words.
    """
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
        account,
        rules.market,
        SIDES[side],
        TYPES[type_],
        TimeInForce.GTC if is_limit else TimeInForce.IOC,
        price_ticks,
        quantity_lots,
        0,
        False,
        SelfTradePrevention.NONE,
        label,
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


def placed_view(result: Committed, rules: MarketRules, *, named: Named = str) -> View:
    """Return the answer to an order that was not refused."""
    first = result.events[0]
    assert isinstance(first, OrderAccepted), first
    order = first.order
    remainder: Order | None = None
    trades: list[View] = []
    for event in result.events[1:]:
        if isinstance(event, TradeExecuted) and event.taker_order_id == order.order_id:
            trades.append(
                seed_trade(Trade(event, result.time_us, result.sequence), rules, named=named)
            )
        elif isinstance(event, OrderRested) and event.order.order_id == order.order_id:
            order = remainder = event.order
        elif isinstance(event, OrderEnded) and event.order.order_id == order.order_id:
            order = event.order
    status = STATUSES[order.status]
    if order.status is OrderStatus.EXPIRED and order.filled_lots:
        status = "partially_filled"
    return {
        "ok": True,
        "trades": trades,
        "remainder": None if remainder is None else seed_order(remainder, rules, named=named),
        "status": status,
        "orderId": str(order.order_id),
        "order": order_view(order, rules),
        "sequence": result.sequence,
    }


def snapshot_view(context: Context, market: Market, *, named: Named = str) -> View:
    """Return the book, best first."""
    bids, asks = (
        [seed_order(order, market.rules, named=named) for order in orders]
        for orders in (resting_orders(context, market, side) for side in Side)
    )
    return snapshot_summary(context, market, bids, asks)


def snapshot_summary(
    context: Context, market: Market, bids: Sequence[object], asks: Sequence[object]
) -> View:
    """Return the book of these orders, best first, and what follows from it."""
    rules = market.rules
    best = [market.depth.levels(side, 1) for side in (Side.BUY, Side.SELL)]
    spread = (
        number(format_ticks(best[1][0][0] - best[0][0][0], rules.tick_size_e18))
        if all(best)
        else None
    )
    return {
        "pair": rules.market,
        "timestamp": context.marketdata.time_us // 1000,
        "bids": bids,
        "asks": asks,
        "bestBid": bids[0] if bids else None,
        "bestAsk": asks[0] if asks else None,
        "spread": spread,
    }


def resting_orders(context: Context, market: Market, side: Side) -> list[Order]:
    """Return the orders of one side that a book shows, best first."""
    found = []
    for _, _, order_id in market.depth.queue(side, STATE_ORDERS_MAX):
        order = context.marketdata.orders.live(order_id)
        assert order is not None, order_id
        found.append(order)
    return found


def seed_order(order: Order, rules: MarketRules, *, named: Named = str) -> View:
    """Return an order; `quantity` is what is left of it, of a resting iceberg what it shows."""
    remaining = order.shown_lots or order.quantity_lots - order.filled_lots
    price = format_ticks(order.price_ticks, rules.tick_size_e18)
    return {
        "id": named(order.order_id),
        "order_id": str(order.order_id),
        "side": order.side.name.lower(),
        "type": order.type.name.lower(),
        "price": number(price) if order.price_ticks else None,
        "quantity": number(format_lots(remaining, rules.lot_size_e18)),
        "peerId": order.account,
        "timestamp": order.created_at_us // 1000,
        "status": STATUSES[order.status],
    }


def seed_trade(trade: Trade, rules: MarketRules, *, named: Named = str) -> View:
    """Return a trade."""
    executed = trade.executed
    taker = (named(executed.taker_order_id), executed.taker_account)
    maker = (named(executed.maker_order_id), executed.maker_account)
    buyer, seller = (taker, maker) if executed.taker_side is Side.BUY else (maker, taker)
    return {
        "id": str(executed.trade_id),
        "pair": executed.market,
        "price": number(format_ticks(executed.price_ticks, rules.tick_size_e18)),
        "quantity": number(format_lots(executed.quantity_lots, rules.lot_size_e18)),
        "buyOrderId": buyer[0],
        "sellOrderId": seller[0],
        "buyPeerId": buyer[1],
        "sellPeerId": seller[1],
        "timestamp": trade.time_us // 1000,
    }


def number(decimal: str) -> msgspec.Raw:
    """Return a decimal as a JSON number of the same digits."""
    return msgspec.Raw(decimal.encode("ascii"))
