"""A stream over nodes that go away: what is handed on, where it goes on, and what is told."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from raft_exchange.client import (
    BookUpdate,
    ExchangeClient,
    FollowedBook,
    Heartbeat,
    OtherUpdate,
    OutOfStep,
    RequestRefused,
    Resync,
    Unavailable,
    Update,
    sse,
    stream,
)
from raft_exchange.client.sse import SseMessage, SseParser, TooLong
from tests.support.coroutines import in_loop
from tests.support.scripted_node import (
    CUT,
    HANG,
    Reply,
    ScriptedNode,
    problem,
    reply,
    scripted_nodes,
)


def delta(sequence: int, channel: str = "book:A-B") -> dict[str, Any]:
    return {
        "type": "delta",
        "channel": channel,
        "market": channel.partition(":")[2],
        "sequence": sequence,
        "previous_sequence": sequence - 1,
        "time": "2026-01-01T00:00:00.000000Z",
        "bids": [["1", "2", 3]],
        "asks": [],
        "checksum": 0,
        "truncated": False,
    }


def told(data: object, *, position: int | None, event: str = "book") -> bytes:
    """One message as the exchange frames it."""
    text = f"event: {event}\ndata: {json.dumps(data)}\n"
    return f"{text}id: {position}\n\n".encode() if position is not None else f"{text}\n".encode()


def streaming(*messages: bytes) -> Reply:
    """These messages, then the connection ends."""
    return reply(200, b"".join(messages), Content_Type="text/event-stream")


@asynccontextmanager
async def nodes_and_client(
    count: int, patience_s: float = 5.0
) -> AsyncIterator[tuple[list[ScriptedNode], ExchangeClient]]:
    async with scripted_nodes(count) as nodes:
        urls = [node.url for node in nodes]
        async with ExchangeClient(urls, patience_s=patience_s) as client:
            yield nodes, client


async def first(client: ExchangeClient, count: int, **options: Any) -> list[Update]:
    updates = client.stream(["book:A-B"], **options)
    try:
        return [await anext(updates) for _ in range(count)]
    finally:
        await updates.aclose()


def sequences(updates: list[Update]) -> list[int]:
    return [update.sequence for update in updates]


@in_loop
async def test_it_goes_on_at_the_next_node_where_it_stood() -> None:
    async with nodes_and_client(2) as ((one, other), client):
        one.script.append(streaming(told(delta(1), position=1), told(delta(2), position=2)))
        other.script.append(streaming(told(delta(3), position=5)))
        one.script.append(streaming(told(delta(6), position=6)))
        assert sequences(await first(client, 4)) == [1, 2, 3, 6]
        assert "Last-Event-ID" not in one.asked[0].headers
        assert one.asked[0].query == {"channels": "book:A-B"}
        assert other.asked[0].headers["Last-Event-ID"] == "2"
        assert one.asked[1].headers["Last-Event-ID"] == "5"


@in_loop
async def test_a_group_that_was_cut_short_is_not_handed_on_twice() -> None:
    """Only its last message says that the position is reached; the next node tells it again."""
    async with nodes_and_client(2) as ((one, other), client):
        one.script.append(
            streaming(
                told(delta(1), position=1),
                told(delta(2), position=None),
            )
        )
        other.script.append(
            streaming(
                told(delta(2), position=None),
                told(delta(2, "book:C-D"), position=2),
            )
        )
        updates = await first(client, 3)
        assert sequences(updates) == [1, 2, 2]
        assert other.asked[0].headers["Last-Event-ID"] == "1"


@pytest.mark.parametrize("last_words", ["going_away", "cut_off"])
@in_loop
async def test_a_node_that_ends_the_stream_is_left_at_once(last_words: str) -> None:
    async with nodes_and_client(2) as ((one, other), client):
        end = {"type": last_words, "sequence": 9, "reason": "slow_reader"}
        one.script.append(
            streaming(told(delta(1), position=1), told(end, position=9, event="stream"))
        )
        other.script.append(streaming(told(delta(2), position=2)))
        assert sequences(await first(client, 2)) == [1, 2]
        assert other.asked[0].headers["Last-Event-ID"] == "1"


@in_loop
async def test_what_was_missed_for_good_is_told() -> None:
    async with nodes_and_client(1) as ((node,), client):
        lost = {"type": "resync", "sequence": 90, "reason": "too_old", "channels": ["book:A-B"]}
        node.script.append(
            streaming(
                told(lost, position=None, event="stream"),
                told(delta(90) | {"type": "snapshot", "previous_sequence": None}, position=90),
                told({"type": "heartbeat", "sequence": 91}, position=91, event="stream"),
            )
        )
        resync, snapshot, heartbeat = await first(client, 3, from_sequence=7)
        assert isinstance(resync, Resync)
        assert isinstance(snapshot, BookUpdate)
        assert isinstance(heartbeat, Heartbeat)
        assert node.asked[0].headers["Last-Event-ID"] == "7"


@pytest.mark.parametrize(
    "trouble", [CUT, problem(503, "draining"), reply(502, b"<html>"), streaming(b"data: {\n\n")]
)
@in_loop
async def test_a_node_that_cannot_stream_is_passed_over(trouble: Reply | str) -> None:
    async with nodes_and_client(2) as ((one, other), client):
        one.otherwise = trouble
        other.otherwise = streaming(told(delta(1), position=1))
        assert sequences(await first(client, 1)) == [1]


@in_loop
async def test_a_silent_node_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SILENCE_S_MAX", 0.2)
    async with nodes_and_client(2) as ((one, other), client):
        one.otherwise = HANG
        other.otherwise = streaming(told(delta(1), position=1))
        assert sequences(await first(client, 1)) == [1]


@in_loop
async def test_a_channel_that_does_not_exist_is_refused() -> None:
    async with nodes_and_client(2) as ((one, other), client):
        one.otherwise = problem(404, "unknown_market")
        with pytest.raises(RequestRefused, match="unknown_market"):
            await first(client, 1)
        assert not other.asked


@in_loop
async def test_a_quiet_market_uses_up_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long ago the last update was, the other nodes are tried when one is lost."""
    monkeypatch.setattr(stream, "SILENCE_S_MAX", 0.5)
    async with nodes_and_client(2, patience_s=0.2) as ((one, other), client):
        update = told(delta(1), position=1)
        headers = {"Content_Type": "text/event-stream", "Content_Length": str(len(update) + 1)}
        one.script.append(reply(200, update, **headers))  # and then says nothing more
        other.script.append(problem(503, "behind"))
        one.script.append(streaming(told(delta(2), position=2)))
        assert sequences(await first(client, 2)) == [1, 2]


@in_loop
async def test_patience_ends_when_no_node_streams() -> None:
    async with nodes_and_client(2, patience_s=0.2) as (_, client):
        with pytest.raises(Unavailable):
            await first(client, 1)


@in_loop
async def test_a_channel_of_a_later_release_is_handed_on_as_it_is() -> None:
    async with nodes_and_client(1) as ((node,), client):
        mark = {"type": "mark", "channel": "marks", "sequence": 4, "marks": [1]}
        node.script.append(streaming(told(mark, position=4, event="marks")))
        (update,) = await first(client, 1)
        assert isinstance(update, OtherUpdate)
        assert (update.channel, update.type, update.data["marks"]) == ("marks", "mark", [1])


# A book that follows


def book_update(type_: str, sequence: int, previous: int | None, **levels: Any) -> BookUpdate:

    body = delta(sequence) | {"type": type_, "previous_sequence": previous} | levels
    return msgspec.json.decode(json.dumps(body), type=BookUpdate)


def test_a_followed_book_notices_a_gap_and_a_wrong_level() -> None:
    book = FollowedBook()
    rows = {"bids": [["1", "2", 3]], "asks": [["2", "0.5", 1]]}
    checksum = zlib.crc32(b"1:2:2:0.5")
    with pytest.raises(OutOfStep, match="checksum"):
        book.apply(book_update("snapshot", 1, None, **rows, checksum=checksum + 1))
    book.apply(book_update("snapshot", 1, None, **rows, checksum=checksum))
    assert [level.price for level in book.bids] == [1]
    with pytest.raises(OutOfStep, match="missed"):
        book.apply(book_update("delta", 4, 3, bids=[], asks=[], checksum=checksum))
    gone = book_update("delta", 2, 1, bids=[["1", "0", 0]], asks=[["2", "0", 0]], checksum=0)
    book.apply(gone)
    assert (book.bids, book.asks, book.sequence) == ([], [], 2)


def test_the_checksum_is_of_the_text_that_the_exchange_documents() -> None:

    book = FollowedBook()
    rows = {"bids": [["100.25", "0.5", 1], ["100", "2", 1]], "asks": [["101", "0.00000001", 1]]}
    checksum = zlib.crc32(b"100.25:0.5:100:2:101:0.00000001")
    book.apply(book_update("snapshot", 1, None, **rows, checksum=checksum))
    assert book.asks[0].quantity == Decimal("0.00000001")


# Server-sent events


def test_messages_are_whole_however_they_arrive() -> None:
    text = (
        b': a comment\r\n\r\nevent: book\r\ndata: {"a":\r\ndata: 1}\r\nid: 7\r\n\r\n'
        b"data:x\n\nid: lost\n\nevent: a\ndata\n\ndata: cut"
    )
    expected = [
        SseMessage("book", b'{"a":\n1}', "7"),
        SseMessage("message", b"x", None),
        SseMessage("a", b"", None),
    ]
    for seed in range(50):
        rng, parser, found, at = random.Random(seed), SseParser(), list[SseMessage](), 0
        while at < len(text):
            size = rng.randint(1, 20)
            found += parser.feed(text[at : at + size])
            at += size
        assert found == expected


@pytest.mark.parametrize("line", [b"data: x\n", b"x"])
def test_a_message_without_end_is_given_up(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MESSAGE_BYTES_MAX", 1_000)
    parser = SseParser()

    def feed() -> None:
        for _ in range(10_000):
            parser.feed(line)

    with pytest.raises(TooLong):
        feed()
