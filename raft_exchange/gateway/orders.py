"""Writing orders: place, amend, cancel."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import Json, is_label, known_fields
from raft_exchange.decoding.order_schema import (
    AMEND_FIELDS,
    ORDER_FIELDS,
    SIDES,
    amend_order,
    place_order,
)
from raft_exchange.gateway import answers
from raft_exchange.gateway.bodies import (
    bad_parameter,
    json_object,
    query_of,
    whole_number,
)
from raft_exchange.gateway.context import CONTEXT, Context
from raft_exchange.gateway.reads import (
    market_named,
    pass_barrier,
    read_headers,
)
from raft_exchange.gateway.refusals import DETAILS, refusal
from raft_exchange.gateway.rehearsal import rehearse_amend, rehearse_place
from raft_exchange.gateway.rendering import answer, order_view, trade_view
from raft_exchange.gateway.submission import (
    Envelope,
    envelope_of,
    submit,
    write_headers,
)
from raft_exchange.marketdata.orders import filled_further
from raft_exchange.marketdata.trades import Trade
from raft_exchange.matching.limits import CLIENT_ORDER_ID_BYTES_MAX, INT64_MAX
from raft_exchange.matching.messages import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    CommandRefused,
    MarketRules,
    Order,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderReduced,
    OrderReplenished,
    OrderRested,
    RejectCode,
    StopElected,
    StopPlaced,
    TradeExecuted,
)
from raft_exchange.sequencer.idempotency import fingerprint
from raft_exchange.sequencer.outcome import Committed

_VIEWS: Final = (
    *(OrderAccepted, OrderAmended, OrderRested, OrderEnded, OrderReduced, OrderReplenished),
    *(StopPlaced, StopElected),
)


async def post_order(request: web.Request) -> web.Response:
    """Place one order."""
    envelope = envelope_of(request)
    dry_run = is_dry_run(request)
    body = await json_object(request)
    return await place(request.app[CONTEXT], envelope, body, dry_run=dry_run)


async def place(
    context: Context, envelope: Envelope, body: Json, *, dry_run: bool = False
) -> web.Response:
    """Place the order that `body` describes, however it came.

    Raises:
        Problem: nothing was placed, or nobody knows.
    """
    known_fields(body, ORDER_FIELDS)
    rules = (await market_named(context, body.get("market"))).rules
    command = place_order(body, rules, account=envelope.account)
    if dry_run:
        order = rehearse_place(command, context.marketdata, sent=body)
        return answer(rehearsed(order, rules), headers=read_headers(context))
    result = await submit(context, envelope, command)
    return answer(order_result(result, rules, sent=body), status=201, headers=write_headers(result))


async def patch_order(request: web.Request) -> web.Response:
    """Change price, stop price or total quantity of a live order, or several of them."""
    order_id = order_id_of(request)
    envelope = envelope_of(request)
    dry_run = is_dry_run(request)
    body = await json_object(request)
    return await amend(request.app[CONTEXT], envelope, body, order_id=order_id, dry_run=dry_run)


async def amend(
    context: Context, envelope: Envelope, body: Json, *, order_id: int, dry_run: bool = False
) -> web.Response:
    """Change a live order as `body` says, however it came.

    Raises:
        Problem: nothing was changed, or nobody knows.
    """
    known_fields(body, AMEND_FIELDS)
    order = await own_order(context, order_id, account=envelope.account)
    if order is not None:
        rules = context.marketdata.markets[order.market].rules
        command = amend_order(body, rules, account=envelope.account, order_id=order_id)
        if dry_run:
            amended = rehearse_amend(command, order, context.marketdata, sent=body)
            return answer(rehearsed(amended, rules), headers=read_headers(context))
    elif envelope.idempotency_key and not dry_run:
        command, rules = _amend_again(context, envelope, body, order_id=order_id)
    else:
        raise _not_amendable(context, order_id)
    result = await submit(context, envelope, command)
    first = result.events[0]
    if isinstance(first, OrderAmended | OrderEnded):
        rules = context.marketdata.markets[first.order.market].rules
    return answer(
        order_result(result, rules, sent={**body, "order_id": str(order_id)}),
        headers=write_headers(result),
    )


def _amend_again(
    context: Context, envelope: Envelope, body: Json, *, order_id: int
) -> tuple[AmendOrder, MarketRules]:
    """Return the amend that was first sent under a key, and its grid, from a body sent again.

    The projection may have forgotten an order that the window of keys still has an answer about.
    On which grid the body's numbers are, only that first command can tell: of the commands that
    the body is on the grids there are, it is the one with the same fingerprint.

    Raises:
        Problem: nothing was sent under the key, or something else.
    """
    stored = context.core.stored(envelope.account, envelope.idempotency_key)
    if stored is None:
        raise _not_amendable(context, order_id)
    markets = context.marketdata.markets.values()
    grids = {(m.rules.tick_size_e18, m.rules.lot_size_e18): m.rules for m in markets}
    for rules in grids.values():
        try:
            command = amend_order(body, rules, account=envelope.account, order_id=order_id)
        except Problem:  # not on this grid
            continue
        if fingerprint(command, 0) == stored.fingerprint:
            return command, rules
    raise Problem(
        ErrorCode.IDEMPOTENCY_MISMATCH,
        DETAILS[RejectCode.IDEMPOTENCY_MISMATCH],
        field="Idempotency-Key",
        sequence=context.marketdata.sequence,
    )


async def delete_order(request: web.Request) -> web.Response:
    """Cancel one live order by its id."""
    query_of(request)
    return await cancel(request.app[CONTEXT], envelope_of(request), order_id_of(request), "")


async def delete_by_client_id(request: web.Request) -> web.Response:
    """Cancel one live order by the label its owner gave it."""
    query_of(request)
    label = request.match_info["client_order_id"]
    if not is_label(label, CLIENT_ORDER_ID_BYTES_MAX):
        allowed = f"1 to {CLIENT_ORDER_ID_BYTES_MAX} printable ASCII characters"
        raise bad_parameter("client_order_id", label, allowed)
    return await cancel(request.app[CONTEXT], envelope_of(request), 0, label)


async def cancel(context: Context, envelope: Envelope, order_id: int, label: str) -> web.Response:
    """Cancel a live order by its id, or by its label where the id is 0.

    Raises:
        Problem: nothing was canceled, or nobody knows.
    """
    result = await submit(context, envelope, CancelOrder(envelope.account, order_id, label))
    event = result.events[0]
    if isinstance(event, CommandRefused):
        sent = {"order_id": str(order_id), "client_order_id": label}
        raise refusal(event, result, sent=sent)
    assert isinstance(event, OrderEnded), event
    rules = context.marketdata.markets[event.order.market].rules
    body: answers.OrderAnswer = {
        "order": order_view(event.order, rules),
        "sequence": result.sequence,
    }
    return answer(body, headers=write_headers(result))


async def delete_orders(request: web.Request) -> web.Response:
    """Cancel all live orders of the account, of one market and side if asked."""
    context = request.app[CONTEXT]
    query = query_of(request, ("market", "side"))
    envelope = envelope_of(request)
    name, side = query.get("market"), query.get("side")
    if side is not None and side not in SIDES:
        raise bad_parameter("side", side, list(SIDES))
    if name is not None:
        await market_named(context, name)
    command = CancelAll(envelope.account, name, None if side is None else SIDES[side])
    result = await submit(context, envelope, command)
    canceled = []
    for event in result.events:
        if isinstance(event, CommandRefused):
            raise refusal(event, result, sent=query)
        if isinstance(event, OrderEnded):
            rules = context.marketdata.markets[event.order.market].rules
            canceled.append(order_view(event.order, rules))
    body: answers.CanceledAnswer = {"canceled": canceled, "sequence": result.sequence}
    return answer(body, headers=write_headers(result))


def order_id_of(request: web.Request) -> int:
    """Return the order id in the path.

    Raises:
        Problem: `bad_field`.
    """
    return whole_number("order_id", request.match_info["order_id"], lowest=1, highest=INT64_MAX)


async def own_order(context: Context, order_id: int, *, account: str) -> Order | None:
    """Return an order of `account`, live or kept; somebody else's is as unknown as none.

    Raises:
        Problem: this node cannot catch up.
    """
    orders = context.marketdata.orders
    if order_id > orders.last_id:  # maybe placed through another node: see `market_named`
        await pass_barrier(context)
    order = orders.get(order_id)
    return order if order is not None and order.account == account else None


def _not_amendable(context: Context, order_id: int) -> Problem:
    orders = context.marketdata.orders
    if orders.get(order_id) is None and order_id <= orders.last_id:
        code, detail = ErrorCode.NOT_OPEN, "the order ended long ago"
    else:
        code, detail = ErrorCode.UNKNOWN_ORDER, "the account has no such order"
    sequence = context.marketdata.sequence
    return Problem(code, detail, field="order_id", value=str(order_id), sequence=sequence)


def order_result(result: Committed, rules: MarketRules, *, sent: Json) -> answers.PlacedAnswer:
    """Return the answer to a place or an amend, from the events of the command alone.

    Raises:
        Problem: the command was refused.
    """
    first = result.events[0]
    if isinstance(first, CommandRefused):
        raise refusal(first, result, sent=sent, rules=rules)
    assert isinstance(first, OrderAccepted | OrderAmended | OrderEnded), first
    order, trades = order_outcome(result, first.order)
    shown = [trade_view(trade, rules) for trade in trades]
    return {"order": order_view(order, rules), "trades": shown, "sequence": result.sequence}


def order_outcome(result: Committed, order: Order) -> tuple[Order, list[Trade]]:
    """Return how an order stands at the end of its command, and its own trades.

    What stops made of it that it elected counts: it may have rested and traded as a maker.
    """
    trades = []
    for event in result.events:
        if isinstance(event, TradeExecuted):
            if order.order_id in (event.maker_order_id, event.taker_order_id):
                trades.append(Trade(event, result.time_us, result.sequence))
            if order.order_id == event.maker_order_id:
                order = filled_further(
                    order, event, time_us=result.time_us, sequence=result.sequence
                )
        elif isinstance(event, _VIEWS) and event.order.order_id == order.order_id:
            order = event.order
    return order, trades


def rehearsed(order: Order, rules: MarketRules) -> answers.RehearsedAnswer:
    """Return the answer to a dry run: what only sequencing can give is null."""
    view: answers.RehearsedOrderView = {**order_view(order, rules)}
    if not order.order_id:
        view["order_id"] = view["created_at"] = view["updated_at"] = view["sequence"] = None
    return {"order": view, "trades": [], "sequence": None}


def is_dry_run(request: web.Request) -> bool:
    """Say whether the command is only to be checked.

    Raises:
        Problem: `bad_field`.
    """
    text = query_of(request, ("dry_run",)).get("dry_run", "false")
    if text not in ("true", "false"):
        raise bad_parameter("dry_run", text, ["true", "false"])
    return text == "true"
