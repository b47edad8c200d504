"""Our own Grenache service, `raft_exchange:<cluster>`: trading and market data for any client.

A payload is `{"op": …}` and the op's fields; results and problems are those of the HTTP interface.

| op | fields | result |
|---|---|---|
| `place` | `order`, `idempotency_key` | as `POST /v1/orders` |
| `amend` | `order_id`, `order` (the changes), `idempotency_key` | as `PATCH /v1/orders/{id}` |
| `cancel` | `order_id` or `client_order_id`; `idempotency_key` | as `DELETE /v1/orders/{id}` |
| `book` | `market`, `depth` | as `GET /v1/markets/{market}/book` |
| `best_price` | `market` | `{market, sequence, bid, ask}`: `{price, quantity}` or null |
| `trades` | `market`, `limit` | as `GET /v1/markets/{market}/trades` |
| `status` | | `{cluster, node, role, leader, term, sequence, markets}` |

`place` must have a key, because a client may send it to every node; `market` may be left out for
the default one. `account` says who writes (open mode), as the header `X-Account` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from raft_exchange.gateway.bodies import whole_number
from raft_exchange.gateway.context import Context
from raft_exchange.gateway.errors import ErrorCode, Problem
from raft_exchange.gateway.fields import (
    NAME_FORM,
    Json,
    bad_field,
    known_fields,
    label,
    required_choice,
)
from raft_exchange.gateway.markets import BOOK_DEPTH_MAX, TRADES_MAX, book_view
from raft_exchange.gateway.orders import order_result, own_order
from raft_exchange.gateway.reads import market_named
from raft_exchange.gateway.refusals import refusal
from raft_exchange.gateway.rendering import View, format_lots, format_ticks, order_view, trade_view
from raft_exchange.gateway.schema import AMEND_FIELDS, ORDER_FIELDS, amend_order, place_order
from raft_exchange.gateway.submission import Envelope, submit
from raft_exchange.marketdata.view import Market
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.limits import (
    CLIENT_ORDER_ID_BYTES_MAX,
    IDEMPOTENCY_KEY_BYTES_MAX,
    INT64_MAX,
)
from raft_exchange.matching.messages import (
    ANONYMOUS,
    CancelOrder,
    CommandRefused,
    OrderEnded,
    Side,
)

BOOK_DEPTH: Final = 50
TRADES: Final = 100
WRITE_FIELDS: Final = ("op", "account", "idempotency_key")


async def exchange_service(context: Context, payload: object) -> object:
    """Answer one call."""
    if not isinstance(payload, dict):
        raise Problem(ErrorCode.BAD_JSON, "the payload must be an object", allowed='{"op": …}')
    return await required_choice(payload, "op", OPS)(context, payload)


async def _place(context: Context, payload: Json) -> View:
    known_fields(payload, (*WRITE_FIELDS, "order"))
    envelope = _envelope(payload)
    if not envelope.idempotency_key:
        allowed = "a key of your own for each order: it makes one order of all its copies"
        raise bad_field(payload, "idempotency_key", allowed)
    order = _order(payload)
    known_fields(order, ORDER_FIELDS)
    rules = (await _market(context, order)).rules
    command = place_order(order, rules, account=envelope.account)
    return order_result(await submit(context, envelope, command), rules, sent=order)


async def _amend(context: Context, payload: Json) -> View:
    known_fields(payload, (*WRITE_FIELDS, "order", "order_id"))
    envelope, order_id = _envelope(payload), _order_id(payload)
    changes = _order(payload)
    known_fields(changes, AMEND_FIELDS)
    order = await own_order(context, order_id, account=envelope.account)
    if order is None:
        raise Problem(
            ErrorCode.UNKNOWN_ORDER,
            "the account has no such order",
            field="order_id",
            value=str(order_id),
        )
    rules = context.marketdata.markets[order.market].rules
    command = amend_order(changes, rules, account=envelope.account, order_id=order_id)
    result = await submit(context, envelope, command)
    return order_result(result, rules, sent={**changes, "order_id": str(order_id)})


async def _cancel(context: Context, payload: Json) -> View:
    known_fields(payload, (*WRITE_FIELDS, "order_id", "client_order_id"))
    envelope = _envelope(payload)
    name = label(payload, "client_order_id", CLIENT_ORDER_ID_BYTES_MAX)
    command = CancelOrder(envelope.account, 0 if name else _order_id(payload), name)
    result = await submit(context, envelope, command)
    event = result.events[0]
    if isinstance(event, CommandRefused):
        raise refusal(event, result, sent=payload)
    assert isinstance(event, OrderEnded), event
    rules = context.marketdata.markets[event.order.market].rules
    return {"order": order_view(event.order, rules), "sequence": result.sequence}


async def _book(context: Context, payload: Json) -> View:
    known_fields(payload, ("op", "market", "depth"))
    depth = _bounded(payload, "depth", default=BOOK_DEPTH, highest=BOOK_DEPTH_MAX)
    return book_view(context, await _market(context, payload), depth=depth, by_order=False)


async def _best_price(context: Context, payload: Json) -> View:
    known_fields(payload, ("op", "market"))
    market = await _market(context, payload)
    return {
        "market": market.rules.market,
        "sequence": context.marketdata.sequence,
        "bid": _best(market, Side.BUY),
        "ask": _best(market, Side.SELL),
    }


def _best(market: Market, side: Side) -> View | None:
    for ticks, lots, _ in market.depth.levels(side, 1):
        return {
            "price": format_ticks(ticks, market.rules.tick_size_e18),
            "quantity": format_lots(lots, market.rules.lot_size_e18),
        }
    return None


async def _trades(context: Context, payload: Json) -> View:
    known_fields(payload, ("op", "market", "limit"))
    limit = _bounded(payload, "limit", default=TRADES, highest=TRADES_MAX)
    market = await _market(context, payload)
    views = [trade_view(trade, market.rules) for trade in market.trades.newest(limit)]
    return {"trades": views, "sequence": context.marketdata.sequence}


async def _status(context: Context, payload: Json) -> View:
    known_fields(payload, ("op",))
    status = context.core.status()
    return {
        "cluster": status.cluster,
        "node": status.node,
        "role": status.role,
        "leader": status.leader or None,
        "term": status.term,
        "sequence": context.marketdata.sequence,
        "markets": list(context.marketdata.markets),
    }


OPS: Final[dict[str, Callable[[Context, Json], Awaitable[View]]]] = {
    "place": _place,
    "amend": _amend,
    "cancel": _cancel,
    "book": _book,
    "best_price": _best_price,
    "trades": _trades,
    "status": _status,
}


def _envelope(payload: Json) -> Envelope:
    """Return who writes, and under which key.

    Raises:
        Problem: `bad_field`.
    """
    account = payload.get("account", ANONYMOUS)
    if not isinstance(account, str) or not is_name(account):
        raise bad_field(payload, "account", NAME_FORM)
    return Envelope(account, label(payload, "idempotency_key", IDEMPOTENCY_KEY_BYTES_MAX), 0)


def _order(payload: Json) -> Json:
    order = payload.get("order")
    if not isinstance(order, dict):
        raise bad_field(payload, "order", "an object, as the HTTP interface takes it")
    return order


def _order_id(payload: Json) -> int:
    value = payload.get("order_id")
    if not isinstance(value, str):
        raise bad_field(payload, "order_id", "the order's number, or client_order_id instead")
    return whole_number("order_id", value, lowest=1, highest=INT64_MAX)


async def _market(context: Context, named: Json) -> Market:
    return await market_named(context, named.get("market") or context.settings.default_market)


def _bounded(payload: Json, field: str, *, default: int, highest: int) -> int:
    value = payload.get(field, str(default))
    return whole_number(field, value if isinstance(value, str) else "", lowest=1, highest=highest)
