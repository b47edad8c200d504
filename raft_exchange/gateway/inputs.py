"""What requests may hold, as JSON Schema: from the names and tables that the decoders know.

A schema says the form of each value. Grids and limits are a market's, and which fields go together
is the exchange's; what breaks those rules is refused with a 422.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from raft_exchange.decoding.account_schema import (
    ACCOUNT_CHANGE_FIELDS,
    KEY_FIELDS,
    SCOPES,
    TRANSFER_FIELDS,
)
from raft_exchange.decoding.account_schema import LIMIT_FIELDS as ACCOUNT_LIMIT_FIELDS
from raft_exchange.decoding.errors import ErrorCode
from raft_exchange.decoding.fields import NAME_FORM, NUMBER_FORM, TIME_FORM
from raft_exchange.decoding.market_schema import (
    MARKET_CHANGE_FIELDS,
    MARKET_FIELDS,
    MARKET_STATUSES,
    SWITCH,
)
from raft_exchange.decoding.order_schema import (
    AMEND_FIELDS,
    BATCH_ORDERS_MAX,
    CANCEL_AFTER_FIELDS,
    OCO_FIELDS,
    ORDER_FIELDS,
    ORDER_TYPES,
    SELF_TRADE_PREVENTIONS,
    SIDES,
    TIMES_IN_FORCE,
)
from raft_exchange.gateway.accounts import ACCOUNT_FIELDS, FILLS, FILLS_MAX
from raft_exchange.gateway.markets import BOOK_DEPTH, BOOK_DEPTH_MAX, TRADES, TRADES_MAX
from raft_exchange.gateway.order_queries import PAGE_ORDERS, PAGE_ORDERS_MAX, STATUSES
from raft_exchange.gateway.prices import CANDLES
from raft_exchange.gateway.reads import CONSISTENCIES
from raft_exchange.gateway.rendering import View
from raft_exchange.history.rows import PAGE_ROWS_MAX
from raft_exchange.marketdata.candles import CANDLES_MAX, INTERVALS_US
from raft_exchange.matching.limits import (
    CLIENT_ORDER_ID_BYTES_MAX,
    IDEMPOTENCY_KEY_BYTES_MAX,
    INT64_MAX,
    TRANSFER_ID_BYTES_MAX,
)
from raft_exchange.sequencer.outcome import MEMBER_FIELDS

SCHEMAS: Final = "#/components/schemas/"

Schema = View


def one_of(words: Iterable[str], default: str | None = None) -> Schema:
    """Return the schema of a word of a closed list."""
    schema: Schema = {"type": "string", "enum": list(words)}
    return schema if default is None else schema | {"default": default}


def label_of(length_max: int) -> Schema:
    """Return the schema of 1 to `length_max` printable ASCII characters."""
    return {"type": "string", "minLength": 1, "maxLength": length_max, "pattern": "^[ -~]+$"}


def whole(lowest: int = 0, highest: int = INT64_MAX, default: int | None = None) -> Schema:
    """Return the schema of a whole number."""
    schema: Schema = {"type": "integer", "minimum": lowest, "maximum": highest}
    return schema if default is None else schema | {"default": default}


NAME: Final[Schema] = {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$",
    "description": NAME_FORM,
}
MARKET: Final[Schema] = NAME | {"examples": ["BTC-USD"]}
DECIMAL: Final[Schema] = {
    "type": ["string", "number"],
    "description": NUMBER_FORM,
    "examples": ["100.25"],
}
TIME: Final[Schema] = {"type": "string", "format": "date-time", "description": TIME_FORM}
FLAG: Final[Schema] = {"type": "boolean"}
LABEL: Final = label_of(CLIENT_ORDER_ID_BYTES_MAX)
ORDER_ID: Final = whole(1)

FIELDS: Final[Mapping[str, Schema]] = {
    "market": MARKET,
    "base": NAME,
    "quote": NAME,
    "side": one_of(SIDES),
    "type": one_of(ORDER_TYPES),
    "time_in_force": one_of(TIMES_IN_FORCE),
    "expires_at": TIME,
    "post_only": FLAG,
    "self_trade_prevention": one_of(SELF_TRADE_PREVENTIONS),
    "client_order_id": LABEL,
    "status": one_of(MARKET_STATUSES),
    "accounts": one_of(SWITCH),
    "signed_orders": one_of(SWITCH),
    "cancel_orders": FLAG,
    "account": NAME,
    "asset": NAME,
    "id": NAME,
    "frozen": FLAG,
    "limits": {
        "type": "object",
        "description": "By market; null takes an account's own limits away.",
        "additionalProperties": {"$ref": SCHEMAS + "AccountLimits"},
    },
    "scopes": {"type": "array", "items": one_of(SCOPES), "minItems": 1},
    "public_key": {"type": "string", "description": "An Ed25519 key of 32 bytes, in base64."},
    "replaces": NAME | {"description": "A key that is revoked by the same command."},
}
"""The fields of bodies that are no decimals."""


def body_of(fields: Iterable[str], required: Iterable[str] = ()) -> Schema:
    """Return the schema of an object of these fields; null is the same as absent."""
    wanted = tuple(required)
    return {
        "type": "object",
        "properties": {
            name: _field(name) if name in wanted else _nullable(_field(name)) for name in fields
        },
        "additionalProperties": False,
    } | ({"required": list(wanted)} if wanted else {})


def _field(name: str) -> Schema:
    return FIELDS.get(name, DECIMAL)


def _nullable(schema: Schema) -> Schema:
    kinds = schema["type"]
    nullable = schema | {"type": [*(kinds if isinstance(kinds, list) else [kinds]), "null"]}
    if isinstance(words := schema.get("enum"), list):
        nullable["enum"] = [*words, None]
    return nullable


def _ref(name: str) -> Schema:
    return {"$ref": SCHEMAS + name}


BODIES: Final[Mapping[str, Schema]] = {
    "NewOrder": body_of(ORDER_FIELDS, ("market", "side", "type")),
    "NewOrders": {
        "type": "object",
        "properties": {
            "orders": {
                "type": "array",
                "items": _ref("NewOrder"),
                "minItems": 1,
                "maxItems": BATCH_ORDERS_MAX,
            }
        },
        "required": ["orders"],
        "additionalProperties": False,
    },
    "NewPair": {
        "type": "object",
        "properties": {name: _ref("NewOrder") for name in OCO_FIELDS},
        "required": list(OCO_FIELDS),
        "additionalProperties": False,
    },
    "OrderChange": body_of(AMEND_FIELDS),
    "Switch": body_of(CANCEL_AFTER_FIELDS, CANCEL_AFTER_FIELDS),
    "NewMarket": body_of(MARKET_FIELDS, MARKET_FIELDS[:5]),
    "MarketChange": body_of(MARKET_CHANGE_FIELDS),
    "NewAccount": body_of(ACCOUNT_FIELDS, ACCOUNT_FIELDS),
    "AccountChange": body_of(ACCOUNT_CHANGE_FIELDS),
    "AccountLimits": _nullable(body_of(ACCOUNT_LIMIT_FIELDS)),
    "Transfer": {
        "type": "object",
        "properties": {"id": label_of(TRANSFER_ID_BYTES_MAX), "asset": NAME, "amount": DECIMAL},
        "required": list(TRANSFER_FIELDS),
        "additionalProperties": False,
    },
    "NewKey": body_of(KEY_FIELDS, ("scopes",)),
    "NewMember": {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": form}
            for name, (_, form) in MEMBER_FIELDS.items()
        },
        "required": list(MEMBER_FIELDS),
        "additionalProperties": False,
    },
    "SeedOrder": {
        "type": "object",
        "properties": {
            "side": one_of(("buy", "sell")),
            "type": one_of(("limit", "market"), "limit"),
            "price": DECIMAL,
            "quantity": DECIMAL,
        },
        "required": ["side", "quantity"],
    },
    "GrenacheCall": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "string"}, {}],
        "description": "Request id, service, payload.",
    },
}
"""Every body, by its name in the description."""

QUERY: Final[Mapping[str, Schema]] = {
    "dry_run": one_of(("true", "false"), "false"),
    "market": MARKET,
    "side": one_of(SIDES),
    "status": {
        "type": "string",
        "description": f"One or more of {', '.join(STATUSES)}, joined by commas.",
        "examples": ["open,partially_filled"],
    },
    "client_order_id": LABEL,
    "cursor": whole() | {"description": "Of the page before."},
    "before": whole() | {"description": "Only trades of lower numbers."},
    "depth": whole(1, BOOK_DEPTH_MAX, BOOK_DEPTH),
    "level": one_of(("2", "3"), "2") | {"description": "2: levels; 3: orders."},
    "interval": one_of(INTERVALS_US, "1m"),
    "start": TIME,
    "end": TIME,
    "consistency": one_of(CONSISTENCIES, "local"),
    "min_sequence": whole() | {"description": "Wait, at most 2 s, until it is applied here."},
    "max_age": whole() | {"description": "Milliseconds since the leader was last heard of."},
    "hash": one_of(("now",)),
    "to": {"type": "string", "description": MEMBER_FIELDS["id"][1]},
    "nonce": {"type": "string", "pattern": "^[0-9a-f]{32,128}$"},
    "from_sequence": whole(1),
    "channels": {
        "type": "string",
        "description": "Joined by commas; /asyncapi.json describes them.",
        "examples": ["book:BTC-USD,trades:BTC-USD"],
    },
    "verbose": {"type": "string", "description": "Name each check."},
}
"""Every query parameter. Where routes differ in a bound, `LIMITS` has it."""

LIMITS: Final[Mapping[str, Schema]] = {
    "/v1/orders": whole(1, PAGE_ORDERS_MAX, PAGE_ORDERS),
    "/v1/markets/{market}/trades": whole(1, TRADES_MAX, TRADES),
    "/v1/markets/{market}/candles": whole(1, CANDLES_MAX, CANDLES),
    "/v1/fills": whole(1, FILLS_MAX, FILLS),
    "/v1/history": whole(1, PAGE_ROWS_MAX, PAGE_ROWS_MAX),
}
"""The `limit` of each page."""

PATH: Final[Mapping[str, Schema]] = {
    "order_id": ORDER_ID,
    "client_order_id": LABEL,
    "market": MARKET,
    "account": NAME,
    "key_id": NAME,
    "digest": {"type": "string", "minLength": 1},
    "member": {"type": "string", "minLength": 1},
    "file": {"type": "string", "minLength": 1},
}
"""Every part of a path."""

HEADERS: Final[Mapping[str, Schema]] = {
    "X-Account": NAME | {"description": "Whom to act for, in open mode."},
    "Idempotency-Key": label_of(IDEMPOTENCY_KEY_BYTES_MAX)
    | {"description": "Makes the write safe to send again, to any node."},
    "X-Deadline": TIME | {"description": "Refused if sequenced later."},
    "X-Nonce": {"type": "string", "pattern": "^[0-9a-f]{32,128}$"},
    "X-Proof": {"type": "string", "description": "Hex of an HMAC under the cluster secret."},
    "Last-Event-ID": whole() | {"description": "Resume after this sequence."},
}
"""Every request header that a route reads."""

_ORDER_WORDS: Final[Mapping[str, Iterable[str]]] = {
    "side": SIDES,
    "type": ORDER_TYPES,
    "time_in_force": TIMES_IN_FORCE,
    "self_trade_prevention": SELF_TRADE_PREVENTIONS,
    "status": STATUSES,
}
_MARKET_WORDS: Final[Mapping[str, Iterable[str]]] = {
    "self_trade_prevention": SELF_TRADE_PREVENTIONS,
    "accounts": SWITCH,
    "signed_orders": SWITCH,
    "status": MARKET_STATUSES,
}
WORDS: Final[Mapping[str, Mapping[str, Iterable[str]]]] = {
    "OrderView": _ORDER_WORDS,
    "RehearsedOrderView": _ORDER_WORDS,
    "TradeView": {"taker_side": SIDES},
    "MarketView": _MARKET_WORDS,
    "MarketAnswer": _MARKET_WORDS,
    "FillView": {"taker_side": SIDES, "side": SIDES, "liquidity": ("maker", "taker")},
    "TransferView": {"type": ("deposit", "withdrawal")},
    "CandlesAnswer": {"interval": INTERVALS_US},
    "ProblemView": {"code": tuple(ErrorCode)},
}
"""The fields of answers that are words of a closed list, by type."""
