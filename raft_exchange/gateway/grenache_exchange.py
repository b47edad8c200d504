"""Our own Grenache service, `raft_exchange:<cluster>`: trading and market data for any client.

A payload is `{"op": …}` and the op's fields; results and problems are those of the HTTP interface.

| op | fields | result |
|---|---|---|
| `place`, `amend`, `cancel`, `batch` | as on the WebSocket, and `account` | as there |
| `book` | `market`, `depth` | as `GET /v1/markets/{market}/book` |
| `best_price` | `market` | `{market, sequence, bid, ask}`: `{price, quantity}` or null |
| `trades` | `market`, `limit` | as `GET /v1/markets/{market}/trades` |
| `status` | | `{cluster, node, role, leader, term, sequence, markets}` |

An order must have an `idempotency_key`, because a client may send it to every node. `market` may be
left out for the default one. `account` says who writes where there are no keys, as the header
`X-Account` does; where there are, `auth` shows one: `{"key": …}`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from raft_exchange.decoding.decimals import format_lots, format_ticks
from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import (
    NAME_FORM,
    Json,
    bad_field,
    known_fields,
    required_choice,
)
from raft_exchange.gateway.access import Principal, open_principal
from raft_exchange.gateway.answers import BookAnswer
from raft_exchange.gateway.bodies import whole_number
from raft_exchange.gateway.context import Context, RequestIds
from raft_exchange.gateway.markets import BOOK_DEPTH_MAX, TRADES_MAX, book_view
from raft_exchange.gateway.reads import market_named
from raft_exchange.gateway.rendering import View, trade_view
from raft_exchange.gateway.websocket_orders import ORDER_OPS, run_order_op
from raft_exchange.marketdata.view import Market
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.messages import (
    ANONYMOUS,
    Side,
)

BOOK_DEPTH: Final = 50
TRADES: Final = 100

_request_ids: Final = RequestIds()

Operation = Callable[[Context, Json], Awaitable[object]]


async def exchange_service(context: Context, who: Principal, payload: object) -> object:
    """Answer one call."""
    if not isinstance(payload, dict):
        raise Problem(ErrorCode.BAD_JSON, "the payload must be an object", allowed='{"op": …}')
    operations: dict[str, Operation] = {
        **dict.fromkeys(ORDER_OPS, functools.partial(_write, who)),
        **OPS,
    }
    return await required_choice(payload, "op", operations)(context, payload)


async def _write(who: Principal, context: Context, payload: Json) -> msgspec.Raw:
    """Do what the same frame does on a WebSocket, for who asks."""
    frame = payload
    if not context.settings.auth_required:
        frame = {name: value for name, value in payload.items() if name != "account"}
        account = payload.get("account", ANONYMOUS)
        if not isinstance(account, str) or not is_name(account):
            raise bad_field(payload, "account", NAME_FORM)
        who = open_principal(account)
    order = frame.get("order")
    if frame["op"] == "place" and isinstance(order, dict):
        with_market = {"market": context.settings.default_market} | order
        frame = {**frame, "order": with_market}
    if frame["op"] in ("place", "batch") and not frame.get("idempotency_key"):
        allowed = "a key of your own for each order: it makes one order of all its copies"
        raise bad_field(payload, "idempotency_key", allowed)
    answer = await run_order_op(
        context, frame, principal=who, size_bytes=0, request_id=_request_ids.next()
    )
    assert isinstance(answer.body, bytes), "what it gives is whole"
    return msgspec.Raw(answer.body)


async def _book(context: Context, payload: Json) -> BookAnswer:
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


OPS: Final[dict[str, Operation]] = {
    "book": _book,
    "best_price": _best_price,
    "trades": _trades,
    "status": _status,
}


async def _market(context: Context, named: Json) -> Market:
    return await market_named(context, named.get("market") or context.settings.default_market)


def _bounded(payload: Json, field: str, *, default: int, highest: int) -> int:
    value = payload.get(field, str(default))
    return whole_number(field, value if isinstance(value, str) else "", lowest=1, highest=highest)
