"""What strangers, and members gone mad, can do to a node over the network: be counted.

Garbage comes in 50,000 pieces before the handshake and 50,000 after it, each piece judged by a
connection; RAFT_EXCHANGE_GARBAGE_FRAMES asks for more (nightly). Nothing may ever reach pickle.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from raft_exchange.raft.connection import Loss, TransportSettings
from raft_exchange.raft.framing import FrameWriter, encode_message
from raft_exchange.raft.handshake import ENTROPY_BYTES, Credentials, Handshake, Refusal, Session
from raft_exchange.raft.transport import Address
from raft_exchange.raft.wire import AppendEntries, Entry
from tests.support.peers import (
    CLUSTER,
    LOOPS,
    SECRET,
    Peer,
    RawMember,
    connect_all,
    credentials,
    run,
)

both_loops = pytest.mark.parametrize("loop", LOOPS)
OTHER_SECRET = b"another secret, also random....."
GARBAGE_FRAMES = int(os.environ.get("RAFT_EXCHANGE_GARBAGE_FRAMES", "50000"))
GROWTH_MIB_MAX = 24.0
PATIENT_WITH_FAILURES = TransportSettings(failures_burst=1e9)


@pytest.fixture(autouse=True)
def _no_pickle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever comes in, nothing is unpickled."""
    reached: list[str] = []

    def forbidden(*_: object, **__: object) -> object:
        reached.append("pickle")
        raise AssertionError("network input reached pickle")

    monkeypatch.setattr(pickle, "loads", forbidden)
    monkeypatch.setattr(pickle, "load", forbidden)
    monkeypatch.setattr(pickle, "Unpickler", forbidden)
    yield
    assert not reached


@pytest.fixture
def _no_growth() -> Iterator[None]:
    """However much comes in, nothing of it stays."""
    began_mib = memory_mib()
    yield
    assert memory_mib() - began_mib < GROWTH_MIB_MAX


def memory_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096 / 1024**2


async def attempt(peer: Peer, data: bytes) -> None:
    """Open a socket, say `data`, and wait until it is closed on us."""
    stranger = await RawMember.open(peer.transport.address)
    stranger.writer.write(data)
    await stranger.ended()


@both_loops
@pytest.mark.parametrize(
    ("stranger", "reason"),
    [
        (Credentials("b", CLUSTER, OTHER_SECRET), Refusal.WRONG_SECRET),
        (Credentials("b", "exchange-2", SECRET), Refusal.WRONG_CLUSTER),
        (Credentials("a", CLUSTER, SECRET), Refusal.OWN_ID),
        (Credentials("z", CLUSTER, SECRET), Refusal.NOT_A_MEMBER),
    ],
)
def test_a_stranger_gets_no_answer_and_is_counted_by_reason(
    stranger: Credentials, reason: Refusal, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Our log has the address and the reason; the stranger only sees the end."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start("b")
        target = "a" if stranger.node_id != "a" else "b"
        with pytest.raises(ConnectionResetError):
            await RawMember.dial(a.transport.address, stranger, target=target)
        assert a.stats.refused == {reason: 1}
        assert a.events == []
        line = caplog.messages[-1]
        assert line.startswith("gave up a connection at 127.0.0.1:")
        assert line.endswith(reason.value)

    run(main(), loop=loop)


def test_two_nodes_with_different_secrets_never_connect() -> None:
    """They redial more and more slowly, and both can tell from their own counters."""

    async def main() -> None:
        book: dict[str, Address] = {}
        settings = TransportSettings(patience_s=0.1, redial_s_max=0.2)
        a = Peer("a", book, settings=settings)
        b = Peer("b", book, secret=OTHER_SECRET, settings=settings)
        await a.start("b")
        await b.start("a")
        await a.until(lambda: a.stats.refused[Refusal.WRONG_SECRET] >= 3)
        await b.until(lambda: b.stats.refused[Refusal.WRONG_SECRET] >= 3)
        assert a.stats.refused[Refusal.CLOSED] >= 2, "its own dials were cut short by b"
        assert a.events == b.events == []

    run(main())


def test_a_recorded_session_opens_nothing() -> None:
    """All that b once sent to a, byte for byte, sent to a again."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start("b")
        hello, confirm, frame, answer_length = await _record(a)
        assert a.heard("b") == ["recorded"]
        replay = await RawMember.open(a.transport.address)
        replay.writer.write(hello)
        await replay.reader.readexactly(answer_length)
        replay.writer.write(confirm + frame)
        await replay.ended()
        assert a.stats.refused == {Refusal.WRONG_SECRET: 1}
        assert a.heard("b") == ["recorded"]

    run(main())


async def _record(a: Peer) -> tuple[bytes, bytes, bytes, int]:
    """Be b for one message, and keep what was sent."""
    b = await RawMember.open(a.transport.address)
    handshake = Handshake(
        credentials("b"), dial_to="a", members=("a",), entropy=os.urandom(ENTROPY_BYTES)
    )
    hello = handshake.start()
    b.writer.write(hello)
    answer = await b.reader.readexactly(len(hello))
    confirm = handshake.receive(answer)
    assert handshake.session is not None
    frame = FrameWriter(handshake.session.send_key).frame(b"\x92\xa7propose\xc4\x08recorded")
    b.writer.write(confirm + frame)
    await a.until(lambda: a.heard("b") == ["recorded"])
    await b.close()
    await a.until(lambda: a.events[-1] == ("down", "b"))
    return hello, confirm, frame, len(answer)


@both_loops
def test_five_hundred_idle_sockets_leave_the_members_connected(loop: str) -> None:
    """Strangers share few places and have little time; members notice nothing."""

    async def main() -> None:
        book: dict[str, Address] = {}
        settings = TransportSettings(
            handshake_s_max=0.5, ping_s=0.1, silence_s_max=1.0, failures_burst=1e9
        )
        peers = [Peer(node_id, book, settings=settings) for node_id in "abc"]
        a, b, c = peers
        await a.start("b", "c")
        await b.start("a", "c")
        await connect_all(a, b)
        idle = [await RawMember.open(a.transport.address) for _ in range(500)]
        assert len(a.transport._opening) <= settings.strangers_max
        assert a.stats.refused[Refusal.EVICTED] >= 500 - settings.strangers_max
        await c.start("a", "b")  # the places are all taken, and still a new member gets in
        await connect_all(*peers)
        for stranger in idle:
            await stranger.ended()
        assert a.stats.refused[Refusal.TIMEOUT] > 0
        assert a.send("b", "still here")
        await b.until(lambda: b.heard("a") == ["still here"])
        assert all(("down", other) not in peer.events for peer in peers for other in "abc")

    run(main(), loop=loop)


def test_an_address_that_keeps_failing_is_not_heard_and_members_are_dialled_instead() -> None:
    """Nothing of a blocked address is read; a member behind it is reached from our side."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a = Peer("a", book, settings=TransportSettings(failures_burst=5, failures_per_s=0.01))
        b = Peer("b", book)
        await a.start("b")
        for _ in range(5):
            await attempt(a, b"GET / HTTP/1.1\r\n\r\n")
        assert a.stats.refused == {Refusal.GARBAGE: 5}
        await attempt(a, b"")
        assert a.stats.refused[Refusal.BLOCKED] == 1
        await b.start("a")  # b dials first, from the address that is blocked
        await connect_all(a, b)
        assert a.stats.refused[Refusal.BLOCKED] >= 2
        assert a.stats.dialled == 1

    run(main())


def test_strangers_that_trickle_are_cut_off_in_time() -> None:
    """A byte now and then does not extend the time for the handshake."""

    async def main() -> None:
        a = Peer("a", {}, settings=TransportSettings(handshake_s_max=0.3))
        await a.start("b")
        hello = _hello()
        stranger = await RawMember.open(a.transport.address)
        ended = asyncio.ensure_future(stranger.ended())
        for byte in hello[:200]:
            if ended.done():
                break
            stranger.writer.write(bytes([byte]))
            await asyncio.wait([ended], timeout=0.01)
        await ended
        assert a.stats.refused == {Refusal.TIMEOUT: 1}

    run(main())


class FakeSocket(asyncio.Transport):
    """Enough of a socket for one connection; what is written is counted only."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 7), "socket": self})
        self.closed = False
        self.written_bytes = 0

    def setsockopt(self, *_: object) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def write(self, data: object) -> None:
        self.written_bytes += len(data)  # type: ignore[arg-type]

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.mark.usefixtures("_no_growth")
def test_garbage_before_the_handshake_is_refused_and_nothing_more() -> None:
    """Random bytes, with the first bytes of a sound hello or without: no answer, no member."""

    async def main() -> None:
        a = Peer("a", {}, settings=PATIENT_WITH_FAILURES)
        await a.start("b")
        rng = random.Random(3)
        hello = _hello()
        for _ in range(GARBAGE_FRAMES):
            await asyncio.sleep(0)  # the loop lets go of timers in its own turns
            socket = FakeSocket()
            connection = a.transport._connection(dial_to=None)
            connection.connection_made(socket)
            connection.data_received(hello[: rng.choice([0, 0, rng.randrange(264)])] + _junk(rng))
            assert socket.written_bytes == 0
            connection.connection_lost(None)  # some still waited for the rest of a hello
        assert a.stats.refused.total() == GARBAGE_FRAMES
        assert a.events == []
        assert not a.transport._opening

    run(main())


@pytest.mark.usefixtures("_no_growth")
def test_garbage_from_a_member_ends_its_connection_and_nothing_more() -> None:
    """Sealed with the right key, so that the decoder sees all of it."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start("b")
        a.transport.setOnMessageReceivedCallback(None)  # a mutation may be sound by chance
        rng = random.Random(4)
        sessions = frames = 0
        while frames < GARBAGE_FRAMES:
            await asyncio.sleep(0)
            socket = FakeSocket()
            connection = a.transport._connection(dial_to=None)
            connection.connection_made(socket)
            connection._establish(Session("b", bytes(32), bytes(32), rest=b""))
            sealer = FrameWriter(bytes(32))
            sessions += 1
            while not socket.closed:
                payload = _junk(rng) if rng.random() < 0.5 else _mutated(rng, SOUND)
                connection.data_received(sealer.frame(payload))
                frames += 1
            connection.connection_lost(None)
            assert a.events == [("up", "b"), ("down", "b")]
            a.events.clear()
        assert a.stats.lost == {Loss.BAD_FRAME: sessions}
        assert sessions > GARBAGE_FRAMES // 2

    run(main())


@both_loops
def test_garbage_over_real_sockets_leaves_the_members_connected(loop: str) -> None:
    """Five hundred connections of garbage, before the handshake and after it in turn."""

    async def main() -> None:
        book: dict[str, Address] = {}
        a, c = Peer("a", book, settings=PATIENT_WITH_FAILURES), Peer("c", book)
        await a.start("b", "c")
        await c.start("a")
        await connect_all(a, c)
        rng = random.Random(5)
        for _ in range(250):
            await attempt(a, b"?" + b"".join(_junk(rng) for _ in range(50)))
            b = await RawMember.dial(a.transport.address, credentials("b"), target="a")
            b.writer.write(b"".join(b.sealer.frame(b"?" + _junk(rng)) for _ in range(50)))
            await b.ended()
        assert a.stats.refused == {Refusal.GARBAGE: 250}
        assert a.stats.lost == {Loss.BAD_FRAME: 250}
        assert a.send("c", "still here")
        await c.until(lambda: c.heard("a") == ["still here"])
        assert ("down", "a") not in c.events

    run(main(), loop=loop)


SOUND = encode_message(AppendEntries(1, 0, 0, 0, [Entry(b"x", 1, 1)]))
BOMB = pickle.dumps(ValueError, protocol=2)


def _hello() -> bytes:
    return Handshake(
        credentials("b"), dial_to="a", members=("a",), entropy=bytes(ENTROPY_BYTES)
    ).start()


def _junk(rng: random.Random) -> bytes:
    """Random bytes, or what another program would unpickle, with a length before it or without."""
    body = BOMB if rng.random() < 0.1 else rng.randbytes(rng.randrange(1, 300))
    return body if rng.random() < 0.5 else len(body).to_bytes(4, "big") + body


def _mutated(rng: random.Random, sound: bytes) -> bytes:
    damaged = bytearray(sound)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


@pytest.mark.parametrize("fault", ["flip", "repeat", "swap", "oversize", "cut"])
def test_a_disturbed_stream_costs_the_connection(fault: str) -> None:
    """On the way from b to a frames are changed; a closes, and a new connection works."""

    async def main() -> None:
        a = Peer("a", {})
        await a.start("b")
        b = await RawMember.dial(a.transport.address, credentials("b"), target="a")
        one, two = (b.sealer.frame(encode_message(AppendEntries(1, 0, 0, 0, []))) for _ in "12")
        a.transport.setOnMessageReceivedCallback(None)
        stream = {
            "flip": one[:20] + bytes([one[20] ^ 1]) + one[21:],
            "repeat": one + one,
            "swap": two + one,
            "oversize": b"\x7f\xff\xff\xff",
            "cut": one[:20],
        }[fault]
        b.writer.write(stream)
        if fault == "cut":
            await b.close()
        await b.ended()
        await a.until(lambda: a.events == [("up", "b"), ("down", "b")])
        expected = Loss.CLOSED_BY_PEER if fault == "cut" else Loss.BAD_FRAME
        assert a.stats.lost == {expected: 1}
        assert a.stats.frames_in == (1 if fault == "repeat" else 0)
        again = await RawMember.dial(a.transport.address, credentials("b"), target="a")
        await a.until(lambda: a.is_connected("b"))
        await again.close()

    run(main())
