"""Who dials whom, again and again, and which of two connections stays, on real sockets."""

from __future__ import annotations

import asyncio

import pytest

from raft_exchange.raft.connection import Loss, TransportSettings
from raft_exchange.raft.handshake import ENTROPY_BYTES, Handshake, Refusal
from raft_exchange.raft.transport import Address
from tests.support.peers import (
    LOOPS,
    Peer,
    RawMember,
    connect_all,
    credentials,
    run,
)

both_loops = pytest.mark.parametrize("loop", LOOPS)
IDS = ("a", "b", "c")


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
