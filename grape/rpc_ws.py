"""RPC over WebSocket: the arrays of the HTTP transport, one text frame each, many on a socket.

Theory of operation (client). A destination has one connection, opened by the first call and owned
by one task: the task connects, reads replies, and when it ends, for whatever reason, every call
that still waits fails at once. (A stock client waits for its sweep, or for ever.) A call puts its
future under its rid, waits for the socket, sends, and waits for the future; a reply with an unknown
rid came too late and is dropped. Pings find a peer that is gone without a word.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from grape.envelope import (
    Call,
    ErrorCode,
    GrenacheError,
    RemoteError,
    Reply,
    decode_reply,
    encode_call,
    new_rid,
)
from grape.http_io import REPLY_BYTES_MAX, new_session

CONNECT_S_MAX: Final = 5.0
CLOSE_S_MAX: Final = 1.0
PING_S: Final = 15.0
IDLE_S_MAX: Final = 120.0
CONNECTIONS_MAX: Final = 256
PENDING_PER_CONNECTION_MAX: Final = 1_024


class WebSocketTransport:
    """Sends calls over WebSockets. Close it when done."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tls = tls
        self._scheme = "wss" if tls else "ws"
        self._clock_s = clock_s
        self._session: aiohttp.ClientSession | None = None
        self._connections: dict[str, _Connection] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def request(self, destination: str, key: str, payload: Any, *, timeout_s: float) -> Any:
        """The result of one call at `destination` (`ip:port`), connecting included.

        Raises:
            RemoteError: the handler answered an error.
            GrenacheError: REQUEST_GENERIC or BUSY: never sent; TIMEOUT or TRANSPORT_CLOSE: the
                handler may have run or not.
        """
        call = Call(new_rid(), key, payload)
        frame = encode_call(call).decode()
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._connection(destination).exchange(call, frame)
        except TimeoutError:
            raise GrenacheError(ErrorCode.TIMEOUT, f"no reply from {destination}") from None
        if reply.error is not None:
            raise RemoteError(reply.error, reply.result)
        return reply.result

    async def close(self) -> None:
        """Close every connection; calls in flight fail with TRANSPORT_CLOSE."""
        for connection in self._connections.values():
            self._end(connection)
        self._connections.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _connection(self, destination: str) -> "_Connection":
        known = self._connections.get(destination)
        if known is not None and known.is_usable:
            return known
        self._close_idle()
        if len(self._connections) >= CONNECTIONS_MAX and destination not in self._connections:
            raise GrenacheError(ErrorCode.BUSY, f"{CONNECTIONS_MAX} connections in use")
        if self._session is None:
            self._session = new_session(tls=self._tls)
        url = f"{self._scheme}://{destination}/ws"
        connection = _Connection(self._session, url, clock_s=self._clock_s)
        self._connections[destination] = connection
        return connection

    def _close_idle(self) -> None:
        """Close what is idle for long; when the bound is met, whatever is idle."""
        crowded = len(self._connections) >= CONNECTIONS_MAX
        idle_s_max = 0.0 if crowded else IDLE_S_MAX
        for destination, connection in list(self._connections.items()):
            if connection.is_idle(for_s=idle_s_max):
                self._end(connection)
                del self._connections[destination]

    def _end(self, connection: "_Connection") -> None:
        connection.task.cancel()
        self._ending.add(connection.task)
        connection.task.add_done_callback(self._ending.discard)


class _Connection:
    """One socket and the calls that wait on it."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, clock_s: Callable[[], float]
    ) -> None:
        self._session = session
        self._url = url
        self._clock_s = clock_s
        self._used_s = clock_s()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._opened = asyncio.Event()
        self._waiting: dict[str | int | float, asyncio.Future[Reply]] = {}
        self._ended = False
        self.task = asyncio.create_task(self._run(), name=f"rpc {url}")

    @property
    def is_usable(self) -> bool:
        """Whether it is open, or may become so."""
        return not self._ended and (self._socket is None or not self._socket.closed)

    def is_idle(self, *, for_s: float) -> bool:
        """Whether nothing waits here and the last call ended at least `for_s` seconds ago."""
        return not self._waiting and self._clock_s() >= self._used_s + for_s

    async def exchange(self, call: Call, frame: str) -> Reply:
        """Send `frame` and wait for the reply to `call`. Raises GrenacheError."""
        assert not self._ended, "an ended connection takes no calls"
        if len(self._waiting) >= PENDING_PER_CONNECTION_MAX:
            raise GrenacheError(ErrorCode.BUSY, f"{PENDING_PER_CONNECTION_MAX} calls in flight")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[call.rid] = future
        try:
            await self._opened.wait()
            if not self._ended:
                assert self._socket is not None, "what was opened has a socket"
                with contextlib.suppress(ConnectionError):  # the task sees it too, and tells all
                    await self._socket.send_str(frame)
            return await future
        finally:
            del self._waiting[call.rid]
            self._used_s = self._clock_s()
            if future.done() and not future.cancelled():
                future.exception()  # it may have failed while its call was given up: it was seen

    async def _run(self) -> None:
        failure = GrenacheError(ErrorCode.TRANSPORT_CLOSE, self._url)
        try:
            self._socket = await self._connect()
            self._opened.set()
            async for message in self._socket:
                if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    self._receive(message.data)
        except GrenacheError as error:
            failure = error
        finally:
            self._fail_all(failure)
            if self._socket is not None:
                await self._socket.close()

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                return await self._session.ws_connect(
                    self._url,
                    compress=0,
                    heartbeat=PING_S,
                    max_msg_size=REPLY_BYTES_MAX,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S_MAX),
                )
        except (aiohttp.ClientError, OSError) as error:  # OSError: TimeoutError is one
            detail = f"no connection to {self._url}: {error}"
            raise GrenacheError(ErrorCode.REQUEST_GENERIC, detail) from None

    def _fail_all(self, failure: GrenacheError) -> None:
        self._ended = True
        self._opened.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(failure)

    def _receive(self, data: str | bytes) -> None:
        try:
            reply = decode_reply(data)
        except GrenacheError:
            return  # no rid can be read from it: its call ends by its timeout
        waiting = self._waiting.get(reply.rid) if isinstance(reply.rid, str) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)
