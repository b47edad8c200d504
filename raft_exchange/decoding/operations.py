"""A signed request, method, path and body -> the commands it asks for.

What a replica does with a signed request, and a node before it takes one. The table below lists
every operation that can be signed; its paths are those of the HTTP interface.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from raft_exchange.decoding.account_schema import (
    Listed,
    account_named,
    change_account,
    key_id_of,
    signed_key,
)
from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import Json, decode_object, is_label, known_fields
from raft_exchange.decoding.market_schema import MARKET_CHANGE_FIELDS, change_market
from raft_exchange.decoding.order_schema import (
    AMEND_FIELDS,
    CANCEL_AFTER_FIELDS,
    SIDES,
    amend_order,
    batch_items,
    batch_order,
    cancel_after,
    market_name,
    new_order,
    oco,
    oco_legs,
)
from raft_exchange.matching.limits import CLIENT_ORDER_ID_BYTES_MAX, INT64_MAX
from raft_exchange.matching.messages import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    Command,
    MarketRules,
    ReplaceOrder,
    RevokeKey,
)

DRY_RUN: Final = "dry_run"
_WHOLE: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


class Asked(NamedTuple):
    """What a request asks, and of whom: the account of the key that signed it.

    `ids` are the parts of the path that its operation names, decoded. `rules_of_order` gives the
    rules of the market in which the account has a live order of an id; None where it has none.
    """

    account: str
    ids: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes
    markets: Mapping[str, Listed]
    rules_of_order: Callable[[str, int], MarketRules | None]

    def json(self) -> Json:
        """Return the body."""
        return decode_object(self.body)

    def rules_of(self, market: str) -> MarketRules:
        """Return the rules of a market."""
        listed = self.markets.get(market)
        if listed is None:
            detail = "no market has this name"
            raise Problem(ErrorCode.UNKNOWN_MARKET, detail, field="market", value=market)
        return listed.rules


def decode_operation(
    method: str,
    target: str,
    body: bytes,
    *,
    account: str,
    markets: Mapping[str, Listed],
    rules_of_order: Callable[[str, int], MarketRules | None],
) -> list[Command | None]:
    """Return the commands that a signed request asks for; None for an order that cannot be read.

    Raises:
        Problem: it asks for nothing that can be signed, or cannot be read.
    """
    path, question, text = target.partition("?")
    segments = [unquote(segment) for segment in path.split("/")]
    for operation in OPERATIONS:
        ids = operation.match(method, segments)
        if ids is not None:
            query = _query(text, (*operation.parameters, DRY_RUN)) if question else {}
            if method == "DELETE" and body:
                raise Problem(ErrorCode.BAD_JSON, "a signed DELETE has no body")
            asked = Asked(account, ids, query, body, markets, rules_of_order)
            return operation.commands(asked)
    raise Problem(ErrorCode.UNKNOWN_ROUTE, "nothing that can be signed is under this path")


def may_be_signed(method: str, target: str) -> bool:
    """Say whether a request goes into the log as it was signed."""
    segments = [unquote(segment) for segment in target.partition("?")[0].split("/")]
    return any(operation.match(method, segments) is not None for operation in OPERATIONS)


def cancels(method: str, target: str) -> bool:
    """Say whether a signed request does nothing but cancel orders."""
    return method == "DELETE" and target.startswith("/v1/orders")


def _query(text: str, allowed: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = map(unquote, pair.partition("="))
        if name not in allowed or name in found:
            detail = "this parameter cannot be signed here, or stands twice"
            raise Problem(ErrorCode.BAD_FIELD, detail, field=name, allowed=list(allowed))
        found[name] = value
    # A dry run that its sender signed must never become an order.
    if found.pop(DRY_RUN, "false") != "false":
        raise Problem(ErrorCode.BAD_FIELD, "a dry run asks for nothing", field=DRY_RUN)
    return found


def _place(asked: Asked) -> list[Command | None]:
    return [new_order(asked.json(), asked.rules_of, account=asked.account)]


def _batch(asked: Asked) -> list[Command | None]:
    return [_batch_order(item, asked) for item in batch_items(asked.json())]


def _batch_order(item: object, asked: Asked) -> Command | None:
    try:
        return batch_order(item, asked.rules_of, account=asked.account)
    except Problem:
        return None


def _oco(asked: Asked) -> list[Command | None]:
    return [oco(oco_legs(asked.json()), asked.rules_of, account=asked.account)]


def _replace(asked: Asked) -> list[Command | None]:
    order = new_order(asked.json(), asked.rules_of, account=asked.account)
    return [ReplaceOrder(asked.account, _order_id(asked.ids[0]), order)]


def _amend(asked: Asked) -> list[Command | None]:
    body, order_id = asked.json(), _order_id(asked.ids[0])
    known_fields(body, AMEND_FIELDS)
    rules = asked.rules_of_order(asked.account, order_id)
    if rules is None:  # no grid to read prices on, and none is needed to refuse it
        return [AmendOrder(asked.account, order_id, None, None)]
    return [amend_order(body, rules, account=asked.account, order_id=order_id)]


def _cancel(asked: Asked) -> list[Command | None]:
    return [CancelOrder(asked.account, _order_id(asked.ids[0]), "")]


def _cancel_labelled(asked: Asked) -> list[Command | None]:
    (label,) = asked.ids
    if not is_label(label, CLIENT_ORDER_ID_BYTES_MAX):
        raise Problem(ErrorCode.BAD_FIELD, "no label", field="client_order_id", value=label)
    return [CancelOrder(asked.account, 0, label)]


def _cancel_all(asked: Asked) -> list[Command | None]:
    market, side = asked.query.get("market"), asked.query.get("side")
    if side is not None and side not in SIDES:
        raise Problem(ErrorCode.BAD_FIELD, "no side", field="side", value=side)
    if market is not None:
        asked.rules_of(market_name(market))
    return [CancelAll(asked.account, market, None if side is None else SIDES[side])]


def _cancel_after(asked: Asked) -> list[Command | None]:
    body = asked.json()
    known_fields(body, CANCEL_AFTER_FIELDS)
    return [cancel_after(body, account=asked.account)]


def _change_market(asked: Asked) -> list[Command | None]:
    body = asked.json()
    known_fields(body, MARKET_CHANGE_FIELDS)
    return [change_market(body, asked.rules_of(market_name(asked.ids[0])))]


def _change_account(asked: Asked) -> list[Command | None]:
    account = account_named(asked.ids[0])
    return [change_account(asked.json(), asked.markets, account=account)]


def _create_key(asked: Asked) -> list[Command | None]:
    return [signed_key(asked.json(), account=account_named(asked.ids[0]))]


def _revoke_key(asked: Asked) -> list[Command | None]:
    account, key_id = asked.ids
    return [RevokeKey(account_named(account), key_id_of(key_id))]


def _order_id(text: str) -> int:
    number = int(text) if _WHOLE.fullmatch(text) else 0
    if not 0 < number <= INT64_MAX:
        raise Problem(ErrorCode.BAD_FIELD, "no order id", field="order_id", value=text)
    return number


class Operation(NamedTuple):
    """One operation: its method, its path, its query, what it asks for.

    In the path "*" stands for an id, "**" for one that may hold slashes.
    """

    method: str
    path: str
    parameters: tuple[str, ...]
    commands: Callable[[Asked], list[Command | None]]

    def match(self, method: str, segments: list[str]) -> tuple[str, ...] | None:
        """Return the ids in a path that is this operation's, None for another."""
        names = self.path.split("/")
        if names[-1] == "**" and len(segments) > len(names):
            segments = [*segments[: len(names) - 1], "/".join(segments[len(names) - 1 :])]
        if method != self.method or len(names) != len(segments):
            return None
        pairs = list(zip(names, segments, strict=True))
        if any(name not in ("*", "**", segment) for name, segment in pairs):
            return None
        return tuple(segment for name, segment in pairs if name[:1] == "*")


OPERATIONS: Final = (
    Operation("POST", "/v1/orders", (), _place),
    Operation("POST", "/v1/orders/batch", (), _batch),
    Operation("POST", "/v1/orders/oco", (), _oco),
    Operation("POST", "/v1/orders/*/replace", (), _replace),
    Operation("PATCH", "/v1/orders/*", (), _amend),
    Operation("DELETE", "/v1/orders/*", (), _cancel),
    Operation("DELETE", "/v1/orders/by-client-id/**", (), _cancel_labelled),
    Operation("DELETE", "/v1/orders", ("market", "side"), _cancel_all),
    Operation("POST", "/v1/cancel-after", (), _cancel_after),
    Operation("PATCH", "/v1/markets/*", (), _change_market),
    Operation("PATCH", "/v1/accounts/*", (), _change_account),
    Operation("POST", "/v1/accounts/*/keys", (), _create_key),
    Operation("DELETE", "/v1/accounts/*/keys/*", (), _revoke_key),
)
