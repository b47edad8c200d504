"""The socket and the clock of a DHT node.

The pump does three things after each input, always in this order: drain events, send datagrams,
re-arm the timer. It has no `if` about the protocol. Datagrams are read many at a time, so that a
timer which comes late meets the answers that were waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from grape.contact import Address, is_host
from grape.dht import DhtNode, DhtSettings, Holdings
from grape.events import (
    CODES,
    AnnounceFinished,
    Event,
    Found,
    GetFinished,
    LookupFinished,
    PutFinished,
    Refusal,
)
from grape.items import TARGET_BYTES, Item, is_valid
from grape.krpc import NAME_BYTES_MAX

DATAGRAM_BYTES_MAX: Final = 65_536
DATAGRAMS_PER_WAKE_MAX: Final = 256
SOCKET_BUFFER_BYTES: Final = 1024 * 1024
RESOLVE_PAUSE_S: Final = 10.0
RESOLVE_S_MAX: Final = 1.0  # that a start waits for names
ANY_HOST: Final = "0.0.0.0"
LOOPBACK: Final = "127.0.0.1"

_DISCARD_PORT: Final = 9  # connecting a UDP socket sends nothing


class GrapeError(Exception):
    """An operation failed; the message is the one of the grapes in the field."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{CODES[refusal]} {refusal.value}" if CODES[refusal] else refusal.value)
        self.refusal = refusal

    @property
    def code(self) -> int:
        """301 or 302, if the item itself was refused; else 0."""
        return CODES[self.refusal]


class GrapeBusyError(Exception):
    """Too many operations are under way, or the grape is stopping."""


class Endpoint:
    """A DHT node on a UDP socket of this process."""

    def __init__(
        self,
        settings: DhtSettings,
        *,
        host: str,
        bootstrap: Sequence[Address],
        own_host: str | None = None,
        on_event: Callable[[Event], None],
    ) -> None:
        """Make an endpoint; `start` opens the socket.

        Args:
            settings: of the node; port 0 is any free port.
            host: the IPv4 address to bind, `0.0.0.0` for all interfaces.
            bootstrap: addresses to join; a name is resolved again every RESOLVE_PAUSE_S.
            own_host: where our own services are, if not where the socket is.
            on_event: called with every event of the node, in order.
        """
        self._settings = settings
        self._host = host
        self._bootstrap = bootstrap
        self._own_host = own_host if own_host is not None else host
        self._on_event = on_event
        self._waiting: dict[int, asyncio.Future[Event]] = {}
        self._resolver: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake_s = 0.0  # when the timer is armed for
        self._socket: socket.socket | None = None
        self._node: DhtNode | None = None

    @property
    def address(self) -> Address:
        """The bound host and port."""
        assert self._socket is not None, "the endpoint is started"
        host, port = self._socket.getsockname()
        return host, port

    @property
    def node(self) -> DhtNode:
        """The node, once started."""
        assert self._node is not None, "the endpoint is started"
        return self._node

    def holdings(self) -> Holdings:
        """Return what the started node knows and keeps."""
        return self.node.holdings(now_s=asyncio.get_running_loop().time())

    async def start(self) -> None:
        """Bind the socket and begin to live.

        Raises:
            OSError: if the address cannot be bound.
        """
        assert self._node is None, "an endpoint is stopped before it is started again"
        self._socket = _bound_socket(self._host, self._settings.port)
        settings = msgspec.structs.replace(self._settings, port=self.address[1])
        self._node = DhtNode(settings, entropy=os.urandom, host_towards=self._host_towards)
        addresses = [item for item in self._bootstrap if is_host(item[0])]
        if len(addresses) < len(self._bootstrap):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESOLVE_S_MAX):
                    addresses = await self._resolve()
            self._resolver = asyncio.create_task(self._keep_resolving(), name="grape resolver")
        self._node.start(addresses, now_s=self._now_s())
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)
        self._transmit()

    async def stop(self) -> None:
        """Free the port at once; whoever waits for an operation is told."""
        if self._socket is None or self._node is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(GrapeBusyError("the grape is stopping"))
        self._waiting.clear()
        self._node = None
        if self._resolver is not None:
            self._resolver.cancel()
            await asyncio.wait([self._resolver])
            self._resolver = None

    async def announce(self, name: bytes, port: int) -> int:
        """Announce a service on `port` of this host; return how many grapes keep it.

        Raises:
            GrapeError: if nobody does.
            GrapeBusyError: try again later.
        """
        if len(name) > NAME_BYTES_MAX:
            raise GrapeError(Refusal.NO_NODES)
        outcome = await self._run(lambda node, now_s: node.announce(name, port, now_s=now_s))
        assert isinstance(outcome, AnnounceFinished)
        if outcome.refusal is not None:
            raise GrapeError(outcome.refusal)
        return outcome.stored

    async def lookup(self, name: bytes) -> list[Address]:
        """Return the peers that announced a service.

        Raises:
            GrapeBusyError: try again later.
        """
        if len(name) > NAME_BYTES_MAX:
            return []
        outcome = await self._run(lambda node, now_s: node.lookup(name, now_s=now_s))
        assert isinstance(outcome, LookupFinished)
        return list(outcome.peers)

    async def put(self, item: Item, *, cas: int | None = None) -> bytes:
        """Store an item and return its target.

        Raises:
            GrapeError: if nobody keeps it, or its signature is wrong.
            GrapeBusyError: try again later.
        """
        if not is_valid(item):
            raise GrapeError(Refusal.ALL_FAILED)
        outcome = await self._run(lambda node, now_s: node.put(item, cas=cas, now_s=now_s))
        assert isinstance(outcome, PutFinished)
        if outcome.refusal is not None:
            raise GrapeError(outcome.refusal)
        return item.target

    async def get(
        self, target: bytes, *, salt: bytes = b"", from_store: bool = True
    ) -> Found | None:
        """Return the item named `target`, None if nobody has it.

        Args:
            target: its 20 bytes; any other length names nothing.
            salt: of a mutable item, which its holders do not tell.
            from_store: let our own store answer, too.

        Raises:
            GrapeBusyError: try again later.
        """
        if len(target) != TARGET_BYTES:
            return None
        outcome = await self._run(
            lambda node, now_s: node.get(target, salt=salt, from_store=from_store, now_s=now_s)
        )
        assert isinstance(outcome, GetFinished)
        return outcome.found

    async def _run(self, begin: Callable[[DhtNode, float], int]) -> Event:
        """Begin an operation and wait for the event of its end."""
        node = self._node
        if node is None or node.is_busy:
            raise GrapeBusyError("too many operations")
        number = begin(node, self._now_s())
        future = self._waiting.get(number)
        if future is None:
            future = self._waiting[number] = asyncio.get_running_loop().create_future()
            # Whoever waits may have gone: then nobody else looks at the exception.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._transmit()
        # Shielded: several may wait for one look-up, and one of them may give up.
        return await asyncio.shield(future)

    def _on_readable(self) -> None:
        node, sock = self._node, self._socket
        assert node is not None
        assert sock is not None
        now_s = self._now_s()
        for _ in range(DATAGRAMS_PER_WAKE_MAX):
            try:
                data, address = sock.recvfrom(DATAGRAM_BYTES_MAX)
            except OSError:  # nothing more to read; or an ICMP error, which a timeout tells better
                break
            node.receive_datagram(data, address, now_s=now_s)
        self._transmit()

    def _on_timer(self) -> None:
        self._timer = None
        if self._node is not None:
            self._node.handle_timer(now_s=self._now_s())
            self._transmit()

    def _transmit(self) -> None:
        node, sock = self._node, self._socket
        assert node is not None
        assert sock is not None
        while (event := node.next_event()) is not None:
            self._dispatch(event)
        for datagram, address in node.datagrams_to_send():
            # What cannot be sent is lost, as any datagram may be.
            with contextlib.suppress(OSError):
                sock.sendto(datagram, address)
        self._rearm(node.next_timer_s())

    def _rearm(self, next_s: float | None) -> None:
        """Wake at `next_s`; a timer that is armed earlier is left to wake for nothing."""
        if next_s is None or (self._timer is not None and self._wake_s <= next_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wake_s = next_s
        self._timer = asyncio.get_running_loop().call_at(next_s, self._on_timer)

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, LookupFinished | AnnounceFinished | PutFinished | GetFinished):
            future = self._waiting.pop(event.operation, None)
            if future is not None and not future.done():
                future.set_result(event)
        self._on_event(event)

    def _host_towards(self, host: str) -> str:
        """Our address as `host` sees it: the bound one, or the one the kernel would send from."""
        return self._own_host if self._own_host != ANY_HOST else _route_source(host)

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_PAUSE_S)
            self.node.use_bootstrap(await self._resolve(), now_s=self._now_s())
            self._transmit()

    async def _resolve(self) -> list[Address]:
        """The addresses behind all bootstrap entries that resolve at this moment."""
        loop = asyncio.get_running_loop()
        found: list[Address] = []
        for host, port in self._bootstrap:
            with contextlib.suppress(OSError):
                rows = await loop.getaddrinfo(
                    host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM
                )
                found += [(str(row[4][0]), port) for row in rows]
        return found

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


def _bound_socket(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _route_source(host: str) -> str:
    """The address from which the kernel sends to `host`; asking it sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, _DISCARD_PORT))
        except OSError:  # no route: nobody there will connect to us either
            return LOOPBACK
        return str(probe.getsockname()[0])
