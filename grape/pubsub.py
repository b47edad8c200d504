"""Publish and subscribe: every subscriber of a publisher gets every message, from now on.

A publisher is a WebSocket server whose port is announced under the channel's name. There is no
topic, no acknowledgement, no replay. What must not be missed carries its own sequence numbers, and
is fetched again after a gap: a subscriber is told of each connection and of each end of one, and
between the two nothing is missing.

Rules:

1. `publish` never waits. A subscriber that does not keep up is cut off rather than left out: it
   sees the end of the connection, never a hole.
2. A message goes out as it is: text as a text frame, bytes as a binary frame.
3. A subscriber connects again by itself, looks up again each time, and prefers a publisher that did
   not just fail. Pings find a publisher that is gone without a word.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import web

from grape.destinations import Destinations
from grape.envelope import GrenacheError
from grape.http_io import listening, new_session
from grape.link import Link

__all__ = ["Connected", "Disconnected", "Event", "Message", "Publisher", "Subscriber", "listening"]

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
QUEUE_MESSAGES_MAX: Final = 4_096
QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024
SUBSCRIBERS_MAX: Final = 1_024
# Subscribers have nothing to say.
SUBSCRIBER_FRAME_BYTES_MAX: Final = 4_096

PUBLISHER_PING_S: Final = 30.0
SUBSCRIBER_PING_S: Final = 15.0
CONNECT_S_MAX: Final = 5.0
CLOSE_S_MAX: Final = 1.0
RECONNECT_S_MIN: Final = 0.1
RECONNECT_S_MAX: Final = 5.0

assert MESSAGE_BYTES_MAX <= QUEUE_BYTES_MAX


@dataclass(frozen=True)
class Connected:
    """From now on every message of `destination` (`ip:port`) arrives."""

    destination: str


@dataclass(frozen=True)
class Message:
    """One message as it was published."""

    data: str | bytes


@dataclass(frozen=True)
class Disconnected:
    """The connection ended: messages are missed until the next `Connected`."""

    destination: str


Event = Connected | Message | Disconnected


class Publisher:
    """The server side of a channel: mounted by `handle`, or alone by `listening`."""

    def __init__(self) -> None:
        self._outboxes: set[_Outbox] = set()
        self._closed = False

    @property
    def subscriber_count(self) -> int:
        """How many subscribers are connected."""
        return len(self._outboxes)

    def publish(self, message: str | bytes) -> int:
        """Queue `message` for every subscriber and return for how many. O(subscribers)."""
        opcode = aiohttp.WSMsgType.TEXT if isinstance(message, str) else aiohttp.WSMsgType.BINARY
        data = message.encode() if isinstance(message, str) else bytes(message)
        assert len(data) <= MESSAGE_BYTES_MAX, "a message is bounded"
        return sum(outbox.put(data, opcode) for outbox in self._outboxes)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one subscriber, on any path, until it leaves, is cut off, or we close."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=426, text="subscribe by WebSocket")
        if self._closed or len(self._outboxes) >= SUBSCRIBERS_MAX:
            return web.Response(status=503, text="no more subscribers")
        socket = web.WebSocketResponse(
            compress=False,
            heartbeat=PUBLISHER_PING_S,
            max_msg_size=SUBSCRIBER_FRAME_BYTES_MAX,
            timeout=CLOSE_S_MAX,
        )
        await socket.prepare(request)
        outbox = _Outbox(socket)
        self._outboxes.add(outbox)
        reader = asyncio.create_task(_ignore_all(socket), name="ignore a subscriber")
        try:
            await asyncio.wait({reader, outbox.sender}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._outboxes.discard(outbox)
            reader.cancel()
            outbox.sender.cancel()
            await asyncio.gather(reader, outbox.sender, return_exceptions=True)
        if outbox.cut_off and request.transport is not None:
            request.transport.abort()  # it does not read: a close frame would only join the queue
        await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
        return socket

    async def close(self, _app: object = None) -> None:
        """Disconnect every subscriber, after what is queued. Fits aiohttp's `on_shutdown`."""
        self._closed = True
        for outbox in list(self._outboxes):
            outbox.finish()


class _Outbox:
    """What one subscriber has still to be sent."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._queue: deque[tuple[bytes, aiohttp.WSMsgType]] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._finished = False
        self.cut_off = False
        self.sender = asyncio.create_task(self._send_all(), name="publish")

    def put(self, data: bytes, opcode: aiohttp.WSMsgType) -> bool:
        """Queue it; False if there is no room, which is the end of this subscriber."""
        if self._finished:
            return False
        size = len(data)
        if len(self._queue) >= QUEUE_MESSAGES_MAX or self._bytes + size > QUEUE_BYTES_MAX:
            self.cut_off = True
            self._finished = True
            self.sender.cancel()
            return False
        self._queue.append((data, opcode))
        self._bytes += size
        self._wake.set()
        return True

    def finish(self) -> None:
        """Take no more messages; the sender ends after what is queued."""
        self._finished = True
        self._wake.set()

    async def _send_all(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):  # the subscriber is gone
            while True:
                while self._queue:
                    data, opcode = self._queue.popleft()
                    self._bytes -= len(data)
                    await self._socket.send_frame(data, opcode)
                if self._finished:
                    return
                self._wake.clear()
                await self._wake.wait()


async def _ignore_all(socket: web.WebSocketResponse) -> None:
    """Read until the subscriber closes: pings are answered on the way."""
    async for _ in socket:
        pass


class Subscriber:
    """The client side of a channel: an endless iterator over its events.

    Use it as an async context manager, or call `close`. Nothing runs between two calls of
    `next_event`: who does not ask for events is cut off by the publisher in the end.
    """

    def __init__(
        self,
        link: Link,
        channel: str,
        *,
        rng: random.Random | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._channel = channel
        self._rng = rng or random.Random()
        self._destinations = Destinations(clock_s=clock_s, rng=self._rng)
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._destination = ""
        self._attempts = 0  # since the last message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self.next_event()

    async def next_event(self) -> Event:
        """The next event, however long that takes. Safe to cancel: no event is lost by it."""
        if self._socket is None:
            while not await self._connect_once():
                pass
            return Connected(self._destination)
        message = await self._socket.receive()
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            self._attempts = 0
            return Message(message.data)
        self._socket = None
        self._destinations.finish(self._destination, healthy=False)
        return Disconnected(self._destination)

    async def close(self) -> None:
        """Leave the channel."""
        if self._socket is not None:
            await self._socket.close()
        if self._session is not None:
            await self._session.close()

    async def _connect_once(self) -> bool:
        if self._attempts:
            await asyncio.sleep(reconnect_wait_s(self._rng, attempts=self._attempts))
        self._attempts += 1
        try:
            found = await self._link.lookup(self._channel)
        except GrenacheError:
            return False
        if self._session is None:
            self._session = new_session()
        destination = self._destinations.choose(found)
        self._destinations.start(destination)
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                self._socket = await self._session.ws_connect(
                    f"ws://{destination}/ws",
                    compress=0,
                    heartbeat=SUBSCRIBER_PING_S,
                    max_msg_size=MESSAGE_BYTES_MAX,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S_MAX),
                )
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            self._destinations.finish(destination, healthy=False)
            return False
        except asyncio.CancelledError:
            self._destinations.finish(destination, healthy=None)
            raise
        self._destination = destination
        return True


def reconnect_wait_s(rng: random.Random, *, attempts: int) -> float:
    """How long to wait before connecting again after `attempts` without a message."""
    mean_s = min(RECONNECT_S_MAX, RECONNECT_S_MIN * 2.0 ** min(attempts - 1, 16))
    return mean_s * rng.uniform(0.5, 1.5)
