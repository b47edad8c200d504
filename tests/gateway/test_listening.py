"""Connections: never more, and never longer silent, than the node can afford."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from raft_exchange.gateway import listener as listening
from raft_exchange.gateway.listener import Listener
from raft_exchange.metrics import Metrics
from tests.support.coroutines import eventually, in_loop, seconds_taken
from tests.support.gateway import gateway

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
IDLE_S_MAX = 0.2
LARGE_BYTES = 16 * 1024 * 1024


class Served:
    """A listener with three routes: `/` answers, `/slow` waits for `go`, `/large` says much."""

    def __init__(self, *, connections_max: int) -> None:
        self.go = asyncio.Event()
        self.metrics = Metrics()
        app = web.Application()
        app.router.add_get("/", self._answer)
        app.router.add_get("/slow", self._answer_later)
        app.router.add_get("/large", self._say_much)
        self.listener = Listener(
            app, self.metrics, connections_max=connections_max, idle_s_max=IDLE_S_MAX
        )

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(text="here")

    async def _answer_later(self, request: web.Request) -> web.Response:
        await self.go.wait()
        return web.Response(text="late")

    async def _say_much(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(LARGE_BYTES))

    @property
    def refused(self) -> int:
        return int(self.metrics.connections_refused._value.get())

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.listener.port)


@asynccontextmanager
async def served(*, connections_max: int = 100) -> AsyncIterator[Served]:
    made = Served(connections_max=connections_max)
    await made.listener.start("127.0.0.1", 0)
    try:
        yield made
    finally:
        made.go.set()
        await made.listener.close(within_s=2)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a request and return the body of its answer; b"" where the connection was closed."""
    try:
        writer.write(GET)
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    assert b" 200 OK" in head
    return await reader.readexactly(4)


@in_loop
async def test_connections_above_the_bound_are_closed_and_the_others_served() -> None:
    async with served(connections_max=3) as s:
        open_ones = [await s.connect() for _ in range(3)]
        assert [await ask(*one) for one in open_ones] == [b"here"] * 3
        for number in range(1, 20):
            reader, writer = await s.connect()
            assert await ask(reader, writer) == b""
            assert s.refused == number
            writer.close()
        assert s.listener.connections == 3
        open_ones[0][1].close()
        await eventually(lambda: s.listener.connections == 2)
        open_ones[0] = await s.connect()
        assert [await ask(*one) for one in open_ones] == [b"here"] * 3
        for _, writer in open_ones:
            writer.close()


@in_loop
async def test_a_burst_is_held_to_the_bound_as_well() -> None:
    """All of it is in the backlog before the first is accepted."""
    async with served(connections_max=5) as s:
        burst = [socket.create_connection(("127.0.0.1", s.listener.port)) for _ in range(200)]
        await eventually(lambda: s.refused == len(burst) - 5)
        assert s.listener.connections == 5
        for connection in burst:
            connection.close()


@pytest.mark.parametrize("sent", [b"", GET[:-2], GET[:5]])
@in_loop
async def test_a_connection_that_asks_nothing_is_closed(sent: bytes) -> None:
    async with served() as s:
        reader, writer = await s.connect()
        writer.write(sent)
        async with asyncio.timeout(50 * IDLE_S_MAX):
            assert await reader.read() == b""
        writer.close()


@in_loop
async def test_a_connection_that_was_answered_and_asks_no_more_is_closed() -> None:
    async with served() as s:
        reader, writer = await s.connect()
        assert await ask(reader, writer) == b"here"
        writer.write(GET[:10])
        async with asyncio.timeout(50 * IDLE_S_MAX):
            assert await reader.read() == b""
        writer.close()


@in_loop
async def test_a_request_in_work_is_not_idle() -> None:
    async with served() as s:
        reader, writer = await s.connect()
        writer.write(GET.replace(b"/ ", b"/slow "))
        await asyncio.sleep(3 * IDLE_S_MAX)
        s.go.set()
        assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.close()


@in_loop
async def test_who_takes_nothing_of_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "UNREAD_S_MAX", 1)
    async with served() as s:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", s.listener.port))
            client.sendall(GET.replace(b"/ ", b"/large "))
            await eventually(lambda: s.listener.connections == 1)
            await eventually(lambda: s.listener.connections == 0)


@in_loop
async def test_a_body_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raft_exchange.gateway.bodies.BODY_S_MAX", 0.1)
    async with gateway() as g:
        head = b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        answer = await g.raw(head)
        assert b" 400 " in answer
        assert b"the body did not arrive within 0.1 s" in answer


@in_loop
async def test_without_descriptors_accepting_pauses_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "PAUSE_S", 0.05)
    async with served() as s:
        client = socket.socket()
        with no_more_descriptors():
            client.connect(("127.0.0.1", s.listener.port))
            await eventually(lambda: "cannot accept" in caplog.text)
        reader, writer = await asyncio.open_connection(sock=client)
        assert await ask(reader, writer) == b"here"
        writer.close()


class no_more_descriptors:
    """While inside, this process cannot open anything."""

    def __enter__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        self._fillers = [os.dup(0) for _ in range(highest)]
        in_use = max(self._fillers) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (in_use, self._limits[1]))

    def __exit__(self, *exc: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
        for filler in self._fillers:
            os.close(filler)


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1", errno.EADDRINUSE),
        ("192.0.2.1", errno.EADDRNOTAVAIL),
        ("no-such-host.invalid", socket.EAI_NONAME),
    ],
)
@in_loop
async def test_what_cannot_be_listened_on_is_told(host: str, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        s = Served(connections_max=1)
        with pytest.raises(OSError) as caught:  # noqa: PT011 -- judged by its number
            await s.listener.start(host, taken.getsockname()[1])
        assert caught.value.errno == code
        await s.listener.close(within_s=0)


@in_loop
async def test_every_address_of_a_name_is_listened_on() -> None:
    s = Served(connections_max=1)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    await s.listener.start("localhost", port)
    for family, _, _, _, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
        with socket.socket(family) as client:
            client.connect(address)
    await s.listener.close(within_s=0)


@in_loop
async def test_who_is_connected_when_the_listener_stops_is_answered() -> None:
    """They connected while the loop was busy: the system took them, the listener not yet."""
    async with served() as s:
        waiting = [socket.create_connection(("127.0.0.1", s.listener.port)) for _ in range(100)]
        for client in waiting:
            client.sendall(GET)
        port = s.listener.port
        s.listener.stop()
        for client in waiting:
            reader, writer = await asyncio.open_connection(sock=client)
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


@in_loop
async def test_closing_takes_its_time_and_no_longer() -> None:
    """What is answered within it is answered; what is not is cancelled."""
    async with served() as s:
        reader, writer = await s.connect()
        writer.write(GET.replace(b"/ ", b"/slow "))
        await eventually(lambda: s.listener.connections == 1)
        s.listener.stop()
        asyncio.get_running_loop().call_later(0.1, s.go.set)
        assert await seconds_taken(s.listener.close(within_s=60)) < 30
        assert b"late" in await reader.read()
        writer.close()
    async with served() as s:
        reader, writer = await s.connect()
        writer.write(GET.replace(b"/ ", b"/slow "))
        await eventually(lambda: s.listener.connections == 1)
        assert await seconds_taken(s.listener.close(within_s=0.2)) < 5
        assert await reader.read() == b""
        writer.close()
