"""Who may do what: the key that a request shows, and the scope that its route asks for.

Rules:
- Every route asks for nothing or for one scope (`NEEDS`); one that is not named asks for `ADMIN`.
- A request that is signed acts for the account of the key that signed it, in every mode.
- `open`: there are no keys. A request acts for the account that it names, with every scope.
- `required`: a request acts for the account of its key. A key of the scope `ADMIN` may do
  everything, each other one what its own scopes say.
- A key is found by its SHA-256, so how long that takes tells nothing of the key itself; the digests
  are then compared in constant time.
- What is found here is this node's knowledge. A write carries the key's id and is judged again
  where it is applied; a read is judged again just before its answer leaves (`still_good`), so that
  an answer as of a revocation or later is never given to the revoked key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final, NamedTuple

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import NAME_FORM, is_label
from raft_exchange.gateway.context import CONTEXT, Context
from raft_exchange.gateway.signatures import is_signed, signer_of
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.messages import ANONYMOUS, KeyKind, Scope

KEY_CHARS_MAX: Final = 256
BEARER: Final = "Bearer "
EVERY_SCOPE: Final = Scope.READ | Scope.TRADE | Scope.ADMIN
NOTHING: Final = Scope(0)

NEEDS: Final[Mapping[tuple[str, str], Scope]] = {
    ("POST", "/v1/orders"): Scope.TRADE,
    ("POST", "/v1/orders/batch"): Scope.TRADE,
    ("POST", "/v1/orders/oco"): Scope.TRADE,
    ("POST", "/v1/orders/{order_id}/replace"): Scope.TRADE,
    ("POST", "/v1/cancel-after"): Scope.TRADE,
    ("PATCH", "/v1/orders/{order_id}"): Scope.TRADE,
    ("DELETE", "/v1/orders/{order_id}"): Scope.TRADE,
    ("DELETE", "/v1/orders/by-client-id/{client_order_id}"): Scope.TRADE,
    ("DELETE", "/v1/orders"): Scope.TRADE,
    ("POST", "/order"): Scope.TRADE,
    ("DELETE", "/order/{order_id}"): Scope.TRADE,
    ("GET", "/v1/orders"): Scope.READ,
    ("GET", "/v1/orders/{order_id}"): Scope.READ,
    ("GET", "/v1/account"): Scope.READ,
    ("GET", "/v1/fills"): Scope.READ,
    # Market data and what describes the node are for everybody.
    ("GET", "/v1/markets"): NOTHING,
    ("GET", "/v1/markets/{market}"): NOTHING,
    ("GET", "/v1/markets/{market}/book"): NOTHING,
    ("GET", "/v1/markets/{market}/trades"): NOTHING,
    ("GET", "/v1/markets/{market}/ticker"): NOTHING,
    ("GET", "/v1/markets/{market}/candles"): NOTHING,
    ("GET", "/v1/time"): NOTHING,
    ("GET", "/v1/cluster"): NOTHING,
    ("GET", "/v1/node"): NOTHING,
    ("GET", "/openapi.json"): NOTHING,
    ("GET", "/docs"): NOTHING,
    ("GET", "/docs/{file}"): NOTHING,
    ("GET", "/asyncapi.json"): NOTHING,
    ("GET", "/livez"): NOTHING,
    ("GET", "/readyz"): NOTHING,
    ("GET", "/metrics"): NOTHING,
    ("GET", "/"): NOTHING,
    ("GET", "/index.html"): NOTHING,
    ("GET", "/web/{digest}/{file}"): NOTHING,
    ("GET", "/state"): NOTHING,
    ("GET", "/events"): NOTHING,
    # These look at keys, or at proofs of the cluster secret, themselves.
    ("GET", "/v1/stream"): NOTHING,
    ("GET", "/v1/ws"): NOTHING,
    ("GET", "/v1/history"): NOTHING,
    ("POST", "/"): NOTHING,
    ("POST", "/v1/cluster/members"): NOTHING,
    ("DELETE", "/v1/cluster/members/{member}"): NOTHING,
}

LOOK_THEMSELVES: Final = frozenset({"/v1/stream", "/v1/ws"})
"""Who asks for no scope here, and may yet be told by a key or a signature who reads."""


class Principal(NamedTuple):
    """Whom a request acts for, by which key ("" where there are none), and what it may do."""

    account: str
    key_id: str
    scopes: Scope

    def demand(self, scope: Scope) -> None:
        """Go on only if it may do this.

        Raises:
            Problem: `unauthenticated` or `forbidden`.
        """
        if self.scopes & (scope | Scope.ADMIN):
            return
        name = str(scope.name).lower()
        if not self.account:
            raise _unauthenticated(f"this takes a key with the scope `{name}`")
        raise Problem(
            ErrorCode.FORBIDDEN,
            f"the key has not the scope `{name}`",
            field="Authorization",
            allowed=f"a key with the scope {name}",
        )


OWN_MACHINE: Final = frozenset({"127.0.0.1", "::1", ""})
"""Where a request comes from that was sent on the node's own machine; "" is a Unix socket."""

NOBODY: Final = Principal("", "", NOTHING)
PRINCIPAL: Final = web.RequestKey("principal", Principal)


async def admit(request: web.Request, context: Context) -> None:
    """Let a request pass to its route, or not.

    Raises:
        Problem: `unauthenticated` or `forbidden`; as `signatures.signer_of`.
    """
    resource = request.match_info.route.resource
    if resource is None:
        return
    method = "GET" if request.method == "HEAD" else request.method
    scope = NEEDS.get((method, resource.canonical), Scope.ADMIN)
    if is_signed(request) and (scope or resource.canonical in LOOK_THEMSELVES):
        account, key = await signer_of(request, context)
        signer = Principal(account, key.key_id, Scope(key.scopes))
        request[PRINCIPAL] = _held_by(request, signer)
    if scope and context.settings.auth_required:
        principal_of(request).demand(scope)


def is_on_own_machine(request: web.Request) -> bool:
    """Say whether a request was sent on the node's own machine."""
    return request.remote in OWN_MACHINE


def demand_operator(request: web.Request) -> None:
    """Go on for an operator only: a key of the scope `ADMIN`, or the own machine without keys.

    Raises:
        Problem: `unauthenticated` or `forbidden`.
    """
    if request.app[CONTEXT].settings.auth_required:
        principal_of(request).demand(Scope.ADMIN)
    elif not is_on_own_machine(request):
        raise Problem(ErrorCode.FORBIDDEN, "where there are no keys, ask from the node's machine")


def still_good(request: web.Request, context: Context) -> None:
    """Keep an answer back whose key was revoked while it was made.

    Writes need no second look: they were judged where they were applied.

    Raises:
        Problem: `unauthenticated`.
    """
    principal = request.get(PRINCIPAL)
    if principal is None or request.method not in ("GET", "HEAD"):
        return
    keys = context.marketdata.keys
    if principal.key_id and not keys.is_good(principal.account, principal.key_id):
        raise _unauthenticated("the key was revoked")


def principal_of(request: web.Request) -> Principal:
    """Return whom a request acts for; `NOBODY` where keys are asked for and it shows none.

    Raises:
        Problem: `bad_field`, `unauthenticated` for a key that is not good, or `forbidden` for
            another account than the key's.
    """
    known = request.get(PRINCIPAL)
    if known is None:
        known = request[PRINCIPAL] = _principal(request)
    return known


def account_of(request: web.Request, scope: Scope = Scope.READ) -> str:
    """Return the account that a request acts for.

    Raises:
        Problem: as `principal_of`, or it may not do what takes this scope.
    """
    principal = principal_of(request)
    principal.demand(scope)
    return principal.account


def _principal(request: web.Request) -> Principal:
    context, named = request.app[CONTEXT], request.headers.get("X-Account")
    if named is not None and not is_name(named):
        raise Problem(
            ErrorCode.BAD_FIELD,
            "the header X-Account is malformed",
            field="X-Account",
            value=named,
            allowed=NAME_FORM,
        )
    if not context.settings.auth_required:
        return open_principal(named or ANONYMOUS)
    sent = request.headers.getall("Authorization", [])
    if not sent:
        return NOBODY
    if len(sent) > 1 or sent[0][: len(BEARER)].lower() != BEARER.lower():
        raise _unauthenticated("send one header `Authorization: Bearer <key>`")
    return _held_by(request, key_holder(context, sent[0][len(BEARER) :].strip()))


def _held_by(request: web.Request, principal: Principal) -> Principal:
    """Return the holder of a key, if the request names no other account than the key's."""
    named = request.headers.get("X-Account")
    if named not in (None, principal.account):
        raise Problem(
            ErrorCode.FORBIDDEN,
            "the key belongs to another account",
            field="X-Account",
            value=named,
            allowed="the account of the key, or none",
        )
    return principal


def open_principal(account: str) -> Principal:
    """Return who acts for an account where there are no keys."""
    return Principal(account, "", EVERY_SCOPE)


def key_holder(context: Context, key: object) -> Principal:
    """Return whom a bearer key speaks for. O(1).

    Raises:
        Problem: `unauthenticated`.
    """
    if not isinstance(key, str) or not is_label(key, KEY_CHARS_MAX):
        raise _unauthenticated("the key is malformed")
    digest = hashlib.sha256(key.encode()).digest()
    owned = context.marketdata.keys.by_secret(digest)
    if (
        owned is None
        or owned.key.kind is not KeyKind.BEARER
        or not hmac.compare_digest(owned.key.secret, digest)
        or owned.key.revoked_at_us
    ):
        raise _unauthenticated("the key is unknown or was revoked")
    return Principal(owned.account, owned.key.key_id, Scope(owned.key.scopes))


def caller(context: Context, payload: object) -> tuple[Principal, object]:
    """Return who sends a Grenache payload, and the payload without what proves it.

    Raises:
        Problem: `bad_field` or `unauthenticated`.
    """
    if not context.settings.auth_required:
        return open_principal(ANONYMOUS), payload
    if not isinstance(payload, dict) or payload.get("auth") is None:
        return NOBODY, payload
    shown = payload["auth"]
    if not isinstance(shown, dict) or set(shown) != {"key"}:
        allowed = '{"key": "<key>"}'
        detail = "auth is malformed"
        raise Problem(ErrorCode.BAD_FIELD, detail, field="auth", allowed=allowed)
    rest = {name: value for name, value in payload.items() if name != "auth"}
    return key_holder(context, shown["key"]), rest


def _unauthenticated(detail: str) -> Problem:
    problem = Problem(
        ErrorCode.UNAUTHENTICATED,
        detail,
        field="Authorization",
        allowed="Bearer <key>, with a key of this exchange that is not revoked",
    )
    problem.headers["WWW-Authenticate"] = "Bearer"
    return problem
