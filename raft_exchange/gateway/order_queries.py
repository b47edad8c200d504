"""Reading one's own orders: one by id, or pages of them, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import is_label
from raft_exchange.gateway.access import account_of
from raft_exchange.gateway.answers import OrderAnswer, OrdersPage
from raft_exchange.gateway.bodies import bad_parameter, query_of, whole_number
from raft_exchange.gateway.context import CONTEXT
from raft_exchange.gateway.orders import order_id_of, own_order
from raft_exchange.gateway.past import older_order, with_older_orders
from raft_exchange.gateway.reads import FRESHNESS, freshen, market_named, read_headers
from raft_exchange.gateway.rendering import answer, order_view
from raft_exchange.matching.limits import CLIENT_ORDER_ID_BYTES_MAX
from raft_exchange.matching.messages import FINAL_STATUSES, Order, OrderStatus

PAGE_ORDERS: Final = 100
PAGE_ORDERS_MAX: Final = 1_000
STATUSES: Final = {status.name.lower(): status for status in OrderStatus}


async def get_order(request: web.Request) -> web.Response:
    """Answer with one order of the account."""
    context = request.app[CONTEXT]
    order_id = order_id_of(request)
    await freshen(context, query_of(request, FRESHNESS))
    account = account_of(request)
    order = await own_order(context, order_id, account=account)
    if order is None:
        order = await older_order(context, order_id, account=account)
    marketdata = context.marketdata
    if order is None:
        raise Problem(
            ErrorCode.UNKNOWN_ORDER,
            "the account has no such order, or it ended too long ago",
            field="order_id",
            value=str(order_id),
            sequence=marketdata.sequence,
        )
    view = order_view(order, marketdata.markets[order.market].rules)
    body: OrderAnswer = {"order": view, "sequence": marketdata.sequence}
    return answer(body, headers=read_headers(context))


async def get_orders(request: web.Request) -> web.Response:
    """Answer with a page of the account's orders and the cursor of the next one."""
    context = request.app[CONTEXT]
    filters = ("market", "status", "client_order_id", "limit", "cursor")
    query = query_of(request, (*filters, *FRESHNESS))
    account = account_of(request)
    limit = whole_number(
        "limit", query.get("limit", str(PAGE_ORDERS)), lowest=1, highest=PAGE_ORDERS_MAX
    )
    before = whole_number("cursor", query["cursor"]) if "cursor" in query else None
    statuses, label = _statuses(query), _label(query)
    await freshen(context, query)
    market = (
        (await market_named(context, query["market"])).rules.market if "market" in query else None
    )
    marketdata = context.marketdata
    page = marketdata.orders.page(
        account,
        limit=limit,
        before=before,
        market=market,
        statuses=statuses,
        client_order_id=label,
    )

    def wanted(order: Order) -> bool:
        return (
            (market is None or order.market == market)
            and (statuses is None or order.status in statuses)
            and (label is None or order.client_order_id == label)
        )

    orders, cursor = page
    if statuses is None or statuses & FINAL_STATUSES:
        orders, cursor = await with_older_orders(
            context, account, page, before=before, limit=limit, wanted=wanted
        )
    views = [order_view(order, marketdata.markets[order.market].rules) for order in orders]
    body: OrdersPage = {
        "orders": views,
        "cursor": None if cursor is None else str(cursor),
        "sequence": marketdata.sequence,
    }
    return answer(body, headers=read_headers(context))


def _statuses(query: Mapping[str, str]) -> set[OrderStatus] | None:
    text = query.get("status")
    if text is None:
        return None
    names = text.split(",")
    if not all(name in STATUSES for name in names):
        raise bad_parameter("status", text, list(STATUSES))
    return {STATUSES[name] for name in names}


def _label(query: Mapping[str, str]) -> str | None:
    label = query.get("client_order_id")
    if label is not None and not is_label(label, CLIENT_ORDER_ID_BYTES_MAX):
        allowed = f"1 to {CLIENT_ORDER_ID_BYTES_MAX} printable ASCII characters"
        raise bad_parameter("client_order_id", label, allowed)
    return label
