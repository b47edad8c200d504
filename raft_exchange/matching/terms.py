"""The nouns of the vocabulary: closed lists, orders, market rules, and what a message is.

Terms are `array_like` msgspec structs: a field's *position* is its name on the wire and in the
log, so fields are only ever appended, with a default that means "as before".

Amounts of the quote asset are price_ticks x quantity_lots and may exceed 64 bits: they travel as
decimal text (`filled_value`).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag, StrEnum
from typing import Final

import msgspec

ANONYMOUS: Final = "anonymous"
"""The account of everybody in open mode: unlimited funds, self-trade prevention `none`."""


class Side(IntEnum):
    """Which way an order trades."""

    BUY = 0
    SELL = 1


class OrderType(IntEnum):
    """How an order is priced; a stop waits until the market trades at its stop price or beyond."""

    LIMIT = 0
    MARKET = 1
    STOP = 2  # a market order once elected
    STOP_LIMIT = 3


STOP_TYPES: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})


class TimeInForce(IntEnum):
    """How long an order lives."""

    GTC = 0
    IOC = 1
    FOK = 2
    GTD = 3


class SelfTradePrevention(IntEnum):
    """What happens when a taker meets an order of its own account; the taker's mode decides."""

    EXPIRE_TAKER = 0
    EXPIRE_MAKER = 1
    EXPIRE_BOTH = 2
    DECREMENT = 3
    NONE = 4


class MarketStatus(IntEnum):
    """Whether a market takes orders. `HALT` and `CANCEL_ONLY` differ in what they tell people."""

    TRADING = 0
    HALT = 1
    CANCEL_ONLY = 2


class OrderStatus(IntEnum):
    """The life of an order; `FINAL_STATUSES` says where it ends."""

    OPEN = 0
    PARTIALLY_FILLED = 1
    FILLED = 2
    CANCELED = 3
    EXPIRED = 4
    REJECTED = 5  # a stop that could not enter when it was elected
    PENDING = 6  # a stop that waits
    TRIGGERED = 7  # a stop that was elected and has not traded yet


FINAL_STATUSES: Final = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED}
)


class EndReason(IntEnum):
    """Why an order ended."""

    FILLED = 0
    CANCELED_BY_OWNER = 1
    REMAINDER_EXPIRED = 2  # IOC, FOK and market orders never rest
    TIME_EXPIRED = 3  # GTD
    SELF_TRADE = 4
    AMENDED_DOWN = 5  # the new total was at or below what had been filled
    REPLACED = 6  # another order took its place
    OTHER_LEG = 7  # OCO: the other leg traded, ended or was elected
    CANCEL_AFTER = 8  # the owner's dead-man switch
    UNFUNDED = 9  # a stop that its owner could not pay for when it was elected
    CANCELED_BY_OPERATOR = 10  # the kill switch of the account or the market


class RejectCode(StrEnum):
    """Why a command was refused: the part of the public error list the state machine decides."""

    UNKNOWN_MARKET = "unknown_market"
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_ACCOUNT = "unknown_account"
    DUPLICATE_CLIENT_ORDER_ID = "duplicate_client_order_id"
    ALREADY_EXISTS = "already_exists"
    BAD_FIELD = "bad_field"
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
    LIMIT_REACHED = "limit_reached"
    STOP_WOULD_TRIGGER = "stop_would_trigger"
    PRICE_BAND = "price_band"
    BAD_SIGNATURE = "bad_signature"
    SIGNATURE_EXPIRED = "signature_expired"
    NONCE_REUSED = "nonce_reused"


class Order(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An order as it stood right after one command; immutable.

    `price_ticks` is 0 for market orders, `expires_at_us` 0 for none, `client_order_id` "" for
    none. `quantity_lots` is the total, the filled part included. `filled_value` is the exact sum
    of price_ticks x quantity_lots over the fills, as decimal text. `sequence` is that of the
    command which changed the order last.

    `stop_price_ticks` is 0 but for stops. An iceberg shows `display_lots` at a time (0: it shows
    all); `shown_lots` is what it shows now, while it rests. A quote-sized order spends at most
    `quote_value`, in units of price_ticks x quantity_lots as decimal text ("" for none); its
    `quantity_lots` is what it has got so far. `oco_order_id` is the other leg, 0 for none.
    """

    order_id: int
    client_order_id: str
    account: str
    market: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price_ticks: int
    quantity_lots: int
    filled_lots: int
    filled_value: str
    expires_at_us: int
    post_only: bool
    self_trade_prevention: SelfTradePrevention
    status: OrderStatus
    created_at_us: int
    updated_at_us: int
    sequence: int
    stop_price_ticks: int = 0
    display_lots: int = 0
    shown_lots: int = 0
    quote_value: str = ""
    oco_order_id: int = 0


class MarketRules(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a market trades and which orders it takes.

    `tick_size_e18` and `lot_size_e18` are sizes in units of 10^-18 of the quote and base asset.
    `notional_min` counts price_ticks x quantity_lots; bounds are inclusive. Where `settles` is
    True, orders are backed by balances and trades move them; it never changes. Fees are parts of
    the quote amount, in units of 10^-8. `price_band_ppm` is how far from the last trade an order
    may be priced, in millionths of it; 0 for any distance. `open_orders_max` and `notional_max`
    bind each account's live orders here and each order's price_ticks x quantity_lots; 0 for no
    limit. Where `signed_orders` is True, nothing but its owner's signature moves an order.
    """

    market: str
    base: str
    quote: str
    tick_size_e18: int
    lot_size_e18: int
    price_ticks_min: int
    price_ticks_max: int
    quantity_lots_min: int
    quantity_lots_max: int
    notional_min: int
    self_trade_prevention: SelfTradePrevention
    settles: bool = False
    maker_fee_e8: int = 0
    taker_fee_e8: int = 0
    price_band_ppm: int = 0
    open_orders_max: int = 0
    notional_max: int = 0
    signed_orders: bool = False


class AccountLimits(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one account may do in one market, in place of the market's own limits.

    0 leaves the market's; `quantity_lots_max` is in addition to it.
    """

    market: str
    open_orders_max: int
    quantity_lots_max: int
    notional_max: int


class AccountSettings(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What operators decided about an account; a fee of -1 is the market's.

    A frozen account places and amends nothing.
    """

    frozen: bool = False
    maker_fee_e8: int = -1
    taker_fee_e8: int = -1
    limits: tuple[AccountLimits, ...] = ()  # sorted by market


class KeyKind(IntEnum):
    """How whoever holds a key proves it."""

    BEARER = 0  # `secret` is the SHA-256 of it
    ED25519 = 1  # `secret` is the public key


class Scope(IntFlag):
    """What a key is good for."""

    READ = 1
    TRADE = 2
    ADMIN = 4


class ApiKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A key of an account: 32 bytes that prove it, never the key itself.

    `scopes` is a sum of `Scope`s. `revoked_at_us` is 0 while the key is good.
    """

    key_id: str
    kind: KeyKind
    secret: bytes
    scopes: int
    created_at_us: int
    revoked_at_us: int


class Message(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    tag_field="kind",
    forbid_unknown_fields=True,
    gc=False,
):
    """A command or an event: an array of its tag and its fields, in order.

    A field of a later release is refused, not ignored: the replica stops rather than apply half.
    """
