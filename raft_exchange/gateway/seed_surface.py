"""The HTTP interface of the seed project "P2P Order Book", on the default market.

Shapes and words are that project's (`seed_shapes`), so that its page and its users' programs keep
working; what differs is what was wrong: a cancel reaches every node. Where there are no keys,
everybody is `anonymous` here.
"""

from __future__ import annotations

from aiohttp import web

from raft_exchange.decoding.errors import RETRY_AFTER_S, Problem
from raft_exchange.decoding.fields import decode_object
from raft_exchange.gateway.bodies import body_bytes
from raft_exchange.gateway.context import CONTEXT
from raft_exchange.gateway.reads import market_named, read_headers
from raft_exchange.gateway.refusals import detail_of
from raft_exchange.gateway.rendering import View, answer
from raft_exchange.gateway.seed_shapes import (
    STATE_TRADES,
    BadOrder,
    place_command,
    placed_view,
    seed_order,
    seed_trade,
    snapshot_view,
)
from raft_exchange.gateway.submission import Envelope, envelope_of, submit, write_headers
from raft_exchange.matching.limits import INT64_MAX
from raft_exchange.matching.messages import ANONYMOUS, CancelOrder, CommandRefused, OrderEnded


async def get_state(request: web.Request) -> web.Response:
    """Answer with the book, best first, and the last trades, oldest first."""
    context = request.app[CONTEXT]
    market = await market_named(context, context.settings.default_market)
    trades = [seed_trade(trade, market.rules) for trade in market.trades.newest(STATE_TRADES)]
    body: View = snapshot_view(context, market) | {
        "peerId": context.settings.node,
        "sequence": context.marketdata.sequence,
        "trades": trades[::-1],
    }
    return answer(body, headers=read_headers(context))


async def post_order(request: web.Request) -> web.Response:
    """Place an order. 200 with its trades, or 400 `{ok: false, error}`."""
    context = request.app[CONTEXT]
    try:
        envelope = _envelope(request)
        market = await market_named(context, context.settings.default_market)
        body = decode_object(await body_bytes(request))
        command = place_command(body, market.rules, account=envelope.account)
        result = await submit(context, envelope, command)
        refused = result.events[0]
        if isinstance(refused, CommandRefused):
            raise BadOrder(detail_of(refused))
    except BadOrder as error:
        return answer({"ok": False, "error": str(error)}, status=400)
    except Problem as problem:
        return _failed(problem, {"ok": False})
    return answer(placed_view(result, market.rules), headers=write_headers(result))


async def delete_order(request: web.Request) -> web.Response:
    """Cancel an order, on every node. Always 200 where the cluster could decide."""
    context = request.app[CONTEXT]
    text = request.match_info["order_id"]
    known = text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) <= INT64_MAX
    nothing: View = {"ok": False, "cancelled": None}
    if not known:
        return answer(nothing)
    try:
        envelope = _envelope(request)
        command = CancelOrder(envelope.account, int(text), "")
        result = await submit(context, envelope, command)
    except Problem as problem:
        return _failed(problem, nothing)
    event = result.events[0]
    if not isinstance(event, OrderEnded):
        return answer(nothing, headers=write_headers(result))
    rules = context.marketdata.markets[event.order.market].rules
    body: View = {"ok": True, "cancelled": seed_order(event.order, rules)}
    return answer(body, headers=write_headers(result))


def _envelope(request: web.Request) -> Envelope:
    envelope = envelope_of(request)
    is_keyed = request.app[CONTEXT].settings.auth_required
    return envelope if is_keyed else envelope._replace(account=ANONYMOUS)


def _failed(problem: Problem, body: View) -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else None
    view = body | {"error": problem.detail, "code": problem.code.value}
    return answer(view, status=problem.status, headers=headers)
