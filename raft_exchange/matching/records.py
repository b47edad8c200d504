"""The records of a snapshot: what each thing of the state looks like in bytes.

Amounts that may exceed 64 bits are decimal text. A field that a later version brought is appended,
with a default that means "as before"; `versions.py` leaves it out of a state of an earlier version.
"""

from __future__ import annotations

import msgspec

from raft_exchange.matching.messages import (
    AccountSettings,
    ApiKey,
    MarketRules,
    MarketStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from raft_exchange.matching.nonces import UsedNonce
from raft_exchange.matching.transfers import Transfer


class OrderRecord(msgspec.Struct, array_like=True, gc=False):
    """A live order: a limit order or a stop, which waits if it stands among its market's stops."""

    priority: int
    order_id: int
    client_order_id: str
    account: str
    side: Side
    time_in_force: TimeInForce
    price_ticks: int
    quantity_lots: int
    filled_lots: int
    filled_value: str
    expires_at_us: int
    post_only: bool
    self_trade_prevention: SelfTradePrevention
    created_at_us: int
    updated_at_us: int
    sequence: int
    maker_fee_e8: int = 0
    taker_fee_e8: int = 0
    held: str = "0"
    type: OrderType = OrderType.LIMIT
    stop_price_ticks: int = 0
    display_lots: int = 0
    shown_lots: int = 0
    oco_order_id: int = 0


class MarketRecord(msgspec.Struct, array_like=True):
    """A market: rules, status, counters, and its orders and stops in ascending priority."""

    rules: MarketRules
    status: MarketStatus
    priority: int
    trade_id: int
    orders: list[OrderRecord]
    last_price_ticks: int = 0
    stops: tuple[OrderRecord, ...] = ()


class BalanceRecord(msgspec.Struct, array_like=True):
    """A balance that is not empty, as decimal text."""

    account: str
    asset: str
    free: str
    held: str


class AccountRecord(msgspec.Struct, array_like=True):
    """An account about which operators decided something: its settings and keys, oldest first."""

    account: str
    settings: AccountSettings
    keys: tuple[ApiKey, ...]


class StateRecord(msgspec.Struct, array_like=True):
    """Everything: accounts, of which `anonymous` is one, and markets sorted by name.

    `balances` are those that are not empty, by account and asset; `transfers` the remembered
    ones, oldest first; `switches` the dead-man switches by time and account; `decided` the
    accounts of which there is more to say than the name; `nonces` those remembered, oldest first.
    """

    sequence: int
    time_us: int
    order_id: int
    accounts: list[str]
    markets: list[MarketRecord]
    balances: tuple[BalanceRecord, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    switches: tuple[tuple[int, str], ...] = ()
    decided: tuple[AccountRecord, ...] = ()
    nonces: tuple[UsedNonce, ...] = ()
