"""Reading beyond memory: what the node's history file adds to the projection, and the file itself.

The projection knows the newest, the file everything up to a moment ago; where both know an order,
the projection is right. Pages keep the form and the cursors they have without history.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.times import format_time_us
from raft_exchange.gateway.access import principal_of
from raft_exchange.gateway.answers import HistoryAnswer, HistoryRow
from raft_exchange.gateway.bodies import bad_parameter, query_of, whole_number
from raft_exchange.gateway.context import CONTEXT, Context
from raft_exchange.gateway.rendering import answer, order_view, trade_view
from raft_exchange.history.backfill import (
    NONCE_BYTES,
    NONCE_HEADER,
    PAGE_TYPE,
    PROOF_HEADER,
    question_fields,
)
from raft_exchange.history.reader import HistoryBusy
from raft_exchange.history.rows import PAGE_ROWS_MAX, Page, Row
from raft_exchange.history.service import History
from raft_exchange.marketdata.trades import Trade
from raft_exchange.matching.limits import INT64_MAX
from raft_exchange.matching.messages import Order, Scope, TradeExecuted

_encode: Final = msgspec.msgpack.Encoder().encode


async def get_history(request: web.Request) -> web.Response:
    """Answer with the trades and finished orders of the sequences from `from_sequence` on.

    A member that proves the cluster's secret gets the rows as they are kept, proved in turn.
    """
    history = request.app[CONTEXT].history
    assert history is not None, "the route is there only with a history"
    query = query_of(request, ("from_sequence", "limit"))
    first = whole_number("from_sequence", query.get("from_sequence", "1"), lowest=1)
    limit = whole_number(
        "limit", query.get("limit", str(PAGE_ROWS_MAX)), lowest=1, highest=PAGE_ROWS_MAX
    )
    nonce = request.headers.get(NONCE_HEADER)
    if nonce is None and request.app[CONTEXT].settings.auth_required:
        principal_of(request).demand(Scope.ADMIN)  # it tells of everybody's orders
    if nonce is not None:
        _check_question(request, history, nonce, first=first, limit=limit)
    try:
        page = await history.reader.page(first, limit=limit)
    except HistoryBusy as error:
        raise _busy(error) from error
    if nonce is None:
        return answer(_page_view(request.app[CONTEXT], page))
    body = _encode(page)
    proof = history.prove("history page", nonce.encode(), body).hex()
    return web.Response(body=body, headers={"Content-Type": PAGE_TYPE, PROOF_HEADER: proof})


def _check_question(
    request: web.Request, history: History, nonce: str, *, first: int, limit: int
) -> None:
    if len(nonce) != 2 * NONCE_BYTES:
        raise bad_parameter(NONCE_HEADER, nonce, f"{2 * NONCE_BYTES} hexadecimal digits")
    given = request.headers.get(PROOF_HEADER, "")
    expected = history.prove("history question", *question_fields(nonce, first, limit)).hex()
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise bad_parameter(PROOF_HEADER, given, "the proof of a member of this cluster")


def _page_view(context: Context, page: Page) -> HistoryAnswer:
    return {
        "cluster_id": page.cluster_id,
        "from_sequence": page.first,
        "to_sequence": page.last,
        "rows": [_row_view(context, row) for row in page.rows],
    }


def _row_view(context: Context, row: Row) -> HistoryRow:
    event = row.event
    markets = context.marketdata.markets
    view: HistoryRow = {
        "sequence": row.sequence,
        "index": row.index,
        "time": format_time_us(row.time_us),
    }
    if isinstance(event, TradeExecuted):
        view["trade"] = trade_view(_trade(row, event), markets[event.market].rules)
    else:
        view["order"] = order_view(event.order, markets[event.order.market].rules)
    return view


def _trade(row: Row, event: TradeExecuted) -> Trade:
    return Trade(event, row.time_us, row.sequence)


async def older_trades(
    context: Context, market: str, *, before: int | None, limit: int
) -> list[Trade]:
    """Return trades that the projection has forgotten, newest first.

    Raises:
        Problem: `overloaded`.
    """
    if context.history is None or limit == 0 or (before is not None and before <= 1):
        return []
    try:
        rows = await context.history.reader.trades(market, before=before, limit=limit)
    except HistoryBusy as error:
        raise _busy(error) from error
    return [_trade(row, row.event) for row in rows if isinstance(row.event, TradeExecuted)]


async def older_order(context: Context, order_id: int, *, account: str) -> Order | None:
    """Return a finished order of the account that the projection has forgotten.

    Raises:
        Problem: `overloaded`.
    """
    found = await _finished(context, account, before=order_id + 1, down_to=order_id, limit=1)
    return found[0] if found else None


async def with_older_orders(
    context: Context,
    account: str,
    page: tuple[list[Order], int | None],
    *,
    before: int | None,
    limit: int,
    wanted: Callable[[Order], bool],
) -> tuple[list[Order], int | None]:
    """Return a page of the register with the forgotten orders of the same ids among its own.

    Args:
        context: of the node.
        account: whose orders.
        page: what the register gave for `before` and `limit`.
        before: where the page begins, exclusive.
        limit: how many orders it may hold.
        wanted: the filter that the register applied.

    Raises:
        Problem: `overloaded`.
    """
    known, cursor = page
    down_to = cursor or 0
    older = await _finished(context, account, before=before, down_to=down_to, limit=limit + 1)
    if len(older) > limit:
        down_to = older[-1].order_id
    register = context.marketdata.orders
    orders = [order for order in known if order.order_id >= down_to]
    orders += [o for o in older if register.get(o.order_id) is None and wanted(o)]
    orders.sort(key=lambda order: order.order_id, reverse=True)
    if len(orders) > limit:
        return orders[:limit], orders[limit - 1].order_id
    return orders, down_to or None


async def _finished(
    context: Context, account: str, *, before: int | None, down_to: int, limit: int
) -> list[Order]:
    if context.history is None or (before is not None and before > INT64_MAX):
        return []
    try:
        ended = await context.history.reader.orders(
            account, before=before, down_to=down_to, limit=limit
        )
    except HistoryBusy as error:
        raise _busy(error) from error
    return [event.order for event in ended]


def _busy(error: HistoryBusy) -> Problem:
    return Problem(ErrorCode.OVERLOADED, f"history cannot be read now: {error}")
