"""Publish and subscribe with both ends ours: nothing is missed between two ends of a connection."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

import grape.pubsub
from grape.link import Link
from grape.pubsub import (
    RECONNECT_S_MAX,
    Connected,
    Disconnected,
    Message,
    Publisher,
    Subscriber,
    listening,
    reconnect_wait_s,
)
from tests.support.coroutines import eventually, in_loop, seconds_taken
from tests.support.fake_grape import FakeGrape, linked
from tests.support.node_modules import LOOPBACK, free_port
from tests.support.rpc_peers import raw_server, silent_after_upgrade


@contextlib.asynccontextmanager
async def publishing(grape_: FakeGrape, *, port: int = 0) -> AsyncIterator[tuple[Publisher, str]]:
    """A publisher that is announced under `trades`, and its `ip:port`."""
    publisher = Publisher()
    async with listening(publisher, host=LOOPBACK, port=port) as bound:
        destination = f"{LOOPBACK}:{bound}"
        if destination not in grape_.announced["trades"]:
            grape_.announced["trades"].append(destination)
        yield publisher, destination


@contextlib.asynccontextmanager
async def channel() -> AsyncIterator[tuple[Publisher, Link, str]]:
    """One publisher of `trades`, and a link that finds it."""
    async with linked() as (grape_, link), publishing(grape_) as (publisher, destination):
        yield publisher, link, destination


@in_loop
async def test_every_subscriber_gets_every_message_as_it_is() -> None:
    messages: list[str | bytes] = ["world", '{"a":1,"s":"żó"}', b"\x01\x02\x03", "", b""]
    async with channel() as (publisher, link, destination), contextlib.AsyncExitStack() as stack:
        subscribers = [
            await stack.enter_async_context(Subscriber(link, "trades")) for _ in range(3)
        ]
        for each in subscribers:
            assert await each.next_event() == Connected(destination)
        await eventually(lambda: publisher.subscriber_count == 3)
        for message in messages:
            assert publisher.publish(message) == 3
        for each in subscribers:
            assert [await each.next_event() for _ in messages] == [Message(m) for m in messages]


@in_loop
async def test_order_and_completeness_hold_over_many_messages() -> None:
    async with channel() as (publisher, link, _), Subscriber(link, "trades") as subscriber:
        await subscriber.next_event()
        await eventually(lambda: publisher.subscriber_count == 1)
        sent = [Message(str(n)) for n in range(3_000)]
        for message in sent:
            publisher.publish(message.data)
        got = []
        async for event in subscriber:
            got.append(event)
            if len(got) == len(sent):
                break
        assert got == sent


@in_loop
async def test_nobody_listening_is_no_error() -> None:
    assert Publisher().publish("to nobody") == 0


@in_loop
async def test_a_subscriber_comes_back_when_its_publisher_does() -> None:
    """A stock subscriber does not."""
    async with linked() as (grape_, link), Subscriber(link, "trades") as subscriber:
        async with publishing(grape_) as (_, destination):
            assert await subscriber.next_event() == Connected(destination)
        assert await subscriber.next_event() == Disconnected(destination)
        port = int(destination.partition(":")[2])
        async with publishing(grape_, port=port) as (publisher, _):
            assert await subscriber.next_event() == Connected(destination)
            await eventually(lambda: publisher.subscriber_count == 1)
            publisher.publish("again")
            assert await subscriber.next_event() == Message("again")


@in_loop
async def test_a_subscriber_goes_over_to_another_publisher() -> None:
    async with linked() as (grape_, link), Subscriber(link, "trades") as subscriber:
        async with publishing(grape_) as (_, first):
            assert await subscriber.next_event() == Connected(first)
            grape_.announced["trades"].append(f"{LOOPBACK}:{free_port()}")
        link._cache.clear()  # ten seconds later
        async with publishing(grape_) as (_, second):
            assert await subscriber.next_event() == Disconnected(first)
            assert await subscriber.next_event() == Connected(second)


@in_loop
async def test_a_subscriber_waits_for_a_publisher_to_appear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grape.link, "LOOKUP_EMPTY_FRESH_S_MAX", 0.05)
    async with linked() as (grape_, link), Subscriber(link, "trades") as subscriber:
        waiting = asyncio.create_task(subscriber.next_event())
        await eventually(lambda: grape_.count("lookup") >= 2)
        async with publishing(grape_) as (_, destination):
            assert await waiting == Connected(destination)


@in_loop
async def test_giving_up_a_wait_loses_no_message() -> None:
    async with channel() as (publisher, link, _), Subscriber(link, "trades") as subscriber:
        await subscriber.next_event()
        await eventually(lambda: publisher.subscriber_count == 1)
        for n in range(20):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await subscriber.next_event()
            publisher.publish(str(n))
            assert await subscriber.next_event() == Message(str(n))


@in_loop
async def test_a_publisher_without_a_word_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.pubsub, "SUBSCRIBER_PING_S", 0.1)
    async with linked() as (grape_, link), publishing(grape_) as (_, real):
        gone = raw_server(silent_after_upgrade(int(real.partition(":")[2])))
        async with gone as silent, Subscriber(link, "trades") as subscriber:
            grape_.announced["trades"][:] = [silent]
            assert await subscriber.next_event() == Connected(silent)
            assert await subscriber.next_event() == Disconnected(silent)


@in_loop
async def test_who_does_not_keep_up_is_cut_off_and_never_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it did get has no hole, and the others get everything."""
    monkeypatch.setattr(grape.pubsub, "QUEUE_MESSAGES_MAX", 50)
    monkeypatch.setattr(grape.pubsub, "SUBSCRIBER_PING_S", 1_000.0)  # it is not pings that end it
    ballast = "x" * 100_000
    async with (
        channel() as (publisher, link, destination),
        Subscriber(link, "trades") as slow,
        Subscriber(link, "trades") as fast,
    ):
        await slow.next_event()
        await fast.next_event()
        await eventually(lambda: publisher.subscriber_count == 2)
        count = 0
        while publisher.subscriber_count == 2:
            assert count < 1_000, "far more than its queue and the kernel's buffers hold"
            publisher.publish(f"{count}:{ballast}")
            assert await fast.next_event() == Message(f"{count}:{ballast}")
            count += 1
        got = 0
        while isinstance(event := await slow.next_event(), Message):
            assert event == Message(f"{got}:{ballast}")
            got += 1
        assert event == Disconnected(destination)
        assert got < count


@in_loop
async def test_a_publisher_bounds_its_subscribers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.pubsub, "SUBSCRIBERS_MAX", 1)
    async with channel() as (_, link, destination), Subscriber(link, "trades") as subscriber:
        await subscriber.next_event()
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
                await session.ws_connect(f"http://{destination}/ws")
            assert raised.value.status == 503
            async with session.get(f"http://{destination}/") as response:
                assert response.status == 426


@in_loop
async def test_what_a_subscriber_says_is_ignored_and_bounded() -> None:
    async with (
        channel() as (publisher, _, destination),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{destination}/any/path") as socket,
    ):
        await socket.send_str("hello?")
        await eventually(lambda: publisher.subscriber_count == 1)
        publisher.publish("world")
        assert await socket.receive_str() == "world"
        await socket.send_str("x" * (grape.pubsub.SUBSCRIBER_FRAME_BYTES_MAX + 1))
        message = await socket.receive()
        assert message.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


@in_loop
async def test_a_message_above_the_bound_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with channel() as (publisher, link, destination):
        monkeypatch.setattr(grape.pubsub, "MESSAGE_BYTES_MAX", 1_000)
        async with Subscriber(link, "trades") as subscriber:
            await subscriber.next_event()
            await eventually(lambda: publisher.subscriber_count == 1)
            monkeypatch.undo()
            publisher.publish("x" * 1_001)
            assert await subscriber.next_event() == Disconnected(destination)


@in_loop
async def test_closing_sends_what_is_queued() -> None:
    async with linked() as (grape_, link), Subscriber(link, "trades") as subscriber:
        async with publishing(grape_) as (publisher, destination):
            await subscriber.next_event()
            await eventually(lambda: publisher.subscriber_count == 1)
            for n in range(100):
                publisher.publish(str(n))
        events = [await subscriber.next_event() for _ in range(101)]
        assert events == [*(Message(str(n)) for n in range(100)), Disconnected(destination)]


@in_loop
async def test_closing_does_not_wait_for_a_subscriber_that_is_frozen() -> None:
    async with linked() as (grape_, link), contextlib.AsyncExitStack() as stack:
        publisher, _ = await stack.enter_async_context(publishing(grape_))
        subscriber = await stack.enter_async_context(Subscriber(link, "trades"))
        await subscriber.next_event()
        await eventually(lambda: publisher.subscriber_count == 1)
        for _ in range(40):
            publisher.publish("x" * 200_000)
        assert await seconds_taken(stack.aclose()) < 10.0


@in_loop
async def test_the_publisher_is_mounted_beside_other_routes() -> None:
    publisher = Publisher()
    app = web.Application()
    app.router.add_get("/events", publisher.handle)
    app.on_shutdown.append(publisher.close)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOOPBACK, port).start()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{LOOPBACK}:{port}/events") as socket,
    ):
        await eventually(lambda: publisher.subscriber_count == 1)
        publisher.publish("world")
        assert await socket.receive_str() == "world"
        await runner.cleanup()
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


def test_waits_between_connections_double_up_to_their_bound() -> None:
    rng = random.Random(1)
    for attempts, mean_s in [(1, 0.1), (2, 0.2), (3, 0.4), (7, 5.0), (10_000, 5.0)]:
        waits_s = [reconnect_wait_s(rng, attempts=attempts) for _ in range(200)]
        assert 0.5 * mean_s <= min(waits_s) < max(waits_s) <= 1.5 * mean_s
    assert mean_s == RECONNECT_S_MAX
