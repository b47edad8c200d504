"""`GET /v1/stream`: Server-Sent Events.

`event:` is the kind of the channel, or `stream` for what belongs to none; `data:` one JSON
message; only the last message of what is sent together carries `id:`, the sequence up to which
the reader has everything of its channels then. Naming it (`Last-Event-ID`, as browsers do, or
`?from_sequence=`) with the same channels resumes there on any node.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway.access import principal_of, still_good
from raft_exchange.gateway.bodies import query_of, whole_number
from raft_exchange.gateway.channels import channels_named
from raft_exchange.gateway.context import CONTEXT, Context
from raft_exchange.gateway.guard import open_stream
from raft_exchange.gateway.reads import MIN_SEQUENCE_WAIT_S
from raft_exchange.gateway.stream_rendering import Encoded
from raft_exchange.gateway.streams import STREAMS
from raft_exchange.gateway.subscribers import Framing, Subscriber

EVENT_STREAM: Final = "text/event-stream"
SOCKET_BUFFER_BYTES: Final = 128 * 1024
"""What the system queues for one reader; what is beyond it is counted, and bounded, here."""


def frame_events(messages: Sequence[Encoded], position: int) -> bytes:
    """Return messages as server-sent events; the last one carries the position."""
    parts = [b"event: %b\ndata: %b\n\n" % (m.kind.encode(), m.data) for m in messages[:-1]]
    last = messages[-1]
    parts.append(b"event: %b\nid: %d\ndata: %b\n\n" % (last.kind.encode(), position, last.data))
    return b"".join(parts)


def frame_chunk(messages: Sequence[Encoded], position: int) -> bytes:
    """Return messages as server-sent events in one chunk of a chunked HTTP/1.1 body."""
    return chunk(frame_events(messages, position))


def chunk(data: bytes) -> bytes:
    """Return bytes as one chunk of a chunked HTTP/1.1 body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def get_stream(request: web.Request) -> web.StreamResponse:
    """Stream the channels that are asked for until either side ends it."""
    context = request.app[CONTEXT]
    query = query_of(request, ("channels", "from_sequence"))
    names = [name for name in query.get("channels", "").split(",") if name]
    since = _since(request, query)
    reader = principal_of(request)
    channels = await channels_named(context, names, reader=reader)
    await caught_up(context, since)
    still_good(request, context)
    streams = request.app[STREAMS]
    streams.admit()
    response = event_stream(request)
    await open_stream(request, response)
    transport = request.transport
    if request.method == "HEAD" or transport is None:
        return response
    framing: Framing = frame_chunk if response.chunked else frame_events
    subscriber = Subscriber(transport, framing, "sse")
    subscriber.read_by(reader)
    streams.add(subscriber)
    try:
        streams.subscribe(subscriber, channels, since=since)
        await subscriber.ended
    finally:
        streams.drop(subscriber)
    return response


def event_stream(request: web.Request) -> web.StreamResponse:
    """Return an answer without an end, for writing events to its transport."""
    response = web.StreamResponse(
        headers={
            "Content-Type": EVENT_STREAM,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy must not collect events
        }
    )
    if request.version >= (1, 1) and request.method != "HEAD":
        response.enable_chunked_encoding()
    response.force_close()
    bound_socket(request)
    return response


def bound_socket(request: web.Request) -> None:
    """Keep the system from queueing megabytes for a reader that does not read."""
    connection = request.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)


async def caught_up(context: Context, since: int | None) -> None:
    """Wait until this node has applied what a reader has seen elsewhere.

    Raises:
        Problem: `behind`.
    """
    if since is None or await context.core.wait_for_sequence(since, timeout_s=MIN_SEQUENCE_WAIT_S):
        return
    detail = "this node has not applied that sequence number yet"
    raise Problem(ErrorCode.BEHIND, detail, field="from_sequence", value=str(since))


def _since(request: web.Request, query: Mapping[str, str]) -> int | None:
    text = query.get("from_sequence")
    if text is not None:
        return whole_number("from_sequence", text)
    text = request.headers.get("Last-Event-ID")
    return whole_number("Last-Event-ID", text) if text else None
