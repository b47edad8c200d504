"""Bodies -> the commands of operators about accounts, transfers and keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import (
    Json,
    amount_e36,
    bad_field,
    count_max,
    fee_e8,
    known_fields,
    label,
    name,
    notional_max,
    out_of_range,
    steps,
)
from raft_exchange.decoding.signing import is_public_key
from raft_exchange.matching.limits import (
    AMOUNT_MAX,
    INT64_MAX,
    TRANSFER_ID_BYTES_MAX,
)
from raft_exchange.matching.messages import (
    AccountLimits,
    ChangeAccount,
    CreateKey,
    Deposit,
    KeyKind,
    MarketRules,
    Scope,
    Withdraw,
)

TRANSFER_FIELDS: Final = ("id", "asset", "amount")
ACCOUNT_CHANGE_FIELDS: Final = ("frozen", "maker_fee", "taker_fee", "limits")
LIMIT_FIELDS: Final = ("max_open_orders", "max_quantity", "max_notional")
KEY_FIELDS: Final = ("id", "scopes", "public_key", "replaces")
SCOPES: Final = {scope.name.lower(): scope for scope in Scope if scope.name is not None}
MARKETS_FEE: Final = "market"
"""What a fee says that is the market's again."""


class Listed(Protocol):
    """A market of the exchange, wherever it is kept."""

    rules: MarketRules


def transfer(body: Json, *, account: str, is_deposit: bool) -> Deposit | Withdraw:
    """Return the command of a deposit or a withdrawal.

    Raises:
        Problem: `bad_field` or `out_of_range`.
    """
    known_fields(body, TRANSFER_FIELDS)
    transfer_id = label(body, "id", TRANSFER_ID_BYTES_MAX)
    if not transfer_id:
        raise bad_field(body, "id", f"1 to {TRANSFER_ID_BYTES_MAX} printable ASCII characters")
    asset = name(body, "asset")
    amount = amount_e36(body, "amount")
    if not 0 < amount <= AMOUNT_MAX:
        raise out_of_range(body, "amount", "above 0, up to 10^36")
    command = Deposit if is_deposit else Withdraw
    return command(account, asset, str(amount), transfer_id)


def change_account(body: Json, markets: Mapping[str, Listed], *, account: str) -> ChangeAccount:
    """Return the command that changes an account; what is absent stays.

    Raises:
        Problem: `bad_field`, `out_of_range`, `unknown_market`.
    """
    known_fields(body, ACCOUNT_CHANGE_FIELDS)
    if all(value is None for value in body.values()):
        raise Problem(
            ErrorCode.BAD_FIELD,
            "nothing to change was given",
            field="frozen",
            allowed=list(ACCOUNT_CHANGE_FIELDS),
        )
    frozen = body.get("frozen")
    if frozen is not None and type(frozen) is not bool:
        raise bad_field(body, "frozen", ["true", "false"])
    return ChangeAccount(
        account,
        frozen,
        _own_fee_e8(body, "maker_fee"),
        _own_fee_e8(body, "taker_fee"),
        _limits(body, markets),
    )


def _own_fee_e8(body: Json, field: str) -> int | None:
    return -1 if body.get(field) == MARKETS_FEE else fee_e8(body, field)


def _limits(body: Json, markets: Mapping[str, Listed]) -> tuple[AccountLimits, ...]:
    value = body.get("limits")
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise bad_field(body, "limits", "an object of limits by market")
    limits = []
    for market, own in value.items():
        if market not in markets:
            raise Problem(
                ErrorCode.UNKNOWN_MARKET, "no market has this name", field="limits", value=market
            )
        if own is not None and not isinstance(own, dict):
            raise bad_field(value, market, f"an object of {', '.join(LIMIT_FIELDS)}, or null")
        limits.append(_market_limits(own or {}, markets[market].rules))
    return tuple(limits)


def _market_limits(own: Json, rules: MarketRules) -> AccountLimits:
    known_fields(own, LIMIT_FIELDS)
    lots = steps(own, "max_quantity", rules.lot_size_e18, ErrorCode.OFF_LOT)
    if lots is not None and not 0 <= lots <= INT64_MAX:
        raise out_of_range(own, "max_quantity", "0 for no limit, or below 2^63 lots")
    return AccountLimits(
        rules.market,
        count_max(own, "max_open_orders") or 0,
        lots or 0,
        notional_max(own, "max_notional", rules.tick_size_e18 * rules.lot_size_e18) or 0,
    )


class KeyTerms(NamedTuple):
    """What a new key is to be: "" for an id or a predecessor that was not named.

    `public_key` is of Ed25519; b"" asks for a bearer key.
    """

    key_id: str
    scopes: int
    replaces: str
    public_key: bytes


def key_terms(body: Json) -> KeyTerms:
    """Return what is asked of a new key.

    Raises:
        Problem: `bad_field`.
    """
    known_fields(body, KEY_FIELDS)
    return KeyTerms(
        name(body, "id") if body.get("id") is not None else "",
        _scopes(body),
        name(body, "replaces") if body.get("replaces") is not None else "",
        _public_key(body) if body.get("public_key") is not None else b"",
    )


def signed_key(body: Json, *, account: str) -> CreateKey:
    """Return the command for a key whose creation is signed: all of it stands in the body.

    Raises:
        Problem: `bad_field`.
    """
    terms = key_terms(body)
    for field, value in (("public_key", terms.public_key), ("id", terms.key_id)):
        if not value:
            raise bad_field(body, field, "given, where the creation of a key is signed")
    kind, secret = KeyKind.ED25519, terms.public_key
    return CreateKey(account, terms.key_id, kind, secret, terms.scopes, terms.replaces)


def _scopes(body: Json) -> int:
    value = body.get("scopes")
    if not isinstance(value, list) or not value:
        raise bad_field(body, "scopes", list(SCOPES))
    total = Scope(0)
    for word in value:
        if type(word) is not str or word not in SCOPES:
            raise bad_field(body, "scopes", list(SCOPES))
        total |= SCOPES[word]
    return int(total)


def _public_key(body: Json) -> bytes:
    value = body.get("public_key")
    try:
        key = base64.b64decode(value if isinstance(value, str) else "", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not is_public_key(key):
        raise bad_field(body, "public_key", "the 32 bytes of an Ed25519 public key in base64")
    return key


def key_id_of(text: str) -> str:
    """Return the key id in a path.

    Raises:
        Problem: `bad_field`.
    """
    return name({"id": text}, "id")


def account_named(text: str) -> str:
    """Return the account in a path.

    Raises:
        Problem: `bad_field`.
    """
    return name({"account": text}, "account")
