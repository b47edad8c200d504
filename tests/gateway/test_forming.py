"""Before there is a group, a node says that it lives, who it is and what it waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from raft_exchange.gateway.app import make_app, make_forming_app
from raft_exchange.gateway.context import Context, Front, Settings
from raft_exchange.gateway.listener import Listener
from raft_exchange.gateway.streams import Streams
from raft_exchange.metrics import Metrics
from tests.support.coroutines import in_loop
from tests.support.fake_core import FakeCore
from tests.support.fake_operations import FakeOperations
from tests.support.gateway import Gateway, derive, gateway, introduce


@asynccontextmanager
async def forming() -> AsyncIterator[tuple[Gateway, Listener, Front]]:
    """A node that waits for two others, behind a real listener."""
    front = Front(Metrics(), Settings(node="n1"), introduce)
    app = make_forming_app(front, reason=lambda: "1 of 3 nodes are here")
    listener = Listener(app, front.metrics, connections_max=50)
    await listener.start("127.0.0.1", 0)
    core = FakeCore()
    made = Gateway(core, front.metrics, Streams(core.marketdata), served=set())
    made.port = listener.port
    try:
        yield made, listener, front
    finally:
        await made.close()
        made.streams.close()
        await listener.close(within_s=0)


@in_loop
async def test_it_lives_and_is_not_ready_and_says_why() -> None:
    async with forming() as (g, _, _):
        assert (await g.call("GET", "/livez")).status == 200
        found = await g.call("GET", "/readyz")
        assert (found.status, found.body["reason"]) == (503, "1 of 3 nodes are here")
        found = await g.call("GET", "/readyz?verbose")
        assert [check["name"] for check in found.body["checks"]] == ["cluster_formed"]
        assert b"raft_exchange_http_requests_total" in (await g.raw(_get("/metrics")))


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/orders"),
        ("GET", "/v1/markets"),
        ("GET", "/v1/cluster"),
        ("DELETE", "/v1/orders/1"),
        ("POST", "/"),
        ("GET", "/state"),
        ("PATCH", "/nothing"),
    ],
)
def test_everything_else_waits_for_a_leader(method: str, path: str) -> None:
    @in_loop
    async def ask() -> None:
        async with forming() as (g, _, _):
            refused = await g.call(method, path, None if method == "GET" else {})
            assert (refused.status, refused.code) == (503, "no_leader")
            assert "1 of 3 nodes are here" in refused.body["detail"]
            assert refused.headers["Retry-After"] == "1"

    ask()


@in_loop
async def test_the_group_takes_over_the_port_without_refusing_a_connection() -> None:
    async with forming() as (g, listener, front):
        assert (await g.call("GET", "/v1/time")).status == 503
        core = g.core
        context = Context(
            *(core, core.marketdata, front.metrics, front.settings),
            *(FakeOperations(core), derive),
        )
        await listener.serve(make_app(context, introduce, g.streams))
        assert (await g.call("GET", "/v1/time")).status == 200
        assert (await g.call("GET", "/readyz")).body == {"status": "ready"}


@in_loop
async def test_an_introduction_is_given_to_whoever_asks_by_whatever_host() -> None:
    async with gateway() as g:
        nonce = "0123456789abcdef" * 2
        found = await g.call("GET", f"/v1/node?nonce={nonce}", Host="10.0.0.7:8081")
        introduction = {"statement": {"asked_at": "127.0.0.1"}, "nonce": nonce, "proof": ""}
        assert (found.status, found.body) == (200, introduction)
        assert (await g.call("GET", "/v1/node")).body["nonce"] == ""
        foreign = await g.call("GET", "/v1/node", Origin="http://evil.example")
        assert foreign.code == "bad_origin"


@pytest.mark.parametrize("nonce", ["", "ab", "0" * 31, "0" * 129, "G" * 32, "A" * 32, "%00" * 32])
def test_a_nonce_is_bounded_hex(nonce: str) -> None:
    @in_loop
    async def ask() -> None:
        async with gateway() as g:
            found = await g.call("GET", f"/v1/node?nonce={nonce}")
            if nonce:
                assert (found.code, found.body["field"]) == ("bad_field", "nonce")
            else:
                assert found.status == 200

    ask()


@in_loop
async def test_the_address_at_which_a_node_is_reached_is_one_of_its_hosts() -> None:
    async with gateway() as g:
        assert (await g.call("GET", "/v1/time", Host=f"127.0.0.1:{g.port}")).status == 200
        assert (await g.call("GET", "/v1/time", Host="10.0.0.7")).code == "bad_origin"
