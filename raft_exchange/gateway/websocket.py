"""`GET /v1/ws`: the channels of the streams and order entry on one socket.

Theory of operation. One task reads frames. `auth`, `subscribe` and `unsubscribe` are done at once,
in order; order operations each get a task of their own and are answered when they are done, in any
order. At `IN_FLIGHT_MAX` of them nothing more is read until one is done, and no channel is begun
while more than `QUEUE_BYTES_MAX` is queued, so that a client that sends without reading answers
only holds up itself. What the channels say is written by the hub.

- Between frames that are done at once, and between the snapshots of one, the loop is left to
  others: hundreds may have come together.
- A channel that is subscribed to again is begun anew: so clients mend what they hold.
- What a client may get wrong is answered with a problem, and the socket goes on: frames that are
  no JSON object, unknown operations, binary frames.
- Broken protocol (too large a message, wrong framing, text that is no UTF-8) closes the socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import (
    NAME_FORM,
    Json,
    Number,
    bad_field,
    decode_object,
    is_label,
    known_fields,
)
from raft_exchange.gateway.access import Principal, key_holder, open_principal, principal_of
from raft_exchange.gateway.bodies import BATCH_BYTES_MAX, whole_number
from raft_exchange.gateway.channels import CHANNELS_MAX, Channel, channels_named
from raft_exchange.gateway.context import CONTEXT, REQUEST_ID, Context
from raft_exchange.gateway.guard import internal_error, name_answer
from raft_exchange.gateway.rendering import View
from raft_exchange.gateway.stream import bound_socket, caught_up
from raft_exchange.gateway.stream_rendering import Encoded
from raft_exchange.gateway.streams import STREAMS, Streams
from raft_exchange.gateway.subscribers import Subscriber
from raft_exchange.gateway.websocket_orders import ORDER_OPS, run_order_op
from raft_exchange.matching.filters import is_name

IN_FLIGHT_MAX: Final = 128
PING_S: Final = 30.0
ID_CHARS_MAX: Final = 64
ENDING_S: Final = 2.0
"""What answers in flight get to leave when the socket is ended from here."""

OPS: Final = ("auth", "subscribe", "unsubscribe", *ORDER_OPS)
CLOSE_CODES: Final = {
    "going_away": WSCloseCode.GOING_AWAY,
    "slow_reader": WSCloseCode.POLICY_VIOLATION,
    "state_divergence": WSCloseCode.INTERNAL_ERROR,
    "key_revoked": WSCloseCode.POLICY_VIOLATION,
}


def frame_texts(messages: Sequence[Encoded], position: int) -> bytes:
    """Return messages as WebSocket text frames of a server; the position is not told."""
    return b"".join(_head(len(message.data)) + message.data for message in messages)


def _head(size: int) -> bytes:
    # RFC 6455 5.2: FIN and opcode 1, no mask, the length in 7, 16 or 64 bits.
    if size < 126:
        return bytes((0x81, size))
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


async def get_websocket(request: web.Request) -> web.StreamResponse:
    """Serve one socket until either side ends it."""
    streams = request.app[STREAMS]
    principal = principal_of(request)
    socket = web.WebSocketResponse(
        heartbeat=PING_S, compress=False, max_msg_size=BATCH_BYTES_MAX, timeout=ENDING_S
    )
    if request.method == "HEAD" or not socket.can_prepare(request):
        raise Problem(
            ErrorCode.BAD_FIELD,
            "this route speaks WebSocket only",
            field="Upgrade",
            value=request.headers.get("Upgrade"),
            allowed=["websocket"],
        )
    streams.admit()
    name_answer(request, socket)
    bound_socket(request)
    await socket.prepare(request)
    assert request.transport is not None, "it was just written to"
    subscriber = Subscriber(request.transport, frame_texts, "websocket")
    subscriber.read_by(principal)
    streams.add(subscriber)
    try:
        await _Session(request, socket, subscriber).run(request[REQUEST_ID])
    finally:
        streams.drop(subscriber)
    return socket


class _Session:
    """One socket: who it acts for and what is in flight."""

    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, subscriber: Subscriber
    ) -> None:
        self._context: Context = request.app[CONTEXT]
        self._streams: Streams = request.app[STREAMS]
        self._principal: Principal = principal_of(request)
        self._writer = request.writer
        self._socket = socket
        self._subscriber = subscriber
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def run(self, request_id: str) -> None:
        """Read and answer until the client or the hub ends it."""
        reading = asyncio.create_task(self._read(request_id))
        try:
            await asyncio.wait(
                (reading, self._subscriber.ended), return_when=asyncio.FIRST_COMPLETED
            )
            if self._subscriber.ended.done():
                await self._end(self._subscriber.ended.result())
        finally:
            reading.cancel()
            for task in self._tasks:
                task.cancel()  # what is sequenced is sequenced; nobody is left to be told
            await asyncio.gather(reading, *self._tasks, return_exceptions=True)

    async def _end(self, reason: str) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=ENDING_S)
        if reason in CLOSE_CODES:
            await self._socket.close(code=CLOSE_CODES[reason], message=reason.encode())

    async def _read(self, request_id: str) -> None:
        number = 0
        async for message in self._socket:
            number += 1
            name = f"{request_id}/{number}"
            if message.type is WSMsgType.TEXT:
                await self._take(message.data, name)
            elif message.type is WSMsgType.BINARY:
                problem = Problem(ErrorCode.BAD_JSON, "send text frames, not binary ones")
                await self._refuse(None, problem, name)
            else:
                return

    async def _take(self, text: str, name: str) -> None:
        """Do what a frame asks; order operations go on by themselves."""
        answer_id: object = None
        try:
            data = text.encode()
            frame = decode_object(data)
            answer_id = _answer_id(frame)
            op = frame.get("op")
            if op not in OPS:
                raise bad_field(frame, "op", list(OPS))
            if op in ORDER_OPS:
                if answer_id is None:
                    raise bad_field(frame, "id", _ID_FORM)
                await self._room.acquire()
                acting = self._principal  # now: a later frame may show another
                order = self._order(frame, answer_id, acting, size_bytes=len(data), name=name)
                task = asyncio.create_task(order)
                self._tasks.add(task)
                task.add_done_callback(self._done)
            else:
                await self._control(frame, answer_id)
                await asyncio.sleep(0)
        except Problem as problem:
            await self._refuse(answer_id, problem, name)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    # Operations -----------------------------------------------------------------------------------

    async def _order(
        self, frame: Json, answer_id: object, principal: Principal, *, size_bytes: int, name: str
    ) -> None:
        try:
            answer = await run_order_op(
                self._context,
                frame,
                principal=principal,
                size_bytes=size_bytes,
                request_id=name,
            )
        except Problem as problem:
            await self._refuse(answer_id, problem, name)
            return
        except Exception as error:
            await self._refuse(
                answer_id, internal_error(error, "/v1/ws", {"request_id": name}), name
            )
            return
        assert isinstance(answer.body, bytes)
        view: View = {"id": answer_id, "status": answer.status, "result": msgspec.Raw(answer.body)}
        if "Idempotent-Replay" in answer.headers:
            view["replayed"] = True
        await self._send(view)

    async def _control(self, frame: Json, answer_id: object) -> None:
        if frame["op"] == "auth":
            principal = self._shown(frame)
            self._subscriber.read_by(principal)
            self._principal = principal
            await self._answer(answer_id, {"account": principal.account})
            return
        since = _since(frame)
        channels = await self._channels(frame)
        if frame["op"] == "unsubscribe":
            self._streams.unsubscribe(self._subscriber, channels)
            await self._answer(answer_id, {"channels": self._labels()})
            return
        await caught_up(self._context, since)
        if len({*channels, *self._subscriber.channels}) > CHANNELS_MAX:
            detail = f"a socket has up to {CHANNELS_MAX} channels"
            raise Problem(ErrorCode.BAD_FIELD, detail, field="channels", allowed=detail)
        # Who resumes is told of all at once: that nothing is missing is said of all channels.
        parts = [channels] if self._streams.can_resume(since) else [[c] for c in channels]
        await self._leave_room()
        await self._answer(answer_id, {"channels": [channel.label for channel in channels]})
        self._streams.subscribe(self._subscriber, parts[0], since=since)
        for part in parts[1:]:
            await self._leave_room()
            self._streams.subscribe(self._subscriber, part, since=since)

    async def _leave_room(self) -> None:
        """Leave the loop to others, and wait until the client has taken what is over its bound."""
        await asyncio.sleep(0)
        if not self._subscriber.may_ask:
            await self._writer.drain()

    def _shown(self, frame: Json) -> Principal:
        if self._context.settings.auth_required:
            known_fields(frame, ("op", "id", "key"))
            return key_holder(self._context, frame.get("key"))
        known_fields(frame, ("op", "id", "account"))
        account = frame.get("account")
        if type(account) is not str or not is_name(account):
            raise bad_field(frame, "account", NAME_FORM)
        return open_principal(account)

    async def _channels(self, frame: Json) -> list[Channel]:
        fields = ("op", "id", "channels")
        known_fields(frame, (*fields, "from_sequence") if frame["op"] == "subscribe" else fields)
        names = frame.get("channels")
        if not isinstance(names, list) or not all(type(name) is str for name in names):
            raise bad_field(frame, "channels", "an array of names of channels")
        return await channels_named(self._context, names, reader=self._principal)

    def _labels(self) -> list[str]:
        return [channel.label for channel in self._subscriber.channels]

    # Answers --------------------------------------------------------------------------------------

    async def _answer(self, answer_id: object, result: View) -> None:
        await self._send({"id": answer_id, "status": 200, "result": result})

    async def _refuse(self, answer_id: object, problem: Problem, name: str) -> None:
        view: View = {"id": answer_id, "status": problem.status, "error": problem.view(name)}
        if problem.replayed:
            view["replayed"] = True
        await self._send(view)
        await asyncio.sleep(0)

    async def _send(self, view: View) -> None:
        try:
            await self._socket.send_str(msgspec.json.encode(view).decode())
        except ConnectionError:
            self._subscriber.end("gone")


_ID_FORM: Final = f"a number, or 1 to {ID_CHARS_MAX} printable ASCII characters"


def _answer_id(frame: Json) -> object:
    """Return a frame's own name in the form that goes back: exactly as it came."""
    given = frame.get("id")
    if given is None:
        return None
    if not isinstance(given, str) or not is_label(given, ID_CHARS_MAX):
        raise bad_field(frame, "id", _ID_FORM)
    return msgspec.Raw(given.encode()) if isinstance(given, Number) else given


def _since(frame: Json) -> int | None:
    given = frame.get("from_sequence")
    if given is None:
        return None
    if not isinstance(given, str):
        raise bad_field(frame, "from_sequence", "a sequence number")
    return whole_number("from_sequence", given)
