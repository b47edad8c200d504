"""Readers of streams: sockets that keep what they are sent, and a fold of nothing but messages."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from raft_exchange.gateway.stream import frame_events
from raft_exchange.gateway.subscribers import Subscriber


class Event(NamedTuple):
    """One server-sent event; `id` is None where it had none."""

    kind: str
    id: int | None
    data: Any


def parse_event(text: str) -> Event:
    fields = dict(line.split(": ", 1) for line in text.split("\n"))
    assert fields.keys() <= {"event", "id", "data"}
    position = int(fields["id"]) if "id" in fields else None
    return Event(fields["event"], position, json.loads(fields["data"]))


class FakeTransport:
    """A socket in memory. While `frozen` it takes nothing, and its queue grows."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.queued_bytes = 0
        self.frozen = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        if self.frozen:
            self.queued_bytes += len(data)

    def get_write_buffer_size(self) -> int:
        return self.queued_bytes

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def events(self) -> list[Event]:
        """Return what came since the last call."""
        text = b"".join(self.sent).decode()
        self.sent.clear()
        assert not text or text.endswith("\n\n")
        return [parse_event(part) for part in text.split("\n\n")[:-1]]


def fake_reader() -> tuple[Subscriber, FakeTransport]:
    transport = FakeTransport()
    return Subscriber(transport, frame_events, "sse"), transport  # type: ignore[arg-type]


class BookReader:
    """The book of one market, as its messages alone tell it; every message is proved."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, tuple[str, int]]] = {"bids": {}, "asks": {}}
        self.sequence: int | None = None
        self.messages = 0

    def take(self, message: Any) -> None:
        """Fold one message; fails where one is missing or the checksum differs."""
        if message["type"] == "snapshot":
            assert message["previous_sequence"] is None
            self.sides = {"bids": {}, "asks": {}}
        else:
            assert message["previous_sequence"] == self.sequence, "the chain has a gap"
            assert message["sequence"] > message["previous_sequence"]
        for name, levels in self.sides.items():
            for price, quantity, orders in message[name]:
                if orders:
                    levels[price] = (quantity, orders)
                else:
                    assert quantity == "0"
                    levels.pop(price, None)  # it may have come and gone in between
        self.sequence = message["sequence"]
        self.messages += 1
        assert message["checksum"] == self.checksum()

    def levels(self, name: str) -> list[list[Any]]:
        """Return one side as `/book` shows it."""
        prices = sorted(self.sides[name], key=float, reverse=name == "bids")
        return [[price, *self.sides[name][price]] for price in prices]

    def book(self) -> list[list[list[Any]]]:
        return [self.levels("bids"), self.levels("asks")]

    def checksum(self) -> int:
        rows = self.levels("bids")[:10] + self.levels("asks")[:10]
        return zlib.crc32(":".join(f"{row[0]}:{row[1]}" for row in rows).encode())


class EventReader:
    """A real connection to `GET /v1/stream`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._text = ""
        self.status = 0
        self.head = ""

    async def read_head(self) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.head = head.decode()
        self.status = int(self.head.split(" ")[1])

    async def next(self) -> Event | None:
        """Return the next event; None at the end of the stream."""
        while "\n\n" not in self._text:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            data = await self._reader.readexactly(size + 2)
            if size == 0:
                return None
            self._text += data[:-2].decode()
        event, self._text = self._text.split("\n\n", 1)
        return parse_event(event)

    async def take(self, count: int) -> list[Event]:
        events = []
        for _ in range(count):
            event = await self.next()
            assert event is not None, f"the stream ended after {events}"
            events.append(event)
        return events

    async def body(self) -> Any:
        """Return the JSON of an answer that is no stream."""
        length = int(self.head.lower().split("content-length: ")[1].split("\r\n")[0])
        return json.loads(await self._reader.readexactly(length))


@asynccontextmanager
async def event_reader(
    port: int, path: str, headers: Sequence[str] = ()
) -> AsyncIterator[EventReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    opened = EventReader(reader)
    try:
        async with asyncio.timeout(60):
            await opened.read_head()
            yield opened
    finally:
        writer.close()
