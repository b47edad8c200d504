"""Keys over HTTP, streams, sockets and Grenache: who may do what where they are required."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from raft_exchange.gateway.access import NEEDS
from raft_exchange.gateway.routes import ROUTES, SEED_ROUTES
from raft_exchange.matching.messages import CreateAccount, CreateKey, KeyKind, RevokeKey, Scope
from tests.support.coroutines import eventually, in_loop
from tests.support.gateway import Answer, Gateway, gateway

ORDER = {"market": "BTC-USD", "side": "sell", "type": "limit", "quantity": "1", "price": "100"}
ALL = Scope.READ | Scope.TRADE | Scope.ADMIN


def give_key(g: Gateway, account: str, name: str, scopes: Scope) -> None:
    digest = hashlib.sha256(name.encode()).digest()
    g.core.run(CreateKey(account, name, KeyKind.BEARER, digest, int(scopes), ""))


@asynccontextmanager
async def keyed() -> AsyncIterator[Gateway]:
    """Keys are required; `ann`, `bob` and `admin` have one each, named as they are."""
    async with gateway(auth_required=True) as g:
        for account in ("ann", "bob", "admin"):
            g.core.run(CreateAccount(account))
        give_key(g, "ann", "ann-key", Scope.READ | Scope.TRADE)
        give_key(g, "ann", "ann-reader", Scope.READ)
        give_key(g, "ann", "ann-trader", Scope.TRADE)
        give_key(g, "bob", "bob-key", Scope.READ | Scope.TRADE)
        give_key(g, "admin", "admin-key", ALL)
        yield g


async def ask(g: Gateway, key: str, method: str, path: str, body: object = None) -> Answer:
    return await g.call(method, path, body, Authorization=f"Bearer {key}")


@in_loop
async def test_a_key_of_one_account_neither_reads_amends_nor_cancels_anothers_orders() -> None:
    async with keyed() as g:
        assert (await ask(g, "bob-key", "POST", "/v1/orders", ORDER)).status == 201
        assert (await ask(g, "ann-key", "GET", "/v1/orders/1")).code == "unknown_order"
        assert (await ask(g, "ann-key", "GET", "/v1/orders")).body["orders"] == []
        amended = await ask(g, "ann-key", "PATCH", "/v1/orders/1", {"price": "101"})
        assert amended.code == "unknown_order"
        assert (await ask(g, "ann-key", "DELETE", "/v1/orders/1")).code == "unknown_order"
        replaced = await ask(g, "ann-key", "POST", "/v1/orders/1/replace", ORDER)
        assert replaced.code == "unknown_order"
        assert (await ask(g, "ann-key", "DELETE", "/v1/orders")).body["canceled"] == []
        shown = (await ask(g, "bob-key", "GET", "/v1/orders/1")).body["order"]
        assert (shown["account"], shown["status"], shown["price"]) == ("bob", "open", "100")


@in_loop
async def test_a_key_is_told_whose_it_is_and_what_it_may_do() -> None:
    async with keyed() as g:
        told = (await ask(g, "ann-reader", "GET", "/v1/account")).body
        assert (told["account"], told["scopes"]) == ("ann", ["read"])
        assert (await ask(g, "admin-key", "GET", "/v1/account")).body["scopes"] == [
            "read",
            "trade",
            "admin",
        ]
        assert "scopes" not in (await ask(g, "admin-key", "GET", "/v1/accounts/ann")).body
    async with gateway() as g:
        assert (await g.call("GET", "/v1/account")).body["scopes"] is None


@in_loop
async def test_a_key_speaks_for_its_own_account_only() -> None:
    async with keyed() as g:
        headers = {"Authorization": "Bearer ann-key", "X_Account": "bob"}
        refused = await g.call("POST", "/v1/orders", ORDER, **headers)
        assert (refused.status, refused.code) == (403, "forbidden")
        assert g.core.submitted == []


@in_loop
async def test_every_private_route_asks_for_a_key() -> None:
    async with keyed() as g:
        for (method, path), scope in NEEDS.items():
            if not scope:
                continue
            where = path.format(order_id=1, client_order_id="a")
            body = {} if method in ("POST", "PATCH") else None
            for headers in ({}, {"Authorization": "Bearer unknown"}, {"Authorization": "ann-key"}):
                answer = await g.call(method, where, body, **headers)
                assert (answer.status, answer.code) == (401, "unauthenticated"), (method, path)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert g.core.submitted == []


@in_loop
async def test_operating_takes_the_scope_admin() -> None:
    async with keyed() as g:
        served = _served() - NEEDS.keys()
        assert ("POST", "/v1/accounts/{account}/keys") in served
        for method, path in sorted(served):
            where = path.format(account="ann", key_id="ann-key", market="BTC-USD")
            body = {} if method in ("POST", "PATCH") else None
            answer = await ask(g, "ann-key", method, where, body)
            assert (answer.status, answer.code) == (403, "forbidden"), (method, path)
            assert (await g.call(method, where, body)).code == "unauthenticated"
        for method, where in (
            ("POST", "/v1/cluster/members"),
            ("DELETE", "/v1/cluster/members/n2"),
            ("GET", "/v1/cluster?hash=now"),
        ):
            answer = await ask(g, "ann-key", method, where, {} if method == "POST" else None)
            assert (answer.status, answer.code) == (403, "forbidden"), where
        assert g.core.submitted == []
        created = await ask(g, "admin-key", "POST", "/v1/accounts", {"account": "cyd"})
        assert created.status == 201


def _served() -> set[tuple[str, str]]:
    routes = (*ROUTES, *SEED_ROUTES)
    return {(route.method, route.template) for route in routes}


def test_no_route_is_named_that_is_not_served() -> None:
    """A route that nobody named asks for `admin`; a name that nobody serves is a mistake."""
    assert NEEDS.keys() - _served() == {("GET", "/v1/history"), ("POST", "/")}


@in_loop
async def test_a_scope_is_good_for_what_it_says_and_no_more() -> None:
    async with keyed() as g:
        assert (await ask(g, "ann-reader", "GET", "/v1/orders")).status == 200
        assert (await ask(g, "ann-reader", "POST", "/v1/orders", ORDER)).code == "forbidden"
        assert (await ask(g, "ann-trader", "POST", "/v1/orders", ORDER)).status == 201
        assert (await ask(g, "ann-trader", "GET", "/v1/orders")).code == "forbidden"
        assert (await ask(g, "admin-key", "POST", "/v1/orders", ORDER)).status == 201


@in_loop
async def test_market_data_and_health_are_for_everybody() -> None:
    async with keyed() as g:
        for path in ("/v1/markets", "/v1/markets/BTC-USD/book", "/livez", "/v1/cluster", "/state"):
            assert (await g.call("GET", path)).status == 200, path


@in_loop
async def test_an_order_carries_the_key_to_where_it_is_applied() -> None:
    """This node does not know yet of a revocation that the log has: the log decides."""
    async with keyed() as g:
        g.core.folding = False
        g.core.run(RevokeKey("ann", "ann-key"))
        refused = await ask(g, "ann-key", "POST", "/v1/orders", ORDER)
        assert (refused.status, refused.code) == (401, "unauthenticated")
        assert g.core.exchange.state.keys.good("ann", "ann-key") is None
        g.core.catch_up()
        assert not g.core.marketdata.orders.live_orders()


@in_loop
async def test_a_read_that_waited_for_a_revocation_is_not_answered() -> None:
    async with keyed() as g:
        g.core.folding = False
        g.core.run(RevokeKey("ann", "ann-key"))
        stale = await ask(g, "ann-key", "GET", "/v1/orders")
        assert stale.status == 200  # as of before the revocation
        refused = await ask(g, "ann-key", "GET", "/v1/orders?consistency=linearizable")
        assert (refused.status, refused.code) == (401, "unauthenticated")


@in_loop
async def test_a_key_that_is_replaced_is_worthless_and_its_successor_good() -> None:
    async with keyed() as g:
        body = {"scopes": ["read"], "replaces": "ann-key"}
        made = await ask(g, "admin-key", "POST", "/v1/accounts/ann/keys", body)
        assert made.status == 201
        assert (await ask(g, "ann-key", "GET", "/v1/orders")).code == "unauthenticated"
        assert (await ask(g, made.body["bearer"], "GET", "/v1/orders")).status == 200


@in_loop
async def test_a_public_key_is_no_bearer_key() -> None:
    """What is registered to verify signatures is public: showing it must prove nothing."""
    async with keyed() as g:
        public = hashlib.sha256(b"shown to everybody").digest()
        g.core.run(CreateKey("ann", "signer", KeyKind.ED25519, public, int(ALL), ""))
        answer = await ask(g, "shown to everybody", "GET", "/v1/orders")
        assert answer.code == "unauthenticated"


@asynccontextmanager
async def socket_to(g: Gateway, key: str = "") -> AsyncIterator[Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"http://127.0.0.1:{g.port}/v1/ws"
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=headers) as opened,
    ):
        yield opened


async def frame(socket: Any, **sent: object) -> Any:
    await socket.send_str(json.dumps({"id": "x"} | sent))
    while "status" not in (answer := json.loads((await socket.receive()).data)):
        pass
    return answer


@in_loop
async def test_a_socket_shows_a_key_before_it_trades_or_reads_orders() -> None:
    async with keyed() as g, socket_to(g) as ws:
        assert (await frame(ws, op="subscribe", channels=["book:BTC-USD"]))["status"] == 200
        for sent in (
            {"op": "subscribe", "channels": ["orders"]},
            {"op": "place", "order": ORDER},
            {"op": "auth", "key": "unknown"},
        ):
            assert (await frame(ws, **sent))["error"]["code"] == "unauthenticated"
        assert (await frame(ws, op="auth", account="ann"))["error"]["code"] == "bad_field"
        assert (await frame(ws, op="auth", key="ann-key"))["result"] == {"account": "ann"}
        placed = await frame(ws, op="place", order=ORDER)
        assert placed["result"]["order"]["account"] == "ann"


@in_loop
async def test_a_socket_sees_its_own_accounts_orders_only() -> None:
    async with keyed() as g, socket_to(g, "ann-key") as ws:
        await frame(ws, op="subscribe", channels=["orders"])
        await ask(g, "bob-key", "POST", "/v1/orders", ORDER)
        await ask(g, "ann-key", "POST", "/v1/orders", ORDER)
        seen: list[str] = []
        while "ann" not in seen:
            message = json.loads((await ws.receive()).data)
            seen += [order["account"] for order in message.get("orders", [])]
        assert set(seen) == {"ann"}


@in_loop
async def test_a_stream_shows_nothing_of_another_accounts_orders_fills_and_balances() -> None:
    async with keyed() as g:
        market = {"market": "ETH-EUR", "base": "ETH", "quote": "EUR", "accounts": "on"}
        sizes = {"tick_size": "1", "lot_size": "1"}
        await ask(g, "admin-key", "POST", "/v1/markets", market | sizes)
        private = "orders,fills,balances"
        request = (
            f"GET /v1/stream?channels={private},trades:BTC-USD HTTP/1.1\r\nHost: localhost\r\n"
            "Authorization: Bearer ann-key\r\n\r\n"
        )
        reading = asyncio.create_task(g.raw(request.encode(), patience_s=30))
        await eventually(lambda: bool(g.streams._subscribers))
        deposit = {"id": "d", "asset": "EUR", "amount": "5"}
        await ask(g, "admin-key", "POST", "/v1/accounts/bob/deposits", deposit)
        for side in ("sell", "buy"):
            free = ORDER | {"side": side, "self_trade_prevention": "none"}
            await ask(g, "bob-key", "POST", "/v1/orders", free)
        for path in ("/v1/fills", "/v1/orders"):
            found = (await ask(g, "ann-key", "GET", path)).body
            assert found[path.rpartition("/")[2]] == [], path
        assert (await ask(g, "ann-key", "GET", "/v1/account")).body["balances"] == {}
        assert (await ask(g, "bob-key", "GET", "/v1/account")).body["balances"] != {}
        g.streams.going_away()
        g.streams.close()
        told = await reading
        assert b"event: trades" in told, "what is everybody's came"
        assert b"bob" not in told


@pytest.mark.parametrize("way", ["http", "socket", "grenache"])
@in_loop
async def test_nobody_amends_or_cancels_anothers_order_whatever_the_way(way: str) -> None:
    async with keyed() as g, socket_to(g, "ann-key") as ws:
        labelled = ORDER | {"client_order_id": "mine"}
        assert (await ask(g, "bob-key", "POST", "/v1/orders", labelled)).status == 201
        before = g.core.exchange.live.by_id[1].view()

        async def code(op: str, order: dict[str, str]) -> str:
            if way == "socket":
                return str((await frame(ws, op=op, order=order))["error"]["code"])
            if way == "grenache":
                call = {"op": op, "order": order, "auth": {"key": "ann-key"}}
                error, _ = await grenache(g, "raft_exchange:test", call)
                return str(error).partition(":")[0]
            if op == "amend":
                return (await ask(g, "ann-key", "PATCH", "/v1/orders/1", {"price": "9"})).code
            path = "/v1/orders/1" if "order_id" in order else "/v1/orders/by-client-id/mine"
            return (await ask(g, "ann-key", "DELETE", path)).code

        assert await code("amend", {"order_id": "1", "price": "9"}) == "unknown_order"
        assert await code("cancel", {"order_id": "1"}) == "unknown_order"
        assert await code("cancel", {"client_order_id": "mine"}) == "unknown_order"
        assert g.core.exchange.live.by_id[1].view() == before


@in_loop
async def test_a_revoked_key_places_nothing_by_grenache() -> None:
    async with keyed() as g:
        revoked = await ask(g, "admin-key", "DELETE", "/v1/accounts/ann/keys/ann-key")
        assert revoked.status == 200
        call = {"op": "place", "idempotency_key": "k", "order": ORDER, "auth": {"key": "ann-key"}}
        error, _ = await grenache(g, "raft_exchange:test", call)
        assert str(error).startswith("unauthenticated")
        assert g.core.marketdata.orders.last_id == 0


@in_loop
async def test_a_stream_of_own_orders_takes_a_key_that_may_read() -> None:
    async with keyed() as g:
        path = "/v1/stream?channels=orders"
        assert (await g.call("GET", path)).code == "unauthenticated"
        assert (await ask(g, "ann-trader", "GET", path)).code == "forbidden"


@pytest.mark.parametrize("shown", ["at the door", "later"])
@in_loop
async def test_a_revoked_key_ends_its_sockets(shown: str) -> None:
    async with keyed() as g, socket_to(g, "ann-key" if shown == "at the door" else "") as ws:
        await frame(ws, op="auth", key="ann-key")
        await frame(ws, op="subscribe", channels=["orders"])
        revoked = await ask(g, "admin-key", "DELETE", "/v1/accounts/ann/keys/ann-key")
        assert revoked.status == 200
        while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.extra == "key_revoked"


@in_loop
async def test_a_revoked_key_ends_its_stream_and_nothing_follows() -> None:
    async with keyed() as g:
        request = (
            "GET /v1/stream?channels=orders HTTP/1.1\r\nHost: localhost\r\n"
            "Authorization: Bearer ann-key\r\n\r\n"
        )
        reading = asyncio.create_task(g.raw(request.encode(), patience_s=30))
        await eventually(lambda: bool(g.streams._subscribers))
        revoked = await ask(g, "admin-key", "DELETE", "/v1/accounts/ann/keys/ann-key")
        assert revoked.status == 200
        told = await reading
        assert told.startswith(b"HTTP/1.1 200")
        assert told.count(b"HTTP/1.1") == 1


@asynccontextmanager
async def revoked_while_waiting(g: Gateway) -> AsyncIterator[None]:
    """Who waits for a sequence in here waits until the key of `ann` was revoked at the end."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait(sequence: int, *, timeout_s: float) -> bool:
        asked.set()
        await go_on.wait()
        return True

    g.core.wait_for_sequence = wait  # type: ignore[method-assign]
    yield
    await asked.wait()
    g.core.run(RevokeKey("ann", "ann-key"))
    go_on.set()


@in_loop
async def test_a_key_revoked_while_its_stream_waits_begins_none() -> None:
    async with keyed() as g:
        async with revoked_while_waiting(g):
            path = "/v1/stream?channels=orders&from_sequence=1"
            reading = asyncio.create_task(ask(g, "ann-key", "GET", path))
        answer = await reading
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert not g.streams._subscribers


@in_loop
async def test_a_key_revoked_while_its_socket_waits_subscribes_to_nothing() -> None:
    async with keyed() as g, socket_to(g, "ann-key") as ws:
        async with revoked_while_waiting(g):
            sent = {"op": "subscribe", "channels": ["orders"], "from_sequence": 1}
            await ws.send_str(json.dumps(sent))
        while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
            assert "orders" not in json.loads(message.data)
        assert message.extra == "key_revoked"
        assert g.streams.figures().channels == 0
        assert not g.streams._groups


@in_loop
async def test_a_key_revoked_while_its_socket_opens_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with keyed() as g:
        prepare = web.WebSocketResponse.prepare

        async def prepare_late(socket: web.WebSocketResponse, request: web.BaseRequest) -> Any:
            writer = await prepare(socket, request)
            g.core.run(RevokeKey("ann", "ann-key"))
            return writer

        monkeypatch.setattr(web.WebSocketResponse, "prepare", prepare_late)
        async with socket_to(g, "ann-key") as ws:
            assert (await ws.receive()).extra == "key_revoked"


@in_loop
async def test_the_seed_surface_trades_for_the_key_and_is_no_longer_open_to_every_page() -> None:
    async with keyed() as g:
        order = {"side": "sell", "type": "limit", "price": 100, "quantity": 1}
        assert (await g.call("POST", "/order", order)).status == 401
        assert (await ask(g, "ann-key", "POST", "/order", order)).status == 200
        assert (await ask(g, "ann-key", "GET", "/v1/orders/1")).body["order"]["account"] == "ann"
        assert (await ask(g, "bob-key", "DELETE", "/order/1")).body["ok"] is False
        assert (await ask(g, "ann-key", "DELETE", "/order/1")).body["ok"] is True
        foreign = await g.call("GET", "/state", Origin="http://elsewhere.example")
        assert (foreign.status, foreign.code) == (403, "bad_origin")


@in_loop
async def test_a_grenache_payload_shows_its_key() -> None:
    async with keyed() as g:
        order = {"id": "o1", "side": "sell", "price": 100, "quantity": 1}
        calls: list[tuple[str, dict[str, object]]] = [
            ("exchange_orders", {"type": "order", "order": order}),
            (
                "raft_exchange:test",
                {"op": "place", "idempotency_key": "k", "order": ORDER},
            ),
        ]
        for service, payload in calls:
            for auth in (None, {"key": "unknown"}, {"key": "ann-reader"}):
                error, _ = await grenache(g, service, payload | {"auth": auth})
                assert error, (service, auth)
            error, result = await grenache(g, service, payload | {"auth": {"key": "ann-key"}})
            assert not error, error
            assert result
        owners = {order.account for order in g.core.marketdata.orders.live_orders()}
        assert owners == {"ann"}


async def grenache(g: Gateway, service: str, payload: object) -> tuple[Any, Any]:
    answer = await g.call("POST", "/", ["rid", service, payload])
    _, error, result = json.loads(answer.body) if isinstance(answer.body, str) else answer.body
    return error, result
