"""Commands: what the exchange may be told, in the imperative.

Frozen, integers with the unit in the name; fields are only ever appended (see `terms`).
"""

from __future__ import annotations

from raft_exchange.matching.terms import (
    AccountLimits,
    KeyKind,
    MarketRules,
    MarketStatus,
    Message,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)


class AdvanceTime(Message, frozen=True, tag="time"):
    """Move the logged clock to `time_us` (never back) and expire what is due."""

    time_us: int


class CreateAccount(Message, frozen=True, tag="account"):
    """Open the account `account`."""

    account: str


class CreateMarket(Message, frozen=True, tag="market"):
    """Open a market, trading at once."""

    rules: MarketRules


class ChangeMarket(Message, frozen=True, tag="change_market"):
    """Change the status, the limits and the fees of a market; `None` leaves a thing as it is.

    Limits bind new and amended orders, fees new ones; neither binds resting ones. `cancel_orders`
    ends every live order of the market, oldest first.
    """

    market: str
    status: MarketStatus | None
    price_ticks_min: int | None
    price_ticks_max: int | None
    quantity_lots_min: int | None
    quantity_lots_max: int | None
    notional_min: int | None
    self_trade_prevention: SelfTradePrevention | None
    maker_fee_e8: int | None = None
    taker_fee_e8: int | None = None
    price_band_ppm: int | None = None
    open_orders_max: int | None = None
    notional_max: int | None = None
    cancel_orders: bool = False
    signed_orders: bool | None = None


class PlaceOrder(Message, frozen=True, tag="place"):
    """Ask to trade `quantity_lots`, at `price_ticks` or better unless it is a market order.

    `self_trade_prevention` None takes the default: `NONE` for `anonymous`, else the market's.
    `stop_price_ticks`, `display_lots` and `quote_value` are as in `Order`; with a `quote_value`
    the quantity is 0.
    """

    account: str
    market: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price_ticks: int
    quantity_lots: int
    expires_at_us: int
    post_only: bool
    self_trade_prevention: SelfTradePrevention | None
    client_order_id: str
    stop_price_ticks: int = 0
    display_lots: int = 0
    quote_value: str = ""


class PlaceOco(Message, frozen=True, tag="oco"):
    """Place a limit order and a stop of which one ends the other: both or none."""

    account: str
    limit: PlaceOrder
    stop: PlaceOrder


class ReplaceOrder(Message, frozen=True, tag="replace"):
    """End a live order and place another, as one step; if `order` is refused nothing happens."""

    account: str
    order_id: int
    order: PlaceOrder


class AmendOrder(Message, frozen=True, tag="amend"):
    """Change price, total quantity, stop price or several of a live order, in one step."""

    account: str
    order_id: int
    price_ticks: int | None
    quantity_lots: int | None
    stop_price_ticks: int | None = None


class CancelOrder(Message, frozen=True, tag="cancel"):
    """End a live order, named by `order_id`, or by `client_order_id` where `order_id` is 0."""

    account: str
    order_id: int
    client_order_id: str


class CancelAll(Message, frozen=True, tag="cancel_all"):
    """End all live orders of an account, optionally of one market and one side, oldest first."""

    account: str
    market: str | None
    side: Side | None


class Deposit(Message, frozen=True, tag="deposit"):
    """Bring `amount` of an asset into an account: units of 10^-36, as decimal text.

    `transfer_id` makes it safe to send again: deposits and withdrawals share one memory of ids.
    """

    account: str
    asset: str
    amount: str
    transfer_id: str


class Withdraw(Message, frozen=True, tag="withdraw"):
    """Take `amount` of an asset, which must be free, out of an account; as `Deposit`."""

    account: str
    asset: str
    amount: str
    transfer_id: str


class CancelAfter(Message, frozen=True, tag="cancel_after"):
    """Arm the dead-man switch: end all orders of `account` in `after_us` of logged time.

    It replaces what was armed before; 0 disarms.
    """

    account: str
    after_us: int


class ChangeAccount(Message, frozen=True, tag="change_account"):
    """Change what operators decide about an account; `None` leaves a thing as it is.

    Freezing ends all its live orders, oldest first. A fee of -1 is the market's again. `limits`
    replace those of the markets they name; all zeros remove them.
    """

    account: str
    frozen: bool | None
    maker_fee_e8: int | None
    taker_fee_e8: int | None
    limits: tuple[AccountLimits, ...] = ()


class CreateKey(Message, frozen=True, tag="create_key"):
    """Give an account a key. `replaces` names one that is revoked by the same command, or is ""."""

    account: str
    key_id: str
    key_kind: KeyKind
    secret: bytes
    scopes: int
    replaces: str


class RevokeKey(Message, frozen=True, tag="revoke_key"):
    """Make a key of an account worthless from here on."""

    account: str
    key_id: str


OrderCommand = PlaceOrder | PlaceOco | ReplaceOrder | AmendOrder | CancelOrder | CancelAll
AccountCommand = CancelAfter | Deposit | Withdraw | ChangeAccount | CreateKey | RevokeKey
HouseCommand = AdvanceTime | CreateAccount | CreateMarket | ChangeMarket | AccountCommand
Command = OrderCommand | HouseCommand
