"""Accounts over HTTP: money in and out, fees, limits, the kill switch, keys, own fills."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.support.coroutines import in_loop
from tests.support.gateway import Answer, Gateway, gateway

MARKET = {
    "market": "ETH-EUR",
    "base": "ETH",
    "quote": "EUR",
    "tick_size": "0.05",
    "lot_size": "0.001",
    "accounts": "on",
    "maker_fee": "0.001",
    "taker_fee": "0.0025",
}


async def deposit(g: Gateway, account: str, amount: object, asset: str, id_: str = "d1") -> Answer:
    body = {"id": id_, "asset": asset, "amount": amount}
    return await g.call("POST", f"/v1/accounts/{account}/deposits", body)


async def place(g: Gateway, account: str, side: str, quantity: str, price: str) -> Answer:
    order = {"market": "ETH-EUR", "side": side, "type": "limit", "quantity": quantity}
    return await g.call("POST", "/v1/orders", order | {"price": price}, X_Account=account)


async def funded(g: Gateway) -> None:
    """A market with balances, and two traders who have something."""
    assert (await g.call("POST", "/v1/markets", MARKET)).status == 201
    for account, amount, asset in (("ann", "1000", "EUR"), ("bob", 10, "ETH")):
        assert (await g.call("POST", "/v1/accounts", {"account": account})).status == 201
        assert (await deposit(g, account, amount, asset)).status == 201


async def balances(g: Gateway, account: str) -> Any:
    return (await g.call("GET", "/v1/account", X_Account=account)).body["balances"]


@in_loop
async def test_a_trade_moves_both_assets_and_the_fees_exactly() -> None:
    async with gateway() as g:
        await funded(g)
        assert (await place(g, "ann", "buy", "1.001", "100.05")).status == 201
        # 1.001 x 100.05 = 100.15005, and 0.25 % of it, the higher of the two fees.
        assert await balances(g, "ann") == {
            "EUR": {"free": "899.599574875", "held": "100.400425125"}
        }
        assert (await place(g, "bob", "sell", "1", "99")).status == 201
        assert await balances(g, "bob") == {
            "ETH": {"free": "9", "held": "0"},
            "EUR": {"free": "99.799875", "held": "0"},
        }
        assert (await balances(g, "ann"))["ETH"] == {"free": "1", "held": "0"}
        assert await balances(g, "fees") == {"EUR": {"free": "0.350175", "held": "0"}}


@in_loop
async def test_an_order_that_cannot_be_paid_is_refused() -> None:
    async with gateway() as g:
        await funded(g)
        answer = await place(g, "ann", "buy", "10", "100")
        assert (answer.status, answer.code) == (422, "insufficient_funds")
        assert answer.body["field"] == "quantity"


@in_loop
async def test_own_fills_tell_the_fee_and_the_part_played() -> None:
    async with gateway() as g:
        await funded(g)
        for _ in range(3):
            await place(g, "ann", "buy", "1", "100")
        await place(g, "bob", "sell", "3", "100")
        first = await g.call("GET", "/v1/fills?limit=2", X_Account="ann")
        assert [fill["trade_id"] for fill in first.body["fills"]] == ["3", "2"]
        assert first.body["fills"][0] | {"time": "", "sequence": 0} == {
            "trade_id": "3",
            "market": "ETH-EUR",
            "price": "100",
            "quantity": "1",
            "maker_order_id": "3",
            "taker_order_id": "4",
            "taker_side": "sell",
            "order_id": "3",
            "side": "buy",
            "liquidity": "maker",
            "fee": "0.1",
            "fee_asset": "EUR",
            "time": "",
            "sequence": 0,
        }
        cursor = first.body["cursor"]
        rest = await g.call("GET", f"/v1/fills?limit=2&cursor={cursor}", X_Account="ann")
        assert [fill["trade_id"] for fill in rest.body["fills"]] == ["1"]
        assert rest.body["cursor"] is None
        taken = (await g.call("GET", "/v1/fills?market=ETH-EUR", X_Account="bob")).body["fills"]
        assert {(f["liquidity"], f["side"], f["fee"]) for f in taken} == {
            ("taker", "sell", "0.25"),
        }
        none = await g.call("GET", "/v1/fills?market=BTC-USD", X_Account="bob")
        assert none.body["fills"] == []


@in_loop
async def test_a_transfer_is_made_once_for_its_id() -> None:
    async with gateway() as g:
        await funded(g)
        first = await deposit(g, "ann", "5.000000000000000001", "EUR", "x")
        assert first.body["transfer"]["amount"] == "5.000000000000000001"
        assert (first.status, first.body["repeated"]) == (201, False)
        again = await deposit(g, "ann", "5.000000000000000001", "EUR", "x")
        assert (again.status, again.body["repeated"]) == (200, True)
        assert again.body["transfer"] == first.body["transfer"]
        other = await deposit(g, "ann", "6", "EUR", "x")
        assert (other.code, other.body["field"]) == ("idempotency_mismatch", "id")
        assert (await balances(g, "ann"))["EUR"]["free"] == "1005.000000000000000001"
        out = {"id": "w", "asset": "EUR", "amount": "1005.000000000000000002"}
        refused = await g.call("POST", "/v1/accounts/ann/withdrawals", out)
        assert (refused.code, refused.body["field"]) == ("insufficient_funds", "amount")
        everything = out | {"amount": "1005.000000000000000001"}
        assert (await g.call("POST", "/v1/accounts/ann/withdrawals", everything)).status == 201
        assert (await balances(g, "ann"))["EUR"] == {"free": "0", "held": "0"}


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"amount": "0"}, "out_of_range", "amount"),
        ({"amount": "-1"}, "out_of_range", "amount"),
        ({"amount": "1e-37"}, "out_of_range", "amount"),
        ({"amount": "1e37"}, "out_of_range", "amount"),
        ({"amount": "1e99"}, "bad_field", "amount"),
        ({"amount": "5x"}, "bad_field", "amount"),
        ({"amount": None}, "bad_field", "amount"),
        ({"asset": "XXX"}, "bad_field", "asset"),
        ({"asset": ""}, "bad_field", "asset"),
        ({"id": ""}, "bad_field", "id"),
        ({"id": None}, "bad_field", "id"),
        ({"id": "ü"}, "bad_field", "id"),
        ({"memo": "x"}, "bad_field", "memo"),
    ],
)
@in_loop
async def test_a_malformed_transfer_is_refused(change: Any, code: str, field: str) -> None:
    async with gateway() as g:
        await funded(g)
        body = {"id": "y", "asset": "EUR", "amount": "1"} | change
        answer = await g.call("POST", "/v1/accounts/ann/deposits", body)
        assert (answer.code, answer.body["field"]) == (code, field)


@in_loop
async def test_unlimited_funds_take_no_deposit_and_unknown_accounts_are_unknown() -> None:
    async with gateway() as g:
        await funded(g)
        assert (await deposit(g, "anonymous", "1", "EUR")).code == "invalid_combination"
        assert (await deposit(g, "zoe", "1", "EUR")).code == "unknown_account"
        assert (await g.call("GET", "/v1/accounts/zoe")).code == "unknown_account"
        assert (await g.call("PATCH", "/v1/accounts/zoe", {"frozen": True})).status == 404
        assert (await g.call("GET", "/v1/account")).body["balances"] == {}


@in_loop
async def test_the_kill_switch_ends_all_orders_and_refuses_new_ones() -> None:
    async with gateway() as g:
        await funded(g)
        order_id = (await place(g, "ann", "buy", "1", "100")).body["order"]["order_id"]
        frozen = await g.call("PATCH", "/v1/accounts/ann", {"frozen": True})
        assert (frozen.body["frozen"], frozen.body["canceled"]) == (True, [order_id])
        order = await g.call("GET", f"/v1/orders/{order_id}", X_Account="ann")
        assert order.body["order"]["status"] == "canceled"
        refused = await place(g, "ann", "buy", "1", "100")
        assert (refused.status, refused.code) == (403, "account_frozen")
        await g.call("PATCH", "/v1/accounts/ann", {"frozen": False})
        assert (await place(g, "ann", "buy", "1", "100")).status == 201
        halted = {"status": "halt", "cancel_orders": True}
        assert (await g.call("PATCH", "/v1/markets/ETH-EUR", halted)).status == 200
        live = await g.call("GET", "/v1/orders?status=open", X_Account="ann")
        assert live.body["orders"] == []


@in_loop
async def test_fees_and_limits_of_an_account_stand_in_place_of_the_markets() -> None:
    async with gateway() as g:
        await funded(g)
        own = {"max_open_orders": 1, "max_quantity": "2", "max_notional": "150.02"}
        change = {"maker_fee": 0, "taker_fee": "0.00000001", "limits": {"ETH-EUR": own}}
        changed = await g.call("PATCH", "/v1/accounts/ann", change)
        assert changed.body["limits"] == {"ETH-EUR": own}
        assert (changed.body["maker_fee"], changed.body["taker_fee"]) == ("0", "0.00000001")
        for quantity, price in (("2.001", "10"), ("1.501", "100")):
            assert (await place(g, "ann", "buy", quantity, price)).code == "risk_limit"
        assert (await place(g, "ann", "buy", "1.5", "100")).status == 201
        assert (await place(g, "ann", "buy", "1", "10")).code == "risk_limit"
        back = {"maker_fee": "market", "limits": {"ETH-EUR": None}}
        assert (await g.call("PATCH", "/v1/accounts/ann", back)).body["maker_fee"] is None
        shown = await g.call("GET", "/v1/accounts/ann")
        assert (shown.body["taker_fee"], shown.body["limits"]) == ("0.00000001", {})


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({}, "bad_field", "frozen"),
        ({"frozen": "yes"}, "bad_field", "frozen"),
        ({"maker_fee": "0.100000001"}, "out_of_range", "maker_fee"),
        ({"maker_fee": "0.2"}, "out_of_range", "maker_fee"),
        ({"taker_fee": -1}, "out_of_range", "taker_fee"),
        ({"limits": []}, "bad_field", "limits"),
        ({"limits": {"XXX": {}}}, "unknown_market", "limits"),
        ({"limits": {"ETH-EUR": 5}}, "bad_field", "ETH-EUR"),
        ({"limits": {"ETH-EUR": {"max": 5}}}, "bad_field", "max"),
        ({"limits": {"ETH-EUR": {"max_open_orders": 1.5}}}, "out_of_range", "max_open_orders"),
        ({"limits": {"ETH-EUR": {"max_quantity": "0.0001"}}}, "off_lot", "max_quantity"),
        ({"limits": {"ETH-EUR": {"max_notional": "0.00001"}}}, "out_of_range", "max_notional"),
    ],
)
@in_loop
async def test_malformed_settings_are_refused(change: Any, code: str, field: str) -> None:
    async with gateway() as g:
        await funded(g)
        answer = await g.call("PATCH", "/v1/accounts/ann", change)
        assert (answer.code, answer.body["field"]) == (code, field)


@in_loop
async def test_a_key_is_shown_once_and_only_its_hash_is_kept() -> None:
    async with gateway() as g:
        await funded(g)
        made = await g.call(
            "POST", "/v1/accounts/ann/keys", {"scopes": ["read", "trade"], "id": "k1"}
        )
        assert made.status == 201
        bearer = made.body["bearer"]
        digest = hashlib.sha256(bearer.encode()).digest()
        held = g.core.marketdata.keys.by_secret(digest)
        assert held is not None
        assert (held.account, held.key.key_id) == ("ann", "k1")
        listed = await g.call("GET", "/v1/accounts/ann/keys")
        assert listed.body["keys"] == [made.body["key"]]
        assert bearer not in str(listed.body)
        rotated = await g.call(
            "POST", "/v1/accounts/ann/keys", {"scopes": ["read"], "replaces": "k1"}
        )
        new_id = rotated.body["key"]["id"]
        keys = (await g.call("GET", "/v1/accounts/ann/keys")).body["keys"]
        assert [(key["id"], key["revoked_at"] is None) for key in keys] == [
            ("k1", False),
            (new_id, True),
        ]
        revoked = await g.call("DELETE", f"/v1/accounts/ann/keys/{new_id}")
        assert revoked.body["key"]["revoked_at"] is not None
        again = await g.call("DELETE", f"/v1/accounts/ann/keys/{new_id}")
        assert (again.status, again.code) == (404, "unknown_key")


NEW_KEYS = [
    {"scopes": ["read", "trade"]},
    {"scopes": ["read"], "id": "k1"},
    {"scopes": ["read"], "public_key": base64.b64encode(bytes(range(32))).decode()},
]


@pytest.mark.parametrize("body", NEW_KEYS)
@in_loop
async def test_a_repeat_under_an_idempotency_key_shows_the_same_key(body: Any) -> None:
    """At the same node, and at one that makes it first: what one draws, every other would."""
    path = "/v1/accounts/ann/keys"
    async with gateway() as g:
        await funded(g)
        made = await g.call("POST", path, body, Idempotency_Key="once")
        again = await g.call("POST", path, body, Idempotency_Key="once")
        assert (made.status, again.status) == (201, 201)
        assert again.headers["Idempotent-Replay"] == "true"
        assert again.body == made.body
        assert len((await g.call("GET", path)).body["keys"]) == 1
        if shown := made.body.get("bearer"):
            held = g.core.marketdata.keys.by_secret(hashlib.sha256(shown.encode()).digest())
            assert held is not None
            assert held.key.key_id == made.body["key"]["id"]
    async with gateway() as other:
        await funded(other)
        elsewhere = await other.call("POST", path, body, Idempotency_Key="once")
        assert elsewhere.body == made.body


@in_loop
async def test_what_is_asked_by_whom_under_which_key_makes_another_key() -> None:
    path, body = "/v1/accounts/ann/keys", {"scopes": ["read"]}
    async with gateway() as g:
        await funded(g)
        made = [await g.call("POST", path, body, Idempotency_Key=key) for key in ("one", "two")]
        made += [await g.call("POST", path, body) for _ in range(2)]
        assert [answer.status for answer in made] == [201] * 4
        assert len({answer.body["bearer"] for answer in made}) == 4
        assert len({answer.body["key"]["id"] for answer in made}) == 4
        assert not any(answer.body["key"]["id"][4:] in answer.body["bearer"] for answer in made)
        for asked, headers in ((body, {"X_Account": "bob"}), ({"scopes": ["trade"]}, {})):
            refused = await g.call("POST", path, asked, Idempotency_Key="one", **headers)
            assert (refused.status, refused.code) == (422, "idempotency_mismatch")


@in_loop
async def test_a_public_key_is_kept_as_it_is_and_nothing_secret_is_made() -> None:
    async with gateway() as g:
        await funded(g)
        body = {"scopes": ["trade"], "public_key": base64.b64encode(bytes(range(32))).decode()}
        made = await g.call("POST", "/v1/accounts/ann/keys", body)
        assert (made.status, made.body["key"]["kind"]) == (201, "ed25519")
        assert "bearer" not in made.body
        for wrong in ("", "AAAA", "*" * 44, 7):
            refused = await g.call("POST", "/v1/accounts/ann/keys", body | {"public_key": wrong})
            assert (refused.code, refused.body["field"]) == ("bad_field", "public_key")
        for scopes in ([], ["all"], "read", [1]):
            refused = await g.call("POST", "/v1/accounts/ann/keys", {"scopes": scopes})
            assert (refused.code, refused.body["field"]) == ("bad_field", "scopes")
