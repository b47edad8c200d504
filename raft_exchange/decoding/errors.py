"""The closed list of what can go wrong for a client, and its one form: RFC 9457 problem details.

Decoders and handlers raise `Problem`; the gateway renders it. Codes are part of the public
interface: they are added, never renamed. Whatever a client sent is shown back escaped and cut,
never raw.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple, NotRequired, TypedDict

PROBLEM_TYPE: Final = "application/problem+json"
VALUE_CHARS_MAX: Final = 128
RETRY_AFTER_S: Final = 1


class ErrorCode(StrEnum):
    """Every `code` that an answer may carry."""

    BAD_JSON = "bad_json"
    BAD_FIELD = "bad_field"
    BAD_ORIGIN = "bad_origin"
    UNKNOWN_MARKET = "unknown_market"
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_ACCOUNT = "unknown_account"
    UNKNOWN_MEMBER = "unknown_member"
    UNKNOWN_ROUTE = "unknown_route"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    DUPLICATE_CLIENT_ORDER_ID = "duplicate_client_order_id"
    ALREADY_EXISTS = "already_exists"
    MEMBER_REMOVED = "member_removed"
    NOT_LEADER = "not_leader"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    EXPECTATION_FAILED = "expectation_failed"
    OFF_TICK = "off_tick"
    OFF_LOT = "off_lot"
    OUT_OF_RANGE = "out_of_range"
    MIN_NOTIONAL = "min_notional"
    WOULD_TAKE = "would_take"
    UNFILLABLE = "unfillable"
    MARKET_HALTED = "market_halted"
    NOT_OPEN = "not_open"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    INVALID_COMBINATION = "invalid_combination"
    DEADLINE_PASSED = "deadline_passed"
    TOO_MANY_ORDERS = "too_many_orders"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    RISK_LIMIT = "risk_limit"
    ACCOUNT_FROZEN = "account_frozen"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    SIGNATURE_EXPIRED = "signature_expired"
    NONCE_REUSED = "nonce_reused"
    LIMIT_REACHED = "limit_reached"
    STOP_WOULD_TRIGGER = "stop_would_trigger"
    PRICE_BAND = "price_band"
    NO_QUORUM = "no_quorum"
    RATE_LIMITED = "rate_limited"
    INTERNAL_ERROR = "internal_error"
    NO_LEADER = "no_leader"
    OVERLOADED = "overloaded"
    BEHIND = "behind"
    OUTCOME_UNKNOWN = "outcome_unknown"
    DRAINING = "draining"
    READ_ONLY = "read_only"
    UPGRADE_PENDING = "upgrade_pending"
    CHANGE_PENDING = "change_pending"
    STATE_DIVERGENCE = "state_divergence"


class Kind(NamedTuple):
    """What all problems of one code share."""

    status: int
    title: str


KINDS: Final[Mapping[ErrorCode, Kind]] = {
    ErrorCode.BAD_JSON: Kind(400, "The body is not the JSON that was asked for"),
    ErrorCode.BAD_FIELD: Kind(400, "A field is missing, unknown or malformed"),
    ErrorCode.UNAUTHENTICATED: Kind(401, "The key is not good"),
    ErrorCode.BAD_SIGNATURE: Kind(401, "The signature is not the key's over this request"),
    ErrorCode.SIGNATURE_EXPIRED: Kind(401, "The signature is too old or of the future"),
    ErrorCode.NONCE_REUSED: Kind(401, "The nonce was used already"),
    ErrorCode.ACCOUNT_FROZEN: Kind(403, "The account is frozen"),
    ErrorCode.BAD_ORIGIN: Kind(403, "Requests from there are not taken here"),
    ErrorCode.FORBIDDEN: Kind(403, "The request is not allowed to whoever sent it"),
    ErrorCode.UNKNOWN_MARKET: Kind(404, "There is no such market"),
    ErrorCode.UNKNOWN_ORDER: Kind(404, "There is no such order"),
    ErrorCode.UNKNOWN_ACCOUNT: Kind(404, "There is no such account"),
    ErrorCode.UNKNOWN_MEMBER: Kind(404, "There is no such member"),
    ErrorCode.UNKNOWN_KEY: Kind(404, "There is no such key"),
    ErrorCode.UNKNOWN_ROUTE: Kind(404, "There is no such route"),
    ErrorCode.METHOD_NOT_ALLOWED: Kind(405, "The route does not take this method"),
    ErrorCode.DUPLICATE_CLIENT_ORDER_ID: Kind(409, "A live order has this client_order_id"),
    ErrorCode.ALREADY_EXISTS: Kind(409, "It exists already"),
    ErrorCode.MEMBER_REMOVED: Kind(409, "A removed member never returns"),
    ErrorCode.NOT_LEADER: Kind(409, "The node does not lead"),
    ErrorCode.BODY_TOO_LARGE: Kind(413, "The body is too large"),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: Kind(415, "The body is not declared as JSON"),
    ErrorCode.EXPECTATION_FAILED: Kind(417, "The expectation cannot be met"),
    ErrorCode.OFF_TICK: Kind(422, "The price is off the tick grid"),
    ErrorCode.OFF_LOT: Kind(422, "The quantity is off the lot grid"),
    ErrorCode.OUT_OF_RANGE: Kind(422, "A value is out of its range"),
    ErrorCode.MIN_NOTIONAL: Kind(422, "The order is worth too little"),
    ErrorCode.WOULD_TAKE: Kind(422, "A post-only order would have taken"),
    ErrorCode.UNFILLABLE: Kind(422, "The order cannot be filled whole"),
    ErrorCode.MARKET_HALTED: Kind(422, "The market takes no orders now"),
    ErrorCode.NOT_OPEN: Kind(422, "The order is no longer open"),
    ErrorCode.IDEMPOTENCY_MISMATCH: Kind(422, "The idempotency key belongs to another command"),
    ErrorCode.INVALID_COMBINATION: Kind(422, "The fields do not go together"),
    ErrorCode.DEADLINE_PASSED: Kind(422, "The deadline passed before the request was sequenced"),
    ErrorCode.TOO_MANY_ORDERS: Kind(422, "The account has too many open orders"),
    ErrorCode.INSUFFICIENT_FUNDS: Kind(422, "The account has too little"),
    ErrorCode.RISK_LIMIT: Kind(422, "A risk limit stands against it"),
    ErrorCode.LIMIT_REACHED: Kind(422, "A limit of the exchange is reached"),
    ErrorCode.STOP_WOULD_TRIGGER: Kind(422, "The stop price is passed already"),
    ErrorCode.PRICE_BAND: Kind(422, "The price is too far from the last trade"),
    ErrorCode.NO_QUORUM: Kind(422, "Too few of the other members are in reach"),
    ErrorCode.RATE_LIMITED: Kind(429, "Too much in too short a time"),
    ErrorCode.INTERNAL_ERROR: Kind(500, "The node has a bug"),
    ErrorCode.NO_LEADER: Kind(503, "The cluster has no leader at the moment"),
    ErrorCode.OVERLOADED: Kind(503, "The node has too much to do"),
    ErrorCode.BEHIND: Kind(503, "The node is behind what was asked for"),
    ErrorCode.OUTCOME_UNKNOWN: Kind(503, "The request may or may not take effect"),
    ErrorCode.DRAINING: Kind(503, "The node is shutting down"),
    ErrorCode.READ_ONLY: Kind(503, "The node takes no writes"),
    ErrorCode.STATE_DIVERGENCE: Kind(503, "The state of this node may differ from the others'"),
    ErrorCode.UPGRADE_PENDING: Kind(503, "Not all nodes know this yet"),
    ErrorCode.CHANGE_PENDING: Kind(503, "Another change of the members is under way"),
}


class ProblemView(TypedDict):
    """What went wrong: RFC 9457 problem details, with a code of a closed list."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: NotRequired[str]
    value: NotRequired[str | bool | None]
    allowed: NotRequired[str | list[str]]
    request_id: str


class Problem(Exception):
    """A request that is answered with an error.

    `field` names the field, header or parameter at fault as the client knows it, `value` is what
    it sent there, `allowed` what it may send. `sequence` and `replayed` are set where the refusal
    is itself a result of the log.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        field: str = "",
        value: object = None,
        allowed: list[str] | str | None = None,
        sequence: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field
        self.value = value
        self.allowed = allowed
        self.sequence = sequence
        self.replayed = False
        self.headers: dict[str, str] = {}

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return KINDS[self.code].status

    def view(self, request_id: str) -> ProblemView:
        """Return the problem as JSON shows it."""
        view: ProblemView = {
            "type": f"urn:raft-exchange:problem:{self.code}",
            "title": KINDS[self.code].title,
            "status": self.status,
            "code": self.code.value,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.field:
            view["field"] = str(shown(self.field))
            if self.value is not None:
                view["value"] = shown(self.value)
        if self.allowed is not None:
            view["allowed"] = self.allowed
        return view


def shown(value: object) -> str | bool | None:
    """Return what a client sent in a form that is safe to send back: scalars, escaped and cut."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = str(value)
    cut = text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "…"
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")
