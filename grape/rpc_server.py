"""The server side of RPC, over HTTP and WebSocket on one port, mounted or alone.

Rules:

1. One handler answers every call. It returns the result (JSON) or raises `RemoteError`, whose text
   reaches the caller. Any other exception is a bug: it is logged, and the caller is told so.
2. Every call that can be answered is answered within `HANDLER_S_MAX`; one too many is refused with
   `ERR_BUSY` rather than queued.
3. A call whose client is gone is finished all the same: it may have been an order.
4. `close` refuses further calls, gives those in progress a second, and ends what is left.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import web

from grape.envelope import (
    Call,
    ErrorCode,
    GrenacheError,
    RemoteError,
    Reply,
    decode_call,
    encode_reply,
)
from grape.rpc_http import read_call, refusal_response, reply_response

logger = logging.getLogger(__name__)

REQUEST_BYTES_MAX: Final = 1024 * 1024
IN_FLIGHT_MAX: Final = 256
BODIES_MAX: Final = 256  # bodies being read at one time
SOCKETS_MAX: Final = 1_024
CALLS_PER_SOCKET_MAX: Final = 256
HANDLER_S_MAX: Final = 30.0
PING_S: Final = 30.0
CLOSE_S_MAX: Final = 1.0


@dataclass(frozen=True)
class RpcRequest:
    """One call as the handler sees it. `key` is what the caller wrote: check it."""

    key: str
    payload: Any
    remote: str | None
    """The caller's IP address."""
    certificate_der: bytes | None = None
    """The caller's certificate, where TLS asked for one."""


Handler = Callable[[RpcRequest], Awaitable[Any]]


def fingerprint(certificate_der: bytes) -> str:
    """A certificate's SHA-1 as Node.js writes it: upper-case hex with colons."""
    return hashlib.sha1(certificate_der, usedforsecurity=False).digest().hex(":").upper()


class RpcServer:
    """Answers calls with `handler`.

    Args:
        handler: answers one call.
        request_bytes_max: bound of one request, packed and unpacked.
        in_flight_max: bound of the calls handled at one time, over all connections.
        raw_payload: hand over payloads as the bytes of their JSON text, for a handler whose
            numbers must not pass through a float; they may be malformed.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        request_bytes_max: int = REQUEST_BYTES_MAX,
        in_flight_max: int = IN_FLIGHT_MAX,
        raw_payload: bool = False,
    ) -> None:
        self._handler = handler
        self._request_bytes_max = request_bytes_max
        self._in_flight_max = in_flight_max
        self._raw_payload = raw_payload
        self._bodies = 0
        self._sockets: set[web.WebSocketResponse] = set()
        self._handling: set[asyncio.Future[Any]] = set()
        self._answering: set[asyncio.Future[None]] = set()
        self._closed = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer an HTTP call, or take a WebSocket, on any path."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self.handle_websocket(request)
        return await self.handle_http(request)

    async def handle_http(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP call."""
        if self._closed or self._bodies >= BODIES_MAX:
            return refusal_response(GrenacheError(ErrorCode.BUSY))
        self._bodies += 1
        try:
            call = await read_call(
                request, bytes_max=self._request_bytes_max, raw_payload=self._raw_payload
            )
        except GrenacheError as error:
            return refusal_response(error)
        finally:
            self._bodies -= 1
        return reply_response(request, await self._answer(call, request))

    async def handle_websocket(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer the calls that come over one WebSocket, until it closes."""
        if self._closed or len(self._sockets) >= SOCKETS_MAX:
            return refusal_response(GrenacheError(ErrorCode.BUSY))
        socket = web.WebSocketResponse(
            compress=False,
            heartbeat=PING_S,
            max_msg_size=self._request_bytes_max,
            timeout=CLOSE_S_MAX,
        )
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await self._serve_socket(socket, request)
        finally:
            self._sockets.discard(socket)
        return socket

    async def close(self, _app: object = None) -> None:
        """End every call and close every WebSocket. Fits aiohttp's `on_shutdown`."""
        self._closed = True
        await _end(self._handling)
        await _end(self._answering)
        closing = [socket.close(code=aiohttp.WSCloseCode.GOING_AWAY) for socket in self._sockets]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _serve_socket(self, socket: web.WebSocketResponse, request: web.BaseRequest) -> None:
        # A client that does not read its replies is not read from either.
        room = asyncio.Semaphore(CALLS_PER_SOCKET_MAX)

        def ended(task: asyncio.Task[None]) -> None:
            self._answering.discard(task)
            room.release()

        async for message in socket:
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                continue
            try:
                call = decode_call(message.data, raw_payload=self._raw_payload)
            except GrenacheError:
                continue  # without a rid nobody could match an answer
            await room.acquire()
            # A task for each: replies go out in the order in which they are ready.
            task = asyncio.create_task(self._answer_on(socket, call, request))
            self._answering.add(task)
            task.add_done_callback(ended)

    async def _answer_on(
        self, socket: web.WebSocketResponse, call: Call, request: web.BaseRequest
    ) -> None:
        frame = (await self._answer(call, request)).decode()
        # The client may be gone, or going: then nobody waits for this reply.
        with contextlib.suppress(ConnectionError, RuntimeError):
            await socket.send_str(frame)

    async def _answer(self, call: Call, request: web.BaseRequest) -> bytes:
        """The encoded reply; raises nothing but cancellation."""
        if self._closed or len(self._handling) >= self._in_flight_max:
            return encode_reply(Reply(call.rid, ErrorCode.BUSY, None))
        seen = RpcRequest(call.key, call.payload, request.remote, _certificate(request))
        try:
            return encode_reply(await self._ask_handler(call.rid, seen))
        except Exception:  # also of a result that is not JSON
            logger.exception("the handler of %s failed", call.key)
            return encode_reply(Reply(call.rid, ErrorCode.HANDLER, None))

    async def _ask_handler(self, rid: str | int | float, request: RpcRequest) -> Reply:
        handling = asyncio.ensure_future(self._handler(request))
        self._handling.add(handling)
        handling.add_done_callback(self._handled)
        try:
            async with asyncio.timeout(HANDLER_S_MAX):
                # Shielded: the end of the connection is not the end of the call.
                return Reply(rid, None, await asyncio.shield(handling))
        except RemoteError as error:
            return Reply(rid, error.text, error.result)
        except TimeoutError:
            handling.cancel()
            logger.error("no answer to a call of %s in time", request.key)
            return Reply(rid, ErrorCode.TIMEOUT, None)

    def _handled(self, handling: asyncio.Future[Any]) -> None:
        self._handling.discard(handling)
        if not handling.cancelled():
            handling.exception()  # nobody may wait any more: it was seen


async def _end(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Give `tasks` a second, then cancel them; on return all have ended."""
    if tasks:
        await asyncio.wait(list(tasks), timeout=CLOSE_S_MAX)
    remaining = list(tasks)
    for task in remaining:
        task.cancel()
    await asyncio.gather(*remaining, return_exceptions=True)


def _certificate(request: web.BaseRequest) -> bytes | None:
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    return tls.getpeercert(binary_form=True) if tls is not None else None
