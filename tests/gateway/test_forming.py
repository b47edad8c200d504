"""Before there is a group, a node says that it lives, who it is and what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from raft_exchange.gateway.app import make_app, make_forming_app
from raft_exchange.gateway.context import Context, Front, Settings
from raft_exchange.gateway.listener import Listener
from raft_exchange.gateway.streams import Streams
from raft_exchange.metrics import Metrics
from tests.support.coroutines import eventually, in_loop
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


class Slow:
    """A loop in which accepted connections are set up when one says so."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.may_go_on = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def connect_accepted_socket(self, *args: Any, **kwargs: Any) -> Any:
        await self.may_go_on.wait()
        return await self._loop.connect_accepted_socket(*args, **kwargs)


@in_loop
async def test_a_connection_that_comes_in_as_the_group_takes_over_is_not_told_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A balancer would keep it, and hear for as long that the node is not ready."""
    async with forming() as (g, listener, front):
        slow = Slow()
        monkeypatch.setattr(listener, "_loop", slow)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await eventually(lambda: listener.connections == 1)
        await listener.serve(make_app(_context(g, front), introduce, g.streams))
        slow.may_go_on.set()
        with suppress(ConnectionError):
            assert await reader.read() == b"", "it ends"
        writer.close()
        assert (await g.call("GET", "/readyz")).status == 200


def _context(g: Gateway, front: Front) -> Context:
    core = g.core
    parts = (core, core.marketdata, front.metrics, front.settings, FakeOperations(core), derive)
    return Context(*parts)


@in_loop
async def test_the_group_takes_over_the_port_without_refusing_a_connection() -> None:
    async with forming() as (g, listener, front):
        assert (await g.call("GET", "/v1/time")).status == 503
        await listener.serve(make_app(_context(g, front), introduce, g.streams))
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
