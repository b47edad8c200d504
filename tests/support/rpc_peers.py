"""RPC peers for tests: honest ones with a known handler, and hostile ones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from grape.rpc import (
    GrenacheError,
    HttpTransport,
    RemoteError,
    RpcRequest,
    RpcServer,
    Transport,
    WebSocketTransport,
    listening,
)
from tests.support.node_modules import LOOPBACK

TIMEOUT_S: Final = 20.0  # never reached by a test that passes

TRANSPORTS: Final[dict[str, Callable[[], Transport]]] = {
    "http": HttpTransport,
    "http+gzip": lambda: HttpTransport(compress=True),
    "websocket": WebSocketTransport,
}


@dataclass
class Handler:
    """Echoes; counts; fails, breaks or waits when the payload says so."""

    seen: list[RpcRequest] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    finished: int = 0

    async def __call__(self, request: RpcRequest) -> Any:
        """Answer one call."""
        self.seen.append(request)
        match request.payload:
            case {"fail": text}:
                raise RemoteError(text, {"seen": len(self.seen)})
            case "break":
                raise KeyError("a bug in the handler")
            case "not json":
                return object()
            case "wait":
                await self.go_on.wait()
        self.finished += 1
        return {"echo": request.payload}


@dataclass
class Peer:
    """A server of ours and its `ip:port`."""

    handler: Handler
    server: RpcServer
    port: int

    @property
    def destination(self) -> str:
        """Where to call it."""
        return f"{LOOPBACK}:{self.port}"


@contextlib.asynccontextmanager
async def peer(**bounds: int) -> AsyncIterator[Peer]:
    """One server of ours, alone on a port."""
    handler = Handler()
    server = RpcServer(handler, **bounds)
    async with listening(server, host=LOOPBACK) as port:
        yield Peer(handler, server, port)


@contextlib.asynccontextmanager
async def transport(name: str) -> AsyncIterator[Transport]:
    """One of `TRANSPORTS`, closed at the end."""
    made = TRANSPORTS[name]()
    try:
        yield made
    finally:
        await made.close()


async def call(
    to: Transport, peer_: Peer | str, payload: Any, *, timeout_s: float = TIMEOUT_S
) -> Any:
    """Call the service `orders` at `peer_`."""
    destination = peer_ if isinstance(peer_, str) else peer_.destination
    return await to.request(destination, "orders", payload, timeout_s=timeout_s)


async def failure_of(to: Transport, peer_: Peer | str, **options: Any) -> GrenacheError:
    """How a call that must fail did."""
    with pytest.raises(GrenacheError) as raised:
        await call(to, peer_, {"hello": "world"}, **options)
    return raised.value


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(conversation: Conversation) -> AsyncIterator[str]:
    """A server that says whatever bytes `conversation` writes; gives its `ip:port`."""
    conversations: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await conversation(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the test; asyncio's streams would report it as unseen
        finally:
            writer.close()
            conversations.discard(task)

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    try:
        yield f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(conversations):
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take every connection, read, and never answer."""
    await reader.read()


def silent_after_upgrade(port: int) -> Conversation:
    """Let the server at `port` take the WebSocket, then pass nothing on, not even pongs.

    To the client this is a machine that is gone without a word: TCP stays open.
    """

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer, question = await asyncio.open_connection(LOOPBACK, port)
        try:
            question.write(await reader.readuntil(b"\r\n\r\n"))
            writer.write(await answer.readuntil(b"\r\n\r\n"))
            await reader.read()
        finally:
            question.close()

    return conversation


def http_reply(body: bytes, *, status: str = "200 OK") -> bytes:
    """An HTTP response as a stock peer writes it."""
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One HTTP request: its head and, if it has a length, its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head
