"""`/events` as the seed's page reads it: every event with the whole book."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from raft_exchange.gateway import seed_events
from tests.support.coroutines import in_loop
from tests.support.gateway import Gateway, gateway


class Page:
    """Lines as the seed's page gets them: unnamed, without ids."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Any:
        line = await self.response.content.readuntil(b"\n\n")
        assert line.startswith(b"data: ")
        return json.loads(line[6:])

    async def take(self, count: int) -> list[Any]:
        return [await self.next() for _ in range(count)]


@asynccontextmanager
async def page(g: Gateway) -> AsyncIterator[Page]:
    url = f"http://127.0.0.1:{g.port}/events"
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession(read_bufsize=2**22) as session,
        session.get(url, headers={"Origin": "http://foreign.example"}) as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        yield Page(response)


async def order(g: Gateway, side: str, price: float, quantity: float) -> Any:
    body = {"side": side, "type": "limit", "price": price, "quantity": quantity}
    return (await g.call("POST", "/order", body)).body


@in_loop
async def test_a_reader_begins_with_the_book() -> None:
    async with gateway() as g:
        await order(g, "buy", 99, 2)
        async with page(g) as p:
            first = await p.next()
            state = (await g.call("GET", "/state")).body
        assert first.keys() == {"type", "payload"}
        assert first["type"] == "snapshot"
        assert first["payload"] == state


@in_loop
async def test_a_taker_tells_removed_makers_then_trades_then_what_rests() -> None:
    async with gateway() as g:
        await order(g, "sell", 100, 1)
        await order(g, "sell", 101, 1)
        await order(g, "sell", 103, 5)
        async with page(g) as p:
            await p.next()
            await order(g, "buy", 101, 5)
            events = await p.take(5)
        assert [event["type"] for event in events] == [
            *("order_removed", "order_removed", "trade", "trade", "order_added"),
        ]
        for event in events:
            assert event.keys() == {"type", "payload", "snapshot", "trades"}
            assert [o["quantity"] for o in event["snapshot"]["bids"]] == [3]
            assert [t["price"] for t in event["trades"]] == [100, 101]
        assert [e["payload"]["quantity"] for e in events[:2]] == [0, 0]
        assert [e["payload"]["status"] for e in events[:2]] == ["filled", "filled"]
        assert (events[2]["payload"]["price"], events[4]["payload"]["quantity"]) == (100, 3)


@in_loop
async def test_a_maker_filled_in_part_only_shows_in_its_trade() -> None:
    async with gateway() as g:
        await order(g, "sell", 100, 5)
        async with page(g) as p:
            await p.next()
            await order(g, "buy", 100, 1)
            await g.call("DELETE", "/order/1")
            events = await p.take(2)
        assert [event["type"] for event in events] == ["trade", "order_removed"]
        assert events[1]["payload"]["status"] == "cancelled"


@in_loop
async def test_what_ends_as_it_comes_was_never_in_the_book() -> None:
    async with gateway() as g, page(g) as p:
        await p.next()
        await g.place("buy", time_in_force="ioc")
        await order(g, "buy", 98, 1)
        (event,) = await p.take(1)
        assert (event["type"], event["payload"]["price"]) == ("order_added", 98)


@in_loop
async def test_a_reader_that_missed_too_much_gets_a_new_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seed_events, "MISSED_EVENTS_MAX", 3)
    async with gateway() as g, page(g) as p:
        await p.next()
        await asyncio.gather(*(order(g, "buy", 90 - n, 1) for n in range(5)))
        seen = 0
        while seen < 5:
            event = await p.next()
            is_snapshot = event["type"] == "snapshot"
            seen = len((event["payload"] if is_snapshot else event["snapshot"])["bids"])
        assert is_snapshot


@in_loop
async def test_a_flush_is_rendered_once_for_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = seed_events.Book.event
    monkeypatch.setattr(
        seed_events.Book, "event", lambda self, *a: made.append(1) or real(self, *a)
    )
    async with gateway() as g, page(g) as one, page(g) as two, page(g) as three:
        for p in (one, two, three):
            await p.next()
        await order(g, "buy", 99, 1)
        for p in (one, two, three):
            assert (await p.next())["type"] == "order_added"
        assert made == [1]
