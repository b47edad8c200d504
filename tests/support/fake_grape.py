"""A grape that does what a test tells it to: no DHT, one dictionary."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from grape.envelope import decode_json, encode_json
from grape.http_io import listening
from grape.link import Link
from tests.support.node_modules import LOOPBACK

Answer = Callable[[Any], web.Response]


def says(value: Any, *, status: int = 200) -> Answer:
    """An answer that is always the same JSON value."""
    return lambda _: web.Response(status=status, body=encode_json(value))


def says_text(text: str, *, status: int = 200) -> Answer:
    """An answer that is always the same text, JSON or not."""
    return lambda _: web.Response(status=status, text=text)


class FakeGrape:
    """Announcements go into `announced`, lookups read it; `scripted` answers go first."""

    def __init__(self) -> None:
        self.announced: dict[str, list[str]] = defaultdict(list)
        self.asked: list[tuple[str, Any]] = []
        self.scripted: dict[str, Answer] = {}
        self._answering = asyncio.Event()
        self._answering.set()
        self.url = ""

    def hang(self) -> None:
        """Answer nothing until `go_on`."""
        self._answering.clear()

    def go_on(self) -> None:
        """Answer everything, also what was asked meanwhile."""
        self._answering.set()

    def count(self, verb: str) -> int:
        """How often `verb` was asked."""
        return sum(asked == verb for asked, _ in self.asked)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of a link."""
        verb = request.path.lstrip("/")
        data = decode_json(await request.read())["data"]
        self.asked.append((verb, data))
        await self._answering.wait()
        if verb in self.scripted:
            return self.scripted[verb](data)
        if verb == "announce":
            name, port = data
            destination = f"{LOOPBACK}:{port}"
            if destination not in self.announced[name]:
                self.announced[name].append(destination)
            return says(1)(data)
        assert verb == "lookup"
        return says(self.announced[data])(data)

    async def close(self) -> None:
        """Let hanging answers go."""
        self.go_on()


@contextlib.asynccontextmanager
async def fake_grape() -> AsyncIterator[FakeGrape]:
    """A fake grape on a port of its own."""
    grape = FakeGrape()
    async with listening(grape, host=LOOPBACK) as port:
        grape.url = f"http://{LOOPBACK}:{port}"
        yield grape


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[tuple[FakeGrape, Link]]:
    """A fake grape and a link to it."""
    async with fake_grape() as grape, Link([grape.url]) as link:
        yield grape, link
