"""Transports on real sockets of this machine, with what they told the library and a way to wait.

Nothing here sleeps until something is ready: `Peer.until` looks again after each callback, read
and counter, and `RawMember` plays one end of a connection by hand with the sans-I/O parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from pysyncobj.node import Node

from raft_exchange.raft.connection import Connection, TransportSettings
from raft_exchange.raft.framing import FrameReader, FrameWriter, decode_message, encode_message
from raft_exchange.raft.handshake import ENTROPY_BYTES, Credentials, Handshake
from raft_exchange.raft.transport import Address, PeerTransport
from raft_exchange.raft.wire import Propose, WireMessage

CLUSTER = "exchange-1"
SECRET = b"a secret of the cluster, random."
WAIT_S_MAX = 20.0
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
_at_the_end: list[Callable[[], Coroutine[Any, Any, None]]] = []
"""What stops the peers and raw members of the running test."""


def run(main: Coroutine[Any, Any, None], *, loop: str = "uvloop") -> None:
    """Run a test's coroutine on one of the event loops that we support, and stop its peers."""

    async def stop_at_the_end() -> None:
        try:
            await main
        finally:
            while _at_the_end:
                await _at_the_end.pop()()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(stop_at_the_end())


def credentials(node_id: str, *, secret: bytes = SECRET) -> Credentials:
    return Credentials(node_id, CLUSTER, secret)


def message(text: str) -> Propose:
    return Propose(text.encode())


class _Noticed(Counter[Any]):
    """A counter that says when it changes."""

    notice: Callable[[], None]

    def __setitem__(self, key: Any, value: int) -> None:
        super().__setitem__(key, value)
        self.notice()


class Peer:
    """A `PeerTransport`, and what it told its library: ("up" | "down" | text, peer's id).

    Args:
        book: the address book, shared by all peers of a test; `start` enters our address.
    """

    def __init__(
        self,
        node_id: str,
        book: dict[str, Address],
        *,
        secret: bytes = SECRET,
        port: int = 0,
        settings: TransportSettings | None = None,
    ) -> None:
        self.id = node_id
        self.book = book
        self.events: list[tuple[str, str]] = []
        self.wakes = 0
        self._changed = asyncio.Event()
        transport = _ObservedTransport(
            credentials(node_id, secret=secret),
            listen=("127.0.0.1", port),
            resolve=book.get,
            wake=self._on_wake,
            jitter=lambda: 0.5,
            settings=settings,
        )
        transport.notice = self._changed.set
        transport.stats.refused = _Noticed()
        transport.stats.refused.notice = self._changed.set
        transport.setOnNodeConnectedCallback(lambda node: self._note("up", node))
        transport.setOnNodeDisconnectedCallback(lambda node: self._note("down", node))
        transport.setOnMessageReceivedCallback(self._on_message)
        _at_the_end.append(transport.stop)
        self.transport = transport
        self.stats = transport.stats

    async def start(self, *others: str) -> None:
        """Bind, enter the address book, and know `others`."""
        await self.transport.start()
        self.book[self.id] = self.transport.address
        self.add(*others)

    def add(self, *others: str) -> None:
        for other in others:
            self.transport.addNode(Node(other))

    def send(self, to: str, text: str) -> bool:
        return self.transport.send(Node(to), message(text))

    def heard(self, sender: str) -> list[str]:
        """The messages of that peer, in order."""
        return [t for t, who in self.events if who == sender and t not in ("up", "down")]

    def is_connected(self, *others: str) -> bool:
        members = self.transport.members
        return all(o in members and members[o].connection is not None for o in others)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds()`; looks again whenever something happened here."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def _note(self, what: str, node: Node) -> None:
        self.events.append((what, node.id))
        self._changed.set()

    def _on_message(self, node: Node, received: WireMessage) -> None:
        assert isinstance(received, Propose)
        self._note(received.payload.decode(), node)

    def _on_wake(self) -> None:
        self.wakes += 1


class _ObservedTransport(PeerTransport):
    notice: Callable[[], None]

    def opened(self, connection: Connection) -> bool:
        self.notice()
        return super().opened(connection)

    def _redial_later(self, member: Any, *, patient: bool = False) -> None:
        super()._redial_later(member, patient=patient)
        self.notice()

    def read(self, size: int) -> None:
        super().read(size)
        self.notice()


async def connect_all(*peers: Peer) -> None:
    """Wait until each of them is connected to each other."""
    for peer in peers:
        others = [other.id for other in peers if other is not peer]
        await peer.until(lambda peer=peer, others=others: peer.is_connected(*others))  # type: ignore[misc]


class RawMember:
    """A member played by hand, who may misbehave after (or instead of) a sound handshake."""

    sealer: FrameWriter
    opener: FrameReader

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        _at_the_end.append(self.close)

    @classmethod
    async def open(cls, address: Address) -> RawMember:
        """Open a socket, and say nothing."""
        return cls(*await asyncio.open_connection(*address))

    @classmethod
    async def dial(cls, address: Address, who: Credentials, *, target: str) -> RawMember:
        """Open a socket and pass the handshake.

        Raises:
            ConnectionError: it was refused.
        """
        member = await cls.open(address)
        handshake = Handshake(
            who, dial_to=target, members=(target,), entropy=os.urandom(ENTROPY_BYTES)
        )
        member.writer.write(handshake.start())
        answer = await member.reader.read(10_000)
        if not answer:
            raise ConnectionResetError("refused")
        member.writer.write(handshake.receive(answer))
        assert handshake.session is not None
        member.sealer = FrameWriter(handshake.session.send_key)
        member.opener = FrameReader(handshake.session.receive_key)
        return member

    def send(self, text: str) -> None:
        self.writer.write(self.sealer.frame(encode_message(message(text))))

    def ping(self) -> None:
        self.writer.write(self.sealer.frame(b""))

    async def next_payload(self) -> bytes:
        """Return the next frame's payload; a ping is b""."""
        async with asyncio.timeout(WAIT_S_MAX):
            while (payload := self.opener.next_payload()) is None:
                data = await self.reader.read(65_536)
                if not data:
                    raise ConnectionResetError
                self.opener.feed(data)
        return payload

    async def next_text(self) -> str:
        while not (payload := await self.next_payload()):
            pass
        received = decode_message(payload)
        assert isinstance(received, Propose)
        return received.payload.decode()

    async def ended(self) -> None:
        """Wait until the other side closed the connection, in whichever way."""
        async with asyncio.timeout(WAIT_S_MAX):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
