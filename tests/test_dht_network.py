"""Asking an address that anybody may have announced: bounded in bytes, time and patience."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from grape import GrapeSettings
from raft_exchange.dht_network import ASK_S_MAX, DhtNetwork
from raft_exchange.introduction import INTRODUCTION_BYTES_MAX, Distrusted, introduce
from tests.support.coroutines import in_loop, seconds_taken
from tests.support.forming import statement

SECRET = b"0123456789abcdef"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def asked(handler: Handler) -> AsyncIterator[tuple[DhtNetwork, str]]:
    """A node's network, and the URL of something that answers by `handler`."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    network = DhtNetwork(
        GrapeSettings(),
        cluster="exchange",
        secret=SECRET,
        http_port=8081,
        scheme="http",
        tls=ssl.create_default_context(),
    )
    await network.start()
    try:
        yield network, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await network.stop()
        await runner.cleanup()


async def honest(request: web.Request) -> web.Response:
    assert request.path == "/v1/node"
    nonce = request.query["nonce"]
    return web.Response(body=introduce(statement("n1"), nonce=nonce, secret=SECRET))


async def too_long(request: web.Request) -> web.Response:
    nonce = request.query["nonce"]
    body = introduce(statement("n1"), nonce=nonce, secret=SECRET)
    return web.Response(body=body + b" " * INTRODUCTION_BYTES_MAX)


async def redirecting(request: web.Request) -> web.Response:
    raise web.HTTPFound(f"/elsewhere?nonce={request.query['nonce']}")


async def packed(request: web.Request) -> web.Response:
    body = introduce(statement("n1"), nonce=request.query["nonce"], secret=SECRET)
    return web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})


async def of_another_secret(request: web.Request) -> web.Response:
    return web.Response(
        body=introduce(statement("n1"), nonce=request.query["nonce"], secret=b"x" * 16)
    )


async def failing(_: web.Request) -> web.Response:
    raise web.HTTPServiceUnavailable


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" ")
        await asyncio.sleep(0.05)


@in_loop
async def test_a_node_is_asked_afresh_each_time() -> None:
    async with asked(honest) as (network, url):
        assert await network.ask(url) == statement("n1")
        assert await network.ask(url) == statement("n1")


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (too_long, "malformed"),
        (redirecting, "malformed"),
        (packed, "malformed"),
        (failing, "malformed"),
        (of_another_secret, "wrong_secret"),
    ],
)
def test_what_is_no_proved_introduction_is_distrusted(handler: Handler, reason: str) -> None:
    @in_loop
    async def ask() -> None:
        async with asked(handler) as (network, url):
            with pytest.raises(Distrusted) as caught:
                await network.ask(url)
            assert caught.value.reason == reason

    ask()


@in_loop
async def test_an_answer_that_never_ends_is_not_waited_for() -> None:
    async with asked(endless) as (network, url):

        async def ask() -> None:
            with pytest.raises(TimeoutError):
                await network.ask(url)

        assert await seconds_taken(ask()) < 3 * ASK_S_MAX


@in_loop
async def test_where_nobody_listens_is_an_os_error() -> None:
    async with asked(honest) as (network, _):
        with pytest.raises(ConnectionError):
            await network.ask("http://127.0.0.1:9")


@in_loop
async def test_a_lone_node_finds_its_own_announcement() -> None:
    async with asked(honest) as (network, _):
        assert await network.lookup() == []
        await network.announce()
        assert await network.lookup() == ["http://127.0.0.1:8081"]
