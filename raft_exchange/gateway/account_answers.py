"""The bodies of answers about accounts, fills, transfers and keys."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from raft_exchange.gateway.rendering import TradeView


class FillView(TradeView):
    """A trade as one of its two parties sees it; a fee below nothing is a rebate."""

    order_id: str
    side: str
    liquidity: str
    fee: str
    fee_asset: str


class FillsPage(TypedDict):
    """The account's own trades, newest first; `cursor` asks for those before, null at the end."""

    fills: list[FillView]
    cursor: str | None
    sequence: int


class LimitsView(TypedDict):
    """An account's own limits in one market; null where it has none."""

    max_open_orders: int | None
    max_quantity: str | None
    max_notional: str | None


class BalanceView(TypedDict):
    """What an account has of an asset."""

    free: str
    held: str


class AccountView(TypedDict):
    """An account's settings; null fees are the market's, limits go by market."""

    account: str
    frozen: bool
    maker_fee: str | None
    taker_fee: str | None
    limits: dict[str, LimitsView]


class AccountAnswer(AccountView):
    """An account, its balances by asset, as of a sequence."""

    balances: dict[str, BalanceView]
    sequence: int


class OwnAccountAnswer(AccountAnswer):
    """The caller's account, and what its key may do; null where there are no keys."""

    scopes: list[str] | None


class AccountChangedAnswer(AccountView):
    """An account after a change, and the orders that the change ended."""

    canceled: list[str]
    sequence: int


class TransferView(TypedDict):
    """A deposit or a withdrawal, where and when it was made first."""

    id: str
    account: str
    type: str
    asset: str
    amount: str
    time: str
    sequence: int


class TransferAnswer(TypedDict):
    """A transfer; `repeated`: it had been made before, and nothing was moved now."""

    transfer: TransferView
    repeated: bool
    sequence: int


class KeyView(TypedDict):
    """A key, without anything that could prove it; `public_key` (base64) is of one that signs."""

    id: str
    account: str
    kind: str
    scopes: list[str]
    created_at: str
    revoked_at: str | None
    public_key: str | None


class KeyAnswer(TypedDict):
    """A key; `bearer` is shown here, in a repeat under the idempotency key, and never again."""

    key: KeyView
    bearer: NotRequired[str]
    sequence: int


class KeysAnswer(TypedDict):
    """The keys of an account, oldest first."""

    keys: list[KeyView]
    sequence: int
