"""Publish and subscribe with stock Node.js peers, both ways, found through real grapes."""

import contextlib

import pytest

from grape.link import Link
from grape.pubsub import Connected, Disconnected, Message, Publisher, Subscriber, listening
from tests.support.coroutines import eventually, in_loop
from tests.support.node_modules import LOOPBACK, RealGrape
from tests.support.node_peer import node_peer

pytestmark = pytest.mark.interop


@in_loop
async def test_a_stock_subscriber_hears_our_publisher(grapes: list[RealGrape]) -> None:
    publisher = Publisher()
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(node_peer(grapes[1].url))
        link = await stack.enter_async_context(Link([grapes[0].url]))
        async with listening(publisher, host=LOOPBACK) as port:
            await link.start_announcing("pub_ours", port).announced.wait()
            await node.do("subscribe", key="pub_ours")
            assert await node.event() == ("connected", None)
            await eventually(lambda: publisher.subscriber_count == 1)
            publisher.publish("world")
            publisher.publish('{"a":1,"s":"żó"}')
            publisher.publish(b"\x01\x02\x03")
            assert await node.event() == ("text", "world")
            assert await node.event() == ("text", '{"a":1,"s":"żó"}')
            assert await node.event() == ("binary", "010203")
            for n in range(500):
                publisher.publish(str(n))
            assert [await node.event() for _ in range(500)] == [
                ("text", str(n)) for n in range(500)
            ]
        assert await node.event() == ("disconnected", None)


@in_loop
async def test_our_subscriber_hears_a_stock_publisher_and_notices_its_end(
    grapes: list[RealGrape],
) -> None:
    async with (
        Link([grapes[1].url]) as link,
        Subscriber(link, "pub_stock") as subscriber,
        contextlib.AsyncExitStack() as stack,
    ):
        node = await stack.enter_async_context(node_peer(grapes[0].url))
        destination = f"{LOOPBACK}:{await node.do('publisher', key='pub_stock')}"
        assert await subscriber.next_event() == Connected(destination)
        assert await node.event() == ("subscriber", None)
        await node.do("publish", message="world")
        await node.do("publish", message=42)
        await node.do("publish", hex="010203")
        assert await subscriber.next_event() == Message("world")
        assert await subscriber.next_event() == Message("42")
        assert await subscriber.next_event() == Message(b"\x01\x02\x03")
        await stack.aclose()
        assert await subscriber.next_event() == Disconnected(destination)
