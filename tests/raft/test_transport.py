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
from raft_exchange.raft.handshake import ENTROPY_BYTES, Handshake, Refusal
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


def test_the_lesser_id_dials_when_only_it_knows_the_address() -> None:
    """After its patience, since it is the greater's turn first."""

    async def main() -> None:
        a = Peer("a", book := {}, settings=TransportSettings(patience_s=0.1))
        b = Peer("b", {})  # its address book stays empty but for itself
        await b.start("a")
        book["b"] = b.transport.address
        await a.start("b")
        await connect_all(a, b)
        assert a.stats.dialled == 1
        assert b.stats.dialled == 0

    run(main())


def test_a_member_whose_address_appears_later_is_dialled_then() -> None:
    """The address book is asked again and again; nothing is dialled before it knows."""

    async def main() -> None:
        asked = 0

        class Book(dict[str, Address]):
            def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
                nonlocal asked
                asked += 1
                return super().get(key) if asked > 3 else None

        b = Peer("b", Book())
        a = Peer("a", {})
        await a.start("b")
        b.book["a"] = a.transport.address
        await b.start("a")
        await connect_all(a, b)
        assert asked == 4
        assert b.stats.dialled == 1

    run(main())


@pytest.mark.parametrize(
    "address", [("127.0.0.1", 1), ("127.0.0.1", 70_000), ("a\x00b", 80), ("x" * 300, 80)]
)
def test_an_impossible_address_is_only_a_failed_dial(address: Address) -> None:
    """Addresses come from discovery, so from others: no host or port may raise."""

    async def main() -> None:
        b = Peer("b", {"a": address})
        a = Peer("a", {})
        await a.start("b")
        await b.start("a")
        await b.until(lambda: b.stats.dials_failed >= 2)
        b.book["a"] = a.transport.address
        await connect_all(a, b)

    run(main())


@both_loops
def test_a_restarted_member_is_found_at_its_new_port(loop: str) -> None:
    """Down is told once, up again once; the redial asks the address book again."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a, b = Peer("a", book), Peer("b", book)
        await a.start("b")
        await b.start("a")
        await connect_all(a, b)
        await a.transport.stop()
        await b.until(lambda: b.events[-1] == ("down", "a"))
        a = Peer("a", book)
        await a.start("b")
        await connect_all(a, b)
        assert b.events == [("up", "a"), ("down", "a"), ("up", "a")]

        await b.transport.stop()
        await a.until(lambda: a.events[-1] == ("down", "b"))
        b = Peer("b", book)
        await b.start("a")
        await connect_all(a, b)
        assert a.events == [("up", "b"), ("down", "b"), ("up", "b")]
        assert b.events == [("up", "a")]

    run(main(), loop=loop)


@both_loops
def test_a_newer_connection_replaces_the_older(loop: str) -> None:
    """Old one told down once, new one up, and nothing of the old one is delivered after that."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start("b")
        older = await RawMember.dial(a.transport.address, credentials("b"), target="a")
        older.send("one")
        await a.until(lambda: a.heard("b") == ["one"])
        newer = await RawMember.dial(a.transport.address, credentials("b"), target="a")
        older.send("stale")
        newer.send("two")
        await a.until(lambda: "two" in a.heard("b"))
        await older.ended()
        assert a.events[-3:] == [("down", "b"), ("up", "b"), ("two", "b")]
        assert a.events.count(("down", "b")) == 1
        assert a.stats.lost == {Loss.REPLACED: 1}
        a.send("b", "answer")
        assert await newer.next_text() == "answer"

    run(main(), loop=loop)


def test_an_older_socket_that_proves_itself_late_does_not_replace_a_newer() -> None:
    """Order is that of the sockets, not of the last proofs: no stale messages by reordering."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start("b")
        late = await RawMember.open(a.transport.address)
        handshake = await _hello(late)
        newer = await RawMember.dial(a.transport.address, credentials("b"), target="a")
        newer.send("kept")
        await a.until(lambda: a.heard("b") == ["kept"])
        late.writer.write(handshake)
        await late.ended()
        assert a.stats.refused == {Refusal.SUPERSEDED: 1}
        assert a.events == [("up", "b"), ("kept", "b")]

    run(main())


async def _hello(member: RawMember) -> bytes:
    """Say hello as b to a, and return the confirmation without sending it."""
    handshake = Handshake(
        credentials("b"), dial_to="a", members=("a",), entropy=bytes(range(ENTROPY_BYTES))
    )
    member.writer.write(handshake.start())
    return handshake.receive(await member.reader.readexactly(264))


@both_loops
@pytest.mark.parametrize("attempt", range(10))
def test_dials_that_cross_leave_one_connection(attempt: int, loop: str) -> None:
    """Both sides dial at once, and keep the same one: no mutual closing, no flapping."""

    async def main() -> None:
        book: dict[str, Address] = {}
        settings = TransportSettings(patience_s=0.0, ping_s=0.05)
        a, b = Peer("a", book, settings=settings), Peer("b", book, settings=settings)
        await a.start()
        await b.start()
        for first, second in ((a, b), (b, a)) if attempt % 2 else ((b, a), (a, b)):
            first.add(second.id)
        await connect_all(a, b)
        await a.until(lambda: _socket_of(a) == _socket_of(b)[::-1])
        settled = len(a.events), len(b.events)
        for i in range(20):
            assert a.send("b", f"{i}")
            assert b.send("a", f"{i}")
        await b.until(lambda: len(b.heard("a")) == 20)
        await a.until(lambda: len(a.heard("b")) == 20)
        assert (len(a.events), len(b.events)) == (settled[0] + 20, settled[1] + 20)
        assert max(a.stats.established, b.stats.established) <= 2

    run(main(), loop=loop)


def _socket_of(peer: Peer) -> tuple[Address, Address]:
    """The two ends of its one connection: here, there."""
    (link,) = peer.transport._connections()
    return link._transport.get_extra_info("sockname"), link.address


def test_our_dial_is_given_up_when_the_member_reaches_us_first() -> None:
    """Our socket to b leads to somebody who accepts and says nothing; b itself dials us."""

    async def main() -> None:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            RawMember(reader, writer)

        silent = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with silent:
            b = Peer("b", {"a": silent.sockets[0].getsockname()})
            await b.start("a")
            await b.until(lambda: len(b.transport._opening) == 1)
            await RawMember.dial(b.transport.address, credentials("a"), target="b")
            await b.until(lambda: b.is_connected("a"))
            assert b.stats.refused == {Refusal.SUPERSEDED: 1}
            assert not b.transport._opening

    run(main())


def test_redials_slow_down_and_the_lesser_id_waits_for_the_greater() -> None:
    """0.1 s, doubling up to 1 s, each with jitter; after a loss the lesser is patient."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start("b")
        transport, member = a.transport, a.transport.members["b"]

        def next_wait_s(**how: bool) -> float:
            transport._redial_later(member, **how)
            return round(member.dial_at_s - transport._loop.time(), 1)

        assert [next_wait_s() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
        assert next_wait_s(patient=True) == transport.settings.patience_s
        transport._jitter = lambda: 0.0
        assert next_wait_s() == 0.5

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
