"""Writing many orders by one request."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import Json
from raft_exchange.decoding.order_schema import batch_items, batch_order
from raft_exchange.gateway import answers
from raft_exchange.gateway.bodies import BATCH_BYTES_MAX, json_object, query_of
from raft_exchange.gateway.context import CONTEXT, REQUEST_ID, Context
from raft_exchange.gateway.orders import order_result
from raft_exchange.gateway.rate_limits import Lane
from raft_exchange.gateway.reads import pass_barrier, rules_of
from raft_exchange.gateway.refusals import refusal
from raft_exchange.gateway.rendering import answer
from raft_exchange.gateway.submission import (
    Envelope,
    envelope_of,
    submit_batch,
    submit_signed_batch,
)
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.messages import CommandRefused, OrderAccepted, PlaceOrder
from raft_exchange.sequencer.outcome import Committed

_OF_THE_WHOLE: Final = frozenset(
    {
        *(ErrorCode.IDEMPOTENCY_MISMATCH, ErrorCode.BAD_SIGNATURE),
        *(ErrorCode.SIGNATURE_EXPIRED, ErrorCode.NONCE_REUSED),
    }
)
"""What is wrong with a batch, not with one of its orders."""
Shown = answers.PlacedAnswer | Problem | None


async def post_batch(request: web.Request) -> web.Response:
    """Place many orders, next to each other; each is accepted or refused alone."""
    envelope = envelope_of(request)
    query_of(request)
    body = await json_object(request, bytes_max=BATCH_BYTES_MAX)
    return await place_batch(request.app[CONTEXT], envelope, body, request_id=request[REQUEST_ID])


async def place_batch(
    context: Context, envelope: Envelope, body: Json, *, request_id: str
) -> web.Response:
    """Place the orders that `body` lists, however it came.

    Raises:
        Problem: nothing was placed, or nobody knows.
    """
    items = batch_items(body)
    context.limits.charge_rest(Lane.ORDERS, envelope.account, envelope.asker, count=len(items))
    if any(_names_unknown_market(context, item) for item in items):
        await pass_barrier(context)  # once for all: see `market_named`
    views: list[Shown] = []
    commands: list[tuple[int, PlaceOrder]] = []
    for index, item in enumerate(items):
        try:
            command = batch_order(item, rules_of(context), account=envelope.account)
            commands.append((index, command))
            views.append(None)  # until it is committed
        except Problem as problem:
            views.append(problem)
    results = await _submit_items(context, envelope, commands, len(items)) if commands else {}
    for index, result in results.items():
        local, view = views[index], _item_view(context, result, sent=_sent(items[index]))
        if isinstance(view, Problem) and view.code in _OF_THE_WHOLE:
            raise view
        views[index] = local if isinstance(local, Problem) and isinstance(view, Problem) else view
    return _batch_answer(context, views, list(results.values()), request_id=request_id)


async def _submit_items(
    context: Context, envelope: Envelope, commands: list[tuple[int, PlaceOrder]], count: int
) -> dict[int, Committed]:
    """Return the results of a batch by the place of their orders in it.

    A signed batch goes into the log whole, what is malformed in it included.
    """
    if envelope.signed is None:
        found = await submit_batch(context, envelope, commands)
        return dict(zip([index for index, _ in commands], found, strict=True))
    return dict(
        enumerate(await submit_signed_batch(context, envelope, envelope.signed, orders=count))
    )


def _item_view(
    context: Context, result: Committed, *, sent: Json
) -> answers.PlacedAnswer | Problem:
    first, markets = result.events[0], context.marketdata.markets
    if isinstance(first, CommandRefused):
        market = markets.get(str(sent.get("market")))
        return refusal(first, result, sent=sent, rules=None if market is None else market.rules)
    assert isinstance(first, OrderAccepted), first
    return order_result(result, markets[first.order.market].rules, sent=sent)


def _names_unknown_market(context: Context, item: object) -> bool:
    name = item.get("market") if isinstance(item, dict) else None
    return isinstance(name, str) and is_name(name) and name not in context.marketdata.markets


def _sent(item: object) -> Json:
    return item if isinstance(item, dict) else {}


def _batch_answer(
    context: Context, views: list[Shown], results: list[Committed], *, request_id: str
) -> web.Response:
    sequence = results[-1].sequence if results else context.marketdata.sequence
    headers = {"X-Sequence": str(sequence)}
    if results and all(result.replayed for result in results):
        headers["Idempotent-Replay"] = "true"
    shown: list[answers.BatchItem] = []
    for view in views:
        assert view is not None, "every command has a result"
        if isinstance(view, Problem):
            shown.append({"error": view.view(request_id)})
        else:
            order, trades = view["order"], view["trades"]
            shown.append({"order": order, "trades": trades, "sequence": view["sequence"]})
    body: answers.BatchAnswer = {"results": shown, "sequence": sequence}
    return answer(body, headers=headers)
