"""Accounts: balances, fills, transfers, keys, and what operators decide about them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final

from aiohttp import web

from raft_exchange.decoding.account_schema import (
    KeyTerms,
    account_named,
    change_account,
    key_id_of,
    key_terms,
    signed_key,
    transfer,
)
from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import Json, known_fields
from raft_exchange.gateway.access import account_of, principal_of
from raft_exchange.gateway.account_answers import (
    AccountAnswer,
    AccountChangedAnswer,
    FillsPage,
    KeyAnswer,
    KeysAnswer,
    OwnAccountAnswer,
    TransferAnswer,
)
from raft_exchange.gateway.account_views import (
    account_view,
    balances_view,
    fill_view,
    key_view,
    scope_names,
    transfer_view,
)
from raft_exchange.gateway.bodies import json_object, query_of, whole_number
from raft_exchange.gateway.context import CONTEXT, Context
from raft_exchange.gateway.reads import (
    FRESHNESS,
    freshen,
    market_named,
    pass_barrier,
    read_headers,
)
from raft_exchange.gateway.refusals import refusal
from raft_exchange.gateway.rendering import answer
from raft_exchange.gateway.signatures import SIGNED
from raft_exchange.gateway.submission import envelope_of, submit, write_headers
from raft_exchange.matching.messages import (
    AccountChanged,
    AccountCreated,
    AccountSettings,
    Command,
    CommandRefused,
    CreateAccount,
    CreateKey,
    KeyChanged,
    KeyKind,
    OrderEnded,
    RevokeKey,
    TransferMade,
)
from raft_exchange.sequencer.outcome import Committed

ACCOUNT_FIELDS: Final = ("account",)
FILLS: Final = 100
FILLS_MAX: Final = 1_000


async def post_account(request: web.Request) -> web.Response:
    """Open an account."""
    query_of(request)
    body = await json_object(request)
    known_fields(body, ACCOUNT_FIELDS)
    account = account_named(str(body.get("account") or ""))
    result = await _administer(request, CreateAccount(account), sent=body)
    event = result.events[0]
    assert isinstance(event, AccountCreated), event
    opened: AccountAnswer = {
        **account_view(event.account, AccountSettings(), {}),
        "balances": {},
        "sequence": result.sequence,
    }
    return answer(opened, status=201, headers=write_headers(result))


async def patch_account(request: web.Request) -> web.Response:
    """Change an account's fees and limits, freeze or thaw it; say which orders that ended."""
    query_of(request)
    markets = request.app[CONTEXT].marketdata.markets
    body = await json_object(request)
    account = account_named(request.match_info["account"])
    command = change_account(body, markets, account=account)
    result = await _administer(request, command, sent=body)
    event = result.events[0]
    assert isinstance(event, AccountChanged), event
    rules = {name: market.rules for name, market in markets.items()}
    ended = [e.order.order_id for e in result.events if isinstance(e, OrderEnded)]
    changed: AccountChangedAnswer = {
        **account_view(account, event.settings, rules),
        "canceled": [str(order_id) for order_id in ended],
        "sequence": result.sequence,
    }
    return answer(changed, headers=write_headers(result))


async def get_account(request: web.Request) -> web.Response:
    """Answer with one account: its settings and balances."""
    body = await _account(request, account_named(request.match_info["account"]))
    return answer(body, headers=read_headers(request.app[CONTEXT]))


async def get_own_account(request: web.Request) -> web.Response:
    """Answer with the caller's account, and what its key may do."""
    account, principal = account_of(request), principal_of(request)
    body: OwnAccountAnswer = {
        **await _account(request, account),
        "scopes": scope_names(principal.scopes) if principal.key_id else None,
    }
    return answer(body, headers=read_headers(request.app[CONTEXT]))


async def _account(request: web.Request, account: str) -> AccountAnswer:
    context = request.app[CONTEXT]
    await freshen(context, query_of(request, FRESHNESS))
    settings = await _settings(context, account)
    marketdata = context.marketdata
    rules = {name: market.rules for name, market in marketdata.markets.items()}
    return {
        **account_view(account, settings, rules),
        "balances": balances_view(marketdata.balances.of(account)),
        "sequence": marketdata.sequence,
    }


async def _settings(context: Context, account: str) -> AccountSettings:
    """Return an account's settings; an account that is not known here, after a barrier.

    Raises:
        Problem: `unknown_account`, or this node cannot catch up.
    """
    accounts = context.marketdata.accounts
    if account not in accounts:  # maybe opened through another node: see `market_named`
        await pass_barrier(context)
        accounts = context.marketdata.accounts
    if account not in accounts:
        detail = "no account has this name"
        raise Problem(ErrorCode.UNKNOWN_ACCOUNT, detail, field="account", value=account)
    return accounts[account]


async def post_deposit(request: web.Request) -> web.Response:
    """Bring money in, once for each id."""
    return await _transfer(request, is_deposit=True)


async def post_withdrawal(request: web.Request) -> web.Response:
    """Take money out, once for each id."""
    return await _transfer(request, is_deposit=False)


async def _transfer(request: web.Request, *, is_deposit: bool) -> web.Response:
    query_of(request)
    account = account_named(request.match_info["account"])
    body = await json_object(request)
    command = transfer(body, account=account, is_deposit=is_deposit)
    result = await _administer(request, command, sent=body)
    event = result.events[0]
    assert isinstance(event, TransferMade), event
    repeated = event.first_sequence != result.sequence
    made: TransferAnswer = {
        "transfer": transfer_view(event),
        "repeated": repeated,
        "sequence": result.sequence,
    }
    return answer(made, status=200 if repeated else 201, headers=write_headers(result))


async def post_key(request: web.Request) -> web.Response:
    """Create a key; only this answer and its repeats under an idempotency key show a bearer key."""
    query_of(request)
    account = account_named(request.match_info["account"])
    body = await json_object(request)
    if SIGNED in request:
        command, shown = signed_key(body, account=account), ""
    else:
        command, shown = _new_key(request, key_terms(body), account=account)
    result = await _administer(request, command, sent=body)
    event = result.events[-1]
    assert isinstance(event, KeyChanged), event
    created: KeyAnswer = {"key": key_view(account, event.key), "sequence": result.sequence}
    if shown:
        created["bearer"] = shown
    return answer(created, status=201, headers=write_headers(result))


def _new_key(request: web.Request, terms: KeyTerms, *, account: str) -> tuple[CreateKey, str]:
    """Return the command, and the bearer key that its holder is shown; "" for a public key."""
    drawn, drawn_id = _draw(request, terms, account=account)
    shown = "" if terms.public_key else f"rx_{_text(drawn)}"
    kind = KeyKind.BEARER if shown else KeyKind.ED25519
    secret = hashlib.sha256(shown.encode()).digest() if shown else terms.public_key
    key_id = terms.key_id or f"key-{drawn_id[:8].hex()}"
    return CreateKey(account, key_id, kind, secret, terms.scopes, terms.replaces), shown


def _draw(request: web.Request, terms: KeyTerms, *, account: str) -> tuple[bytes, bytes]:
    """Return 32 bytes for a bearer key and as many for an id, which tell nothing of each other.

    Under an idempotency key every node derives the same ones, so that a repeat is the same command.
    They are of who asks as well: another operator who repeats the request learns nothing.
    """
    principal, idempotency_key = principal_of(request), envelope_of(request).idempotency_key
    if not idempotency_key:
        return secrets.token_bytes(32), secrets.token_bytes(32)
    asker = (principal.account, principal.key_id, idempotency_key)
    wanted = (account, terms.key_id, str(terms.scopes), terms.replaces)
    asked = [*(text.encode() for text in (*asker, *wanted)), terms.public_key]
    derive = request.app[CONTEXT].derive
    return derive(b"bearer", *asked), derive(b"id", *asked)


def _text(drawn: bytes) -> str:
    return base64.urlsafe_b64encode(drawn).rstrip(b"=").decode()


async def delete_key(request: web.Request) -> web.Response:
    """Revoke a key: worthless on every node from this answer on."""
    query_of(request)
    account = account_named(request.match_info["account"])
    key_id = key_id_of(request.match_info["key_id"])
    sent = {"account": account, "id": key_id}
    result = await _administer(request, RevokeKey(account, key_id), sent=sent)
    event = result.events[0]
    assert isinstance(event, KeyChanged), event
    revoked: KeyAnswer = {"key": key_view(account, event.key), "sequence": result.sequence}
    return answer(revoked, headers=write_headers(result))


async def get_keys(request: web.Request) -> web.Response:
    """Answer with the keys of an account, oldest first; never with what would prove them."""
    context = request.app[CONTEXT]
    account = account_named(request.match_info["account"])
    await freshen(context, query_of(request, FRESHNESS))
    await _settings(context, account)
    marketdata = context.marketdata
    views = [key_view(account, key) for key in marketdata.keys.of(account)]
    body: KeysAnswer = {"keys": views, "sequence": marketdata.sequence}
    return answer(body, headers=read_headers(context))


async def get_fills(request: web.Request) -> web.Response:
    """Answer with a page of the account's own trades, newest first."""
    context = request.app[CONTEXT]
    query = query_of(request, ("market", "limit", "cursor", *FRESHNESS))
    account = account_of(request)
    limit = whole_number("limit", query.get("limit", str(FILLS)), lowest=1, highest=FILLS_MAX)
    before = whole_number("cursor", query["cursor"]) if "cursor" in query else None
    await freshen(context, query)
    market = (
        (await market_named(context, query["market"])).rules.market if "market" in query else None
    )
    marketdata = context.marketdata
    page, cursor = marketdata.fills.page(account, limit=limit, before=before, market=market)
    views = [
        view
        for _, trade in page
        for view in fill_view(trade, marketdata.markets[trade.executed.market].rules, account)
    ]
    body: FillsPage = {
        "fills": views,
        "cursor": None if cursor is None else str(cursor),
        "sequence": marketdata.sequence,
    }
    return answer(body, headers=read_headers(context))


async def _administer(request: web.Request, command: Command, *, sent: Json) -> Committed:
    result = await submit(request.app[CONTEXT], envelope_of(request), command)
    event = result.events[0]
    if isinstance(event, CommandRefused):
        account = request.match_info.get("account")
        raise refusal(event, result, sent={"account": account, **sent})
    return result
