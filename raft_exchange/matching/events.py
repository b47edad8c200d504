"""Events: what a command did, in the past tense.

Frozen, integers with the unit in the name; fields are only ever appended (see `terms`).
"""

from __future__ import annotations

from raft_exchange.matching.terms import (
    AccountSettings,
    ApiKey,
    EndReason,
    MarketRules,
    MarketStatus,
    Message,
    Order,
    RejectCode,
    Side,
)


class TimeAdvanced(Message, frozen=True, tag="time_advanced"):
    """The logged clock stands at `time_us`; the ends of expired orders follow."""

    time_us: int


class CommandRefused(Message, frozen=True, tag="refused"):
    """Nothing changed. `field` names what was wrong with the command, "" where no field was."""

    code: RejectCode
    field: str


class AccountCreated(Message, frozen=True, tag="account_created"):
    """An account was opened."""

    account: str


class MarketChanged(Message, frozen=True, tag="market_changed"):
    """A market was opened or changed; these are its rules and status from now on."""

    rules: MarketRules
    status: MarketStatus


class OrderAccepted(Message, frozen=True, tag="accepted"):
    """An order passed every check.

    `StopPlaced` follows for a stop, else its trades, then `OrderRested` or `OrderEnded`.
    """

    order: Order


class TradeExecuted(Message, frozen=True, tag="trade"):
    """A taker met a maker, at the maker's price.

    The fees are in the quote asset, in units of 10^-36, as decimal text.
    """

    market: str
    trade_id: int
    price_ticks: int
    quantity_lots: int
    taker_side: Side
    maker_order_id: int
    taker_order_id: int
    maker_account: str
    taker_account: str
    maker_fee: str = "0"
    taker_fee: str = "0"


class OrderReduced(Message, frozen=True, tag="reduced"):
    """Self-trade prevention (`decrement`) took from the order's total; it keeps its place."""

    order: Order


class OrderAmended(Message, frozen=True, tag="amended"):
    """A live order has new terms.

    With `kept_place` it stands where it stood; else it has left the book, its trades follow,
    then `OrderRested` or `OrderEnded`. A stop that moves is followed by `StopPlaced`.
    """

    order: Order
    kept_place: bool


class OrderRested(Message, frozen=True, tag="rested"):
    """An order joined the book, at the back of its price level."""

    order: Order


class OrderReplenished(Message, frozen=True, tag="replenished"):
    """An iceberg's tranche was used up; the next one stands at the back of its price level."""

    order: Order


class StopPlaced(Message, frozen=True, tag="stop_placed"):
    """A stop waits for its price; it is in no book."""

    order: Order


class StopElected(Message, frozen=True, tag="stop_elected"):
    """The market traded at the price of a stop or beyond; it waits no more.

    It enters after the order before it: its trades follow, then `OrderRested` or `OrderEnded`.
    """

    order: Order


class OrderEnded(Message, frozen=True, tag="ended"):
    """An order is final; where it rested, it left the book."""

    order: Order
    reason: EndReason


class AllCanceled(Message, frozen=True, tag="all_canceled"):
    """`count` orders were canceled; their ends precede this event."""

    count: int


class TransferMade(Message, frozen=True, tag="transfer"):
    """A deposit, or a withdrawal, of `amount` (units of 10^-36, decimal text).

    `first_sequence` and `first_time_us` are those of the command that moved it; a repeat of the
    same transfer tells of the first and moves nothing.
    """

    account: str
    asset: str
    amount: str
    transfer_id: str
    is_deposit: bool
    first_sequence: int
    first_time_us: int


class AccountChanged(Message, frozen=True, tag="account_changed"):
    """These are an account's settings from now on; the ends of its orders follow if it froze."""

    account: str
    settings: AccountSettings


class KeyChanged(Message, frozen=True, tag="key_changed"):
    """A key was created or revoked, and stands so from now on."""

    account: str
    key: ApiKey


class BalanceChanged(Message, frozen=True, tag="balance"):
    """What an account has of an asset now, in units of 10^-36, as decimal text.

    Comes last in a command's events, once for each balance that the command touched.
    """

    account: str
    asset: str
    free: str
    held: str


class CancelAfterSet(Message, frozen=True, tag="cancel_after_set"):
    """The account's orders end when the logged clock reaches `cancel_at_us`; 0: never."""

    account: str
    cancel_at_us: int


class CancelAfterElapsed(Message, frozen=True, tag="cancel_after_elapsed"):
    """The account's dead-man switch ended `count` orders; their ends precede this event."""

    account: str
    count: int


OrderEvent = (
    TradeExecuted
    | OrderReduced
    | OrderAmended
    | OrderRested
    | OrderEnded
    | OrderReplenished
    | StopPlaced
    | StopElected
)
"""What changes an order that lives, or the book."""

HouseEvent = (
    TimeAdvanced
    | CommandRefused
    | AccountCreated
    | MarketChanged
    | OrderAccepted
    | AllCanceled
    | TransferMade
    | AccountChanged
    | KeyChanged
    | BalanceChanged
    | CancelAfterSet
    | CancelAfterElapsed
)
Event = OrderEvent | HouseEvent
