"""A command the exchange refused -> the problem its sender sees: what was wrong, what may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raft_exchange.decoding.decimals import E18, MILLION, format_e18, format_e36
from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.order_schema import price_range, quantity_range
from raft_exchange.matching.limits import ICEBERG_TRANCHES_MAX, SIGNATURE_WINDOW_US
from raft_exchange.matching.messages import CommandRefused, MarketRules, RejectCode
from raft_exchange.sequencer.outcome import Committed

PUBLIC_FIELDS: Final = {
    "price_ticks": "price",
    "quantity_lots": "quantity",
    "stop_price_ticks": "stop_price",
    "display_lots": "display_quantity",
    "quote_value": "quote_quantity",
    "price_band_ppm": "price_band",
    "after_us": "seconds",
    "expires_at_us": "expires_at",
    "tick_size_e18": "tick_size",
    "lot_size_e18": "lot_size",
    "price_ticks_min": "min_price",
    "price_ticks_max": "max_price",
    "quantity_lots_min": "min_quantity",
    "quantity_lots_max": "max_quantity",
    "notional_min": "min_notional",
    "maker_fee_e8": "maker_fee",
    "taker_fee_e8": "taker_fee",
    "transfer_id": "id",
    "open_orders_max": "max_open_orders",
    "notional_max": "max_notional",
    "key_id": "id",
    "signature": "X-Signature",
    "timestamp": "X-Timestamp",
    "nonce": "X-Nonce",
    "deadline": "X-Deadline",
    "idempotency_key": "Idempotency-Key",
}
"""Names of the commands' fields where JSON or a header calls them otherwise."""

DETAILS: Final[Mapping[RejectCode, str]] = {
    RejectCode.UNKNOWN_MARKET: "no market has this name",
    RejectCode.UNKNOWN_ORDER: "the account has no such order",
    RejectCode.UNKNOWN_ACCOUNT: "no account has this name",
    RejectCode.DUPLICATE_CLIENT_ORDER_ID: "another live order of the account has this label",
    RejectCode.ALREADY_EXISTS: "this name is taken",
    RejectCode.BAD_FIELD: "the field is malformed",
    RejectCode.OUT_OF_RANGE: "the value is out of range",
    RejectCode.MIN_NOTIONAL: "price times quantity is below the market's minimum",
    RejectCode.WOULD_TAKE: "the order is post-only and would have traded at once",
    RejectCode.UNFILLABLE: "the book cannot fill the whole quantity now",
    RejectCode.MARKET_HALTED: "the market takes no new and no amended orders now",
    RejectCode.NOT_OPEN: "the order is final",
    RejectCode.IDEMPOTENCY_MISMATCH: "the key was first used for a different command",
    RejectCode.INVALID_COMBINATION: "the field does not go with the others",
    RejectCode.DEADLINE_PASSED: "the request was sequenced after its deadline and did nothing",
    RejectCode.TOO_MANY_ORDERS: "the account may have no more open orders in this market",
    RejectCode.INSUFFICIENT_FUNDS: "the account has less free than this would hold or take",
    RejectCode.RISK_LIMIT: "the account may not have as much of this",
    RejectCode.ACCOUNT_FROZEN: "operators froze the account: it places and amends nothing",
    RejectCode.UNAUTHENTICATED: "the key is unknown or was revoked",
    RejectCode.FORBIDDEN: "the key has no scope for this, or it belongs to another account",
    RejectCode.UNKNOWN_KEY: "the account has no good key of this id",
    RejectCode.LIMIT_REACHED: "the exchange takes no more of these",
    RejectCode.STOP_WOULD_TRIGGER: "the last trade has passed the stop price already",
    RejectCode.BAD_SIGNATURE: "the key of this id did not sign this request",
    RejectCode.SIGNATURE_EXPIRED: "the time of the signature is not that of the logged clock",
    RejectCode.NONCE_REUSED: "the key signed another request with this nonce a moment ago",
    RejectCode.PRICE_BAND: "the price is further from the last trade than the market allows",
}


MUST_SIGN: Final = "this must be signed by its owner: the market takes signed orders only"


def detail_of(event: CommandRefused) -> str:
    """Return what was wrong with a refused command, in words."""
    must_sign = event.code is RejectCode.UNAUTHENTICATED and event.field == "signature"
    return MUST_SIGN if must_sign else DETAILS[event.code]


def refusal(
    event: CommandRefused,
    result: Committed | None = None,
    *,
    sent: Mapping[str, object],
    rules: MarketRules | None = None,
) -> Problem:
    """Return the problem for a refused command.

    Args:
        event: the refusal itself.
        result: the committed result it is part of; None for a dry run.
        sent: what the client sent, by public name.
        rules: the market's, where one was named.
    """
    leg, dot, name = event.field.rpartition(".")
    field = PUBLIC_FIELDS.get(name, name)
    if dot:  # one of the two orders of an OCO
        sent = _member(sent, leg)
    problem = Problem(
        ErrorCode(event.code.value),
        detail_of(event),
        field=f"{leg}.{field}" if dot else field,
        value=sent.get(field),
        allowed=_allowed(event.code, field, rules),
        sequence=None if result is None else result.sequence,
    )
    problem.replayed = result is not None and result.replayed
    return problem


def _member(sent: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = sent.get(name)
    return found if isinstance(found, Mapping) else {}


def _allowed(code: RejectCode, field: str, rules: MarketRules | None) -> str | None:
    if code is RejectCode.OUT_OF_RANGE and field == "expires_at":
        return "a time later than the logged clock (GET /v1/time)"
    if code is RejectCode.SIGNATURE_EXPIRED:
        seconds = SIGNATURE_WINDOW_US // 1_000_000
        return f"within {seconds} s of the logged clock (GET /v1/time)"
    if rules is None:
        return None
    if code is RejectCode.OUT_OF_RANGE and field == "price":
        return price_range(rules)
    if code is RejectCode.OUT_OF_RANGE and field == "quantity":
        return quantity_range(rules)
    if code is RejectCode.OUT_OF_RANGE and field == "stop_price":
        return price_range(rules)
    if code is RejectCode.OUT_OF_RANGE and field == "display_quantity":
        return f"up to the quantity, and at least 1/{ICEBERG_TRANCHES_MAX} of it"
    if code is RejectCode.PRICE_BAND:
        band = format_e18(rules.price_band_ppm * E18 // MILLION)
        return f"within {band} of the last trade's price, for a stop of its stop price"
    if code is RejectCode.MIN_NOTIONAL:
        amount = format_e36(rules.notional_min * rules.tick_size_e18 * rules.lot_size_e18)
        return f"price x quantity of at least {amount} {rules.quote}"
    return None
