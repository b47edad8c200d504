"""What the exchange tells of accounts: settings, balances, fills, transfers and keys, typed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from raft_exchange.client.models import Side, Trade

Scope = Literal["read", "trade", "admin"]


class Fill(Trade, frozen=True, kw_only=True):
    """One's own side of a trade, and what it cost."""

    order_id: str
    side: Side
    liquidity: Literal["maker", "taker"]
    fee: Decimal
    fee_asset: str


class FillPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of one's own fills, newest first; `cursor` names the next one, None the end."""

    fills: list[Fill]
    sequence: int
    cursor: str | None = None


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has of an asset: `held` backs its live orders."""

    free: Decimal
    held: Decimal


class AccountLimits(msgspec.Struct, frozen=True, kw_only=True):
    """An account's own limits in one market; None where it has none."""

    max_open_orders: int | None = None
    max_quantity: Decimal | None = None
    max_notional: Decimal | None = None


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What operators decided about an account; None fees are the market's, limits go by market."""

    account: str
    sequence: int
    frozen: bool = False
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    limits: dict[str, AccountLimits] = {}


class Account(AccountSettings, frozen=True, kw_only=True):
    """An account as of `sequence`; `balances` by asset.

    `scopes` is what the key that asked for its own account may do; None where there are no keys.
    """

    balances: dict[str, Balance]
    scopes: list[Scope] | None = None


class AccountChanged(AccountSettings, frozen=True, kw_only=True):
    """An account after a change; `canceled` are the orders that the change ended."""

    canceled: list[str] = []


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """A deposit or a withdrawal, where and when it was made first."""

    id: str
    account: str
    type: Literal["deposit", "withdrawal"]
    asset: str
    amount: Decimal
    time: datetime
    sequence: int


class Transferred(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer; `repeated`: it had been made before, and nothing was moved now."""

    transfer: Transfer
    repeated: bool
    sequence: int


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without anything that could prove it; `public_key` (base64) is of one that signs."""

    id: str
    account: str
    kind: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None = None
    public_key: str | None = None


class KeyMade(msgspec.Struct, frozen=True, kw_only=True):
    """A key; `bearer` is what its holder shows, told here and in a repeat only."""

    key: ApiKey
    sequence: int
    bearer: str | None = None
