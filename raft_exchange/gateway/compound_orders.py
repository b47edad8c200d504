"""Writing orders in two parts: OCO, replace; and the dead-man switch."""

from __future__ import annotations

from aiohttp import web

from raft_exchange.decoding.fields import Json, known_fields
from raft_exchange.decoding.order_schema import (
    CANCEL_AFTER_FIELDS,
    ORDER_FIELDS,
    cancel_after,
    oco,
    oco_legs,
    place_order,
)
from raft_exchange.decoding.times import format_time_us
from raft_exchange.gateway.answers import (
    PairAnswer,
    RehearsedPairAnswer,
    ReplacedAnswer,
    SwitchAnswer,
)
from raft_exchange.gateway.bodies import json_object, query_of
from raft_exchange.gateway.context import CONTEXT
from raft_exchange.gateway.orders import (
    is_dry_run,
    order_id_of,
    order_outcome,
    own_order,
    rehearsed,
)
from raft_exchange.gateway.reads import market_named, read_headers, rules_of
from raft_exchange.gateway.refusals import refusal
from raft_exchange.gateway.rehearsal import rehearse_oco, rehearse_replace
from raft_exchange.gateway.rendering import (
    OrderView,
    TradeView,
    answer,
    order_view,
    trade_view,
)
from raft_exchange.gateway.submission import envelope_of, submit, write_headers
from raft_exchange.matching.messages import (
    CancelAfterSet,
    CommandRefused,
    MarketRules,
    OrderAccepted,
    OrderEnded,
    ReplaceOrder,
)
from raft_exchange.sequencer.outcome import Committed


async def post_oco(request: web.Request) -> web.Response:
    """Place a limit order and a stop of which one ends the other."""
    context = request.app[CONTEXT]
    envelope = envelope_of(request)
    dry_run = is_dry_run(request)
    body = await json_object(request)
    legs = oco_legs(body)
    for leg in legs.values():
        await market_named(context, leg.get("market"))
    command = oco(legs, rules_of(context), account=envelope.account)
    rules = context.marketdata.markets[command.limit.market].rules
    if dry_run:
        orders = rehearse_oco(command, context.marketdata, sent=body)
        views = [rehearsed(order, rules)["order"] for order in orders]
        rehearsal: RehearsedPairAnswer = {"orders": views, "trades": [], "sequence": None}
        return answer(rehearsal, headers=read_headers(context))
    result = await submit(context, envelope, command)
    placed, trades = _placed(result, rules, sent=body)
    placed.reverse()  # the stop was placed first; the answer names the limit order first
    view: PairAnswer = {"orders": placed, "trades": trades, "sequence": result.sequence}
    return answer(view, status=201, headers=write_headers(result))


def _placed(
    result: Committed, rules: MarketRules, *, sent: Json
) -> tuple[list[OrderView], list[TradeView]]:
    """Return the orders that a command accepted, as they stand at its end, and their trades."""
    first = result.events[0]
    if isinstance(first, CommandRefused):
        raise refusal(first, result, sent=sent, rules=rules)
    orders: list[OrderView] = []
    trades: list[TradeView] = []
    for event in result.events:
        if isinstance(event, OrderAccepted):
            order, own = order_outcome(result, event.order)
            orders.append(order_view(order, rules))
            trades += [trade_view(trade, rules) for trade in own]
    return orders, trades


async def post_replace(request: web.Request) -> web.Response:
    """End a live order and place another, as one step or not at all."""
    context = request.app[CONTEXT]
    order_id = order_id_of(request)
    envelope = envelope_of(request)
    dry_run = is_dry_run(request)
    body = await json_object(request)
    known_fields(body, ORDER_FIELDS)
    rules = (await market_named(context, body.get("market"))).rules
    order = place_order(body, rules, account=envelope.account)
    command = ReplaceOrder(envelope.account, order_id, order)
    sent = {**body, "order_id": str(order_id)}
    if dry_run:
        await own_order(context, order_id, account=envelope.account)  # this node may be behind
        expected = rehearse_replace(command, context.marketdata, sent=sent)
        return answer(rehearsed(expected, rules), headers=read_headers(context))
    result = await submit(context, envelope, command)
    (placed,), trades = _placed(result, rules, sent=sent)
    ended = result.events[0]
    assert isinstance(ended, OrderEnded), ended
    old_rules = context.marketdata.markets[ended.order.market].rules
    view: ReplacedAnswer = {
        "order": placed,
        "replaced": order_view(ended.order, old_rules),
        "trades": trades,
        "sequence": result.sequence,
    }
    return answer(view, status=201, headers=write_headers(result))


async def post_cancel_after(request: web.Request) -> web.Response:
    """Arm the dead-man switch, arm it anew, or disarm it (0 seconds)."""
    context = request.app[CONTEXT]
    query_of(request)
    envelope = envelope_of(request)
    body = await json_object(request)
    known_fields(body, CANCEL_AFTER_FIELDS)
    result = await submit(context, envelope, cancel_after(body, account=envelope.account))
    event = result.events[0]
    if isinstance(event, CommandRefused):
        raise refusal(event, result, sent=body)
    assert isinstance(event, CancelAfterSet), event
    at = format_time_us(event.cancel_at_us) if event.cancel_at_us else None
    view: SwitchAnswer = {"account": event.account, "cancel_at": at, "sequence": result.sequence}
    return answer(view, headers=write_headers(result))
