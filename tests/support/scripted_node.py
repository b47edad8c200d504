"""A node that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from aiohttp import web

HANG: Final = "hang"
"""Take the request and never answer."""
CUT: Final = "cut"
"""Take the request and close the connection."""


class Reply(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    return Reply(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


def problem(status: int, code: str, **headers: str) -> Reply:
    return reply(
        status, {"code": code, "status": status, "detail": "as the script says"}, **headers
    )


class Asked(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class ScriptedNode:
    """`script` is what it answers next, one for each request; at its end, `otherwise`."""

    def __init__(self) -> None:
        self.script: deque[Reply | str] = deque()
        self.otherwise: Reply | str = CUT
        self.asked: list[Asked] = []
        self.url = ""
        self.released = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        seen = json.loads(body) if body else None
        self.asked.append(
            Asked(request.method, request.path, dict(request.query), dict(request.headers), seen)
        )
        answer = self.script.popleft() if self.script else self.otherwise
        if answer == HANG:
            await self.released.wait()
        if isinstance(answer, str):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        text = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        return web.Response(status=answer.status, body=text, headers=answer.headers)


@contextlib.asynccontextmanager
async def scripted_nodes(count: int) -> AsyncIterator[list[ScriptedNode]]:
    async with contextlib.AsyncExitStack() as stack:
        nodes = [ScriptedNode() for _ in range(count)]
        for node in nodes:
            server = web.Server(node.handle, access_log=None, lingering_time=0.0)
            listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
            node.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            stack.push_async_callback(server.shutdown, 0.01)
            stack.callback(listener.close)
            stack.callback(node.released.set)
        yield nodes
