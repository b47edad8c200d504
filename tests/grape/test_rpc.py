"""RPC with both ends ours, and with peers that mean no good."""

import asyncio
import contextlib
import json
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import grape.http_io
import grape.rpc_http
import grape.rpc_server
import grape.rpc_ws
from grape.envelope import gzip
from grape.link import Link
from grape.rpc import (
    ErrorCode,
    GrenacheError,
    HttpTransport,
    RemoteError,
    RpcClient,
    RpcServer,
    Transport,
    WebSocketTransport,
    fingerprint,
    listening,
)
from tests.support.certificates import make_certificates
from tests.support.coroutines import eventually, in_loop, seconds_taken
from tests.support.fake_grape import FakeGrape, linked
from tests.support.node_modules import LOOPBACK, free_port
from tests.support.rpc_peers import (
    TRANSPORTS,
    Conversation,
    Handler,
    Peer,
    http_reply,
    peer,
    raw_server,
    read_request,
    silent_after_upgrade,
    transport,
)

every_transport = pytest.mark.parametrize("name", TRANSPORTS)
http_transports = pytest.mark.parametrize("name", ["http", "http+gzip"])

TIMEOUT_S = 20.0  # never reached by a test that passes


async def call(
    to: Transport, peer_: Peer | str, payload: Any, *, timeout_s: float = TIMEOUT_S
) -> Any:
    destination = peer_ if isinstance(peer_, str) else peer_.destination
    return await to.request(destination, "orders", payload, timeout_s=timeout_s)


async def failure_of(to: Transport, peer_: Peer | str, **options: Any) -> GrenacheError:
    with pytest.raises(GrenacheError) as raised:
        await call(to, peer_, {"hello": "world"}, **options)
    return raised.value


@contextlib.asynccontextmanager
async def announced(count: int) -> AsyncIterator[tuple[FakeGrape, Link, list[Peer]]]:
    """`count` servers of the service `orders`, and a link that finds them."""
    async with contextlib.AsyncExitStack() as stack:
        grape_, link = await stack.enter_async_context(linked())
        peers = [await stack.enter_async_context(peer()) for _ in range(count)]
        grape_.announced["orders"] = [each.destination for each in peers]
        yield grape_, link, peers


# Both ends ours.


@every_transport
@in_loop
async def test_a_call_is_answered_by_the_handler(name: str) -> None:
    payload = {"text": "żółw", "number": 2**60, "list": [None, True, 1.5]}
    async with peer() as server, transport(name) as client:
        assert await call(client, server, payload) == {"echo": payload}
        (seen,) = server.handler.seen
        assert (seen.key, seen.payload, seen.remote) == ("orders", payload, LOOPBACK)
        assert seen.certificate_der is None


@every_transport
@in_loop
async def test_an_error_of_the_handler_reaches_the_caller_with_its_result(name: str) -> None:
    async with peer() as server, transport(name) as client:
        with pytest.raises(RemoteError, match=r"^boom$") as raised:
            await call(client, server, {"fail": "boom"})
        assert raised.value.result == {"seen": 1}


@every_transport
@pytest.mark.parametrize("payload", ["break", "not json"])
@in_loop
async def test_a_bug_of_the_handler_is_an_answer_too(name: str, payload: str) -> None:
    async with peer() as server, transport(name) as client:
        with pytest.raises(RemoteError, match=r"^ERR_HANDLER$"):
            await call(client, server, payload)
        assert await call(client, server, 1) == {"echo": 1}, "and the server lives on"


@every_transport
@in_loop
async def test_a_handler_that_never_ends_is_ended(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grape.rpc_server, "HANDLER_S_MAX", 0.05)
    async with peer() as server, transport(name) as client:
        with pytest.raises(RemoteError, match=r"^ERR_TIMEOUT$"):
            await call(client, server, "wait")


@every_transport
@in_loop
async def test_calls_side_by_side_are_answered_each_with_its_own(name: str) -> None:
    async with peer() as server, transport(name) as client:
        waiting = asyncio.create_task(call(client, server, "wait"))
        await eventually(lambda: len(server.handler.seen) == 1)
        results = await asyncio.gather(*(call(client, server, n) for n in range(100)))
        assert results == [{"echo": n} for n in range(100)]
        server.handler.go_on.set()
        assert await waiting == {"echo": "wait"}


@every_transport
@in_loop
async def test_one_call_too_many_is_refused_and_not_queued(name: str) -> None:
    async with peer(in_flight_max=2) as server, transport(name) as client:
        waiting = [asyncio.create_task(call(client, server, "wait")) for _ in range(2)]
        await eventually(lambda: len(server.handler.seen) == 2)
        with pytest.raises(RemoteError, match=r"^ERR_BUSY$"):
            await call(client, server, 1)
        server.handler.go_on.set()
        await asyncio.gather(*waiting)
        assert await call(client, server, 1) == {"echo": 1}


@every_transport
@in_loop
async def test_an_order_whose_client_gave_up_is_still_executed(name: str) -> None:
    async with peer() as server, transport(name) as client:
        failure = await failure_of_wait(client, server)
        assert failure.code is ErrorCode.TIMEOUT
        assert str(failure).startswith("ERR_TIMEOUT")
        server.handler.go_on.set()
        await eventually(lambda: server.handler.finished == 1)
        assert await call(client, server, 1) == {"echo": 1}, "a late reply confuses nobody"


async def failure_of_wait(client: Transport, server: Peer) -> GrenacheError:
    with pytest.raises(GrenacheError) as raised:
        await call(client, server, "wait", timeout_s=0.2)
    assert len(server.handler.seen) == 1
    return raised.value


@every_transport
@in_loop
async def test_nobody_listening_is_an_error_at_once(name: str) -> None:
    async with transport(name) as client:
        failure = await failure_of(client, f"{LOOPBACK}:{free_port()}")
        assert failure.code is ErrorCode.REQUEST_GENERIC


@every_transport
@in_loop
async def test_closing_the_client_fails_its_calls_at_once(name: str) -> None:
    async with peer() as server, transport(name) as client:
        waiting = asyncio.create_task(call(client, server, "wait"))
        await eventually(lambda: len(server.handler.seen) == 1)
        assert await seconds_taken(client.close()) < 5.0
        with pytest.raises(GrenacheError) as raised:
            await waiting
        assert raised.value.code in {ErrorCode.REQUEST_GENERIC, ErrorCode.TRANSPORT_CLOSE}
        server.handler.go_on.set()


@every_transport
@in_loop
async def test_closing_the_server_frees_the_port_and_ends_its_calls(name: str) -> None:
    async with transport(name) as client:
        async with peer() as server:
            waiting = asyncio.create_task(call(client, server, "wait"))
            await eventually(lambda: len(server.handler.seen) == 1)
        with pytest.raises(GrenacheError):
            await waiting
        assert (await failure_of(client, server)).code is ErrorCode.REQUEST_GENERIC


@every_transport
@in_loop
async def test_closing_the_server_lets_calls_in_progress_end(name: str) -> None:
    async with transport(name) as client, contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(peer())
        waiting = asyncio.create_task(call(client, server, "wait"))
        await eventually(lambda: len(server.handler.seen) == 1)
        closing = asyncio.create_task(server.server.close())
        with pytest.raises((RemoteError, GrenacheError), match="ERR_BUSY"):
            await call(client, server, 1)
        server.handler.go_on.set()
        assert await waiting == {"echo": "wait"}
        await closing


@in_loop
async def test_a_websocket_is_shared_and_opened_again_after_its_end() -> None:
    async with peer() as server, transport("websocket") as client:
        assert isinstance(client, WebSocketTransport)
        await asyncio.gather(*(call(client, server, n) for n in range(10)))
        assert len(server.server._sockets) == 1
        (socket,) = server.server._sockets
        await socket.close()
        await eventually(lambda: not client._connections[server.destination].is_usable)
        assert await call(client, server, 1) == {"echo": 1}


@in_loop
async def test_idle_websockets_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.rpc_ws, "CONNECTIONS_MAX", 1)
    async with peer() as first, peer() as second, transport("websocket") as client:
        await call(client, first, 1)
        await call(client, second, 1)
        await eventually(lambda: not first.server._sockets)
        waiting = asyncio.create_task(call(client, second, "wait"))
        await eventually(lambda: len(second.handler.seen) == 2)
        assert (await failure_of(client, first)).code is ErrorCode.BUSY, "one in use is not closed"
        second.handler.go_on.set()
        await waiting


@in_loop
async def test_the_end_of_a_connection_is_not_the_end_of_its_call() -> None:
    """Not even where aiohttp is told to cancel the handlers of clients that are gone."""
    handler = Handler()
    server = RpcServer(handler)
    app = web.Application()
    app.router.add_post("/", server.handle_http)
    app.on_shutdown.append(server.close)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOOPBACK, port).start()
    async with transport("http") as client:
        waiting = asyncio.create_task(call(client, f"{LOOPBACK}:{port}", "wait"))
        await eventually(lambda: len(handler.seen) == 1)
        waiting.cancel()
    listener = runner.server
    assert listener is not None
    await eventually(lambda: not listener.connections)
    handler.go_on.set()
    await eventually(lambda: handler.finished == 1)
    await runner.cleanup()


@in_loop
async def test_the_server_is_mounted_beside_other_routes() -> None:
    handler = Handler()
    server = RpcServer(handler)
    app = web.Application()
    app.router.add_get("/health", _ok)
    app.router.add_post("/", server.handle_http)
    app.router.add_get("/ws", server.handle_websocket)
    app.on_shutdown.append(server.close)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOOPBACK, port).start()
    for name in TRANSPORTS:
        async with transport(name) as client:
            assert await call(client, f"{LOOPBACK}:{port}", name) == {"echo": name}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{LOOPBACK}:{port}/health") as response,
    ):
        assert response.status == 200
    await runner.cleanup()


async def _ok(_: web.Request) -> web.Response:
    return web.Response()


@pytest.mark.parametrize("kind", [HttpTransport, WebSocketTransport])
@in_loop
async def test_over_tls_the_handler_sees_the_callers_certificate(
    kind: type[HttpTransport] | type[WebSocketTransport], tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path)
    handler = Handler()
    tls = certificates.server_context()
    async with listening(RpcServer(handler), host=LOOPBACK, tls=tls) as port:
        client, stranger = kind(tls=certificates.client_context()), kind(tls=_no_certificate())
        destination = f"{LOOPBACK}:{port}"
        assert await call(client, destination, 1) == {"echo": 1}
        assert handler.seen[0].certificate_der == certificates.der
        await failure_of(stranger, destination)
        assert len(handler.seen) == 1, "who shows no certificate is not heard"
        await client.close()
        await stranger.close()


def _no_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_fingerprint_is_written_as_stock_peers_write_it() -> None:
    assert fingerprint(b"abc") == "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"


# Peers that mean no good to a client.


def answers(data: bytes) -> Conversation:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(data)
        await writer.drain()

    return conversation


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


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


# Choice among announced nodes.


@every_transport
@pytest.mark.parametrize("at_once", [1, 16])
@in_loop
async def test_eight_servers_share_800_calls_evenly(name: str, at_once: int) -> None:
    """A stock client is sticky: of its 8 servers 3 got nothing."""
    async with announced(8) as (_, link, peers), transport(name) as to:
        client = RpcClient(link, to, rng=random.Random(1))
        for _ in range(800 // at_once):
            await asyncio.gather(*(client.request("orders", 1) for _ in range(at_once)))
        counts = [len(each.handler.seen) for each in peers]
        assert sum(counts) == 800
        assert counts == [100] * 8


@every_transport
@in_loop
async def test_a_dead_server_is_avoided_after_its_first_failure(name: str) -> None:
    async with announced(7) as (grape_, link, peers), transport(name) as to:
        grape_.announced["orders"].append(f"{LOOPBACK}:{free_port()}")
        client = RpcClient(link, to, rng=random.Random(1), clock_s=lambda: 0.0)
        outcomes: Counter[str] = Counter()
        for _ in range(701):
            try:
                await client.request("orders", 1)
                outcomes["ok"] += 1
            except GrenacheError as error:
                outcomes[error.code] += 1
        assert outcomes == {"ok": 700, ErrorCode.REQUEST_GENERIC: 1}
        assert [len(each.handler.seen) for each in peers] == [100] * 7


@in_loop
async def test_a_second_attempt_goes_to_another_server() -> None:
    async with announced(1) as (grape_, link, peers), transport("http") as to:
        grape_.announced["orders"] += [f"{LOOPBACK}:{free_port()}" for _ in range(2)]
        for seed in range(10):
            client = RpcClient(link, to, rng=random.Random(seed))
            assert await client.request("orders", seed, attempts=3) == {"echo": seed}
        assert len(peers[0].handler.seen) == 10


@in_loop
async def test_a_second_attempt_prefers_an_old_failure_to_the_one_just_seen() -> None:
    """Though the old one, with many failures in a row, is not due for long."""
    async with announced(1) as (grape_, link, peers), transport("http") as to:
        back_again = peers[0].destination
        dead = f"{LOOPBACK}:{free_port()}"
        grape_.announced["orders"].append(dead)
        client = RpcClient(link, to, clock_s=lambda: 0.0)
        for _ in range(5):
            client._destinations.start(back_again)
            client._destinations.finish(back_again, healthy=False)
        assert await client.request("orders", 1, attempts=2) == {"echo": 1}
        assert client._destinations.is_avoided(dead), "it was tried first"


@in_loop
async def test_an_error_of_the_handler_is_not_tried_again_and_no_sign_of_illness() -> None:
    async with announced(1) as (_, link, peers), transport("http") as to:
        client = RpcClient(link, to)
        with pytest.raises(RemoteError):
            await client.request("orders", {"fail": "no"}, attempts=5)
        assert len(peers[0].handler.seen) == 1
        assert not client._destinations.is_avoided(peers[0].destination)


@in_loop
async def test_nobody_announced_is_an_error_of_its_own() -> None:
    async with linked() as (_, link), transport("http") as to:
        client = RpcClient(link, to)
        for asked in (client.request("orders", 1), client.map("orders", 1)):
            with pytest.raises(GrenacheError, match=r"^ERR_GRAPE_LOOKUP_EMPTY") as raised:
                await asked
            assert raised.value.code is ErrorCode.LOOKUP_EMPTY


@every_transport
@in_loop
async def test_map_asks_everyone_and_one_failure_hides_nothing(name: str) -> None:
    """With a stock client the first error fails the whole map."""
    async with announced(3) as (grape_, link, peers), transport(name) as to:
        dead = f"{LOOPBACK}:{free_port()}"
        grape_.announced["orders"].insert(1, dead)
        answers_ = await RpcClient(link, to).map("orders", {"fail": "no"})
        assert [each.destination for each in answers_] == grape_.announced["orders"]
        assert isinstance(answers_[1].error, GrenacheError)
        assert [str(each.error) for each in answers_ if each.destination != dead] == ["no"] * 3
        assert [len(each.handler.seen) for each in peers] == [1, 1, 1]


@in_loop
async def test_map_with_a_limit_asks_so_many() -> None:
    async with announced(5) as (_, link, peers), transport("http") as to:
        client = RpcClient(link, to, rng=random.Random(1))
        assert len(await client.map("orders", 1, limit=2)) == 2
        assert sum(len(each.handler.seen) for each in peers) == 2
        assert len(await client.map("orders", 1, limit=9)) == 5


@in_loop
async def test_one_frozen_server_delays_map_by_the_timeout_only() -> None:
    world = announced(2)
    async with world as (grape_, link, _), transport("http") as to, raw_server(says_nothing) as ice:
        grape_.announced["orders"].append(ice)
        answers_ = await RpcClient(link, to).map("orders", 1, timeout_s=0.3)
        assert [each.result for each in answers_[:2]] == [{"echo": 1}] * 2
        assert isinstance(answers_[2].error, GrenacheError)
        assert answers_[2].error.code is ErrorCode.TIMEOUT


@in_loop
async def test_calls_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.rpc, "CALLS_IN_FLIGHT_MAX", 1)
    async with announced(1) as (_, link, peers), transport("http") as to:
        client = RpcClient(link, to)
        waiting = asyncio.create_task(client.request("orders", "wait"))
        await eventually(lambda: len(peers[0].handler.seen) == 1)
        with pytest.raises(GrenacheError) as raised:
            await client.request("orders", 1)
        assert raised.value.code is ErrorCode.BUSY
        peers[0].handler.go_on.set()
        assert await waiting == {"echo": "wait"}
