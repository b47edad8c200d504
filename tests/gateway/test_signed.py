"""Signed requests over HTTP: who signs needs to show no key, and nobody else can sign for them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from raft_exchange.matching.messages import (
    ChangeMarket,
    CreateAccount,
    CreateKey,
    KeyKind,
    RevokeKey,
    Scope,
)
from raft_exchange.sequencer.codec import SignedRequest
from tests.gateway.test_access import ORDER, ask, give_key
from tests.support.coroutines import in_loop
from tests.support.fake_core import CLUSTER_ID
from tests.support.gateway import Answer, Gateway, gateway
from tests.support.signing import Signer

TRADER = Scope.READ | Scope.TRADE
ANN = Signer("ann-signs", cluster_id=CLUSTER_ID)
BOB = Signer("bob-signs", cluster_id=CLUSTER_ID, seed=b"bob")
OPERATOR = Signer("ops-sign", cluster_id=CLUSTER_ID, seed=b"ops")


def take_signer(g: Gateway, account: str, signer: Signer, scopes: Scope = TRADER) -> None:
    key = CreateKey(account, signer.key_id, KeyKind.ED25519, signer.public_key, int(scopes), "")
    g.core.run(key)


@asynccontextmanager
async def signing(**settings: Any) -> AsyncIterator[Gateway]:
    """Keys are required; `ann` and `bob` have one that signs, `admin` one that is shown."""
    async with gateway(**({"auth_required": True} | settings)) as g:
        for account in ("ann", "bob", "admin"):
            g.core.run(CreateAccount(account))
        take_signer(g, "ann", ANN)
        take_signer(g, "bob", BOB)
        give_key(g, "admin", "admin-key", TRADER | Scope.ADMIN)
        yield g


async def send(
    g: Gateway,
    method: str,
    path: str,
    body: object = None,
    *,
    signer: Signer = ANN,
    **signed: Any,
) -> Answer:
    """Send a request signed by the logged clock, with other headers where `signed` says."""
    data = b"" if body is None else json.dumps(body).encode()
    signed.setdefault("time_us", g.core.exchange.time_us)
    headers = signer.headers(method, path, data, **signed)
    return await g.call(method, path, data or None, **headers)


def require_signatures(g: Gateway) -> None:
    nothing = (None,) * 7
    g.core.run(ChangeMarket("BTC-USD", *nothing, signed_orders=True))


@in_loop
async def test_who_signs_trades_without_showing_a_key() -> None:
    async with signing() as g:
        placed = await send(g, "POST", "/v1/orders", ORDER)
        assert placed.status == 201
        assert placed.body["order"]["account"] == "ann"
        command = g.core.submitted[-1][0].command
        assert isinstance(command, SignedRequest)
        assert json.loads(command.body) == ORDER


@in_loop
async def test_every_way_to_move_orders_can_be_signed() -> None:
    async with signing() as g:
        require_signatures(g)
        other = ORDER | {"client_order_id": "a/b c", "price": "101"}
        assert (await send(g, "POST", "/v1/orders", ORDER)).status == 201
        batch = await send(g, "POST", "/v1/orders/batch", {"orders": [other, ORDER]})
        assert [item["order"]["order_id"] for item in batch.body["results"]] == ["2", "3"]
        stop = ORDER | {"type": "stop", "stop_price": "90"}
        del stop["price"]
        pair = await send(g, "POST", "/v1/orders/oco", {"limit": ORDER, "stop": stop})
        assert pair.status == 201
        replaced = await send(g, "POST", "/v1/orders/1/replace", ORDER | {"price": "99"})
        assert replaced.body["replaced"]["order_id"] == "1"
        amended = await send(g, "PATCH", "/v1/orders/3", {"price": "98"})
        assert amended.body["order"]["price"] == "98"
        label = "/v1/orders/by-client-id/a%2Fb%20c"
        assert (await send(g, "DELETE", label)).body["order"]["order_id"] == "2"
        assert (await send(g, "DELETE", "/v1/orders/3")).body["order"]["status"] == "canceled"
        switch = await send(g, "POST", "/v1/cancel-after", {"seconds": 60})
        assert switch.body["account"] == "ann"
        rest = await send(g, "DELETE", "/v1/orders?market=BTC-USD&side=sell")
        assert len(rest.body["canceled"]) == 3
        groups = g.core.submitted
        assert all(isinstance(group[0].command, SignedRequest) for group in groups)


@in_loop
async def test_a_signed_batch_is_one_request_with_a_result_for_each_order() -> None:
    """What is malformed is told as it is unsigned, and takes its place in the log all the same."""
    async with signing() as g:
        orders = [ORDER, ORDER | {"price": "1e"}, "none", ORDER | {"market": "NO-NO"}, ORDER]
        body = {"orders": orders}
        key = {"idempotency_key": "batch"}
        answer = await send(g, "POST", "/v1/orders/batch", body, **key)
        codes = [item.get("error", {}).get("code") for item in answer.body["results"]]
        assert codes == [None, "bad_field", "bad_field", "unknown_market", None]
        assert len(g.core.submitted[-1]) == 5
        again = await send(g, "POST", "/v1/orders/batch", body, **key)
        assert again.headers["Idempotent-Replay"] == "true"
        assert [item.get("order") for item in again.body["results"]] == [
            item.get("order") for item in answer.body["results"]
        ]
        other = await send(g, "POST", "/v1/orders/batch", {"orders": orders[:4]}, **key)
        assert other.code == "idempotency_mismatch"


@in_loop
async def test_a_forged_signature_is_refused() -> None:
    """By another's key, over another body, under another idempotency key, for another cluster."""
    async with signing() as g:
        data, at = json.dumps(ORDER).encode(), g.core.exchange.time_us
        honest = ANN.headers("POST", "/v1/orders", data, time_us=at, idempotency_key="k")
        stranger = Signer("ann-signs", cluster_id=CLUSTER_ID, seed=b"mallory")
        elsewhere = Signer("ann-signs", cluster_id="beef")
        forged = [
            (data, stranger.headers("POST", "/v1/orders", data, time_us=at)),
            (data, elsewhere.headers("POST", "/v1/orders", data, time_us=at)),
            (data.replace(b'"100"', b'"101"'), honest),
            (data, honest | {"Idempotency-Key": "other"}),
            (data, honest | {"X-Nonce": "other"}),
            (data, honest | {"X-Key-Id": "bob-signs"}),
            (data, honest | {"X-Timestamp": "2023-11-14T22:13:21Z"}),
        ]
        for body, headers in forged:
            refused = await g.call("POST", "/v1/orders", body, **headers)
            assert (refused.status, refused.code) == (401, "bad_signature"), headers
        assert g.core.submitted == []
        assert (await g.call("POST", "/v1/orders", data, **honest)).status == 201


@in_loop
async def test_a_signature_is_of_one_path_and_method_alone() -> None:
    async with signing() as g:
        assert (await send(g, "POST", "/v1/orders", ORDER)).status == 201
        assert (await send(g, "POST", "/v1/orders", ORDER)).status == 201
        cancel = ANN.headers("DELETE", "/v1/orders/1", time_us=g.core.exchange.time_us)
        for path in ("/v1/orders/2", "/v1/orders", "/v1/orders/1?market=BTC-USD"):
            assert (await g.call("DELETE", path, **cancel)).code == "bad_signature", path
        assert (await g.call("DELETE", "/v1/orders/1", **cancel)).status == 200


@in_loop
async def test_a_replayed_signature_is_refused_and_a_repeat_under_a_key_is_answered() -> None:
    async with signing() as g:
        data, at = json.dumps(ORDER).encode(), g.core.exchange.time_us
        once = ANN.headers("POST", "/v1/orders", data, time_us=at)
        assert (await g.call("POST", "/v1/orders", data, **once)).status == 201
        refused = await g.call("POST", "/v1/orders", data, **once)
        assert (refused.status, refused.code) == (401, "nonce_reused")
        keyed = ANN.headers("POST", "/v1/orders", data, time_us=at, idempotency_key="k")
        first = await g.call("POST", "/v1/orders", data, **keyed)
        g.core.advance(60)  # the time of the signature is long over
        again = await g.call("POST", "/v1/orders", data, **keyed)
        assert again.body == first.body
        assert again.headers["Idempotent-Replay"] == "true"
        # Signed anew it is the same request, too: what was sequenced once is answered.
        renewed = await send(g, "POST", "/v1/orders", ORDER, idempotency_key="k")
        assert renewed.body == first.body


@pytest.mark.parametrize("off_s", [-6, 6])
@in_loop
async def test_a_signature_of_another_time_has_expired(off_s: int) -> None:
    async with signing() as g:
        time_us = g.core.exchange.time_us + off_s * 1_000_000
        refused = await send(g, "POST", "/v1/orders", ORDER, time_us=time_us, idempotency_key="k")
        assert (refused.status, refused.code) == (401, "signature_expired")
        # Nothing of it is remembered: signed in time, the same order is placed.
        assert (await send(g, "POST", "/v1/orders", ORDER, idempotency_key="k")).status == 201


@in_loop
async def test_a_revoked_key_signs_no_more() -> None:
    async with signing() as g:
        g.core.folding = False  # this node does not know of the revocation yet
        g.core.run(RevokeKey("ann", "ann-signs"))
        assert (await send(g, "POST", "/v1/orders", ORDER)).code == "unauthenticated"
        assert len(g.core.submitted) == 1
        g.core.catch_up()
        assert (await send(g, "POST", "/v1/orders", ORDER)).code == "unauthenticated"
        assert len(g.core.submitted) == 1


@in_loop
async def test_a_dry_run_never_becomes_an_order() -> None:
    async with signing() as g:
        path = "/v1/orders?dry_run=true"
        assert (await send(g, "POST", path, ORDER)).body["order"]["order_id"] is None
        assert g.core.submitted == []


@in_loop
async def test_reads_are_signed_by_the_clock_of_the_node() -> None:
    async with signing() as g:
        assert (await send(g, "POST", "/v1/orders", ORDER)).status == 201
        now_us = time.time_ns() // 1_000
        own = await send(g, "GET", "/v1/orders?status=open", time_us=now_us)
        assert [order["account"] for order in own.body["orders"]] == ["ann"]
        others = await send(g, "GET", "/v1/orders/1", signer=BOB, time_us=now_us)
        assert others.code == "unknown_order"
        late = await send(g, "GET", "/v1/orders", time_us=now_us - 6_000_000)
        assert late.code == "signature_expired"


@in_loop
async def test_a_market_of_signed_orders_takes_no_others() -> None:
    async with signing() as g:
        give_key(g, "ann", "ann-key", TRADER)
        opened = {"market": "ETH-USD", "base": "ETH", "quote": "USD"}
        sizes = {"tick_size": "0.01", "lot_size": "0.01", "signed_orders": "on"}
        made = await ask(g, "admin-key", "POST", "/v1/markets", opened | sizes)
        assert made.body["signed_orders"] == "on"
        order = ORDER | {"market": "ETH-USD", "client_order_id": "mine"}
        assert (await send(g, "POST", "/v1/orders", order)).status == 201
        for method, path, body in (
            ("POST", "/v1/orders", order),
            ("POST", "/v1/orders/1/replace", ORDER),
            ("PATCH", "/v1/orders/1", {"price": "101"}),
            ("DELETE", "/v1/orders/1", None),
            ("DELETE", "/v1/orders/by-client-id/mine", None),
            ("DELETE", "/v1/orders", None),
            ("DELETE", "/v1/orders?market=ETH-USD", None),
            ("POST", "/v1/cancel-after", {"seconds": 1}),
        ):
            refused = await ask(g, "ann-key", method, path, body)
            assert (refused.status, refused.code) == (401, "unauthenticated"), (method, path)
            assert refused.body["field"] == "X-Signature"
        assert (await ask(g, "ann-key", "POST", "/v1/orders", ORDER)).status == 201
        everywhere = await ask(g, "ann-key", "DELETE", "/v1/orders?market=BTC-USD")
        assert len(everywhere.body["canceled"]) == 1


@in_loop
async def test_a_node_can_be_told_to_take_signed_orders_only() -> None:
    async with signing(require_signed_orders=True) as g:
        give_key(g, "ann", "ann-key", TRADER)
        refused = await ask(g, "ann-key", "POST", "/v1/orders", ORDER)
        assert (refused.code, refused.body["field"]) == ("unauthenticated", "X-Signature")
        batch = await ask(g, "ann-key", "POST", "/v1/orders/batch", {"orders": [ORDER]})
        assert batch.code == "unauthenticated"
        assert (await ask(g, "ann-key", "DELETE", "/v1/orders")).code == "unauthenticated"
        assert g.core.submitted == []
        assert (await ask(g, "ann-key", "GET", "/v1/orders")).status == 200
        assert (await send(g, "POST", "/v1/orders", ORDER)).status == 201
        market = {"market": "A-B", "base": "A", "quote": "B", "tick_size": "1", "lot_size": "1"}
        made = await ask(g, "admin-key", "POST", "/v1/markets", market)
        assert made.body["signed_orders"] == "on"


@in_loop
async def test_once_an_operator_signs_no_node_can_open_a_way_around_signatures() -> None:
    """No signing key, no change of the market, no frozen account, but signed by an operator."""
    async with signing() as g:
        require_signatures(g)
        as_admin = {"signer": OPERATOR}
        mallory = base64.b64encode(Signer("m", cluster_id="", seed=b"m").public_key).decode()
        key = {"id": "second", "scopes": ["trade"], "public_key": mallory}
        operator = base64.b64encode(OPERATOR.public_key).decode()
        first = {"id": "ops-sign", "scopes": ["admin"], "public_key": operator}
        made = await ask(g, "admin-key", "POST", "/v1/accounts/admin/keys", first)
        assert made.body["key"]["public_key"] == operator
        for method, path, body in (
            ("POST", "/v1/accounts/ann/keys", key),
            ("PATCH", "/v1/markets/BTC-USD", {"status": "halt"}),
            ("PATCH", "/v1/accounts/ann", {"frozen": True}),
            ("DELETE", "/v1/accounts/ann/keys/ann-signs", None),
        ):
            refused = await ask(g, "admin-key", method, path, body)
            assert (refused.status, refused.code) == (401, "unauthenticated"), path
            forbidden = await send(g, method, path, body, signer=ANN)
            assert (forbidden.status, forbidden.code) == (403, "forbidden"), path
            done = await send(g, method, path, body, **as_admin)
            assert done.status in (200, 201), (path, done)


@in_loop
async def test_a_key_whose_creation_is_signed_is_a_public_key_with_an_id() -> None:
    """The node makes nothing up: all that is created was signed."""
    async with signing() as g:
        take_signer(g, "admin", OPERATOR, TRADER | Scope.ADMIN)
        text = base64.b64encode(Signer("m", cluster_id="", seed=b"m").public_key).decode()
        for body, field in (({"id": "k"}, "public_key"), ({"public_key": text}, "id")):
            path, body = "/v1/accounts/ann/keys", {"scopes": ["trade"], **body}
            refused = await send(g, "POST", path, body, signer=OPERATOR)
            assert (refused.code, refused.body["field"]) == ("bad_field", field)
        assert g.core.submitted == []


@in_loop
async def test_a_malformed_header_is_named() -> None:
    async with signing() as g:
        good = ANN.headers("DELETE", "/v1/orders/1", time_us=g.core.exchange.time_us)
        for name, value in (
            ("X-Key-Id", "no key!"),
            ("X-Timestamp", "yesterday"),
            ("X-Nonce", "n" * 65),
            ("X-Signature", "AAAA"),
        ):
            refused = await g.call("DELETE", "/v1/orders/1", **(good | {name: value}))
            assert (refused.code, refused.body["field"]) == ("bad_field", name)
            missing = {other: text for other, text in good.items() if other != name}
            refused = await g.call("DELETE", "/v1/orders/1", **missing)
            assert (refused.code, refused.body["field"]) == ("bad_field", name)
        both = good | {"Authorization": "Bearer admin-key"}
        assert (await g.call("DELETE", "/v1/orders/1", **both)).code == "unauthenticated"


@pytest.mark.parametrize("path", [b"/v1/orders?x=\xc3\xa9", b"/v1/orders?" + b"x" * 1_100])
@in_loop
async def test_a_path_that_is_not_printable_or_too_long_cannot_be_signed(path: bytes) -> None:
    async with signing() as g:
        headers = ANN.headers("DELETE", "/", time_us=g.core.exchange.time_us)
        lines = [b"%s: %s" % (name.encode(), text.encode()) for name, text in headers.items()]
        head = b"DELETE %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" % path
        answer = await g.raw(head + b"\r\n".join(lines) + b"\r\n\r\n")
        assert answer.split()[1] == b"400", answer


@in_loop
async def test_what_cannot_be_signed_takes_a_key_that_is_shown() -> None:
    async with signing() as g:
        body = {"id": "d", "asset": "USD", "amount": "1"}
        refused = await send(g, "POST", "/v1/accounts/ann/deposits", body)
        assert refused.code == "unauthenticated"


@in_loop
async def test_a_signed_batch_has_a_bound_of_its_own() -> None:
    async with signing() as g:
        body = {"orders": [ORDER | {"client_order_id": "x"}], "pad": "x" * 400 * 1024}
        assert (await send(g, "POST", "/v1/orders/batch", body)).code == "body_too_large"
