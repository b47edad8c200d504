"""Order entry over a WebSocket: one frame is one request, its answer is what HTTP would say.

`{"op": "place", "id": …, "order": {…}, "idempotency_key": …, "deadline": …}`; `amend` and `cancel`
name their order inside `order` (`order_id`, for a cancel alternatively `client_order_id`); `batch`
has `orders`. The answer is `{"id", "status", "result"}` or `{"id", "status", "error"}`, with
`replayed` where an earlier request under the same key did it.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import Json, bad_field, known_fields, label, time_us
from raft_exchange.gateway.access import Principal
from raft_exchange.gateway.batches import place_batch
from raft_exchange.gateway.bodies import BODY_BYTES_MAX, too_large, whole_number
from raft_exchange.gateway.context import Context
from raft_exchange.gateway.orders import amend, cancel, place
from raft_exchange.gateway.rate_limits import Lane
from raft_exchange.gateway.submission import Envelope
from raft_exchange.matching.limits import (
    CLIENT_ORDER_ID_BYTES_MAX,
    IDEMPOTENCY_KEY_BYTES_MAX,
    INT64_MAX,
)
from raft_exchange.matching.messages import Scope

ORDER_OPS: Final = ("place", "amend", "cancel", "batch")
_ENVELOPE_FIELDS: Final = ("op", "id", "idempotency_key", "deadline")


async def run_order_op(
    context: Context, frame: Json, *, principal: Principal, size_bytes: int, request_id: str
) -> web.Response:
    """Do what a frame of one of `ORDER_OPS` asks, for `principal`; return the answer of HTTP.

    Raises:
        Problem: as over HTTP.
    """
    principal.demand(Scope.TRADE)
    op = frame["op"]
    lane = Lane.CANCELS if op == "cancel" else Lane.ORDERS
    context.limits.charge(lane, principal.account, principal.key_id)
    payload = "orders" if op == "batch" else "order"
    known_fields(frame, (*_ENVELOPE_FIELDS, payload))
    envelope = Envelope(
        principal.account,
        label(frame, "idempotency_key", IDEMPOTENCY_KEY_BYTES_MAX),
        time_us(frame, "deadline"),
        principal.key_id,
    )
    if op == "batch":
        body = {"orders": frame.get("orders")}
        return await place_batch(context, envelope, body, request_id=request_id)
    if size_bytes > BODY_BYTES_MAX:
        raise too_large(BODY_BYTES_MAX)
    order = frame.get("order")
    if not isinstance(order, dict):
        raise bad_field(frame, "order", "an object")
    if op == "place":
        return await place(context, envelope, order)
    if op == "amend":
        terms = {name: value for name, value in order.items() if name != "order_id"}
        return await amend(context, envelope, terms, order_id=_order_id(order))
    known_fields(order, ("order_id", "client_order_id"))
    return await cancel(context, envelope, *_target(order))


def _target(order: Json) -> tuple[int, str]:
    """Return what a cancel names: an id, or else a label."""
    named = label(order, "client_order_id", CLIENT_ORDER_ID_BYTES_MAX)
    if not named:
        return _order_id(order), ""
    if order.get("order_id") is not None:
        detail = "an order is named by order_id or by client_order_id, not by both"
        raise Problem(ErrorCode.INVALID_COMBINATION, detail, field="client_order_id", value=named)
    return 0, named


def _order_id(order: Json) -> int:
    text = order.get("order_id")
    if not isinstance(text, str):
        raise bad_field(order, "order_id", "the id of an order")
    return whole_number("order_id", text, lowest=1, highest=INT64_MAX)
