"""RPC with peers that mean no good, at either end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

import grape.http_io
import grape.rpc_http
import grape.rpc_server
import grape.rpc_ws
from grape.envelope import gzip
from grape.rpc import (
    ErrorCode,
)
from tests.support.coroutines import eventually, in_loop
from tests.support.node_modules import LOOPBACK
from tests.support.rpc_peers import (
    TRANSPORTS,
    Conversation,
    Peer,
    call,
    failure_of,
    http_reply,
    peer,
    raw_server,
    read_request,
    says_nothing,
    silent_after_upgrade,
    transport,
)

every_transport = pytest.mark.parametrize("name", TRANSPORTS)
http_transports = pytest.mark.parametrize("name", ["http", "http+gzip"])


# Peers that mean no good to a client.


def answers(data: bytes) -> Conversation:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(data)
        await writer.drain()

    return conversation


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


@every_transport
@in_loop
async def test_a_peer_that_never_answers_costs_the_timeout(name: str) -> None:
    async with raw_server(says_nothing) as destination, transport(name) as client:
        failure = await failure_of(client, destination, timeout_s=0.1)
        assert failure.code is ErrorCode.TIMEOUT


@every_transport
@in_loop
async def test_a_peer_that_hangs_up_is_noticed_at_once(name: str) -> None:
    """A stock WebSocket client notices only by its sweep, or never."""
    async with raw_server(hangs_up) as destination, transport(name) as client:
        assert (await failure_of(client, destination)).code is ErrorCode.REQUEST_GENERIC


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", ErrorCode.REPLY_EMPTY),
        (b"null", ErrorCode.REPLY_EMPTY),
        (b"<html>no</html>", ErrorCode.REPLY_EMPTY),
        (b'{"ok":true}', ErrorCode.REPLY_INVALID),
        (b"[]", ErrorCode.REPLY_INVALID),
        (b'["another rid",null,1]', ErrorCode.REPLY_INVALID),
        (b"[" * 100_000, ErrorCode.REPLY_EMPTY),
    ],
)
@in_loop
async def test_a_wrong_http_reply_is_an_error(body: bytes, code: ErrorCode) -> None:
    async with raw_server(answers(http_reply(body))) as destination, transport("http") as client:
        assert (await failure_of(client, destination)).code is code


@in_loop
async def test_a_refusal_over_http_is_an_error_with_its_text() -> None:
    refusal = http_reply(b"go away", status="503 Service Unavailable")
    async with raw_server(answers(refusal)) as destination, transport("http") as client:
        failure = await failure_of(client, destination)
        assert str(failure) == "ERR_REQUEST_GENERIC: go away"


@in_loop
async def test_a_redirection_is_not_followed() -> None:
    async with peer() as victim:
        elsewhere = f"HTTP/1.1 307 X\r\nLocation: http://{victim.destination}/\r\n"
        reply = elsewhere.encode() + b"Content-Length: 0\r\n\r\n"
        async with raw_server(answers(reply)) as destination, transport("http") as client:
            assert (await failure_of(client, destination)).code is ErrorCode.REQUEST_GENERIC
        assert victim.handler.seen == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'["rid",null,1]', ErrorCode.REPLY_COMPRESSION),
        (b"", ErrorCode.REPLY_COMPRESSION),
        (gzip(b'["rid",null,1]')[:-4], ErrorCode.REPLY_COMPRESSION),
        (gzip(b"\0" * 10_000_000), ErrorCode.REPLY_SIZE),
    ],
)
@in_loop
async def test_a_wrong_packed_reply_is_an_error(body: bytes, code: ErrorCode) -> None:
    server = raw_server(answers(http_reply(body)))
    async with server as destination, transport("http+gzip") as client:
        assert (await failure_of(client, destination)).code is code


@http_transports
@in_loop
async def test_a_huge_reply_is_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.http_io, "REPLY_BYTES_MAX", 100_000)

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"ffff\r\n" + b" " * 0xFFFF + b"\r\n")
            await writer.drain()

    async with raw_server(floods) as destination, transport(name) as client:
        assert (await failure_of(client, destination)).code is ErrorCode.REPLY_SIZE


@contextlib.asynccontextmanager
async def websocket_saying(*frames: str | bytes) -> AsyncIterator[str]:
    """A WebSocket server that answers each frame with the same `frames`."""

    class Service:
        async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                rid = json.loads(message.data)[0]
                for frame in frames:
                    if isinstance(frame, str):
                        await socket.send_str(frame.replace("RID", rid))
                    else:
                        await socket.send_bytes(frame)
            return socket

        async def close(self) -> None:
            pass

    async with grape.http_io.listening(Service(), host=LOOPBACK) as port:
        yield f"{LOOPBACK}:{port}"


@in_loop
async def test_nonsense_on_a_websocket_does_not_hide_the_answer() -> None:
    nonsense: list[str | bytes] = ["", "null", "{}", "[]", '["x",null,1]', "[[],null,1]", b"\xff"]
    twice = ['["RID",null,"right"]', '["RID",null,"wrong"]']
    server = websocket_saying(*nonsense, *twice)
    async with server as destination, transport("websocket") as client:
        for _ in range(3):
            assert await call(client, destination, 1) == "right"


@in_loop
async def test_a_huge_frame_ends_the_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.rpc_ws, "REPLY_BYTES_MAX", 1_000)
    server = websocket_saying('["RID",null,"' + "x" * 1_000 + '"]')
    async with server as destination, transport("websocket") as client:
        assert (await failure_of(client, destination)).code is ErrorCode.TRANSPORT_CLOSE


@in_loop
async def test_a_half_open_websocket_is_found_by_its_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grape.rpc_ws, "PING_S", 0.1)
    async with (
        peer() as server,
        transport("websocket") as client,
        raw_server(silent_after_upgrade(server.port)) as destination,
    ):
        assert (await failure_of(client, destination)).code is ErrorCode.TRANSPORT_CLOSE


# Clients that mean no good to a server.


@contextlib.asynccontextmanager
async def websocket_to(server: Peer) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{server.destination}/any/path") as socket,
    ):
        yield socket


async def post(server: Peer, body: bytes, **headers: str) -> tuple[int, bytes]:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    async with aiohttp.ClientSession() as session:
        url = f"http://{server.destination}/any/path"
        async with session.post(url, data=body, headers=named) as response:
            return response.status, await response.read()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b"null", b"[]", b'["rid"]', b"[1,2,3]", b"[{},1]", b"\xff", b"[" * 9_999],
)
@in_loop
async def test_a_call_that_is_none_is_answered_and_not_handled(body: bytes) -> None:
    """A stock server leaves the caller waiting for ever."""
    async with peer() as server:
        status, text = await post(server, body)
        assert status == 400
        assert text.startswith(b"ERR_REQUEST_INVALID: ")
        assert server.handler.seen == []


@in_loop
async def test_a_body_above_the_bound_is_refused() -> None:
    async with peer(request_bytes_max=1_000) as server:
        body = json.dumps(["rid", "orders", "x" * 1_000]).encode()
        status, text = await post(server, body)
        assert (status, text) == (413, b"ERR_REQUEST_SIZE: more than 1000 bytes")
        assert (await post(server, gzip(body), grc_compress="gzip"))[0] == 413
        assert len(gzip(body)) < 1_000, "it is the unpacked size that counts"
        assert server.handler.seen == []


@in_loop
async def test_a_packed_body_that_is_none_is_taken_as_it_is() -> None:
    """Like a stock server does; the reply is packed as asked."""
    async with peer() as server:
        status, body = await post(server, b'["rid","orders",7]', grc_compress="gzip")
        assert (status, body[:2]) == (200, b"\x1f\x8b")
        assert server.handler.seen[0].payload == 7


@in_loop
async def test_a_body_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.rpc_http, "BODY_S_MAX", 0.1)
    async with peer() as server:
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()


@in_loop
async def test_the_stream_header_is_checked() -> None:
    async with peer() as server, aiohttp.ClientSession() as session:
        url = f"http://{server.destination}/"
        async with session.post(url, data=b"[]", headers={"_gr": "{"}) as response:
            assert response.status == 500
            assert await response.json() == [None, "ERR_HEADER_PARSE_GR", None]
        headers = {"_gr": '["r","k"]'}
        async with session.post(url, data=b"[0,0,1]", headers=headers) as response:
            assert await response.json() == ["r", None, {"echo": 1}]
        assert server.handler.seen[0].key == "k"


@in_loop
async def test_nonsense_frames_are_ignored_and_huge_ones_end_the_websocket() -> None:
    async with peer(request_bytes_max=1_000) as server, websocket_to(server) as socket:
        for nonsense in ("", "{", "null", "{}", "[]", '["rid"]', "[[],[]]"):
            await socket.send_str(nonsense)
        await socket.send_bytes(b'["rid","orders",1]')
        assert await socket.receive_json() == ["rid", None, {"echo": 1}]
        await socket.send_str("x" * 1_001)
        message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


@in_loop
async def test_a_client_that_does_not_read_is_not_read_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What one socket can make the server keep is bounded, whatever it sends."""
    monkeypatch.setattr(grape.rpc_server, "CALLS_PER_SOCKET_MAX", 4)
    async with peer() as server, websocket_to(server) as socket:
        for n in range(20):
            await socket.send_str(json.dumps([n, "orders", "wait"]))
        await eventually(lambda: len(server.handler.seen) == 4)
        server.handler.go_on.set()
        replies = [await socket.receive_json() for _ in range(20)]
        assert sorted(rid for rid, _, _ in replies) == list(range(20))
        assert len(server.handler.seen) == 20


@in_loop
async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.http_io, "SERVER_CONNECTIONS_MAX", 2)
    async with peer() as server:
        first = [await asyncio.open_connection(LOOPBACK, server.port) for _ in range(2)]
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        assert await reader.read() == b""
        for _, each in [*first, (reader, writer)]:
            each.close()
