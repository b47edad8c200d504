"""One reader of the streams: what is queued for it, and by which keys it was let in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway.access import Principal
from raft_exchange.gateway.channels import Channel
from raft_exchange.gateway.stream_rendering import Encoded
from raft_exchange.metrics import STREAM_TRANSPORTS

QUEUE_BYTES_MAX: Final = 1024 * 1024
"""Of one reader, on top of what it asked for at once; beyond it, it cannot ask for more."""

PRINCIPALS_MAX: Final = 8
"""Keys that one socket may show in its life."""


Framing = Callable[[Sequence[Encoded], int], bytes]
Reading = tuple[Framing, tuple[Channel, ...]]
"""How and what is read: readers that have both in common are sent the same bytes."""


class Subscriber:
    """One reader: its socket, how messages are framed on it, and its channels."""

    def __init__(self, transport: asyncio.Transport, framing: Framing, transport_name: str) -> None:
        assert transport_name in STREAM_TRANSPORTS
        self.transport_name = transport_name
        self.framing = framing
        self.channels: tuple[Channel, ...] = ()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._asked_bytes = 0
        self._principals: dict[Principal, None] = {}

    def read_by(self, principal: Principal) -> None:
        """Remember by which key it was let in; another may follow on the same socket.

        Raises:
            Problem: it showed more than `PRINCIPALS_MAX`.
        """
        if not principal.key_id:
            return
        if principal not in self._principals and len(self._principals) >= PRINCIPALS_MAX:
            detail = f"a socket may show {PRINCIPALS_MAX} keys; open another"
            raise Problem(ErrorCode.BAD_FIELD, detail, field="key", allowed=detail)
        self._principals[principal] = None

    @property
    def principals(self) -> Iterable[Principal]:
        """Whom it was let in as, by keys."""
        return self._principals

    @property
    def reading(self) -> Reading:
        """How it reads which channels."""
        return self.framing, self.channels

    @property
    def queue_bytes(self) -> int:
        """How much it has not taken yet."""
        return self._transport.get_write_buffer_size()

    @property
    def is_gone(self) -> bool:
        """Whether nothing can reach it any more."""
        return self._transport.is_closing() or self.ended.done()

    @property
    def is_slow(self) -> bool:
        """Whether its queue is over its bound."""
        waiting = self.queue_bytes
        self._asked_bytes = min(self._asked_bytes, waiting)
        return waiting > QUEUE_BYTES_MAX + self._asked_bytes

    @property
    def may_ask(self) -> bool:
        """Whether its queue has room for something that it asks for."""
        return self.queue_bytes <= QUEUE_BYTES_MAX

    def write(self, data: bytes, *, asked: bool = False) -> None:
        """Queue framed bytes; those it asked for do not count against its bound until taken."""
        if asked:
            self._asked_bytes = min(self._asked_bytes, self.queue_bytes) + len(data)
        self._transport.write(data)

    def end(self, reason: str) -> None:
        """Have the handler end the stream; idempotent."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def abort(self) -> None:
        """Drop the connection with all that is queued."""
        self._transport.abort()
