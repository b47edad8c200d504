"""How fast a key may write: one bucket of orders and one of cancels, whatever way they come."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from grape.rpc import HttpTransport, RemoteError
from raft_exchange.gateway.rate_limits import (
    CANCELS_PER_ORDER,
    LANES,
    Buckets,
    Limit,
    RateLimits,
)
from raft_exchange.gateway.routes import ROUTES, SEED_ROUTES
from raft_exchange.matching.messages import CreateAccount, CreateKey, KeyKind, Scope
from tests.support.coroutines import in_loop
from tests.support.gateway import Answer, Gateway, gateway

ORDER = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "9"}
HOLDER = ("ann", "")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def limited(limit: Limit, **settings: bool) -> AsyncIterator[tuple[Gateway, Clock]]:
    clock = Clock()
    async with gateway(limits=RateLimits(limit, now_s=clock), **settings) as g:
        yield g, clock


async def place(g: Gateway, account: str = "ann") -> Answer:
    return await g.call("POST", "/v1/orders", ORDER, X_Account=account)


def test_a_bucket_gives_what_it_holds_and_fills_at_its_rate() -> None:
    buckets = Buckets(Limit(rate_per_s=2, burst=3))
    assert [buckets.take(HOLDER, 1, now_s=0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take(HOLDER, 1, now_s=0.4) == pytest.approx(0.1)
    assert buckets.take(HOLDER, 1, now_s=0.5) == 0
    assert buckets.take(("bob", ""), 3, now_s=0.5) == 0, "each has a bucket of their own"
    assert buckets.take(HOLDER, 3, now_s=100.0) == 0, "and it holds no more than a burst"
    assert buckets.take(HOLDER, 1, now_s=100.0) == 0.5


def test_more_than_a_bucket_holds_waits_for_a_full_one_and_leaves_it_in_debt() -> None:
    buckets = Buckets(Limit(rate_per_s=10, burst=10))
    assert buckets.take(HOLDER, 1, now_s=0.0) == 0
    assert buckets.take(HOLDER, 50, now_s=0.0) == pytest.approx(0.1)
    assert buckets.take(HOLDER, 50, now_s=0.1) == 0
    assert buckets.take(HOLDER, 1, now_s=0.1) == pytest.approx(4.1)


def test_so_many_buckets_are_remembered_and_the_longest_unused_goes_first() -> None:
    buckets = Buckets(Limit(rate_per_s=1, burst=1), holders_max=2)
    for name in ("ann", "bob", "ann", "cyd"):
        buckets.take((name, ""), 1, now_s=0.0)
    assert len(buckets) == 2
    assert buckets.take(("bob", ""), 1, now_s=0.0) == 1, "a refusal is no use"
    buckets.take(("dan", ""), 1, now_s=0.0)
    assert len(buckets) == 2
    assert buckets.take(("ann", ""), 1, now_s=0.0) == 0


@in_loop
async def test_who_sends_too_fast_is_told_when_to_go_on() -> None:
    async with limited(Limit(rate_per_s=1, burst=3)) as (g, clock):
        standing = []
        for _ in range(3):
            answer = await place(g)
            assert answer.status == 201
            standing.append(answer.headers["RateLimit"])
        assert standing == ['"orders";r=2;t=1', '"orders";r=1;t=2', '"orders";r=0;t=3']
        assert answer.headers["RateLimit-Policy"] == '"orders";q=3;w=3'
        refused = await place(g)
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["RateLimit"] == '"orders";r=0;t=3'
        assert g.core.marketdata.orders.last_id == 3, "nothing happened"
        for line in (
            'raft_exchange_rate_limited_total{lane="orders"} 1.0',
            'raft_exchange_rate_limited_total{lane="cancels"} 0.0',
        ):
            assert line in g.metrics.render().decode()
        assert (await place(g, "bob")).status == 201, "others are not held up"
        clock.now_s += 1
        assert (await place(g)).status == 201


@in_loop
async def test_who_has_used_up_the_orders_still_cancels() -> None:
    async with limited(Limit(rate_per_s=1, burst=1)) as (g, _):
        assert (await place(g)).status == 201
        assert (await place(g)).code == "rate_limited"
        amended = await g.call("PATCH", "/v1/orders/1", {"price": "8"}, X_Account="ann")
        assert amended.code == "rate_limited"
        for left in range(CANCELS_PER_ORDER - 1, -1, -1):
            answer = await g.call("DELETE", "/v1/orders", X_Account="ann")
            assert answer.status == 200
            assert answer.headers["RateLimit"].startswith(f'"cancels";r={left};')
        assert (await g.call("DELETE", "/v1/orders", X_Account="ann")).code == "rate_limited"


@in_loop
async def test_a_batch_costs_its_number_of_orders() -> None:
    async with limited(Limit(rate_per_s=1, burst=10)) as (g, clock):
        batch = {"orders": [ORDER] * 8}
        answer = await g.call("POST", "/v1/orders/batch", batch, X_Account="ann")
        assert (answer.status, answer.headers["RateLimit"]) == (200, '"orders";r=2;t=8')
        refused = await g.call("POST", "/v1/orders/batch", batch, X_Account="ann")
        assert refused.code == "rate_limited"
        assert refused.headers["Retry-After"] == "6"
        clock.now_s += 9
        great = {"orders": [ORDER] * 20}
        assert (await g.call("POST", "/v1/orders/batch", great, X_Account="ann")).status == 200
        clock.now_s += 10
        assert (await place(g)).code == "rate_limited", "it is in debt"


@in_loop
async def test_a_dry_run_and_what_is_malformed_cost_as_much() -> None:
    async with limited(Limit(rate_per_s=1, burst=2)) as (g, _):
        path = "/v1/orders?dry_run=true"
        assert (await g.call("POST", path, ORDER, X_Account="ann")).status == 200
        assert (await g.call("POST", path, b"{", X_Account="ann")).code == "bad_json"
        assert (await g.call("POST", path, ORDER, X_Account="ann")).code == "rate_limited"


@in_loop
async def test_sockets_and_grenache_draw_on_the_same_bucket() -> None:
    async with limited(Limit(rate_per_s=1, burst=3)) as (g, _):
        anonymous = {"op": "place", "id": 1, "order": ORDER}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{g.port}/v1/ws") as socket,
        ):
            await socket.send_json(anonymous)
            assert (await socket.receive_json())["status"] == 201
            transport = HttpTransport()
            try:
                destination = f"127.0.0.1:{g.port}"
                seed = {"id": "a", "side": "buy", "price": 9, "quantity": 1}
                message = {"type": "order", "order": seed}
                await transport.request(destination, "exchange_orders", message, timeout_s=10)
                own = {"op": "place", "order": ORDER, "idempotency_key": "k"}
                await transport.request(destination, "raft_exchange:test", own, timeout_s=10)
                for service, payload in (("exchange_orders", message), ("raft_exchange:test", own)):
                    with pytest.raises(RemoteError, match="rate_limited"):
                        await transport.request(destination, service, payload, timeout_s=10)
            finally:
                await transport.close()
            await socket.send_json(anonymous)
            refused = await socket.receive_json()
            assert (refused["status"], refused["error"]["code"]) == (429, "rate_limited")
            await socket.send_json({"op": "cancel", "id": 2, "order": {"order_id": "1"}})
            assert (await socket.receive_json())["status"] == 200
        assert (await g.call("POST", "/v1/orders", ORDER)).code == "rate_limited"


@in_loop
async def test_with_keys_each_key_has_its_own_bucket() -> None:
    async with limited(Limit(rate_per_s=1, burst=1), auth_required=True) as (g, _):
        g.core.run(CreateAccount("ann"))
        for name in ("one", "two"):
            digest = hashlib.sha256(name.encode()).digest()
            scopes = int(Scope.TRADE)
            g.core.run(CreateKey("ann", name, KeyKind.BEARER, digest, scopes, ""))
        for name in ("one", "two"):
            shown = {"Authorization": f"Bearer {name}"}
            assert (await g.call("POST", "/v1/orders", ORDER, **shown)).status == 201
            assert (await g.call("POST", "/v1/orders", ORDER, **shown)).code == "rate_limited"
        nobody = await g.call("POST", "/v1/orders", ORDER)
        assert (nobody.code, "RateLimit" in nobody.headers) == ("unauthenticated", False)


@in_loop
async def test_without_a_limit_nothing_is_said_of_one() -> None:
    async with gateway() as g:
        answer = await place(g)
        assert not {"RateLimit", "RateLimit-Policy"} & answer.headers.keys()


def test_only_routes_that_are_served_are_limited() -> None:
    assert {(route.method, route.template) for route in (*ROUTES, *SEED_ROUTES)} >= LANES.keys()
