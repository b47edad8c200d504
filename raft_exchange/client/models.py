"""What the exchange tells and takes, typed. Prices and quantities are `Decimal`, times `datetime`.

Names a release adds to an answer are ignored, so that an older client goes on reading.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, Self

import msgspec

from raft_exchange.client.headers import check_header

DEADLINE_S: Final = 300
"""Half of the 10 minutes for which the exchange remembers keys, so that clocks may differ."""

Side = Literal["buy", "sell"]
Number = Decimal | str | int
"""A decimal going in. Not a float: 0.1 + 0.2 is no price."""


class WriteKey(msgspec.Struct, frozen=True):
    """What makes a write safe to send again: its first result comes back, whichever node is asked.

    `deadline` lies inside the time for which the exchange remembers `name`: a copy that arrives
    later is refused rather than executed anew.

    Raises:
        ValueError: `name` can stand in no header.
    """

    name: str
    deadline: datetime

    def __post_init__(self) -> None:
        check_header("the name of a key", self.name)

    @classmethod
    def new(cls, name: str | None = None) -> Self:
        """Return a key for a write sent now; `name` (1 to 64 characters) is random unless given."""
        deadline = datetime.now(UTC) + timedelta(seconds=DEADLINE_S)
        return cls(uuid.uuid4().hex if name is None else name, deadline)


class NewOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order to place; without a `type` it is a limit order if it has a price, else a market one.

    See the HTTP interface for what goes together; what is left out takes the market's default.
    """

    market: str
    side: Side
    quantity: Number | None = None
    price: Number | None = None
    type: str | None = None
    quote_quantity: Number | None = None
    time_in_force: str | None = None
    expires_at: datetime | None = None
    post_only: bool | None = None
    stop_price: Number | None = None
    display_quantity: Number | None = None
    self_trade_prevention: str | None = None
    client_order_id: str | None = None

    def body(self) -> dict[str, object]:
        """Return the order as the exchange takes it."""
        type_ = self.type or ("market" if self.price is None else "limit")
        fields = msgspec.structs.asdict(self) | {"type": type_}
        return {name: text_of(value) for name, value in fields.items() if value is not None}


class NewMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market to open. Limits that are left out are the widest there are."""

    market: str
    base: str
    quote: str
    tick_size: Number
    lot_size: Number
    min_price: Number | None = None
    max_price: Number | None = None
    min_quantity: Number | None = None
    max_quantity: Number | None = None
    min_notional: Number | None = None
    self_trade_prevention: str | None = None
    price_band: Number | None = None
    maker_fee: Number | None = None
    taker_fee: Number | None = None
    max_open_orders: int | None = None
    max_notional: Number | None = None
    accounts: Literal["on", "off"] | None = None
    signed_orders: Literal["on", "off"] | None = None

    def body(self) -> dict[str, object]:
        """Return the market as the exchange takes it."""
        fields = msgspec.structs.asdict(self)
        return {name: text_of(value) for name, value in fields.items() if value is not None}


def text_of(value: object) -> object:
    """Return a field of a body as it travels: numbers as decimal text, times as RFC 3339."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a float: give a Decimal, a string or an int")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stood at `sequence`."""

    order_id: str
    market: str
    side: Side
    type: str
    status: str
    quantity: Decimal
    filled_quantity: Decimal
    remaining_quantity: Decimal
    sequence: int
    price: Decimal | None = None
    average_price: Decimal | None = None
    stop_price: Decimal | None = None
    display_quantity: Decimal | None = None
    time_in_force: str = ""
    client_order_id: str | None = None
    account: str = ""
    post_only: bool = False
    self_trade_prevention: str = ""
    expires_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def is_live(self) -> bool:
        """True while it can still trade."""
        return self.status in ("open", "partially_filled", "pending", "triggered")


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """Two orders met. `taker_side` is that of the order that came later."""

    trade_id: str
    market: str
    price: Decimal
    quantity: Decimal
    maker_order_id: str
    taker_order_id: str
    taker_side: Side
    time: datetime
    sequence: int


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What an order did when it was sequenced at `sequence`: its trades, and how it stands."""

    order: Order
    trades: list[Trade]
    sequence: int


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A limit order and a stop of which one ends the other, in this order, and their trades."""

    orders: list[Order]
    trades: list[Trade]
    sequence: int


class Replaced(Placed, frozen=True, kw_only=True):
    """As for an order that is placed; `replaced` is the last state of the one before it."""

    replaced: Order


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """When the dead-man switch cancels the account's orders; None: it is disarmed."""

    account: str
    cancel_at: datetime | None
    sequence: int


class Canceled(msgspec.Struct, frozen=True, kw_only=True):
    """The order's last state."""

    order: Order
    sequence: int


class CanceledAll(msgspec.Struct, frozen=True, kw_only=True):
    """The last states of every order that was canceled."""

    canceled: list[Order]
    sequence: int


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was refused (RFC 9457): `field` had `value`, and may be `allowed`."""

    code: str
    status: int = 0
    title: str = ""
    detail: str = ""
    field: str = ""
    value: object = None
    allowed: object = None
    request_id: str = ""


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one order of a batch: it was placed, or `error` says why not."""

    order: Order | None = None
    trades: list[Trade] = []
    sequence: int | None = None
    error: Problem | None = None


class OrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of one's own orders, newest first; `cursor` names the next one, None the end."""

    orders: list[Order]
    sequence: int
    cursor: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One result for each order of a batch, in its order."""

    results: list[BatchItem]
    sequence: int


class Level(msgspec.Struct, frozen=True, array_like=True):
    """All orders at one price."""

    price: Decimal
    quantity: Decimal
    orders: int


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """The best levels of a market's book as of `sequence`, best first."""

    market: str
    sequence: int
    bids: list[Level]
    asks: list[Level]
    time: datetime
    checksum: int


class BookOrder(msgspec.Struct, frozen=True, array_like=True):
    """One resting order."""

    price: Decimal
    quantity: Decimal
    order_id: str


class OrderBook(msgspec.Struct, frozen=True, kw_only=True):
    """The first orders of a market's book as of `sequence`, in the order they will trade."""

    market: str
    sequence: int
    bids: list[BookOrder]
    asks: list[BookOrder]
    time: datetime
    checksum: int


class Ticker(msgspec.Struct, frozen=True, kw_only=True):
    """The best prices now and the last 24 hours; None where nothing rests or traded."""

    market: str
    sequence: int
    time: datetime
    bid: Decimal | None
    ask: Decimal | None
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    last: Decimal | None
    change: Decimal | None
    volume: Decimal
    quote_volume: Decimal
    trades: int


class Candle(msgspec.Struct, frozen=True, kw_only=True):
    """One interval that traded; `time` is its begin."""

    time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """What a market trades, on which grid, within which limits."""

    market: str
    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal
    min_price: Decimal
    max_price: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    self_trade_prevention: str
    status: str
    price_band: Decimal | None = None
    accounts: str = "off"
    signed_orders: str = "off"
    maker_fee: Decimal = Decimal(0)
    taker_fee: Decimal = Decimal(0)
    max_open_orders: int | None = None
    max_notional: Decimal | None = None
    order_types: list[str] = []


class LoggedTime(msgspec.Struct, frozen=True, kw_only=True):
    """The clock by which orders expire, as of `sequence`."""

    time: datetime
    sequence: int
