"""RPC with both ends ours, over each transport."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import grape.rpc_server
import grape.rpc_ws
from grape.rpc import (
    ErrorCode,
    GrenacheError,
    HttpTransport,
    RemoteError,
    RpcServer,
    Transport,
    WebSocketTransport,
    fingerprint,
    listening,
)
from tests.support.certificates import make_certificates
from tests.support.coroutines import eventually, in_loop, seconds_taken
from tests.support.node_modules import LOOPBACK, free_port
from tests.support.rpc_peers import (
    TRANSPORTS,
    Handler,
    Peer,
    call,
    failure_of,
    peer,
    transport,
)

every_transport = pytest.mark.parametrize("name", TRANSPORTS)


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
