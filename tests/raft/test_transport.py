"""The transport on real sockets: who gets connected, what is told, and in which order."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from pysyncobj import SyncObj, SyncObjConf, SyncObjException
from pysyncobj.node import Node

from raft_exchange.raft import connection
from raft_exchange.raft.connection import Loss, TransportSettings
from raft_exchange.raft.framing import FrameWriter, encode_message
from raft_exchange.raft.handshake import Refusal
from raft_exchange.raft.transport import Address
from tests.support.peers import (
    LOOPS,
    Peer,
    RawMember,
    connect_all,
    credentials,
    message,
    run,
)

both_loops = pytest.mark.parametrize("loop", LOOPS)
IDS = ("a", "b", "c")


@both_loops
@pytest.mark.parametrize("order", list(itertools.permutations(IDS)))
def test_three_members_connect_in_any_start_order(order: tuple[str, ...], loop: str) -> None:
    """Each is told of the two others once; each pair has one connection."""

    async def main() -> None:
        book: dict[str, Address] = {}
        peers = [Peer(node_id, book) for node_id in order]
        for peer in peers:
            await peer.start(*(other for other in IDS if other != peer.id))
        await connect_all(*peers)
        for peer in peers:
            assert sorted(peer.events) == [("up", o) for o in IDS if o != peer.id]
            assert peer.stats.established == 2
            assert peer.wakes == 2

    run(main(), loop=loop)


@both_loops
def test_messages_arrive_once_in_order_and_wake_the_owner(loop: str) -> None:
    """From one byte to a megabyte, in both directions at once."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a, b = Peer("a", book), Peer("b", book)
        await a.start("b")
        await b.start("a")
        await connect_all(a, b)
        wakes = b.wakes
        texts = [f"{i} " + "x" * (1_000_000 if i == 50 else i * 10) for i in range(100)]
        for text in texts:
            assert a.send("b", text)
            assert b.send("a", text)
        await b.until(lambda: len(b.heard("a")) == 100)
        await a.until(lambda: len(a.heard("b")) == 100)
        assert a.heard("b") == texts
        assert b.heard("a") == texts
        assert b.wakes > wakes
        assert a.stats.frames_out == b.stats.frames_in == 100
        assert a.stats.bytes_out == b.stats.bytes_in

    run(main(), loop=loop)


def test_nothing_is_sent_without_a_connection() -> None:
    """`send` says so: to a stranger, to a member never seen, to one that is gone."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a, b = Peer("a", book), Peer("b", book)
        await a.start("b")
        assert not a.send("b", "too early")
        assert not a.send("z", "no member")
        await b.start("a")
        await connect_all(a, b)
        await b.transport.stop()
        await a.until(lambda: not a.is_connected("b"))
        assert not a.send("b", "too late")

    run(main())


def test_silent_members_are_lost() -> None:
    """A connection over which nothing comes is half open, however healthy the socket looks."""

    async def main() -> None:
        a = Peer("a", {}, settings=TransportSettings(ping_s=0.1, silence_s_max=0.3))
        await a.start("b")
        b = await RawMember.dial(a.transport.address, credentials("b"), target="a")
        for _ in range(3):
            assert await b.next_payload() == b"", "a pings while it has nothing to say"
            b.ping()
        await b.ended()
        assert a.events == [("up", "b"), ("down", "b")]
        assert a.stats.lost == {Loss.SILENCE: 1}

    run(main())


@both_loops
def test_members_with_nothing_to_say_stay_connected(loop: str) -> None:
    """Pings are enough: as many as fit into five times the silence allowed."""

    async def main() -> None:
        book: dict[str, Address] = {}
        settings = TransportSettings(ping_s=0.1, silence_s_max=0.3)
        a, b = Peer("a", book, settings=settings), Peer("b", book, settings=settings)
        await a.start("b")
        await b.start("a")
        await a.until(lambda: a.stats.frames_in >= 15)
        assert a.events == [("up", "b")]
        assert b.events == [("up", "a")]

    run(main(), loop=loop)


@both_loops
def test_a_stall_of_our_own_is_not_taken_for_the_peers_silence(loop: str) -> None:
    """The loop stands still for three times the silence allowed; nobody is lost."""

    async def main() -> None:
        book: dict[str, Address] = {}
        settings = TransportSettings(ping_s=0.1, silence_s_max=0.3)
        a, b = Peer("a", book, settings=settings), Peer("b", book, settings=settings)
        await a.start("b")
        await b.start("a")
        await connect_all(a, b)
        time.sleep(0.9)  # noqa: ASYNC251  # the stall is what is tested
        pings = a.stats.frames_in
        await a.until(lambda: a.stats.frames_in >= pings + 5)
        assert a.stats.lost.total() == b.stats.lost.total() == 0

    run(main(), loop=loop)


@both_loops
def test_a_member_that_does_not_read_costs_a_bounded_buffer_and_then_its_connection(
    loop: str,
) -> None:
    """Beyond the bound messages are dropped and `send` says so; after a while it is cut off."""

    async def main() -> None:
        settings = TransportSettings(
            outgoing_bytes_max=20_000_000, congested_s_max=0.3, silence_s_max=30
        )
        a = Peer("a", {}, settings=settings)
        await a.start("b")
        b = await RawMember.dial(a.transport.address, credentials("b"), target="a")
        b.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await a.until(lambda: a.is_connected("b"))
        sent = 0
        while a.send("b", "x" * 100_000):
            sent += 1
            assert sent < 1_000, "the bound is never reached"
            await asyncio.sleep(0)
        assert a.stats.messages_dropped == 1
        assert a.stats.bytes_out < 20_000_000 + 8_000_000, "the bound and the kernel's buffers"
        await a.until(lambda: ("down", "b") in a.events)
        assert a.stats.lost == {Loss.CONGESTED: 1}

    run(main(), loop=loop)


@both_loops
def test_a_flood_from_a_member_is_read_in_turns(loop: str) -> None:
    """With a tiny bound for each turn of the loop reading pauses, and still all arrives."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a = Peer("a", book, settings=TransportSettings(incoming_bytes_per_turn=1))
        b = Peer("b", book)
        await a.start("b")
        await b.start("a")
        await connect_all(a, b)
        pauses = 0
        (link,) = a.transport._connections()
        pause = link.pause_reading

        def counted() -> None:
            nonlocal pauses
            pauses += 1
            pause()

        link.pause_reading = counted  # type: ignore[method-assign]
        for i in range(300):
            b.send("a", f"{i} " + "x" * 10_000)
        await a.until(lambda: len(a.heard("b")) == 300)
        assert pauses > 10

    run(main(), loop=loop)


def test_a_dropped_member_is_told_down_once_refused_after_and_welcome_again() -> None:
    """`dropNode` forgets; `addNode` makes it a member anew."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a, b = Peer("a", book), Peer("b", book)
        await a.start("b")
        await b.start("a")
        await connect_all(a, b)
        a.transport.dropNode(Node("b"))
        assert a.events == [("up", "b"), ("down", "b")]
        assert not a.send("b", "gone")
        await a.until(lambda: a.stats.refused[Refusal.NOT_A_MEMBER] >= 1)
        a.add("b")
        await connect_all(a, b)
        assert a.events == [("up", "b"), ("down", "b"), ("up", "b")]

    run(main())


def test_nothing_is_delivered_after_a_callback_dropped_the_member() -> None:
    """Three messages came in one read; the first makes the library drop the sender."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start("b")
        b = await RawMember.dial(a.transport.address, credentials("b"), target="a")
        await a.until(lambda: a.is_connected("b"))
        received: list[object] = []

        def drop(node: Node, received_message: object) -> None:
            received.append(received_message)
            a.transport.dropNode(node)
            a.transport.addNode(node)  # a member again, but not over this connection

        a.transport.setOnMessageReceivedCallback(drop)
        payloads = [encode_message(message(text)) for text in ("one", "two", "three")]
        b.writer.write(b"".join(b.sealer.frame(payload) for payload in payloads))
        await b.ended()
        assert received == [message("one")]
        assert a.events == [("up", "b"), ("down", "b")]

    run(main())


def test_a_spent_key_makes_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the allowed number of frames the connection is renewed, not the rule stretched."""
    monkeypatch.setattr(connection, "FrameWriter", lambda key: FrameWriter(key, frames_max=10))

    async def main() -> None:
        book: dict[str, Address] = {}
        a, b = Peer("a", book), Peer("b", book)
        await a.start("b")
        await b.start("a")
        await connect_all(a, b)
        assert [b.send("a", str(i)) for i in range(11)] == [True] * 10 + [False]
        assert b.events == [("up", "a"), ("down", "a")]
        await connect_all(b, a)
        assert b.stats.lost == {Loss.KEY_SPENT: 1}

    run(main())


def test_a_taken_port_is_an_error_that_says_so() -> None:
    """The start fails, and nothing is left behind."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start()
        b = Peer("b", {}, port=a.transport.address[1])
        with pytest.raises(OSError, match="address already in use"):
            await b.start()
        assert not b.transport.ready

    run(main(), loop="asyncio")


@both_loops
def test_the_last_words_of_a_node_that_stops_are_sent(loop: str) -> None:
    """A hand-over message followed by a stop at once still arrives."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a, b = Peer("a", book), Peer("b", book)
        await a.start("b")
        await b.start("a")
        await connect_all(a, b)
        for _ in range(12):  # more than the kernel takes at once
            assert a.send("b", "before" + "." * 1_000_000)
        assert a.send("b", "last words")
        await a.transport.stop()
        await b.until(lambda: ("down", "a") in b.events)
        assert b.heard("a")[-1] == "last words"
        assert a.events == [("up", "b"), ("down", "b")]

    run(main(), loop=loop)


def test_destroy_is_silent_and_stop_may_follow() -> None:
    """`SyncObj.destroy` is already taking everything down; it wants no callbacks."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a, b = Peer("a", book), Peer("b", book)
        await a.start("b")
        await b.start("a")
        await connect_all(a, b)
        a.transport.destroy()
        assert not a.transport.ready
        await a.transport.stop()
        assert a.events == [("up", "b")]

    run(main())


def test_the_library_takes_it_ready_made_and_only_when_started() -> None:
    """An unstarted transport makes the constructor fail instead of waiting for ever."""

    async def main() -> None:
        conf = SyncObjConf(autoTick=False)
        a = Peer("a", {})
        with pytest.raises(SyncObjException):
            SyncObj(Node("a"), [], conf, transport=a.transport, nodeClass=Node)
        await a.start()
        library = SyncObj(Node("a"), [], conf, transport=a.transport, nodeClass=Node)
        library.doTick(0)
        assert library.isNodeConnected(Node("b")) is False
        library.destroy()

    run(main())
