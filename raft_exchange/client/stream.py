"""Reading a stream that outlives its nodes.

Theory of operation. Messages come in groups; the last one of a group carries the position (`id`)
up to which everything has been told. A group is handed on when its position is there, so that what
was handed on and what is asked for at the next node never overlap and leave no gap. A node that
cannot resume from there says `resync`, and snapshots follow: the reader is told.

A connection that says nothing for longer than the exchange's heartbeat is given up. Nodes that
fail are left as the sender leaves them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from raft_exchange.client.errors import RequestRefused, Unavailable
from raft_exchange.client.models import Problem
from raft_exchange.client.sender import (
    CONNECT_S_MAX,
    PAUSE_S_MAX,
    PAUSE_S_MIN,
    TRANSIENT_STATUSES,
    Outgoing,
    Sender,
)
from raft_exchange.client.sse import SseMessage, SseParser, TooLong
from raft_exchange.client.updates import Update, decode_update

SILENCE_S_MAX: Final = 35.0
"""Two heartbeats of 15 s, and a little."""
LAST_WORDS: Final = frozenset({b'"going_away"', b'"cut_off"'})


class _Ended(Exception):
    """The connection ended or could not be made; the text says why."""


class _Notice(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw(b'""')


async def read_stream(
    sender: Sender, channels: Sequence[str], *, from_sequence: int | None
) -> AsyncGenerator[Update, None]:
    """Give the updates of `channels` for ever, from node to node.

    Raises:
        RequestRefused: a channel does not exist, or is not for this caller.
        Unavailable: no node could be read from for as long as the client's patience.
    """
    position = None if from_sequence is None else str(from_sequence)
    loop = asyncio.get_running_loop()
    pause_s, tried_since_s = PAUSE_S_MIN, loop.time()
    while True:
        url, was_read = sender.nodes.current, False
        try:
            async for group, reached in _groups(sender, url, channels, position=position):
                pause_s, was_read, position = PAUSE_S_MIN, True, reached
                for update in group:
                    yield update
        except _Ended as error:
            trouble = error
        sender.nodes.failed(url)
        if was_read:
            tried_since_s = loop.time()  # a market where nothing happens is no failure
        elif loop.time() - tried_since_s > sender.options.patience_s:
            raise Unavailable(f"no node streams: {trouble}")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


async def _groups(
    sender: Sender, url: str, channels: Sequence[str], *, position: str | None
) -> AsyncIterator[tuple[list[Update], str]]:
    """Give the groups of one connection, each with the position behind it, until it ends."""
    headers = {"Accept": "text/event-stream"}
    if position is not None:
        headers["Last-Event-ID"] = position
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S_MAX, sock_read=SILENCE_S_MAX)
    target = str(URL("/v1/stream").with_query({"channels": ",".join(channels)}))
    headers |= await sender.sign(Outgoing("GET", target, headers, None))
    parser, group = SseParser(), list[Update]()
    try:
        async with sender.session.get(
            URL(url + target, encoded=True), headers=headers, timeout=timeout
        ) as response:
            if response.status != 200:
                await _refused(url, response)
            async for piece in response.content.iter_any():
                for message in parser.feed(piece):
                    if _is_last(message):
                        raise _Ended(f"{url}: {message.data.decode(errors='replace')}")
                    group.append(decode_update(message.event, message.data))
                    if message.id is not None:
                        yield group, message.id
                        group = []
    except (aiohttp.ClientError, OSError, TooLong, msgspec.DecodeError) as error:
        raise _Ended(f"{url}: {error!r}") from None
    raise _Ended(f"{url}: the stream ended")


def _is_last(message: SseMessage) -> bool:
    """Say whether a message announces the end of its connection, and nothing else."""
    return bytes(msgspec.json.decode(message.data, type=_Notice).type) in LAST_WORDS


async def _refused(url: str, response: aiohttp.ClientResponse) -> None:
    body = await response.content.read(64 * 1024)
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        raise _Ended(f"{url}: HTTP status {response.status}") from None
    if response.status in TRANSIENT_STATUSES:
        raise _Ended(f"{url}: {problem.code}: {problem.detail}")
    raise RequestRefused(problem)
