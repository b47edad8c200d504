"""What Grenache subscribers are told: every order and trade event, and where it stands."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from raft_exchange.gateway.grenache_events import EventFeed, make_events_app
from raft_exchange.gateway.listener import Listener
from raft_exchange.metrics import Metrics
from raft_exchange.sequencer.applied import Applied, Result
from tests.support.coroutines import eventually, in_loop
from tests.support.gateway import Gateway, gateway

PATIENCE_S = 10.0


class Feed:
    """A gateway whose every result is also published, and its subscribers."""

    def __init__(self, g: Gateway, feed: EventFeed, port: int) -> None:
        self.gateway = g
        self.feed = feed
        self.url = f"http://127.0.0.1:{port}/ws"

    @contextlib.asynccontextmanager
    async def subscriber(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        count = self.feed.publisher.subscriber_count
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.url, timeout=aiohttp.ClientWSTimeout(ws_close=1)) as socket,
        ):
            await eventually(lambda: self.feed.publisher.subscriber_count == count + 1)
            yield socket


async def messages(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[Any]:
    return [json.loads(await socket.receive_str(timeout=PATIENCE_S)) for _ in range(count)]


@contextlib.asynccontextmanager
async def feeding() -> AsyncIterator[Feed]:
    async with gateway() as g:
        feed, core = EventFeed(g.core.marketdata), g.core
        fold, index = core.marketdata.apply, 0

        def apply(sequence: int, time_us: int, events: Any) -> None:
            nonlocal index
            fold(sequence, time_us, events)
            index += 1
            result = Result(sequence, tuple(events), 0, 0)
            feed.applied(Applied(index, 1, time_us, "n1", 1, index, False, (result,)))

        core.marketdata.apply = apply  # type: ignore[method-assign]
        listener = Listener(make_events_app(feed), Metrics(), connections_max=8)
        await listener.start("127.0.0.1", 0)
        try:
            yield Feed(g, feed, listener.port)
        finally:
            await listener.close(within_s=0)


@in_loop
async def test_every_event_is_told_with_its_place() -> None:
    async with feeding() as feed, feed.subscriber() as socket:
        maker = (await feed.gateway.place("sell", "100", quantity="2")).body
        taker = (await feed.gateway.place("buy", "101", quantity="0.5")).body
        got = await messages(socket, 5)
    assert [(m["type"], m.get("event"), m["index"], m["count"]) for m in got] == [
        ("order", "accepted", 0, 2),
        ("order", "rested", 1, 2),
        ("order", "accepted", 0, 3),
        ("trade", None, 1, 3),
        ("order", "ended", 2, 3),
    ]
    one, two = maker["sequence"], taker["sequence"]
    assert [m["sequence"] for m in got] == [one, one, two, two, two]
    assert [m["previous_sequence"] for m in got] == [None, one, one, two, two]
    assert got[3]["trade"] == taker["trades"][0]
    assert got[4]["order"]["status"] == "filled"


@in_loop
async def test_a_reader_sees_that_it_missed_something() -> None:
    """What was published while nobody listened is what the next message says came before it."""
    async with feeding() as feed:
        await feed.gateway.place("sell", "100")
        missed = (await feed.gateway.place("sell", "101")).body
        async with feed.subscriber() as socket:
            await feed.gateway.place("sell", "102")
            (first, _) = await messages(socket, 2)
        assert first["previous_sequence"] == missed["sequence"]
        feed.feed.restored()
        async with feed.subscriber() as socket:
            await feed.gateway.place("sell", "103")
            (first, _) = await messages(socket, 2)
        assert first["previous_sequence"] is None


@in_loop
async def test_no_owner_and_no_label_is_told() -> None:
    async with feeding() as feed, feed.subscriber() as socket:
        order = {"market": "BTC-USD", "side": "sell", "type": "limit", "price": 1, "quantity": 1}
        order |= {"client_order_id": "my-secret-label"}
        await feed.gateway.call("POST", "/v1/orders", order, X_Account="secret-account")
        text = json.dumps(await messages(socket, 2))
    assert "secret" not in text


@in_loop
async def test_a_refused_command_and_a_repeat_are_not_told() -> None:
    async with feeding() as feed, feed.subscriber() as socket:
        await feed.gateway.call("DELETE", "/v1/orders/99")
        await feed.gateway.place("sell", "100")
        first, _ = await messages(socket, 2)
        assert first["previous_sequence"] is None
        repeat = Result(99, (feed.gateway.core.marketdata,), 3, 0)  # type: ignore[arg-type]
        feed.feed.applied(Applied(99, 1, 0, "n1", 1, 99, False, (repeat,)))
        await feed.gateway.place("sell", "101")
        after, _ = await messages(socket, 2)
        assert after["previous_sequence"] == first["sequence"]


@in_loop
async def test_web_pages_are_turned_away() -> None:
    async with feeding() as feed, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await session.ws_connect(feed.url, origin="https://evil.example")


@in_loop
async def test_closing_ends_every_subscription() -> None:
    async with feeding() as feed, feed.subscriber() as socket:
        await feed.feed.publisher.close()
        async with asyncio.timeout(PATIENCE_S):
            message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
