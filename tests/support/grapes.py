"""Our grapes on real sockets of this machine, and ways to talk to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import aiohttp

from grape import Grape, GrapeSettings, Ready
from grape.routing import K
from tests.support.coroutines import eventually

LOOPBACK: Final = "127.0.0.1"


def join(address: tuple[str, int]) -> str:
    """`host:port`."""
    return f"{address[0]}:{address[1]}"


async def started(settings: GrapeSettings) -> Grape:
    """A started grape that has finished its first look around."""
    grape = Grape(settings)
    ready = asyncio.Event()
    grape.add_listener(lambda event: ready.set() if isinstance(event, Ready) else None)
    await grape.start()
    await ready.wait()
    return grape


@contextlib.asynccontextmanager
async def grapes(
    count: int, *, with_api: bool = True, **settings: Any
) -> AsyncIterator[list[Grape]]:
    """Grapes that know each other through the first two, stopped at the end."""
    found: list[Grape] = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            bootstrap = [join(grape.dht_address) for grape in found[:2]]
            grape = await started(
                GrapeSettings(bootstrap=bootstrap, api_port=0 if with_api else None, **settings)
            )
            stack.push_async_callback(grape.stop)
            found.append(grape)
        # Whoever joined later was greeted: in a small circle all know all before a test begins.
        known = count - 1 if count <= K else K
        await eventually(lambda: all(len(grape.contacts) >= known for grape in found))
        yield found


async def post(grape: Grape, verb: str, data: Any) -> tuple[int, str]:
    """Ask a grape's HTTP API as a Grenache client does; return status and body."""
    return await ask_url(grape.api_url, verb, data)


async def ask_url(url: str, verb: str, data: Any) -> tuple[int, str]:
    """Ask the HTTP API at a URL as a Grenache client does; return status and body."""
    return await _post(url + f"/{verb}", json.dumps({"rid": "r", "data": data}).encode())


async def post_body(grape: Grape, path: str, body: Any, *, method: str = "POST") -> tuple[int, str]:
    """Send any body to any path; return status and body."""
    return await _post(grape.api_url + path, body, method=method)


async def _post(url: str, body: Any, *, method: str = "POST") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=body) as response,
    ):
        return response.status, await response.text()


@contextlib.contextmanager
def udp_socket() -> Iterator[socket.socket]:
    """A UDP socket on loopback that nobody reads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        yield sock


@contextlib.asynccontextmanager
async def command(
    *arguments: str, output: Any = PIPE, errors: Any = PIPE
) -> AsyncIterator[Process]:
    """The command in a process of its own, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grape", *arguments, stdout=output, stderr=errors, env=os.environ
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def next_event(process: Process, kind: str) -> dict[str, Any]:
    """The next line of this kind that the command writes."""
    assert process.stdout is not None
    async with asyncio.timeout(30.0):
        while True:
            line = json.loads(await process.stdout.readline())
            if line["event"] == kind:
                return dict(line)
