"""One function for each thing that operators ask of the exchange, like those in `calls`.

They take a key of the scope `admin`, where there are keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from raft_exchange.client.account_models import (
    Account,
    AccountChanged,
    ApiKey,
    KeyMade,
    Scope,
    Transferred,
)
from raft_exchange.client.call import Call, as_type, part, query_of, read, write
from raft_exchange.client.cluster import (
    Draining,
    HandedOver,
    Members,
    RecoveredKey,
    SnapshotAsked,
)
from raft_exchange.client.models import Market, NewMarket, Number, WriteKey, text_of


class _Keys(msgspec.Struct):
    keys: list[ApiKey]


_market: Final = as_type(Market)
_account: Final = as_type(Account)
_changed: Final = as_type(AccountChanged)
_transferred: Final = as_type(Transferred)
_key_made: Final = as_type(KeyMade)
_keys: Final = as_type(_Keys)
_members: Final = as_type(Members)
_snapshot_asked: Final = as_type(SnapshotAsked)
_handed_over: Final = as_type(HandedOver)
_draining: Final = as_type(Draining)
_recovered_key: Final = as_type(RecoveredKey)


# Markets --------------------------------------------------------------------------------------


def create_market(market: NewMarket, *, key: WriteKey | None = None) -> Call[Market]:
    """Open a market."""
    return write("POST", "/v1/markets", _market, body=market.body(), key=key)


def change_market(
    market: str,
    *,
    status: Literal["trading", "halt", "cancel_only"] | None = None,
    limits: Mapping[str, Number | str] | None = None,
    cancel_orders: bool = False,
    signed_orders: Literal["on", "off"] | None = None,
    key: WriteKey | None = None,
) -> Call[Market]:
    """Change a market's status, or its limits and fees by their names (`max_price`, …).

    `cancel_orders` cancels what rests there. `signed_orders` says whether it takes no others.
    """
    body = {name: text_of(value) for name, value in (limits or {}).items()}
    if status is not None:
        body["status"] = status
    if signed_orders is not None:
        body["signed_orders"] = signed_orders
    if cancel_orders:
        body["cancel_orders"] = True
    return write("PATCH", f"/v1/markets/{part(market)}", _market, body=body, key=key)


# Accounts -------------------------------------------------------------------------------------


def create_account(account: str, *, key: WriteKey | None = None) -> Call[Account]:
    """Open an account."""
    return write("POST", "/v1/accounts", _account, body={"account": account}, key=key)


def get_account_of(account: str) -> Call[Account]:
    """Return an account and its balances."""
    return read(_of(account), _account)


def change_account(
    account: str,
    *,
    frozen: bool | None = None,
    maker_fee: Number | None = None,
    taker_fee: Number | None = None,
    limits: Mapping[str, Mapping[str, Number] | None] | None = None,
    key: WriteKey | None = None,
) -> Call[AccountChanged]:
    """Change an account; what is not given stays.

    Args:
        account: which.
        frozen: True cancels its orders and takes no more; False thaws it.
        maker_fee: a part of the amount, `"0.001"`; `"market"` for the market's.
        taker_fee: likewise.
        limits: by market: `max_open_orders`, `max_quantity`, `max_notional`; None lifts them.
        key: of an earlier attempt.
    """
    fees = {"maker_fee": maker_fee, "taker_fee": taker_fee}
    body = {name: text_of(fee) for name, fee in fees.items() if fee is not None}
    if frozen is not None:
        body["frozen"] = frozen
    if limits is not None:
        body["limits"] = {
            market: None if own is None else {n: _limit(n, value) for n, value in own.items()}
            for market, own in limits.items()
        }
    return write("PATCH", _of(account), _changed, body=body, key=key)


def _limit(name: str, value: Number) -> object:
    return value if name == "max_open_orders" else text_of(value)


def deposit(
    account: str, asset: str, amount: Number, *, transfer_id: str, key: WriteKey | None = None
) -> Call[Transferred]:
    """Bring money in, once for each `transfer_id` however often it is said."""
    return _transfer("deposits", account, asset, amount, transfer_id, key=key)


def withdraw(
    account: str, asset: str, amount: Number, *, transfer_id: str, key: WriteKey | None = None
) -> Call[Transferred]:
    """Take money out, once for each `transfer_id` however often it is said."""
    return _transfer("withdrawals", account, asset, amount, transfer_id, key=key)


def _transfer(
    path: str, account: str, asset: str, amount: Number, transfer_id: str, *, key: WriteKey | None
) -> Call[Transferred]:
    body = {"id": transfer_id, "asset": asset, "amount": text_of(amount)}
    return write("POST", f"{_of(account)}/{path}", _transferred, body=body, key=key)


# Keys -----------------------------------------------------------------------------------------


def create_key(
    account: str,
    scopes: Sequence[Scope],
    *,
    key_id: str | None = None,
    public_key: str | None = None,
    replaces: str | None = None,
    key: WriteKey | None = None,
) -> Call[KeyMade]:
    """Give an account a key, shown in this answer and its repeats under `key` only.

    Args:
        account: whom it speaks for.
        scopes: what it may do.
        key_id: its name; one is made up if none is given.
        public_key: register this Ed25519 key (32 bytes in base64) instead of a bearer key.
        replaces: the id of a key that ends in the same step.
        key: of an earlier attempt.
    """
    given = {"id": key_id, "public_key": public_key, "replaces": replaces}
    body: dict[str, object] = {name: text for name, text in given.items() if text is not None}
    body["scopes"] = list(scopes)
    return write("POST", f"{_of(account)}/keys", _key_made, body=body, key=key)


def get_keys(account: str) -> Call[list[ApiKey]]:
    """Return an account's keys, oldest first, revoked ones included."""
    return read(f"{_of(account)}/keys", lambda body: _keys(body).keys)


def revoke_key(account: str, key_id: str, *, key: WriteKey | None = None) -> Call[KeyMade]:
    """End a key, on every node from the answer on."""
    return write("DELETE", f"{_of(account)}/keys/{part(key_id)}", _key_made, key=key)


def _of(account: str) -> str:
    return f"/v1/accounts/{part(account)}"


# The cluster ----------------------------------------------------------------------------------


def add_member(node_id: str, raft_address: str, http_url: str) -> Call[Members]:
    """Add a node to the cluster; it votes when it has caught up. Harmless if it is a member."""
    body = {"id": node_id, "raft_address": raft_address, "http_url": http_url}
    return write("POST", "/v1/cluster/members", _members, body=body, key=None)


def remove_member(node_id: str, *, proof: tuple[str, str] | None = None) -> Call[Members]:
    """Remove a member for ever. Harmless if that was done before.

    `proof` is for who holds the cluster's secret instead of a key: a nonce, and what proves it.
    """
    path = f"/v1/cluster/members/{part(node_id)}"
    headers = {} if proof is None else {"X-Nonce": proof[0], "X-Proof": proof[1]}
    return Call("DELETE", path, _members, key=WriteKey.new(), headers=headers)


def request_snapshot() -> Call[SnapshotAsked]:
    """Have the node that answers write a snapshot."""
    return write("POST", "/v1/cluster/snapshot", _snapshot_asked, key=None)


def hand_over(to: str | None = None) -> Call[HandedOver]:
    """Have the node that answers, which leads, make `to` the leader, or the most advanced one."""
    return write("POST", "/v1/cluster/leader", _handed_over, query=query_of(to=to), key=None)


def drain() -> Call[Draining]:
    """Have the node that answers hand over, finish what it took, and end."""
    return write("POST", "/v1/cluster/drain", _draining, key=None)


def recover_key() -> Call[RecoveredKey]:
    """Make a key with every scope, for who lost all; on a control socket only."""
    return write("POST", "/keys", _recovered_key, key=None)
